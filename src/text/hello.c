/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a hello. */
#include "text/hello.h"

#include "base/bytes.h"
#include "base/utf8.h"

#include <sodium.h>
#include <stdlib.h>
#include <xxhash.h>

/* Hello: "RWNC" version:1 name_length:1 ucx_length:1 zero:1 instance:16 address_length:4 process:4
 * scope:16 name ucx address checksum:8 */
enum { HELLO_FIXED = 48, HELLO_SUM = 8 };

uint8_t *rw_hello_encode(const rw_hello_t *hello, size_t *length) {
    size_t name = strlen(hello->name), ucx = strlen(hello->ucx);
    size_t total = HELLO_FIXED + name + ucx + hello->address_length + HELLO_SUM;
    uint8_t *bytes = calloc(1, total), *at = bytes;

    if (bytes == NULL) {
        return NULL;
    }
    memcpy(at, "RWNC", 4);
    at[4] = hello->version;
    at[5] = (uint8_t)name;
    at[6] = (uint8_t)ucx;
    memcpy(at + 8, hello->instance, RW_ID_BYTES);
    rw_put32(at + 24, (uint32_t)hello->address_length);
    rw_put32(at + 28, hello->process);
    memcpy(at + 32, hello->scope, RW_ID_BYTES);
    at += HELLO_FIXED;
    memcpy(at, hello->name, name);
    memcpy(at + name, hello->ucx, ucx);
    at += name + ucx;
    memcpy(at, hello->address, hello->address_length);
    rw_put64(at + hello->address_length, XXH3_64bits(bytes, total - HELLO_SUM));
    *length = total;
    return bytes;
}

void rw_hello_id(const uint8_t *bytes, size_t length, uint8_t id[RW_ID_BYTES]) {
    crypto_generichash(id, RW_ID_BYTES, bytes, length, NULL, 0);
}

ropeway_error_t rw_hello_decode(const uint8_t *bytes, size_t length, rw_hello_t *hello) {
    size_t name, ucx, address;

    memset(hello, 0, sizeof *hello);
    if (length < HELLO_FIXED + HELLO_SUM || length > RW_HELLO_MAX ||
        memcmp(bytes, "RWNC", 4) != 0) {
        return ROPEWAY_ERR_PROTOCOL;
    }
    hello->version = bytes[4];
    if (hello->version != RW_PROTOCOL_VERSION) {
        return ROPEWAY_ERR_VERSION;
    }
    name = bytes[5];
    ucx = bytes[6];
    address = rw_get32(bytes + 24);
    if (name == 0 || ucx >= sizeof hello->ucx || address == 0 || address > RW_HELLO_MAX ||
        HELLO_FIXED + name + ucx + address + HELLO_SUM != length ||
        rw_get64(bytes + length - HELLO_SUM) != XXH3_64bits(bytes, length - HELLO_SUM)) {
        return ROPEWAY_ERR_PROTOCOL;
    }
    memcpy(hello->instance, bytes + 8, RW_ID_BYTES);
    hello->process = rw_get32(bytes + 28);
    memcpy(hello->scope, bytes + 32, RW_ID_BYTES);
    rw_printable(bytes + HELLO_FIXED, name, hello->name, sizeof hello->name);
    rw_printable(bytes + HELLO_FIXED + name, ucx, hello->ucx, sizeof hello->ucx);
    hello->address = bytes + HELLO_FIXED + name + ucx;
    hello->address_length = address;
    return ROPEWAY_OK;
}
