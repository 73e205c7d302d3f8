/* SPDX-License-Identifier: Apache-2.0 */
/* Descriptors whose memory lies in pieces: one to the peer, several here. */
#include "lists.h"

#include <string.h>

#define SPEC "1000003,0,5,300000,65536"

static const char *const layouts[] = {"",
                                      "pieces=1000 shift=1",
                                      "pieces=1024 shift=1",
                                      "pieces=4096",
                                      "pieces=16385 shift=3",
                                      "pieces=65536",
                                      "pieces=70001 shift=5",
                                      "pieces=2000000",
                                      "pieces=3000 uneven=1 shift=1",
                                      "pieces=200000 uneven=1"};
#define LAYOUTS (sizeof layouts / sizeof *layouts)

static void move(const char *spec, const char *mine, const char *theirs) {
    ropeway_connector_t *connector = ts.connectors[0] ? ts.connectors[0] : ts_connect("");
    ts_peer_t *peer = ts.peers[0] ? ts.peers[0] : ts_new_peer("");
    for (int kind = ROPEWAY_OPERATION_READABLE; kind <= ROPEWAY_OPERATION_WRITE; kind++) {
        ts_pair_t pair = ts_pair_make_unlike(connector, peer, 0, (ropeway_operation_kind_t)kind,
                                             spec, mine, theirs);
        ts_pair_finish(&pair);
    }
}

static void either_side_may_be_in_pieces(void **state) {
    (void)state;
    for (size_t i = 0; i < LAYOUTS * LAYOUTS; i++) {
        move(SPEC, layouts[i / LAYOUTS], layouts[i % LAYOUTS]);
    }
}

static void small_and_large_wholes_may_be_in_pieces(void **state) {
    (void)state;
    static const char *const specs[] = {"0", "1", "100", "8192", "100000,3*0,7", "40000011"};
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        move(specs[i], "pieces=777 shift=1", "");
        move(specs[i], "", "pieces=777");
        move(specs[i], "pieces=99991", "pieces=65536 shift=7");
    }
}

static void checksums_are_of_the_whole_and_not_of_pieces(void **state) {
    (void)state;
    char mine[64];
    for (size_t i = 0; i < LAYOUTS; i++) {
        snprintf(mine, sizeof mine, "flags=%d %s", ROPEWAY_OPERATION_INTEGRITY, layouts[i]);
        move(SPEC, mine, "");
        move(SPEC, mine, "pieces=12345 uneven=1");
    }
}

static void chunks_of_the_least_size_fit_into_pieces(void **state) {
    (void)state;
    ts_connect("chunk_size=65536 window=1");
    ts_new_peer("chunk_size=65536 window=1");
    move(SPEC, "pieces=100000 shift=1", "");
    move(SPEC, "", "pieces=100000 shift=1");
    move(SPEC, "pieces=3000 uneven=1", "pieces=150000");
}

static void registered_pieces_move_as_any_others(void **state) {
    (void)state;
    ropeway_connector_t *owner = ts_connect(""), *user = ts_connect("");
    ropeway_operation_t *readable =
        ts_create(owner, ROPEWAY_OPERATION_READABLE, "600000", 3, "pieces=70000");
    ts_region_t *region = ts_region_make("600000", "pieces=70000 shift=1");
    ropeway_operation_options_t options;
    ropeway_memory_t *memory;
    ropeway_operation_t *read;
    const char *metadata;
    ropeway_operation_options_init(&options, sizeof options);
    ts_region_group(region, &options);
    assert_ok(ropeway_memory_register(user, region->arena, region->arena_size,
                                      region->descriptors[0].device, &memory));
    assert_ok(ropeway_operation_metadata(readable, &metadata));
    assert_ok(ropeway_begin_read(user, metadata, strlen(metadata), region->descriptors,
                                 region->count, &options, &read));
    assert_ok(ropeway_operation_wait(read, TS_BOUND_MS));
    assert_complete(ts_wait(readable));
    assert_true(ts_region_matches(region, 3) && ts_region_guarded(region));
    ropeway_operation_release(read);
    ropeway_memory_release(memory);
    ts_region_free(region);
}

static void a_whole_of_another_size_is_refused(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ropeway_operation_t *readable =
        ts_create(connector, ROPEWAY_OPERATION_READABLE, "100,200", 1, "");
    static const struct {
        size_t groups[3], count;
        ropeway_error_t error;
    } cases[] = {{{1, 2}, 2, ROPEWAY_ERR_SIZE_MISMATCH}, /* 150 and 150 */
                 {{3}, 1, ROPEWAY_ERR_COUNT_MISMATCH},
                 {{1, 1, 1}, 3, ROPEWAY_ERR_COUNT_MISMATCH}};
    ts_region_t *region = ts_region_new("150,50,100", 0);
    const char *metadata;
    assert_ok(ropeway_operation_metadata(readable, &metadata));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ropeway_operation_options_t options;
        ropeway_operation_t *operation = NULL;
        ropeway_operation_options_init(&options, sizeof options);
        options.group_sizes = cases[i].groups;
        options.group_count = cases[i].count;
        assert_fails(ropeway_begin_read(connector, metadata, strlen(metadata), region->descriptors,
                                        3, &options, &operation),
                     cases[i].error);
        assert_null(operation);
    }
    ts_region_free(region);
}

static void groups_that_do_not_fit_the_list_are_refused(void **state) {
    (void)state;
    static const size_t groups[][3] = {
        {1, 1, 0}, {1, 0, 2}, {1, 3, 0}, {4, 0, 0}, {SIZE_MAX, 3, 1}};
    static const size_t counts[] = {2, 3, 2, 1, 3};
    ropeway_connector_t *connector = ts_connect("");
    ts_region_t *region = ts_region_new("3*10", 0);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        ropeway_operation_options_t options;
        ropeway_operation_t *operation = NULL;
        ropeway_operation_options_init(&options, sizeof options);
        options.group_sizes = groups[i];
        options.group_count = counts[i];
        assert_fails(
            ropeway_create_readable(connector, region->descriptors, 3, &options, &operation),
            ROPEWAY_ERR_INVALID_ARGUMENT);
        assert_non_null(strstr(ropeway_last_error(), "group"));
        assert_null(operation);
    }
    ts_region_free(region);
}

/* A program that was built when the options ended before group_sizes. */
static void options_of_an_older_program_mean_no_groups(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ts_region_t *region = ts_region_new("3*10", 0);
    ropeway_operation_options_t options;
    ropeway_operation_t *operation;
    memset(&options, 0xff, sizeof options);
    ropeway_operation_options_init(&options, offsetof(ropeway_operation_options_t, group_sizes));
    assert_ok(ropeway_create_readable(connector, region->descriptors, 3, &options, &operation));
    ropeway_operation_release(operation);
    ts_region_free(region);
}

static const struct CMUnitTest tests[] = {
    TS_TEST(either_side_may_be_in_pieces),
    TS_TEST(small_and_large_wholes_may_be_in_pieces),
    TS_TEST(checksums_are_of_the_whole_and_not_of_pieces),
    TS_TEST(chunks_of_the_least_size_fit_into_pieces),
    TS_TEST(registered_pieces_move_as_any_others),
    TS_TEST(a_whole_of_another_size_is_refused),
    TS_TEST(groups_that_do_not_fit_the_list_are_refused),
    TS_TEST(options_of_an_older_program_mean_no_groups),
};

TS_LIST(ts_list_pieces, tests);
