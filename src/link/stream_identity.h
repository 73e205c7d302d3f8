/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a connector is to those who connect to it: a P-256 key and a certificate that it signs
 * itself, made at its birth and never stored. A peer knows the key by its fingerprint, which came
 * with the metadata; nothing else in the certificate counts.
 */
#ifndef RW_STREAM_IDENTITY_H
#define RW_STREAM_IDENTITY_H

#include "link/stream_frame.h"
#include "ropeway.h"

#include <openssl/ssl.h>

#define RW_TLS_VERSION "TLSv1.3" /* the one that is spoken, as OpenSSL calls it */

typedef struct rw_identity {
    SSL_CTX *accepts, *connects;
    uint8_t fingerprint[RW_FINGERPRINT_BYTES];
} rw_identity_t;

/* Errors: ERR_SYSTEM, with what OpenSSL says. On failure nothing is left. */
ropeway_error_t rw_identity_make(rw_identity_t *identity);
void rw_identity_free(rw_identity_t *identity);

/* A client that accepts this key alone. NULL: out of memory. */
SSL *rw_identity_connect(rw_identity_t *identity, const uint8_t fingerprint[RW_FINGERPRINT_BYTES]);
/* NULL: out of memory. */
SSL *rw_identity_accept(rw_identity_t *identity);
/* The latest of OpenSSL's errors in this thread, as text; clears them. */
void rw_identity_error(char *text, size_t size);

#endif
