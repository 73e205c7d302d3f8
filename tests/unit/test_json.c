/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON reader's strings and integers, held against tables and against jansson. What the objects
 * and arrays of metadata may look like is in test_metadata_errors.c. */
#include "base/json.h"
#include "unit.h"

#include <jansson.h>

typedef struct conversion {
    const char *text;
    const char *meaning; /* NULL: malformed */
} conversion_t;

/* Reads one string; malloc'ed, or NULL when it is malformed. */
static char *read_string(const char *bytes, size_t length) {
    char *exact = malloc(length > 0 ? length : 1);
    char *copy = NULL;
    rw_json_t json;
    rw_json_text_t text;

    assert_non_null(exact);
    memcpy(exact, bytes, length);
    rw_json_init(&json, exact, length);
    if (rw_json_string(&json, "value", &text) == ROPEWAY_OK && rw_json_end(&json) == ROPEWAY_OK) {
        copy = malloc(text.length + 1);
        assert_non_null(copy);
        rw_json_copy(&text, copy);
        assert_int_equal(strlen(copy), text.length);
    }
    free(exact);
    return copy;
}

static void assert_conversions(const conversion_t *conversions, size_t count) {
    for (size_t i = 0; i < count; i++) {
        char *meaning = read_string(conversions[i].text, strlen(conversions[i].text));

        if (conversions[i].meaning == NULL && meaning != NULL) {
            fail_msg("%s was accepted", conversions[i].text);
        }
        if (conversions[i].meaning != NULL) {
            if (meaning == NULL) {
                fail_msg("%s was refused: %s", conversions[i].text, ropeway_last_error());
            }
            assert_string_equal(meaning, conversions[i].meaning);
        }
        free(meaning);
    }
}

static void every_escape_has_its_meaning(void **state) {
    static const conversion_t conversions[] = {
        {"\"\"", ""},
        {"\"plain\"", "plain"},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
        {"\"\\u0001\\u007f\\u0080\\u07ff\"", "\x01\x7f\xc2\x80\xdf\xbf"},
        {"\"\\u0800\\uFFFF\\ud7ff\\ue000\"", "\xe0\xa0\x80\xef\xbf\xbf\xed\x9f\xbf\xee\x80\x80"},
        {"\"\\ud800\\udc00\\uDBFF\\uDFFF\"", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"},
        {"\"\\x\"", NULL},
        {"\"\\", NULL},
        {"\"\\\"", NULL},
        {"\"\\u\"", NULL},
        {"\"\\u123\"", NULL},
        {"\"\\u123", NULL},
        {"\"\\u1", NULL},
        {"\"\\ud800\\", NULL},
        {"\"\\ud800\\u", NULL},
        {"\"\\ud800\\udc0", NULL},
        {"\"\\u12g4\"", NULL},
        {"\"\\u0000\"", NULL},
        {"\"\\ud800\"", NULL},
        {"\"\\ud800x\"", NULL},
        {"\"\\ud800\\n\"", NULL},
        {"\"\\ud800\\ud800\"", NULL},
        {"\"\\ud800\\u0041\"", NULL},
        {"\"\\udc00\"", NULL},
        {"\"\\U0041\"", NULL},
        {"\"\\u+123\"", NULL},
        {"\"\t\"", NULL},
        {"\"\n\"", NULL},
        {"\"open", NULL},
        {"'single'", NULL},
        {"", NULL},
    };

    (void)state;
    assert_conversions(conversions, UNIT_COUNT(conversions));
}

static void only_valid_utf_8_is_accepted(void **state) {
    static const conversion_t conversions[] = {
        {"\"\x7f\"", "\x7f"},
        {"\"\xc2\x80\"", "\xc2\x80"},
        {"\"\xdf\xbf\"", "\xdf\xbf"},
        {"\"\xe0\xa0\x80\"", "\xe0\xa0\x80"},
        {"\"\xef\xbf\xbf\"", "\xef\xbf\xbf"},
        {"\"\xf0\x90\x80\x80\"", "\xf0\x90\x80\x80"},
        {"\"\xf4\x8f\xbf\xbf\"", "\xf4\x8f\xbf\xbf"},
        {"\"\x80\"", NULL},
        {"\"\xbf\"", NULL},
        {"\"\xc0\x80\"", NULL},
        {"\"\xc1\xbf\"", NULL},
        {"\"\xc2\"", NULL},
        {"\"\xc2\x41\"", NULL},
        {"\"\xc2", NULL},
        {"\"\xe0\x80\x80\"", NULL},
        {"\"\xe0\x9f\xbf\"", NULL},
        {"\"\xe2\x82\"", NULL},
        {"\"\xed\xa0\x80\"", NULL},
        {"\"\xed\xbf\xbf\"", NULL},
        {"\"\xf0\x80\x80\x80\"", NULL},
        {"\"\xf0\x8f\xbf\xbf\"", NULL},
        {"\"\xf0\x9f\x9a\"", NULL},
        {"\"\xf4\x90\x80\x80\"", NULL},
        {"\"\xf5\x80\x80\x80\"", NULL},
        {"\"\xff\"", NULL},
    };

    (void)state;
    assert_conversions(conversions, UNIT_COUNT(conversions));
}

static void a_string_means_what_jansson_means_by_it(void **state) {
    static const char *const pieces[] = {
        "\"",  "\\",  "\\\\", "\\\"",  "\\/",     "\\n",     "\\u0041", "\\ud83d",  "\\udea1",
        "\\u", "abc", "é",    "\xe2",  "\x82",    "\xac",    "🚡",       "\xed\xa0", "\x01",
        "}",   " ",   "\\b",  "\\u00", "\\u0000", "\\uFfFf", "\xf4\x90"};

    (void)state;
    for (size_t round = 0, rounds = ts_scaled(100000, 1000); round < rounds; round++) {
        char text[128] = "\"";
        char *meaning;
        json_t *reference;

        for (uint64_t i = 0, count = unit_below(8); i < count; i++) {
            strcat(text, pieces[unit_below(UNIT_COUNT(pieces))]);
        }
        strcat(text, "\"");
        meaning = read_string(text, strlen(text));
        reference = json_loads(text, JSON_DECODE_ANY, NULL);
        if ((meaning == NULL) != (reference == NULL)) {
            fail_msg("%s is %s by jansson", text, reference == NULL ? "refused" : "accepted");
        }
        if (meaning != NULL) {
            assert_string_equal(meaning, json_string_value(reference));
        }
        json_decref(reference);
        free(meaning);
    }
}

static void integers_are_read_up_to_their_bounds(void **state) {
    static const struct {
        const char *text;
        uint64_t minimum, maximum;
        bool accepted;
        uint64_t value;
    } cases[] = {
        {"0", 0, 0, true, 0},
        {" 42 ", 0, 100, true, 42},
        {"18446744073709551615", 0, UINT64_MAX, true, UINT64_MAX},
        {"18446744073709551616", 0, UINT64_MAX, false, 0},
        {"28446744073709551615", 0, UINT64_MAX, false, 0},
        {"184467440737095516150", 0, UINT64_MAX, false, 0},
        {"10", 10, 10, true, 10},
        {"9", 10, 20, false, 0},
        {"21", 10, 20, false, 0},
        {"01", 0, 10, false, 0},
        {"00", 0, 10, false, 0},
        {"-1", 0, 10, false, 0},
        {"+1", 0, 10, false, 0},
        {"1.0", 0, 10, false, 0},
        {"1e0", 0, 10, false, 0},
        {"1E0", 0, 10, false, 0},
        {"0x1", 0, 10, false, 0},
        {"1a", 0, 10, false, 0},
        {"1\"", 0, 10, false, 0},
        {"", 0, 10, false, 0},
        {" ", 0, 10, false, 0},
        {"true", 0, 10, false, 0},
    };

    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        rw_json_t json;
        uint64_t value = 1;
        ropeway_error_t error;

        rw_json_init(&json, cases[i].text, strlen(cases[i].text));
        error = rw_json_integer(&json, "value", cases[i].minimum, cases[i].maximum, &value);
        if ((error == ROPEWAY_OK) != cases[i].accepted) {
            fail_msg("\"%s\": %s", cases[i].text, ropeway_error_name(error));
        }
        if (cases[i].accepted) {
            assert_true(value == cases[i].value);
            assert_accepted(rw_json_end(&json));
        } else {
            assert_refused(error, ROPEWAY_ERR_METADATA, "value must be an integer");
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_escape_has_its_meaning),
        cmocka_unit_test(only_valid_utf_8_is_accepted),
        cmocka_unit_test(a_string_means_what_jansson_means_by_it),
        cmocka_unit_test(integers_are_read_up_to_their_bounds),
    };

    return cmocka_run_group_tests(tests, unit_seed, NULL);
}
