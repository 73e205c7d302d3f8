/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What to send, and how: decided here alone, from what is known of both sides, without side
 * effects. Those who send and receive do as they are told here; tests/unit/test_decide.c holds it
 * against a slower, more obvious way of deciding.
 */
#ifndef RW_DECIDE_H
#define RW_DECIDE_H

#include "link/flight.h"
#include "operation/layout.h"

/* Messages up to this size travel eagerly (copied by the link at once), larger ones are lent. */
#define RW_EAGER_MAX ((size_t)16 << 10)
/* All of an operation of up to this size does, between host memories, unless the link has a limit
 * of its own. */
#define RW_EAGER_TOTAL ((size_t)64 << 10)
/* Small neighbouring pieces are gathered into messages of up to this size. */
#define RW_GATHER_MAX ((size_t)512 << 10)
/* A WRITE of up to this size sends its bytes inside the request. */
#define RW_INLINE_MAX ((size_t)8 << 10)
/* A lent message that spans several pieces of the sender or the receiver may have this size. */
#define RW_SCATTER_MAX ((size_t)1 << 20)
/* Pieces of at least this size get messages of their own; smaller ones go together, in messages of
 * RW_GATHER_MAX or, where they are fetched, RW_SCATTER_MAX. */
#define RW_GRAIN_MIN ((size_t)256 << 10)

/* What a sender knows. */
typedef struct rw_situation {
    const rw_layout_t *layout;
    size_t chunk_size;     /* the connector's option */
    size_t frame_max;      /* the link's: the longest message; 0: any */
    bool pushes;           /* the link lends nothing */
    bool lists;            /* it lends many pieces at a time */
    size_t eager_total;    /* operations of up to this size between host memories are not lent */
    bool remote_device;    /* the receiver's memory is not all host memory */
    uint64_t remote_grain; /* how the receiver would like messages to be cut; 0: no wish */
} rw_situation_t;

/* The next message. */
typedef struct rw_cut {
    size_t length;
    bool gather; /* it holds several pieces: they are copied together */
    bool list;   /* it holds several pieces, and lends them as they are */
    bool lend;   /* the receiver fetches it from our memory */
} rw_cut_t;

/* At the cursor, which is not at the end. */
rw_cut_t rw_decide_cut(const rw_situation_t *situation, const rw_cursor_t *cursor);

/* The same for a get or put of what a NIXL agent has; it ends with the descriptor, and lends
 * nothing. */
rw_cut_t rw_decide_piece(const rw_layout_t *layout, size_t chunk_size, const rw_cursor_t *cursor);

/* Whether the bytes of a WRITE go with its request. */
bool rw_decide_inline(const rw_layout_t *layout, bool integrity);

/* How a sender should cut its messages for us: at the edges of the pieces, when these are large and
 * all alike (the last of a group may be shorter); else so short that we can copy the bytes to their
 * places. 0: as it likes. */
uint64_t rw_decide_grain(const rw_layout_t *layout);

/* Whether a message may span several of our pieces: lent, or here already. */
bool rw_decide_may_span(const rw_layout_t *layout, size_t length, bool lent);

/* Whether bytes that lie in count pieces, at most RW_SCATTER_MAX, are to be fetched from and to
 * where they are; else they are copied together, and apart. */
static inline bool rw_decide_scatter(size_t length, size_t count) {
    return length / count >= RW_PIECE_MIN;
}

#endif
