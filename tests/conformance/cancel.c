/* SPDX-License-Identifier: Apache-2.0 */
/* Rules 3 and 5: a cancel is honest, and memory is quiet after the outcome. The random moments are
 * tried in tests/faults. */
#include "lists.h"

#include <stdlib.h>
#include <string.h>

#define SLOW "chunk_size=65536 window=1"
#define BIG "67108869"

static void rule5_an_offer_that_nobody_took_is_cancelled(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    for (int kind = ROPEWAY_OPERATION_READABLE; kind <= ROPEWAY_OPERATION_WRITABLE; kind++) {
        ropeway_operation_t *operation =
            ts_create(connector, (ropeway_operation_kind_t)kind, "10", 1, "");
        assert_ok(ropeway_operation_cancel(operation));
        assert_fails(ropeway_operation_wait(operation, TS_BOUND_MS), ROPEWAY_ERR_CANCELLED);
        assert_ended(ts_outcome(operation), ROPEWAY_STATUS_CANCELLED, ROPEWAY_ERR_CANCELLED);
        assert_non_null(strstr(ropeway_operation_error_text(operation), "no peer had begun it"));
        assert_fails(ropeway_operation_cancel(operation), ROPEWAY_ERR_FINISHED);
    }
}

/* Both sides ended alike. */
static void assert_alike(ts_outcome_t mine, ts_outcome_t theirs) {
    if (mine.status == ROPEWAY_STATUS_COMPLETE) {
        assert_complete(mine);
        assert_complete(theirs);
    } else {
        assert_ended(mine, ROPEWAY_STATUS_CANCELLED, ROPEWAY_ERR_CANCELLED);
        assert_ended(theirs, ROPEWAY_STATUS_CANCELLED, ROPEWAY_ERR_CANCELLED);
    }
}

/* Cancels in the middle, from here or from there, until the cancel was in time. */
static void cancel_in_the_middle(ropeway_operation_kind_t kind, bool here) {
    ropeway_connector_t *connector = ts_connect(SLOW);
    ts_peer_t *peer = ts_new_peer(SLOW);
    for (int attempt = 0; attempt < 20; attempt++) {
        ts_pair_t pair = ts_pair_make(connector, peer, 0, kind, BIG, "");
        ts_await_progress(pair.operation, 1);
        if (here) {
            ropeway_operation_cancel(pair.operation);
        } else {
            ts_peer_ask(peer, "cancel 0 1 0");
        }
        ts_outcome_t mine = ts_wait(pair.operation);
        ts_region_t *region = ts_region(pair.operation);
        ts_region_set(region, 0x5A);
        assert_alike(mine, ts_peer_wait(peer, 0));
        ts_assert_works(connector, peer);
        assert_true(ts_region_is(region, 0x5A));
        bool cancelled = mine.status == ROPEWAY_STATUS_CANCELLED;
        ts_pair_release(&pair);
        if (cancelled) {
            assert_int_equal(ts_stats(connector).bytes_inflight, 0);
            return;
        }
    }
    fail_msg("no cancel was in time");
}

static void rule5_the_active_side_cancels_a_read(void **state) {
    (void)state;
    cancel_in_the_middle(ROPEWAY_OPERATION_READ, true);
}

static void rule5_the_active_side_cancels_a_write(void **state) {
    (void)state;
    cancel_in_the_middle(ROPEWAY_OPERATION_WRITE, true);
}

static void rule5_the_passive_side_cancels_a_read(void **state) {
    (void)state;
    cancel_in_the_middle(ROPEWAY_OPERATION_READ, false);
}

static void rule5_the_passive_side_cancels_a_write(void **state) {
    (void)state;
    cancel_in_the_middle(ROPEWAY_OPERATION_WRITE, false);
}

static void rule5_a_cancel_right_after_begin_ends_both_sides_alike(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    for (int i = 0; i < 20; i++) {
        ropeway_operation_kind_t kind =
            i % 2 == 0 ? ROPEWAY_OPERATION_READ : ROPEWAY_OPERATION_WRITE;
        ts_pair_t pair = ts_pair_make(connector, peer, 0, kind, i % 4 < 2 ? "4096" : BIG, "");
        ropeway_error_t error = ropeway_operation_cancel(pair.operation);
        ts_outcome_t mine = ts_wait(pair.operation);
        assert_true(error == ROPEWAY_OK ||
                    (error == ROPEWAY_ERR_FINISHED && mine.status == ROPEWAY_STATUS_COMPLETE));
        /* A request that was never sent leaves the offer to the next one. */
        ts_outcome_t theirs = ts_peer_wait_for(peer, 0, 2000);
        if (theirs.status == ROPEWAY_STATUS_IN_PROGRESS) {
            theirs = ts_peer_wait(peer, 0);
        }
        if (theirs.status == ROPEWAY_STATUS_INITIALIZED) {
            assert_ended(mine, ROPEWAY_STATUS_CANCELLED, ROPEWAY_ERR_CANCELLED);
        } else {
            assert_alike(mine, theirs);
        }
        ts_pair_release(&pair);
    }
}

static void rule3_releasing_a_live_operation_leaves_its_memory_quiet(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect(SLOW);
    ts_peer_t *peer = ts_new_peer(SLOW);
    for (int kind = ROPEWAY_OPERATION_READABLE; kind <= ROPEWAY_OPERATION_WRITE; kind++) {
        ts_pair_t pair = ts_pair_make(connector, peer, 0, (ropeway_operation_kind_t)kind, BIG, "");
        ts_await_progress(pair.operation, 1);
        ts_region_t *region = ts_keep_region(pair.operation);
        ropeway_operation_release(pair.operation);
        ts_region_set(region, 0x5A);
        ts_outcome_t theirs = ts_peer_wait(peer, 0);
        assert_true(theirs.status == ROPEWAY_STATUS_COMPLETE ||
                    theirs.status == ROPEWAY_STATUS_CANCELLED);
        if (theirs.status == ROPEWAY_STATUS_COMPLETE) {
            assert_int_equal(ts_peer_number(peer, "matches 0 %llu", (unsigned long long)pair.seed),
                             1);
        }
        ts_peer_ask(peer, "release 0");
        ts_assert_works(connector, peer);
        assert_true(ts_region_is(region, 0x5A));
        assert_true(ts_region_guarded(region));
        ts_region_free(region);
    }
}

static void rule3_destroying_a_connector_ends_its_live_operations(void **state) {
    (void)state;
    ts_peer_t *peer = ts_new_peer(SLOW);
    for (int kind = ROPEWAY_OPERATION_READABLE; kind <= ROPEWAY_OPERATION_WRITE; kind++) {
        ropeway_connector_t *connector = ts_connect(SLOW);
        ropeway_operation_t *idle = ts_create(connector, ROPEWAY_OPERATION_WRITABLE, "100", 1, "");
        ts_pair_t pair = ts_pair_make(connector, peer, 0, (ropeway_operation_kind_t)kind, BIG, "");
        ts_await_progress(pair.operation, 1);
        ts_disconnect(connector);
        ts_region_set(ts_region(pair.operation), 0x5A);
        assert_ended(ts_outcome(idle), ROPEWAY_STATUS_CANCELLED, ROPEWAY_ERR_CANCELLED);
        ts_outcome_t mine = ts_outcome(pair.operation), theirs = ts_peer_wait(peer, 0);
        if (mine.status != ROPEWAY_STATUS_COMPLETE) {
            assert_ended(mine, ROPEWAY_STATUS_CANCELLED, ROPEWAY_ERR_CANCELLED);
            if (theirs.status == ROPEWAY_STATUS_ERRORED) {
                assert_ended(theirs, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_PEER_CLOSED);
            } else {
                assert_ended(theirs, ROPEWAY_STATUS_CANCELLED, ROPEWAY_ERR_CANCELLED);
            }
        } else {
            assert_complete(theirs);
        }
        assert_true(ts_region_is(ts_region(pair.operation), 0x5A));
        ts_release(idle);
        ts_pair_release(&pair);
    }
}

static void rule4_a_peer_whose_connector_is_gone_is_reported_by_begin_or_outcome(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    static const ropeway_operation_kind_t kinds[] = {ROPEWAY_OPERATION_READ,
                                                     ROPEWAY_OPERATION_WRITE};
    char *metadata[2];
    for (int i = 0; i < 2; i++) {
        ts_peer_ask(peer, "%s %d 140000 5", ts_verb(ts_other(kinds[i])), i);
        metadata[i] = ts_peer_metadata(peer, i, NULL);
    }
    ts_assert_works(connector, peer);
    ts_peer_ask(peer, "destroy");
    for (int i = 0; i < 2; i++) {
        ts_region_t *region = ts_region_new("140000", 0);
        ropeway_operation_t *operation = NULL;
        ropeway_error_t error = (i == 0 ? ropeway_begin_read : ropeway_begin_write)(
            connector, metadata[i], strlen(metadata[i]), region->descriptors, 1, NULL, &operation);
        if (error == ROPEWAY_OK) {
            error = ropeway_operation_wait(operation, TS_BOUND_MS);
            assert_status(operation, ROPEWAY_STATUS_ERRORED);
        }
        /* Over shared memory the segment has gone, and UCX finds no way to the peer. */
        bool no_path = error == ROPEWAY_ERR_NO_PATH && ts_transport_is("queue");
        if (!no_path && error != ROPEWAY_ERR_UNREACHABLE && error != ROPEWAY_ERR_PEER_CLOSED &&
            error != ROPEWAY_ERR_PEER_LOST) {
            fail_msg("begin after the peer's destroy ends with %s", ropeway_error_name(error));
        }
        ropeway_operation_release(operation);
        ts_region_free(region);
        free(metadata[i]);
    }
}

static const struct CMUnitTest tests[] = {
    TS_TEST(rule5_an_offer_that_nobody_took_is_cancelled),
    TS_TEST(rule5_the_active_side_cancels_a_read),
    TS_TEST(rule5_the_active_side_cancels_a_write),
    TS_TEST(rule5_the_passive_side_cancels_a_read),
    TS_TEST(rule5_the_passive_side_cancels_a_write),
    TS_TEST(rule5_a_cancel_right_after_begin_ends_both_sides_alike),
    TS_TEST(rule3_releasing_a_live_operation_leaves_its_memory_quiet),
    TS_TEST(rule3_destroying_a_connector_ends_its_live_operations),
    TS_TEST(rule4_a_peer_whose_connector_is_gone_is_reported_by_begin_or_outcome),
};

TS_LIST(ts_list_cancel, tests);
