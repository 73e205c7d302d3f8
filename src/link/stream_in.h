/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What comes in by a stream link. Small frames are read into a buffer of the link's and shown from
 * there; a bulk frame that is not here as a whole is shown by its header, and its bytes are then
 * read straight to where they belong, together with the beginning of the next frame. One that
 * nobody wants, or whose place was taken back, is read and dropped.
 */
#ifndef RW_STREAM_IN_H
#define RW_STREAM_IN_H

#include "link/link.h"
#include "link/stream_wire.h"

typedef enum rw_in_state {
    RW_IN_HEAD,    /* a frame's head is next, or the whole of a small one */
    RW_IN_PAYLOAD, /* the rest of a bulk payload */
    RW_IN_TRAILER
} rw_in_state_t;

typedef struct rw_in {
    rw_link_t *link;
    /* A frame that is neither control nor bulk. NULL, or what is wrong with it, as a phrase. */
    const char *(*on_word)(rw_link_t *link, const rw_head_t *head, const uint8_t *payload);
    uint8_t *staging; /* bytes that were read and not looked at: from `from` to `to` */
    size_t from, to;
    rw_in_state_t state;
    rw_head_t head;     /* of the bulk frame under way */
    size_t left;        /* bytes of its payload that have not come */
    rw_flight_t *place; /* where they go; NULL: nowhere */
    rw_node_t voided;   /* places whose frame the sender gave up; it will say why */
    bool stopped;       /* nothing more is shown */
    bool any;           /* bytes have come since this was cleared */
    const char *wrong;  /* how the other side broke the rules; NULL: it has not */
} rw_in_t;

/* false: out of memory. */
bool rw_in_init(rw_in_t *in, rw_link_t *link);
/* Nothing is placed any more. */
void rw_in_free(rw_in_t *in);
/* Reads and shows frames, at most about *budget bytes, which are subtracted. 1: there may be more;
 * or RW_WIRE_*: broken, with in->wrong, if the other side broke the rules. */
int rw_in_work(rw_in_t *in, rw_wire_t *wire, size_t *budget) RW_LOCKED;
/* Gives back the places of this tag: no byte lands there any more. */
void rw_in_abandon(rw_in_t *in, const void *tag) RW_LOCKED;
/* Gives back all places, and shows nothing more. */
void rw_in_stop(rw_in_t *in, ropeway_error_t error, const char *why) RW_LOCKED;

#endif
