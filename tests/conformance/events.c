/* SPDX-License-Identifier: Apache-2.0 */
/* Rule 2: the callback, the event queue and the waiters tell one outcome, each once. */
#include "lists.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint8_t memory[140000];
static const ropeway_descriptor_t descriptor = {memory, sizeof memory, {ROPEWAY_DEVICE_HOST, 0}};

typedef struct calls {
    atomic_int count;
    atomic_int status;
    atomic_int returned; /* what a function called inside returned */
    ropeway_connector_t *connector;
    ropeway_operation_t *next;
    char *metadata;
} calls_t;

static void count_call(ropeway_operation_t *operation, void *arg) {
    calls_t *calls = arg;
    atomic_store(&calls->status, (int)ropeway_operation_status(operation));
    atomic_fetch_add(&calls->count, 1);
}

/* Waits until the callback has run as often as it should, and sees that it ran no more often. */
static void assert_called_once(calls_t *calls, ropeway_status_t status) {
    double end = ts_now() + TS_BOUND_MS / 1000.0;
    while (atomic_load(&calls->count) == 0 && ts_now() < end) {
        poll(NULL, 0, 1);
    }
    assert_int_equal(atomic_load(&calls->count), 1);
    assert_int_equal(atomic_load(&calls->status), status);
}

static ropeway_operation_t *readable(ropeway_connector_t *connector, uint32_t flags,
                                     uint32_t deadline_ms, ropeway_operation_fn callback,
                                     void *arg) {
    ropeway_operation_options_t options;
    ropeway_operation_t *operation;
    ropeway_operation_options_init(&options, sizeof options);
    options.flags = flags;
    options.deadline_ms = deadline_ms;
    options.callback = callback;
    options.callback_arg = arg;
    assert_ok(ropeway_create_readable(connector, &descriptor, 1, &options, &operation));
    return operation;
}

static void rule2_the_callback_runs_once_for_each_outcome(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    calls_t complete = {0}, cancelled = {0}, errored = {0}, destroyed = {0};
    ropeway_operation_t *operations[] = {
        readable(connector, 0, 0, count_call, &complete),
        readable(connector, 0, 0, count_call, &cancelled),
        readable(connector, 0, 1, count_call, &errored),
        readable(connector, 0, 0, count_call, &destroyed),
    };
    const char *metadata;
    assert_ok(ropeway_operation_metadata(operations[0], &metadata));
    assert_int_equal(ts_peer_begin(peer, "read", 0, "140000", 0, "", metadata, strlen(metadata)),
                     ROPEWAY_OK);
    assert_ok(ropeway_operation_cancel(operations[1]));
    assert_called_once(&complete, ROPEWAY_STATUS_COMPLETE);
    assert_called_once(&cancelled, ROPEWAY_STATUS_CANCELLED);
    assert_called_once(&errored, ROPEWAY_STATUS_ERRORED);
    assert_int_equal(atomic_load(&destroyed.count), 0);
    ts_disconnect(connector);
    assert_int_equal(atomic_load(&destroyed.count), 1);
    assert_int_equal(atomic_load(&destroyed.status), ROPEWAY_STATUS_CANCELLED);
    for (size_t i = 0; i < 4; i++) {
        ropeway_operation_release(operations[i]);
    }
    assert_int_equal(complete.count + cancelled.count + errored.count + destroyed.count, 4);
}

static void rule2_release_waits_for_the_callback(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    for (int i = 0; i < 100; i++) {
        calls_t calls = {0};
        ropeway_operation_t *operation = readable(connector, 0, 0, count_call, &calls);
        if (i % 2 == 0) {
            assert_ok(ropeway_operation_cancel(operation));
        }
        ropeway_operation_release(operation);
        assert_int_equal(atomic_load(&calls.count), 1);
    }
}

/* Where the operation is to be found, by the time of its callback. */
typedef struct place {
    ropeway_operation_t *operation;
    atomic_int found;
} place_t;

static void look_into_place(ropeway_operation_t *operation, void *arg) {
    place_t *place = arg;
    atomic_store(&place->found, place->operation == operation ? 1 : -1);
}

/* It may run before the call that makes the operation returns: most that fail end inside of it. */
static void rule2_a_callback_finds_the_operation_where_its_maker_put_it(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect(""), *gone = ts_connect("");
    ropeway_operation_t *offer = ts_create(gone, ROPEWAY_OPERATION_READABLE, "140000", 3, "");
    const char *text;
    assert_ok(ropeway_operation_metadata(offer, &text));
    char *metadata = strdup(text);
    ropeway_operation_options_t options;
    ropeway_operation_options_init(&options, sizeof options);
    options.callback = look_into_place;
    for (size_t i = 0; i < ts_scaled(1000, 200); i++) {
        place_t place = {0};
        options.callback_arg = &place;
        if (i == 1) {
            ts_release(offer);
            ts_disconnect(gone);
        }
        if (ropeway_begin_read(connector, metadata, strlen(metadata), &descriptor, 1, &options,
                               &place.operation) == ROPEWAY_OK) {
            ropeway_operation_release(place.operation); /* waits for the callback */
            assert_int_equal(atomic_load(&place.found), 1);
        }
    }
    free(metadata);
}

static void release_and_go_on(ropeway_operation_t *operation, void *arg) {
    calls_t *calls = arg;
    atomic_store(&calls->returned, (int)ropeway_connector_destroy(calls->connector));
    ropeway_operation_release(operation);
    if (calls->metadata != NULL) {
        ropeway_operation_options_t options;
        ropeway_operation_options_init(&options, sizeof options);
        options.callback = count_call;
        options.callback_arg = calls;
        if (ropeway_begin_read(calls->connector, calls->metadata, strlen(calls->metadata),
                               &descriptor, 1, &options, &calls->next) != ROPEWAY_OK) {
            atomic_fetch_add(&calls->count, 100);
        }
    }
}

static void rule2_a_callback_may_release_and_begin_but_not_destroy(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    calls_t calls = {.connector = connector};
    ts_peer_ask(peer, "readable 0 140000 3");
    calls.metadata = ts_peer_metadata(peer, 0, NULL);
    ropeway_operation_t *first = readable(connector, 0, 0, release_and_go_on, &calls);
    assert_ok(ropeway_operation_cancel(first));
    assert_called_once(&calls, ROPEWAY_STATUS_COMPLETE);
    assert_int_equal(atomic_load(&calls.returned), ROPEWAY_ERR_BUSY);
    assert_complete(ts_peer_wait(peer, 0));
    ropeway_operation_release(calls.next);
    free(calls.metadata);
    ts_assert_works(connector, peer);
}

static void take_its_time(ropeway_operation_t *operation, void *arg) {
    char byte;
    (void)operation;
    if (read(*(int *)arg, &byte, 1) != 1) {
        abort();
    }
}

static void rule1_a_callback_that_takes_its_time_holds_up_no_transfer(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    int gate[2];
    assert_int_equal(pipe(gate), 0);
    ropeway_operation_t *slow = readable(connector, 0, 0, take_its_time, &gate[0]);
    ropeway_operation_t *late = readable(connector, 0, 100, NULL, NULL);
    assert_ok(ropeway_operation_cancel(slow));
    ts_assert_works(connector, peer);
    assert_ended(ts_wait(late), ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_DEADLINE);
    assert_int_equal(write(gate[1], "x", 1), 1);
    ropeway_operation_release(slow);
    ropeway_operation_release(late);
    close(gate[0]);
    close(gate[1]);
}

static bool readable_now(ropeway_connector_t *connector, int timeout_ms) {
    struct pollfd entry = {ropeway_connector_fd(connector), POLLIN, 0};
    return poll(&entry, 1, timeout_ms) == 1 && (entry.revents & POLLIN) != 0;
}

static void rule2_the_event_queue_gives_each_operation_once_in_order(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ropeway_operation_t *operations[8], *drained[9];
    for (size_t i = 0; i < 8; i++) {
        operations[i] = readable(connector, ROPEWAY_OPERATION_NOTIFY, 0, NULL, NULL);
    }
    ropeway_operation_t *silent = readable(connector, 0, 0, NULL, NULL);
    assert_false(readable_now(connector, 0));
    assert_int_equal(ropeway_connector_drain(connector, drained, 9), 0);
    static const size_t order[] = {3, 1, 7, 0, 2, 6, 5, 4};
    assert_ok(ropeway_operation_cancel(silent));
    for (size_t i = 0; i < 8; i++) {
        assert_ok(ropeway_operation_cancel(operations[order[i]]));
        ts_wait(operations[order[i]]);
        assert_true(readable_now(connector, TS_BOUND_MS));
    }
    /* One that is released before it is drained does not appear. */
    ropeway_operation_release(operations[2]);
    assert_int_equal(ropeway_connector_drain(connector, drained, 2), 2);
    assert_ptr_equal(drained[0], operations[3]);
    assert_ptr_equal(drained[1], operations[1]);
    assert_true(readable_now(connector, 0));
    assert_int_equal(ropeway_connector_drain(connector, drained, 9), 5);
    assert_ptr_equal(drained[0], operations[7]);
    assert_ptr_equal(drained[1], operations[0]);
    assert_ptr_equal(drained[2], operations[6]);
    assert_ptr_equal(drained[3], operations[5]);
    assert_ptr_equal(drained[4], operations[4]);
    assert_false(readable_now(connector, 0));
    assert_int_equal(ropeway_connector_drain(connector, drained, 9), 0);
    for (size_t i = 0; i < 8; i++) {
        if (i != 2) {
            ropeway_operation_release(operations[i]);
        }
    }
    ropeway_operation_release(silent);
}

static void rule2_the_event_descriptor_tells_of_every_kind_of_transfer(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    for (int kind = ROPEWAY_OPERATION_READABLE; kind <= ROPEWAY_OPERATION_WRITE; kind++) {
        ropeway_operation_t *drained[2];
        ts_pair_t pair =
            ts_pair_make(connector, peer, 0, (ropeway_operation_kind_t)kind, "1000003", "flags=1");
        assert_true(readable_now(connector, TS_BOUND_MS));
        assert_int_equal(ropeway_connector_drain(connector, drained, 2), 1);
        assert_ptr_equal(drained[0], pair.operation);
        assert_complete(ts_outcome(pair.operation));
        ts_pair_finish(&pair);
        assert_false(readable_now(connector, 0));
    }
}

static void rule2_a_wait_that_times_out_changes_nothing(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    ropeway_operation_t *operation =
        ts_create(connector, ROPEWAY_OPERATION_READABLE, "140000", 6, "");
    assert_fails(ropeway_operation_wait(operation, 0), ROPEWAY_ERR_TIMEOUT);
    double start = ts_now();
    assert_fails(ropeway_operation_wait(operation, 50), ROPEWAY_ERR_TIMEOUT);
    assert_true(ts_now() - start >= 0.05);
    assert_status(operation, ROPEWAY_STATUS_INITIALIZED);
    const char *metadata;
    assert_ok(ropeway_operation_metadata(operation, &metadata));
    assert_int_equal(ts_peer_begin(peer, "read", 0, "140000", 6, "", metadata, strlen(metadata)),
                     ROPEWAY_OK);
    assert_ok(ropeway_operation_wait(operation, -1));
    assert_ok(ropeway_operation_wait(operation, 0));
    assert_complete(ts_peer_wait(peer, 0));
    assert_int_equal(ts_peer_number(peer, "matches 0 6"), 1);
}

typedef struct waiter {
    pthread_t thread;
    ropeway_operation_t *operation;
    ropeway_error_t error;
} waiter_t;

static void *wait_for_it(void *arg) {
    waiter_t *waiter = arg;
    waiter->error = ropeway_operation_wait(waiter->operation, TS_BOUND_MS);
    return NULL;
}

static void start_waiters(waiter_t *waiters, size_t count, ropeway_operation_t *operation) {
    for (size_t i = 0; i < count; i++) {
        waiters[i].operation = operation;
        assert_int_equal(pthread_create(&waiters[i].thread, NULL, wait_for_it, &waiters[i]), 0);
    }
}

static void join_waiters(waiter_t *waiters, size_t count, ropeway_error_t error) {
    for (size_t i = 0; i < count; i++) {
        pthread_join(waiters[i].thread, NULL);
    }
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(ropeway_error_name(waiters[i].error), ropeway_error_name(error));
    }
}

static void rule2_all_waiters_of_an_operation_learn_its_outcome(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    waiter_t waiters[8];
    ropeway_operation_t *cancelled = ts_create(connector, ROPEWAY_OPERATION_READABLE, "7", 6, "");
    start_waiters(waiters, 8, cancelled);
    assert_ok(ropeway_operation_cancel(cancelled));
    join_waiters(waiters, 8, ROPEWAY_ERR_CANCELLED);
    ropeway_operation_t *late =
        ts_create(connector, ROPEWAY_OPERATION_READABLE, "7", 6, "deadline_ms=50");
    start_waiters(waiters, 8, late);
    join_waiters(waiters, 8, ROPEWAY_ERR_DEADLINE);
}

static void rule2_destroying_the_connector_wakes_the_waiters(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    waiter_t waiters[4];
    ropeway_operation_t *operation = ts_create(connector, ROPEWAY_OPERATION_READABLE, "7", 6, "");
    start_waiters(waiters, 4, operation);
    ts_disconnect(connector);
    join_waiters(waiters, 4, ROPEWAY_ERR_CANCELLED);
}

static const struct CMUnitTest tests[] = {
    TS_TEST(rule2_the_callback_runs_once_for_each_outcome),
    TS_TEST(rule2_release_waits_for_the_callback),
    TS_TEST(rule2_a_callback_finds_the_operation_where_its_maker_put_it),
    TS_TEST(rule2_a_callback_may_release_and_begin_but_not_destroy),
    TS_TEST(rule1_a_callback_that_takes_its_time_holds_up_no_transfer),
    TS_TEST(rule2_the_event_queue_gives_each_operation_once_in_order),
    TS_TEST(rule2_the_event_descriptor_tells_of_every_kind_of_transfer),
    TS_TEST(rule2_a_wait_that_times_out_changes_nothing),
    TS_TEST(rule2_all_waiters_of_an_operation_learn_its_outcome),
    TS_TEST(rule2_destroying_the_connector_wakes_the_waiters),
};

TS_LIST(ts_list_events, tests);
