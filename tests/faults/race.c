/* SPDX-License-Identifier: Apache-2.0 */
/* Rules 3 and 5: cancels from either side, or from both, at random moments. Both sides end alike;
 * what COMPLETE has is what was sent; and after its outcome a side may do with its memory what it
 * likes without the other side's seeing it. */
#include "lists.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { HERE = 1, THERE = 2 };

typedef struct attempt {
    ts_pair_t pair;
    char spec[64];
    char options[32];
    unsigned cancels; /* HERE, THERE */
    uint64_t at;      /* bytes that must have moved */
    long spins;       /* and a little more time */
} attempt_t;

static attempt_t roll(uint64_t *random) {
    attempt_t attempt = {.cancels = 1 + (unsigned)(ts_random(random) % 3)};
    /* Mostly some MiB; now and then next to nothing. */
    uint64_t size = ts_random(random) % (ts_random(random) % 4 == 0 ? 20000 : 12000000);
    uint64_t first = size > 0 ? ts_random(random) % size : 0;
    snprintf(attempt.spec, sizeof attempt.spec, "%" PRIu64 ",%" PRIu64, first, size - first);
    snprintf(attempt.options, sizeof attempt.options, "flags=%d shift=%d",
             ts_random(random) % 4 == 0 ? ROPEWAY_OPERATION_INTEGRITY : 0,
             (int)(ts_random(random) % 64));
    /* Bytes that never come are waited for until the end: the cancel is late then. */
    attempt.at = ts_random(random) % (size + size / 16 + 2);
    attempt.spins = (long)(ts_random(random) % 20000);
    return attempt;
}

static bool is_finished_key(ts_outcome_t active, ts_outcome_t passive) {
    /* The offer was cancelled before the request came. */
    return active.status == ROPEWAY_STATUS_ERRORED && active.error == ROPEWAY_ERR_KEY_FINISHED &&
           passive.status == ROPEWAY_STATUS_CANCELLED;
}

static void check(const attempt_t *attempt, ropeway_operation_kind_t kind, ts_outcome_t mine,
                  ts_outcome_t theirs) {
    bool here_active = kind == ROPEWAY_OPERATION_READ || kind == ROPEWAY_OPERATION_WRITE;
    ts_outcome_t active = here_active ? mine : theirs, passive = here_active ? theirs : mine;
    bool passive_cancels = (attempt->cancels & (here_active ? THERE : HERE)) != 0;
    bool complete =
        mine.status == ROPEWAY_STATUS_COMPLETE && theirs.status == ROPEWAY_STATUS_COMPLETE;
    bool cancelled = mine.status == ROPEWAY_STATUS_CANCELLED && mine.error == theirs.error &&
                     theirs.status == ROPEWAY_STATUS_CANCELLED;
    if (!complete && !cancelled && !(passive_cancels && is_finished_key(active, passive))) {
        fail_msg("%s of %s, cancel %u at %" PRIu64 ": here %s %s (%s), there %s %s (%s)",
                 ts_verb(kind), attempt->spec, attempt->cancels, attempt->at,
                 ropeway_status_name(mine.status), ropeway_error_name(mine.error), mine.text,
                 ropeway_status_name(theirs.status), ropeway_error_name(theirs.error), theirs.text);
    }
    assert_true(mine.guarded && theirs.guarded);
    /* Only the receiver looks, and before its memory was filled with something else. */
    assert_true(!complete || mine.matches == 1 || theirs.matches == 1);
}

/* Cancels, and fills the memory with something else as soon as there is an outcome. */
static ts_outcome_t settle(const attempt_t *attempt, uint8_t byte) {
    ropeway_operation_t *operation = attempt->pair.operation;
    ts_region_t *region = ts_region(operation);
    if ((attempt->cancels & HERE) != 0) {
        ts_await_progress(operation, attempt->at);
        for (volatile long spins = attempt->spins; spins > 0; spins--) {
        }
        ropeway_operation_cancel(operation);
    }
    ropeway_operation_wait(operation, TS_BOUND_MS);
    int matches = -1;
    if (ts_receives(ropeway_operation_kind(operation))) {
        matches = ts_region_matches(region, attempt->pair.seed);
    }
    ts_region_set(region, byte);
    ts_outcome_t outcome = ts_outcome(operation);
    outcome.matches = matches;
    return outcome;
}

static void end_attempt(attempt_t *attempt, uint8_t byte) {
    if (attempt->pair.operation != NULL) {
        assert_true(ts_region_is(ts_region(attempt->pair.operation), byte));
        assert_int_equal(ts_peer_number(attempt->pair.peer, "is %d %d", attempt->pair.id, byte), 1);
        ts_pair_release(&attempt->pair);
    }
}

static void race(ropeway_operation_kind_t kind) {
    ropeway_connector_t *connector = ts_connect("chunk_size=65536 window=3");
    ts_peer_t *peer = ts_new_peer("chunk_size=131072 window=2");
    uint64_t random = ts_seed();
    attempt_t last = {0};
    size_t tries = ts_scaled(200, 40), complete = 0;
    for (size_t i = 0; i < tries; i++) {
        attempt_t attempt = roll(&random);
        uint8_t byte = (uint8_t)(1 + i % 200);
        attempt.pair =
            ts_pair_make(connector, peer, (int)(i % 2), kind, attempt.spec, attempt.options);
        char cancel[64] = "";
        if ((attempt.cancels & THERE) != 0) {
            snprintf(cancel, sizeof cancel, " %" PRIu64 " %ld", attempt.at, attempt.spins);
        }
        ts_peer_send(peer, "settle %d %d %" PRIu64 " %d%s", attempt.pair.id, TS_BOUND_MS,
                     attempt.pair.seed, byte, cancel);
        ts_outcome_t mine = settle(&attempt, byte);
        check(&attempt, kind, mine, ts_peer_outcome(ts_peer_reply(peer)));
        complete += mine.status == ROPEWAY_STATUS_COMPLETE;
        /* The one before has been quiet all the while. */
        end_attempt(&last, (uint8_t)(1 + (i + 199) % 200));
        last = attempt;
    }
    end_attempt(&last, (uint8_t)(1 + (tries - 1) % 200));
    print_message("%zu complete, %zu cancelled\n", complete, tries - complete);
    assert_true(complete > 0 && complete < tries);
    assert_int_equal(ts_stats(connector).bytes_inflight, 0);
    ts_assert_works(connector, peer);
}

static void rule5_cancel_races_of_read_here(void **state) {
    (void)state;
    race(ROPEWAY_OPERATION_READ);
}

static void rule5_cancel_races_of_write_here(void **state) {
    (void)state;
    race(ROPEWAY_OPERATION_WRITE);
}

static void rule5_cancel_races_of_read_there(void **state) {
    (void)state;
    race(ROPEWAY_OPERATION_READABLE);
}

static void rule5_cancel_races_of_write_there(void **state) {
    (void)state;
    race(ROPEWAY_OPERATION_WRITABLE);
}

static const struct CMUnitTest tests[] = {
    TS_TEST(rule5_cancel_races_of_read_here),
    TS_TEST(rule5_cancel_races_of_write_here),
    TS_TEST(rule5_cancel_races_of_read_there),
    TS_TEST(rule5_cancel_races_of_write_there),
};

TS_LIST(ts_list_race, tests);
