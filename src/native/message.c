/* SPDX-License-Identifier: Apache-2.0 */
#include "native/message.h"

#include "base/utf8.h"

#include <endian.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#define XXH_STATIC_LINKING_ONLY /* for a state on the stack */
#include <xxhash.h>

/* Header: 'R' 'W' type version flags:2 zero:2 to:16 from:16 body:8 token:16; a REQUEST's body goes
 * on where the others have the token. */
enum { AT_TYPE = 2, AT_VERSION = 3, AT_FLAGS = 4, AT_TO = 8, AT_FROM = 24, AT_BODY = 40 };
enum { AT_TOKEN = 48, AT_DIGEST = 48, AT_COUNT = 56, AT_HELLO_LENGTH = 60 };

static void put16(uint8_t *at, uint16_t value) {
    value = htole16(value);
    memcpy(at, &value, sizeof value);
}

static void put32(uint8_t *at, uint32_t value) {
    value = htole32(value);
    memcpy(at, &value, sizeof value);
}

static void put64(uint8_t *at, uint64_t value) {
    value = htole64(value);
    memcpy(at, &value, sizeof value);
}

static uint16_t get16(const uint8_t *at) {
    uint16_t value;

    memcpy(&value, at, sizeof value);
    return le16toh(value);
}

static uint32_t get32(const uint8_t *at) {
    uint32_t value;

    memcpy(&value, at, sizeof value);
    return le32toh(value);
}

static uint64_t get64(const uint8_t *at) {
    uint64_t value;

    memcpy(&value, at, sizeof value);
    return le64toh(value);
}

void rw_message_encode(const rw_message_t *message, uint8_t bytes[RW_MESSAGE_BYTES]) {
    memset(bytes, 0, RW_MESSAGE_BYTES);
    bytes[0] = 'R';
    bytes[1] = 'W';
    bytes[AT_TYPE] = message->type;
    bytes[AT_VERSION] = message->version;
    put16(bytes + AT_FLAGS, message->flags);
    memcpy(bytes + AT_TO, message->to, RW_ID_BYTES);
    memcpy(bytes + AT_FROM, message->from, RW_ID_BYTES);
    if (message->type != RW_REQUEST) {
        memcpy(bytes + AT_TOKEN, message->token, RW_ID_BYTES);
    }
    switch (message->type) {
    case RW_REQUEST:
        put64(bytes + AT_BODY, message->request.total);
        put64(bytes + AT_DIGEST, message->request.digest);
        put32(bytes + AT_COUNT, message->request.count);
        put32(bytes + AT_HELLO_LENGTH, message->request.hello_length);
        break;
    case RW_ACCEPT:
        put64(bytes + AT_BODY, message->accept.grain);
        break;
    case RW_DATA:
        put64(bytes + AT_BODY, message->data.offset);
        break;
    case RW_SUMS:
        put64(bytes + AT_BODY, message->sums.first);
        break;
    case RW_FIN:
        put32(bytes + AT_BODY, message->fin.status);
        put32(bytes + AT_BODY + 4, message->fin.error);
        break;
    default:
        break;
    }
}

void rw_message_put_grain(uint64_t grain, uint8_t bytes[RW_GRAIN_BYTES]) {
    put64(bytes, grain);
}

uint64_t rw_message_grain(const uint8_t bytes[RW_GRAIN_BYTES]) {
    return get64(bytes);
}

static bool decode_request(const uint8_t *bytes, size_t payload, rw_message_t *message) {
    bool has_grain = (message->flags & RW_FLAG_GRAIN) != 0;

    message->request.total = get64(bytes + AT_BODY);
    message->request.digest = get64(bytes + AT_DIGEST);
    message->request.count = get32(bytes + AT_COUNT);
    message->request.hello_length = get32(bytes + AT_HELLO_LENGTH);
    if (message->request.hello_length > RW_HELLO_MAX || message->request.count == 0 ||
        payload < message->request.hello_length + RW_ID_BYTES) {
        return false;
    }
    payload -= message->request.hello_length + RW_ID_BYTES;
    if (has_grain && (message->flags & RW_FLAG_READ) == 0) {
        return false;
    }
    return (message->flags & RW_FLAG_INLINE) != 0 ? payload == message->request.total && !has_grain
                                                  : payload == (has_grain ? RW_GRAIN_BYTES : 0);
}

static bool decode_fin(const uint8_t *bytes, size_t payload, rw_message_t *message) {
    message->fin.status = get32(bytes + AT_BODY);
    message->fin.error = get32(bytes + AT_BODY + 4);
    return message->fin.status >= ROPEWAY_STATUS_COMPLETE &&
           message->fin.status <= ROPEWAY_STATUS_ERRORED && payload <= RW_TEXT_MAX;
}

static bool decode_body(const uint8_t *bytes, size_t payload, rw_message_t *message) {
    switch (message->type) {
    case RW_REQUEST:
        return decode_request(bytes, payload, message);
    case RW_DATA:
        message->data.offset = get64(bytes + AT_BODY);
        return true;
    case RW_SUMS:
        message->sums.first = get64(bytes + AT_BODY);
        return payload % sizeof(uint64_t) == 0 && payload <= RW_SUMS_MAX * sizeof(uint64_t);
    case RW_FIN:
        return decode_fin(bytes, payload, message);
    case RW_ACCEPT:
        message->accept.grain = get64(bytes + AT_BODY);
        return payload == 0 &&
               (message->accept.grain == 0 || message->accept.grain >= RW_GRAIN_LEAST);
    case RW_DONE:
    case RW_BYE:
        return payload == 0;
    default:
        return false;
    }
}

ropeway_error_t rw_message_decode(const void *input, size_t length, size_t payload_length,
                                  rw_message_t *message) {
    const uint8_t *bytes = input;

    memset(message, 0, sizeof *message);
    if (length != RW_MESSAGE_BYTES || bytes[0] != 'R' || bytes[1] != 'W') {
        return ROPEWAY_ERR_PROTOCOL;
    }
    message->type = bytes[AT_TYPE];
    message->version = bytes[AT_VERSION];
    message->flags = get16(bytes + AT_FLAGS);
    memcpy(message->to, bytes + AT_TO, RW_ID_BYTES);
    memcpy(message->from, bytes + AT_FROM, RW_ID_BYTES);
    if (message->version != RW_PROTOCOL_VERSION) {
        return ROPEWAY_ERR_VERSION;
    }
    if (message->type != RW_REQUEST) {
        memcpy(message->token, bytes + AT_TOKEN, RW_ID_BYTES);
    }
    return decode_body(bytes, payload_length, message) ? ROPEWAY_OK : ROPEWAY_ERR_PROTOCOL;
}

void rw_message_text(const void *bytes, size_t length, char *text, size_t size) {
    const char *from = bytes;
    size_t used = 0, step;

    for (size_t at = 0; at < length; at += step) {
        step = rw_utf8_length(from + at, length - at);
        if (step == 0 || (unsigned char)from[at] < 0x20 || from[at] == 0x7f) {
            step = 1;
            if (used + 1 >= size) {
                break;
            }
            text[used++] = '?';
        } else {
            if (used + step >= size) {
                break;
            }
            memcpy(text + used, from + at, step);
            used += step;
        }
    }
    text[used] = '\0';
}

uint64_t rw_message_digest(const ropeway_descriptor_t *descriptors, size_t count) {
    XXH3_state_t state;

    XXH3_64bits_reset(&state);
    for (size_t i = 0; i < count; i++) {
        uint64_t size = htole64((uint64_t)descriptors[i].size);

        XXH3_64bits_update(&state, &size, sizeof size);
    }
    return XXH3_64bits_digest(&state);
}

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
    put32(at + 24, (uint32_t)hello->address_length);
    put32(at + 28, hello->process);
    memcpy(at + 32, hello->scope, RW_ID_BYTES);
    at += HELLO_FIXED;
    memcpy(at, hello->name, name);
    memcpy(at + name, hello->ucx, ucx);
    at += name + ucx;
    memcpy(at, hello->address, hello->address_length);
    put64(at + hello->address_length, XXH3_64bits(bytes, total - HELLO_SUM));
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
    address = get32(bytes + 24);
    if (name == 0 || ucx >= sizeof hello->ucx || address == 0 || address > RW_HELLO_MAX ||
        HELLO_FIXED + name + ucx + address + HELLO_SUM != length ||
        get64(bytes + length - HELLO_SUM) != XXH3_64bits(bytes, length - HELLO_SUM)) {
        return ROPEWAY_ERR_PROTOCOL;
    }
    memcpy(hello->instance, bytes + 8, RW_ID_BYTES);
    hello->process = get32(bytes + 28);
    memcpy(hello->scope, bytes + 32, RW_ID_BYTES);
    rw_message_text(bytes + HELLO_FIXED, name, hello->name, sizeof hello->name);
    rw_message_text(bytes + HELLO_FIXED + name, ucx, hello->ucx, sizeof hello->ucx);
    hello->address = bytes + HELLO_FIXED + name + ucx;
    hello->address_length = address;
    return ROPEWAY_OK;
}
