/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NATS around cli_serve_answer(). The servers of one prefix are a queue group: PREFIX.list, .read
 * and .write go to one of them. The outcome of a transfer is known to the server that has it alone,
 * so each has a subject of its own for that, PREFIX.transfer.SERVER.
 *
 * The NATS library calls on_message() on a thread per subscription, which must not wait; so a pool
 * of threads carries the requests out. Those that wait for the end of a transfer hold a thread
 * each, of which the pool has more than there may be such requests.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "channel/nats_link.h"
#include "common/api.h"
#include "common/clock.h"
#include "common/event.h"
#include "common/message.h"
#include "common/text.h"
#include "pool.h"
#include "serve.h"

#define QUEUE_GROUP "ropeway"
#define CONNECT_LIMIT_MS 10000
#define THREADS_BESIDE_WAITS 16
#define WAITING_MAX 1024 /* requests of one client that no thread has taken up yet */
#define WAITING_BYTES_MAX ((size_t)32 << 20) /* of all of them */
#define PENDING_MAX 8192                     /* messages that the NATS library keeps for us */
#define PENDING_BYTES_MAX (32 << 20)
#define JOB_BYTES 1024      /* of a message, besides its headers and body */
#define HEADER_ROOM 512     /* of an answer, in bytes */
#define LEAVE_LIMIT_MS 2000 /* how long requests that came may take when the server ends */

static const struct {
    const char *name;
    enum cli_route route;
} actions[] = {{"list", CLI_ROUTE_LIST},
               {"read", CLI_ROUTE_READ},
               {"write", CLI_ROUTE_WRITE},
               {"transfer", CLI_ROUTE_TRANSFER}};
#define ACTIONS (sizeof actions / sizeof *actions)

struct action {
    struct cli_natsd *natsd;
    enum cli_route route;
    natsSubscription *subscription;
};

struct cli_natsd {
    struct cli_server *server;
    struct cli_url url;
    natsOptions *options;
    natsConnection *connection;
    struct action actions[ACTIONS];
    struct cli_pool *pool;
    int lost_fd;         /* an eventfd: the connection is closed for good */
    atomic_bool running; /* from the start to the stop: events are told */

    pthread_mutex_t lock;
    pthread_cond_t settled;
    uint64_t working; /* requests other than for an outcome that came and are not answered */
};

struct job {
    struct action *action;
    natsMsg *message;
};

/* ---- Answers ------------------------------------------------------------------------ */

/* Sentences may quote what a client sent: in a header they are one line. */
static natsStatus set_refusal(natsMsg *message, const struct cli_refusal *refusal) {
    char text[CLI_SENTENCE_SIZE], number[16];
    memcpy(text, refusal->text, sizeof text);
    cli_printable(text);
    natsStatus status = natsMsgHeader_Set(message, CLI_NATS_ERROR, text);
    snprintf(number, sizeof number, "%d", refusal->status);
    if (status == NATS_OK) {
        status = natsMsgHeader_Set(message, CLI_NATS_ERROR_CODE, number);
    }
    snprintf(number, sizeof number, "%d", refusal->retry_after);
    if (status == NATS_OK && refusal->retry_after != 0) {
        status = natsMsgHeader_Set(message, CLI_NATS_RETRY_AFTER, number);
    }
    return status;
}

static natsStatus publish(struct cli_natsd *natsd, const char *reply, const char *text,
                          const struct cli_refusal *refusal) {
    natsMsg *message = NULL;
    natsStatus status = natsMsg_Create(&message, reply, NULL, text, (int)strlen(text));
    if (status == NATS_OK && refusal->status != 0) {
        status = set_refusal(message, refusal);
    }
    if (status == NATS_OK) {
        status = natsConnection_PublishMsg(natsd->connection, message);
    }
    natsMsg_Destroy(message);
    return status;
}

/* Sends an answer. False: it was not sent; refusal says why. */
static bool send_text(struct cli_natsd *natsd, const char *reply, const struct cli_answer *answer,
                      struct cli_refusal *refusal) {
    char *text = answer->json != NULL   ? json_dumps(answer->json, JSON_COMPACT)
                 : answer->text != NULL ? strdup(answer->text)
                                        : NULL;
    if (text == NULL) {
        return cli_refuse(refusal, 500, "the server is out of memory");
    }
    natsStatus status = publish(natsd, reply, text, refusal);
    if (status == NATS_MAX_PAYLOAD) {
        cli_refuse(refusal, 500,
                   "the answer has %zu bytes and %s takes messages of %lld at most; raise "
                   "'max_payload' there, or ask over HTTP",
                   strlen(text), natsd->url.base,
                   (long long)natsConnection_GetMaxPayload(natsd->connection));
    } else if (status != NATS_OK) {
        cli_refuse(refusal, 500, "the answer can't be sent: %s", natsStatus_GetText(status));
    }
    free(text);
    return status == NATS_OK;
}

static void send_refusal(struct cli_natsd *natsd, const char *reply, struct cli_refusal *refusal) {
    json_t *error = json_pack("{s:s}", "error", refusal->text);
    char *text = error != NULL ? json_dumps(error, JSON_COMPACT) : NULL;
    natsStatus status = publish(natsd, reply, text != NULL ? text : "", refusal);
    /* Where that is too long, the headers must do, or the number alone. */
    if (status == NATS_MAX_PAYLOAD) {
        status = publish(natsd, reply, "", refusal);
    }
    refusal->text[0] = '\0';
    if (status == NATS_MAX_PAYLOAD) {
        publish(natsd, reply, "", refusal);
    }
    free(text);
    json_decref(error);
}

/* Who takes the answers: the inbox, without what tells one answer from another. */
static void name_peer(const char *reply, char peer[CLI_PEER_SIZE]) {
    const char *dot = strrchr(reply, '.');
    int length = dot != NULL ? (int)(dot - reply) : (int)strlen(reply);
    snprintf(peer, CLI_PEER_SIZE, "%.*s", length, reply);
}

/* Sends an answer, or why there is none, and frees what it holds. */
static void send_answer(struct action *action, natsMsg *message, struct cli_answer *answer) {
    struct cli_natsd *natsd = action->natsd;
    const char *reply = natsMsg_GetReply(message);
    char peer[CLI_PEER_SIZE];
    struct cli_refusal *refusal = &answer->refusal;
    if (refusal->status == 0 && !send_text(natsd, reply, answer, refusal)) {
        const char *id = json_string_value(json_object_get(answer->json, "transfer"));
        if (id != NULL) {
            cli_transfers_drop(natsd->server->transfers, id);
        }
    }
    if (refusal->status != 0) {
        name_peer(reply, peer);
        cli_serve_log_refusal(peer, natsMsg_GetSubject(message), refusal);
        send_refusal(natsd, reply, refusal);
    }
    json_decref(answer->json);
    free(answer->text);
}

/* ---- Requests ------------------------------------------------------------------------- */

static void begin_work(struct action *action) {
    struct cli_natsd *natsd = action->natsd;
    atomic_fetch_add(&natsd->server->messages, 1);
    atomic_fetch_add(&natsd->server->active, 1);
    pthread_mutex_lock(&natsd->lock);
    natsd->working += action->route != CLI_ROUTE_TRANSFER;
    pthread_mutex_unlock(&natsd->lock);
}

static void end_work(struct action *action) {
    struct cli_natsd *natsd = action->natsd;
    pthread_mutex_lock(&natsd->lock);
    natsd->working -= action->route != CLI_ROUTE_TRANSFER;
    pthread_cond_signal(&natsd->settled);
    pthread_mutex_unlock(&natsd->lock);
    atomic_fetch_sub(&natsd->server->active, 1);
    cli_event_signal(natsd->server->idle_fd);
}

static bool is_authorized(struct cli_natsd *natsd, natsMsg *message) {
    const char *header = NULL;
    natsMsgHeader_Get(message, CLI_NATS_AUTHORIZATION, &header);
    return cli_serve_authorized(natsd->server, header);
}

static void carry_out(struct cli_natsd *natsd, struct cli_request *request,
                      struct cli_answer *answer) {
    int64_t room = natsConnection_GetMaxPayload(natsd->connection) - HEADER_ROOM;
    request->answer_max = room > HEADER_ROOM ? (size_t)room : HEADER_ROOM;
    cli_serve_answer(natsd->server, request, answer);
}

static void run_job(void *arg) {
    struct job *job = arg;
    struct cli_natsd *natsd = job->action->natsd;
    struct cli_answer answer = {0};
    char peer[CLI_PEER_SIZE];
    struct cli_request *request = malloc(sizeof *request);
    name_peer(natsMsg_GetReply(job->message), peer);
    if (!is_authorized(natsd, job->message)) {
        cli_refuse(&answer.refusal, 401,
                   "this server needs its token; give it with '--token-file FILE'");
    } else if (request == NULL) {
        cli_refuse(&answer.refusal, 500, "the server is out of memory");
    } else if (cli_request_parse_message(job->action->route, natsMsg_GetData(job->message),
                                         (size_t)natsMsg_GetDataLength(job->message), request,
                                         &answer.refusal)) {
        request->peer = peer;
        carry_out(natsd, request, &answer);
    }
    send_answer(job->action, job->message, &answer);
    free(request);
    natsMsg_Destroy(job->message);
    end_work(job->action);
    free(job);
}

/* Nobody can be answered, but the log can tell. */
static void drop(natsMsg *message, int status, const char *text) {
    struct cli_refusal refusal = {0};
    cli_refuse(&refusal, status, "%s", text);
    cli_serve_log_refusal("?", natsMsg_GetSubject(message), &refusal);
    natsMsg_Destroy(message);
}

static void on_message(natsConnection *connection, natsSubscription *subscription, natsMsg *message,
                       void *arg) {
    (void)connection;
    (void)subscription;
    struct action *action = arg;
    const char *reply = natsMsg_GetReply(message);
    if (reply == NULL || *reply == '\0') {
        drop(message, 400, "the message names no subject for the answer");
        return;
    }
    struct job *job = malloc(sizeof *job);
    if (job == NULL) {
        drop(message, 500, "the server is out of memory");
        return;
    }
    *job = (struct job){action, message};
    begin_work(action);
    char peer[CLI_PEER_SIZE];
    struct cli_answer answer = {0};
    size_t length = (size_t)natsMsg_GetDataLength(message);
    size_t headers = cli_nats_headers_size(message);
    name_peer(reply, peer);
    if (headers > CLI_NATS_HEADERS_MAX) {
        cli_refuse(&answer.refusal, 431, "the headers have %zu bytes; %zu are allowed", headers,
                   CLI_NATS_HEADERS_MAX);
    } else if (length > CLI_BODY_MAX) {
        cli_refuse(&answer.refusal, 413, "the body has %zu bytes; %zu are allowed", length,
                   CLI_BODY_MAX);
    } else if (cli_pool_submit(action->natsd->pool, peer, headers + length + JOB_BYTES, job)) {
        return;
    } else {
        cli_refuse(&answer.refusal, 503, "the server has too many requests; try again later");
        answer.refusal.retry_after = 1;
    }
    send_answer(action, message, &answer);
    natsMsg_Destroy(message);
    end_work(action);
    free(job);
}

/* ---- Events of the connection ---------------------------------------------------------- */

static void on_disconnected(natsConnection *connection, void *arg) {
    (void)connection;
    struct cli_natsd *natsd = arg;
    if (atomic_load(&natsd->running)) {
        cli_warn("lost %s; trying to reach it again", natsd->url.base);
    }
}

static void on_reconnected(natsConnection *connection, void *arg) {
    (void)connection;
    struct cli_natsd *natsd = arg;
    cli_warn("reached %s again", natsd->url.base);
}

static void on_closed(natsConnection *connection, void *arg) {
    struct cli_natsd *natsd = arg;
    const char *words = NULL;
    if (!atomic_load(&natsd->running)) {
        return;
    }
    natsConnection_GetLastError(connection, &words);
    cli_fail("%s closed the connection for good: %s", natsd->url.base,
             words != NULL && *words != '\0' ? words : "it gave no reason");
    cli_event_signal(natsd->lost_fd);
}

static void on_error(natsConnection *connection, natsSubscription *subscription, natsStatus error,
                     void *arg) {
    (void)subscription;
    struct cli_natsd *natsd = arg;
    const char *words = NULL;
    if (!atomic_load(&natsd->running)) {
        return;
    }
    natsConnection_GetLastError(connection, &words);
    cli_warn("%s: %s", natsd->url.base,
             words != NULL && *words != '\0' ? words : natsStatus_GetText(error));
}

/* ---- Start and stop ----------------------------------------------------------------------- */

static natsStatus subscribe(struct cli_natsd *natsd, struct action *action, const char *prefix,
                            const char *name) {
    bool shared = action->route != CLI_ROUTE_TRANSFER;
    char *subject = shared ? cli_format("%s.%s", prefix, name)
                           : cli_format("%s.%s.%s", prefix, name, natsd->server->id);
    natsStatus status = NATS_NO_MEMORY;
    if (subject != NULL && shared) {
        status = natsConnection_QueueSubscribe(&action->subscription, natsd->connection, subject,
                                               QUEUE_GROUP, on_message, action);
    } else if (subject != NULL) {
        status = natsConnection_Subscribe(&action->subscription, natsd->connection, subject,
                                          on_message, action);
    }
    free(subject);
    if (status == NATS_OK) {
        status =
            natsSubscription_SetPendingLimits(action->subscription, PENDING_MAX, PENDING_BYTES_MAX);
    }
    return status;
}

/* Subscribes to everything, and makes sure that the NATS server permits it. False: text says why
 * not. */
static bool subscribe_all(struct cli_natsd *natsd, const char *prefix,
                          char text[CLI_SENTENCE_SIZE]) {
    natsStatus status = NATS_OK;
    const char *words = NULL;
    for (size_t i = 0; i < ACTIONS && status == NATS_OK; i++) {
        natsd->actions[i] = (struct action){natsd, actions[i].route, NULL};
        status = subscribe(natsd, &natsd->actions[i], prefix, actions[i].name);
    }
    if (status == NATS_OK) {
        status = natsConnection_FlushTimeout(natsd->connection, CONNECT_LIMIT_MS);
    }
    if (status == NATS_OK && natsConnection_GetLastError(natsd->connection, &words) == NATS_OK) {
        return true;
    }
    cli_sentence(text,
                 "can't take requests from %s: %s; its user must be allowed to subscribe to '%s.>' "
                 "and to publish to '_INBOX.>'",
                 natsd->url.base,
                 words != NULL && *words != '\0' ? words : natsStatus_GetText(status), prefix);
    return false;
}

static bool connect_and_subscribe(struct cli_natsd *natsd,
                                  const struct cli_credentials *credentials, const char *prefix,
                                  char text[CLI_SENTENCE_SIZE]) {
    struct cli_nats_events events = {on_disconnected, on_reconnected, on_closed, on_error, natsd};
    natsd->options = cli_nats_options(&natsd->url, credentials, "ropeway serve", CONNECT_LIMIT_MS,
                                      &events, text);
    if (natsd->options != NULL) {
        natsd->connection = cli_nats_connect(natsd->options, natsd->url.base, text);
    }
    return natsd->connection != NULL && subscribe_all(natsd, prefix, text);
}

struct cli_natsd *cli_natsd_start(struct cli_server *server,
                                  const struct cli_natsd_options *options, char *url,
                                  size_t url_size) {
    struct cli_natsd *natsd = calloc(1, sizeof *natsd);
    char text[CLI_SENTENCE_SIZE] = "out of memory";
    if (natsd == NULL) {
        cli_fail("%s", text);
        return NULL;
    }
    natsd->server = server;
    natsd->lost_fd = cli_event_create();
    pthread_mutex_init(&natsd->lock, NULL);
    cli_condition_init(&natsd->settled);
    struct cli_pool_limits limits = {server->max_clients + THREADS_BESIDE_WAITS, WAITING_MAX,
                                     WAITING_BYTES_MAX};
    natsd->pool = cli_pool_create(&limits, run_job);
    bool parsed = cli_url_parse_nats(options->url, &natsd->url);
    if (parsed && natsd->pool != NULL && natsd->lost_fd >= 0 &&
        connect_and_subscribe(natsd, &options->credentials, options->subject, text)) {
        snprintf(url, url_size, "%s/%s/", natsd->url.base, options->subject);
        if (!natsd->url.is_loopback && !server->needs_token && natsd->url.user == NULL &&
            options->credentials.nats_creds == NULL && options->credentials.tls_cert == NULL) {
            cli_warn("who can reach %s can read all that is offered%s; use '--token-file FILE'",
                     url, server->writable >= 0 ? ", and write" : "");
        }
        atomic_store(&natsd->running, true);
        return natsd;
    }
    if (parsed) {
        cli_fail("%s", text);
    }
    cli_natsd_stop(natsd);
    return NULL;
}

int cli_natsd_lost_fd(const struct cli_natsd *natsd) {
    return natsd != NULL ? natsd->lost_fd : -1;
}

/* Takes no requests any more, but those that came. */
static void unsubscribe(struct cli_natsd *natsd, bool but_transfers) {
    /* First all, then each: they drain at the same time. */
    for (size_t i = 0; i < ACTIONS; i++) {
        if (!but_transfers || actions[i].route != CLI_ROUTE_TRANSFER) {
            natsSubscription_DrainTimeout(natsd->actions[i].subscription, LEAVE_LIMIT_MS);
        }
    }
    for (size_t i = 0; i < ACTIONS; i++) {
        if (!but_transfers || actions[i].route != CLI_ROUTE_TRANSFER) {
            natsSubscription_WaitForDrainCompletion(natsd->actions[i].subscription, LEAVE_LIMIT_MS);
        }
    }
}

void cli_natsd_leave(struct cli_natsd *natsd) {
    if (natsd == NULL) {
        return;
    }
    unsubscribe(natsd, true);
    struct timespec until = cli_deadline(LEAVE_LIMIT_MS);
    pthread_mutex_lock(&natsd->lock);
    while (natsd->working != 0 &&
           pthread_cond_timedwait(&natsd->settled, &natsd->lock, &until) != ETIMEDOUT) {
    }
    pthread_mutex_unlock(&natsd->lock);
}

bool cli_natsd_stop(struct cli_natsd *natsd) {
    if (natsd == NULL) {
        return true;
    }
    atomic_store(&natsd->running, false);
    unsubscribe(natsd, false);
    if (natsd->pool != NULL) {
        cli_pool_stop(natsd->pool);
    }
    if (natsd->connection != NULL) {
        natsConnection_FlushTimeout(natsd->connection, LEAVE_LIMIT_MS);
    }
    for (size_t i = 0; i < ACTIONS; i++) {
        natsSubscription_Destroy(natsd->actions[i].subscription);
    }
    if (!cli_nats_close(natsd->connection, natsd->options)) {
        return false;
    }
    cli_pool_destroy(natsd->pool);
    if (natsd->lost_fd >= 0) {
        close(natsd->lost_fd);
    }
    cli_url_free(&natsd->url);
    pthread_mutex_destroy(&natsd->lock);
    pthread_cond_destroy(&natsd->settled);
    free(natsd);
    return true;
}
