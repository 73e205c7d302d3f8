/* SPDX-License-Identifier: Apache-2.0 */
/* What metadata texts carry from one side to the other, and the limits on them. */
#include "text/packing.h"
#include "text/serdes.h"
#include "unit.h"

#include <sodium.h>
#include <zlib.h>

#define KEY "00112233-4455-6677-8899-aabbccddeeff"
#define ROUNDS 2000

static const ropeway_descriptor_t one = {(void *)4096, 77, {ROPEWAY_DEVICE_HOST, 0}};

/* ---- Round trips ---- */

typedef struct sample {
    ropeway_operation_kind_t kind;
    size_t count;
    ropeway_descriptor_t *descriptors;
    char name[RW_AGENT_NAME_MAX + 1];
    char key[RW_KEY_TEXT];
    rw_connection_t connections[3];
    size_t connection_count;
    uint8_t blobs[3][3000];
} sample_t;

static void random_name(sample_t *sample) {
    static const char *const characters[] = {"a", "Z", "0", "-", " ", "\"", "\\",
                                             "|", "/", "é", "€", "🚡", "'"};
    size_t limit = 1 + unit_below(RW_AGENT_NAME_MAX);

    sample->name[0] = 'n';
    sample->name[1] = '\0';
    for (;;) {
        const char *next = characters[unit_below(UNIT_COUNT(characters))];

        if (strlen(sample->name) + strlen(next) > limit) {
            return;
        }
        strcat(sample->name, next);
    }
}

static void random_descriptors(sample_t *sample) {
    sample->count = 1 + unit_below(unit_below(20) == 0 ? 2000 : 40);
    sample->descriptors = calloc(sample->count, sizeof sample->descriptors[0]);
    assert_non_null(sample->descriptors);
    for (size_t i = 0; i < sample->count; i++) {
        ropeway_descriptor_t *descriptor = &sample->descriptors[i];

        descriptor->ptr = (void *)(uintptr_t)unit_random();
        descriptor->size = unit_random() >> (11 + unit_below(53));
        descriptor->device.kind = (int32_t)(1 + unit_below(3));
        descriptor->device.id =
            descriptor->device.kind == ROPEWAY_DEVICE_HOST ? 0 : (int32_t)unit_below(65536);
    }
}

static void random_sample(sample_t *sample) {
    static const char *const backends[] = {RW_BACKEND_NATIVE, "GDS", RW_BACKEND_UCX};
    uint8_t key[RW_KEY_BYTES];

    sample->kind = unit_below(2) == 0 ? ROPEWAY_OPERATION_READABLE : ROPEWAY_OPERATION_WRITABLE;
    random_name(sample);
    random_descriptors(sample);
    unit_random_bytes(key, sizeof key);
    rw_key_to_text(key, sample->key);
    sample->connection_count = unit_below(4);
    for (size_t i = 0; i < sample->connection_count; i++) {
        size_t length = 1 + unit_below(sizeof sample->blobs[i]);

        unit_random_bytes(sample->blobs[i], length);
        sample->connections[i] = (rw_connection_t){backends[i], sample->blobs[i], length};
    }
}

static void assert_connection(const ropeway_metadata_t *metadata, const uint8_t *found,
                              size_t length, const sample_t *sample, size_t index) {
    if (index >= sample->connection_count) {
        assert_null(found);
        return;
    }
    assert_int_equal(length, sample->connections[index].length);
    assert_memory_equal(found, sample->blobs[index], length);
    assert_true(found > metadata->blob && found + length < metadata->blob + metadata->blob_length);
}

static void assert_same(const ropeway_metadata_t *metadata, const sample_t *sample) {
    uint64_t total = 0;

    assert_int_equal(ropeway_metadata_kind(metadata), sample->kind);
    assert_int_equal(ropeway_metadata_count(metadata), sample->count);
    assert_string_equal(ropeway_metadata_peer(metadata), sample->name);
    assert_string_equal(ropeway_metadata_key(metadata), sample->key);
    for (size_t i = 0; i < sample->count; i++) {
        ropeway_descriptor_t found = ropeway_metadata_descriptor(metadata, i);

        assert_true((uintptr_t)found.ptr == i + 1);
        assert_true(found.size == sample->descriptors[i].size);
        assert_int_equal(found.device.kind, sample->descriptors[i].device.kind);
        assert_int_equal(found.device.id, sample->descriptors[i].device.id);
        total += found.size;
    }
    assert_true(ropeway_metadata_total(metadata) == total);
    assert_int_equal(ropeway_metadata_is_native(metadata), sample->connection_count > 0);
    assert_connection(metadata, metadata->native, metadata->native_length, sample, 0);
    assert_connection(metadata, metadata->ucx, metadata->ucx_length, sample, 2);
}

static void what_is_encoded_is_what_is_parsed(void **state) {
    (void)state;
    for (size_t round = 0, rounds = ts_scaled(ROUNDS, 100); round < rounds; round++) {
        static sample_t sample;
        ropeway_metadata_t *metadata;
        char *json;
        size_t length;

        random_sample(&sample);
        assert_accepted(rw_metadata_encode(
            sample.kind, sample.descriptors, sample.count, sample.name, sample.connections,
            sample.connection_count, NULL, 0, sample.key, RW_METADATA_MAX_DEFAULT, &json, &length));
        assert_int_equal(strlen(json), length);
        assert_accepted(ropeway_metadata_parse(json, length, 0, &metadata));
        assert_same(metadata, &sample);
        ropeway_metadata_release(metadata);
        free(json);
        free(sample.descriptors);
    }
}

static void no_address_leaves_in_the_text(void **state) {
    char *json;
    size_t length;

    (void)state;
    assert_accepted(rw_metadata_encode(ROPEWAY_OPERATION_READABLE, &one, 1, "a", NULL, 0, NULL, 0,
                                       KEY, RW_METADATA_MAX_DEFAULT, &json, &length));
    assert_non_null(strstr(json, "{\"device\":\"cpu\",\"ptr\":1,\"size\":77}"));
    assert_null(strstr(json, "4096"));
    free(json);
}

static void as_many_descriptors_as_65536_go_through(void **state) {
    enum { COUNT = 65536 };
    ropeway_descriptor_t *descriptors = calloc(COUNT, sizeof *descriptors);
    ropeway_metadata_t *metadata;
    char *json;
    size_t length;

    (void)state;
    assert_non_null(descriptors);
    for (size_t i = 0; i < COUNT; i++) {
        descriptors[i] = (ropeway_descriptor_t){descriptors, i, {ROPEWAY_DEVICE_HOST, 0}};
    }
    assert_accepted(rw_metadata_encode(ROPEWAY_OPERATION_WRITABLE, descriptors, COUNT, "a", NULL, 0,
                                       NULL, 0, KEY, RW_METADATA_MAX_DEFAULT, &json, &length));
    assert_accepted(ropeway_metadata_parse(json, length, 0, &metadata));
    assert_int_equal(ropeway_metadata_count(metadata), COUNT);
    assert_true(ropeway_metadata_total(metadata) == (uint64_t)COUNT * (COUNT - 1) / 2);
    assert_int_equal(ropeway_metadata_descriptor(metadata, COUNT - 1).size, COUNT - 1);
    ropeway_metadata_release(metadata);
    free(json);
    free(descriptors);
}

static const rw_connection_t native = {RW_BACKEND_NATIVE, (const uint8_t *)"hello", 5};

static void descriptors_that_are_alike_take_few_bytes(void **state) {
    enum { COUNT = 4096 };
    static ropeway_descriptor_t descriptors[COUNT];
    ropeway_metadata_t *metadata;
    char *json;
    size_t length;

    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        descriptors[i] =
            (ropeway_descriptor_t){descriptors, i == 1000 ? 5 : 65536, {ROPEWAY_DEVICE_HOST, 0}};
    }
    descriptors[COUNT - 1].device = (ropeway_device_t){ROPEWAY_DEVICE_CUDA, 1};
    assert_accepted(rw_metadata_encode(ROPEWAY_OPERATION_READABLE, descriptors, COUNT, "a", &native,
                                       1, NULL, 0, KEY, RW_METADATA_MAX_DEFAULT, &json, &length));
    assert_non_null(strstr(json, "[{\"device\":\"cpu\",\"ptr\":1,\"size\":65536,\"count\":1000},"
                                 "{\"device\":\"cpu\",\"ptr\":1001,\"size\":5},"
                                 "{\"device\":\"cpu\",\"ptr\":1002,\"size\":65536,\"count\":3094},"
                                 "{\"device\":\"cuda:1\",\"ptr\":4096,\"size\":65536}]"));
    assert_accepted(ropeway_metadata_parse(json, length, 0, &metadata));
    assert_int_equal(ropeway_metadata_count(metadata), COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        ropeway_descriptor_t found = ropeway_metadata_descriptor(metadata, i);

        assert_int_equal(found.size, descriptors[i].size);
        assert_int_equal(found.device.kind, descriptors[i].device.kind);
        assert_int_equal((uintptr_t)found.ptr, i + 1);
    }
    ropeway_metadata_release(metadata);
    free(json);
}

static void few_bytes_stand_for_no_more_descriptors_than_a_long_text(void **state) {
    const size_t most = 1024 / 34 + 1;
    const ropeway_descriptor_t two[] = {one, one};
    ropeway_metadata_t *metadata;
    char *json, *count, text[1024];
    size_t length;

    (void)state;
    assert_accepted(rw_metadata_encode(ROPEWAY_OPERATION_READABLE, two, 2, "a", &native, 1, NULL, 0,
                                       KEY, RW_METADATA_MAX_DEFAULT, &json, &length));
    count = strstr(json, "\"count\":2}");
    assert_non_null(count);
    *count = '\0';
    snprintf(text, sizeof text, "%s\"count\":%zu%s", json, most, count + 9);
    assert_accepted(ropeway_metadata_parse(text, strlen(text), 1024, &metadata));
    assert_int_equal(ropeway_metadata_count(metadata), most);
    ropeway_metadata_release(metadata);
    for (size_t many = most + 1; many < SIZE_MAX / 20; many *= 10) {
        snprintf(text, sizeof text, "%s\"count\":%zu%s", json, many, count + 9);
        assert_refused(ropeway_metadata_parse(text, strlen(text), 1024, &metadata),
                       ROPEWAY_ERR_LIMIT, "more", "max_metadata");
        assert_null(metadata);
    }
    free(json);
}

static void a_count_without_a_ropeway_connector_is_refused(void **state) {
    static const char text[] =
        "{\"descriptors\":[{\"device\":\"cpu\",\"ptr\":1,\"size\":0,\"count\":%d}],"
        "\"nixl_metadata\":\"b64:eJzLy6zICU4tckktrnFMT80rYWSAgMQa5/y8vGIOBlRQwwVl+KbmBqcml2Tm"
        "59XkgY1Ids3JxVQOAAzQEzU=\",\"notification_key\":\"key\",\"operation_kind\":1}";
    ropeway_metadata_t *metadata;
    char json[1024];

    (void)state;
    snprintf(json, sizeof json, text, 1);
    assert_accepted(ropeway_metadata_parse(json, strlen(json), 0, &metadata));
    ropeway_metadata_release(metadata);
    snprintf(json, sizeof json, text, 2);
    assert_refused(ropeway_metadata_parse(json, strlen(json), 0, &metadata), ROPEWAY_ERR_METADATA,
                   "count", "no Ropeway connector");
    assert_null(metadata);
}

/* ---- Other forms that are accepted ---- */

static char *hex_of(const uint8_t *blob, size_t length) {
    uLongf packed_length = compressBound(length);
    uint8_t *packed = malloc(packed_length);
    char *hex = malloc(packed_length * 2 + 1);

    assert_non_null(packed);
    assert_non_null(hex);
    assert_int_equal(compress(packed, &packed_length, blob, length), Z_OK);
    sodium_bin2hex(hex, packed_length * 2 + 1, packed, packed_length);
    free(packed);
    return hex;
}

static void hex_of_older_peers_is_accepted_in_either_case(void **state) {
    size_t length;
    uint8_t *blob = unit_blob(&length);
    char *hex = hex_of(blob, length);

    (void)state;
    for (int upper = 0; upper < 2; upper++) {
        char *text = unit_metadata(hex);
        ropeway_metadata_t *metadata;

        assert_accepted(ropeway_metadata_parse(text, strlen(text), 0, &metadata));
        assert_string_equal(ropeway_metadata_peer(metadata), "agent");
        assert_int_equal(metadata->native_length, 10);
        ropeway_metadata_release(metadata);
        free(text);
        for (char *c = hex; *c != '\0'; c++) {
            *c = (char)(*c >= 'a' ? *c - 'a' + 'A' : *c);
        }
    }
    free(hex);
    free(blob);
}

static void metadata_of_a_stock_peer_is_accepted(void **state) {
    char *packed;
    size_t length;
    char *text;
    ropeway_metadata_t *metadata;

    (void)state;
    assert_accepted(rw_pack(unit_stock_agent, unit_stock_agent_length, &packed, &length));
    text = unit_metadata(packed);
    assert_accepted(ropeway_metadata_parse(text, strlen(text), 0, &metadata));
    assert_string_equal(ropeway_metadata_peer(metadata), "w1-1");
    assert_int_equal(ropeway_metadata_is_native(metadata), 0);
    assert_null(metadata->native);
    assert_int_equal(metadata->ucx_length, 0xd5);
    assert_memory_equal(metadata->ucx, unit_stock_agent + 0x49, 0xd5);
    assert_int_equal(metadata->blob_length, unit_stock_agent_length);
    ropeway_metadata_release(metadata);
    free(text);
    free(packed);
}

static void order_white_space_and_escapes_do_not_matter(void **state) {
    static const char text[] =
        " \t\r\n{ \"operation_\\u006bind\" : 2 ,\n\"notification_key\":\"k\\u00e9\\ud83d\\udea1\","
        "\"nixl_metadata\" :\"b64:eJzLy6zICU4tckktrnFMT80rYWSAgMQa5\\/y8vGIOBlRQwwVl+KbmBqcml2Tm"
        "59XkgY1Ids3JxVQOAAzQEzU=\""
        ",\"descriptors\": [ { \"size\" : 0 , \"ptr\" : 18446744073709551615 ,"
        "\"device\" : \"cud\\u0061:7\" } , {\"ptr\":1,\"size\":9223372036854775807,\"device\":"
        "\"host\"} ] } \n";
    ropeway_metadata_t *metadata;

    (void)state;
    assert_accepted(ropeway_metadata_parse(text, sizeof text - 1, 0, &metadata));
    assert_int_equal(ropeway_metadata_kind(metadata), ROPEWAY_OPERATION_WRITABLE);
    assert_string_equal(ropeway_metadata_key(metadata), "ké🚡");
    assert_string_equal(ropeway_metadata_peer(metadata), "a");
    assert_int_equal(ropeway_metadata_count(metadata), 2);
    assert_true((uintptr_t)ropeway_metadata_descriptor(metadata, 0).ptr == UINTPTR_MAX);
    assert_int_equal(ropeway_metadata_descriptor(metadata, 0).device.kind, ROPEWAY_DEVICE_CUDA);
    assert_int_equal(ropeway_metadata_descriptor(metadata, 0).device.id, 7);
    assert_true(ropeway_metadata_total(metadata) == INT64_MAX);
    ropeway_metadata_release(metadata);
}

static void a_uuid_key_is_recognized_and_others_are_kept_as_text(void **state) {
    static const char *const keys[] = {KEY, "00112233-4455-6677-8899-AABBCCDDEEFF", "KEY-123"};

    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(keys); i++) {
        ropeway_metadata_t *metadata;
        char *json;
        size_t length;

        assert_accepted(rw_metadata_encode(ROPEWAY_OPERATION_READABLE, &one, 1, "a", NULL, 0, NULL,
                                           0, keys[i], RW_METADATA_MAX_DEFAULT, &json, &length));
        assert_accepted(ropeway_metadata_parse(json, length, 0, &metadata));
        assert_string_equal(ropeway_metadata_key(metadata), keys[i]);
        assert_int_equal(metadata->key_is_uuid, i < 2);
        if (metadata->key_is_uuid) {
            assert_int_equal(metadata->key_bytes[1], 0x11);
            assert_int_equal(metadata->key_bytes[15], 0xff);
        }
        ropeway_metadata_release(metadata);
        free(json);
    }
}

/* ---- Limits ---- */

static void a_text_may_be_as_long_as_the_limit_and_no_longer(void **state) {
    ropeway_metadata_t *metadata;
    char *json;
    char *again;
    size_t length;
    size_t again_length;
    char needed[32];
    char allowed[32];

    (void)state;
    assert_accepted(rw_metadata_encode(ROPEWAY_OPERATION_READABLE, &one, 1, "a", NULL, 0, NULL, 0,
                                       KEY, RW_METADATA_MAX_DEFAULT, &json, &length));
    snprintf(needed, sizeof needed, "%zu", length);
    snprintf(allowed, sizeof allowed, "%zu", length - 1);

    assert_accepted(ropeway_metadata_parse(json, length, length, &metadata));
    ropeway_metadata_release(metadata);
    assert_refused(ropeway_metadata_parse(json, length, length - 1, &metadata), ROPEWAY_ERR_LIMIT,
                   needed, allowed, "max_metadata");
    assert_null(metadata);

    assert_accepted(rw_metadata_encode(ROPEWAY_OPERATION_READABLE, &one, 1, "a", NULL, 0, NULL, 0,
                                       KEY, length, &again, &again_length));
    assert_string_equal(json, again);
    assert_refused(rw_metadata_encode(ROPEWAY_OPERATION_READABLE, &one, 1, "a", NULL, 0, NULL, 0,
                                      KEY, length - 1, &again, &again_length),
                   ROPEWAY_ERR_LIMIT, "1 descriptor", allowed, "max_metadata");
    assert_refused(rw_metadata_encode(ROPEWAY_OPERATION_READABLE, &one, 1, "a", NULL, 0, NULL, 0,
                                      KEY, 10, &again, &again_length),
                   ROPEWAY_ERR_LIMIT, "10", "max_metadata");
    free(again);
    free(json);
}

static void the_limit_is_16_mib_unless_given(void **state) {
    size_t length = RW_METADATA_MAX_DEFAULT;
    char *text = malloc(length + 1);
    ropeway_metadata_t *metadata;

    (void)state;
    assert_non_null(text);
    memset(text, ' ', length + 1);
    assert_refused(ropeway_metadata_parse(text, length + 1, 0, &metadata), ROPEWAY_ERR_LIMIT,
                   "16777217", "16777216");
    assert_refused(ropeway_metadata_parse(text, length, 0, &metadata), ROPEWAY_ERR_METADATA,
                   "ends before it");
    free(text);
}

/* ---- The rest of the interface ---- */

static void null_arguments_are_refused(void **state) {
    ropeway_metadata_t *metadata;

    (void)state;
    assert_refused(ropeway_metadata_parse(NULL, 0, 0, &metadata), ROPEWAY_ERR_INVALID_ARGUMENT,
                   "the text");
    assert_refused(ropeway_metadata_parse("", 0, 0, NULL), ROPEWAY_ERR_INVALID_ARGUMENT,
                   "the place");
}

static void an_index_past_the_end_gives_zeroes(void **state) {
    char *text = unit_metadata("b64:eJzLy6zICU4tckktrnFMT80rYWSAgMQa5/y8vGIOBlRQwwVl+KbmBqcml2Tm"
                               "59XkgY1Ids3JxVQOAAzQEzU=");
    ropeway_metadata_t *metadata;
    ropeway_descriptor_t nothing;

    (void)state;
    assert_accepted(ropeway_metadata_parse(text, strlen(text), 0, &metadata));
    assert_int_equal(ropeway_metadata_descriptor(metadata, 0).size, 2);
    nothing = ropeway_metadata_descriptor(metadata, 1);
    assert_null(nothing.ptr);
    assert_int_equal(nothing.size, 0);
    assert_int_equal(nothing.device.kind, ROPEWAY_DEVICE_UNSPECIFIED);
    ropeway_metadata_release(metadata);
    ropeway_metadata_release(NULL);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_encoded_is_what_is_parsed),
        cmocka_unit_test(no_address_leaves_in_the_text),
        cmocka_unit_test(as_many_descriptors_as_65536_go_through),
        cmocka_unit_test(descriptors_that_are_alike_take_few_bytes),
        cmocka_unit_test(few_bytes_stand_for_no_more_descriptors_than_a_long_text),
        cmocka_unit_test(a_count_without_a_ropeway_connector_is_refused),
        cmocka_unit_test(hex_of_older_peers_is_accepted_in_either_case),
        cmocka_unit_test(metadata_of_a_stock_peer_is_accepted),
        cmocka_unit_test(order_white_space_and_escapes_do_not_matter),
        cmocka_unit_test(a_uuid_key_is_recognized_and_others_are_kept_as_text),
        cmocka_unit_test(a_text_may_be_as_long_as_the_limit_and_no_longer),
        cmocka_unit_test(the_limit_is_16_mib_unless_given),
        cmocka_unit_test(null_arguments_are_refused),
        cmocka_unit_test(an_index_past_the_end_gives_zeroes),
    };

    return cmocka_run_group_tests(tests, unit_seed, NULL);
}
