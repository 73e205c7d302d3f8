/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user's callbacks, one after the other on a thread that does nothing else, so that one which
 * takes its time holds up no transfer. The thread is started for the first operation that has a
 * callback.
 */
#include "base/error.h"
#include "internal.h"

#include <string.h>

bool rw_callback_is_here(const ropeway_connector_t *connector) {
    return connector->has_caller && pthread_equal(pthread_self(), connector->caller);
}

static void call(ropeway_operation_t *operation) RW_LOCKED {
    ropeway_connector_t *connector = operation->connector;

    rw_list_remove(&operation->calling);
    operation->callback_pending = false;
    operation->callback_running = true;
    rw_unlock(&connector->lock);
    operation->callback(operation, operation->callback_arg);
    rw_lock(&connector->lock);
    operation->callback_running = false;
    pthread_cond_broadcast(&operation->changed);
    rw_operation_drop(operation);
}

static void *caller_main(void *argument) {
    ropeway_connector_t *connector = argument;

    rw_lock(&connector->lock);
    for (;;) {
        if (!rw_list_is_empty(&connector->callbacks)) {
            call(RW_CONTAINER(connector->callbacks.next, ropeway_operation_t, calling));
        } else if (connector->stopping) {
            break;
        } else {
            rw_condition_wait(&connector->called, &connector->lock, RW_NEVER);
        }
    }
    rw_unlock(&connector->lock);
    return NULL;
}

ropeway_error_t rw_callback_prepare(ropeway_connector_t *connector) {
    int problem = connector->has_caller
                      ? 0
                      : pthread_create(&connector->caller, NULL, caller_main, connector);

    if (problem != 0) {
        return rw_fail(ROPEWAY_ERR_SYSTEM, "the thread for callbacks can't be started: %s",
                       strerror(problem));
    }
    connector->has_caller = true;
    return ROPEWAY_OK;
}

void rw_callback_post(ropeway_operation_t *operation) {
    operation->callback_pending = true;
    operation->references++;
    rw_list_append(&operation->connector->callbacks, &operation->calling);
    pthread_cond_signal(&operation->connector->called);
}

void rw_callback_finish(ropeway_operation_t *operation) {
    ropeway_connector_t *connector = operation->connector;

    if (rw_callback_is_here(connector)) {
        if (operation->callback_pending) {
            call(operation);
        }
        return;
    }
    while (operation->callback_pending || operation->callback_running) {
        rw_condition_wait(&operation->changed, &connector->lock, RW_NEVER);
    }
}
