/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the requests of get, put and ls reach a server: over HTTP or over NATS, which the scheme of
 * the URL decides. A channel moves one request and its answer; what they mean is the same on both.
 */
#ifndef CLI_CHANNEL_H
#define CLI_CHANNEL_H

#include <jansson.h>

#include "common/api.h"
#include "common/text.h"
#include "credentials.h"
#include "url.h"

struct cli_channel_options {
    const char *token; /* of the Ropeway server; NULL: none */
    struct cli_credentials credentials;
    uint32_t timeout_ms; /* how long a server may be silent, and how long one that is busy is asked
                            again */
};

/* A request. */
struct cli_query {
    enum cli_route route; /* LIST, READ, WRITE or TRANSFER */
    const char *name;     /* READ, WRITE */
    const char *after;    /* LIST: the names that follow this one; "": all */
    uint32_t page;        /* LIST: so many of them at most */
    const char *transfer; /* TRANSFER */
    const char *server;   /* TRANSFER: which of the servers behind the URL has it; "": unknown */
    uint32_t wait_s;      /* TRANSFER */
    json_t *body;         /* an object with the rest; NULL: nothing */
    size_t limit;         /* the longest answer to be taken, in bytes */
};

/* What came back. */
struct cli_reply {
    int status;         /* as HTTP numbers them */
    long retry_after_s; /* of a busy server; else 0 */
    char *data;         /* length bytes; to be freed */
    size_t length;
    size_t capacity;
    char sentence[CLI_SENTENCE_SIZE]; /* why it is refused, where the data do not say it; else "" */
};

struct cli_channel;

/* One kind of channel: channel_http.c, channel_nats.c. */
struct cli_channel_kind {
    /* NULL: a sentence was printed, or a signal came. The URL must stay. */
    struct cli_channel *(*open)(const struct cli_url *url,
                                const struct cli_channel_options *options);
    /* Sends a request and waits for the answer. False: a sentence was printed, or a signal came.
     * reply->data is to be freed in both cases. */
    bool (*send)(struct cli_channel *channel, const struct cli_query *ask, struct cli_reply *reply);
    void (*close)(struct cli_channel *channel);
};

extern const struct cli_channel_kind cli_channel_http, cli_channel_nats;

/* The first member of each kind's own struct. */
struct cli_channel {
    const struct cli_channel_kind *kind;
    const char *base; /* the server, for messages */
    uint32_t timeout_ms;
};

/* NULL: a sentence was printed, or a signal came. The URL must stay. */
struct cli_channel *cli_channel_open(const struct cli_url *url,
                                     const struct cli_channel_options *options);
void cli_channel_close(struct cli_channel *channel);

/* Sends a request, again while the server is busy, and returns the answer, a JSON object to be
 * freed. NULL: a sentence was printed, or a signal came. */
json_t *cli_channel_call(struct cli_channel *channel, const struct cli_query *ask);

#endif
