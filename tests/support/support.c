/* SPDX-License-Identifier: Apache-2.0 */
/* The fixture: connectors, peers and operations of a test. */
#include "support.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

ts_fixture_t ts;

void ts_assert_error(ropeway_error_t got, ropeway_error_t want, const char *call, const char *file,
                     int line) {
    if (got != want) {
        print_error("%s returned %s (%s), not %s\n", call, ropeway_error_name(got),
                    ropeway_last_error(), ropeway_error_name(want));
        _fail(file, line);
    }
    if (want != ROPEWAY_OK && *ropeway_last_error() == '\0') {
        print_error("%s failed without a sentence\n", call);
        _fail(file, line);
    }
}

void ts_assert_status(ropeway_status_t got, ropeway_status_t want, const char *file, int line) {
    if (got != want) {
        print_error("the status is %s, not %s\n", ropeway_status_name(got),
                    ropeway_status_name(want));
        _fail(file, line);
    }
}

void ts_assert_outcome(ts_outcome_t got, ropeway_status_t want, ropeway_error_t error,
                       const char *file, int line) {
    bool text = *got.text != '\0';
    if (got.status != want || got.error != error || !got.guarded ||
        text != (want != ROPEWAY_STATUS_COMPLETE)) {
        print_error("%s, %s (\"%s\"), %llu of %llu bytes%s; not %s, %s\n",
                    ropeway_status_name(got.status), ropeway_error_name(got.error), got.text,
                    (unsigned long long)got.done, (unsigned long long)got.total,
                    got.guarded ? "" : ", and bytes around the descriptors were changed",
                    ropeway_status_name(want), ropeway_error_name(error));
        _fail(file, line);
    }
}

ropeway_connector_t *ts_connect(const char *options) {
    ts_option_texts_t texts;
    ropeway_connector_options_t chosen;
    ts_connector_options(options, &texts, &chosen);
    for (size_t i = 0; i < TS_CONNECTORS; i++) {
        if (ts.connectors[i] == NULL) {
            assert_ok(ropeway_connector_create(&chosen, &ts.connectors[i]));
            return ts.connectors[i];
        }
    }
    fail_msg("more than %d connectors", TS_CONNECTORS);
    return NULL;
}

ts_peer_t *ts_new_peer(const char *options) {
    for (size_t i = 0; i < TS_PEERS; i++) {
        if (ts.peers[i] == NULL) {
            ts.peers[i] = ts_peer_spawn();
            ts_peer_ask(ts.peers[i], "open %s", options);
            return ts.peers[i];
        }
    }
    fail_msg("more than %d peers", TS_PEERS);
    return NULL;
}

void ts_disconnect(ropeway_connector_t *connector) {
    for (size_t i = 0; i < TS_CONNECTORS; i++) {
        if (ts.connectors[i] == connector) {
            ts.connectors[i] = NULL;
        }
    }
    assert_ok(ropeway_connector_destroy(connector));
}

/* Tells a peer that runs to end by itself. */
static bool end_peer(ts_peer_t *peer) {
    if (peer->pid == 0) {
        return true;
    }
    ts_peer_continue(peer);
    ts_peer_send(peer, "quit");
    int status = ts_peer_reap(peer);
    if (status != 0) {
        print_error("the peer ended with status %d\n", status);
    }
    return status == 0;
}

void ts_drop_peer(ts_peer_t *peer) {
    for (size_t i = 0; i < TS_PEERS; i++) {
        if (ts.peers[i] == peer) {
            ts.peers[i] = NULL;
        }
    }
    bool ended = end_peer(peer);
    bool silent = ts_peer_free(peer);
    assert_true(ended && silent);
}

static ropeway_operation_t *keep(ropeway_operation_t *operation, ts_region_t *region) {
    for (size_t i = 0; i < TS_OPERATIONS; i++) {
        if (ts.operations[i].operation == NULL) {
            ts.operations[i].operation = operation;
            ts.operations[i].region = region;
            return operation;
        }
    }
    fail_msg("more than %d operations", TS_OPERATIONS);
    return NULL;
}

static ts_region_t *make_region(ropeway_operation_kind_t kind, const char *spec, uint64_t seed,
                                const char *options) {
    ts_region_t *region = ts_region_make(spec, options);
    if (!ts_receives(kind)) {
        ts_region_pattern(region, seed);
    }
    return region;
}

ropeway_operation_t *ts_create(ropeway_connector_t *connector, ropeway_operation_kind_t kind,
                               const char *spec, uint64_t seed, const char *options) {
    ropeway_operation_options_t chosen;
    ropeway_operation_t *operation;
    ts_region_t *region = make_region(kind, spec, seed, options);
    ts_operation_options(options, &chosen);
    ts_region_group(region, &chosen);
    assert_ok(
        (kind == ROPEWAY_OPERATION_READABLE ? ropeway_create_readable : ropeway_create_writable)(
            connector, region->descriptors, region->count, &chosen, &operation));
    return keep(operation, region);
}

ropeway_operation_t *ts_begin(ropeway_connector_t *connector, ropeway_operation_kind_t kind,
                              const char *spec, uint64_t seed, const char *options,
                              const char *metadata, size_t length) {
    ropeway_operation_options_t chosen;
    ropeway_operation_t *operation;
    ts_region_t *region = make_region(kind, spec, seed, options);
    ts_operation_options(options, &chosen);
    ts_region_group(region, &chosen);
    assert_ok((kind == ROPEWAY_OPERATION_READ ? ropeway_begin_read : ropeway_begin_write)(
        connector, metadata, length, region->descriptors, region->count, &chosen, &operation));
    return keep(operation, region);
}

void ts_move_between(ropeway_connector_t *owner, ropeway_connector_t *reader, const char *spec,
                     char path[256]) {
    const char *metadata;
    ropeway_operation_t *offer = ts_create(owner, ROPEWAY_OPERATION_READABLE, spec, 5, "");
    assert_ok(ropeway_operation_metadata(offer, &metadata));
    ropeway_operation_t *read =
        ts_begin(reader, ROPEWAY_OPERATION_READ, spec, 5, "", metadata, strlen(metadata));
    assert_complete(ts_wait(read));
    assert_complete(ts_wait(offer));
    assert_true(ts_region_matches(ts_region(read), 5));
    if (path != NULL) {
        ropeway_operation_path(read, path, 256);
    }
    ts_release(read);
    ts_release(offer);
}

ts_region_t *ts_region(ropeway_operation_t *operation) {
    for (size_t i = 0; i < TS_OPERATIONS; i++) {
        if (ts.operations[i].operation == operation) {
            return ts.operations[i].region;
        }
    }
    return NULL;
}

ts_region_t *ts_keep_region(ropeway_operation_t *operation) {
    for (size_t i = 0; i < TS_OPERATIONS; i++) {
        if (ts.operations[i].operation == operation) {
            ts.operations[i].operation = NULL;
            return ts.operations[i].region;
        }
    }
    fail_msg("an operation that the fixture does not know");
    return NULL;
}

void ts_release(ropeway_operation_t *operation) {
    ts_region_t *region = ts_keep_region(operation);
    ropeway_operation_release(operation);
    ts_region_free(region);
}

ropeway_operation_kind_t ts_other(ropeway_operation_kind_t kind) {
    switch (kind) {
    case ROPEWAY_OPERATION_READ:
        return ROPEWAY_OPERATION_READABLE;
    case ROPEWAY_OPERATION_WRITE:
        return ROPEWAY_OPERATION_WRITABLE;
    case ROPEWAY_OPERATION_READABLE:
        return ROPEWAY_OPERATION_READ;
    default:
        return ROPEWAY_OPERATION_WRITE;
    }
}

bool ts_receives(ropeway_operation_kind_t kind) {
    return kind == ROPEWAY_OPERATION_READ || kind == ROPEWAY_OPERATION_WRITABLE;
}

const char *ts_verb(ropeway_operation_kind_t kind) {
    static const char *const verbs[] = {"", "readable", "writable", "read", "write"};
    return verbs[kind];
}

ts_pair_t ts_pair_make(ropeway_connector_t *connector, ts_peer_t *peer, int id,
                       ropeway_operation_kind_t kind, const char *spec, const char *options) {
    return ts_pair_make_unlike(connector, peer, id, kind, spec, options, options);
}

ts_pair_t ts_pair_make_unlike(ropeway_connector_t *connector, ts_peer_t *peer, int id,
                              ropeway_operation_kind_t kind, const char *spec, const char *options,
                              const char *their_options) {
    static uint64_t seeds = 1000;
    ts_pair_t pair = {.peer = peer, .id = id, .seed = ++seeds};
    const char *verb = ts_verb(ts_other(kind));
    if (kind == ROPEWAY_OPERATION_READ || kind == ROPEWAY_OPERATION_WRITE) {
        size_t length;
        ts_peer_ask(peer, "%s %d %s %llu %s", verb, id, spec, (unsigned long long)pair.seed,
                    their_options);
        char *metadata = ts_peer_metadata(peer, id, &length);
        pair.operation = ts_begin(connector, kind, spec, pair.seed, options, metadata, length);
        free(metadata);
    } else {
        const char *metadata;
        pair.operation = ts_create(connector, kind, spec, pair.seed, options);
        assert_ok(ropeway_operation_metadata(pair.operation, &metadata));
        ropeway_error_t error = ts_peer_begin(peer, verb, id, spec, pair.seed, their_options,
                                              metadata, strlen(metadata));
        assert_string_equal(ropeway_error_name(error), "ROPEWAY_OK");
    }
    return pair;
}

void ts_pair_finish(ts_pair_t *pair) {
    ts_outcome_t mine = ts_wait(pair->operation), theirs = ts_peer_wait(pair->peer, pair->id);
    if (mine.status != ROPEWAY_STATUS_COMPLETE || theirs.status != ROPEWAY_STATUS_COMPLETE) {
        print_error("here %s %s (%s), there %s %s (%s)\n", ropeway_status_name(mine.status),
                    ropeway_error_name(mine.error), mine.text, ropeway_status_name(theirs.status),
                    ropeway_error_name(theirs.error), theirs.text);
    }
    assert_complete(mine);
    assert_complete(theirs);
    assert_int_equal(mine.done, mine.total);
    assert_int_equal(theirs.done, theirs.total);
    assert_int_equal(mine.total, ts_region(pair->operation)->total);
    assert_int_equal(theirs.total, mine.total);
    /* The receiver has the bytes, and the sender still has them. */
    assert_true(ts_region_matches(ts_region(pair->operation), pair->seed));
    assert_int_equal(
        ts_peer_number(pair->peer, "matches %d %llu", pair->id, (unsigned long long)pair->seed), 1);
    ts_pair_release(pair);
}

void ts_pair_release(ts_pair_t *pair) {
    ts_release(pair->operation);
    ts_peer_ask(pair->peer, "release %d", pair->id);
    pair->operation = NULL;
}

void ts_assert_works(ropeway_connector_t *connector, ts_peer_t *peer) {
    for (int kind = ROPEWAY_OPERATION_READABLE; kind <= ROPEWAY_OPERATION_WRITE; kind++) {
        ts_pair_t pair =
            ts_pair_make(connector, peer, 4000, (ropeway_operation_kind_t)kind, "4096,3,70000", "");
        ts_pair_finish(&pair);
    }
}

void ts_assert_recovers(ropeway_connector_t *connector, ts_peer_t *peer) {
    for (int kind = ROPEWAY_OPERATION_WRITABLE; kind <= ROPEWAY_OPERATION_READ; kind++) {
        ts_pair_t pair =
            ts_pair_make(connector, peer, 4001, (ropeway_operation_kind_t)kind, "70000", "");
        ts_outcome_t active =
            kind == ROPEWAY_OPERATION_READ ? ts_wait(pair.operation) : ts_peer_wait(peer, pair.id);
        if (active.status == ROPEWAY_STATUS_COMPLETE) {
            ts_pair_finish(&pair);
        } else {
            bool told = active.error == ROPEWAY_ERR_PEER_CLOSED ||
                        active.error == ROPEWAY_ERR_PEER_LOST ||
                        active.error == ROPEWAY_ERR_UNREACHABLE;
            assert_ended(active, ROPEWAY_STATUS_ERRORED,
                         told ? active.error : ROPEWAY_ERR_PEER_CLOSED);
            ts_pair_release(&pair);
        }
    }
    ts_assert_works(connector, peer);
}

bool ts_await_progress(ropeway_operation_t *operation, uint64_t bytes) {
    double end = ts_now() + TS_BOUND_MS / 1000.0;
    while (ropeway_operation_status(operation) < ROPEWAY_STATUS_COMPLETE) {
        uint64_t done;
        ropeway_operation_progress(operation, &done, NULL);
        if (done >= bytes) {
            return true;
        }
        if (ts_now() > end) {
            fail_msg("no %llu bytes moved in %d ms", (unsigned long long)bytes, TS_BOUND_MS);
        }
        sched_yield();
    }
    return false;
}

ts_outcome_t ts_outcome(const ropeway_operation_t *operation) {
    ts_outcome_t outcome = {.matches = -1, .guarded = 1};
    outcome.status = ropeway_operation_status(operation);
    outcome.error = ropeway_operation_error(operation);
    ropeway_operation_progress(operation, &outcome.done, &outcome.total);
    snprintf(outcome.text, sizeof outcome.text, "%s", ropeway_operation_error_text(operation));
    ts_region_t *region = ts_region((ropeway_operation_t *)operation);
    outcome.guarded = region == NULL || ts_region_guarded(region);
    return outcome;
}

/* Over RDMA: says by which device the bytes went, and that it was one. */
static void name_path(const ropeway_operation_t *operation, uint64_t bytes) {
    char path[256];
    if (bytes == 0 || !ts_transport_is_rdma() ||
        ropeway_operation_path(operation, path, sizeof path) == 0) {
        return;
    }
    print_message("over %s\n", path);
    if (strstr(path, "_verbs/rxe") == NULL) {
        fail_msg("%llu bytes went by no RDMA device, but by \"%s\"", (unsigned long long)bytes,
                 path);
    }
}

ts_outcome_t ts_wait(ropeway_operation_t *operation) {
    ropeway_operation_wait(operation, TS_BOUND_MS);
    ts_outcome_t outcome = ts_outcome(operation);
    if (outcome.status == ROPEWAY_STATUS_COMPLETE) {
        name_path(operation, outcome.total);
    }
    return outcome;
}

ropeway_stats_t ts_stats(ropeway_connector_t *connector) {
    ropeway_stats_t stats;
    assert_ok(ropeway_connector_stats(connector, &stats, sizeof stats));
    return stats;
}

void ts_assert_sleeps(ropeway_connector_t *connector, int span_ms, double share,
                      unsigned wakeups_per_second) {
    for (double end = ts_now() + TS_BOUND_MS / 1000.0; ts_now() < end;) {
        double start = ts_now(), cpu = ts_cpu_seconds();
        uint64_t wakeups = ts_stats(connector).wakeups;
        poll(NULL, 0, span_ms);
        cpu = ts_cpu_seconds() - cpu;
        wakeups = ts_stats(connector).wakeups - wakeups;
        double wall = ts_now() - start;
        print_message("idle: %.1f ms CPU in %.1f s (%.3f %%), %llu wake-ups\n", cpu * 1e3, wall,
                      cpu / wall * 100, (unsigned long long)wakeups);
        if (cpu < share * wall && (double)wakeups <= wakeups_per_second * wall) {
            return;
        }
    }
    fail_msg("the connector does not come to rest");
}

int ts_group_setup(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ropeway_connector_t *other = ts_connect("");
    ropeway_operation_t *readable =
        ts_create(connector, ROPEWAY_OPERATION_READABLE, "1000000", 1, "");
    const char *metadata;
    assert_ok(ropeway_operation_metadata(readable, &metadata));
    ropeway_operation_t *read =
        ts_begin(other, ROPEWAY_OPERATION_READ, "1000000", 1, "", metadata, strlen(metadata));
    assert_complete(ts_wait(read));
    assert_complete(ts_wait(readable));
    ts_release(readable);
    ts_release(read);
    ts_disconnect(connector);
    ts_disconnect(other);
    return 0;
}

int ts_setup(void **state) {
    (void)state;
    /* A test that hangs is ended by the signal, and named by the last line of output. */
    alarm(ts_sanitized() ? 600 : 300);
    memset(&ts, 0, sizeof ts);
    ts.before = ts_usage(0);
    return 0;
}

/* What is open, for who looks for a leak. */
static void list_descriptors(void) {
    for (int fd = 3; fd < 256; fd++) {
        char path[64], target[256];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(path, target, sizeof target - 1);
        if (length > 0) {
            print_error("%d: %.*s\n", fd, (int)length, target);
        }
    }
}

int ts_teardown(void **state) {
    (void)state;
    bool fine = true;
    for (size_t i = 0; i < TS_CONNECTORS; i++) {
        fine &= ropeway_connector_destroy(ts.connectors[i]) == ROPEWAY_OK;
    }
    for (size_t i = 0; i < TS_OPERATIONS; i++) {
        if (ts.operations[i].operation != NULL) {
            ts_release(ts.operations[i].operation);
        }
    }
    for (size_t i = 0; i < TS_PEERS; i++) {
        if (ts.peers[i] != NULL) {
            fine &= end_peer(ts.peers[i]);
            fine &= ts_peer_free(ts.peers[i]);
        }
    }
    ts_usage_t after;
    if (!ts_usage_back(&ts.before, &after)) {
        list_descriptors();
        print_error("leaked: %zu descriptors before, %zu after; %zu threads before, %zu after\n",
                    ts.before.descriptors, after.descriptors, ts.before.threads, after.threads);
        fine = false;
    }
    alarm(0);
    return fine ? 0 : -1;
}

int ts_main(const char *program, int argc, char **argv, const ts_list_t *const *lists,
            size_t count) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s TRANSPORT\n", argv[0]);
        return 2;
    }
    ts_transport_init(argv[1]);
    signal(SIGPIPE, SIG_IGN); /* a peer that ended fails its test, and not the program */
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        total += lists[i]->count;
    }
    struct CMUnitTest *tests = calloc(total, sizeof *tests);
    if (tests == NULL) {
        return 1;
    }
    total = 0;
    for (size_t i = 0; i < count; i++) {
        memcpy(tests + total, lists[i]->tests, lists[i]->count * sizeof *tests);
        total += lists[i]->count;
    }
    char name[128];
    snprintf(name, sizeof name, "%s, %s", program, ts_transport_name());
    cmocka_set_test_filter(getenv("ROPEWAY_TEST_FILTER"));
    setvbuf(stdout, NULL, _IOLBF, 0);
    int failed = _cmocka_run_group_tests(name, tests, total, ts_group_setup, NULL);
    free(tests);
    return failed == 0 ? 0 : 1;
}
