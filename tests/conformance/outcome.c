/* SPDX-License-Identifier: Apache-2.0 */
/* Rules 1 and 2: begin begins; an operation has one outcome, and it never changes. */
#include "lists.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void rule1_begin_begins_without_a_wait_or_poll_of_the_beginner(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    static const ropeway_operation_kind_t kinds[] = {ROPEWAY_OPERATION_READ,
                                                     ROPEWAY_OPERATION_WRITE};
    for (size_t i = 0; i < 2; i++) {
        /* Nothing is called for this operation until the other process has seen it end. */
        ts_pair_t pair = ts_pair_make(connector, peer, 0, kinds[i], "20000003", "");
        assert_complete(ts_peer_wait(peer, 0));
        ts_pair_finish(&pair);
    }
}

static void rule1_begin_begins_without_a_wait_or_poll_of_the_owner(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    static const ropeway_operation_kind_t kinds[] = {ROPEWAY_OPERATION_READABLE,
                                                     ROPEWAY_OPERATION_WRITABLE};
    for (size_t i = 0; i < 2; i++) {
        ts_pair_t pair = ts_pair_make(connector, peer, 0, kinds[i], "20000003", "");
        assert_complete(ts_peer_wait(peer, 0));
        ts_pair_finish(&pair);
    }
}

static void rule2_statuses_go_from_initialized_to_complete(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    ropeway_operation_t *readable = ts_create(connector, ROPEWAY_OPERATION_READABLE, "9,8", 1, "");
    ts_outcome_t outcome = ts_outcome(readable);
    assert_int_equal(outcome.status, ROPEWAY_STATUS_INITIALIZED);
    assert_int_equal(outcome.error, ROPEWAY_OK);
    assert_string_equal(outcome.text, "");
    assert_int_equal(outcome.done, 0);
    assert_int_equal(outcome.total, 17);
    assert_string_equal(ropeway_operation_peer(readable), "");
    assert_int_equal(ropeway_operation_path(readable, NULL, 0), 0);
    ts_pair_t pair = ts_pair_make(connector, peer, 0, ROPEWAY_OPERATION_READ, "70000000", "");
    ropeway_status_t status = ropeway_operation_status(pair.operation);
    assert_true(status == ROPEWAY_STATUS_IN_PROGRESS || status == ROPEWAY_STATUS_COMPLETE);
    ts_pair_finish(&pair);
}

/* Waits until a deadline of operations that were made before has passed. */
static void outlive(ropeway_connector_t *connector, const char *deadline) {
    ropeway_operation_t *late = ts_create(connector, ROPEWAY_OPERATION_READABLE, "1", 1, deadline);
    assert_ended(ts_wait(late), ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_DEADLINE);
    ts_release(late);
}

/* A transfer that is complete on both sides before its limits, which have then passed. A machine
 * that is too busy for them gets longer ones. */
static ts_pair_t complete_in_time(ropeway_connector_t *connector, ts_peer_t *peer,
                                  ropeway_operation_kind_t kind) {
    ts_pair_t pair;
    for (int limit_ms = 250;; limit_ms *= 2) {
        char limits[64];
        snprintf(limits, sizeof limits, "deadline_ms=%d stall_ms=%d", limit_ms, limit_ms);
        pair = ts_pair_make(connector, peer, 0, kind, "50000", limits);
        ts_outcome_t mine = ts_wait(pair.operation), theirs = ts_peer_wait(peer, 0);
        if (limit_ms > TS_BOUND_MS ||
            (mine.status == ROPEWAY_STATUS_COMPLETE && theirs.status == ROPEWAY_STATUS_COMPLETE)) {
            assert_complete(mine);
            assert_complete(theirs);
            outlive(connector, limits);
            return pair;
        }
        ts_pair_release(&pair);
    }
}

static void rule2_complete_stays_complete(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    for (int kind = ROPEWAY_OPERATION_READABLE; kind <= ROPEWAY_OPERATION_WRITE; kind++) {
        ts_peer_t *peer = ts_new_peer("");
        ts_pair_t pair = complete_in_time(connector, peer, (ropeway_operation_kind_t)kind);
        assert_fails(ropeway_operation_cancel(pair.operation), ROPEWAY_ERR_FINISHED);
        assert_int_equal(ts_peer_number(peer, "cancel 0 0 0"), ROPEWAY_ERR_FINISHED);
        assert_complete(ts_outcome(pair.operation));
        assert_complete(ts_peer_wait(peer, 0));
        /* Not even the peer's death, or the end of the connector, is news to it. */
        ts_peer_kill(peer);
        ts_drop_peer(peer);
        assert_ok(ropeway_operation_wait(pair.operation, 0));
        assert_complete(ts_outcome(pair.operation));
    }
    ts_disconnect(connector);
    for (size_t i = 0; i < 4; i++) {
        assert_complete(ts_outcome(ts.operations[i].operation));
    }
}

static void rule2_cancelled_and_errored_stay_so(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ropeway_operation_t *cancelled;
    char limit[32];
    /* Until a cancel came before the deadline. */
    for (int limit_ms = 100;; limit_ms *= 2) {
        snprintf(limit, sizeof limit, "deadline_ms=%d", limit_ms);
        cancelled = ts_create(connector, ROPEWAY_OPERATION_READABLE, "10", 1, limit);
        ropeway_error_t error = ropeway_operation_cancel(cancelled);
        if (error == ROPEWAY_OK || limit_ms > TS_BOUND_MS) {
            assert_int_equal(error, ROPEWAY_OK);
            break;
        }
        ts_release(cancelled);
    }
    ropeway_operation_t *errored = ts_create(connector, ROPEWAY_OPERATION_WRITABLE, "10", 1, limit);
    assert_ended(ts_wait(cancelled), ROPEWAY_STATUS_CANCELLED, ROPEWAY_ERR_CANCELLED);
    assert_ended(ts_wait(errored), ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_DEADLINE);
    assert_fails(ropeway_operation_cancel(cancelled), ROPEWAY_ERR_FINISHED);
    assert_fails(ropeway_operation_cancel(errored), ROPEWAY_ERR_FINISHED);
    ts_disconnect(connector);
    assert_ended(ts_outcome(cancelled), ROPEWAY_STATUS_CANCELLED, ROPEWAY_ERR_CANCELLED);
    assert_ended(ts_outcome(errored), ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_DEADLINE);
}

static void rule2_status_and_device_names_are_upstreams(void **state) {
    (void)state;
    assert_string_equal(ropeway_status_name(ROPEWAY_STATUS_UNINITIALIZED), "UNINIT");
    assert_string_equal(ropeway_status_name(ROPEWAY_STATUS_INITIALIZED), "INIT");
    assert_string_equal(ropeway_status_name(ROPEWAY_STATUS_IN_PROGRESS), "PROC");
    assert_string_equal(ropeway_status_name(ROPEWAY_STATUS_COMPLETE), "DONE");
    assert_string_equal(ropeway_status_name(ROPEWAY_STATUS_CANCELLED), "STOP");
    assert_string_equal(ropeway_status_name(ROPEWAY_STATUS_ERRORED), "ERR");
    assert_string_equal(ropeway_status_name((ropeway_status_t)77), "UNINIT");
}

static void progress_never_goes_back_and_ends_at_the_total(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("chunk_size=65536 window=2");
    ts_peer_t *peer = ts_new_peer("chunk_size=65536 window=2");
    for (int kind = ROPEWAY_OPERATION_READABLE; kind <= ROPEWAY_OPERATION_WRITE; kind++) {
        ts_pair_t pair =
            ts_pair_make(connector, peer, 0, (ropeway_operation_kind_t)kind, "16777219,5", "");
        uint64_t before = 0, done = 0, total = 0;
        while (ropeway_operation_status(pair.operation) < ROPEWAY_STATUS_COMPLETE) {
            ropeway_operation_progress(pair.operation, &done, &total);
            assert_true(done >= before);
            assert_true(done <= total);
            assert_int_equal(total, 16777224);
            before = done;
        }
        ropeway_operation_progress(pair.operation, NULL, NULL);
        ts_pair_finish(&pair);
    }
}

static void an_operation_tells_its_kind_peer_path_and_user_data(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("name=teller");
    ts_peer_t *peer = ts_new_peer("name=the-other");
    assert_string_equal(ropeway_connector_name(connector), "teller");
    for (int kind = ROPEWAY_OPERATION_READABLE; kind <= ROPEWAY_OPERATION_WRITE; kind++) {
        ts_pair_t pair =
            ts_pair_make(connector, peer, 0, (ropeway_operation_kind_t)kind, "5000000", "");
        char path[256], cut[4] = "xxx";
        assert_int_equal(ropeway_operation_kind(pair.operation), kind);
        assert_complete(ts_wait(pair.operation));
        assert_string_equal(ropeway_operation_peer(pair.operation), "the-other");
        assert_string_equal(ts_peer_ask(peer, "peer 0"), "teller");
        size_t length = ropeway_operation_path(pair.operation, path, sizeof path);
        assert_int_equal(length, strlen(path));
        assert_true(length > 0);
        bool by_queue = ts_transport_is("queue");
        bool in_memory = ts_transport_is("memory"), local = ts_transport_is("local");
        bool by_pull = ts_transport_is("default");
        assert_int_equal(strstr(path, "memory") == path, in_memory);
        assert_int_equal(strcmp(path, "local") == 0 || by_pull, local || by_pull);
        assert_int_equal(strncmp(path, "local", 5) == 0, local || by_pull);
        assert_int_equal(strstr(path, "tcp") != NULL,
                         !by_queue && !in_memory && !local && !by_pull && !ts_transport_is_rdma());
        assert_int_equal(strstr(path, "_verbs/rxe0:1") != NULL, ts_transport_is_rdma());
        assert_int_equal(strstr(path, "posix") != NULL || strstr(path, "sysv") != NULL, by_queue);
        assert_int_equal(strstr(path, "cma") != NULL,
                         ts_transport_is("host") || ts_transport_is("mixed") || by_queue);
        assert_int_equal(ropeway_operation_path(pair.operation, cut, sizeof cut), length);
        assert_int_equal(strlen(cut), 3);
        ts_pair_finish(&pair);
    }
    char byte;
    ropeway_descriptor_t descriptor = {&byte, 1, {ROPEWAY_DEVICE_HOST, 0}};
    ropeway_operation_options_t options;
    ropeway_operation_t *operation;
    ropeway_operation_options_init(&options, sizeof options);
    options.user_data = &byte;
    assert_ok(ropeway_create_readable(connector, &descriptor, 1, &options, &operation));
    assert_ptr_equal(ropeway_operation_user_data(operation), &byte);
    ropeway_operation_release(operation);
}

static void statistics_count_what_happened(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    ropeway_stats_t start = ts_stats(connector);
    for (int kind = ROPEWAY_OPERATION_READABLE; kind <= ROPEWAY_OPERATION_WRITE; kind++) {
        ts_pair_t pair =
            ts_pair_make(connector, peer, 0, (ropeway_operation_kind_t)kind, "1000,0,9", "");
        ts_pair_finish(&pair);
    }
    ropeway_operation_t *live = ts_create(connector, ROPEWAY_OPERATION_READABLE, "1", 1, "");
    ropeway_operation_t *late =
        ts_create(connector, ROPEWAY_OPERATION_READABLE, "1", 1, "deadline_ms=1");
    ropeway_operation_t *stopped = ts_create(connector, ROPEWAY_OPERATION_READABLE, "1", 1, "");
    assert_ok(ropeway_operation_cancel(stopped));
    ts_wait(stopped);
    ts_wait(late);
    ropeway_stats_t stats = ts_stats(connector);
    assert_int_equal(stats.struct_size, sizeof stats);
    assert_int_equal(stats.operations_created - start.operations_created, 7);
    assert_int_equal(stats.operations_completed - start.operations_completed, 4);
    assert_int_equal(stats.operations_cancelled, 1);
    assert_int_equal(stats.operations_errored, 1);
    assert_int_equal(stats.operations_live, 1);
    assert_int_equal(stats.bytes_sent - start.bytes_sent, 2 * 1009);
    assert_int_equal(stats.bytes_received - start.bytes_received, 2 * 1009);
    assert_int_equal(stats.bytes_inflight, 0);
    assert_int_equal(stats.peers, ts_transport_connections());
    assert_int_equal(stats.peers_failed, 0);
    assert_int_equal(stats.requests_rejected, 0);
    ropeway_stats_t before;
    memset(&before, 0xAB, sizeof before);
    assert_ok(ropeway_connector_stats(connector, &before, offsetof(ropeway_stats_t, peers)));
    assert_int_equal(before.operations_created, stats.operations_created);
    assert_int_equal(before.peers, 0xABABABABABABABABu);
    ts_release(live);
    assert_int_equal(ts_stats(connector).operations_live, 0);
    assert_int_equal(ts_stats(connector).operations_cancelled, 2);
}

/* The kernel refuses to read it, on behalf of either side: neither has gone. */
static void memory_that_can_not_be_read_is_no_peer_that_has_gone(void **state) {
    (void)state;
    if (!ts_transport_is("default") && !ts_transport_is("host") && !ts_transport_is("tcp")) {
        skip(); /* where we copy it ourselves that is a fault, and the application's */
    }
    enum { SIZE = 1 << 20 };
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    ts_assert_works(connector, peer);
    uint8_t *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    ropeway_descriptor_t descriptor = {memory, SIZE, {ROPEWAY_DEVICE_HOST, 0}};
    ropeway_operation_t *offer;
    const char *metadata;
    assert_ok(ropeway_create_readable(connector, &descriptor, 1, NULL, &offer));
    assert_ok(ropeway_operation_metadata(offer, &metadata));
    assert_int_equal(mprotect(memory + SIZE / 2, SIZE / 2, PROT_NONE), 0);
    assert_ok(ts_peer_begin(peer, "read", 0, "1048576", 1, "", metadata, strlen(metadata)));
    ts_outcome_t outcomes[] = {ts_wait(offer), ts_peer_wait(peer, 0)};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(outcomes[i].status, ROPEWAY_STATUS_ERRORED);
        if (strstr(outcomes[i].text, "gone") != NULL || strstr(outcomes[i].text, "alive") != NULL ||
            strstr(outcomes[i].text, "memory") == NULL) {
            fail_msg("\"%s\"", outcomes[i].text);
        }
    }
    ropeway_operation_release(offer);
    munmap(memory, SIZE);
    ts_assert_works(connector, peer);
}

static const struct CMUnitTest tests[] = {
    TS_TEST(memory_that_can_not_be_read_is_no_peer_that_has_gone),
    TS_TEST(rule1_begin_begins_without_a_wait_or_poll_of_the_beginner),
    TS_TEST(rule1_begin_begins_without_a_wait_or_poll_of_the_owner),
    TS_TEST(rule2_statuses_go_from_initialized_to_complete),
    TS_TEST(rule2_complete_stays_complete),
    TS_TEST(rule2_cancelled_and_errored_stay_so),
    TS_TEST(rule2_status_and_device_names_are_upstreams),
    TS_TEST(progress_never_goes_back_and_ends_at_the_total),
    TS_TEST(an_operation_tells_its_kind_peer_path_and_user_data),
    TS_TEST(statistics_count_what_happened),
};

TS_LIST(ts_list_outcome, tests);
