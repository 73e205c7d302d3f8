/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a stream link, apart from TLS: greetings and frames. docs/wire.md has them byte by
 * byte. All integers are little-endian. Everything read here may come from a stranger.
 *
 * Whoever connects sends a greeting of a fixed length, in clear, and gets one back. With TLS the
 * handshake follows, and the rest goes inside; without, frames follow at once.
 */
#ifndef RW_STREAM_FRAME_H
#define RW_STREAM_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RW_STREAM_VERSION 1
#define RW_FINGERPRINT_BYTES 32 /* SHA-256 of a SubjectPublicKeyInfo */

/* ---- greetings ---- */

#define RW_GREETING_BYTES 64

typedef enum rw_greeting_kind {
    RW_GREETING_CALL = 1,  /* of whoever connects */
    RW_GREETING_ANSWER = 2 /* of whoever listens */
} rw_greeting_kind_t;

typedef enum rw_greeting_verdict {
    RW_GREETING_WELCOME = 0,
    RW_GREETING_VERSION = 1, /* this version is not spoken here; the answer's is */
    RW_GREETING_ENCRYPT = 2  /* not without TLS */
} rw_greeting_verdict_t;

typedef struct rw_greeting {
    uint8_t version;
    uint8_t kind;    /* rw_greeting_kind_t */
    uint8_t tls;     /* CALL: 1: TLS follows; ANSWER: the same, repeated */
    uint8_t verdict; /* rw_greeting_verdict_t; CALL: 0 */
    /* ANSWER: whose place this is, as a claim; CALL: zeroes. What a stranger's metadata says is not
     * sent to an address that it names. */
    uint8_t fingerprint[RW_FINGERPRINT_BYTES];
} rw_greeting_t;

void rw_greeting_encode(const rw_greeting_t *greeting, uint8_t bytes[RW_GREETING_BYTES]);
/* false: it is none of this kind. A greeting of another version has nothing but its version and
 * kind. */
bool rw_greeting_decode(const uint8_t bytes[RW_GREETING_BYTES], rw_greeting_kind_t kind,
                        rw_greeting_t *greeting);

/* ---- frames ---- */

/* A frame: a head of a fixed length, the payload, and a trailer behind a bulk payload. */
#define RW_HEAD_BYTES 72
#define RW_HEAD_HEADER 64 /* of them are for the frame's header, zeroes behind it */
/* Payloads: of a control frame, which is looked at as a whole, and of a bulk frame. */
#define RW_STREAM_CONTROL_MAX ((size_t)15 << 10)
#define RW_STREAM_BULK_MAX ((size_t)256 << 10)

typedef enum rw_frame_class {
    RW_FRAME_CONTROL = 1,
    RW_FRAME_BULK = 2,
    /* Between processes of one user on one host only; see stream_pull.h. */
    RW_FRAME_LENT = 3,    /* a bulk frame whose bytes are to be fetched: rw_loan_t */
    RW_FRAME_FETCHED = 4, /* what became of one: rw_fetched_t */
    RW_FRAME_PROBE = 5,   /* look whether you can fetch: rw_probe_t */
    RW_FRAME_PROBED = 6,  /* you can lend: nothing */
    /* The same; see stream_ring.h. */
    RW_FRAME_RING = 7,       /* take this memory, whose descriptor comes along: nothing */
    RW_FRAME_RING_TAKEN = 8, /* what follows from here goes by it: nothing */
    RW_FRAME_RING_BEGUN = 9  /* the same, of whoever gave it: nothing */
} rw_frame_class_t;
#define RW_FRAME_CLASSES 9

/* Behind the payload of a bulk frame, if it has one. */
typedef enum rw_trailer {
    RW_TRAILER_WHOLE = 0,
    RW_TRAILER_VOID = 1 /* the sender gave the frame up in its middle: zeroes stand for the rest */
} rw_trailer_t;

typedef struct rw_head {
    uint32_t length;       /* of the payload */
    uint8_t class;         /* rw_frame_class_t */
    uint8_t header_length; /* 1 to RW_HEAD_HEADER; 0 from RW_FRAME_FETCHED on */
    uint8_t header[RW_HEAD_HEADER];
} rw_head_t;

void rw_head_encode(const rw_head_t *head, uint8_t bytes[RW_HEAD_BYTES]);
/* NULL, or what is wrong with it, as a phrase. */
const char *rw_head_decode(const uint8_t bytes[RW_HEAD_BYTES], rw_head_t *head);

/* Bytes to be fetched. */
typedef struct rw_loan {
    uint64_t id;      /* the lender's name for it */
    uint64_t address; /* of the bytes, or of a table of their pieces */
    uint64_t length;  /* of the bytes */
    uint32_t pieces;  /* 1, or how many the table has */
} rw_loan_t;

typedef struct rw_fetched {
    uint64_t id;
    uint8_t failed; /* 1: the memory can't be read; no more should be lent */
} rw_fetched_t;

#define RW_NONCE_BYTES 32
typedef struct rw_probe {
    uint64_t address;
    uint8_t nonce[RW_NONCE_BYTES]; /* what is there */
} rw_probe_t;

#define RW_LOAN_BYTES 28
#define RW_FETCHED_BYTES 9
#define RW_PROBE_BYTES 40
#define RW_WORD_MAX 40 /* the longest of these */

void rw_loan_encode(const rw_loan_t *loan, uint8_t bytes[RW_LOAN_BYTES]);
void rw_loan_decode(const uint8_t bytes[RW_LOAN_BYTES], rw_loan_t *loan);
void rw_fetched_encode(const rw_fetched_t *fetched, uint8_t bytes[RW_FETCHED_BYTES]);
void rw_fetched_decode(const uint8_t bytes[RW_FETCHED_BYTES], rw_fetched_t *fetched);
void rw_probe_encode(const rw_probe_t *probe, uint8_t bytes[RW_PROBE_BYTES]);
void rw_probe_decode(const uint8_t bytes[RW_PROBE_BYTES], rw_probe_t *probe);

static inline bool rw_head_has_trailer(const rw_head_t *head) {
    return head->class == RW_FRAME_BULK && head->length > 0;
}

#endif
