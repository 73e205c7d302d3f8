/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The requests that `ropeway serve` understands: from the bytes of an HTTP request or a NATS
 * message to a checked struct. No input and output, no state: this is where foreign bytes are
 * judged, and what the fuzzer drives.
 */
#ifndef CLI_REQUEST_H
#define CLI_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/api.h"
#include "common/checksum.h"
#include "common/name.h"
#include "common/text.h"

struct cli_request {
    enum cli_route route;
    const char *peer;         /* who asks, for the log. Set by the channel, as answer_max is */
    char name[CLI_NAME_SIZE]; /* READ, WRITE */
    uint64_t offset;          /* READ */
    uint64_t length;          /* READ; CLI_TO_THE_END when not given */
    bool want_checksum;       /* READ: "checksum": true */
    uint64_t size;            /* WRITE */
    char checksum[CLI_CHECKSUM_SIZE];    /* WRITE: what the bytes must have; "" when not given */
    char transfer[CLI_TRANSFER_ID_SIZE]; /* TRANSFER */
    uint32_t wait_s;                     /* TRANSFER */
    bool is_page;                        /* LIST: a part of it was asked for, or is all there is */
    char after[CLI_NAME_SIZE];           /* LIST: only the names that follow this one; "": all */
    size_t limit;                        /* LIST: at most so many names; 0: as the server likes */
    size_t answer_max;                   /* LIST: the bytes of an answer, which may end early then;
                                            0: any. Set by the channel, not by the client */
};

/* Why a request is refused. */
struct cli_refusal {
    int status;        /* of HTTP */
    const char *allow; /* the Allow header of a 405, else NULL */
    int retry_after;   /* seconds, for a client that may try again; else 0 */
    char text[CLI_SENTENCE_SIZE];
};

/* target: the path with its query, as it came, without any decoding. body: length bytes, which need
 * no final NUL. False: refusal says why. */
bool cli_request_parse(const char *method, const char *target, const char *body, size_t length,
                       struct cli_request *request, struct cli_refusal *refusal);

/* The same of a NATS message. route: LIST, READ, WRITE or TRANSFER, which the subject says; all
 * else is in the body, "name", "after", "transfer" and "wait" too. */
bool cli_request_parse_message(enum cli_route route, const char *body, size_t length,
                               struct cli_request *request, struct cli_refusal *refusal);

/* Whether a target is one that monitors and tools may ask for without a token, whatever they call
 * the server. */
bool cli_request_is_open(const char *target);

/* Sets a refusal and returns false. */
bool cli_refuse(struct cli_refusal *refusal, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
