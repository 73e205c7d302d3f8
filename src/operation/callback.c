/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user's callbacks, one after the other on a thread that does nothing else, so that one which
 * takes its time holds up no transfer. The thread is started for the first operation that has a
 * callback.
 */
#include "base/assert.h"
#include "operation/operation.h"

/* How often whoever waits for a callback looks before it sleeps. One that has woken the thread
 * which gives the operation back is about to return. */
#define FINISH_PAUSES 32

bool rw_callback_is_here(const ropeway_connector_t *connector) {
    const struct rw_operations *operations = connector->operations;

    return operations->has_caller && pthread_equal(pthread_self(), operations->caller);
}

static void call(ropeway_operation_t *operation) RW_LOCKED {
    ropeway_connector_t *connector = operation->connector;

    rw_assert(operation->call == RW_CALL_PENDING);
    rw_list_remove(&operation->calling);
    operation->call = RW_CALL_RUNNING;
    rw_unlock(&connector->lock);
    operation->callback(operation, operation->callback_arg);
    rw_lock(&connector->lock);
    operation->call = RW_CALL_NONE;
    pthread_cond_broadcast(&operation->changed);
    rw_operation_drop(operation);
}

static void *run(void *argument) {
    ropeway_connector_t *connector = argument;
    struct rw_operations *operations = connector->operations;

    rw_lock(&connector->lock);
    for (;;) {
        if (!rw_list_is_empty(&operations->callbacks)) {
            call(RW_CONTAINER(operations->callbacks.next, ropeway_operation_t, calling));
        } else if (operations->stopping) {
            break;
        } else {
            rw_condition_wait(&operations->called, &connector->lock, RW_NEVER);
        }
    }
    rw_unlock(&connector->lock);
    return NULL;
}

ropeway_error_t rw_callback_prepare(ropeway_connector_t *connector) {
    struct rw_operations *operations = connector->operations;
    ropeway_error_t error = ROPEWAY_OK;

    if (!operations->has_caller) {
        error = rw_spawn(&operations->caller, run, connector, "the thread for callbacks");
        operations->has_caller = error == ROPEWAY_OK;
    }
    return error;
}

void rw_callback_post(ropeway_operation_t *operation) {
    struct rw_operations *operations = operation->connector->operations;

    operation->call = RW_CALL_PENDING;
    operation->references++;
    rw_list_append(&operations->callbacks, &operation->calling);
    pthread_cond_signal(&operations->called);
}

void rw_callback_finish(ropeway_operation_t *operation) {
    ropeway_connector_t *connector = operation->connector;

    if (rw_callback_is_here(connector)) {
        if (operation->call == RW_CALL_PENDING) {
            call(operation);
        }
        return;
    }
    for (int i = 0; i < FINISH_PAUSES && operation->call == RW_CALL_RUNNING; i++) {
        rw_lock_pause(&connector->lock);
    }
    while (operation->call != RW_CALL_NONE) {
        rw_condition_wait(&operation->changed, &connector->lock, RW_NEVER);
    }
}

void rw_callback_stop(ropeway_connector_t *connector) {
    connector->operations->stopping = true;
    pthread_cond_signal(&connector->operations->called);
}

void rw_callback_join(ropeway_connector_t *connector) RW_UNCHECKED {
    if (connector->operations->has_caller) {
        pthread_join(connector->operations->caller, NULL);
    }
}
