/* SPDX-License-Identifier: Apache-2.0 */
/* The protocol's messages, packed and checked. */
#include "native/message.h"

#include "base/bytes.h"
#include "operation/operation.h"
#include "text/field.h"
#include "text/hello.h"

#define XXH_STATIC_LINKING_ONLY /* for a state on the stack */
#include <xxhash.h>

/* Header: 'R' 'W' type version flags:2 zero:2 to:16 from:16 body:8 token:16; a REQUEST's body goes
 * on where the others have the token. */
enum { AT_TYPE = 2, AT_VERSION = 3, AT_FLAGS = 4, AT_TO = 8, AT_FROM = 24, AT_BODY = 40 };
enum { AT_TOKEN = 48, AT_DIGEST = 48, AT_COUNT = 56, AT_FIELDS_LENGTH = 60 };

/* Fields of a REQUEST. Who does not know that a prefix is wanted, or how to cut, can't serve it. */
enum { HELLO = 1, TOKEN = 2, TRACE = 3, GRAIN = RW_FIELD_NEEDED | 4, RUNS = RW_FIELD_NEEDED | 5 };
enum { FIELDS = 5, GRAIN_BYTES = 8 };

void rw_message_encode(const rw_message_t *message, uint8_t bytes[RW_MESSAGE_BYTES]) {
    memset(bytes, 0, RW_MESSAGE_BYTES);
    bytes[0] = 'R';
    bytes[1] = 'W';
    bytes[AT_TYPE] = message->type;
    bytes[AT_VERSION] = message->version;
    rw_put16(bytes + AT_FLAGS, message->flags);
    memcpy(bytes + AT_TO, message->to, RW_ID_BYTES);
    memcpy(bytes + AT_FROM, message->from, RW_ID_BYTES);
    if (message->type != RW_REQUEST) {
        memcpy(bytes + AT_TOKEN, message->token, RW_ID_BYTES);
    }
    switch (message->type) {
    case RW_REQUEST:
        rw_put64(bytes + AT_BODY, message->request.total);
        rw_put64(bytes + AT_DIGEST, message->request.digest);
        rw_put32(bytes + AT_COUNT, message->request.count);
        rw_put32(bytes + AT_FIELDS_LENGTH, message->request.fields_length);
        break;
    case RW_ACCEPT:
        rw_put64(bytes + AT_BODY, message->accept.grain);
        break;
    case RW_DATA:
        rw_put64(bytes + AT_BODY, message->data.offset);
        break;
    case RW_SUMS:
        rw_put64(bytes + AT_BODY, message->sums.first);
        break;
    case RW_FIN:
        rw_put32(bytes + AT_BODY, message->fin.status);
        rw_put32(bytes + AT_BODY + 4, message->fin.error);
        break;
    default:
        break;
    }
}

size_t rw_request_length(const rw_request_t *request) {
    size_t length = 2 * RW_FIELD_HEAD + request->hello_length + RW_ID_BYTES;

    length += request->trace_length > 0 ? RW_FIELD_HEAD + request->trace_length : 0;
    length += request->grain > 0 ? RW_FIELD_HEAD + GRAIN_BYTES : 0;
    return length + (request->is_prefix ? RW_FIELD_HEAD + request->run_count * RW_RUN_BYTES : 0);
}

uint8_t *rw_request_encode(const rw_request_t *request, uint8_t *bytes) {
    bytes = rw_field_put(bytes, HELLO, request->hello, request->hello_length);
    bytes = rw_field_put(bytes, TOKEN, request->token, RW_ID_BYTES);
    if (request->trace_length > 0) {
        bytes = rw_field_put(bytes, TRACE, request->trace, request->trace_length);
    }
    if (request->grain > 0) {
        bytes = rw_field_put_head(bytes, GRAIN, GRAIN_BYTES);
        rw_put64(bytes, request->grain);
        bytes += GRAIN_BYTES;
    }
    if (request->is_prefix) {
        bytes = rw_field_put_head(bytes, RUNS, request->run_count * RW_RUN_BYTES);
        if (request->run_count > 0) {
            memcpy(bytes, request->runs, request->run_count * RW_RUN_BYTES);
        }
        bytes += request->run_count * RW_RUN_BYTES;
    }
    return bytes;
}

ropeway_error_t rw_request_decode(const rw_message_t *message, const uint8_t *payload,
                                  size_t length, rw_request_t *request) {
    size_t fields_length = message->request.fields_length;
    rw_field_t fields[FIELDS] = {{HELLO, true, 1, RW_HELLO_MAX, NULL, 0},
                                 {TOKEN, true, RW_ID_BYTES, RW_ID_BYTES, NULL, 0},
                                 {TRACE, false, 1, RW_TRACE_MAX, NULL, 0},
                                 {GRAIN, false, GRAIN_BYTES, GRAIN_BYTES, NULL, 0},
                                 {RUNS, false, 0, SIZE_MAX, NULL, 0}};
    const rw_field_t *trace = &fields[2], *grain = &fields[3], *runs = &fields[4];
    ropeway_error_t error = fields_length > 0 /* else there may be no payload */
                                ? rw_fields_read(payload, fields_length, fields, FIELDS)
                                : ROPEWAY_ERR_PROTOCOL;

    if (error != ROPEWAY_OK) {
        return error;
    }
    *request = (rw_request_t){.hello = fields[0].value,
                              .hello_length = fields[0].length,
                              .token = fields[1].value,
                              .grain = grain->value != NULL ? rw_get64(grain->value) : 0,
                              .is_prefix = runs->value != NULL,
                              .runs = runs->value,
                              .run_count = runs->length / RW_RUN_BYTES,
                              .trace = (const char *)trace->value,
                              .trace_length = trace->length,
                              .data = payload + fields_length,
                              .length = length - fields_length};
    return runs->length % RW_RUN_BYTES == 0 && request->run_count <= message->request.count
               ? ROPEWAY_OK
               : ROPEWAY_ERR_PROTOCOL;
}

size_t rw_message_put_runs(const ropeway_descriptor_t *descriptors, size_t count, uint8_t *bytes) {
    size_t runs = 0;

    for (size_t i = 0, next; i < count; i = next) {
        for (next = i + 1; next < count && descriptors[next].size == descriptors[i].size;) {
            next++;
        }
        if (bytes != NULL) {
            rw_put32(bytes + runs * RW_RUN_BYTES, (uint32_t)(next - i));
            rw_put64(bytes + runs * RW_RUN_BYTES + 4, descriptors[i].size);
        }
        runs++;
    }
    return runs;
}

bool rw_message_read_runs(const uint8_t *bytes, size_t runs, uint64_t *sizes, size_t count) {
    size_t done = 0;

    for (size_t i = 0; i < runs; i++) {
        size_t length = rw_get32(bytes + i * RW_RUN_BYTES);
        uint64_t size = rw_get64(bytes + i * RW_RUN_BYTES + 4);

        if (length > count - done) {
            return false;
        }
        for (size_t end = done + length; done < end; done++) {
            sizes[done] = size;
        }
    }
    return done == count;
}

static bool decode_request(const uint8_t *bytes, size_t payload, rw_message_t *message) {
    message->request.total = rw_get64(bytes + AT_BODY);
    message->request.digest = rw_get64(bytes + AT_DIGEST);
    message->request.count = rw_get32(bytes + AT_COUNT);
    message->request.fields_length = rw_get32(bytes + AT_FIELDS_LENGTH);
    if (message->request.count == 0 || message->request.fields_length > payload) {
        return false;
    }
    payload -= message->request.fields_length;
    return payload == ((message->flags & RW_FLAG_INLINE) != 0 ? message->request.total : 0);
}

static bool decode_fin(const uint8_t *bytes, size_t payload, rw_message_t *message) {
    message->fin.status = rw_get32(bytes + AT_BODY);
    message->fin.error = rw_get32(bytes + AT_BODY + 4);
    return message->fin.status >= ROPEWAY_STATUS_COMPLETE &&
           message->fin.status <= ROPEWAY_STATUS_ERRORED && payload <= RW_TEXT_MAX;
}

static bool decode_body(const uint8_t *bytes, size_t payload, rw_message_t *message) {
    switch (message->type) {
    case RW_REQUEST:
        return decode_request(bytes, payload, message);
    case RW_DATA:
        message->data.offset = rw_get64(bytes + AT_BODY);
        return true;
    case RW_SUMS:
        message->sums.first = rw_get64(bytes + AT_BODY);
        return payload % sizeof(uint64_t) == 0 && payload <= RW_SUMS_MAX * sizeof(uint64_t);
    case RW_FIN:
        return decode_fin(bytes, payload, message);
    case RW_ACCEPT:
        message->accept.grain = rw_get64(bytes + AT_BODY);
        return payload == 0 &&
               (message->accept.grain == 0 || message->accept.grain >= RW_GRAIN_LEAST);
    case RW_WAY:
        return payload <= RW_HELLO_MAX;
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
    message->flags = rw_get16(bytes + AT_FLAGS);
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

uint64_t rw_message_digest(const ropeway_descriptor_t *descriptors, size_t count) {
    XXH3_state_t state;

    XXH3_64bits_reset(&state);
    for (size_t i = 0; i < count; i++) {
        uint64_t size = htole64((uint64_t)descriptors[i].size);

        XXH3_64bits_update(&state, &size, sizeof size);
    }
    return XXH3_64bits_digest(&state);
}
