/* SPDX-License-Identifier: Apache-2.0 */
/* Base64 against libsodium's. */
#include "base/base64.h"
#include "unit.h"

#include <sodium.h>
#include <string.h>

#define MAX 100

static void every_length_is_written_as_libsodium_does(void **state) {
    uint8_t bytes[MAX], again[MAX + 3];
    char text[RW_BASE64_LENGTH(MAX) + 1], theirs[sizeof text];

    (void)state;
    for (size_t size = 0; size <= MAX; size++) {
        size_t read;

        unit_random_bytes(bytes, sizeof bytes);
        rw_base64_encode(bytes, size, text);
        text[RW_BASE64_LENGTH(size)] = '\0';
        sodium_bin2base64(theirs, sizeof theirs, bytes, size, sodium_base64_VARIANT_ORIGINAL);
        assert_string_equal(text, theirs);
        assert_true(rw_base64_decode(text, strlen(text), again, &read));
        assert_int_equal(read, size);
        assert_memory_equal(again, bytes, size);
    }
}

/* Any text of up to eight ASCII characters, most of them digits. (libsodium 1.0.18 takes some bytes
 * above for digits.) */
static void what_is_read_and_refused_is_what_libsodium_reads_and_refuses(void **state) {
    static const char mostly[] = "AQgw/+9zZ=AAAAAA=-_ \n";
    size_t accepted = 0;

    (void)state;
    for (int i = 0; i < 300000; i++) {
        uint8_t random[9], mine[9] = {0}, theirs[9] = {0};
        size_t size = 0, their_size = 0, length;
        bool good, theirs_good;
        char text[9];

        unit_random_bytes(random, sizeof random);
        length = random[8] % 9;
        for (size_t j = 0; j < length; j++) {
            text[j] = random[j] < 240 ? mostly[random[j] % (sizeof mostly - 1)]
                                      : (char)(random[(j + 1) % sizeof random] & 127);
        }
        good = rw_base64_decode(text, length, mine, &size);
        theirs_good = sodium_base642bin(theirs, sizeof theirs, text, length, NULL, &their_size,
                                        NULL, sodium_base64_VARIANT_ORIGINAL) == 0;
        assert_int_equal(good, theirs_good);
        if (good) {
            assert_int_equal(size, their_size);
            assert_memory_equal(mine, theirs, size);
        }
        accepted += good;
    }
    assert_true(accepted > 1000);
}

static void no_byte_above_ascii_is_a_digit(void **state) {
    char text[] = "AAAAAAAA";
    uint8_t bytes[6];
    size_t size;

    (void)state;
    for (int byte = 128; byte < 256; byte++) {
        for (size_t at = 0; at < 8; at++) {
            memset(text, 'A', 8);
            text[at] = (char)byte;
            assert_false(rw_base64_decode(text, 8, bytes, &size));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length_is_written_as_libsodium_does),
        cmocka_unit_test(what_is_read_and_refused_is_what_libsodium_reads_and_refuses),
        cmocka_unit_test(no_byte_above_ascii_is_a_digit),
    };

    return cmocka_run_group_tests(tests, unit_seed, NULL);
}
