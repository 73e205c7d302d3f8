/* SPDX-License-Identifier: Apache-2.0 */
/* Hellos: who a connector is, and how to reach it. */
#ifndef RW_HELLO_H
#define RW_HELLO_H

#include "base/table.h"
#include "ropeway.h"

#define RW_PROTOCOL_VERSION 2

/* The native connection of the metadata, and part of every request. */
typedef struct rw_hello {
    uint8_t version;
    uint8_t instance[RW_ID_BYTES]; /* random, new with every connector */
    char name[256];
    char ucx[32];               /* UCX release */
    uint32_t process;           /* PID; 0: unknown */
    uint8_t scope[RW_ID_BYTES]; /* host and PID namespace in which the PID means something */
    const uint8_t *address;     /* by its carrier; when decoded: points into the input */
    size_t address_length;
} rw_hello_t;

/* Identity of the connector that a hello describes: a hash of all of it. Nobody can make another
 * hello, with another address, that has the same. */
void rw_hello_id(const uint8_t *bytes, size_t length, uint8_t id[RW_ID_BYTES]);

#define RW_HELLO_MAX 65536 /* longest hello that is accepted */
#define RW_ADDRESS_PAD 512 /* zero bytes to put behind an address before UCX reads it */

/* malloc'ed; NULL: out of memory. */
uint8_t *rw_hello_encode(const rw_hello_t *hello, size_t *length);
/* ROPEWAY_OK, ERR_PROTOCOL (malformed or damaged), ERR_VERSION (of another version, or with a part
 * that is needed and not known). */
ropeway_error_t rw_hello_decode(const uint8_t *bytes, size_t length, rw_hello_t *hello);

#endif
