/* SPDX-License-Identifier: Apache-2.0 */
/* Rule 4: whatever becomes of the other process, before, during or after a transfer, this side's
 * operation ends, with the right code, and its memory is quiet (rule 3). */
#include "lists.h"

#include <stdlib.h>
#include <string.h>

typedef enum death {
    KILL,  /* SIGKILL */
    LEAVE, /* SIGKILL, and a program that it has started lives on */
    EXIT,  /* the process ends without destroying its connector */
    QUIT,  /* it destroys its connector, and ends */
    STOP   /* SIGSTOP, and SIGCONT later */
} death_t;

/* An end must be told before this limit, on a busy machine too. */
#define PATIENT "stall_ms=20000"

/* A peer that is stopped is found by this one. */
static const char *limit_of(death_t death) {
    return death == STOP ? "stall_ms=500" : PATIENT;
}

static void die(ts_peer_t *peer, death_t death) {
    switch (death) {
    case KILL:
        ts_peer_kill(peer);
        break;
    case LEAVE:
        ts_peer_ask(peer, "leave-child");
        ts_peer_kill(peer);
        break;
    case EXIT:
        ts_peer_send(peer, "exit 0");
        assert_int_equal(ts_peer_reap(peer), 0);
        break;
    case QUIT:
        ts_peer_send(peer, "quit");
        assert_int_equal(ts_peer_reap(peer), 0);
        break;
    default:
        ts_peer_stop(peer);
    }
}

static bool one_of(ropeway_error_t error, const ropeway_error_t *allowed) {
    for (; *allowed != ROPEWAY_OK; allowed++) {
        if (error == *allowed) {
            return true;
        }
    }
    return false;
}

static void assert_lost(ts_outcome_t outcome, death_t death) {
    static const ropeway_error_t lost[] = {ROPEWAY_ERR_PEER_LOST, ROPEWAY_OK};
    static const ropeway_error_t closed[] = {ROPEWAY_ERR_PEER_CLOSED, ROPEWAY_OK};
    static const ropeway_error_t stalled[] = {ROPEWAY_ERR_STALLED, ROPEWAY_OK};
    if (death == QUIT && outcome.status == ROPEWAY_STATUS_CANCELLED) {
        /* A connector that closes cancels its operations first. */
        assert_ended(outcome, ROPEWAY_STATUS_CANCELLED, ROPEWAY_ERR_CANCELLED);
        return;
    }
    const ropeway_error_t *allowed = death == QUIT ? closed : death == STOP ? stalled : lost;
    if (outcome.status != ROPEWAY_STATUS_ERRORED || !one_of(outcome.error, allowed)) {
        fail_msg("ended as %s, %s: %s", ropeway_status_name(outcome.status),
                 ropeway_error_name(outcome.error), outcome.text);
    }
    assert_string_not_equal(outcome.text, "");
}

/* The survivor's operation is of the given kind. */
static void die_during(ropeway_operation_kind_t kind, death_t death) {
    ropeway_connector_t *connector = ts_connect(TS_SLOW);
    for (int attempt = 0; attempt < 20; attempt++) {
        ts_peer_t *peer = ts_new_peer(TS_SLOW " name=victim");
        ts_pair_t pair =
            ts_pair_make_unlike(connector, peer, 0, kind, TS_BIG, limit_of(death), PATIENT);
        ts_await_progress(pair.operation, 1);
        die(peer, death);
        ts_outcome_t outcome = ts_wait(pair.operation);
        ts_region_t *region = ts_region(pair.operation);
        ts_region_set(region, 0x5A);
        bool caught = outcome.status != ROPEWAY_STATUS_COMPLETE;
        if (death == STOP) {
            ts_peer_continue(peer);
            ts_outcome_t theirs = ts_peer_wait(peer, 0);
            assert_true(!caught || theirs.status == ROPEWAY_STATUS_ERRORED);
        } else {
            ts_drop_peer(peer);
            peer = ts_new_peer("name=victim");
        }
        ts_assert_recovers(connector, peer);
        assert_true(ts_region_is(region, 0x5A));
        assert_true(ts_region_guarded(region));
        assert_int_equal(ts_stats(connector).operations_live, 0);
        assert_int_equal(ts_stats(connector).bytes_inflight, 0);
        ts_release(pair.operation);
        ts_drop_peer(peer);
        if (caught) {
            assert_lost(outcome, death);
            return;
        }
    }
    fail_msg("no transfer was caught in its middle");
}

/* An active operation that begins when its peer has gone, known from before or not. */
static void die_before(ropeway_operation_kind_t kind, death_t death, bool known) {
    static const ropeway_error_t gone[] = {ROPEWAY_ERR_UNREACHABLE, ROPEWAY_ERR_PEER_LOST,
                                           ROPEWAY_ERR_PEER_CLOSED, ROPEWAY_OK};
    static const ropeway_error_t stopped[] = {ROPEWAY_ERR_STALLED, ROPEWAY_OK};
    ropeway_connector_t *connector = ts_connect(TS_SLOW);
    ts_peer_t *peer = ts_new_peer(TS_SLOW);
    if (known) {
        ts_assert_works(connector, peer);
    }
    ts_peer_ask(peer, "%s 0 140000 7", ts_verb(ts_other(kind)));
    char *metadata = ts_peer_metadata(peer, 0, NULL);
    die(peer, death);
    ts_region_t *region = ts_region_new("140000", 0);
    ropeway_operation_options_t options;
    ropeway_operation_t *operation = NULL;
    ts_operation_options(limit_of(death), &options);
    ropeway_error_t error =
        (kind == ROPEWAY_OPERATION_READ ? ropeway_begin_read : ropeway_begin_write)(
            connector, metadata, strlen(metadata), region->descriptors, 1, &options, &operation);
    char text[600];
    snprintf(text, sizeof text, "%s", ropeway_last_error());
    if (error == ROPEWAY_OK) {
        error = ropeway_operation_wait(operation, TS_BOUND_MS);
        assert_status(operation, ROPEWAY_STATUS_ERRORED);
        snprintf(text, sizeof text, "%s", ropeway_operation_error_text(operation));
    }
    if (!one_of(error, death == STOP ? stopped : gone)) {
        fail_msg("%s: %s", ropeway_error_name(error), text);
    }
    ts_region_set(region, 0x5A);
    if (death == STOP) {
        ts_peer_continue(peer);
        ts_assert_recovers(connector, peer);
    }
    ts_drop_peer(peer);
    ts_assert_works(connector, ts_new_peer(""));
    assert_true(ts_region_is(region, 0x5A));
    ropeway_operation_release(operation);
    ts_region_free(region);
    free(metadata);
}

static void tear_down_all(void) {
    for (size_t i = 0; i < TS_PEERS; i++) {
        if (ts.peers[i] != NULL) {
            ts_drop_peer(ts.peers[i]);
        }
    }
    ts_disconnect(ts.connectors[0]);
}

static void all_kinds_during(death_t death) {
    for (int kind = ROPEWAY_OPERATION_READABLE; kind <= ROPEWAY_OPERATION_WRITE; kind++) {
        die_during((ropeway_operation_kind_t)kind, death);
        tear_down_all();
    }
}

static void rule4_peer_killed_during_a_transfer(void **state) {
    (void)state;
    all_kinds_during(KILL);
}

static void rule4_peer_killed_during_a_transfer_whose_child_lives_on(void **state) {
    (void)state;
    all_kinds_during(LEAVE);
}

static void rule4_peer_exits_during_a_transfer(void **state) {
    (void)state;
    all_kinds_during(EXIT);
}

static void rule4_peer_closes_during_a_transfer(void **state) {
    (void)state;
    all_kinds_during(QUIT);
}

static void rule4_peer_stopped_during_a_transfer(void **state) {
    (void)state;
    all_kinds_during(STOP);
}

static void all_before(death_t death) {
    for (int i = 0; i < 4; i++) {
        die_before(i % 2 == 0 ? ROPEWAY_OPERATION_READ : ROPEWAY_OPERATION_WRITE, death,
                   i / 2 == 1);
        tear_down_all();
    }
}

static void rule4_peer_killed_before_the_transfer(void **state) {
    (void)state;
    all_before(KILL);
}

static void rule4_peer_exits_before_the_transfer(void **state) {
    (void)state;
    all_before(EXIT);
}

static void rule4_peer_closes_before_the_transfer(void **state) {
    (void)state;
    all_before(QUIT);
}

static void rule4_peer_stopped_before_the_transfer(void **state) {
    (void)state;
    all_before(STOP);
}

static void rule4_an_offer_outlives_peers_that_never_took_it(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ropeway_operation_t *operation =
        ts_create(connector, ROPEWAY_OPERATION_READABLE, "140000", 3, "");
    const char *metadata;
    assert_ok(ropeway_operation_metadata(operation, &metadata));
    for (int death = KILL; death <= QUIT; death++) {
        ts_peer_t *peer = ts_new_peer("");
        ts_assert_works(connector, peer);
        die(peer, (death_t)death);
        ts_drop_peer(peer);
    }
    assert_status(operation, ROPEWAY_STATUS_INITIALIZED);
    ts_peer_t *peer = ts_new_peer("");
    ts_peer_begin(peer, "read", 0, "140000", 3, "", metadata, strlen(metadata));
    assert_complete(ts_wait(operation));
    assert_complete(ts_peer_wait(peer, 0));
    assert_int_equal(ts_peer_number(peer, "matches 0 3"), 1);
}

static void rule4_peer_gone_after_the_transfer_changes_nothing(void **state) {
    (void)state;
    for (int death = KILL; death <= STOP; death++) {
        ropeway_connector_t *connector = ts_connect("");
        ropeway_operation_t *operations[5] = {NULL};
        ts_peer_t *peer = ts_new_peer("");
        for (int kind = ROPEWAY_OPERATION_READABLE; kind <= ROPEWAY_OPERATION_WRITE; kind++) {
            ts_pair_t pair = ts_pair_make(connector, peer, kind, (ropeway_operation_kind_t)kind,
                                          "1048579", PATIENT " deadline_ms=20000");
            assert_complete(ts_wait(pair.operation));
            assert_complete(ts_peer_wait(peer, kind));
            ts_region_set(ts_region(pair.operation), 0x5A);
            operations[kind] = pair.operation;
        }
        die(peer, (death_t)death);
        ts_assert_works(connector, ts_new_peer(""));
        if (death == STOP) {
            ts_peer_continue(peer);
            ts_assert_works(connector, peer);
        }
        for (int kind = ROPEWAY_OPERATION_READABLE; kind <= ROPEWAY_OPERATION_WRITE; kind++) {
            assert_complete(ts_outcome(operations[kind]));
            assert_true(ts_region_is(ts_region(operations[kind]), 0x5A));
            ts_release(operations[kind]);
        }
        tear_down_all();
    }
}

static void rule4_a_peer_that_restarts_under_its_name_is_reached(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect(TS_SLOW);
    for (int i = 0; i < 8; i++) {
        ts_peer_t *peer = ts_new_peer(TS_SLOW " name=phoenix");
        ts_assert_works(connector, peer);
        ts_pair_t pair = ts_pair_make(
            connector, peer, 0, i % 2 == 0 ? ROPEWAY_OPERATION_READ : ROPEWAY_OPERATION_WRITABLE,
            TS_BIG, PATIENT);
        ts_await_progress(pair.operation, 1);
        die(peer, (death_t)(i % (STOP - KILL)));
        /* The new one is reached before anything is known of the old one's end. */
        ts_peer_t *reborn = ts_new_peer("name=phoenix");
        ts_assert_works(connector, reborn);
        ts_wait(pair.operation);
        ts_assert_works(connector, reborn);
        ts_release(pair.operation);
        ts_drop_peer(peer);
        ts_drop_peer(reborn);
    }
}

static const struct CMUnitTest tests[] = {
    TS_TEST(rule4_peer_killed_during_a_transfer),
    TS_TEST(rule4_peer_killed_during_a_transfer_whose_child_lives_on),
    TS_TEST(rule4_peer_exits_during_a_transfer),
    TS_TEST(rule4_peer_closes_during_a_transfer),
    TS_TEST(rule4_peer_stopped_during_a_transfer),
    TS_TEST(rule4_peer_killed_before_the_transfer),
    TS_TEST(rule4_peer_exits_before_the_transfer),
    TS_TEST(rule4_peer_closes_before_the_transfer),
    TS_TEST(rule4_peer_stopped_before_the_transfer),
    TS_TEST(rule4_an_offer_outlives_peers_that_never_took_it),
    TS_TEST(rule4_peer_gone_after_the_transfer_changes_nothing),
    TS_TEST(rule4_a_peer_that_restarts_under_its_name_is_reached),
};

TS_LIST(ts_list_death, tests);
