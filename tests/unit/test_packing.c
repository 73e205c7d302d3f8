/* SPDX-License-Identifier: Apache-2.0 */
/* Packing and unpacking of blobs of every size, and of what unpacks to more than is allowed. */
#include "text/packing.h"
#include "unit.h"

#include <sodium.h>
#include <zlib.h>

#define MEBIBYTE ((size_t)1 << 20)

static void assert_round_trip(const uint8_t *blob, size_t length) {
    char *text;
    size_t text_length;
    uint8_t *again;
    size_t again_length;

    assert_accepted(rw_pack(blob, length, &text, &text_length));
    assert_int_equal(strlen(text), text_length);
    assert_accepted(rw_unpack(text, text_length, length, &again, &again_length));
    assert_int_equal(again_length, length);
    assert_memory_equal(again, blob, length);
    free(again);
    if (length > 0) {
        assert_refused(rw_unpack(text, text_length, length - 1, &again, &again_length),
                       ROPEWAY_ERR_LIMIT, "max_metadata");
        assert_null(again);
    }
    free(text);
}

static void what_is_packed_is_what_is_unpacked(void **state) {
    static uint8_t blob[70000];

    (void)state;
    for (size_t length = 0; length < 300; length++) {
        unit_random_bytes(blob, length);
        assert_round_trip(blob, length);
    }
    for (size_t round = 0, rounds = ts_scaled(300, 30); round < rounds; round++) {
        size_t length = unit_below(unit_below(4) == 0 ? sizeof blob : 8300);

        memset(blob, 0, length);
        unit_random_bytes(blob, unit_below(length + 1));
        assert_round_trip(blob, length);
    }
}

static void any_zlib_stream_is_accepted(void **state) {
    uint8_t blob[5000];

    (void)state;
    for (int level = 0; level <= 9; level++) {
        uint8_t packed[6000];
        uLongf packed_length = sizeof packed;
        char text[9000] = RW_PACKING_PREFIX;
        uint8_t *again;
        size_t length;

        memset(blob, 'x', sizeof blob);
        unit_random_bytes(blob, sizeof blob / 2);
        assert_int_equal(compress2(packed, &packed_length, blob, sizeof blob, level), Z_OK);
        sodium_bin2base64(text + 4, sizeof text - 4, packed, packed_length,
                          sodium_base64_VARIANT_ORIGINAL);
        assert_accepted(rw_unpack(text, strlen(text), sizeof blob, &again, &length));
        assert_int_equal(length, sizeof blob);
        assert_memory_equal(again, blob, length);
        free(again);
    }
}

/* A text of some 90 KB that unpacks to 64 MiB. */
static char *make_bomb(void) {
    size_t length = 64 * MEBIBYTE;
    uint8_t *zeroes = calloc(1, length);
    uLongf packed_length = compressBound(length);
    uint8_t *packed = malloc(packed_length);
    size_t size;
    char *text;

    assert_non_null(zeroes);
    assert_non_null(packed);
    assert_int_equal(compress2(packed, &packed_length, zeroes, length, 9), Z_OK);
    size = sodium_base64_ENCODED_LEN(packed_length, sodium_base64_VARIANT_ORIGINAL) + 4;
    text = malloc(size);
    assert_non_null(text);
    memcpy(text, RW_PACKING_PREFIX, 4);
    sodium_bin2base64(text + 4, size - 4, packed, packed_length, sodium_base64_VARIANT_ORIGINAL);
    free(zeroes);
    free(packed);
    return text;
}

static void a_bomb_is_refused_before_it_goes_off(void **state) {
    char *bomb = make_bomb();
    char *text = unit_metadata(bomb);
    ropeway_metadata_t *metadata;
    uint8_t *blob;
    size_t length;

    (void)state;
    assert_in_range(strlen(bomb), 1, 100000);
    assert_refused(ropeway_metadata_parse(text, strlen(text), 0, &metadata), ROPEWAY_ERR_LIMIT,
                   "nixl_metadata", "16777216", "max_metadata");
    assert_null(metadata);
    assert_refused(rw_unpack(bomb, strlen(bomb), MEBIBYTE, &blob, &length), ROPEWAY_ERR_LIMIT,
                   "1048576");
    assert_refused(rw_unpack(bomb, strlen(bomb), 64 * MEBIBYTE - 1, &blob, &length),
                   ROPEWAY_ERR_LIMIT, "67108863");
    assert_accepted(rw_unpack(bomb, strlen(bomb), 64 * MEBIBYTE, &blob, &length));
    assert_int_equal(length, 64 * MEBIBYTE);
    free(blob);
    free(text);
    free(bomb);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_packed_is_what_is_unpacked),
        cmocka_unit_test(any_zlib_stream_is_accepted),
        cmocka_unit_test(a_bomb_is_refused_before_it_goes_off),
    };

    return cmocka_run_group_tests(tests, unit_seed, NULL);
}
