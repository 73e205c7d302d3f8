/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The seam between protocols and what carries large bytes beside a link. Memory is granted, which
 * gives a description; a peer that has it pulls from that memory, or pushes into it where the kind
 * can, without the other side's doing. A kind is one file that fills in an rw_mover_kind_t.
 *
 * Every member is called with the connector's lock held, and never blocks. Bytes under way are
 * flights (link/flight.h): done() says that they are there, or why not.
 */
#ifndef RW_MOVER_H
#define RW_MOVER_H

#include "link/peer.h"

typedef struct rw_grant rw_grant_t; /* memory of ours that peers may reach */
typedef struct rw_reach rw_reach_t; /* memory of a peer's that we may reach */

typedef struct rw_mover_kind {
    const char *name; /* "rma" */

    /* Lets peers reach memory. *description, of *length bytes, is what they need for that; it is
     * valid until the grant is withdrawn. Errors: ERR_NO_MEMORY, ERR_TRANSPORT. */
    ropeway_error_t (*grant)(void *mover, const ropeway_descriptor_t *memory, rw_grant_t **grant,
                             const uint8_t **description, size_t *length);
    /* On return new accesses are refused, as far as the kind can see to that. */
    void (*withdraw)(void *mover, rw_grant_t *grant);

    /* Makes use of a peer's description, which comes from the network. Errors: ERR_NO_PATH,
     * ERR_NO_MEMORY. */
    ropeway_error_t (*understand)(rw_peer_t *peer, const uint8_t *description, size_t length,
                                  rw_reach_t **reach);
    void (*let_go)(rw_reach_t *reach);

    /* Fetches the flight's bytes from this address in the peer's memory, or puts them there. done()
     * is called, perhaps before they return. */
    void (*pull)(rw_peer_t *peer, rw_reach_t *reach, uint64_t address, rw_flight_t *flight);
    void (*push)(rw_peer_t *peer, rw_reach_t *reach, uint64_t address, rw_flight_t *flight);
    /* done() says that every byte that was pushed to the peer before is in its memory. */
    void (*fence)(rw_peer_t *peer, rw_flight_t *flight);
} rw_mover_kind_t;

/* UCX's one-sided gets and puts, over a peer's UCX link. mover: the rw_ucx_port_t. */
extern const rw_mover_kind_t rw_rma;

#endif
