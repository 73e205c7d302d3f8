/* SPDX-License-Identifier: Apache-2.0 */
/* Any thread may call anything. Threads don't assert: they count what went wrong. */
#include "lists.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 8 };

typedef struct crowd {
    ropeway_connector_t *owner, *user;
    size_t rounds;
    atomic_int failures, cancelled, complete, callbacks;
} crowd_t;

typedef struct worker {
    pthread_t thread;
    crowd_t *crowd;
    uint64_t seed;
} worker_t;

static void count_callback(ropeway_operation_t *operation, void *arg) {
    crowd_t *crowd = arg;
    (void)operation;
    atomic_fetch_add(&crowd->callbacks, 1);
}

typedef struct helper {
    pthread_t thread;
    ropeway_operation_t *operation;
    ropeway_error_t error;
    bool cancels;
} helper_t;

static void *help(void *arg) {
    helper_t *helper = arg;
    if (helper->cancels) {
        ropeway_operation_cancel(helper->operation);
    }
    helper->error = ropeway_operation_wait(helper->operation, TS_BOUND_MS);
    return NULL;
}

/* Waits for both sides in threads of their own, one of which may cancel. */
static bool settle(crowd_t *crowd, ropeway_operation_t *passive, ropeway_operation_t *active,
                   uint64_t dice) {
    helper_t helpers[2] = {{.operation = passive, .cancels = dice % 8 == 1},
                           {.operation = active, .cancels = dice % 8 == 2}};
    for (size_t i = 0; i < 2; i++) {
        if (pthread_create(&helpers[i].thread, NULL, help, &helpers[i]) != 0) {
            abort();
        }
    }
    for (size_t i = 0; i < 2; i++) {
        pthread_join(helpers[i].thread, NULL);
    }
    ropeway_status_t mine = ropeway_operation_status(active);
    if (mine == ROPEWAY_STATUS_COMPLETE) {
        atomic_fetch_add(&crowd->complete, 1);
        return helpers[0].error == ROPEWAY_OK && helpers[1].error == ROPEWAY_OK;
    }
    atomic_fetch_add(&crowd->cancelled, 1);
    if (helpers[1].error == ROPEWAY_ERR_KEY_FINISHED) {
        /* The offer was cancelled before the request came. */
        return helpers[0].error == ROPEWAY_ERR_CANCELLED && helpers[0].cancels;
    }
    return helpers[0].error == ROPEWAY_ERR_CANCELLED && helpers[1].error == ROPEWAY_ERR_CANCELLED;
}

static bool one_round(crowd_t *crowd, uint64_t seed, uint64_t dice) {
    static const char *const specs[] = {"10", "70000,3", "1048579", "20*5000"};
    bool read = dice % 2 == 0;
    const char *spec = specs[dice / 16 % 4], *metadata;
    ts_region_t *here = ts_region_new(spec, 1), *there = ts_region_new(spec, 2);
    ts_region_pattern(read ? here : there, seed);
    ropeway_operation_t *passive = NULL, *active = NULL;
    ropeway_operation_options_t options;
    ropeway_operation_options_init(&options, sizeof options);
    options.callback = count_callback;
    options.callback_arg = crowd;
    bool fine =
        (read ? ropeway_create_readable : ropeway_create_writable)(
            crowd->owner, here->descriptors, here->count, &options, &passive) == ROPEWAY_OK &&
        ropeway_operation_metadata(passive, &metadata) == ROPEWAY_OK &&
        (read ? ropeway_begin_read : ropeway_begin_write)(crowd->user, metadata, strlen(metadata),
                                                          there->descriptors, there->count,
                                                          &options, &active) == ROPEWAY_OK;
    if (fine && dice % 8 == 3) {
        /* Released while it lives. */
        ropeway_operation_release(active);
        active = NULL;
        ropeway_operation_wait(passive, 0);
    } else if (fine) {
        fine = settle(crowd, passive, active, dice);
        if (fine && ropeway_operation_status(active) == ROPEWAY_STATUS_COMPLETE) {
            fine = ts_region_matches(read ? there : here, seed);
        }
    }
    ropeway_operation_release(active);
    ropeway_operation_release(passive);
    fine = fine && ts_region_guarded(here) && ts_region_guarded(there);
    ts_region_free(here);
    ts_region_free(there);
    return fine;
}

static void *work(void *arg) {
    worker_t *worker = arg;
    uint64_t random = worker->seed;
    for (size_t i = 0; i < worker->crowd->rounds; i++) {
        if (!one_round(worker->crowd, worker->seed + i, ts_random(&random) / 64)) {
            atomic_fetch_add(&worker->crowd->failures, 1);
        }
        ropeway_stats_t stats;
        ropeway_connector_stats(worker->crowd->user, &stats, sizeof stats);
    }
    return NULL;
}

static void rule2_many_threads_begin_wait_cancel_and_release_at_once(void **state) {
    (void)state;
    crowd_t crowd = {.owner = ts_connect("chunk_size=65536"),
                     .user = ts_connect("chunk_size=65536"),
                     .rounds = ts_scaled(60, 15)};
    worker_t workers[THREADS];
    uint64_t seed = ts_seed();
    for (size_t i = 0; i < THREADS; i++) {
        workers[i].crowd = &crowd;
        workers[i].seed = seed + i * 1000000;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
    }
    print_message("%d complete, %d cancelled\n", crowd.complete, crowd.cancelled);
    assert_int_equal(atomic_load(&crowd.failures), 0);
    assert_int_equal(atomic_load(&crowd.callbacks), 2 * THREADS * (int)crowd.rounds);
    assert_int_equal(ts_stats(crowd.owner).operations_live, 0);
    assert_int_equal(ts_stats(crowd.user).operations_live, 0);
    assert_int_equal(ts_stats(crowd.owner).bytes_inflight, 0);
    assert_int_equal(ts_stats(crowd.user).bytes_inflight, 0);
}

static void *make_and_destroy(void *arg) {
    worker_t *worker = arg;
    for (size_t i = 0; i < worker->crowd->rounds; i++) {
        ts_option_texts_t texts;
        ropeway_connector_options_t options;
        ropeway_connector_t *connector;
        ts_connector_options("", &texts, &options);
        if (ropeway_connector_create(&options, &connector) != ROPEWAY_OK) {
            atomic_fetch_add(&worker->crowd->failures, 1);
            continue;
        }
        crowd_t own = {.owner = connector, .user = worker->crowd->user};
        if (!one_round(&own, i, 32) || !one_round(&own, i, 1 + 16) ||
            ropeway_connector_destroy(connector) != ROPEWAY_OK) {
            atomic_fetch_add(&worker->crowd->failures, 1);
        }
    }
    return NULL;
}

static void connectors_come_and_go_on_many_threads(void **state) {
    (void)state;
    crowd_t crowd = {.user = ts_connect(""), .rounds = ts_scaled(10, 2)};
    worker_t workers[THREADS / 2];
    for (size_t i = 0; i < THREADS / 2; i++) {
        workers[i].crowd = &crowd;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, make_and_destroy, &workers[i]),
                         0);
    }
    for (size_t i = 0; i < THREADS / 2; i++) {
        pthread_join(workers[i].thread, NULL);
    }
    assert_int_equal(atomic_load(&crowd.failures), 0);
}

static const struct CMUnitTest tests[] = {
    TS_TEST(rule2_many_threads_begin_wait_cancel_and_release_at_once),
    TS_TEST(connectors_come_and_go_on_many_threads),
};

TS_LIST(ts_list_threads, tests);
