/* SPDX-License-Identifier: Apache-2.0 */
/* The native protocol: headers, hellos, requests and sentences. The input's first byte says which.
 */
#include "base/utf8.h"
#include "fuzz.h"
#include "native/message.h"

#include <endian.h>
#include <string.h>
#include <xxhash.h>

static void read_header(const uint8_t *bytes, size_t length) {
    rw_message_t message;
    rw_message_t again;
    uint8_t encoded[RW_MESSAGE_BYTES];
    uint8_t twice[RW_MESSAGE_BYTES];
    uint64_t payload;

    if (length < sizeof payload) {
        return;
    }
    memcpy(&payload, bytes, sizeof payload);
    if (rw_message_decode(bytes + sizeof payload, length - sizeof payload, payload, &message) ==
        ROPEWAY_OK) {
        FUZZ_CHECK(message.type != RW_REQUEST || message.request.fields_length <= payload);
        rw_message_encode(&message, encoded);
        FUZZ_CHECK(rw_message_decode(encoded, sizeof encoded, payload, &again) == ROPEWAY_OK);
        rw_message_encode(&again, twice);
        FUZZ_CHECK(memcmp(encoded, twice, sizeof encoded) == 0);
    }
}

static void read_hello(const uint8_t *bytes, size_t length) {
    rw_hello_t hello;

    if (rw_hello_decode(bytes, length, &hello) == ROPEWAY_OK) {
        FUZZ_CHECK(hello.address > bytes && hello.address_length > 0 &&
                   hello.address + hello.address_length < bytes + length);
        FUZZ_CHECK(*hello.name != '\0' && strlen(hello.name) < sizeof hello.name);
        FUZZ_CHECK(strlen(hello.ucx) < sizeof hello.ucx);
    }
}

/* With a right checksum, which the fuzzer could not find. */
static void read_sealed_hello(const uint8_t *bytes, size_t length) {
    uint8_t *sealed = malloc(length + sizeof(uint64_t));
    uint64_t sum = htole64(XXH3_64bits(bytes, length));

    FUZZ_CHECK(sealed != NULL);
    memcpy(sealed, bytes, length);
    memcpy(sealed + length, &sum, sizeof sum);
    read_hello(sealed, length + sizeof sum);
    free(sealed);
}

/* The first bytes: the length of the fields, how many descriptors. */
static void read_fields(const uint8_t *bytes, size_t length) {
    rw_message_t message = {.type = RW_REQUEST};
    rw_request_t request;

    if (length < 4) {
        return;
    }
    message.request.count = 1u + bytes[2] + 256u * bytes[3];
    message.request.fields_length = (bytes[0] + 256u * bytes[1]) % (uint32_t)(length - 3);
    if (rw_request_decode(&message, bytes + 4, length - 4, &request) == ROPEWAY_OK) {
        uint8_t *again = malloc(rw_request_length(&request));

        FUZZ_CHECK(request.hello_length > 0 && request.run_count <= message.request.count);
        FUZZ_CHECK(request.data + request.length == bytes + length);
        FUZZ_CHECK(again != NULL && rw_request_length(&request) <= message.request.fields_length);
        FUZZ_CHECK(rw_request_encode(&request, again) == again + rw_request_length(&request));
        free(again);
    }
}

static void read_sentence(const uint8_t *bytes, size_t length) {
    char text[RW_TEXT_MAX + 1], again[RW_TEXT_MAX + 1];

    rw_printable(bytes, length, text, sizeof text);
    FUZZ_CHECK(strlen(text) <= length && (*text != '\0') == (length > 0));
    /* A character that is replaced may have had four bytes. */
    FUZZ_CHECK(strlen(text) * 4 + 4 > (length < RW_TEXT_MAX ? length : RW_TEXT_MAX));
    rw_printable(text, strlen(text), again, sizeof again);
    FUZZ_CHECK(strcmp(text, again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    if (length == 0) {
        return 0;
    }
    switch (bytes[0] % 5) {
    case 0:
        read_header(bytes + 1, length - 1);
        break;
    case 1:
        read_hello(bytes + 1, length - 1);
        break;
    case 2:
        read_sealed_hello(bytes + 1, length - 1);
        break;
    case 3:
        read_fields(bytes + 1, length - 1);
        break;
    default:
        read_sentence(bytes + 1, length - 1);
        break;
    }
    return 0;
}
