/* SPDX-License-Identifier: Apache-2.0 */
/* Devices as text, and the checks on lists of descriptors. */
#include "text/descriptor.h"
#include "unit.h"

static void every_device_text_has_its_meaning(void **state) {
    static const struct {
        const char *text;
        ropeway_device_t device;
        const char *canonical;
    } cases[] = {
        {"cpu", {ROPEWAY_DEVICE_HOST, 0}, "cpu"},
        {"host", {ROPEWAY_DEVICE_HOST, 0}, "cpu"},
        {"cuda", {ROPEWAY_DEVICE_CUDA, 0}, "cuda:0"},
        {"cuda:0", {ROPEWAY_DEVICE_CUDA, 0}, "cuda:0"},
        {"cuda:13", {ROPEWAY_DEVICE_CUDA, 13}, "cuda:13"},
        {"gpu", {ROPEWAY_DEVICE_CUDA, 0}, "cuda:0"},
        {"gpu:65535", {ROPEWAY_DEVICE_CUDA, 65535}, "cuda:65535"},
        {"xpu", {ROPEWAY_DEVICE_XPU, 0}, "xpu:0"},
        {"xpu:2", {ROPEWAY_DEVICE_XPU, 2}, "xpu:2"},
    };

    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        ropeway_device_t device = {-1, -1};
        char text[32];

        assert_accepted(ropeway_device_parse(cases[i].text, &device));
        assert_int_equal(device.kind, cases[i].device.kind);
        assert_int_equal(device.id, cases[i].device.id);
        assert_int_equal(ropeway_device_format(device, text, sizeof text),
                         strlen(cases[i].canonical));
        assert_string_equal(text, cases[i].canonical);
    }
}

static void other_device_texts_are_refused_by_name(void **state) {
    static const char *const texts[] = {
        "",        "CPU",     "cpu:0",   "cpu:",    "host:1",     "cuda:",      "cuda:-1",
        "cuda:+1", "cuda: 1", "cuda:1 ", "cuda:1x", "cuda:65536", "cuda:99999", "cuda:000001",
        "cuda0",   "cud",     "cudaa:1", "xpu:1:2", "tpu:0",      " cpu",       ":0"};

    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(texts); i++) {
        ropeway_device_t device = {7, 7};
        char quoted[32];

        snprintf(quoted, sizeof quoted, "\"%s\"", texts[i]);
        assert_refused(ropeway_device_parse(texts[i], &device), ROPEWAY_ERR_DEVICE, quoted,
                       "65535");
        assert_int_equal(device.kind, 7);
    }
}

static void null_arguments_are_refused(void **state) {
    ropeway_device_t device;

    (void)state;
    assert_refused(ropeway_device_parse(NULL, &device), ROPEWAY_ERR_INVALID_ARGUMENT, "the text");
    assert_refused(ropeway_device_parse("cpu", NULL), ROPEWAY_ERR_INVALID_ARGUMENT, "the place");
}

static void a_device_text_is_cut_at_the_buffer(void **state) {
    ropeway_device_t device = {ROPEWAY_DEVICE_CUDA, 65535};
    char text[8] = "#######";

    (void)state;
    assert_int_equal(ropeway_device_format(device, text, 5), 10);
    assert_memory_equal(text, "cuda\0##", 8);
    assert_int_equal(ropeway_device_format(device, text, 0), 10);
    assert_int_equal(ropeway_device_format(device, NULL, 100), 10);
    assert_int_equal(ropeway_device_format((ropeway_device_t){INT32_MIN, INT32_MIN}, NULL, 0) < 32,
                     1);
}

static char memory[16];

static ropeway_error_t check_one(void *ptr, size_t size, int32_t kind, int32_t id) {
    ropeway_descriptor_t list[] = {{memory, sizeof memory, {ROPEWAY_DEVICE_HOST, 0}},
                                   {ptr, size, {kind, id}}};
    uint64_t total;

    return rw_descriptors_check(list, 2, 2, &total);
}

static void good_lists_pass_and_are_summed_up(void **state) {
    ropeway_descriptor_t list[] = {{memory, 16, {ROPEWAY_DEVICE_HOST, 0}},
                                   {memory, 0, {ROPEWAY_DEVICE_HOST, 0}},
                                   {memory + 3, 5, {ROPEWAY_DEVICE_CUDA, 65535}},
                                   {memory, SIZE_MAX / 4, {ROPEWAY_DEVICE_XPU, 1}}};
    uint64_t total = 0;

    (void)state;
    assert_accepted(rw_descriptors_check(list, 4, 4, &total));
    assert_true(total == SIZE_MAX / 4 + 21);
    assert_accepted(rw_descriptors_check(list, 1, 1, NULL));
}

static void empty_and_null_lists_are_refused(void **state) {
    ropeway_descriptor_t list[] = {{memory, 1, {ROPEWAY_DEVICE_HOST, 0}}};

    (void)state;
    assert_refused(rw_descriptors_check(list, 0, 10, NULL), ROPEWAY_ERR_EMPTY_LIST,
                   "0 descriptors");
    assert_refused(rw_descriptors_check(NULL, 0, 10, NULL), ROPEWAY_ERR_EMPTY_LIST,
                   "0 descriptors");
    assert_refused(rw_descriptors_check(NULL, 3, 10, NULL), ROPEWAY_ERR_INVALID_ARGUMENT, "3",
                   "null");
}

static void a_list_may_be_as_long_as_the_limit_and_no_longer(void **state) {
    ropeway_descriptor_t list[3];

    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(list); i++) {
        list[i] = (ropeway_descriptor_t){memory, 1, {ROPEWAY_DEVICE_HOST, 0}};
    }
    assert_accepted(rw_descriptors_check(list, 3, 3, NULL));
    assert_refused(rw_descriptors_check(list, 3, 2, NULL), ROPEWAY_ERR_LIMIT, "3 descriptors",
                   "allows 2", "max_descriptors");
}

static void each_bad_descriptor_is_named_with_its_values(void **state) {
    char *end = (char *)UINTPTR_MAX;

    (void)state;
    assert_accepted(check_one(memory, 1, ROPEWAY_DEVICE_HOST, 0));
    assert_refused(check_one(NULL, 123, ROPEWAY_DEVICE_HOST, 0), ROPEWAY_ERR_NULL_POINTER,
                   "descriptor 1", "123");
    assert_refused(check_one(NULL, 0, ROPEWAY_DEVICE_HOST, 0), ROPEWAY_ERR_NULL_POINTER,
                   "descriptor 1", "size is 0");
    assert_refused(check_one(memory, SIZE_MAX, ROPEWAY_DEVICE_HOST, 0), ROPEWAY_ERR_TOO_LARGE,
                   "descriptor 1", "18446744073709551615");
    assert_refused(check_one((void *)1, SIZE_MAX / 2 + 1, ROPEWAY_DEVICE_HOST, 0),
                   ROPEWAY_ERR_TOO_LARGE, "descriptor 1", "9223372036854775808");
    assert_accepted(check_one((void *)1, SIZE_MAX / 2, ROPEWAY_DEVICE_HOST, 0));
    assert_refused(check_one(end, 1, ROPEWAY_DEVICE_HOST, 0), ROPEWAY_ERR_TOO_LARGE, "descriptor 1",
                   "1 bytes", "0xffffffffffffffff");
    assert_accepted(check_one(end, 0, ROPEWAY_DEVICE_HOST, 0));
    assert_accepted(check_one(end - 4, 4, ROPEWAY_DEVICE_HOST, 0));
    assert_accepted(check_one(memory, 1, ROPEWAY_DEVICE_UNSPECIFIED, 0)); /* the host */
    assert_refused(check_one(memory, 1, ROPEWAY_DEVICE_UNSPECIFIED, 1), ROPEWAY_ERR_DEVICE,
                   "descriptor 1", "1", "host");
    assert_refused(check_one(memory, 1, 4, 0), ROPEWAY_ERR_DEVICE, "descriptor 1", "kind 4");
    assert_refused(check_one(memory, 1, -1, 0), ROPEWAY_ERR_DEVICE, "descriptor 1", "kind -1");
    assert_refused(check_one(memory, 1, ROPEWAY_DEVICE_HOST, 2), ROPEWAY_ERR_DEVICE, "descriptor 1",
                   "2", "host");
    assert_refused(check_one(memory, 1, ROPEWAY_DEVICE_CUDA, -3), ROPEWAY_ERR_DEVICE,
                   "descriptor 1", "-3");
    assert_refused(check_one(memory, 1, ROPEWAY_DEVICE_XPU, 65536), ROPEWAY_ERR_DEVICE,
                   "descriptor 1", "65536");
}

static void a_sum_past_64_bits_is_refused(void **state) {
    ropeway_descriptor_t list[3];

    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(list); i++) {
        list[i] = (ropeway_descriptor_t){(void *)1, SIZE_MAX / 2, {ROPEWAY_DEVICE_HOST, 0}};
    }
    assert_accepted(rw_descriptors_check(list, 2, 3, NULL));
    assert_refused(rw_descriptors_check(list, 3, 3, NULL), ROPEWAY_ERR_TOO_LARGE,
                   "descriptors 0 to 2", "64 bits");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_device_text_has_its_meaning),
        cmocka_unit_test(other_device_texts_are_refused_by_name),
        cmocka_unit_test(null_arguments_are_refused),
        cmocka_unit_test(a_device_text_is_cut_at_the_buffer),
        cmocka_unit_test(good_lists_pass_and_are_summed_up),
        cmocka_unit_test(empty_and_null_lists_are_refused),
        cmocka_unit_test(a_list_may_be_as_long_as_the_limit_and_no_longer),
        cmocka_unit_test(each_bad_descriptor_is_named_with_its_values),
        cmocka_unit_test(a_sum_past_64_bits_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
