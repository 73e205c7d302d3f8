/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to the servers behind one prefix of subjects. A request is sent again on the next
 * connection when its own is lost, and when nothing came of it for a while: the server that got it
 * may have died, and another one of the group answers. Nothing bad comes of a server that gets it
 * twice, because an offer that nobody begins is dropped.
 */
#include <stdlib.h>
#include <string.h>

#include "channel.h"
#include "common/api.h"
#include "common/clock.h"
#include "common/message.h"
#include "common/text.h"
#include "nats_mailbox.h"

#define SENDINGS 3         /* of a request that nobody answers, within the timeout */
#define AGAIN_PAUSE_MS 100 /* while the servers find their way back to a NATS server */

struct nats {
    struct cli_channel channel;
    const char *subject; /* the prefix */
    char *authorization; /* the header; NULL: none */
    struct cli_mailbox *mailbox;
    uint64_t back_ms; /* when the connection was made again; 0: never lost */
};

static void nats_close(struct cli_channel *channel) {
    struct nats *nats = (struct nats *)channel;
    cli_mailbox_destroy(nats->mailbox);
    if (nats->authorization != NULL) {
        explicit_bzero(nats->authorization, strlen(nats->authorization));
    }
    free(nats->authorization);
    free(nats);
}

static struct cli_channel *nats_open(const struct cli_url *url,
                                     const struct cli_channel_options *options) {
    struct nats *nats = calloc(1, sizeof *nats);
    char *authorization = options->token != NULL ? cli_format("Bearer %s", options->token) : NULL;
    if (nats == NULL || (options->token != NULL && authorization == NULL)) {
        cli_fail("out of memory");
        free(nats);
        free(authorization);
        return NULL;
    }
    *nats = (struct nats){.channel = {&cli_channel_nats, url->base, options->timeout_ms},
                          .subject = url->subject,
                          .authorization = authorization,
                          .mailbox =
                              cli_mailbox_create(url, &options->credentials, options->timeout_ms)};
    if (nats->mailbox != NULL) {
        return &nats->channel;
    }
    nats_close(&nats->channel);
    return NULL;
}

/* ---- One request --------------------------------------------------------------------- */

static char *subject_of(const struct nats *nats, const struct cli_query *ask) {
    const char *prefix = nats->subject;
    if (ask->route == CLI_ROUTE_TRANSFER) {
        return cli_format("%s.transfer%s%s", prefix, *ask->server != '\0' ? "." : "", ask->server);
    }
    return cli_format("%s.%s", prefix,
                      ask->route == CLI_ROUTE_LIST   ? "list"
                      : ask->route == CLI_ROUTE_READ ? "read"
                                                     : "write");
}

static char *body_of(const struct cli_query *ask) {
    json_t *body = ask->body != NULL ? json_copy(ask->body) : json_object();
    if (ask->name != NULL) {
        json_object_set_new(body, "name", json_string(ask->name));
    }
    if (ask->route == CLI_ROUTE_LIST) {
        json_object_set_new(body, "limit", json_integer(ask->page));
        json_object_set_new(body, "after", json_string(ask->after));
    }
    if (ask->route == CLI_ROUTE_TRANSFER) {
        json_object_set_new(body, "transfer", json_string(ask->transfer));
        json_object_set_new(body, "wait", json_integer(ask->wait_s));
    }
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    return text;
}

/* ---- What is said when it fails -------------------------------------------------------- */

static void fail_send(struct nats *nats, natsStatus status, const char *body) {
    if (status == NATS_MAX_PAYLOAD) {
        cli_fail("the request has %zu bytes and %s takes messages of %lld at most; raise "
                 "'max_payload' there, or use an http:// URL",
                 strlen(body), nats->channel.base,
                 (long long)natsConnection_GetMaxPayload(nats->mailbox->connection));
    } else {
        cli_fail("lost %s: %s; check whether the NATS server still runs", nats->channel.base,
                 natsStatus_GetText(status));
    }
}

static void fail_nobody(struct nats *nats, const char *subject) {
    cli_fail("nobody answers '%s' at %s; check that 'ropeway serve --nats' runs there with "
             "'--subject %s'",
             subject, nats->channel.base, nats->subject);
}

static void fail_silent(struct nats *nats, const char *subject, bool lost) {
    unsigned seconds = (nats->channel.timeout_ms + 999) / 1000;
    if (lost) {
        cli_fail("lost %s, and it did not come back in %u s; check that the NATS server runs",
                 nats->channel.base, seconds);
    } else {
        cli_fail("'%s' at %s was silent for %u s; check the server, or give it more time with "
                 "'--timeout'",
                 subject, nats->channel.base, seconds);
    }
}

/* ---- Sending and waiting --------------------------------------------------------------- */

/* As cli_mailbox_look(). *failed: a sentence was printed. */
static enum cli_event look(struct nats *nats, natsMsg **message, bool *failed) {
    char text[CLI_SENTENCE_SIZE];
    enum cli_event event = cli_mailbox_look(nats->mailbox, message, text);
    *failed = event == CLI_EVENT_REFUSED || event == CLI_EVENT_CLOSED;
    if (event == CLI_EVENT_REFUSED) {
        cli_fail("%s does not permit it: %s; its user must be allowed to publish to '%s.>' and to "
                 "subscribe to '_INBOX.>'",
                 nats->channel.base, text, nats->subject);
    } else if (event == CLI_EVENT_CLOSED) {
        fail_send(nats, NATS_CONNECTION_CLOSED, "");
    } else if (event == CLI_EVENT_BACK) {
        nats->back_ms = cli_now_ms();
    }
    return event;
}

/* Waits until there is a connection. False: a sentence was printed, or a signal came. */
static bool await_connection(struct nats *nats, const char *subject, uint64_t give_up) {
    natsMsg *early;
    bool failed;
    while (look(nats, &early, &failed) == CLI_EVENT_LOST) {
        if (cli_now_ms() >= give_up) {
            fail_silent(nats, subject, true);
            return false;
        }
        if (!cli_mailbox_wait(nats->mailbox, give_up)) {
            return false;
        }
    }
    natsMsg_Destroy(early);
    return !failed;
}

/* Waits for what becomes of a request that was sent: ANSWER, NOBODY or BACK; NONE and LOST when
 * nothing comes until a time. False: a sentence was printed, or a signal came. */
static bool await_answer(struct nats *nats, uint64_t until, natsMsg **message,
                         enum cli_event *event) {
    bool failed;
    for (;;) {
        *event = look(nats, message, &failed);
        if (failed) {
            return false;
        }
        if ((*event != CLI_EVENT_NONE && *event != CLI_EVENT_LOST) || cli_now_ms() >= until) {
            return true;
        }
        if (!cli_mailbox_wait(nats->mailbox, until)) {
            return false;
        }
    }
}

/* Whether servers that do not answer may still be on their way back to the NATS server. */
static bool may_return(struct nats *nats, uint64_t give_up) {
    uint64_t now = cli_now_ms();
    return nats->back_ms != 0 && now < nats->back_ms + nats->channel.timeout_ms && now < give_up;
}

static bool request_once(struct nats *nats, const char *subject, const char *body, uint64_t again,
                         uint64_t give_up, natsMsg **message, enum cli_event *event) {
    if (!await_connection(nats, subject, give_up)) {
        return false;
    }
    natsStatus status = cli_mailbox_send(nats->mailbox, subject, body, nats->authorization);
    if (status == NATS_OK) {
        return await_answer(nats, again, message, event);
    }
    fail_send(nats, status, body);
    return false;
}

/* Sends a request until it is answered, again after again_ms. NULL: a sentence was printed, or a
 * signal came. */
static natsMsg *request(struct nats *nats, const char *subject, const char *body,
                        uint32_t again_ms) {
    uint64_t give_up = cli_now_ms() + nats->channel.timeout_ms;
    cli_mailbox_begin(nats->mailbox);
    for (;;) {
        uint64_t again = cli_now_ms() + again_ms;
        again = again < give_up ? again : give_up;
        natsMsg *message = NULL;
        enum cli_event event;
        if (!request_once(nats, subject, body, again, give_up, &message, &event)) {
            return NULL;
        }
        if (event == CLI_EVENT_ANSWER) {
            return message;
        }
        natsMsg_Destroy(message);
        bool nobody = event == CLI_EVENT_NOBODY;
        if (nobody && !may_return(nats, give_up)) {
            fail_nobody(nats, subject);
            return NULL;
        }
        if (!nobody && cli_now_ms() >= give_up) {
            fail_silent(nats, subject, event == CLI_EVENT_LOST);
            return NULL;
        }
        if (nobody && !cli_mailbox_wait(nats->mailbox, cli_now_ms() + AGAIN_PAUSE_MS)) {
            return NULL;
        }
    }
}

static bool take_reply(struct nats *nats, natsMsg *message, size_t limit, struct cli_reply *reply) {
    const char *code = NULL, *pause = NULL, *sentence = NULL;
    uint64_t status = 200, seconds = 0;
    if (cli_nats_headers_size(message) > CLI_NATS_HEADERS_MAX) {
        cli_fail("the headers of %s are longer than %zu bytes; is this a Ropeway server?",
                 nats->channel.base, CLI_NATS_HEADERS_MAX);
        return false;
    }
    reply->length = (size_t)natsMsg_GetDataLength(message);
    if (reply->length > limit) {
        cli_fail("the answer of %s is longer than %zu bytes; is this a Ropeway server?",
                 nats->channel.base, limit);
        return false;
    }
    free(reply->data);
    reply->capacity = reply->length + 1;
    reply->data = malloc(reply->capacity);
    if (reply->data == NULL) {
        cli_fail("out of memory");
        return false;
    }
    if (reply->length != 0) {
        memcpy(reply->data, natsMsg_GetData(message), reply->length);
    }
    if (natsMsgHeader_Get(message, CLI_NATS_ERROR_CODE, &code) == NATS_OK &&
        !cli_parse_number(code, 400, 599, &status)) {
        status = 500;
    }
    if (natsMsgHeader_Get(message, CLI_NATS_RETRY_AFTER, &pause) == NATS_OK) {
        cli_parse_number(pause, 0, 3600, &seconds);
    }
    if (natsMsgHeader_Get(message, CLI_NATS_ERROR, &sentence) == NATS_OK) {
        cli_sentence(reply->sentence, "%s", sentence);
    }
    reply->status = (int)status;
    reply->retry_after_s = (long)seconds;
    return true;
}

static bool nats_send(struct cli_channel *channel, const struct cli_query *ask,
                      struct cli_reply *reply) {
    struct nats *nats = (struct nats *)channel;
    char *subject = subject_of(nats, ask), *body = body_of(ask);
    /* An outcome is known to one server alone, which may be waiting for it. */
    uint32_t again_ms = channel->timeout_ms / (ask->route == CLI_ROUTE_TRANSFER ? 1 : SENDINGS);
    natsMsg *message = NULL;
    bool taken = false;
    if (subject == NULL || body == NULL) {
        cli_fail("out of memory");
    } else if (cli_mailbox_connect(nats->mailbox)) {
        message = request(nats, subject, body, again_ms);
    }
    if (message != NULL) {
        taken = take_reply(nats, message, ask->limit, reply);
    }
    natsMsg_Destroy(message);
    free(subject);
    free(body);
    return taken;
}

const struct cli_channel_kind cli_channel_nats = {nats_open, nats_send, nats_close};
