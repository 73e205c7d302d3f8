/* SPDX-License-Identifier: Apache-2.0 */
/* The list of errors, and each thread's sentence. */
#include "base/error.h"
#include "unit.h"

#include <pthread.h>

static const struct {
    int number;
    const char *name;
    const char *text;
} errors[] = {
#define ENTRY(number, name, text) {number, "ROPEWAY_" #name, text},
    ROPEWAY_ERROR_MAP(ENTRY)
#undef ENTRY
};

static void numbers_count_up_from_zero(void **state) {
    (void)state;
    assert_int_equal(ROPEWAY_OK, 0);
    for (size_t i = 0; i < UNIT_COUNT(errors); i++) {
        assert_int_equal(errors[i].number, i);
    }
}

static void names_and_texts_are_unique_and_not_empty(void **state) {
    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(errors); i++) {
        assert_string_equal(ropeway_error_name((ropeway_error_t)i), errors[i].name);
        assert_string_equal(ropeway_error_text((ropeway_error_t)i), errors[i].text);
        assert_true(strlen(errors[i].text) > 5);
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(errors[i].name, errors[j].name);
            assert_string_not_equal(errors[i].text, errors[j].text);
        }
    }
}

static void a_number_that_is_no_error_has_a_name_and_a_text_too(void **state) {
    static const int numbers[] = {-1, UNIT_COUNT(errors), 1000, INT32_MAX};

    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(numbers); i++) {
        assert_string_equal(ropeway_error_name((ropeway_error_t)numbers[i]), "ROPEWAY_ERR_?");
        assert_string_not_equal(ropeway_error_text((ropeway_error_t)numbers[i]), "");
    }
}

static void a_sentence_is_kept_and_the_error_handed_through(void **state) {
    (void)state;
    assert_int_equal(rw_fail(ROPEWAY_ERR_BUSY, "%s is %d", "it", 7), ROPEWAY_ERR_BUSY);
    assert_string_equal(ropeway_last_error(), "it is 7");
}

static void a_long_sentence_is_cut(void **state) {
    static char text[5000];

    (void)state;
    memset(text, 'x', sizeof text - 1);
    rw_explain("%s", text);
    assert_in_range(strlen(ropeway_last_error()), 500, sizeof text - 2);
}

static void *other_thread(void *arg) {
    strcpy(arg, ropeway_last_error());
    rw_explain("of the other thread");
    return NULL;
}

static void each_thread_has_its_own_sentence(void **state) {
    char first[1024] = "unset";
    pthread_t thread;

    (void)state;
    rw_explain("of this thread");
    assert_int_equal(pthread_create(&thread, NULL, other_thread, first), 0);
    pthread_join(thread, NULL);
    assert_string_equal(first, "");
    assert_string_equal(ropeway_last_error(), "of this thread");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_count_up_from_zero),
        cmocka_unit_test(names_and_texts_are_unique_and_not_empty),
        cmocka_unit_test(a_number_that_is_no_error_has_a_name_and_a_text_too),
        cmocka_unit_test(a_sentence_is_kept_and_the_error_handed_through),
        cmocka_unit_test(a_long_sentence_is_cut),
        cmocka_unit_test(each_thread_has_its_own_sentence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
