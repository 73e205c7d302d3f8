/* SPDX-License-Identifier: Apache-2.0 */
/* What an operation answers when it is asked, and how it is cancelled, awaited and released. */
#include "base/error.h"
#include "link/progress.h"
#include "native/native.h"

#include <stdio.h>

/* ---- questions ---- */

ropeway_error_t ropeway_operation_metadata(ropeway_operation_t *operation,
                                           const char **json) RW_UNCHECKED {
    ropeway_connector_t *connector;
    ropeway_error_t error;

    if (operation == NULL || json == NULL || rw_operation_is_active(operation)) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                       "only a readable or writable operation has metadata, and the place for it "
                       "must not be null");
    }
    *json = NULL;
    connector = operation->connector;
    error = rw_connector_check_process(connector);
    if (error != ROPEWAY_OK) {
        return error;
    }
    rw_lock(&connector->lock);
    if (operation->json == NULL) {
        error = rw_native_encode_metadata(operation);
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
        *total = operation != NULL ? atomic_load(&operation->total) : 0;
    }
}

ropeway_operation_kind_t ropeway_operation_kind(const ropeway_operation_t *operation) {
    return operation != NULL ? operation->kind : (ropeway_operation_kind_t)0;
}

void *ropeway_operation_user_data(const ropeway_operation_t *operation) {
    return operation != NULL ? operation->user_data : NULL;
}

const char *ropeway_operation_peer(const ropeway_operation_t *operation) RW_UNCHECKED {
    const char *name = "";

    if (operation == NULL || operation->connector->generation != rw_process_generation()) {
        return name;
    }
    rw_lock(&operation->connector->lock);
    if (operation->peer != NULL) { /* it stays as long as the operation */
        name = operation->peer->name;
    } else if (operation->stock_peer != NULL) {
        name = operation->stock_peer;
    }
    rw_unlock(&operation->connector->lock);
    return name;
}

const char *ropeway_operation_trace(const ropeway_operation_t *operation) RW_UNCHECKED {
    const char *trace = NULL;

    if (operation != NULL && operation->connector->generation == rw_process_generation()) {
        rw_lock(&operation->connector->lock);
        trace = operation->trace; /* it stays as long as the operation */
        rw_unlock(&operation->connector->lock);
    }
    return trace != NULL ? trace : "";
}

size_t ropeway_operation_path(const ropeway_operation_t *operation, char *buffer,
                              size_t size) RW_UNCHECKED {
    char path[128] = "";
    int length;

    if (operation != NULL && operation->connector->generation == rw_process_generation()) {
        rw_lock(&operation->connector->lock);
        if (operation->link != NULL) {
            snprintf(path, sizeof path, "%s", rw_link_path(operation->link));
        }
        rw_unlock(&operation->connector->lock);
    }
    length = snprintf(buffer, size, "%s", path);
    return length > 0 ? (size_t)length : 0;
}

/* ---- cancel, wait, release ---- */

static ropeway_error_t check_process(const ropeway_operation_t *operation) {
    return operation != NULL ? rw_connector_check_process(operation->connector)
                             : rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT, "the operation is null");
}

ropeway_error_t ropeway_operation_cancel(ropeway_operation_t *operation) RW_UNCHECKED {
    ropeway_error_t error = check_process(operation);

    if (error != ROPEWAY_OK) {
        return error;
    }
    rw_lock(&operation->connector->lock);
    if (operation->phase == RW_PHASE_TERMINAL) {
        error = rw_fail(ROPEWAY_ERR_FINISHED,
                        "the operation has already ended with %s; nothing "
                        "was changed",
                        ropeway_status_name(operation->end_status));
    } else {
        rw_operation_abort(operation);
        rw_progress_kick(operation->connector);
    }
    rw_unlock(&operation->connector->lock);
    return error;
}

static ropeway_error_t outcome(const ropeway_operation_t *operation) {
    ropeway_error_t error = ropeway_operation_error(operation);

    return error == ROPEWAY_OK ? error
                               : rw_fail(error, "%s", ropeway_operation_error_text(operation));
}

ropeway_error_t ropeway_operation_wait(ropeway_operation_t *operation,
                                       int timeout_ms) RW_UNCHECKED {
    ropeway_error_t error = check_process(operation);

    if (error != ROPEWAY_OK) {
        return error;
    }
    if (!is_terminal(operation) && timeout_ms != 0) {
        uint64_t due =
            timeout_ms < 0 ? RW_NEVER : rw_now() + (uint64_t)timeout_ms * RW_NANOSECONDS_PER_MS;

        rw_lock(&operation->connector->lock);
        rw_operation_await(operation, due);
        rw_unlock(&operation->connector->lock);
    }
    if (!is_terminal(operation)) {
        return rw_fail(ROPEWAY_ERR_TIMEOUT, "the operation is not finished after %d ms; it goes on",
                       timeout_ms);
    }
    return outcome(operation);
}

void ropeway_operation_release(ropeway_operation_t *operation) RW_UNCHECKED {
    ropeway_connector_t *connector;

    if (operation == NULL) {
        return;
    }
    connector = operation->connector;
    if (connector->generation != rw_process_generation()) {
        rw_operation_discard(operation);
        return;
    }
    rw_lock(&connector->lock);
    if (operation->phase != RW_PHASE_TERMINAL) {
        rw_operation_abort(operation);
        rw_operation_await(operation, RW_NEVER);
        rw_progress_kick(connector); /* what was sent may wait for room */
    }
    rw_callback_finish(operation);
    rw_list_remove(&operation->event);
    rw_operation_drop(operation);
    rw_connector_leave(connector);
}
