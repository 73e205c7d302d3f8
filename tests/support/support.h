/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every behaviour test uses: cmocka, assertions that name Ropeway's errors, and a fixture that
 * ends each test with a check for leaked descriptors and threads.
 */
#ifndef TS_SUPPORT_H
#define TS_SUPPORT_H

#include "options.h"
#include "peer.h"
#include "process.h"
#include "region.h"
#include "ropeway.h"
#include "transport.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define assert_ok(call) ts_assert_error((call), ROPEWAY_OK, #call, __FILE__, __LINE__)
/* Also checks that a failed call leaves a sentence. */
#define assert_fails(call, error) ts_assert_error((call), (error), #call, __FILE__, __LINE__)
#define assert_status(operation, want)                                                             \
    ts_assert_status(ropeway_operation_status(operation), (want), __FILE__, __LINE__)
#define assert_ended(outcome, want, error)                                                         \
    ts_assert_outcome((outcome), (want), (error), __FILE__, __LINE__)
#define assert_complete(outcome) assert_ended(outcome, ROPEWAY_STATUS_COMPLETE, ROPEWAY_OK)

void ts_assert_error(ropeway_error_t got, ropeway_error_t want, const char *call, const char *file,
                     int line);
void ts_assert_status(ropeway_status_t got, ropeway_status_t want, const char *file, int line);
void ts_assert_outcome(ts_outcome_t got, ropeway_status_t want, ropeway_error_t error,
                       const char *file, int line);

#define TS_CONNECTORS 4
#define TS_PEERS 4
#define TS_OPERATIONS 512

/* What a test made; the teardown gives back what is left. */
typedef struct ts_fixture {
    ropeway_connector_t *connectors[TS_CONNECTORS];
    ts_peer_t *peers[TS_PEERS];
    struct {
        ropeway_operation_t *operation;
        ts_region_t *region;
    } operations[TS_OPERATIONS];
    ts_usage_t before;
} ts_fixture_t;

/* The fixture of the running test. */
extern ts_fixture_t ts;

/* The group's set-up, which lets UCX make what it keeps for the life of the process. */
int ts_group_setup(void **state);
int ts_setup(void **state);
int ts_teardown(void **state);

#define TS_TEST(function) cmocka_unit_test_setup_teardown(function, ts_setup, ts_teardown)

/* A connector or peer that the teardown ends; options: see options.h. */
ropeway_connector_t *ts_connect(const char *options);
ts_peer_t *ts_new_peer(const char *options);
/* Ends it now. */
void ts_disconnect(ropeway_connector_t *connector);
void ts_drop_peer(ts_peer_t *peer);

/* Lets one connector of this process read what the other one offers, once; path: NULL, or how the
 * bytes went. */
void ts_move_between(ropeway_connector_t *owner, ropeway_connector_t *reader, const char *spec,
                     char path[256]);

/* An operation of this process with memory of its own, which the teardown gives back. Senders hold
 * the pattern of seed. options: also those of ts_region_make(). */
ropeway_operation_t *ts_create(ropeway_connector_t *connector, ropeway_operation_kind_t kind,
                               const char *spec, uint64_t seed, const char *options);
ropeway_operation_t *ts_begin(ropeway_connector_t *connector, ropeway_operation_kind_t kind,
                              const char *spec, uint64_t seed, const char *options,
                              const char *metadata, size_t length);
ts_region_t *ts_region(ropeway_operation_t *operation);
void ts_release(ropeway_operation_t *operation);
/* The operation and its memory become the test's own to give back. */
ts_region_t *ts_keep_region(ropeway_operation_t *operation);

/* The kind on the other side of a transfer; whether an operation of a kind gets bytes. */
ropeway_operation_kind_t ts_other(ropeway_operation_kind_t kind);
bool ts_receives(ropeway_operation_kind_t kind);
const char *ts_verb(ropeway_operation_kind_t kind);

/* One transfer between this process, whose operation is of the given kind, and the peer's operation
 * id. ts_pair_make() begins it; ts_pair_finish() waits for COMPLETE on both sides, checks every
 * byte, and releases both. */
typedef struct ts_pair {
    ropeway_operation_t *operation;
    ts_peer_t *peer;
    int id;
    uint64_t seed;
} ts_pair_t;

ts_pair_t ts_pair_make(ropeway_connector_t *connector, ts_peer_t *peer, int id,
                       ropeway_operation_kind_t kind, const char *spec, const char *options);
/* The same where the two sides' options differ. */
ts_pair_t ts_pair_make_unlike(ropeway_connector_t *connector, ts_peer_t *peer, int id,
                              ropeway_operation_kind_t kind, const char *spec, const char *options,
                              const char *their_options);
void ts_pair_finish(ts_pair_t *pair);
void ts_pair_release(ts_pair_t *pair);
/* A small transfer of each kind works. */
void ts_assert_works(ropeway_connector_t *connector, ts_peer_t *peer);

/* The same, once the peer goes on after this side gave up its connection: each side may begin one
 * operation on it before it learns that, which ends in ERR_PEER_CLOSED, or in ERR_PEER_LOST or
 * ERR_UNREACHABLE when UCX tells first. */
void ts_assert_recovers(ropeway_connector_t *connector, ts_peer_t *peer);

/* Waits until this operation has moved bytes; false when it ended before. */
bool ts_await_progress(ropeway_operation_t *operation, uint64_t bytes);

ts_outcome_t ts_outcome(const ropeway_operation_t *operation);
/* Waits at most TS_BOUND_MS. */
ts_outcome_t ts_wait(ropeway_operation_t *operation);
ropeway_stats_t ts_stats(ropeway_connector_t *connector);

/* Within TS_BOUND_MS there is a span of span_ms in which this process takes less than that share of
 * a core, and the connector wakes at most so often a second. One that never comes to rest has none;
 * the first may still see the end of what was done before. */
void ts_assert_sleeps(ropeway_connector_t *connector, int span_ms, double share,
                      unsigned wakeups_per_second);

/* The tests of one file. */
typedef struct ts_list {
    const struct CMUnitTest *tests;
    size_t count;
} ts_list_t;

/* Defines the list that a file gives to its program's main. */
#define TS_LIST(list, array) const ts_list_t list = {array, sizeof array / sizeof *array}

/* The main function of a test program: runs the lists as one, by the transport that argv names.
 * ROPEWAY_TEST_FILTER picks tests by a pattern with "*" and "?". */
int ts_main(const char *program, int argc, char **argv, const ts_list_t *const *lists,
            size_t count);

#endif
