/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a stream link has to send: references to flights, whose memory is not copied. Control frames
 * go first, in order. Bulk frames take turns by their tags, that is by operations: deficit round
 * robin, so that each gets the same share in bytes and a small operation does not wait for a large
 * one. A frame that has begun is finished before another one begins; when its flight is taken back
 * meanwhile, zeroes stand for the rest of it, and its trailer says so.
 *
 * Before all of them go words: short frames of the link's own. A flight that lends is announced
 * only, takes its turn like any other, and is kept until the other side says that it has fetched
 * the bytes.
 */
#ifndef RW_STREAM_OUT_H
#define RW_STREAM_OUT_H

#include "link/flight.h"
#include "link/stream_wire.h"

typedef struct rw_out {
    rw_node_t words;
    size_t word_count;   /* of these */
    rw_node_t control;   /* flights */
    rw_node_t lanes;     /* of tags with bulk flights; the next in turn first */
    rw_node_t spare;     /* lanes without a tag */
    rw_table_t by_tag;   /* lanes */
    rw_node_t lent;      /* flights that the other side has been told of, in this order */
    uint64_t loans;      /* the name of the last one; no other link's is likely to have it */
    size_t count;        /* flights and words in all, those that are lent left out */
    bool begun;          /* a frame is under way */
    rw_flight_t *flight; /* its flight; NULL: it was taken back */
    rw_head_t head;      /* the frame's */
    uint8_t bytes[RW_HEAD_BYTES + RW_WORD_MAX]; /* the head, and what follows it of our own */
    size_t lead;                                /* bytes of that */
    uint8_t trailer;
    size_t at; /* bytes of the frame that the wire has taken */
} rw_out_t;

/* false: out of memory. */
bool rw_out_init(rw_out_t *out);
/* Nothing is left in it. */
void rw_out_free(rw_out_t *out);

/* Takes a flight. Errors: ERR_LIMIT (longer than a frame may be), ERR_NO_MEMORY. */
ropeway_error_t rw_out_add(rw_out_t *out, rw_flight_t *flight) RW_LOCKED;
/* Sends a word. payload: RW_WORD_MAX bytes at most. false: out of memory, or too many wait. */
bool rw_out_say(rw_out_t *out, rw_frame_class_t class, const void *payload,
                size_t length) RW_LOCKED;
/* The other side has done with a loan; one that was taken back is no business. */
void rw_out_regain(rw_out_t *out, uint64_t loan, ropeway_error_t error, const char *why) RW_LOCKED;
/* Whether the other side has been told of this loan, and it was not taken back. */
bool rw_out_is_lent(const rw_out_t *out, uint64_t loan) RW_LOCKED;
/* Gives back all that is lent. */
void rw_out_recall(rw_out_t *out, ropeway_error_t error, const char *why) RW_LOCKED;
/* Hands frames to the wire, at most about *budget bytes, which are subtracted. Calls done(). 1: all
 * are gone; RW_WIRE_AGAIN: the budget or the room on the wire is; or another RW_WIRE_*. */
int rw_out_work(rw_out_t *out, rw_wire_t *wire, size_t *budget) RW_LOCKED;
/* Gives back the flights of this tag. */
void rw_out_abandon(rw_out_t *out, const void *tag) RW_LOCKED;
/* Gives back all. */
void rw_out_give_up(rw_out_t *out, ropeway_error_t error, const char *why) RW_LOCKED;
/* Whether there is anything to send, or to finish. */
static inline bool rw_out_is_empty(const rw_out_t *out) {
    return out->count == 0 && !out->begun;
}

#endif
