/* SPDX-License-Identifier: Apache-2.0 */
/* Where a stream connects to, of the addresses that a peer names: the choice, and its reasons. */
#ifndef RW_STREAM_ROUTE_H
#define RW_STREAM_ROUTE_H

#include "link/link.h"
#include "link/stream_dial.h"
#include "link/stream_places.h"

#include <string.h>

/* A place that a peer names. */
typedef struct rw_stream_target {
    rw_place_t place;
    const char *refused; /* why no connection goes there, a phrase; NULL: one is tried */
} rw_stream_target_t;

/* Whether a connector's options ask for encryption everywhere, and so for no UCX unless they name
 * it.
 */
static inline bool rw_stream_must_encrypt(const ropeway_connector_options_t *options) {
    return options->tls_ca != NULL ||
           (options->encryption != NULL && strcmp(options->encryption, "required") == 0);
}
/* What a connector's options say of its streams. Errors: ERR_INVALID_ARGUMENT. */
ropeway_error_t rw_stream_read_options(const rw_carrier_t *carrier, rw_ways_t *ways,
                                       rw_encryption_t *encryption);
/* The places of an address in the order in which they are tried: the Unix socket first, whether the
 * peer has one or not. instance: of its hello. own: our wish for encryption. Returns how many there
 * are. */
size_t rw_stream_choose(const rw_ways_t *ways, rw_encryption_t own,
                        const rw_stream_address_t *address, const uint8_t instance[RW_ID_BYTES],
                        bool is_near, rw_stream_target_t targets[RW_DIAL_MAX]);
/* Whether there is one to try. Errors: ERR_NO_PATH. */
ropeway_error_t rw_stream_check(const rw_carrier_t *carrier, const rw_hello_t *hello,
                                const rw_stream_target_t *targets, size_t count);
/* ERR_NO_PATH, with a sentence. wrong: a phrase. */
ropeway_error_t rw_stream_refuse(const rw_carrier_t *carrier, const rw_hello_t *hello,
                                 const char *wrong);
/* Whether a connection between these places begins with TLS. wanted: the stricter side's wish. */
bool rw_stream_encrypts(rw_encryption_t wanted, const rw_place_t *there, const rw_place_t *here);
/* A link's path: by the Unix socket, or by TCP with this version of TLS; NULL: in clear. */
void rw_stream_write_path(const rw_place_t *place, const char *tls, char *path, size_t size);

/* As rw_link_kind_t's routes(). */
ropeway_error_t rw_stream_routes(rw_carrier_t *carrier, const rw_hello_t *hello,
                                 rw_routes_t *routes) RW_LOCKED;

#endif
