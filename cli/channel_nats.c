/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to the servers behind one prefix of subjects, with the NATS library. Its threads put
 * what happens (an answer, a lost or new connection, a refusal of the NATS server) into a mailbox,
 * and the one thread of the command waits for it beside the signals.
 *
 * A request whose connection is lost is sent again on the next one: nothing bad comes of a server
 * that gets it twice, because an offer that nobody begins is dropped.
 */
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "channel.h"
#include "interrupt.h"
#include "nats_link.h"

#define AGAIN_PAUSE_MS 100 /* while the servers find their way back to a NATS server */
#define INBOX_TEXT 256

struct nats {
    struct rw_channel channel;
    char *base;          /* of its own: connecting may outlive the URL */
    char *subject;       /* the prefix */
    char *authorization; /* the header; NULL: none */
    natsOptions *options;
    natsConnection *connection;
    natsSubscription *subscription;
    natsInbox *inbox; /* answers come to "INBOX.NUMBER" */
    uint64_t number;  /* of the latest request */
    uint64_t back_ms; /* when the connection was made again; 0: never lost */
    int wake_fd;      /* an eventfd: the mailbox has news */

    pthread_mutex_t lock; /* of the mailbox */
    natsMsg *message;     /* the latest answer */
    bool lost, back, closed, refused;
    bool done;                   /* connecting has ended */
    bool abandoned;              /* it has not, and whoever connects uses all of this */
    char text[RW_SENTENCE_SIZE]; /* why it failed, or what the NATS server refused */
};

/* ---- The mailbox ------------------------------------------------------------------ */

static void wake(struct nats *nats) {
    uint64_t one = 1;
    ssize_t written = write(nats->wake_fd, &one, sizeof one);
    (void)written; /* a full counter polls readable as well */
}

static void on_message(natsConnection *connection, natsSubscription *subscription, natsMsg *message,
                       void *arg) {
    (void)connection;
    (void)subscription;
    struct nats *nats = arg;
    pthread_mutex_lock(&nats->lock);
    natsMsg_Destroy(nats->message);
    nats->message = message;
    pthread_mutex_unlock(&nats->lock);
    wake(nats);
}

static void note(struct nats *nats, bool *what) {
    pthread_mutex_lock(&nats->lock);
    *what = true;
    pthread_mutex_unlock(&nats->lock);
    wake(nats);
}

static void on_disconnected(natsConnection *connection, void *arg) {
    (void)connection;
    struct nats *nats = arg;
    note(nats, &nats->lost);
}

static void on_reconnected(natsConnection *connection, void *arg) {
    (void)connection;
    struct nats *nats = arg;
    pthread_mutex_lock(&nats->lock);
    nats->lost = false;
    pthread_mutex_unlock(&nats->lock);
    note(nats, &nats->back);
}

static void on_closed(natsConnection *connection, void *arg) {
    (void)connection;
    struct nats *nats = arg;
    note(nats, &nats->closed);
}

static void on_error(natsConnection *connection, natsSubscription *subscription, natsStatus error,
                     void *arg) {
    (void)subscription;
    struct nats *nats = arg;
    const char *words = NULL;
    if (error != NATS_NOT_PERMITTED)
        return;
    natsConnection_GetLastError(connection, &words);
    pthread_mutex_lock(&nats->lock);
    rw_sentence(nats->text, "%s", words && *words ? words : "Permissions Violation");
    pthread_mutex_unlock(&nats->lock);
    note(nats, &nats->refused);
}

/* Sleeps until there is news, or until a time on the monotonic clock. False: a signal came. */
static bool wait_for_news(struct nats *nats, uint64_t until_ms) {
    struct pollfd fds[] = {{.fd = nats->wake_fd, .events = POLLIN},
                           {.fd = rw_interrupt_fd(), .events = POLLIN}};
    uint64_t now = rw_now_ms(), count;
    if (!rw_interrupted())
        poll(fds, 2, until_ms > now ? (int)(until_ms - now) : 0);
    if (fds[0].revents && read(nats->wake_fd, &count, sizeof count) < 0)
        return !rw_interrupted();
    return !rw_interrupted();
}

/* ---- Opening and closing ------------------------------------------------------------ */

/* On a thread of its own, so that a signal is heard while it lasts. */
static void *run_connect(void *arg) {
    struct nats *nats = arg;
    char text[RW_SENTENCE_SIZE] = "";
    natsConnection *connection = rw_nats_connect(nats->options, nats->base, text);
    pthread_mutex_lock(&nats->lock);
    nats->connection = connection;
    memcpy(nats->text, text, sizeof text);
    pthread_mutex_unlock(&nats->lock);
    nats_ReleaseThreadMemory();
    note(nats, &nats->done);
    return NULL;
}

static bool has(struct nats *nats, const bool *what) {
    pthread_mutex_lock(&nats->lock);
    bool holds = *what;
    pthread_mutex_unlock(&nats->lock);
    return holds;
}

/* False: a sentence was printed, or a signal came. */
static bool connect_interruptibly(struct nats *nats) {
    pthread_t thread;
    /* Threads of the NATS library must not take the signals. */
    rw_interrupt_block();
    int error = pthread_create(&thread, NULL, run_connect, nats);
    rw_interrupt_unblock();
    if (error) {
        rw_fail("can't start a thread: %s", rw_errno_text(error));
        return false;
    }
    while (!has(nats, &nats->done)) {
        if (!wait_for_news(nats, rw_now_ms() + 1000)) {
            nats->abandoned = true;
            pthread_detach(thread);
            return false;
        }
    }
    pthread_join(thread, NULL);
    if (!nats->connection)
        rw_fail("%s", nats->text);
    return nats->connection != NULL;
}

static bool subscribe(struct nats *nats) {
    char subject[INBOX_TEXT];
    natsStatus status = natsInbox_Create(&nats->inbox);
    if (status == NATS_OK) {
        snprintf(subject, sizeof subject, "%s.*", nats->inbox);
        status = natsConnection_Subscribe(&nats->subscription, nats->connection, subject,
                                          on_message, nats);
    }
    if (status != NATS_OK)
        rw_fail("can't receive answers from %s: %s", nats->base, natsStatus_GetText(status));
    return status == NATS_OK;
}

static void nats_close(struct rw_channel *channel) {
    struct nats *nats = (struct nats *)channel;
    /* Whoever still connects uses it, until the command's end, which is near. */
    static struct nats *kept; /* so that it does not look lost */
    if (nats->abandoned) {
        kept = nats;
        (void)kept;
        return;
    }
    natsSubscription_Destroy(nats->subscription);
    if (!rw_nats_close(nats->connection, nats->options))
        return; /* one of its threads may still use the rest */
    natsMsg_Destroy(nats->message);
    natsInbox_Destroy(nats->inbox);
    if (nats->authorization)
        explicit_bzero(nats->authorization, strlen(nats->authorization));
    free(nats->authorization);
    free(nats->base);
    free(nats->subject);
    close(nats->wake_fd);
    pthread_mutex_destroy(&nats->lock);
    free(nats);
}

static struct rw_channel *nats_open(const struct rw_url *url,
                                    const struct rw_channel_options *options) {
    struct nats *nats = calloc(1, sizeof *nats);
    char text[RW_SENTENCE_SIZE];
    if (!nats) {
        rw_fail("out of memory");
        return NULL;
    }
    *nats = (struct nats){.channel = {&rw_channel_nats, url->base, options->timeout_ms},
                          .base = strdup(url->base),
                          .subject = strdup(url->subject),
                          .wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                          .lock = PTHREAD_MUTEX_INITIALIZER,
                          .authorization =
                              options->token ? rw_format("Bearer %s", options->token) : NULL};
    struct rw_nats_events events = {on_disconnected, on_reconnected, on_closed, on_error, nats};
    nats->options =
        rw_nats_options(url, &options->credentials, "ropeway", options->timeout_ms, &events, text);
    if (!nats->options)
        rw_fail("%s", text);
    else if (nats->wake_fd < 0 || !nats->base || !nats->subject ||
             (options->token && !nats->authorization))
        rw_fail("out of memory or descriptors");
    else
        return &nats->channel;
    nats_close(&nats->channel);
    return NULL;
}

/* ---- One request --------------------------------------------------------------------- */

static char *subject_of(const struct nats *nats, const struct rw_ask *ask) {
    const char *prefix = nats->subject;
    if (ask->route == RW_ROUTE_TRANSFER)
        return rw_format("%s.transfer%s%s", prefix, *ask->server ? "." : "", ask->server);
    return rw_format("%s.%s", prefix,
                     ask->route == RW_ROUTE_LIST   ? "list"
                     : ask->route == RW_ROUTE_READ ? "read"
                                                   : "write");
}

static char *body_of(const struct rw_ask *ask) {
    json_t *body = ask->body ? json_copy(ask->body) : json_object();
    if (ask->name)
        json_object_set_new(body, "name", json_string(ask->name));
    if (ask->route == RW_ROUTE_TRANSFER) {
        json_object_set_new(body, "transfer", json_string(ask->transfer));
        json_object_set_new(body, "wait", json_integer(ask->wait_s));
    }
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    return text;
}

static natsStatus publish(struct nats *nats, const char *subject, const char *body) {
    char inbox[INBOX_TEXT];
    natsMsg *message = NULL;
    snprintf(inbox, sizeof inbox, "%s.%llu", nats->inbox, (unsigned long long)++nats->number);
    natsStatus status = natsMsg_Create(&message, subject, inbox, body, (int)strlen(body));
    if (status == NATS_OK && nats->authorization)
        status = natsMsgHeader_Set(message, RW_NATS_AUTHORIZATION, nats->authorization);
    if (status == NATS_OK)
        status = natsConnection_PublishMsg(nats->connection, message);
    natsMsg_Destroy(message);
    return status;
}

static bool send_failed(struct nats *nats, natsStatus status, const char *body) {
    if (status == NATS_MAX_PAYLOAD)
        rw_fail("the request has %zu bytes and %s takes messages of %lld at most; raise "
                "'max_payload' there, or use an http:// URL",
                strlen(body), nats->base,
                (long long)natsConnection_GetMaxPayload(nats->connection));
    else
        rw_fail("lost %s: %s; check whether the NATS server still runs", nats->base,
                natsStatus_GetText(status));
    return false;
}

/* Takes the answer to the latest request out of the mailbox; NULL: it is not there. */
static natsMsg *take_message(struct nats *nats) {
    pthread_mutex_lock(&nats->lock);
    natsMsg *message = nats->message;
    nats->message = NULL;
    pthread_mutex_unlock(&nats->lock);
    const char *dot = message ? strrchr(natsMsg_GetSubject(message), '.') : NULL;
    uint64_t number;
    if (dot && rw_parse_number(dot + 1, 0, UINT64_MAX, &number) && number == nats->number)
        return message;
    natsMsg_Destroy(message);
    return NULL;
}

/* What a request waits for. */
enum news { NEWS_NONE, NEWS_ANSWER, NEWS_NOBODY, NEWS_LOST, NEWS_BACK, NEWS_FAILED };

/* Looks into the mailbox. */
static enum news look(struct nats *nats, natsMsg **message) {
    *message = take_message(nats);
    if (*message)
        return natsMsg_IsNoResponders(*message) ? NEWS_NOBODY : NEWS_ANSWER;
    char text[RW_SENTENCE_SIZE];
    pthread_mutex_lock(&nats->lock);
    bool back = nats->back, closed = nats->closed, refused = nats->refused, lost = nats->lost;
    nats->back = nats->refused = false;
    memcpy(text, nats->text, sizeof text);
    pthread_mutex_unlock(&nats->lock);
    if (refused)
        rw_fail("%s does not permit it: %s; its user must be allowed to publish to '%s.>' and to "
                "subscribe to '_INBOX.>'",
                nats->base, text, nats->subject);
    else if (closed)
        send_failed(nats, NATS_CONNECTION_CLOSED, "");
    if (refused || closed)
        return NEWS_FAILED;
    if (back)
        nats->back_ms = rw_now_ms();
    return lost ? NEWS_LOST : back ? NEWS_BACK : NEWS_NONE;
}

static void fail_silent(struct nats *nats, const char *subject, bool lost) {
    unsigned seconds = (nats->channel.timeout_ms + 999) / 1000;
    if (lost)
        rw_fail("lost %s, and it did not come back in %u s; check that the NATS server runs",
                nats->base, seconds);
    else
        rw_fail("'%s' at %s was silent for %u s; check the server, or give it more time with "
                "'--timeout'",
                subject, nats->base, seconds);
}

/* Waits until there is a connection. False: a sentence was printed, or a signal came. */
static bool await_connection(struct nats *nats, const char *subject, uint64_t give_up) {
    natsMsg *late;
    enum news news;
    while ((news = look(nats, &late)) == NEWS_LOST) {
        if (rw_now_ms() >= give_up) {
            fail_silent(nats, subject, true);
            return false;
        }
        if (!wait_for_news(nats, give_up))
            return false;
    }
    natsMsg_Destroy(late);
    return news != NEWS_FAILED;
}

/* Waits for what becomes of a request that was sent. */
static enum news await_answer(struct nats *nats, const char *subject, uint64_t give_up,
                              natsMsg **message) {
    for (;;) {
        enum news news = look(nats, message);
        if (news != NEWS_NONE && news != NEWS_LOST)
            return news;
        if (rw_now_ms() >= give_up) {
            fail_silent(nats, subject, news == NEWS_LOST);
            return NEWS_FAILED;
        }
        if (!wait_for_news(nats, give_up))
            return NEWS_FAILED;
    }
}

/* Whether servers that do not answer may still be on their way back to the NATS server. */
static bool may_return(struct nats *nats, uint64_t give_up) {
    uint64_t now = rw_now_ms();
    return nats->back_ms && now < nats->back_ms + nats->channel.timeout_ms && now < give_up;
}

static natsMsg *request_once(struct nats *nats, const char *subject, const char *body,
                             uint64_t give_up, enum news *news) {
    natsMsg *message = NULL;
    *news = NEWS_FAILED;
    if (!await_connection(nats, subject, give_up))
        return NULL;
    natsStatus status = publish(nats, subject, body);
    if (status == NATS_OK)
        *news = await_answer(nats, subject, give_up, &message);
    else
        send_failed(nats, status, body);
    if (*news == NEWS_ANSWER)
        return message;
    natsMsg_Destroy(message);
    return NULL;
}

/* Sends a request until it is answered; NULL: a sentence was printed, or a signal came. */
static natsMsg *request(struct nats *nats, const char *subject, const char *body) {
    uint64_t give_up = rw_now_ms() + nats->channel.timeout_ms;
    for (;;) {
        enum news news;
        natsMsg *message = request_once(nats, subject, body, give_up, &news);
        if (news == NEWS_ANSWER || news == NEWS_FAILED)
            return message;
        if (news != NEWS_NOBODY)
            continue;
        if (!may_return(nats, give_up)) {
            rw_fail("nobody answers '%s' at %s; check that 'ropeway serve --nats' runs there with "
                    "'--subject %s'",
                    subject, nats->base, nats->subject);
            return NULL;
        }
        if (!wait_for_news(nats, rw_now_ms() + AGAIN_PAUSE_MS))
            return NULL;
    }
}

static bool take_reply(struct nats *nats, natsMsg *message, size_t limit, struct rw_reply *reply) {
    const char *code = NULL, *pause = NULL, *sentence = NULL;
    uint64_t status = 200, seconds = 0;
    reply->length = (size_t)natsMsg_GetDataLength(message);
    if (reply->length > limit) {
        rw_fail("the answer of %s is longer than %zu bytes; is this a Ropeway server?", nats->base,
                limit);
        return false;
    }
    free(reply->data);
    reply->capacity = reply->length + 1;
    reply->data = malloc(reply->capacity);
    if (!reply->data) {
        rw_fail("out of memory");
        return false;
    }
    if (reply->length)
        memcpy(reply->data, natsMsg_GetData(message), reply->length);
    if (natsMsgHeader_Get(message, RW_NATS_ERROR_CODE, &code) == NATS_OK &&
        !rw_parse_number(code, 400, 599, &status))
        status = 500;
    if (natsMsgHeader_Get(message, RW_NATS_RETRY_AFTER, &pause) == NATS_OK)
        rw_parse_number(pause, 0, 3600, &seconds);
    if (natsMsgHeader_Get(message, RW_NATS_ERROR, &sentence) == NATS_OK)
        rw_sentence(reply->sentence, "%s", sentence);
    reply->status = (int)status;
    reply->retry_after_s = (long)seconds;
    return true;
}

static bool nats_send(struct rw_channel *channel, const struct rw_ask *ask,
                      struct rw_reply *reply) {
    struct nats *nats = (struct nats *)channel;
    char *subject = subject_of(nats, ask), *body = body_of(ask);
    natsMsg *message = NULL;
    bool taken = false;
    if (!subject || !body)
        rw_fail("out of memory");
    else if (nats->subscription || (connect_interruptibly(nats) && subscribe(nats)))
        message = request(nats, subject, body);
    if (message)
        taken = take_reply(nats, message, ask->limit, reply);
    natsMsg_Destroy(message);
    free(subject);
    free(body);
    return taken;
}

const struct rw_channel_kind rw_channel_nats = {nats_open, nats_send, nats_close};
