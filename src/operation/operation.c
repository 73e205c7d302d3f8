/* SPDX-License-Identifier: Apache-2.0 */
/* Operations as objects: options, creation, what they answer when asked. outcome.c tells how they
 * end. */
#include "base/error.h"
#include "internal.h"
#include "text/descriptor.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NANOSECONDS_PER_MS 1000000u

static const ropeway_operation_options_t defaults = {
    .struct_size = sizeof(ropeway_operation_options_t),
    .deadline_ms = ROPEWAY_INHERIT,
    .stall_ms = ROPEWAY_INHERIT,
};

void ropeway_operation_options_init(ropeway_operation_options_t *options, size_t size) {
    if (options == NULL) {
        return;
    }
    memset(options, 0, size);
    memcpy(options, &defaults, size < sizeof defaults ? size : sizeof defaults);
    options->struct_size = size;
}

/* *options: the given ones and the defaults of the others. */
static ropeway_error_t take_options(ropeway_operation_t *operation,
                                    const ropeway_operation_options_t *given,
                                    ropeway_operation_options_t *options) {
    const ropeway_connector_options_t *general = &operation->connector->options;
    uint32_t deadline, stall;

    *options = defaults;
    if (given != NULL) {
        if (given->struct_size < sizeof given->struct_size) {
            return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                           "the operation options' struct_size is %zu; fill them with "
                           "ropeway_operation_options_init() first",
                           given->struct_size);
        }
        memcpy(options, given,
               given->struct_size < sizeof *options ? given->struct_size : sizeof *options);
    }
    if ((options->flags & ~(uint32_t)(ROPEWAY_OPERATION_NOTIFY | ROPEWAY_OPERATION_INTEGRITY)) !=
        0) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                       "the operation options' flags are 0x%x; only ROPEWAY_OPERATION_* are known",
                       options->flags);
    }
    deadline =
        options->deadline_ms == ROPEWAY_INHERIT ? general->deadline_ms : options->deadline_ms;
    stall = options->stall_ms == ROPEWAY_INHERIT ? general->stall_ms : options->stall_ms;
    operation->flags = options->flags;
    operation->integrity = (options->flags & ROPEWAY_OPERATION_INTEGRITY) != 0;
    operation->callback = options->callback;
    operation->callback_arg = options->callback_arg;
    operation->user_data = options->user_data;
    operation->created = rw_now();
    operation->deadline =
        deadline == 0 ? RW_NEVER : operation->created + (uint64_t)deadline * NANOSECONDS_PER_MS;
    operation->stall = stall == 0 ? RW_NEVER : (uint64_t)stall * NANOSECONDS_PER_MS;
    return ROPEWAY_OK;
}

ropeway_error_t rw_device_check(const ropeway_connector_t *connector, ropeway_device_t device) {
    char text[32];

    if (device.kind == ROPEWAY_DEVICE_HOST ||
        (device.kind == ROPEWAY_DEVICE_CUDA && connector->has_cuda)) {
        return ROPEWAY_OK;
    }
    ropeway_device_format(device, text, sizeof text);
    if (device.kind != ROPEWAY_DEVICE_CUDA) {
        return rw_fail(ROPEWAY_ERR_DEVICE, "memory on %s can't be used: only cpu and cuda can",
                       text);
    }
    return rw_fail(ROPEWAY_ERR_DEVICE,
                   "memory on %s can't be used: UCX %s was loaded without support for it (its CUDA "
                   "modules or the NVIDIA driver are missing); `ropeway info` shows what it has",
                   text, ropeway_ucx_version());
}

static void init_fields(ropeway_operation_t *operation) {
    rw_link_t *links[] = {&operation->live, &operation->of_peer, &operation->waiting,
                          &operation->calling, &operation->event};

    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        rw_list_init(links[i]);
    }
    rw_condition_init(&operation->changed);
    operation->timer.run = rw_operation_on_timer;
    randombytes_buf(operation->node.id, sizeof operation->node.id);
    operation->quiet_due = RW_NEVER;
    operation->references = 1;
    atomic_init(&operation->status, ROPEWAY_STATUS_UNINITIALIZED);
    atomic_init(&operation->done, 0);
}

ropeway_error_t rw_operation_new(ropeway_connector_t *connector, ropeway_operation_kind_t kind,
                                 const ropeway_descriptor_t *descriptors, size_t count,
                                 const ropeway_operation_options_t *options,
                                 ropeway_operation_t **result) {
    ropeway_operation_t *operation = calloc(1, sizeof *operation);
    ropeway_operation_options_t full;
    ropeway_error_t error;

    if (operation == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    init_fields(operation);
    operation->connector = connector;
    operation->kind = kind;
    operation->is_sender = kind == ROPEWAY_OPERATION_READABLE || kind == ROPEWAY_OPERATION_WRITE;
    error = take_options(operation, options, &full);
    if (error == ROPEWAY_OK) {
        error = rw_layout_make(operation, descriptors, count, &full);
    }
    if (error != ROPEWAY_OK) {
        rw_operation_discard(operation);
        return error;
    }
    *result = operation;
    return ROPEWAY_OK;
}

void rw_operation_discard(ropeway_operation_t *operation) {
    rw_sums_free(operation);
    rw_extents_free(&operation->claimed);
    rw_layout_free(operation);
    free(operation->memories);
    free(operation->remote_ptrs);
    free(operation->remote_name);
    free(operation->stock_peer);
    free(operation->json);
    free(operation->text);
    if (operation->connector->generation == rw_process_generation()) {
        /* A forked child must not: it would wait for the parent's waiters. */
        pthread_cond_destroy(&operation->changed);
    }
    free(operation);
}

/* Looks up the registrations that cover the descriptors. */
static ropeway_error_t find_memories(ropeway_operation_t *operation) RW_LOCKED {
    ropeway_connector_t *connector = operation->connector;

    if (rw_list_is_empty(&connector->memories)) {
        return ROPEWAY_OK;
    }
    operation->memories = calloc(operation->piece_count, sizeof *operation->memories);
    if (operation->memories == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    for (size_t i = 0; i < operation->piece_count; i++) {
        operation->memories[i] =
            rw_memory_find(connector, operation->pieces[i].ptr, operation->pieces[i].size);
    }
    return ROPEWAY_OK;
}

ropeway_error_t rw_operation_start(ropeway_operation_t *operation) {
    ropeway_connector_t *connector = operation->connector;
    ropeway_error_t error;

    if (connector->live_count >= connector->options.max_operations) {
        return rw_fail(ROPEWAY_ERR_LIMIT,
                       "the connector has %zu live operations, its limit (max_operations); release "
                       "some or raise it",
                       connector->live_count);
    }
    if (!rw_progress_reserve_timer(connector)) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    error = operation->callback != NULL ? rw_callback_prepare(connector) : ROPEWAY_OK;
    if (error == ROPEWAY_OK) {
        error = find_memories(operation);
    }
    if (error != ROPEWAY_OK) {
        return error;
    }
    operation->references = 2; /* the user's and the engine's */
    connector->references++;
    connector->live_count++;
    connector->stats.operations_created++;
    rw_table_add(&connector->operations, &operation->node);
    rw_list_append(&connector->live, &operation->live);
    operation->last_moved = rw_now();
    atomic_store(&operation->status, rw_operation_is_active(operation)
                                         ? ROPEWAY_STATUS_IN_PROGRESS
                                         : ROPEWAY_STATUS_INITIALIZED);
    rw_operation_set_timer(operation);
    return ROPEWAY_OK;
}

void rw_operation_bind(ropeway_operation_t *operation, rw_peer_t *peer,
                       const uint8_t remote[RW_ID_BYTES]) {
    operation->peer = peer;
    peer->references++;
    rw_list_append(&peer->operations, &operation->of_peer);
    memcpy(operation->remote, remote, RW_ID_BYTES);
    operation->phase = RW_PHASE_MOVING;
    atomic_store(&operation->status, ROPEWAY_STATUS_IN_PROGRESS);
    rw_operation_touch(operation);
    rw_operation_set_timer(operation);
}

bool rw_operation_drop(ropeway_operation_t *operation) {
    ropeway_connector_t *connector = operation->connector;

    if (--operation->references > 0) {
        return false;
    }
    if (operation->peer != NULL) {
        rw_peer_drop(operation->peer);
    }
    rw_operation_discard(operation);
    connector->references--;
    return true;
}

static ropeway_error_t encode_metadata(ropeway_operation_t *operation) RW_LOCKED {
    ropeway_connector_t *connector = operation->connector;
    rw_connection_t connection = {
        .backend = RW_BACKEND_NATIVE, .blob = connector->hello, .length = connector->hello_length};
    char key[RW_KEY_TEXT];
    size_t length;

    rw_key_to_text(operation->node.id, key);
    return rw_metadata_encode(operation->kind, operation->descriptors, operation->count,
                              connector->name, &connection, 1, NULL, 0, key,
                              connector->options.max_metadata, &operation->json, &length);
}

ropeway_error_t ropeway_operation_metadata(ropeway_operation_t *operation,
                                           const char **json) RW_UNCHECKED {
    ropeway_connector_t *connector;
    ropeway_error_t error = ROPEWAY_OK;

    if (operation == NULL || json == NULL || rw_operation_is_active(operation)) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                       "only a readable or writable operation has metadata, and the place for it "
                       "must not be null");
    }
    *json = NULL;
    connector = operation->connector;
    if (connector->generation != rw_process_generation()) {
        return rw_fail(ROPEWAY_ERR_FORKED, "the connector \"%s\" belongs to the parent process",
                       connector->name);
    }
    rw_lock(&connector->lock);
    if (operation->json == NULL) {
        error = encode_metadata(operation);
    }
    *json = operation->json;
    rw_unlock(&connector->lock);
    return error;
}

ropeway_status_t ropeway_operation_status(const ropeway_operation_t *operation) {
    return operation != NULL ? (ropeway_status_t)atomic_load(&operation->status)
                             : ROPEWAY_STATUS_UNINITIALIZED;
}

const char *ropeway_status_name(ropeway_status_t status) {
    static const char *const names[] = {"UNINIT", "INIT", "PROC", "DONE", "STOP", "ERR"};

    return (size_t)status < sizeof names / sizeof *names ? names[status] : names[0];
}

static bool is_terminal(const ropeway_operation_t *operation) {
    return ropeway_operation_status(operation) >= ROPEWAY_STATUS_COMPLETE;
}

ropeway_error_t ropeway_operation_error(const ropeway_operation_t *operation) {
    return operation != NULL && is_terminal(operation) ? operation->error : ROPEWAY_OK;
}

const char *ropeway_operation_error_text(const ropeway_operation_t *operation) {
    return operation != NULL && is_terminal(operation) && operation->text != NULL ? operation->text
                                                                                  : "";
}

void ropeway_operation_progress(const ropeway_operation_t *operation, uint64_t *done,
                                uint64_t *total) {
    if (done != NULL) {
        *done = operation != NULL ? atomic_load(&operation->done) : 0;
    }
    if (total != NULL) {
        *total = operation != NULL ? operation->total : 0;
    }
}

ropeway_operation_kind_t ropeway_operation_kind(const ropeway_operation_t *operation) {
    return operation->kind;
}

void *ropeway_operation_user_data(const ropeway_operation_t *operation) {
    return operation != NULL ? operation->user_data : NULL;
}

/* The peer as it is now; once set it stays, and lives as long as the operation. */
static rw_peer_t *peer_of(const ropeway_operation_t *operation) {
    rw_peer_t *peer;

    if (operation == NULL || operation->connector->generation != rw_process_generation()) {
        return NULL;
    }
    rw_lock(&operation->connector->lock);
    peer = operation->peer;
    rw_unlock(&operation->connector->lock);
    return peer;
}

const char *ropeway_operation_peer(const ropeway_operation_t *operation) {
    const rw_peer_t *peer = peer_of(operation);

    if (peer != NULL) {
        return peer->name;
    }
    return ropeway_operation_status(operation) == ROPEWAY_STATUS_COMPLETE &&
                   operation->stock_peer != NULL
               ? operation->stock_peer
               : "";
}

size_t ropeway_operation_path(const ropeway_operation_t *operation, char *buffer, size_t size) {
    rw_peer_t *peer = peer_of(operation);
    const char *path = "";
    int length;

    if (peer != NULL) {
        rw_lock(&operation->connector->lock);
        path = rw_peer_path(peer, operation->by_queue);
        rw_unlock(&operation->connector->lock);
    }
    length = snprintf(buffer, size, "%s", path);
    return length > 0 ? (size_t)length : 0;
}
