/* SPDX-License-Identifier: Apache-2.0 */
/* Corners of an operation's and a connector's life that need a peer which stands still at a known
 * place: a second connector of this process, whose lock the test holds. */
#include "base/connector.h"
#include "link/peer.h"
#include "link/progress.h"
#include "unit.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define BIG ((size_t)64 << 20)
#define SOON_MS 20000

static ropeway_descriptor_t host(void *memory, size_t size) {
    return (ropeway_descriptor_t){.ptr = memory, .size = size, .device = {ROPEWAY_DEVICE_HOST, 0}};
}

/* stall_ms and the keep-alive are out of the way. */
static ropeway_connector_t *connect_with(uint32_t spin_us) {
    ropeway_connector_options_t options;
    ropeway_connector_t *connector;

    ropeway_connector_options_init(&options, sizeof options);
    options.transports = "tcp";
    options.stall_ms = 0;
    options.quiet_ms = 100;
    options.keepalive_ms = 3600000;
    options.chunk_size = (size_t)64 << 10;
    options.spin_us = spin_us;
    assert_accepted(ropeway_connector_create(&options, &connector));
    return connector;
}

static void freeze(ropeway_connector_t *connector) RW_UNCHECKED {
    rw_lock(&connector->lock);
}

static void thaw(ropeway_connector_t *connector) RW_UNCHECKED {
    rw_unlock(&connector->lock);
}

static ropeway_operation_t *offer(ropeway_connector_t *connector, void *memory, size_t size) {
    ropeway_descriptor_t descriptor = host(memory, size);
    ropeway_operation_t *operation;

    assert_accepted(ropeway_create_readable(connector, &descriptor, 1, NULL, &operation));
    return operation;
}

static ropeway_operation_t *read_from(ropeway_connector_t *connector, ropeway_operation_t *offered,
                                      void *memory, size_t size) {
    ropeway_descriptor_t descriptor = host(memory, size);
    ropeway_operation_t *operation;
    const char *metadata;

    assert_accepted(ropeway_operation_metadata(offered, &metadata));
    assert_accepted(ropeway_begin_read(connector, metadata, strlen(metadata), &descriptor, 1, NULL,
                                       &operation));
    return operation;
}

/* Waits until nothing arrives any more and the connector's thread sleeps. */
static void settle(ropeway_connector_t *connector, ropeway_operation_t *operation) RW_UNCHECKED {
    uint64_t before = 0, done;

    for (int quiet = 0; quiet < 50; quiet++) {
        usleep(1000);
        ropeway_operation_progress(operation, &done, NULL);
        rw_lock(&connector->lock);
        if (done != before || !connector->progress->sleeping) {
            quiet = 0;
        }
        rw_unlock(&connector->lock);
        before = done;
    }
}

/* A READ whose owner froze in its middle. */
static ropeway_operation_t *begin_and_freeze(ropeway_connector_t *owner,
                                             ropeway_operation_t *offered,
                                             ropeway_connector_t *reader, void *memory) {
    ropeway_operation_t *operation = read_from(reader, offered, memory, BIG);
    uint64_t done = 0;

    while (done == 0) {
        ropeway_operation_progress(offered, &done, NULL);
    }
    freeze(owner);
    settle(reader, operation);
    return operation;
}

static void a_release_is_bounded_with_a_silent_peer(uint32_t spin_us) {
    ropeway_connector_t *owner = connect_with(50), *reader = connect_with(spin_us);
    char *from = calloc(1, BIG), *to = calloc(1, BIG);
    ropeway_operation_t *offered = offer(owner, from, BIG);
    ropeway_operation_t *operation = begin_and_freeze(owner, offered, reader, to);

    /* Without a bound this would last for ever: the limits are off, and the owner stands still. */
    ropeway_operation_release(operation);
    thaw(owner);
    ropeway_operation_release(offered);
    ropeway_connector_destroy(reader);
    ropeway_connector_destroy(owner);
    free(from);
    free(to);
}

static void rule3_a_release_is_bounded_without_spinning(void **state) {
    (void)state;
    a_release_is_bounded_with_a_silent_peer(0);
}

static void rule3_a_release_is_bounded_with_spinning(void **state) {
    (void)state;
    a_release_is_bounded_with_a_silent_peer(50);
}

typedef struct waiter {
    ropeway_operation_t *operation;
    atomic_int thread; /* its number, once it is about to wait */
} waiter_t;

static void *wait_for_ever(void *arg) {
    waiter_t *waiter = arg;

    atomic_store(&waiter->thread, (int)gettid());
    ropeway_operation_wait(waiter->operation, -1);
    return NULL;
}

/* Whether a thread of this process sleeps in the kernel. */
static bool sleeps(int thread) {
    char path[64], state = '?';
    FILE *file;

    snprintf(path, sizeof path, "/proc/self/task/%d/stat", thread);
    file = fopen(path, "re");
    if (file != NULL) {
        assert_int_equal(fscanf(file, "%*d (%*[^)]) %c", &state), 1);
        fclose(file);
    }
    return state == 'S';
}

static void rule9_a_forked_child_frees_what_a_thread_of_the_parent_waits_for(void **state) {
    ropeway_connector_t *connector = connect_with(0);
    char memory[8];
    ropeway_operation_t *operation = offer(connector, memory, sizeof memory);
    waiter_t waiter = {.operation = operation};
    pthread_t thread;
    pid_t child;
    int status;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, wait_for_ever, &waiter), 0);
    while (!sleeps(atomic_load(&waiter.thread))) {
        sched_yield();
    }
    child = fork();
    if (child == 0) {
        alarm(SOON_MS / 1000);
        ropeway_operation_release(operation);
        _exit(ropeway_connector_destroy(connector) == ROPEWAY_OK ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_accepted(ropeway_operation_cancel(operation));
    pthread_join(thread, NULL);
    ropeway_operation_release(operation);
    ropeway_connector_destroy(connector);
}

/* Begins a long read and then a short one. Returns whether the short one was seen to end first. */
static bool overtakes(ropeway_connector_t *owner, ropeway_connector_t *reader, char *from,
                      char *to) {
    char little[1000];
    ropeway_operation_t *long_offer = offer(owner, from, BIG);
    ropeway_operation_t *short_offer = offer(owner, from, sizeof little);
    ropeway_operation_t *long_read = read_from(reader, long_offer, to, BIG);
    ropeway_operation_t *short_read = read_from(reader, short_offer, little, sizeof little);
    uint64_t done;

    assert_accepted(ropeway_operation_wait(short_read, SOON_MS));
    ropeway_operation_progress(long_offer, &done, NULL);
    assert_accepted(ropeway_operation_wait(long_read, SOON_MS));
    ropeway_operation_release(short_read);
    ropeway_operation_release(long_read);
    ropeway_operation_release(short_offer);
    ropeway_operation_release(long_offer);
    return done < BIG;
}

static void rule8_a_long_transfer_leaves_room_for_a_short_one(void **state) {
    ropeway_connector_t *owner = connect_with(50), *reader = connect_with(50);
    char *from = calloc(1, BIG), *to = calloc(1, BIG);
    bool overtaken = false;

    (void)state;
    owner->options.max_inflight = owner->options.chunk_size;
    /* On a busy machine this thread may look too late. */
    for (int attempt = 0; attempt < 20 && !overtaken; attempt++) {
        overtaken = overtakes(owner, reader, from, to);
    }
    assert_true(overtaken);
    ropeway_connector_destroy(reader);
    ropeway_connector_destroy(owner);
    free(from);
    free(to);
}

/* Returns with the lock, while the connector's thread sleeps. */
static void lock_asleep(ropeway_connector_t *connector) RW_UNCHECKED {
    bool sleeps = false;

    for (double end = ts_now() + SOON_MS / 1000.0; !sleeps && ts_now() < end; sched_yield()) {
        rw_lock(&connector->lock);
        sleeps = connector->progress->sleeping;
        if (!sleeps) {
            rw_unlock(&connector->lock);
        }
    }
    assert_true(sleeps);
}

/* It is woken at that time, and not to hear of it. */
static void rule7_a_timer_wakes_the_sleeping_thread_once(void **state) RW_UNCHECKED {
    static uint8_t memory[8];
    const ropeway_descriptor_t descriptor = host(memory, sizeof memory);
    ropeway_connector_options_t options;
    ropeway_operation_options_t limits;
    ropeway_connector_t *connector;
    ropeway_operation_t *operation;
    uint64_t wakeups;
    bool woken = false;

    (void)state;
    ropeway_connector_options_init(&options, sizeof options);
    options.transports = "stream";
    options.spin_us = 0;
    assert_accepted(ropeway_connector_create(&options, &connector));
    ropeway_operation_options_init(&limits, sizeof limits);
    /* On a busy machine the limit may have run out before the operation was made. */
    for (limits.deadline_ms = 250; !woken && limits.deadline_ms < SOON_MS;
         limits.deadline_ms *= 2) {
        lock_asleep(connector);
        wakeups = connector->stats.wakeups;
        rw_unlock(&connector->lock);
        assert_accepted(ropeway_create_readable(connector, &descriptor, 1, &limits, &operation));
        for (double end = ts_now() + 2 * SOON_MS / 1000.0;
             ropeway_operation_error(operation) == ROPEWAY_OK && ts_now() < end;) {
            usleep(1000);
        }
        assert_int_equal(ropeway_operation_error(operation), ROPEWAY_ERR_DEADLINE);
        lock_asleep(connector);
        woken = connector->stats.wakeups == wakeups + 1;
        rw_unlock(&connector->lock);
        ropeway_operation_release(operation);
    }
    assert_true(woken);
    ropeway_connector_destroy(connector);
}

/* The thread that sleeps is called, and before it runs another one looks at descriptors, as threads
 * that poll do now and then: the call is not theirs. */
static void rule7_a_call_to_the_sleeping_thread_is_left_to_it(void **state) RW_UNCHECKED {
    ropeway_connector_t *connector = connect_with(0);

    (void)state;
    lock_asleep(connector);
    uint64_t wakeups = connector->stats.wakeups;
    rw_progress_wake(connector);
    rw_events_look(&connector->events);
    rw_unlock(&connector->lock);
    bool woken = false;
    for (double end = ts_now() + SOON_MS / 1000.0; !woken && ts_now() < end; sched_yield()) {
        rw_lock(&connector->lock);
        woken = connector->stats.wakeups > wakeups;
        rw_unlock(&connector->lock);
    }
    assert_true(woken);
    ropeway_connector_destroy(connector);
}

static unsigned polls;

/* As one that looks at its descriptors as seldom as it may. */
static bool poll_late(rw_poller_t *poller) {
    (void)poller;
    return ++polls == RW_LOOK_EVERY;
}

/* Its process has ended, and what it sent last is seen in a step before which others saw nothing.
 */
static void rule4_what_a_process_sent_before_its_end_is_read(void **state) RW_UNCHECKED {
    static uint8_t from[8], to[8];
    ropeway_connector_t *owner = connect_with(0), *reader = connect_with(0);
    ropeway_descriptor_t source = host(from, sizeof from), target = host(to, sizeof to);
    ropeway_operation_t *offer, *read;
    rw_poller_t poller = {.poll = poll_late};
    rw_peer_t *peer;
    const char *text;

    (void)state;
    assert_accepted(ropeway_create_readable(owner, &source, 1, NULL, &offer));
    assert_accepted(ropeway_operation_metadata(offer, &text));
    assert_accepted(ropeway_begin_read(reader, text, strlen(text), &target, 1, NULL, &read));
    assert_accepted(ropeway_operation_wait(read, SOON_MS));
    rw_lock(&reader->lock);
    rw_list_init(&poller.node);
    rw_poller_add(reader, &poller);
    assert_false(rw_list_is_empty(&reader->peers->used));
    peer = RW_CONTAINER(reader->peers->used.next, rw_peer_t, node_used);
    peer->process.on_event(&peer->process);
    rw_poller_remove(&poller);
    rw_unlock(&reader->lock);
    assert_true(polls >= 2 * RW_LOOK_EVERY); /* and again as many, once it was seen */
    ropeway_operation_release(read);
    ropeway_operation_release(offer);
    ropeway_connector_destroy(reader);
    ropeway_connector_destroy(owner);
}

/* Whatever it carried before. */
static void a_flight_that_is_used_again_is_as_a_new_one(void **state) {
    (void)state;
    ropeway_connector_t *connector = connect_with(0);
    rw_flight_t *flight, fresh;

    rw_lock(&connector->lock);
    flight = rw_flight_take(connector);
    assert_non_null(flight);
    fresh = *flight;
    flight->tag = &fresh;
    flight->class = RW_BULK;
    flight->lends = flight->introduces = flight->to_device = flight->takes_room = true;
    flight->device.kind = ROPEWAY_DEVICE_CUDA;
    flight->registration = &fresh;
    flight->loan = flight->offset = flight->header_length = 1;
    flight->buffer = malloc(1);
    rw_flight_lend(flight, &fresh, sizeof fresh);
    rw_flight_lend_list(flight, calloc(3, sizeof(struct iovec)), 2, 9);
    rw_flight_give(flight);
    assert_ptr_equal(rw_flight_take(connector), flight);
    fresh.link = flight->link;                                 /* the link's own */
    memcpy(fresh.header, flight->header, sizeof fresh.header); /* of header_length bytes */
    assert_memory_equal(flight, &fresh, sizeof fresh);
    rw_flight_give(flight);
    rw_unlock(&connector->lock);
    ropeway_connector_destroy(connector);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flight_that_is_used_again_is_as_a_new_one),
        cmocka_unit_test(rule3_a_release_is_bounded_without_spinning),
        cmocka_unit_test(rule3_a_release_is_bounded_with_spinning),
        cmocka_unit_test(rule4_what_a_process_sent_before_its_end_is_read),
        cmocka_unit_test(rule7_a_call_to_the_sleeping_thread_is_left_to_it),
        cmocka_unit_test(rule7_a_timer_wakes_the_sleeping_thread_once),
        cmocka_unit_test(rule8_a_long_transfer_leaves_room_for_a_short_one),
        cmocka_unit_test(rule9_a_forked_child_frees_what_a_thread_of_the_parent_waits_for),
    };

    alarm(300); /* what hangs shall not hang for ever */
    return cmocka_run_group_tests(tests, unit_seed, NULL);
}
