/* SPDX-License-Identifier: Apache-2.0 */
/* Arguments, mismatches and limits (rule 8): each its own error, with the values in a sentence. */
#include "lists.h"

#include <stdlib.h>
#include <string.h>

static uint8_t memory[4096];
static const ropeway_device_t host = {ROPEWAY_DEVICE_HOST, 0};

static void assert_sentence(const char *first, const char *second) {
    const char *sentence = ropeway_last_error();
    if (strstr(sentence, first) == NULL || strstr(sentence, second) == NULL) {
        fail_msg("\"%s\" does not name %s and %s", sentence, first, second);
    }
}

/* All four functions that take descriptors refuse these. */
static void assert_refused(ropeway_connector_t *connector, const ropeway_descriptor_t *descriptors,
                           size_t count, const ropeway_operation_options_t *options,
                           ropeway_error_t error) {
    ropeway_operation_t *operation = NULL;
    const char *readable, *writable;
    ropeway_operation_t *one = ts_create(connector, ROPEWAY_OPERATION_READABLE, "1", 1, "");
    ropeway_operation_t *two = ts_create(connector, ROPEWAY_OPERATION_WRITABLE, "1", 1, "");
    assert_ok(ropeway_operation_metadata(one, &readable));
    assert_ok(ropeway_operation_metadata(two, &writable));
    assert_fails(ropeway_create_readable(connector, descriptors, count, options, &operation),
                 error);
    assert_fails(ropeway_create_writable(connector, descriptors, count, options, &operation),
                 error);
    assert_fails(ropeway_begin_read(connector, readable, strlen(readable), descriptors, count,
                                    options, &operation),
                 error);
    assert_fails(ropeway_begin_write(connector, writable, strlen(writable), descriptors, count,
                                     options, &operation),
                 error);
    assert_status(one, ROPEWAY_STATUS_INITIALIZED);
    assert_status(two, ROPEWAY_STATUS_INITIALIZED);
    ts_release(one);
    ts_release(two);
    assert_int_equal(ts_stats(connector).operations_live, 0);
}

static void an_empty_list_is_refused(void **state) {
    (void)state;
    ropeway_descriptor_t descriptor = {memory, 1, host};
    assert_refused(ts_connect(""), &descriptor, 0, NULL, ROPEWAY_ERR_EMPTY_LIST);
}

static void a_null_pointer_is_refused_and_its_index_named(void **state) {
    (void)state;
    ropeway_descriptor_t list[] = {{memory, 1, host}, {memory, 1, host}, {NULL, 0, host}};
    ropeway_connector_t *connector = ts_connect("");
    ropeway_operation_t *operation;
    assert_refused(connector, list, 3, NULL, ROPEWAY_ERR_NULL_POINTER);
    assert_fails(ropeway_create_readable(connector, list, 3, NULL, &operation),
                 ROPEWAY_ERR_NULL_POINTER);
    assert_sentence("2", "null");
}

static void sizes_past_the_address_space_are_refused(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ropeway_descriptor_t one[] = {{memory, SIZE_MAX, host}};
    ropeway_descriptor_t two[] = {{memory, SIZE_MAX / 2 + 1, host}, {memory, SIZE_MAX / 2, host}};
    assert_refused(connector, one, 1, NULL, ROPEWAY_ERR_TOO_LARGE);
    assert_refused(connector, two, 2, NULL, ROPEWAY_ERR_TOO_LARGE);
}

/* What is received would land twice; what is sent may be sent twice. */
static void targets_that_overlap_are_refused(void **state) {
    (void)state;
    static uint8_t room[64];
    ropeway_connector_t *connector = ts_connect("");
    const struct {
        ropeway_descriptor_t list[3];
        bool fine;
    } cases[] = {
        {{{room, 8, host}, {room + 8, 8, host}, {room + 16, 1, host}}, true},
        {{{room + 16, 8, host}, {room + 8, 8, host}, {room, 8, host}}, true},
        {{{room, 8, host}, {room, 0, host}, {room + 4, 0, host}}, true},
        {{{room, 8, host}, {room + 7, 1, host}, {room + 32, 8, host}}, false},
        {{{room + 32, 8, host}, {room, 8, host}, {room + 31, 2, host}}, false},
        {{{room, 8, host}, {room + 16, 8, host}, {room, 8, {0, 0}}}, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ropeway_operation_t *operation;
        assert_ok(ropeway_create_readable(connector, cases[i].list, 3, NULL, &operation));
        ropeway_operation_release(operation);
        ropeway_error_t error =
            ropeway_create_writable(connector, cases[i].list, 3, NULL, &operation);
        assert_int_equal(error, cases[i].fine ? ROPEWAY_OK : ROPEWAY_ERR_INVALID_ARGUMENT);
        if (cases[i].fine) {
            ropeway_operation_release(operation);
        } else {
            assert_sentence("descriptors", "overlap");
        }
    }
}

static void a_device_of_zeroes_is_the_host(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ropeway_descriptor_t zeroed = {.ptr = memory, .size = 1};
    ropeway_operation_t *operation;
    ropeway_memory_t *registration;
    const char *json;
    ropeway_metadata_t *metadata;
    assert_ok(ropeway_memory_register(connector, memory, 1, zeroed.device, &registration));
    assert_ok(ropeway_create_readable(connector, &zeroed, 1, NULL, &operation));
    assert_ok(ropeway_operation_metadata(operation, &json));
    assert_ok(ropeway_metadata_parse(json, strlen(json), 0, &metadata));
    assert_int_equal(ropeway_metadata_descriptor(metadata, 0).device.kind, ROPEWAY_DEVICE_HOST);
    ropeway_metadata_release(metadata);
    ropeway_operation_release(operation);
    ropeway_memory_release(registration);
}

/* Every function that is told of no object says nothing of it, and does nothing. */
static void no_object_is_no_crash(void **state) {
    (void)state;
    char text[8] = "";
    assert_int_equal(ropeway_connector_fd(NULL), -1);
    assert_int_equal(ropeway_connector_drain(NULL, NULL, 0), 0);
    assert_int_equal(ropeway_metadata_kind(NULL), 0);
    assert_int_equal(ropeway_metadata_count(NULL), 0);
    assert_int_equal(ropeway_metadata_total(NULL), 0);
    assert_null(ropeway_metadata_descriptor(NULL, 0).ptr);
    assert_string_equal(ropeway_metadata_peer(NULL), "");
    assert_string_equal(ropeway_metadata_key(NULL), "");
    assert_int_equal(ropeway_metadata_is_native(NULL), 0);
    assert_int_equal(ropeway_operation_kind(NULL), 0);
    assert_null(ropeway_operation_user_data(NULL));
    assert_int_equal(ropeway_operation_path(NULL, text, sizeof text), 0);
    ropeway_operation_status(NULL);
    ropeway_operation_error(NULL);
    assert_non_null(ropeway_operation_error_text(NULL));
    assert_non_null(ropeway_operation_peer(NULL));
    assert_non_null(ropeway_connector_name(NULL));
    ropeway_operation_release(NULL);
    ropeway_memory_release(NULL);
    ropeway_metadata_release(NULL);
    ropeway_text_free(NULL);
    assert_ok(ropeway_connector_destroy(NULL));
}

static void devices_that_are_not_here_are_refused(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ropeway_descriptor_t xpu = {memory, 1, {ROPEWAY_DEVICE_XPU, 0}};
    ropeway_descriptor_t none = {memory, 1, {77, 0}};
    ropeway_descriptor_t cuda = {memory, 1, {ROPEWAY_DEVICE_CUDA, 999}};
    assert_refused(connector, &xpu, 1, NULL, ROPEWAY_ERR_DEVICE);
    assert_refused(connector, &none, 1, NULL, ROPEWAY_ERR_DEVICE);
    assert_refused(connector, &cuda, 1, NULL, ROPEWAY_ERR_DEVICE);
}

static void device_texts_are_read_and_written(void **state) {
    (void)state;
    static const struct {
        const char *text;
        ropeway_device_kind_t kind;
        int id;
        const char *written;
    } good[] = {
        {"cpu", ROPEWAY_DEVICE_HOST, 0, "cpu"},
        {"host", ROPEWAY_DEVICE_HOST, 0, "cpu"},
        {"cuda", ROPEWAY_DEVICE_CUDA, 0, "cuda:0"},
        {"cuda:7", ROPEWAY_DEVICE_CUDA, 7, "cuda:7"},
        {"gpu:65535", ROPEWAY_DEVICE_CUDA, 65535, "cuda:65535"},
        {"xpu:1", ROPEWAY_DEVICE_XPU, 1, "xpu:1"},
        {"gpu", ROPEWAY_DEVICE_CUDA, 0, "cuda:0"},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        ropeway_device_t device;
        char text[32];
        assert_ok(ropeway_device_parse(good[i].text, &device));
        assert_int_equal(device.kind, good[i].kind);
        assert_int_equal(device.id, good[i].id);
        size_t length = ropeway_device_format(device, text, sizeof text);
        assert_int_equal(length, strlen(text));
        assert_string_equal(text, good[i].written);
    }
    static const char *const bad[] = {
        "",        "CPU",     "host:", "cuda:",  "cuda:65536",
        "cuda:-1", "cuda:1x", " cuda", "rocm:0", "cuda:99999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ropeway_device_t device;
        assert_fails(ropeway_device_parse(bad[i], &device), ROPEWAY_ERR_DEVICE);
    }
    ropeway_device_t device;
    assert_fails(ropeway_device_parse(NULL, &device), ROPEWAY_ERR_INVALID_ARGUMENT);
}

static void null_arguments_are_refused(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ropeway_descriptor_t descriptor = {memory, 1, host};
    ropeway_operation_t *operation;
    const char *json;
    assert_fails(ropeway_connector_create(NULL, NULL), ROPEWAY_ERR_INVALID_ARGUMENT);
    assert_fails(ropeway_create_readable(NULL, &descriptor, 1, NULL, &operation),
                 ROPEWAY_ERR_INVALID_ARGUMENT);
    assert_fails(ropeway_create_readable(connector, NULL, 1, NULL, &operation),
                 ROPEWAY_ERR_INVALID_ARGUMENT);
    assert_fails(ropeway_create_readable(connector, &descriptor, 1, NULL, NULL),
                 ROPEWAY_ERR_INVALID_ARGUMENT);
    assert_fails(ropeway_begin_read(connector, NULL, 5, &descriptor, 1, NULL, &operation),
                 ROPEWAY_ERR_INVALID_ARGUMENT);
    assert_fails(ropeway_connector_stats(connector, NULL, 8), ROPEWAY_ERR_INVALID_ARGUMENT);
    assert_fails(ropeway_operation_metadata(NULL, &json), ROPEWAY_ERR_INVALID_ARGUMENT);
    ropeway_operation_release(NULL);
    ropeway_memory_release(NULL);
    ropeway_metadata_release(NULL);
    ropeway_text_free(NULL);
    assert_ok(ropeway_connector_destroy(NULL));
}

static void options_out_of_range_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *options, *value;
    } bad[] = {
        {"window=0", "window"},          {"window=65", "65"},
        {"chunk_size=65535", "65535"},   {"chunk_size=1073741825", "1073741825"},
        {"max_inflight=65536", "65536"}, {"quiet_ms=0", "quiet_ms"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ts_option_texts_t texts;
        ropeway_connector_options_t options;
        ropeway_connector_t *connector;
        ts_connector_options(bad[i].options, &texts, &options);
        assert_fails(ropeway_connector_create(&options, &connector), ROPEWAY_ERR_INVALID_ARGUMENT);
        assert_sentence(bad[i].value, " ");
    }
    char name[257];
    memset(name, 'n', 256);
    name[256] = '\0';
    ropeway_connector_options_t options;
    ropeway_connector_t *connector;
    ropeway_connector_options_init(&options, sizeof options);
    options.name = name;
    assert_fails(ropeway_connector_create(&options, &connector), ROPEWAY_ERR_INVALID_ARGUMENT);
    options.name = "";
    assert_fails(ropeway_connector_create(&options, &connector), ROPEWAY_ERR_INVALID_ARGUMENT);
    options.name = NULL;
    options.transports = "pigeon";
    assert_fails(ropeway_connector_create(&options, &connector), ROPEWAY_ERR_TRANSPORT);
    assert_sentence("pigeon", " ");
    char flags_memory;
    ropeway_descriptor_t descriptor = {&flags_memory, 1, host};
    ropeway_operation_options_t chosen;
    ropeway_operation_options_init(&chosen, sizeof chosen);
    chosen.flags = 1u << 20;
    assert_refused(ts_connect(""), &descriptor, 1, &chosen, ROPEWAY_ERR_INVALID_ARGUMENT);
}

static void mismatches_are_refused_and_leave_the_operation_usable(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    ropeway_descriptor_t list[] = {
        {memory, 100, host}, {memory + 200, 333, host}, {memory + 600, 5, host}};
    ropeway_operation_t *operation;
    size_t length;
    ts_peer_ask(peer, "readable 0 100,444 9");
    char *metadata = ts_peer_metadata(peer, 0, &length);
    assert_fails(ropeway_begin_write(connector, metadata, length, list, 2, NULL, &operation),
                 ROPEWAY_ERR_KIND_MISMATCH);
    assert_sentence("read", "writ");
    assert_fails(ropeway_begin_read(connector, metadata, length, list, 3, NULL, &operation),
                 ROPEWAY_ERR_COUNT_MISMATCH);
    assert_sentence("2 on the remote side", "3 here");
    assert_fails(ropeway_begin_read(connector, metadata, length, list, 2, NULL, &operation),
                 ROPEWAY_ERR_SIZE_MISMATCH);
    assert_sentence("333", "444");
    assert_int_equal(ts_peer_wait_for(peer, 0, 0).status, ROPEWAY_STATUS_INITIALIZED);
    ropeway_operation_t *read =
        ts_begin(connector, ROPEWAY_OPERATION_READ, "100,444", 9, "", metadata, length);
    assert_complete(ts_wait(read));
    assert_true(ts_region_matches(ts_region(read), 9));
    ts_peer_ask(peer, "writable 1 1 9");
    free(metadata);
    metadata = ts_peer_metadata(peer, 1, &length);
    assert_fails(ropeway_begin_read(connector, metadata, length, list, 1, NULL, &operation),
                 ROPEWAY_ERR_KIND_MISMATCH);
    free(metadata);
}

static void rule8_limits_are_kept_and_named(void **state) {
    (void)state;
    ropeway_connector_t *connector =
        ts_connect("max_descriptors=3 max_operations=2 max_metadata=1500");
    ropeway_descriptor_t list[] = {
        {memory, 1, host}, {memory, 1, host}, {memory, 1, host}, {memory, 1, host}};
    ropeway_operation_t *one, *two, *three;
    assert_fails(ropeway_create_readable(connector, list, 4, NULL, &one), ROPEWAY_ERR_LIMIT);
    assert_sentence("4", "3");
    assert_ok(ropeway_create_readable(connector, list, 3, NULL, &one));
    assert_ok(ropeway_create_readable(connector, list, 1, NULL, &two));
    assert_fails(ropeway_create_writable(connector, list, 1, NULL, &three), ROPEWAY_ERR_LIMIT);
    assert_sentence("2", "max_operations");
    ropeway_operation_release(two);
    assert_ok(ropeway_create_writable(connector, list, 1, NULL, &two));
    ropeway_operation_release(two);
    ropeway_operation_release(one);
    char long_text[1600];
    memset(long_text, ' ', sizeof long_text);
    assert_fails(ropeway_begin_read(connector, long_text, sizeof long_text, list, 1, NULL, &one),
                 ROPEWAY_ERR_LIMIT);
    assert_sentence("1600", "1500");
}

static void rule8_metadata_that_would_be_too_long_is_refused(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("max_metadata=4000");
    ts_region_t *region = ts_region_new("500*1", 0);
    ropeway_operation_t *operation = NULL;
    const char *json;
    ropeway_error_t error =
        ropeway_create_readable(connector, region->descriptors, region->count, NULL, &operation);
    if (error == ROPEWAY_OK) {
        error = ropeway_operation_metadata(operation, &json);
        ropeway_operation_release(operation);
    }
    assert_string_equal(ropeway_error_name(error), "ROPEWAY_ERR_LIMIT");
    ts_region_free(region);
}

static void every_error_has_a_name_and_a_text(void **state) {
    (void)state;
#define ROPEWAY_X(number, name, text)                                                              \
    assert_string_equal(ropeway_error_name((ropeway_error_t)(number)), "ROPEWAY_" #name);          \
    assert_string_equal(ropeway_error_text((ropeway_error_t)(number)), text);
    ROPEWAY_ERROR_MAP(ROPEWAY_X)
#undef ROPEWAY_X
    assert_string_equal(ropeway_error_name((ropeway_error_t)9999), "ROPEWAY_ERR_?");
    assert_string_equal(ropeway_version(), ROPEWAY_VERSION_STRING);
    /* Depends on whether a connector has needed it so far. */
    assert_true(ropeway_ucx_version()[0] == '\0' || strncmp(ropeway_ucx_version(), "1.", 2) == 0);
}

static const struct CMUnitTest tests[] = {
    TS_TEST(an_empty_list_is_refused),
    TS_TEST(a_null_pointer_is_refused_and_its_index_named),
    TS_TEST(sizes_past_the_address_space_are_refused),
    TS_TEST(targets_that_overlap_are_refused),
    TS_TEST(a_device_of_zeroes_is_the_host),
    TS_TEST(no_object_is_no_crash),
    TS_TEST(devices_that_are_not_here_are_refused),
    TS_TEST(device_texts_are_read_and_written),
    TS_TEST(null_arguments_are_refused),
    TS_TEST(options_out_of_range_are_refused),
    TS_TEST(mismatches_are_refused_and_leave_the_operation_usable),
    TS_TEST(rule8_limits_are_kept_and_named),
    TS_TEST(rule8_metadata_that_would_be_too_long_is_refused),
    TS_TEST(every_error_has_a_name_and_a_text),
};

TS_LIST(ts_list_checks, tests);
