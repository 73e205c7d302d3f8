/* SPDX-License-Identifier: Apache-2.0 */
/* Rule 4: nothing hangs past the deadline or the stall limit. Lower bounds are exact; upper ones
 * are TS_BOUND_MS. */
#include "lists.h"

#include <stdlib.h>
#include <string.h>

#define SLOW "chunk_size=65536 window=1"
#define BIG "67108869"

static void rule4_an_offer_past_its_deadline_ends(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("deadline_ms=80");
    double start = ts_now();
    ropeway_operation_t *inherits = ts_create(connector, ROPEWAY_OPERATION_READABLE, "9", 1, "");
    ropeway_operation_t *own =
        ts_create(connector, ROPEWAY_OPERATION_WRITABLE, "9", 1, "deadline_ms=160");
    ropeway_operation_t *never =
        ts_create(connector, ROPEWAY_OPERATION_WRITABLE, "9", 1, "deadline_ms=0");
    assert_fails(ropeway_operation_wait(inherits, TS_BOUND_MS), ROPEWAY_ERR_DEADLINE);
    assert_true(ts_now() - start >= 0.08);
    assert_fails(ropeway_operation_wait(own, TS_BOUND_MS), ROPEWAY_ERR_DEADLINE);
    assert_true(ts_now() - start >= 0.16);
    assert_ended(ts_outcome(inherits), ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_DEADLINE);
    assert_non_null(strstr(ropeway_operation_error_text(inherits), "80"));
    assert_non_null(strstr(ropeway_operation_error_text(inherits), "no peer had begun it"));
    assert_status(never, ROPEWAY_STATUS_INITIALIZED);
}

static void rule4_an_offer_has_no_stall_limit_before_it_is_taken(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("stall_ms=20");
    ts_peer_t *peer = ts_new_peer("");
    ropeway_operation_t *operation =
        ts_create(connector, ROPEWAY_OPERATION_READABLE, "9", 1, "stall_ms=20");
    const char *metadata;
    ropeway_operation_t *later =
        ts_create(connector, ROPEWAY_OPERATION_READABLE, "9", 1, "deadline_ms=200");
    assert_ended(ts_wait(later), ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_DEADLINE);
    assert_status(operation, ROPEWAY_STATUS_INITIALIZED);
    assert_ok(ropeway_operation_metadata(operation, &metadata));
    ts_peer_begin(peer, "read", 0, "9", 1, "", metadata, strlen(metadata));
    /* It is taken, and from then on 20 ms may be too short for a busy machine. */
    ropeway_error_t error = ropeway_operation_wait(operation, TS_BOUND_MS);
    assert_true(error == ROPEWAY_OK || error == ROPEWAY_ERR_STALLED);
}

/* The peer is stopped in the middle of the transfer; whoever stays finds out by its options. Only
 * its own limit is short: the peer's would end what a busy machine holds up, and with another
 * error. */
static void stop_in_the_middle(ropeway_operation_kind_t kind) {
    ropeway_connector_t *connector = ts_connect(SLOW " quiet_ms=200");
    ts_peer_t *peer = ts_new_peer(SLOW " quiet_ms=200");
    for (int attempt = 0;; attempt++) {
        /* Before the last progress, so that the limit is a lower bound on any machine. */
        double start = ts_now();
        ts_pair_t pair =
            ts_pair_make_unlike(connector, peer, 0, kind, BIG, "stall_ms=500", "stall_ms=20000");
        ts_await_progress(pair.operation, 1);
        ts_peer_stop(peer);
        ts_outcome_t mine = ts_wait(pair.operation);
        double took = ts_now() - start;
        ts_region_t *region = ts_region(pair.operation);
        ts_region_set(region, 0x5A);
        ts_peer_continue(peer);
        ts_outcome_t theirs = ts_peer_wait(peer, 0);
        ts_assert_recovers(connector, peer);
        assert_true(ts_region_is(region, 0x5A));
        ts_pair_release(&pair);
        if (mine.status == ROPEWAY_STATUS_COMPLETE && attempt < 20) {
            continue;
        }
        assert_ended(mine, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_STALLED);
        assert_true(took >= 0.5);
        assert_int_equal(theirs.status, ROPEWAY_STATUS_ERRORED);
        assert_string_not_equal(theirs.text, "");
        return;
    }
}

static void rule4_a_stopped_peer_of_a_read_is_found_by_the_stall_limit(void **state) {
    (void)state;
    stop_in_the_middle(ROPEWAY_OPERATION_READ);
}

static void rule4_a_stopped_peer_of_a_write_is_found_by_the_stall_limit(void **state) {
    (void)state;
    stop_in_the_middle(ROPEWAY_OPERATION_WRITE);
}

static void rule4_a_stopped_reader_is_found_by_the_stall_limit(void **state) {
    (void)state;
    stop_in_the_middle(ROPEWAY_OPERATION_READABLE);
}

static void rule4_a_stopped_writer_is_found_by_the_stall_limit(void **state) {
    (void)state;
    stop_in_the_middle(ROPEWAY_OPERATION_WRITABLE);
}

static void rule4_the_deadline_ends_a_transfer_that_hangs(void **state) {
    (void)state;
    ts_peer_need_processes();
    ropeway_connector_t *connector = ts_connect("quiet_ms=200");
    ts_peer_t *peer = ts_new_peer("quiet_ms=200");
    static const ropeway_operation_kind_t kinds[] = {ROPEWAY_OPERATION_READ,
                                                     ROPEWAY_OPERATION_WRITE};
    for (size_t i = 0; i < 2; i++) {
        ts_assert_works(connector, peer);
        ts_peer_ask(peer, "%s 0 140000 5", ts_verb(ts_other(kinds[i])));
        char *metadata = ts_peer_metadata(peer, 0, NULL);
        ts_peer_stop(peer);
        double start = ts_now();
        ropeway_operation_t *operation =
            ts_begin(connector, kinds[i], "140000", 5, "deadline_ms=250 stall_ms=0", metadata,
                     strlen(metadata));
        ts_outcome_t mine = ts_wait(operation);
        assert_true(ts_now() - start >= 0.25);
        ts_region_set(ts_region(operation), 0x5A);
        ts_peer_continue(peer);
        assert_ended(mine, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_DEADLINE);
        assert_non_null(strstr(mine.text, ropeway_operation_peer(operation)));
        ts_assert_recovers(connector, peer);
        assert_true(ts_region_is(ts_region(operation), 0x5A));
        ts_peer_ask(peer, "release 0");
        free(metadata);
    }
}

static void rule4_a_slow_transfer_does_not_stall(void **state) {
    (void)state;
    /* Stopped again and again, each time for less than the limit. */
    ropeway_connector_t *connector = ts_connect(SLOW);
    ts_peer_t *peer = ts_new_peer(SLOW);
    ts_pair_t pair =
        ts_pair_make(connector, peer, 0, ROPEWAY_OPERATION_READ, "16777216", "stall_ms=20000");
    uint64_t done = 0;
    while (ts_await_progress(pair.operation, done + 1)) {
        ropeway_operation_progress(pair.operation, &done, NULL);
        ts_peer_stop(peer);
        ropeway_operation_wait(pair.operation, 2);
        ts_peer_continue(peer);
    }
    ts_pair_finish(&pair);
}

static const struct CMUnitTest tests[] = {
    TS_TEST(rule4_an_offer_past_its_deadline_ends),
    TS_TEST(rule4_an_offer_has_no_stall_limit_before_it_is_taken),
    TS_TEST(rule4_a_stopped_peer_of_a_read_is_found_by_the_stall_limit),
    TS_TEST(rule4_a_stopped_peer_of_a_write_is_found_by_the_stall_limit),
    TS_TEST(rule4_a_stopped_reader_is_found_by_the_stall_limit),
    TS_TEST(rule4_a_stopped_writer_is_found_by_the_stall_limit),
    TS_TEST(rule4_the_deadline_ends_a_transfer_that_hangs),
    TS_TEST(rule4_a_slow_transfer_does_not_stall),
};

TS_LIST(ts_list_time, tests);
