/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a connector is to those who connect to it: a P-256 key and a certificate that it signs
 * itself, made at its birth and never stored, or those that the user gives. A peer knows the key by
 * its fingerprint, which came with the metadata. Nothing else in the certificate counts, unless the
 * user names authorities: then both sides show certificates, and each checks the other one's too.
 */
#ifndef RW_STREAM_IDENTITY_H
#define RW_STREAM_IDENTITY_H

#include "link/stream_frame.h"
#include "ropeway.h"

#include <openssl/ssl.h>

#define RW_TLS_VERSION "TLSv1.3" /* the one that is spoken, as OpenSSL calls it */

typedef struct rw_identity {
    EVP_PKEY *key;     /* our own; NULL: the contexts have the user's */
    X509 *certificate; /* the same */
    /* NULL: it has not been needed yet. Each takes a millisecond to make, and connections within a
     * host need none. */
    SSL_CTX *accepts, *connects;
    uint8_t fingerprint[RW_FINGERPRINT_BYTES];
    bool checks; /* both sides show certificates of an authority's */
} rw_identity_t;

/* By the options tls_cert, tls_key and tls_ca. Errors: ERR_SYSTEM, with what OpenSSL says;
 * ERR_INVALID_ARGUMENT: the files are of no use. On failure nothing is left. */
ropeway_error_t rw_identity_make(rw_identity_t *identity,
                                 const ropeway_connector_options_t *options);
void rw_identity_free(rw_identity_t *identity);

/* A client that accepts this key alone. NULL: out of memory. It and the next are called by one
 * thread at a time. */
SSL *rw_identity_connect(rw_identity_t *identity, const uint8_t fingerprint[RW_FINGERPRINT_BYTES]);
/* NULL: out of memory. */
SSL *rw_identity_accept(rw_identity_t *identity);
/* The latest of OpenSSL's errors in this thread, as text; clears them. */
void rw_identity_error(char *text, size_t size);
/* Why the certificate of the other side, whose key is right, was not accepted; NULL: it was, or the
 * key is not. */
const char *rw_identity_refusal(const SSL *ssl);

#endif
