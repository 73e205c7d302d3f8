/* SPDX-License-Identifier: Apache-2.0 */
/* Notification keys as UUID text. */
#include "unit.h"

static void a_key_survives_its_text(void **state) {
    (void)state;
    for (int i = 0; i < 1000; i++) {
        uint8_t key[RW_KEY_BYTES];
        uint8_t again[RW_KEY_BYTES];
        char text[RW_KEY_TEXT];

        unit_random_bytes(key, sizeof key);
        rw_key_to_text(key, text);
        assert_int_equal(strlen(text), 36);
        assert_true(rw_key_from_text(text, again));
        assert_memory_equal(key, again, sizeof key);
    }
}

static void the_text_is_that_of_a_uuid(void **state) {
    static const uint8_t key[RW_KEY_BYTES] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
                                              0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
    char text[RW_KEY_TEXT];
    uint8_t again[RW_KEY_BYTES];

    (void)state;
    rw_key_to_text(key, text);
    assert_string_equal(text, "00112233-4455-6677-8899-aabbccddeeff");
    assert_true(rw_key_from_text("00112233-4455-6677-8899-AABBCCDDEEFF", again));
    assert_memory_equal(key, again, sizeof key);
}

static void other_texts_are_refused_and_change_nothing(void **state) {
    static const char *const texts[] = {
        "",
        "00112233-4455-6677-8899-aabbccddeef",
        "00112233-4455-6677-8899-aabbccddeefff",
        "00112233-4455-6677-8899-aabbccddeefg",
        "00112233445566778899aabbccddeeff",
        "{0112233-4455-6677-8899-aabbccddeef}",
        "00112233+4455-6677-8899-aabbccddeeff",
        "0011223-34455-6677-8899-aabbccddeeff",
        "00112233-4455-6677-8899+aabbccddeeff",
        "-0112233-4455-6677-8899-aabbccddeeff",
        " 0112233-4455-6677-8899-aabbccddeeff",
        "00112233-4455-6677-8899-aabbccddeef ",
        "0x112233-4455-6677-8899-aabbccddeeff",
    };

    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
        uint8_t key[RW_KEY_BYTES];
        uint8_t before[RW_KEY_BYTES];

        memset(key, 0xEE, sizeof key);
        memcpy(before, key, sizeof key);
        if (rw_key_from_text(texts[i], key)) {
            fail_msg("\"%s\" was accepted", texts[i]);
        }
        assert_memory_equal(key, before, sizeof key);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_survives_its_text),
        cmocka_unit_test(the_text_is_that_of_a_uuid),
        cmocka_unit_test(other_texts_are_refused_and_change_nothing),
    };

    return cmocka_run_group_tests(tests, unit_seed, NULL);
}
