/* SPDX-License-Identifier: Apache-2.0 */
/* Rules 3 and 5 against a peer that is stopped and wakes up later: a cancel, a release or a destroy
 * is through while it is stopped, and nothing that the peer does then reaches the memory. One that
 * waited for the peer would wait for ever: the limits are off. */
#include "lists.h"

#include <stdlib.h>
#include <string.h>

#define OPTIONS "chunk_size=65536 window=4 quiet_ms=300 stall_ms=0"

/* A transfer whose peer is stopped in its middle. */
static ts_pair_t freeze(ropeway_connector_t *connector, ts_peer_t *peer,
                        ropeway_operation_kind_t kind) {
    for (int attempt = 0; attempt < 20; attempt++) {
        ts_pair_t pair = ts_pair_make(connector, peer, 0, kind, TS_BIG, "");
        ts_await_progress(pair.operation, 1);
        ts_peer_stop(peer);
        /* What is on its way arrives; then nothing moves any more. */
        if (ropeway_operation_wait(pair.operation, 50) == ROPEWAY_ERR_TIMEOUT) {
            return pair;
        }
        ts_peer_continue(peer);
        ts_peer_wait(peer, 0);
        ts_pair_release(&pair);
    }
    fail_msg("no transfer was caught in its middle");
    return (ts_pair_t){0};
}

/* The peer wakes up, finds its operation ended, and disturbs nothing. */
static void thaw(ts_peer_t *peer, ts_region_t *region) {
    ts_region_set(region, 0x5A);
    ts_peer_continue(peer);
    ts_outcome_t theirs = ts_peer_wait(peer, 0);
    assert_true(theirs.status == ROPEWAY_STATUS_CANCELLED ||
                theirs.status == ROPEWAY_STATUS_ERRORED);
    assert_true(ts_region_is(region, 0x5A));
    assert_true(ts_region_guarded(region));
}

static void cancel_frozen(ropeway_operation_kind_t kind) {
    ropeway_connector_t *connector = ts_connect(OPTIONS);
    ts_peer_t *peer = ts_new_peer(OPTIONS);
    ts_pair_t pair = freeze(connector, peer, kind);
    assert_ok(ropeway_operation_cancel(pair.operation));
    ts_outcome_t mine = ts_wait(pair.operation);
    thaw(peer, ts_region(pair.operation));
    assert_ended(mine, ROPEWAY_STATUS_CANCELLED, ROPEWAY_ERR_CANCELLED);
    ts_assert_recovers(connector, peer);
    assert_true(ts_region_is(ts_region(pair.operation), 0x5A));
    ts_pair_release(&pair);
}

static void rule3_a_read_is_cancelled_while_the_owner_is_stopped(void **state) {
    (void)state;
    cancel_frozen(ROPEWAY_OPERATION_READ);
}

static void rule3_a_write_is_cancelled_while_the_owner_is_stopped(void **state) {
    (void)state;
    cancel_frozen(ROPEWAY_OPERATION_WRITE);
}

static void rule3_a_readable_is_cancelled_while_the_reader_is_stopped(void **state) {
    (void)state;
    cancel_frozen(ROPEWAY_OPERATION_READABLE);
}

static void rule3_a_writable_is_cancelled_while_the_writer_is_stopped(void **state) {
    (void)state;
    cancel_frozen(ROPEWAY_OPERATION_WRITABLE);
}

static void rule3_release_is_bounded_while_the_peer_is_stopped(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect(OPTIONS);
    ts_peer_t *peer = ts_new_peer(OPTIONS);
    for (int kind = ROPEWAY_OPERATION_READABLE; kind <= ROPEWAY_OPERATION_WRITE; kind++) {
        ts_pair_t pair = freeze(connector, peer, (ropeway_operation_kind_t)kind);
        ts_region_t *region = ts_keep_region(pair.operation);
        ropeway_operation_release(pair.operation);
        thaw(peer, region);
        ts_assert_recovers(connector, peer);
        assert_true(ts_region_is(region, 0x5A));
        ts_region_free(region);
        ts_peer_ask(peer, "release 0");
    }
}

static void rule3_destroy_is_bounded_while_the_peer_is_stopped(void **state) {
    (void)state;
    ts_peer_t *peer = ts_new_peer(OPTIONS);
    for (int kind = ROPEWAY_OPERATION_READABLE; kind <= ROPEWAY_OPERATION_WRITE; kind++) {
        ropeway_connector_t *connector = ts_connect(OPTIONS);
        ts_pair_t pair = freeze(connector, peer, (ropeway_operation_kind_t)kind);
        ts_disconnect(connector);
        assert_ended(ts_outcome(pair.operation), ROPEWAY_STATUS_CANCELLED, ROPEWAY_ERR_CANCELLED);
        thaw(peer, ts_region(pair.operation));
        ts_pair_release(&pair);
    }
}

/* More than the sockets between two processes hold. */
#define READS 1024
#define READ_SIZE "16384"

/* The owner has sent more than the reader, which is stopped, has taken, and closes the connection
 * by force. The reader goes on, takes it all and leaves, while the owner is stopped: it finds both
 * at once, that the reader has left and that it may send the rest. */
static void rule4_a_reader_leaves_a_connection_that_was_closed_with_bytes_left(void **state) {
    (void)state;
    ts_peer_t *owner = ts_new_peer(OPTIONS), *reader = ts_new_peer(OPTIONS);
    char *metadata[READS];
    size_t length[READS];
    for (int i = 0; i < READS; i++) {
        ts_peer_ask(owner, "readable %d " READ_SIZE " 1", i);
        metadata[i] = ts_peer_metadata(owner, i, &length[i]);
    }
    for (int i = 0; i < READS; i++) {
        assert_ok(ts_peer_begin(reader, "read", i, READ_SIZE, 1, "", metadata[i], length[i]));
        free(metadata[i]);
        if (i == 0) { /* connects them */
            assert_complete(ts_peer_wait(reader, 0));
            assert_complete(ts_peer_wait(owner, 0));
            ts_peer_stop(owner);
        }
    }
    ts_peer_stop(reader);
    ts_peer_continue(owner);
    int waiting = 0;
    for (int i = 1; i < READS; i++) {
        ts_peer_ask(owner, "cancel %d 0 0", i);
    }
    for (int i = 1; i < READS; i++) {
        ts_outcome_t outcome = ts_peer_wait(owner, i);
        waiting += outcome.status == ROPEWAY_STATUS_CANCELLED;
    }
    assert_true(waiting > 0);
    ts_peer_stop(owner);
    ts_peer_continue(reader);
    ts_peer_ask(reader, "destroy");
    ts_peer_continue(owner);
    ts_assert_works(ts_connect(OPTIONS), owner);
}

/* Messages of one operation each, more than a socket holds. */
#define TORN 64
#define TORN_SIZE "262144"

/* The owner gives up reads whose bytes are on their way, one of them in its middle, and uses the
 * memory for something else. The reader, which was stopped, has either what was offered, or no
 * COMPLETE. */
static void rule3_a_reader_that_wakes_up_completes_with_what_was_offered_or_not(void **state) {
    (void)state;
    ts_peer_t *owner = ts_new_peer(OPTIONS), *reader = ts_new_peer(OPTIONS);
    char *metadata[TORN];
    size_t length[TORN];
    int given_up = 0;
    for (int i = 0; i < TORN; i++) {
        ts_peer_ask(owner, "readable %d " TORN_SIZE " %d", i, i);
        metadata[i] = ts_peer_metadata(owner, i, &length[i]);
    }
    for (int i = 0; i < TORN; i++) {
        assert_ok(
            ts_peer_begin(reader, "read", i, TORN_SIZE, (uint64_t)i, "", metadata[i], length[i]));
        free(metadata[i]);
        if (i == 0) { /* connects them */
            assert_complete(ts_peer_wait(reader, 0));
            assert_complete(ts_peer_wait(owner, 0));
            ts_peer_stop(owner);
        }
    }
    ts_peer_stop(reader);
    ts_peer_continue(owner);
    for (int i = 0; i < TORN; i++) {
        ts_peer_ask(owner, "cancel %d 0 0", i);
    }
    for (int i = 0; i < TORN; i++) {
        given_up += ts_peer_wait(owner, i).status == ROPEWAY_STATUS_CANCELLED;
        ts_peer_ask(owner, "set %d 90", i);
    }
    ts_peer_continue(reader);
    for (int i = 0; i < TORN; i++) {
        if (ts_peer_wait(reader, i).status == ROPEWAY_STATUS_COMPLETE) {
            assert_int_equal(ts_peer_number(reader, "matches %d %d", i, i), 1);
        }
    }
    assert_true(given_up > 0);
}

/* It has moved bytes, and so is judged by its rate before it has stalled. */
static void rule4_a_transfer_that_moves_too_little_ends(void **state) {
    (void)state;
    ropeway_connector_t *connector =
        ts_connect("chunk_size=65536 window=4 quiet_ms=300 stall_ms=1000 min_rate=0xFFFFFFFFFFFF");
    ts_peer_t *peer = ts_new_peer(OPTIONS);
    ts_pair_t pair = freeze(connector, peer, ROPEWAY_OPERATION_READ);
    ts_outcome_t mine = ts_wait(pair.operation);
    assert_ended(mine, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_STALLED);
    const char *text = ropeway_operation_error_text(pair.operation);
    assert_non_null(strstr(text, "of the option min_rate"));
    ts_peer_continue(peer);
    assert_ended(ts_peer_wait(peer, 0), ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_STALLED);
    ts_pair_release(&pair);
}

static const struct CMUnitTest tests[] = {
    TS_TEST(rule4_a_transfer_that_moves_too_little_ends),
    TS_TEST(rule4_a_reader_leaves_a_connection_that_was_closed_with_bytes_left),
    TS_TEST(rule3_a_reader_that_wakes_up_completes_with_what_was_offered_or_not),
    TS_TEST(rule3_a_read_is_cancelled_while_the_owner_is_stopped),
    TS_TEST(rule3_a_write_is_cancelled_while_the_owner_is_stopped),
    TS_TEST(rule3_a_readable_is_cancelled_while_the_reader_is_stopped),
    TS_TEST(rule3_a_writable_is_cancelled_while_the_writer_is_stopped),
    TS_TEST(rule3_release_is_bounded_while_the_peer_is_stopped),
    TS_TEST(rule3_destroy_is_bounded_while_the_peer_is_stopped),
};

TS_LIST(ts_list_frozen, tests);
