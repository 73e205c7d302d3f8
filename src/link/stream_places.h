/* SPDX-License-Identifier: Apache-2.0 */
/* Where a connector listens, and where it tells its peers to connect to, by its options. */
#ifndef RW_STREAM_PLACES_H
#define RW_STREAM_PLACES_H

#include "link/stream_address.h"

/* What the option listen says. */
typedef struct rw_listen_wish {
    bool has_place;
    rw_place_t place;
    uint16_t first, last; /* ports; 0, 0: any */
} rw_listen_wish_t;

/* What the option transports says. */
typedef struct rw_ways {
    bool tcp;   /* "stream" */
    bool local; /* "local" */
    bool pull;  /* "pull": bytes are fetched from the other side's memory, where that can be done */
    bool ring;  /* "ring": peers by a Unix socket that talk much are given one; see stream_ring.h */
} rw_ways_t;

/* Whether all of that option, or some of it, names ways of a stream link. text: NULL: none. */
bool rw_ways_are_named(const char *text);
/* Reads it. Errors: ERR_INVALID_ARGUMENT. */
ropeway_error_t rw_ways_read(const char *text, rw_ways_t *ways);

/* Reads the option listen; text: NULL: any port. Errors: ERR_INVALID_ARGUMENT. */
ropeway_error_t rw_places_read_listen(const char *text, rw_listen_wish_t *wish);
/* Fills in address->places, without ports: where to listen, by the wish, or else at the interfaces
 * that devices names, which may be RDMA devices; NULL: all. *everywhere: at the unspecified address
 * instead, which stands for these. Errors: ERR_INVALID_ARGUMENT, ERR_SYSTEM. */
ropeway_error_t rw_places_choose(const rw_listen_wish_t *wish, const char *devices,
                                 rw_stream_address_t *address, bool *everywhere);
/* Reads the option advertise into address->places; port: of those that name none. Errors:
 * ERR_INVALID_ARGUMENT. */
ropeway_error_t rw_places_read_advertised(const char *text, uint16_t port,
                                          rw_stream_address_t *address);
/* Leaves out the places that a socket of IPv4 alone is not reached by. */
void rw_places_drop_v6(rw_stream_address_t *address);

#endif
