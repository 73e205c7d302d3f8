/* SPDX-License-Identifier: Apache-2.0 */
/* The agent blob: its bytes, what is skipped in it, and each way in which it can be wrong. */
#include "text/serdes.h"
#include "unit.h"

/* A blob that is put together piece by piece, right or wrong. */
typedef struct blob {
    uint8_t bytes[4096];
    size_t length;
} blob_t;

static void put(blob_t *blob, const void *bytes, size_t length) {
    assert_true(blob->length + length <= sizeof blob->bytes);
    memcpy(blob->bytes + blob->length, bytes, length);
    blob->length += length;
}

static void put_record(blob_t *blob, const char *tag, const void *value, uint64_t length) {
    put(blob, tag, strlen(tag));
    put(blob, &length, sizeof length);
    put(blob, value, length);
    put(blob, "|", 1);
}

static void put_text(blob_t *blob, const char *tag, const char *value) {
    put_record(blob, tag, value, strlen(value));
}

static void put_number(blob_t *blob, const char *tag, uint64_t number) {
    put_record(blob, tag, &number, sizeof number);
}

static void begin(blob_t *blob, const char *name, uint64_t connections) {
    blob->length = 0;
    put(blob, "nixlSerDes|", 11);
    put_text(blob, "Agent", name);
    put_number(blob, "Conns", connections);
}

static void put_connection(blob_t *blob, const char *backend, const char *address) {
    put_text(blob, "t", backend);
    put_text(blob, "c", address);
}

static void put_sections(blob_t *blob, uint64_t sections, uint64_t descriptors) {
    put_text(blob, "", "MemSection");
    put_number(blob, "nixlSecElms", sections);
    for (uint64_t i = 0; i < sections; i++) {
        put_text(blob, "bknd", "UCX");
        put_text(blob, "nixlDList", "nixlSDList");
        put_record(blob, "t", "\1\0\0\0", 4);
        put_number(blob, "n", descriptors);
        for (uint64_t j = 0; j < descriptors; j++) {
            put_record(blob, "", "0123456789abcdef01234567rkey", 28);
        }
    }
}

/* Decodes a copy that ends where the blob ends. */
static ropeway_error_t decode(const blob_t *blob, rw_agent_t *agent) {
    static uint8_t *exact;

    free(exact);
    exact = malloc(blob->length > 0 ? blob->length : 1);
    assert_non_null(exact);
    memcpy(exact, blob->bytes, blob->length);
    return rw_serdes_decode(exact, blob->length, agent);
}

static bool is_text(const void *bytes, size_t length, const char *text) {
    return bytes != NULL && length == strlen(text) && memcmp(bytes, text, length) == 0;
}

static void the_bytes_written_are_those_of_nixl(void **state) {
    rw_connection_t connections[] = {{"ROPEWAY", (const uint8_t *)"native", 6},
                                     {"UCX", (const uint8_t *)"a\0b", 3}};
    blob_t expected;
    uint8_t *blob;
    size_t length;

    (void)state;
    begin(&expected, "w1-1", 2);
    put_connection(&expected, "ROPEWAY", "native");
    put_text(&expected, "t", "UCX");
    put_record(&expected, "c", "a\0b", 3);
    put_sections(&expected, 0, 0);
    assert_accepted(
        rw_serdes_encode("w1-1", connections, 2, NULL, 0, expected.length, &blob, &length));
    assert_int_equal(length, expected.length);
    assert_memory_equal(blob, expected.bytes, length);
    free(blob);

    /* The same records, by the real thing: only the connection's name and bytes differ. */
    connections[0] = (rw_connection_t){"UCX", unit_stock_agent + 0x49, 0xd5};
    assert_accepted(
        rw_serdes_encode("w1-1", connections, 1, NULL, 0, RW_METADATA_MAX_DEFAULT, &blob, &length));
    assert_memory_equal(blob, unit_stock_agent, 0x145);
    free(blob);
}

static void a_blob_over_the_limit_is_not_made(void **state) {
    uint8_t *blob;
    size_t length;
    char needed[32];

    (void)state;
    assert_accepted(rw_serdes_encode("name", NULL, 0, NULL, 0, 1000, &blob, &length));
    free(blob);
    snprintf(needed, sizeof needed, "%zu", length);
    assert_refused(rw_serdes_encode("name", NULL, 0, NULL, 0, length - 1, &blob, &length),
                   ROPEWAY_ERR_LIMIT, needed, "max_metadata");
}

static void connections_are_found_wherever_they_stand(void **state) {
    blob_t blob;
    rw_agent_t agent;

    (void)state;
    begin(&blob, "worker", 4);
    put_connection(&blob, "GDS", "");
    put_connection(&blob, "UCX", "ucx address");
    put_connection(&blob, "ROPEWAYS", "another");
    put_connection(&blob, "ROPEWAY", "native address");
    put_sections(&blob, 3, 5);
    put_text(&blob, "later", "a record of tomorrow");
    assert_accepted(decode(&blob, &agent));
    assert_true(is_text(agent.name, agent.name_length, "worker"));
    assert_true(is_text(agent.native, agent.native_length, "native address"));
    assert_true(is_text(agent.ucx, agent.ucx_length, "ucx address"));

    begin(&blob, "worker", 0);
    put_sections(&blob, 0, 0);
    assert_accepted(decode(&blob, &agent));
    assert_null(agent.native);
    assert_null(agent.ucx);
}

static void what_follows_the_sections_is_not_looked_at(void **state) {
    blob_t blob;
    rw_agent_t agent;

    (void)state;
    begin(&blob, "worker", 0);
    put_sections(&blob, 1, 1);
    put(&blob, "\xff\xff\xff", 3);
    assert_accepted(decode(&blob, &agent));
}

static void a_blob_that_is_cut_off_anywhere_is_refused(void **state) {
    rw_agent_t agent;

    (void)state;
    for (size_t cut = 0; cut < unit_stock_agent_length; cut++) {
        blob_t blob = {.length = cut};

        memcpy(blob.bytes, unit_stock_agent, cut);
        assert_refused(decode(&blob, &agent), ROPEWAY_ERR_METADATA, "");
    }
}

static void no_length_in_a_record_is_believed(void **state) {
    static const uint64_t lengths[] = {UINT64_MAX,         UINT64_MAX - 1, UINT64_MAX - 8,
                                       UINT64_MAX / 2,     UINT32_MAX,     1000,
                                       0x8000000000000000u};
    static const struct {
        size_t at; /* of a length in the stock blob */
        const char *record;
    } places[] = {{0x10, "Agent"},     {0x22, "Conns"},       {0x34, "t"},
                  {0x41, "c"},         {0x11f, "MemSection"}, {0x13d, "nixlSecElms"},
                  {0x152, "bknd"},     {0x167, "nixlDList"},  {0x17b, "record t"},
                  {0x189, "record n"}, {0x19a, "descriptor"}, {0x1c6, "descriptor"}};

    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(places); i++) {
        for (size_t j = 0; j < UNIT_COUNT(lengths); j++) {
            blob_t blob = {.length = unit_stock_agent_length};
            rw_agent_t agent;
            char claimed[32];

            memcpy(blob.bytes, unit_stock_agent, unit_stock_agent_length);
            memcpy(blob.bytes + places[i].at, &lengths[j], sizeof lengths[j]);
            snprintf(claimed, sizeof claimed, "%" PRIu64, lengths[j]);
            assert_refused(decode(&blob, &agent), ROPEWAY_ERR_METADATA, places[i].record, claimed);
        }
    }
}

static void counts_beyond_what_follows_are_refused(void **state) {
    blob_t blob;
    rw_agent_t agent;

    (void)state;
    begin(&blob, "worker", RW_CONNECTIONS_MAX);
    for (int i = 0; i < RW_CONNECTIONS_MAX; i++) {
        put_connection(&blob, "other", "x");
    }
    put_sections(&blob, 0, 0);
    assert_accepted(decode(&blob, &agent));

    begin(&blob, "worker", RW_CONNECTIONS_MAX + 1);
    assert_refused(decode(&blob, &agent), ROPEWAY_ERR_METADATA, "65 connections", "64");
    begin(&blob, "worker", UINT64_MAX);
    assert_refused(decode(&blob, &agent), ROPEWAY_ERR_METADATA, "18446744073709551615");
    begin(&blob, "worker", 1);
    put_sections(&blob, 0, 0);
    assert_refused(decode(&blob, &agent), ROPEWAY_ERR_METADATA, "connection's backend");

    begin(&blob, "worker", 0);
    put_text(&blob, "", "MemSection");
    put_number(&blob, "nixlSecElms", UINT64_MAX);
    assert_refused(decode(&blob, &agent), ROPEWAY_ERR_METADATA, "bknd");
}

static void a_name_becomes_1_to_255_printable_bytes(void **state) {
    static const char *const good[] = {"x", "a b", "h\xc3\xb6st|\"\\", "\xf0\x9f\x9a\xa1"};
    static const char *const bad[] = {"a\nb", "\x1b[2J", "\x7f", "\xff", "\xc3"};
    blob_t blob;
    rw_agent_t agent;
    char name[RW_AGENT_NAME_MAX + 2], text[RW_AGENT_NAME_MAX + 1], other[RW_AGENT_NAME_MAX + 1];

    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(good); i++) {
        assert_true(rw_agent_name_valid(good[i], strlen(good[i])));
        begin(&blob, good[i], 0);
        put_sections(&blob, 0, 0);
        assert_accepted(decode(&blob, &agent));
        assert_true(is_text(agent.name, agent.name_length, good[i]));
    }
    for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
        assert_false(rw_agent_name_valid(bad[i], strlen(bad[i])));
        begin(&blob, bad[i], 0);
        put_sections(&blob, 0, 0);
        assert_accepted(decode(&blob, &agent));
        rw_agent_name_text(agent.name, agent.name_length, text);
        assert_true(rw_agent_name_valid(text, strlen(text)));
        assert_non_null(strchr(text, '~'));
    }
    assert_false(rw_agent_name_valid("a\0b", 3));
    memset(name, 'n', sizeof name);
    assert_true(rw_agent_name_valid(name, RW_AGENT_NAME_MAX));
    assert_false(rw_agent_name_valid(name, RW_AGENT_NAME_MAX + 1));
    begin(&blob, "", 0);
    assert_refused(decode(&blob, &agent), ROPEWAY_ERR_METADATA, "the agent's name");
    /* Long names that differ at the end only still differ when cut. */
    rw_agent_name_text(name, sizeof name, text);
    name[sizeof name - 1] = 'm';
    rw_agent_name_text(name, sizeof name, other);
    assert_true(rw_agent_name_valid(text, strlen(text)) && strcmp(text, other) != 0);
}

static void records_out_of_order_are_refused(void **state) {
    blob_t blob = {0};
    rw_agent_t agent;

    (void)state;
    put(&blob, "nixlSerDes|", 11);
    put_number(&blob, "Conns", 0);
    assert_refused(decode(&blob, &agent), ROPEWAY_ERR_METADATA, "Agent", "byte 11");

    begin(&blob, "worker", 0);
    put_text(&blob, "", "SomeSection");
    assert_refused(decode(&blob, &agent), ROPEWAY_ERR_METADATA, "MemSection");

    blob.length = 0;
    put(&blob, "nixlSerDes|", 11);
    put_text(&blob, "Agent", "worker");
    put_record(&blob, "Conns", "\0\0\0\0", 4);
    assert_refused(decode(&blob, &agent), ROPEWAY_ERR_METADATA, "Conns", "4 bytes", "8");

    begin(&blob, "worker", 0);
    put_sections(&blob, 0, 0);
    blob.bytes[blob.length - 1] = '!';
    assert_refused(decode(&blob, &agent), ROPEWAY_ERR_METADATA, "nixlSecElms", "'|'");

    blob.length = 0;
    put(&blob, "nixlSerDas|", 11);
    assert_refused(decode(&blob, &agent), ROPEWAY_ERR_METADATA, "11 bytes", "nixlSerDes|");
}

static void a_backend_of_ours_must_come_once_and_with_an_address(void **state) {
    static const char *const backends[] = {RW_BACKEND_NATIVE, RW_BACKEND_UCX};
    blob_t blob;
    rw_agent_t agent;

    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(backends); i++) {
        begin(&blob, "worker", 2);
        put_connection(&blob, backends[i], "one");
        put_connection(&blob, backends[i], "two");
        assert_refused(decode(&blob, &agent), ROPEWAY_ERR_METADATA, "two", backends[i]);
        begin(&blob, "worker", 1);
        put_connection(&blob, backends[i], "");
        assert_refused(decode(&blob, &agent), ROPEWAY_ERR_METADATA, "empty", backends[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_written_are_those_of_nixl),
        cmocka_unit_test(a_blob_over_the_limit_is_not_made),
        cmocka_unit_test(connections_are_found_wherever_they_stand),
        cmocka_unit_test(what_follows_the_sections_is_not_looked_at),
        cmocka_unit_test(a_blob_that_is_cut_off_anywhere_is_refused),
        cmocka_unit_test(no_length_in_a_record_is_believed),
        cmocka_unit_test(counts_beyond_what_follows_are_refused),
        cmocka_unit_test(a_name_becomes_1_to_255_printable_bytes),
        cmocka_unit_test(records_out_of_order_are_refused),
        cmocka_unit_test(a_backend_of_ours_must_come_once_and_with_an_address),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
