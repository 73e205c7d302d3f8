/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A flight: a frame on its way out, or a place for bytes that come in, or a piece that a mover
 * fetches. It lends memory to a link or a mover, from the call that takes it until done() is
 * called, once, whatever happens. Until then the memory must stay, and whoever lent it counts it;
 * afterwards nobody touches the memory on its account.
 */
#ifndef RW_FLIGHT_H
#define RW_FLIGHT_H

#include "base/connector.h"

#include <sys/uio.h>

#define RW_HEADER_MAX 64      /* bytes of a frame's header */
#define RW_FLIGHT_PIECES 1024 /* of memory, in one flight */
#define RW_PIECE_MIN 1024     /* bytes of each of several, on average */
#define RW_FLIGHT_SPARES 256  /* unused ones that are kept */

typedef enum rw_class {
    RW_CONTROL, /* goes before everything else; the link keeps room for it */
    RW_BULK     /* an operation's bytes: shares the link fairly with those of other operations */
} rw_class_t;

typedef struct rw_flight {
    rw_node_t node; /* in a list of whoever has it */
    ropeway_connector_t *connector;
    struct rw_link *link; /* that has it; NULL: none that counts */
    /* Called with the lock held, also from within the call that takes the flight. error:
     * ROPEWAY_OK, or why the bytes did not all go or come, with a phrase. */
    void (*done)(struct rw_flight *flight, ropeway_error_t error, const char *why);
    void *tag; /* whose memory it is; see rw_link_kind_t's abandon(); NULL: nobody's */
    rw_class_t class;
    bool lends;      /* out: the other side shall fetch the bytes from our memory, where it can */
    bool introduces; /* out: the receiver does not know us yet, and may have to answer */
    bool to_device;  /* out: the other side's memory is not all host memory */
    ropeway_device_t device; /* where the memory is; the pieces of one flight lie in one place */
    void *registration;      /* of the memory with the link or mover; NULL: none */
    uint64_t loan;           /* the link's name for it while it is lent */
    uint64_t offset;         /* for the owner: where in the operation the bytes belong */
    bool takes_room;         /* for the owner: they count against max_inflight */
    size_t length;           /* bytes of payload, in all pieces */
    size_t count;            /* pieces; more than one only where bytes are fetched */
    const struct iovec *pieces;
    struct iovec piece; /* where there is just one */
    struct iovec *list; /* where there are several; freed with the flight; NULL: none */
    void *buffer;       /* where the bytes were copied to; freed with the flight; NULL: none */
    size_t header_length;
    uint8_t header[RW_HEADER_MAX];
} rw_flight_t;

/* One without memory or header; NULL: out of memory. */
rw_flight_t *rw_flight_take(ropeway_connector_t *connector) RW_LOCKED;
/* Its memory, in one piece. */
void rw_flight_lend(rw_flight_t *flight, void *data, size_t length) RW_LOCKED;
/* The same in several. list: from malloc(), of count pieces, and room for one more, which is the
 * link's; the flight frees it. */
void rw_flight_lend_list(rw_flight_t *flight, struct iovec *list, size_t count,
                         size_t length) RW_LOCKED;
/* Gives it back, with its buffer. */
void rw_flight_give(rw_flight_t *flight) RW_LOCKED;

#endif
