/* SPDX-License-Identifier: Apache-2.0 */
/* Rule 6: a key opens exactly the bytes of one operation, once; and the owner checks, whatever a
 * peer makes of the metadata. */
#include "lists.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static void rule6_keys_are_random_uuids(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    enum { COUNT = 300 };
    ropeway_operation_t *operations[COUNT];
    char keys[COUNT][40];
    for (size_t i = 0; i < COUNT; i++) {
        const char *json;
        ropeway_metadata_t *metadata;
        operations[i] = ts_create(connector, ROPEWAY_OPERATION_READABLE, "1", 1, "");
        assert_ok(ropeway_operation_metadata(operations[i], &json));
        assert_ok(ropeway_metadata_parse(json, strlen(json), 0, &metadata));
        snprintf(keys[i], sizeof keys[i], "%s", ropeway_metadata_key(metadata));
        ropeway_metadata_release(metadata);
        assert_int_equal(strlen(keys[i]), 36);
        assert_int_equal(keys[i][14], '4');
        assert_non_null(strchr("89abAB", keys[i][19]));
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(keys[i], keys[k]);
        }
    }
    for (size_t i = 0; i < COUNT; i++) {
        ts_release(operations[i]);
    }
}

static void metadata_tells_what_is_offered(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("name=offerer");
    ropeway_operation_t *operation =
        ts_create(connector, ROPEWAY_OPERATION_WRITABLE, "4096,0,17", 1, "shift=5");
    ts_region_t *region = ts_region(operation);
    const char *json, *again;
    ropeway_metadata_t *metadata;
    assert_ok(ropeway_operation_metadata(operation, &json));
    assert_ok(ropeway_operation_metadata(operation, &again));
    assert_string_equal(json, again);
    assert_null(strchr(json, '\n'));
    assert_ok(ropeway_metadata_parse(json, strlen(json), 0, &metadata));
    assert_int_equal(ropeway_metadata_kind(metadata), ROPEWAY_OPERATION_WRITABLE);
    assert_int_equal(ropeway_metadata_count(metadata), 3);
    assert_int_equal(ropeway_metadata_total(metadata), 4113);
    assert_string_equal(ropeway_metadata_peer(metadata), "offerer");
    assert_int_equal(ropeway_metadata_is_native(metadata), 1);
    for (size_t i = 0; i < 3; i++) {
        ropeway_descriptor_t descriptor = ropeway_metadata_descriptor(metadata, i);
        assert_int_equal(descriptor.size, region->descriptors[i].size);
        assert_int_equal(descriptor.device.kind, ROPEWAY_DEVICE_HOST);
    }
    assert_int_equal(ropeway_metadata_descriptor(metadata, 3).size, 0);
    ropeway_metadata_release(metadata);
    assert_fails(ropeway_metadata_parse(json, strlen(json), strlen(json) - 1, &metadata),
                 ROPEWAY_ERR_LIMIT);
    ropeway_operation_t *none = NULL;
    assert_fails(ropeway_operation_metadata(none, &again), ROPEWAY_ERR_INVALID_ARGUMENT);
}

static void malformed_metadata_is_refused(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ropeway_operation_t *owner = ts_create(connector, ROPEWAY_OPERATION_READABLE, "64", 1, "");
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "null",
        "17",
        "\"text\"",
        "{",
        "{\"descriptors\":[]}",
        "\xff\xfe",
        "[[[[[[",
        "{\"descriptors\":[{\"device\":\"cpu\",\"ptr\":1,\"size\":64}],\"nixl_metadata\":\"b64:\","
        "\"notification_key\":\"k\",\"operation_kind\":1}",
        "{\"descriptors\":[{\"device\":\"cpu\",\"ptr\":1,\"size\":64}],\"nixl_metadata\":\"zz\","
        "\"notification_key\":\"k\",\"operation_kind\":1}",
        "{\"descriptors\":[{\"device\":\"cpu\",\"ptr\":1,\"size\":-64}],\"nixl_metadata\":\"\","
        "\"notification_key\":\"k\",\"operation_kind\":1}",
    };
    uint8_t memory[64];
    ropeway_descriptor_t descriptor = {memory, 64, {ROPEWAY_DEVICE_HOST, 0}};
    ropeway_operation_t *operation;
    ropeway_metadata_t *metadata;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        size_t length = strlen(bad[i]);
        assert_fails(ropeway_metadata_parse(bad[i], length, 0, &metadata), ROPEWAY_ERR_METADATA);
        assert_fails(
            ropeway_begin_read(connector, bad[i], length, &descriptor, 1, NULL, &operation),
            ROPEWAY_ERR_METADATA);
    }
    const char *good;
    assert_ok(ropeway_operation_metadata(owner, &good));
    for (size_t length = 0; length < strlen(good); length++) {
        assert_fails(ropeway_begin_read(connector, good, length, &descriptor, 1, NULL, &operation),
                     ROPEWAY_ERR_METADATA);
    }
    assert_status(owner, ROPEWAY_STATUS_INITIALIZED);
}

/* The peer's operation id, told with one thing changed. */
typedef void (*forge_fn)(json_t *object);

static void forge_kind(json_t *object) {
    json_t *kind = json_object_get(object, "operation_kind");
    json_integer_set(kind, 3 - json_integer_value(kind));
}

static void forge_count(json_t *object) {
    json_t *list = json_object_get(object, "descriptors");
    json_array_append_new(list, json_deep_copy(json_array_get(list, 0)));
}

static void forge_fewer(json_t *object) {
    json_array_remove(json_object_get(object, "descriptors"), 1);
}

static void forge_size(json_t *object) {
    json_t *descriptor = json_array_get(json_object_get(object, "descriptors"), 0);
    json_object_set_new(descriptor, "size", json_integer(70001));
}

/* The same total, shared out in another way. */
static void forge_sizes(json_t *object) {
    json_t *list = json_object_get(object, "descriptors");
    json_object_set_new(json_array_get(list, 0), "size", json_integer(139999));
    json_object_set_new(json_array_get(list, 1), "size", json_integer(101));
}

static void forge_address(json_t *object) {
    json_t *descriptor = json_array_get(json_object_get(object, "descriptors"), 0);
    json_object_set_new(descriptor, "ptr", json_integer(4096));
}

static void forge_key(json_t *object) {
    json_object_set_new(object, "notification_key",
                        json_string("01234567-89ab-4def-8123-456789abcdef"));
}

static void forge_key_that_is_no_uuid(json_t *object) {
    json_object_set_new(object, "notification_key", json_string("sesame"));
}

static char *forged(ts_peer_t *peer, int id, forge_fn forge) {
    char *metadata = ts_peer_metadata(peer, id, NULL);
    json_t *object = json_loads(metadata, 0, NULL);
    assert_non_null(object);
    forge(object);
    free(metadata);
    metadata = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    return metadata;
}

static void rule6_the_owner_refuses_what_it_did_not_offer(void **state) {
    (void)state;
    static const struct {
        forge_fn forge;
        ropeway_error_t error;
        const char *spec; /* what the forger brings */
    } cases[] = {
        {forge_kind, ROPEWAY_ERR_KIND_MISMATCH, "140000,100"},
        {forge_count, ROPEWAY_ERR_COUNT_MISMATCH, "140000,100,140000"},
        {forge_fewer, ROPEWAY_ERR_COUNT_MISMATCH, "140000"},
        {forge_size, ROPEWAY_ERR_SIZE_MISMATCH, "70001,100"},
        {forge_sizes, ROPEWAY_ERR_SIZE_MISMATCH, "139999,101"},
        {forge_key, ROPEWAY_ERR_KEY_UNKNOWN, "140000,100"},
        {forge_key_that_is_no_uuid, ROPEWAY_ERR_METADATA, "140000,100"},
    };
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    uint64_t rejected = 0;
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        bool readable = i % 2 == 0;
        forge_fn forge = cases[i / 2].forge;
        ts_peer_ask(peer, "%s 0 140000,100 55", readable ? "readable" : "writable");
        char *metadata = forged(peer, 0, forge);
        bool read = readable != (forge == forge_kind);
        ts_region_t *region = ts_region_new(cases[i / 2].spec, 0);
        ropeway_operation_t *operation = NULL;
        ropeway_error_t error = (read ? ropeway_begin_read : ropeway_begin_write)(
            connector, metadata, strlen(metadata), region->descriptors, region->count, NULL,
            &operation);
        if (error == ROPEWAY_OK) {
            error = ropeway_operation_wait(operation, TS_BOUND_MS);
            assert_status(operation, ROPEWAY_STATUS_ERRORED);
            assert_string_not_equal(ropeway_operation_error_text(operation), "");
            rejected++;
        }
        assert_string_equal(ropeway_error_name(error), ropeway_error_name(cases[i / 2].error));
        assert_true(ts_region_is(region, TS_CANARY));
        assert_int_equal(readable ? ts_peer_number(peer, "matches 0 55")
                                  : ts_peer_number(peer, "is 0 %d", TS_CANARY),
                         1);
        assert_int_not_equal(ts_peer_wait_for(peer, 0, 0).status, ROPEWAY_STATUS_COMPLETE);
        ropeway_operation_release(operation);
        ts_region_free(region);
        ts_peer_ask(peer, "release 0");
        free(metadata);
    }
    unsigned long long counted = 0;
    assert_int_equal(sscanf(ts_peer_ask(peer, "stats"), "%*u %*u %*u %llu", &counted), 1);
    assert_true(rejected >= 12);
    assert_int_equal(counted, rejected);
    ts_assert_works(connector, peer);
}

static void rule6_addresses_in_the_metadata_mean_nothing(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    ts_peer_ask(peer, "readable 0 140000,100 55");
    char *metadata = forged(peer, 0, forge_address);
    ropeway_operation_t *read = ts_begin(connector, ROPEWAY_OPERATION_READ, "140000,100", 55, "",
                                         metadata, strlen(metadata));
    assert_complete(ts_wait(read));
    assert_true(ts_region_matches(ts_region(read), 55));
    free(metadata);
}

/* Begins with the metadata, and expects the outcome error and untouched memory. */
static void assert_key_fails(ropeway_connector_t *connector, ropeway_operation_kind_t kind,
                             const char *metadata, ropeway_error_t error) {
    ropeway_operation_t *operation =
        ts_begin(connector, kind, "140000", 99, "", metadata, strlen(metadata));
    assert_ended(ts_wait(operation), ROPEWAY_STATUS_ERRORED, error);
    assert_true(!ts_receives(kind) || ts_region_is(ts_region(operation), TS_CANARY));
    ts_release(operation);
}

static void rule6_a_key_works_once(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    static const ropeway_operation_kind_t kinds[] = {ROPEWAY_OPERATION_READ,
                                                     ROPEWAY_OPERATION_WRITE};
    for (size_t i = 0; i < 2; i++) {
        ts_peer_ask(peer, "%s 0 140000 55", ts_verb(ts_other(kinds[i])));
        char *metadata = ts_peer_metadata(peer, 0, NULL);
        ropeway_operation_t *first =
            ts_begin(connector, kinds[i], "140000", 55, "", metadata, strlen(metadata));
        assert_complete(ts_wait(first));
        assert_complete(ts_peer_wait(peer, 0));
        assert_key_fails(connector, kinds[i], metadata, ROPEWAY_ERR_KEY_USED);
        assert_int_equal(ts_peer_number(peer, "matches 0 55"), 1);
        ts_peer_ask(peer, "release 0");
        assert_key_fails(connector, kinds[i], metadata, ROPEWAY_ERR_KEY_USED);
        ts_release(first);
        free(metadata);
    }
}

static void rule6_the_key_of_a_released_or_cancelled_operation_is_finished(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    ts_peer_ask(peer, "readable 0 140000 55");
    ts_peer_ask(peer, "writable 1 140000 55");
    ts_peer_ask(peer, "readable 2 140000 55 deadline_ms=1");
    char *released = ts_peer_metadata(peer, 0, NULL);
    char *cancelled = ts_peer_metadata(peer, 1, NULL);
    char *late = ts_peer_metadata(peer, 2, NULL);
    ts_peer_ask(peer, "release 0");
    assert_int_equal(ts_peer_number(peer, "cancel 1 0 0"), ROPEWAY_OK);
    ts_peer_wait(peer, 1);
    ts_peer_wait(peer, 2);
    assert_key_fails(connector, ROPEWAY_OPERATION_READ, released, ROPEWAY_ERR_KEY_FINISHED);
    assert_key_fails(connector, ROPEWAY_OPERATION_WRITE, cancelled, ROPEWAY_ERR_KEY_FINISHED);
    assert_key_fails(connector, ROPEWAY_OPERATION_READ, late, ROPEWAY_ERR_KEY_FINISHED);
    assert_int_equal(ts_peer_number(peer, "is 1 %d", TS_CANARY), 1);
    free(released);
    free(cancelled);
    free(late);
}

#define IN_USE "67108864"

/* An operation whose peer was stopped in the middle of it. */
static ropeway_operation_t *in_use(ropeway_connector_t *connector, ts_peer_t *peer,
                                   ropeway_operation_kind_t kind) {
    for (int attempt = 0; attempt < 20; attempt++) {
        const char *metadata;
        ropeway_operation_t *operation = ts_create(connector, kind, IN_USE, 55, "stall_ms=0");
        assert_ok(ropeway_operation_metadata(operation, &metadata));
        ts_peer_begin(peer, ts_verb(ts_other(kind)), 0, IN_USE, 55, "stall_ms=0", metadata,
                      strlen(metadata));
        ts_await_progress(operation, 1);
        ts_peer_stop(peer);
        /* What is on its way arrives. */
        if (ropeway_operation_wait(operation, 50) == ROPEWAY_ERR_TIMEOUT) {
            return operation;
        }
        ts_peer_continue(peer);
        ts_peer_ask(peer, "release 0");
        ts_release(operation);
    }
    fail_msg("no transfer was caught in its middle");
    return NULL;
}

static void rule6_a_key_in_use_is_refused_to_a_second_peer(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("chunk_size=65536 window=1");
    ts_peer_t *first = ts_new_peer("chunk_size=65536 window=1"), *second = ts_new_peer("");
    for (int kind = ROPEWAY_OPERATION_READABLE; kind <= ROPEWAY_OPERATION_WRITABLE; kind++) {
        const char *verb = ts_verb(ts_other((ropeway_operation_kind_t)kind)), *metadata;
        const char *spec = IN_USE;
        ropeway_operation_t *operation = in_use(connector, first, (ropeway_operation_kind_t)kind);
        assert_status(operation, ROPEWAY_STATUS_IN_PROGRESS);
        assert_ok(ropeway_operation_metadata(operation, &metadata));
        assert_int_equal(ts_peer_begin(second, verb, 0, spec, 66, "", metadata, strlen(metadata)),
                         ROPEWAY_OK);
        assert_ended(ts_peer_wait(second, 0), ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_KEY_USED);
        ts_peer_continue(first);
        assert_complete(ts_wait(operation));
        assert_complete(ts_peer_wait(first, 0));
        assert_true(ts_region_matches(ts_region(operation), 55));
        assert_int_equal(ts_peer_number(first, "matches 0 55"), 1);
        ts_peer_ask(first, "release 0");
        ts_peer_ask(second, "release 0");
        ts_release(operation);
    }
}

static const struct CMUnitTest tests[] = {
    TS_TEST(rule6_keys_are_random_uuids),
    TS_TEST(metadata_tells_what_is_offered),
    TS_TEST(malformed_metadata_is_refused),
    TS_TEST(rule6_the_owner_refuses_what_it_did_not_offer),
    TS_TEST(rule6_addresses_in_the_metadata_mean_nothing),
    TS_TEST(rule6_a_key_works_once),
    TS_TEST(rule6_the_key_of_a_released_or_cancelled_operation_is_finished),
    TS_TEST(rule6_a_key_in_use_is_refused_to_a_second_peer),
};

TS_LIST(ts_list_key, tests);
