/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a hello. */
#include "text/hello.h"

#include "base/bytes.h"
#include "base/utf8.h"
#include "text/field.h"

#include <sodium.h>
#include <stdlib.h>
#include <xxhash.h>

/* Hello: "RWNC" version:1 zero:3 fields checksum:8 */
enum { HELLO_FIXED = 8, HELLO_SUM = 8 };
enum { INSTANCE = 1, NAME = 2, ADDRESS = 3, UCX = 4, PROCESS = 5, FIELDS = 5 };

uint8_t *rw_hello_encode(const rw_hello_t *hello, size_t *length) {
    size_t name = strlen(hello->name), ucx = strlen(hello->ucx);
    size_t total = HELLO_FIXED + FIELDS * RW_FIELD_HEAD + RW_ID_BYTES + name +
                   hello->address_length + ucx + sizeof hello->process + RW_ID_BYTES + HELLO_SUM;
    uint8_t *bytes = calloc(1, total), *at = bytes;

    if (bytes == NULL) {
        return NULL;
    }
    memcpy(at, "RWNC", 4);
    at[4] = hello->version;
    at = rw_field_put(at + HELLO_FIXED, INSTANCE, hello->instance, RW_ID_BYTES);
    at = rw_field_put(at, NAME, hello->name, name);
    at = rw_field_put(at, ADDRESS, hello->address, hello->address_length);
    at = rw_field_put(at, UCX, hello->ucx, ucx);
    at = rw_field_put_head(at, PROCESS, sizeof hello->process + RW_ID_BYTES);
    rw_put32(at, hello->process);
    memcpy(at + sizeof hello->process, hello->scope, RW_ID_BYTES);
    rw_put64(bytes + total - HELLO_SUM, XXH3_64bits(bytes, total - HELLO_SUM));
    *length = total;
    return bytes;
}

void rw_hello_id(const uint8_t *bytes, size_t length, uint8_t id[RW_ID_BYTES]) {
    crypto_generichash(id, RW_ID_BYTES, bytes, length, NULL, 0);
}

static void fill_in(rw_hello_t *hello, const rw_field_t *instance, const rw_field_t *name,
                    const rw_field_t *ucx, const rw_field_t *process) {
    memcpy(hello->instance, instance->value, RW_ID_BYTES);
    rw_printable(name->value, name->length, hello->name, sizeof hello->name);
    if (ucx->value != NULL) {
        rw_printable(ucx->value, ucx->length, hello->ucx, sizeof hello->ucx);
    }
    if (process->value != NULL) {
        hello->process = rw_get32(process->value);
        memcpy(hello->scope, process->value + sizeof hello->process, RW_ID_BYTES);
    }
}

ropeway_error_t rw_hello_decode(const uint8_t *bytes, size_t length, rw_hello_t *hello) {
    const size_t process = sizeof hello->process + RW_ID_BYTES;
    rw_field_t fields[FIELDS] = {{INSTANCE, true, RW_ID_BYTES, RW_ID_BYTES, NULL, 0},
                                 {NAME, true, 1, sizeof hello->name - 1, NULL, 0},
                                 {ADDRESS, true, 1, RW_HELLO_MAX, NULL, 0},
                                 {UCX, false, 0, sizeof hello->ucx - 1, NULL, 0},
                                 {PROCESS, false, process, process, NULL, 0}};
    ropeway_error_t error;

    memset(hello, 0, sizeof *hello);
    if (length < HELLO_FIXED + HELLO_SUM || length > RW_HELLO_MAX ||
        memcmp(bytes, "RWNC", 4) != 0) {
        return ROPEWAY_ERR_PROTOCOL;
    }
    hello->version = bytes[4];
    if (hello->version != RW_PROTOCOL_VERSION) {
        return ROPEWAY_ERR_VERSION;
    }
    if (bytes[5] != 0 || bytes[6] != 0 || bytes[7] != 0 ||
        rw_get64(bytes + length - HELLO_SUM) != XXH3_64bits(bytes, length - HELLO_SUM)) {
        return ROPEWAY_ERR_PROTOCOL;
    }
    error = rw_fields_read(bytes + HELLO_FIXED, length - HELLO_FIXED - HELLO_SUM, fields, FIELDS);
    if (error != ROPEWAY_OK) {
        return error;
    }
    fill_in(hello, &fields[0], &fields[1], &fields[3], &fields[4]);
    hello->address = fields[2].value;
    hello->address_length = fields[2].length;
    return ROPEWAY_OK;
}
