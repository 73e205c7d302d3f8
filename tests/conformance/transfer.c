/* SPDX-License-Identifier: Apache-2.0 */
/* Every kind of operation moves exactly its bytes, whatever their number, size and address. */
#include "lists.h"

#include <stdlib.h>
#include <string.h>

static void move(const char *spec, const char *options) {
    ropeway_connector_t *connector = ts.connectors[0] ? ts.connectors[0] : ts_connect("");
    ts_peer_t *peer = ts.peers[0] ? ts.peers[0] : ts_new_peer("");
    for (int kind = ROPEWAY_OPERATION_READABLE; kind <= ROPEWAY_OPERATION_WRITE; kind++) {
        ts_pair_t pair =
            ts_pair_make(connector, peer, 0, (ropeway_operation_kind_t)kind, spec, options);
        ts_pair_finish(&pair);
    }
}

static void every_kind_moves_every_size(void **state) {
    (void)state;
    static const char *const sizes[] = {"0",      "1",       "4095",    "4096",
                                        "65535",  "65536",   "65537",   "131072",
                                        "131073", "1048576", "1048579", "8388609"};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        move(sizes[i], "");
    }
}

static void every_kind_moves_64_mib_and_five_bytes(void **state) {
    (void)state;
    move("67108869", "shift=5");
}

static void every_kind_moves_lists_of_descriptors(void **state) {
    (void)state;
    move("2*4096", "");
    move("64*65537", "");
    move("1000*1", "");
    move("600*4096", "");
    move("3000*1024,2000*1023", "");
    move("700*1500,3*200000,0,33*4097,2000000,12*30000", "shift=1");
}

static void every_kind_moves_65536_descriptors(void **state) {
    (void)state;
    move("65536*16", "");
}

static void every_kind_moves_empty_descriptors_among_others(void **state) {
    (void)state;
    move("0,1,4096,0,65537,3,0,1048579,0", "");
    move("3*0", "");
    move("5000*0,1", "");
}

static void every_kind_moves_from_and_to_odd_addresses(void **state) {
    (void)state;
    move("10*4099,2*1048579", "shift=1");
    move("10*4099,2*1048579", "shift=33");
}

static void chunks_of_the_least_size_and_a_window_of_one_carry_all_bytes(void **state) {
    (void)state;
    ts_connect("chunk_size=65536 window=1");
    ts_new_peer("chunk_size=65536 window=1");
    move("1048579,65536,65537,0,65535", "");
    move("40*131073", "shift=3");
}

static void sides_with_different_chunks_and_windows_understand_each_other(void **state) {
    (void)state;
    ts_connect("chunk_size=65536 window=64");
    ts_new_peer("chunk_size=8388608 window=2 spin_us=0");
    move("20000003,7", "");
}

/* More chunks than any window, which a link may have taken from the sender before the receiver has
 * the first one: over UCX, those of memory of a GPU. */
static void chunks_that_come_faster_than_they_get_into_place_are_taken(void **state) {
    (void)state;
    ts_connect("chunk_size=65536 window=64");
    ts_new_peer("chunk_size=65536 window=64");
    move("12582912", "");
}

static void many_at_a_time(size_t count, ropeway_operation_kind_t kind) {
    ropeway_connector_t *connector = ts.connectors[0] ? ts.connectors[0] : ts_connect("");
    ts_peer_t *peer = ts.peers[0] ? ts.peers[0] : ts_new_peer("");
    ts_pair_t *pairs = calloc(count, sizeof *pairs);
    assert_non_null(pairs);
    for (size_t i = 0; i < count; i++) {
        char spec[64];
        snprintf(spec, sizeof spec, "%zu,%zu", i * 37, 100000 - i * 389);
        pairs[i] = ts_pair_make(connector, peer, (int)i, kind, spec, "");
    }
    for (size_t i = count; i-- > 0;) {
        ts_pair_finish(&pairs[i]);
    }
    free(pairs);
    assert_int_equal(ts_stats(connector).operations_live, 0);
    assert_int_equal(ts_stats(connector).bytes_inflight, 0);
}

static void every_kind_moves_256_operations_at_a_time(void **state) {
    (void)state;
    for (int kind = ROPEWAY_OPERATION_READABLE; kind <= ROPEWAY_OPERATION_WRITE; kind++) {
        many_at_a_time(256, (ropeway_operation_kind_t)kind);
    }
}

static void rule8_256_operations_fit_through_a_limit_of_one_chunk_in_flight(void **state) {
    (void)state;
    ts_connect("chunk_size=65536 max_inflight=65536");
    ts_new_peer("chunk_size=65536 max_inflight=65536");
    many_at_a_time(256, ROPEWAY_OPERATION_READ);
    many_at_a_time(256, ROPEWAY_OPERATION_READABLE);
}

static void two_connectors_of_a_process_move_memory(void **state) {
    (void)state;
    ropeway_connector_t *owner = ts_connect(""), *user = ts_connect("");
    for (int kind = ROPEWAY_OPERATION_READABLE; kind <= ROPEWAY_OPERATION_WRITABLE; kind++) {
        const char *spec = "3,1048579,0,65536", *metadata;
        ropeway_operation_t *passive =
            ts_create(owner, (ropeway_operation_kind_t)kind, spec, 5, "shift=9");
        assert_ok(ropeway_operation_metadata(passive, &metadata));
        ropeway_operation_t *active = ts_begin(user, ts_other((ropeway_operation_kind_t)kind), spec,
                                               5, "", metadata, strlen(metadata));
        assert_complete(ts_wait(active));
        assert_complete(ts_wait(passive));
        assert_true(ts_region_matches(ts_region(active), 5));
        assert_true(ts_region_matches(ts_region(passive), 5));
        assert_string_equal(ropeway_operation_peer(active), ropeway_connector_name(owner));
        assert_string_equal(ropeway_operation_peer(passive), ropeway_connector_name(user));
    }
}

static void both_sides_have_the_trace_of_the_active_one(void **state) {
    static const char trace[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    static char longest[513], memory[1000];
    const char *texts[] = {trace, "x", longest}, *metadata;
    ropeway_descriptor_t one = {memory, sizeof memory, {ROPEWAY_DEVICE_HOST, 0}};
    ropeway_connector_t *owner = ts_connect(""), *user = ts_connect("");
    ropeway_operation_options_t options;
    ropeway_operation_t *passive, *active;

    (void)state;
    memset(longest, '~', sizeof longest - 1);
    ts_operation_options("", &options);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        options.trace = "not the active side's";
        assert_ok(ropeway_create_writable(owner, &one, 1, &options, &passive));
        assert_string_equal(ropeway_operation_trace(passive), "");
        assert_ok(ropeway_operation_metadata(passive, &metadata));
        options.trace = texts[i];
        assert_ok(
            ropeway_begin_write(user, metadata, strlen(metadata), &one, 1, &options, &active));
        assert_ok(ropeway_operation_wait(active, TS_BOUND_MS));
        assert_ok(ropeway_operation_wait(passive, TS_BOUND_MS));
        assert_string_equal(ropeway_operation_trace(active), texts[i]);
        assert_string_equal(ropeway_operation_trace(passive), texts[i]);
        ropeway_operation_release(active);
        ropeway_operation_release(passive);
    }
    assert_string_equal(ropeway_operation_trace(NULL), "");
}

static void a_trace_that_can_not_travel_is_refused(void **state) {
    static char long_one[514], memory[10];
    const char *texts[] = {"", "a\nb", "\x7f", "\xc3\xa4", long_one}, *metadata;
    ropeway_descriptor_t one = {memory, sizeof memory, {ROPEWAY_DEVICE_HOST, 0}};
    ropeway_connector_t *connector = ts_connect("");
    ropeway_operation_options_t options;
    ropeway_operation_t *passive, *active;

    (void)state;
    memset(long_one, '~', sizeof long_one - 1);
    ts_operation_options("", &options);
    assert_ok(ropeway_create_readable(connector, &one, 1, NULL, &passive));
    assert_ok(ropeway_operation_metadata(passive, &metadata));
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        options.trace = texts[i];
        assert_fails(
            ropeway_begin_read(connector, metadata, strlen(metadata), &one, 1, &options, &active),
            ROPEWAY_ERR_INVALID_ARGUMENT);
        assert_non_null(strstr(ropeway_last_error(), "trace must have 1 to 512"));
    }
    ropeway_operation_release(passive);
}

static void two_connectors_of_a_process_serve_one_peer(void **state) {
    (void)state;
    ropeway_connector_t *one = ts_connect("name=one"), *two = ts_connect("name=two");
    ts_peer_t *peer = ts_new_peer("");
    ts_pair_t first = ts_pair_make(one, peer, 0, ROPEWAY_OPERATION_READABLE, "4000000", "");
    ts_pair_t second = ts_pair_make(two, peer, 1, ROPEWAY_OPERATION_READ, "4000000", "");
    ts_pair_finish(&second);
    ts_pair_finish(&first);
    ts_disconnect(one);
    ts_assert_works(two, peer);
}

static void a_connector_uses_its_own_operation(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    for (int kind = ROPEWAY_OPERATION_READABLE; kind <= ROPEWAY_OPERATION_WRITABLE; kind++) {
        const char *metadata;
        ropeway_operation_t *passive =
            ts_create(connector, (ropeway_operation_kind_t)kind, "3000000,5", 8, "");
        assert_ok(ropeway_operation_metadata(passive, &metadata));
        ropeway_operation_t *active = ts_begin(connector, ts_other((ropeway_operation_kind_t)kind),
                                               "3000000,5", 8, "", metadata, strlen(metadata));
        assert_complete(ts_wait(active));
        assert_complete(ts_wait(passive));
        assert_true(ts_region_matches(ts_region(active), 8));
        assert_true(ts_region_matches(ts_region(passive), 8));
    }
}

static void registered_memory_moves_as_any_other(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    ts_region_t *region = ts_region_new("1048579", 3);
    ropeway_device_t host = {ROPEWAY_DEVICE_HOST, 0};
    ropeway_memory_t *whole, *part;
    assert_ok(ropeway_memory_register(connector, region->arena, region->arena_size, host, &whole));
    assert_ok(ropeway_memory_register(connector, region->arena + 100, 5000, host, &part));
    assert_int_equal(ts_stats(connector).memory_registered, region->arena_size + 5000);
    size_t length;
    ts_peer_ask(peer, "readable 0 1048579 77");
    char *metadata = ts_peer_metadata(peer, 0, &length);
    ropeway_operation_t *read;
    assert_ok(ropeway_begin_read(connector, metadata, length, region->descriptors, 1, NULL, &read));
    ropeway_memory_release(part);
    assert_ok(ropeway_operation_wait(read, TS_BOUND_MS));
    assert_true(ts_region_matches(region, 77));
    assert_true(ts_region_guarded(region));
    ropeway_operation_release(read);
    ropeway_memory_release(whole);
    assert_int_equal(ts_stats(connector).memory_registered, 0);
    assert_fails(ropeway_memory_register(connector, NULL, 10, host, &whole),
                 ROPEWAY_ERR_NULL_POINTER);
    assert_fails(ropeway_memory_register(connector, region->arena, 0, host, &whole),
                 ROPEWAY_ERR_INVALID_ARGUMENT);
    free(metadata);
    ts_region_free(region);
}

static const struct CMUnitTest tests[] = {
    TS_TEST(every_kind_moves_every_size),
    TS_TEST(every_kind_moves_64_mib_and_five_bytes),
    TS_TEST(every_kind_moves_lists_of_descriptors),
    TS_TEST(every_kind_moves_65536_descriptors),
    TS_TEST(every_kind_moves_empty_descriptors_among_others),
    TS_TEST(every_kind_moves_from_and_to_odd_addresses),
    TS_TEST(chunks_of_the_least_size_and_a_window_of_one_carry_all_bytes),
    TS_TEST(sides_with_different_chunks_and_windows_understand_each_other),
    TS_TEST(chunks_that_come_faster_than_they_get_into_place_are_taken),
    TS_TEST(every_kind_moves_256_operations_at_a_time),
    TS_TEST(rule8_256_operations_fit_through_a_limit_of_one_chunk_in_flight),
    TS_TEST(two_connectors_of_a_process_move_memory),
    TS_TEST(two_connectors_of_a_process_serve_one_peer),
    TS_TEST(both_sides_have_the_trace_of_the_active_one),
    TS_TEST(a_trace_that_can_not_travel_is_refused),
    TS_TEST(a_connector_uses_its_own_operation),
    TS_TEST(registered_memory_moves_as_any_other),
};

TS_LIST(ts_list_transfer, tests);
