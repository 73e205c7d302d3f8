/* SPDX-License-Identifier: Apache-2.0 */
/* A begin that asks for less than was offered: fewer descriptors, or smaller ones. */
#include "lists.h"

#include <stdlib.h>
#include <string.h>

#define PREFIX "flags=4"

typedef struct prefix_case {
    const char *offered, *used;
} prefix_case_t;

static const prefix_case_t cases[] = {
    {"1000", "1"},
    {"1000", "0"},
    {"140000", "139999"},
    {"5000000", "4000001"},
    {"100,200,300", "100,200"},
    {"100,200,300", "100,150,299"},
    {"500*4096", "499*4096,1"},
    {"1000003,0,5,300000", "1000003,0,4,299999"},
    {"65536,1000000", "65536,1000000"},
    {"20000*64", "19999*64,7"},
};
#define CASES (sizeof cases / sizeof *cases)

/* The peer offers memory; this side, which has kind, uses a prefix of it. */
static void use_prefix(ropeway_connector_t *connector, ts_peer_t *peer,
                       ropeway_operation_kind_t kind, const prefix_case_t *sizes,
                       const char *theirs, const char *mine) {
    char options[64];
    ts_peer_ask(peer, "%s 0 %s 55 %s", ts_verb(ts_other(kind)), sizes->offered, theirs);
    char *metadata = ts_peer_metadata(peer, 0, NULL);
    snprintf(options, sizeof options, "%s %s", PREFIX, mine);
    ropeway_operation_t *operation =
        ts_begin(connector, kind, sizes->used, 55, options, metadata, strlen(metadata));
    uint64_t used = ts_region(operation)->total;
    assert_complete(ts_wait(operation));
    ts_outcome_t there = ts_peer_wait(peer, 0);
    assert_complete(there);
    assert_int_equal(there.total, used); /* the owner learns how much was used */
    assert_int_equal(there.done, used);
    assert_true(there.guarded);
    if (ts_receives(kind)) {
        assert_int_equal(ts_region(operation)->total, used);
        assert_true(ts_region_guarded(ts_region(operation)));
    }
    free(metadata);
    ts_release(operation);
    ts_peer_ask(peer, "release 0");
}

static void a_prefix_of_an_offer_may_be_read_or_written(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    for (size_t i = 0; i < CASES; i++) {
        use_prefix(connector, peer, ROPEWAY_OPERATION_READ, &cases[i], "", "");
        use_prefix(connector, peer, ROPEWAY_OPERATION_WRITE, &cases[i], "", "");
    }
}

static void a_prefix_may_lie_in_pieces_on_either_side(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    for (size_t i = 0; i < CASES; i++) {
        use_prefix(connector, peer, ROPEWAY_OPERATION_READ, &cases[i], "pieces=1000", "");
        use_prefix(connector, peer, ROPEWAY_OPERATION_READ, &cases[i], "", "pieces=70001");
        use_prefix(connector, peer, ROPEWAY_OPERATION_WRITE, &cases[i], "pieces=16385", "");
        use_prefix(connector, peer, ROPEWAY_OPERATION_WRITE, &cases[i], "pieces=300000 uneven=1",
                   "pieces=777");
    }
}

/* So many sizes that a stream's request has no room for them, each another one. */
static void a_prefix_of_thousands_of_different_sizes(void **state) {
    (void)state;
    enum { OFFERED = 5000, USED = 4999 };
    static ropeway_descriptor_t theirs[OFFERED], mine[USED];
    static uint8_t from[OFFERED * 3], to[OFFERED * 3];
    ropeway_connector_t *owner = ts_connect(""), *user = ts_connect("");
    ropeway_operation_options_t options;
    ropeway_operation_t *offer, *read;
    const char *metadata;
    size_t total = 0;

    for (size_t i = 0; i < OFFERED; i++) {
        theirs[i] = (ropeway_descriptor_t){from + total, i % 5, {ROPEWAY_DEVICE_HOST, 0}};
        if (i < USED) {
            mine[i] = theirs[i];
            mine[i].ptr = to + total;
        }
        memset(from + total, (int)(1 + i % 250), i % 5);
        total += i % 5;
    }
    ropeway_operation_options_init(&options, sizeof options);
    options.flags = ROPEWAY_OPERATION_PREFIX;
    assert_ok(ropeway_create_readable(owner, theirs, OFFERED, NULL, &offer));
    assert_ok(ropeway_operation_metadata(offer, &metadata));
    assert_ok(ropeway_begin_read(user, metadata, strlen(metadata), mine, USED, &options, &read));
    assert_ok(ropeway_operation_wait(read, TS_BOUND_MS));
    assert_memory_equal(from, to, total - (OFFERED - 1) % 5);
    ropeway_operation_release(read);
    ropeway_operation_release(offer);
}

/* The bytes that a prefix has must be the offer's first ones, and no others may change. */
static void a_prefix_holds_the_right_bytes_and_leaves_the_rest(void **state) {
    (void)state;
    enum { FIRST = 3000, OFFERED = 10000, USED = 5000 };
    static uint8_t theirs[2][OFFERED], mine[2][OFFERED];
    ropeway_connector_t *owner = ts_connect(""), *user = ts_connect("");
    ropeway_descriptor_t offered[] = {{theirs[0], FIRST, {ROPEWAY_DEVICE_HOST, 0}},
                                      {theirs[1], OFFERED, {ROPEWAY_DEVICE_HOST, 0}}};
    ropeway_descriptor_t used[] = {{mine[0], FIRST, {ROPEWAY_DEVICE_HOST, 0}},
                                   {mine[1], USED, {ROPEWAY_DEVICE_HOST, 0}}};
    for (int flags = 0; flags <= ROPEWAY_OPERATION_INTEGRITY;
         flags += ROPEWAY_OPERATION_INTEGRITY) {
        ropeway_operation_options_t options;
        ropeway_operation_t *offer, *write;
        const char *metadata;
        uint64_t total;

        memset(theirs, 1, sizeof theirs);
        memset(mine, 2, sizeof mine);
        ropeway_operation_options_init(&options, sizeof options);
        options.flags = (uint32_t)flags | ROPEWAY_OPERATION_PREFIX;
        assert_ok(ropeway_create_writable(owner, offered, 2, NULL, &offer));
        assert_ok(ropeway_operation_metadata(offer, &metadata));
        assert_ok(ropeway_begin_write(user, metadata, strlen(metadata), used, 2, &options, &write));
        assert_ok(ropeway_operation_wait(write, TS_BOUND_MS));
        assert_ok(ropeway_operation_wait(offer, TS_BOUND_MS));
        ropeway_operation_progress(offer, NULL, &total);
        assert_int_equal(total, FIRST + USED);
        for (size_t i = 0; i < OFFERED; i++) {
            assert_int_equal(theirs[0][i], i < FIRST ? 2 : 1);
            assert_int_equal(theirs[1][i], i < USED ? 2 : 1);
        }
        ropeway_operation_release(write);
        ropeway_operation_release(offer);
    }
}

static void rule6_a_prefix_never_goes_past_the_offer(void **state) {
    (void)state;
    ropeway_connector_t *owner = ts_connect(""), *user = ts_connect("");
    ropeway_operation_t *offer = ts_create(owner, ROPEWAY_OPERATION_READABLE, "100,200", 7, "");
    const char *metadata, *sizes;
    char forged[65536], memory[1000];
    ropeway_operation_options_t options;
    ropeway_descriptor_t more[] = {{memory, 100, {ROPEWAY_DEVICE_HOST, 0}},
                                   {memory + 100, 200, {ROPEWAY_DEVICE_HOST, 0}},
                                   {memory + 300, 1, {ROPEWAY_DEVICE_HOST, 0}}};
    ropeway_descriptor_t larger[] = {{memory, 101, {ROPEWAY_DEVICE_HOST, 0}}};
    ropeway_operation_t *read;

    ropeway_operation_options_init(&options, sizeof options);
    options.flags = ROPEWAY_OPERATION_PREFIX;
    assert_ok(ropeway_operation_metadata(offer, &metadata));
    assert_fails(ropeway_begin_read(user, metadata, strlen(metadata), more, 3, &options, &read),
                 ROPEWAY_ERR_COUNT_MISMATCH);
    assert_fails(ropeway_begin_read(user, metadata, strlen(metadata), larger, 1, &options, &read),
                 ROPEWAY_ERR_SIZE_MISMATCH);
    /* Metadata that lies about the sizes gets past our own check, and not past the owner's. */
    sizes = strstr(metadata, "\"size\":100");
    assert_non_null(sizes);
    snprintf(forged, sizeof forged, "%.*s\"size\":101%s", (int)(sizes - metadata), metadata,
             sizes + strlen("\"size\":100"));
    assert_ok(ropeway_begin_read(user, forged, strlen(forged), larger, 1, &options, &read));
    assert_fails(ropeway_operation_wait(read, TS_BOUND_MS), ROPEWAY_ERR_SIZE_MISMATCH);
    ropeway_operation_release(read);
    /* The refusals used nothing up, and cut nothing off. */
    read = ts_begin(user, ROPEWAY_OPERATION_READ, "100,200", 7, "", metadata, strlen(metadata));
    assert_complete(ts_wait(read));
    assert_true(ts_region_matches(ts_region(read), 7));
}

static void without_the_flag_sizes_must_match(void **state) {
    (void)state;
    ropeway_connector_t *owner = ts_connect(""), *user = ts_connect("");
    ropeway_operation_t *offer = ts_create(owner, ROPEWAY_OPERATION_READABLE, "100", 7, ""), *read;
    const char *metadata;
    char memory[50];
    ropeway_descriptor_t less = {memory, sizeof memory, {ROPEWAY_DEVICE_HOST, 0}};

    assert_ok(ropeway_operation_metadata(offer, &metadata));
    assert_fails(ropeway_begin_read(user, metadata, strlen(metadata), &less, 1, NULL, &read),
                 ROPEWAY_ERR_SIZE_MISMATCH);
}

static const struct CMUnitTest tests[] = {
    TS_TEST(a_prefix_of_an_offer_may_be_read_or_written),
    TS_TEST(a_prefix_of_thousands_of_different_sizes),
    TS_TEST(a_prefix_may_lie_in_pieces_on_either_side),
    TS_TEST(a_prefix_holds_the_right_bytes_and_leaves_the_rest),
    TS_TEST(rule6_a_prefix_never_goes_past_the_offer),
    TS_TEST(without_the_flag_sizes_must_match),
};

TS_LIST(ts_list_prefix, tests);
