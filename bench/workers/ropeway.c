/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The benchmark's worker for Ropeway, on its public API. An offer is the list of metadata texts.
 * Variants: none, whatever the library chooses; "ucx", UCX's shared memory, CMA and TCP; "tls" and
 * "plain", TCP with encryption and without.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <ropeway.h>

#include "worker.h"

#define WAIT_MS 60000

static ropeway_connector_options_t options;
static ropeway_connector_t *connector;

/* What this side offers, and the texts of the other side's offers. */
static ropeway_operation_t **offered, **pending;
static size_t offered_count, pending_count;
static json_t *texts;
static ropeway_descriptor_t *descriptors;

static void check(ropeway_error_t error, const char *step) {
    if (error != ROPEWAY_OK) {
        bench_fail("%s: %s", step, ropeway_last_error());
    }
}

static void open_connector(const struct bench_options *given, json_t *ready) {
    bool shm = strcmp(given->transport, "shm") == 0;

    ropeway_connector_options_init(&options, sizeof options);
    if (given->variant != NULL && strcmp(given->variant, "ucx") == 0) {
        options.transports = shm ? "posix,cma,self" : "tcp,self";
    } else if (!shm) {
        options.transports = "stream";
    }
    if (given->variant != NULL && strcmp(given->variant, "tls") == 0) {
        options.encryption = "required";
    } else if (given->variant != NULL && strcmp(given->variant, "plain") == 0) {
        options.encryption = "off";
    }
    options.net_devices = given->device;
    check(ropeway_connector_create(&options, &connector), "connector");
    json_object_set_new(ready, "version", json_string(ropeway_version()));
    json_object_set_new(ready, "ucx", json_string(ropeway_ucx_version()));
}

static void release(ropeway_operation_t ***operations, size_t *count) {
    size_t i;

    for (i = 0; i < *count; i++) {
        ropeway_operation_release((*operations)[i]);
    }
    free(*operations);
    *operations = NULL;
    *count = 0;
}

static void describe(const struct bench_memory *memory, size_t slot, ropeway_descriptor_t *list) {
    size_t i;

    for (i = 0; i < memory->descriptors; i++) {
        list[i] = (ropeway_descriptor_t){
            bench_at(memory, slot, i), memory->size, {ROPEWAY_DEVICE_HOST, 0}};
    }
}

static json_t *offer(const struct bench_case *one, struct bench_memory *memory) {
    ropeway_descriptor_t *list = calloc(one->descriptors, sizeof *list);
    json_t *result = json_array();

    release(&offered, &offered_count);
    offered = calloc(one->count, sizeof *offered);
    if (offered == NULL || list == NULL) {
        bench_fail("no memory for %zu operations", one->count);
    }
    for (; offered_count < one->count; offered_count++) {
        ropeway_operation_t **operation = &offered[offered_count];
        const char *metadata;

        describe(memory, offered_count % one->slots, list);
        check((one->write ? ropeway_create_writable : ropeway_create_readable)(
                  connector, list, one->descriptors, NULL, operation),
              "offer");
        check(ropeway_operation_metadata(*operation, &metadata), "metadata");
        json_array_append_new(result, json_string(metadata));
    }
    free(list);
    return result;
}

static void take(const struct bench_case *one, struct bench_memory *memory, const json_t *list) {
    size_t slot;

    if (json_array_size(list) != one->count) {
        bench_fail("%zu operations are offered, and not %zu", json_array_size(list), one->count);
    }
    json_decref(texts);
    texts = json_incref((json_t *)list);
    free(descriptors);
    descriptors = calloc(one->slots * one->descriptors, sizeof *descriptors);
    if (descriptors == NULL) {
        bench_fail("no memory for the descriptors");
    }
    for (slot = 0; slot < one->slots; slot++) {
        describe(memory, slot, descriptors + slot * one->descriptors);
    }
}

static ropeway_operation_t *begin(const struct bench_case *one, size_t number) {
    const json_t *text = json_array_get(texts, number);
    ropeway_operation_t *operation;

    check((one->write ? ropeway_begin_write : ropeway_begin_read)(
              connector, json_string_value(text), json_string_length(text),
              descriptors + number % one->slots * one->descriptors, one->descriptors, NULL,
              &operation),
          "begin");
    return operation;
}

static void finish(ropeway_operation_t *operation) {
    if (ropeway_operation_wait(operation, WAIT_MS) != ROPEWAY_OK) {
        bench_fail("operation: %s",
                   ropeway_operation_status(operation) == ROPEWAY_STATUS_IN_PROGRESS
                       ? "not done in a minute"
                       : ropeway_operation_error_text(operation));
    }
    ropeway_operation_release(operation);
}

static void go(const struct bench_case *one, struct bench_memory *memory, uint64_t *samples) {
    ropeway_operation_t **live = calloc(one->slots, sizeof *live);
    struct timespec pause = {.tv_nsec = (long)one->pause_us * 1000};
    size_t begun = 0, done;

    (void)memory;
    if (live == NULL) {
        bench_fail("no memory for %zu operations", one->slots);
    }
    for (done = 0; done < one->count; done++) {
        for (; begun < one->count && begun < done + one->slots; begun++) {
            if (one->pause_us > 0) {
                nanosleep(&pause, NULL);
            }
            samples[begun] = bench_now();
            live[begun % one->slots] = begin(one, begun);
        }
        finish(live[done % one->slots]);
        samples[done] = bench_now() - samples[done];
    }
    free(live);
}

static void drop(void) {
    release(&offered, &offered_count);
    release(&pending, &pending_count);
    json_decref(texts);
    texts = NULL;
}

/* The other side sees a peer that it does not know. */
static void renew(void) {
    drop();
    check(ropeway_connector_destroy(connector), "destroy");
    check(ropeway_connector_create(&options, &connector), "connector");
}

static void pend(size_t count) {
    static char byte;
    ropeway_descriptor_t descriptor = {&byte, 1, {ROPEWAY_DEVICE_HOST, 0}};

    pending = calloc(count, sizeof *pending);
    for (; pending != NULL && pending_count < count; pending_count++) {
        check(ropeway_create_readable(connector, &descriptor, 1, NULL, &pending[pending_count]),
              "pending");
    }
}

int main(int argc, char **argv) {
    static const struct bench_worker worker = {.open = open_connector,
                                               .offer = offer,
                                               .take = take,
                                               .go = go,
                                               .drop = drop,
                                               .renew = renew,
                                               .pend = pend};

    return bench_main(argc, argv, &worker);
}
