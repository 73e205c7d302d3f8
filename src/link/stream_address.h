/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a stream link's owner listens: socket addresses as text and as part of a hello, whose bytes
 * docs/wire.md has. What is decoded comes from a peer.
 */
#ifndef RW_STREAM_ADDRESS_H
#define RW_STREAM_ADDRESS_H

#include "link/stream_frame.h"
#include "ropeway.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#define RW_PLACES_MAX 8    /* addresses of one connector */
#define RW_PLACE_TEXT 64   /* an address and port as text, with its NUL */
#define RW_ADDRESS_MAX 512 /* bytes of an address in a hello */

/* An IPv4 or IPv6 address with a port, or a Unix socket's name (stream_local.h). */
typedef union rw_place {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
} rw_place_t;

/* What a connector asks of its connections; of two sides' wishes the greater one counts. */
typedef enum rw_encryption {
    RW_ENCRYPT_OFF = 0,
    RW_ENCRYPT_AUTO = 1, /* except where both ends are on this host for certain */
    RW_ENCRYPT_REQUIRED = 2
} rw_encryption_t;

/* What a hello's address says. */
typedef struct rw_stream_address {
    rw_encryption_t encryption;
    uint8_t fingerprint[RW_FINGERPRINT_BYTES];
    bool local;   /* peers on this host can come by its Unix socket */
    size_t count; /* to RW_PLACES_MAX; at least 1 unless it is local */
    rw_place_t places[RW_PLACES_MAX];
} rw_stream_address_t;

/* Returns the length. */
size_t rw_stream_address_encode(const rw_stream_address_t *address, uint8_t bytes[RW_ADDRESS_MAX]);
/* Whether these bytes begin as those of such an address do. */
bool rw_stream_address_is_meant(const uint8_t *bytes, size_t length);
/* NULL, or what is wrong, as a phrase. Addresses that no connection may go to (multicast,
 * unspecified, port 0) are an error. */
const char *rw_stream_address_decode(const uint8_t *bytes, size_t length,
                                     rw_stream_address_t *address);

socklen_t rw_place_length(const rw_place_t *place);
uint16_t rw_place_port(const rw_place_t *place);
void rw_place_set_port(rw_place_t *place, uint16_t port);
static inline bool rw_place_is_local(const rw_place_t *place) {
    return place->any.sa_family == AF_UNIX;
}
/* 127.0.0.0/8, ::1, the first one mapped into IPv6, or a Unix socket. */
bool rw_place_is_loopback(const rw_place_t *place);
/* Whether a connection may go there. */
bool rw_place_is_host(const rw_place_t *place);
/* Whether it is one address, and not the unspecified one. */
bool rw_place_is_given(const rw_place_t *place);
/* An IPv4 address mapped into IPv6 becomes one of IPv4. */
void rw_place_unmap(rw_place_t *place);
/* "192.0.2.1:4711", "[2001:db8::1]:4711", "a Unix socket". */
void rw_place_write(const rw_place_t *place, char text[RW_PLACE_TEXT]);
/* Reads a numeric address alone, with or without brackets; length: of text. The port becomes 0. */
bool rw_place_read(const char *text, size_t length, rw_place_t *place);

#endif
