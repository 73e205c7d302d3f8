/* SPDX-License-Identifier: Apache-2.0 */
/* The client: runs batches of operations with a server, and takes the time and the CPU time. */
#include "perf.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"

#define CONTROL_TIMEOUT_MS 120000
#define OUTCOME_TIMEOUT_MS 60000
#define SEED 0x726f7065776179u

bool cli_perf_session_open(struct cli_perf_session *session, const char *address,
                           const char *transports, const char *net_devices, uint32_t spin_us) {
    ropeway_connector_options_t options;
    char buffer[256];
    const char *list = cli_perf_transports(transports, buffer, sizeof buffer);
    memset(session, 0, sizeof *session);
    if (!cli_perf_channel_dial(&session->channel, address)) {
        snprintf(session->error, sizeof session->error, "%s", session->channel.error);
        return false;
    }
    ropeway_connector_options_init(&options, sizeof options);
    options.transports = list;
    options.net_devices = net_devices;
    json_t *hello =
        json_pack("{s:s,s:s?,s:s?}", "do", "hello", "transports", list, "net_devices", net_devices);
    if (spin_us != ROPEWAY_INHERIT) {
        options.spin_us = spin_us;
        json_object_set_new(hello, "spin_us", json_integer(spin_us));
    }
    json_t *answer = cli_perf_call(&session->channel, hello, CONTROL_TIMEOUT_MS);
    json_decref(answer);
    if (answer == NULL) {
        snprintf(session->error, sizeof session->error, "%s", session->channel.error);
        return false;
    }
    if (ropeway_connector_create(&options, &session->connector) != ROPEWAY_OK) {
        snprintf(session->error, sizeof session->error, "%s", ropeway_last_error());
        return false;
    }
    return true;
}

void cli_perf_session_close(struct cli_perf_session *session) {
    ropeway_connector_destroy(session->connector);
    session->connector = NULL;
    cli_perf_memory_free(&session->memory);
    cli_perf_channel_close(&session->channel);
}

static json_t *call(struct cli_perf_session *session, json_t *request) {
    json_t *answer = cli_perf_call(&session->channel, request, CONTROL_TIMEOUT_MS);
    if (answer == NULL) {
        snprintf(session->error, sizeof session->error, "%s", session->channel.error);
    }
    return answer;
}

/* Makes both sides' buffers ready and returns the answer with the metadata. */
static json_t *prepare(struct cli_perf_session *session, const struct cli_perf_batch *batch) {
    bool read = batch->kind == ROPEWAY_OPERATION_READ;
    json_t *request =
        json_pack("{s:s,s:i,s:I,s:I,s:I,s:i}", "do", "prepare", "kind", batch->kind, "size",
                  (json_int_t)batch->size, "slots", (json_int_t)batch->slots, "count",
                  (json_int_t)batch->count, "flags", session->operation_flags);
    if (!cli_perf_memory_resize(&session->memory, batch->size, batch->slots)) {
        json_decref(request);
        snprintf(session->error, sizeof session->error,
                 "out of memory for %zu buffers of %zu bytes; choose a smaller --size or "
                 "--concurrency",
                 batch->slots, batch->size);
        return NULL;
    }
    if (batch->verify && read) {
        cli_perf_memory_clear(&session->memory);
        json_object_set_new(request, "fill", json_integer(SEED));
    } else if (batch->verify) {
        cli_perf_memory_fill(&session->memory, SEED);
        json_object_set_new(request, "clear", json_true());
    }
    return call(session, request);
}

/* Waits for the server's outcomes and compares the data where that was asked for. */
static bool collect(struct cli_perf_session *session, struct cli_perf_batch *batch,
                    uint64_t cpu_start) {
    bool read = batch->kind == ROPEWAY_OPERATION_READ;
    json_t *request = json_pack("{s:s}", "do", "collect");
    if (batch->verify && !read) {
        json_object_set_new(request, "verify", json_integer(SEED));
    }
    json_t *answer = call(session, request);
    if (answer == NULL) {
        return false;
    }
    batch->passive_ns =
        (uint64_t)json_integer_value(json_object_get(answer, "cpu_before_ns")) - cpu_start;
    json_decref(answer);
    if (batch->verify && read && !cli_perf_memory_check(&session->memory, SEED, session->error)) {
        return false;
    }
    return true;
}

/* One batch under way. */
struct run {
    struct cli_perf_session *session;
    struct cli_perf_batch *batch;
    const json_t *metadata;
    uint64_t *begun;            /* by operation */
    ropeway_operation_t **live; /* by slot; NULL: none */
    size_t finished;
};

static bool fail_operation(struct cli_perf_session *session, const char *step, size_t index,
                           const char *text) {
    snprintf(session->error, sizeof session->error, "%s of operation %zu failed: %s", step,
             index + 1, text);
    return false;
}

static bool begin(struct run *run, size_t index, uint32_t flags) {
    struct cli_perf_session *session = run->session;
    const struct cli_perf_batch *batch = run->batch;
    const json_t *metadata = json_array_get(run->metadata, index);
    ropeway_descriptor_t descriptor = {.ptr = cli_perf_slot(&session->memory, index % batch->slots),
                                       .size = batch->size,
                                       .device = {.kind = ROPEWAY_DEVICE_HOST}};
    ropeway_operation_options_t options;
    ropeway_operation_options_init(&options, sizeof options);
    options.flags = flags | session->operation_flags;
    options.user_data = (void *)(uintptr_t)index;
    run->begun[index] = cli_now_ns();
    ropeway_error_t rc =
        (batch->kind == ROPEWAY_OPERATION_READ ? ropeway_begin_read : ropeway_begin_write)(
            session->connector, json_string_value(metadata), json_string_length(metadata),
            &descriptor, 1, &options, &run->live[index % batch->slots]);
    return rc == ROPEWAY_OK || fail_operation(session, "begin", index, ropeway_last_error());
}

/* Takes the outcome of an operation that has ended at the time now, and releases it. */
static bool finish(struct run *run, ropeway_operation_t *operation, uint64_t now) {
    size_t index = (uintptr_t)ropeway_operation_user_data(operation);
    struct cli_perf_batch *batch = run->batch;
    bool done = true;
    if (ropeway_operation_wait(operation, 0) == ROPEWAY_ERR_TIMEOUT) {
        done = fail_operation(run->session, "the transfer", index, "it did not end in time");
    } else if (ropeway_operation_status(operation) != ROPEWAY_STATUS_COMPLETE) {
        done = fail_operation(run->session, "the transfer", index,
                              ropeway_operation_error_text(operation));
    }
    if (batch->samples != NULL) {
        batch->samples[index] = now - run->begun[index];
    }
    if (batch->path != NULL && run->finished == 0) {
        ropeway_operation_path(operation, batch->path, batch->path_size);
    }
    run->finished++;
    run->live[index % batch->slots] = NULL;
    ropeway_operation_release(operation);
    return done;
}

static bool run_one_at_a_time(struct run *run) {
    struct cli_perf_batch *batch = run->batch;
    struct timespec pause = {.tv_nsec = (long)batch->pause_ns};
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->pause_ns > 0) {
            nanosleep(&pause, NULL);
        }
        if (!begin(run, i, 0)) {
            return false;
        }
        ropeway_operation_wait(run->live[0], OUTCOME_TIMEOUT_MS);
        if (!finish(run, run->live[0], cli_now_ns())) {
            return false;
        }
    }
    return true;
}

/* Blocks until operations have ended, and takes up to max of them. 0: none did in time. */
static size_t drain(struct cli_perf_session *session, ropeway_operation_t **ended, size_t max) {
    struct pollfd wait = {.fd = ropeway_connector_fd(session->connector), .events = POLLIN};
    size_t n = ropeway_connector_drain(session->connector, ended, max);
    while (n == 0) {
        int ready = poll(&wait, 1, OUTCOME_TIMEOUT_MS);
        if (ready == 0 || (ready < 0 && errno != EINTR)) {
            snprintf(session->error, sizeof session->error, "no operation ended for %d s",
                     OUTCOME_TIMEOUT_MS / 1000);
            return 0;
        }
        n = ropeway_connector_drain(session->connector, ended, max);
    }
    return n;
}

/* An operation that follows another in the same slot begins when that one has ended, so no two of
 * them share memory. */
static bool run_concurrently(struct run *run) {
    struct cli_perf_batch *batch = run->batch;
    ropeway_operation_t *ended[64] = {NULL};
    size_t i;
    for (i = 0; i < batch->slots; i++) {
        if (!begin(run, i, ROPEWAY_OPERATION_NOTIFY)) {
            return false;
        }
    }
    while (run->finished < batch->count) {
        size_t n = drain(run->session, ended, sizeof ended / sizeof ended[0]);
        uint64_t now = cli_now_ns();
        bool done = n > 0;
        for (i = 0; i < n; i++) {
            size_t next = (uintptr_t)ropeway_operation_user_data(ended[i]) + batch->slots;
            done = finish(run, ended[i], now) && done;
            if (done && next < batch->count) {
                done = begin(run, next, ROPEWAY_OPERATION_NOTIFY);
            }
        }
        if (!done) {
            return false;
        }
    }
    return true;
}

/* Runs the operations between two looks at the clocks. */
static bool run_between_clocks(struct run *run, uint64_t asked_ns) {
    struct cli_perf_batch *batch = run->batch;
    uint64_t cpu = cli_perf_cpu_ns();
    uint64_t start = batch->whole ? asked_ns : cli_now_ns();
    bool done = batch->slots == 1 ? run_one_at_a_time(run) : run_concurrently(run);
    batch->wall_ns = cli_now_ns() - start;
    batch->active_ns = cli_perf_cpu_ns() - cpu;
    return done;
}

bool cli_perf_batch_run(struct cli_perf_session *session, struct cli_perf_batch *batch) {
    struct run run = {.session = session, .batch = batch};
    uint64_t asked = cli_now_ns();
    json_t *answer = prepare(session, batch);
    bool done = false;
    if (answer == NULL) {
        return false;
    }
    uint64_t server_cpu = (uint64_t)json_integer_value(json_object_get(answer, "cpu_after_ns"));
    run.metadata = json_object_get(answer, "metadata");
    run.begun = calloc(batch->count, sizeof *run.begun);
    run.live = calloc(batch->slots, sizeof(ropeway_operation_t *));
    if (json_array_size(run.metadata) != batch->count || run.begun == NULL || run.live == NULL) {
        snprintf(session->error, sizeof session->error, "the perf server's answer is incomplete");
    } else {
        done = run_between_clocks(&run, asked);
    }
    for (size_t i = 0; run.live != NULL && i < batch->slots; i++) {
        ropeway_operation_release(run.live[i]);
    }
    free(run.live);
    free(run.begun);
    json_decref(answer);
    return done && collect(session, batch, server_cpu);
}

/* Makes the client's own share of pending operations. */
static bool create_pending(struct cli_perf_session *session, size_t count,
                           ropeway_operation_t **operations) {
    ropeway_descriptor_t descriptor = {.ptr = session->memory.base,
                                       .size = session->memory.size,
                                       .device = {.kind = ROPEWAY_DEVICE_HOST}};
    for (size_t i = 0; i < count; i++) {
        if (ropeway_create_readable(session->connector, &descriptor, 1, NULL, &operations[i]) !=
            ROPEWAY_OK) {
            snprintf(session->error, sizeof session->error, "%s", ropeway_last_error());
            return false;
        }
    }
    return true;
}

static bool measure_idle(struct cli_perf_session *session, struct cli_perf_idle *idle) {
    char *line = cli_perf_line(json_pack("{s:s,s:f,s:I}", "do", "idle", "seconds", idle->seconds,
                                         "pending", (json_int_t)idle->pending));
    if (!cli_perf_send_line(&session->channel, line)) {
        snprintf(session->error, sizeof session->error, "%s", session->channel.error);
        return false;
    }
    cli_perf_usage_of_idling(session->connector, idle->seconds, &idle->client);
    json_t *answer = cli_perf_receive(&session->channel, CONTROL_TIMEOUT_MS);
    const char *error = json_string_value(json_object_get(answer, "error"));
    if (answer == NULL || error != NULL) {
        snprintf(session->error, sizeof session->error, "%s",
                 error != NULL ? error : session->channel.error);
        json_decref(answer);
        return false;
    }
    idle->server.cpu_percent = json_real_value(json_object_get(answer, "cpu"));
    idle->server.wakeups = (uint64_t)json_integer_value(json_object_get(answer, "wakeups"));
    json_decref(answer);
    return true;
}

bool cli_perf_idle_run(struct cli_perf_session *session, struct cli_perf_idle *idle) {
    ropeway_operation_t **operations = calloc(idle->pending + 1, sizeof(ropeway_operation_t *));
    bool done = false;
    if (operations == NULL || !cli_perf_memory_resize(&session->memory, 4096, 1)) {
        snprintf(session->error, sizeof session->error, "out of memory for %zu operations",
                 idle->pending);
    } else if (create_pending(session, idle->pending, operations)) {
        done = measure_idle(session, idle);
    }
    for (size_t i = 0; operations != NULL && i < idle->pending; i++) {
        ropeway_operation_release(operations[i]);
    }
    free(operations);
    return done;
}
