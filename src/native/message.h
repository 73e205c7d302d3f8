/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The native protocol's messages: what travels between two Ropeway connectors, by a stream or as
 * UCX active messages. docs/wire.md tells the conversation; this file holds the bytes. All integers
 * are little-endian. Everything read here comes from the network: lengths are checked before use.
 */
#ifndef RW_MESSAGE_H
#define RW_MESSAGE_H

#include "base/table.h"
#include "ropeway.h"
#include "text/hello.h"

#include <stdbool.h>

#define RW_MESSAGE_BYTES 64
#define RW_TEXT_MAX 512 /* longest sentence in a FIN */
#define RW_SUMS_MAX 512 /* checksums in one SUMS */

typedef enum rw_message_type {
    RW_REQUEST = 1, /* active to passive: begin; payload: fields, perhaps data */
    RW_ACCEPT = 2,  /* passive receiver to active sender: send */
    RW_DATA = 3,    /* sender to receiver: payload goes to offset */
    RW_SUMS = 4,    /* sender to receiver: checksums of descriptors */
    RW_DONE = 5,    /* receiver to sender: every byte is here (and verified) */
    RW_FIN = 6,     /* either: the outcome that I have decided; payload: sentence */
    RW_BYE = 7,     /* either: I close the connection of this token */
    RW_WAY = 8      /* passive to active: come again by this hello; none: by this link */
} rw_message_type_t;

enum {
    RW_FLAG_READ = 1u << 0,      /* REQUEST: a READ, else a WRITE */
    RW_FLAG_INTEGRITY = 1u << 1, /* REQUEST, ACCEPT, DATA: checksums are wanted or will come */
    RW_FLAG_DEVICE = 1u << 2,    /* REQUEST, ACCEPT: my memory is not all host memory */
    RW_FLAG_INLINE = 1u << 3,    /* REQUEST: the data follows the fields */
    RW_FLAG_GONE = 1u << 4,      /* BYE: my connector closes, for good */
    RW_FLAG_DAMAGED = 1u << 5,   /* DONE: but not with your checksums; did you hold the memory? */
    RW_FLAG_ASK = 1u << 7        /* REQUEST: by which hello do I reach your second carrier? */
};

/* The header of every message. */
typedef struct rw_message {
    uint8_t type;    /* rw_message_type_t */
    uint8_t version; /* of the sender */
    uint16_t flags;
    uint8_t to[RW_ID_BYTES];   /* the receiver's operation */
    uint8_t from[RW_ID_BYTES]; /* the sender's operation; BYE: the sender's hello id */
    /* What the sender calls this connection, for the receiver's eyes only: who repeats it in a BYE
     * is the one who said it before. */
    uint8_t token[RW_ID_BYTES];
    union {
        struct {
            uint64_t total;  /* of the descriptors' sizes */
            uint64_t digest; /* of these sizes */
            uint32_t count, fields_length;
        } request;
        struct {
            uint64_t grain; /* see rw_request_t; 0: no wish */
        } accept;
        struct {
            uint64_t offset; /* in the descriptors laid end to end */
        } data;
        struct {
            uint64_t first; /* index of the first checksum in the payload */
        } sums;
        struct {
            uint32_t status, error; /* ropeway_status_t, ropeway_error_t */
        } fin;
    };
} rw_message_t;

void rw_message_encode(const rw_message_t *message, uint8_t bytes[RW_MESSAGE_BYTES]);

/* The token of a REQUEST lies in the payload: it stays zero here.
 * ROPEWAY_OK; ERR_PROTOCOL (too short, no such type, a field out of range); ERR_VERSION (type,
 * version and ids are filled in, so that it can be answered). payload_length is checked against the
 * type. */
ropeway_error_t rw_message_decode(const void *bytes, size_t length, size_t payload_length,
                                  rw_message_t *message);

/* What a REQUEST's payload says. Decoded: everything points into it. */
typedef struct rw_request {
    const uint8_t *hello; /* of the sender */
    size_t hello_length;
    const uint8_t *token; /* RW_ID_BYTES */
    /* A receiver whose descriptors lie in pieces says how messages should be cut: none shall be
     * longer than the grain, or cross a multiple of it in a descriptor. 0: no wish. */
    uint64_t grain;
    /* A prefix of the offer is wanted: the descriptors' sizes, as runs of equal ones, each of
     * RW_RUN_BYTES. With no run they are those of the first descriptors on offer. */
    bool is_prefix;
    const uint8_t *runs;
    size_t run_count;
    const char *trace; /* the user's, as it was sent; not ended by a NUL */
    size_t trace_length;
    const uint8_t *data; /* RW_FLAG_INLINE */
    size_t length;
} rw_request_t;

/* The least grain that a sender follows. */
#define RW_GRAIN_LEAST 16384
#define RW_RUN_BYTES 12

/* Bytes of the fields. */
size_t rw_request_length(const rw_request_t *request);
/* Writes the fields; returns where they end. */
uint8_t *rw_request_encode(const rw_request_t *request, uint8_t *bytes);
/* ROPEWAY_OK, ERR_PROTOCOL (malformed), ERR_VERSION (it needs what is not known here). */
ropeway_error_t rw_request_decode(const rw_message_t *message, const uint8_t *payload,
                                  size_t length, rw_request_t *request);

/* Returns how many there are; bytes: NULL: only that. */
size_t rw_message_put_runs(const ropeway_descriptor_t *descriptors, size_t count, uint8_t *bytes);
/* false: they are not those of this many sizes. */
bool rw_message_read_runs(const uint8_t *bytes, size_t runs, uint64_t *sizes, size_t count);

/* Digest of the descriptors' sizes. */
uint64_t rw_message_digest(const ropeway_descriptor_t *descriptors, size_t count);

#endif
