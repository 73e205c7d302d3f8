/* SPDX-License-Identifier: Apache-2.0 */
/* A stream link's bytes: greetings, frames and addresses. The input's first byte says which. */
#include "fuzz.h"
#include "link/stream_address.h"

#include <string.h>

static void read_greeting(const uint8_t *bytes, size_t length, rw_greeting_kind_t kind) {
    rw_greeting_t greeting;
    uint8_t again[RW_GREETING_BYTES];

    if (length >= RW_GREETING_BYTES && rw_greeting_decode(bytes, kind, &greeting) &&
        greeting.version == RW_STREAM_VERSION) {
        rw_greeting_encode(&greeting, again);
        FUZZ_CHECK(memcmp(again, bytes, sizeof again) == 0);
    }
}

static void read_head(const uint8_t *bytes, size_t length) {
    rw_head_t head;
    uint8_t again[RW_HEAD_BYTES];

    if (length >= RW_HEAD_BYTES && rw_head_decode(bytes, &head) == NULL) {
        FUZZ_CHECK(head.length <= RW_STREAM_BULK_MAX);
        FUZZ_CHECK(head.class >= RW_FRAME_CONTROL && head.class <= RW_FRAME_CLASSES);
        FUZZ_CHECK(head.class < RW_FRAME_LENT || head.length <= RW_WORD_MAX);
        FUZZ_CHECK(head.class == RW_FRAME_BULK || head.length <= RW_STREAM_CONTROL_MAX);
        rw_head_encode(&head, again);
        FUZZ_CHECK(memcmp(again, bytes, sizeof again) == 0);
    }
}

static void read_address(const uint8_t *bytes, size_t length) {
    rw_stream_address_t address, same;
    uint8_t again[RW_ADDRESS_MAX];
    char text[RW_PLACE_TEXT];

    if (rw_stream_address_decode(bytes, length, &address) != NULL) {
        return;
    }
    FUZZ_CHECK(address.count + address.local >= 1 && address.count <= RW_PLACES_MAX);
    for (size_t i = 0; i < address.count; i++) {
        FUZZ_CHECK(rw_place_is_host(&address.places[i]));
        rw_place_write(&address.places[i], text);
        FUZZ_CHECK(strrchr(text, ':') != NULL);
    }
    FUZZ_CHECK(rw_stream_address_decode(again, rw_stream_address_encode(&address, again), &same) ==
               NULL);
    FUZZ_CHECK(same.local == address.local);
    FUZZ_CHECK(same.encryption == address.encryption && same.count == address.count);
    FUZZ_CHECK(memcmp(same.fingerprint, address.fingerprint, sizeof same.fingerprint) == 0);
    for (size_t i = 0; i < address.count; i++) {
        char other[sizeof text];

        rw_place_write(&address.places[i], text);
        rw_place_write(&same.places[i], other);
        FUZZ_CHECK(strcmp(text, other) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
    if (length == 0) {
        return 0;
    }
    switch (bytes[0] % 4) {
    case 0:
        read_greeting(bytes + 1, length - 1, RW_GREETING_CALL);
        break;
    case 1:
        read_greeting(bytes + 1, length - 1, RW_GREETING_ANSWER);
        break;
    case 2:
        read_head(bytes + 1, length - 1);
        break;
    default:
        read_address(bytes + 1, length - 1);
        break;
    }
    return 0;
}
