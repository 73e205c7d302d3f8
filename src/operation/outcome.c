/* SPDX-License-Identifier: Apache-2.0 */
/* How operations end: the outcome is decided, waits for quiet, and is told. */
#include "base/assert.h"
#include "link/progress.h"
#include "operation/operation.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TEXT_SIZE 640

/* ---- deciding ---- */

/* The outcome is decided: waits for quiet. */
static void begin_ending(ropeway_operation_t *operation, ropeway_status_t status,
                         ropeway_error_t error, bool tell) RW_LOCKED {
    operation->phase = RW_PHASE_ENDING;
    operation->end_status = status;
    operation->error = error;
    operation->quiet_due = RW_NEVER;
    if (tell) {
        operation->protocol->tell(operation);
    }
    if (operation->inflight > 0 && operation->link != NULL) {
        operation->link->kind->abandon(operation->link, operation);
    }
    if (operation->inflight > 0) {
        rw_operation_start_quiet(operation);
    }
    rw_operation_settle(operation);
}

void rw_operation_end(ropeway_operation_t *operation, ropeway_status_t status,
                      ropeway_error_t error, bool tell, const char *format, ...) {
    bool in_doubt = operation->cancel_asked && status == ROPEWAY_STATUS_ERRORED;
    int length = 0;
    va_list arguments;

    rw_assert(status != ROPEWAY_STATUS_COMPLETE);
    if (operation->phase >= RW_PHASE_ENDING) {
        return;
    }
    if (in_doubt) {
        status = ROPEWAY_STATUS_CANCELLED; /* whatever came of it, it is what was asked for */
        error = ROPEWAY_ERR_CANCELLED;
    }
    operation->text = malloc(TEXT_SIZE);
    if (operation->text != NULL) {
        if (in_doubt) {
            length = snprintf(operation->text, TEXT_SIZE,
                              "cancelled; the peer \"%s\" did not confirm it: ",
                              rw_operation_peer_name(operation));
        }
        va_start(arguments, format);
        vsnprintf(operation->text + length, TEXT_SIZE - (size_t)length, format, arguments);
        va_end(arguments);
    }
    begin_ending(operation, status, error, tell);
}

void rw_operation_complete(ropeway_operation_t *operation, bool tell) {
    if (operation->phase < RW_PHASE_ENDING) {
        begin_ending(operation, ROPEWAY_STATUS_COMPLETE, ROPEWAY_OK, tell);
    }
}

void rw_operation_violate(ropeway_operation_t *operation, const char *what) {
    rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_PROTOCOL, true,
                     "the peer \"%s\" broke the protocol: %s", rw_operation_peer_name(operation),
                     what);
}

void rw_operation_run_out(ropeway_operation_t *operation, const char *what) {
    rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_NO_MEMORY, true,
                     "out of memory for %s", what);
}

/* ---- telling ---- */

static void count_outcome(const ropeway_operation_t *operation) RW_LOCKED {
    ropeway_stats_t *stats = &operation->connector->stats;

    if (operation->end_status == ROPEWAY_STATUS_COMPLETE) {
        stats->operations_completed++;
    } else if (operation->end_status == ROPEWAY_STATUS_CANCELLED) {
        stats->operations_cancelled++;
    } else {
        stats->operations_errored++;
    }
}

static void announce(ropeway_operation_t *operation) RW_LOCKED {
    struct rw_operations *operations = operation->connector->operations;
    uint64_t one = 1;

    pthread_cond_broadcast(&operation->changed);
    if ((operation->flags & ROPEWAY_OPERATION_NOTIFY) != 0) {
        rw_list_append(&operations->events, &operation->event);
        (void)!write(operations->event_fd, &one, sizeof one);
    }
    if (operation->callback != NULL) {
        rw_callback_post(operation);
    }
}

/* It is not under way any more: takes it out of the tables, and gives back what only a live
 * operation needs. */
static void retire(ropeway_operation_t *operation) RW_LOCKED {
    ropeway_connector_t *connector = operation->connector;
    struct rw_operations *operations = connector->operations;

    rw_timer_return(&connector->timers, &operation->timer);
    rw_table_remove(&operations->table, &operation->node);
    rw_list_remove(&operation->live);
    rw_operation_sate(operation);
    rw_list_remove(&operation->of_peer.node);
    connector->stats.operations_live--;
    if (!rw_operation_is_active(operation)) {
        rw_recent_add(&operations->ended, operation->node.id, operation->later);
    }
    count_outcome(operation);
    rw_memory_unuse(&operation->memories);
    if (operation->conceal != NULL) {
        operation->conceal(operation);
    }
    operation->protocol->release(operation);
}

void rw_operation_settle(ropeway_operation_t *operation) {
    if (operation->phase != RW_PHASE_ENDING || operation->inflight > 0) {
        return;
    }
    operation->phase = RW_PHASE_TERMINAL;
    retire(operation);
    atomic_store(&operation->status, operation->end_status);
    announce(operation);
    rw_operation_drop(operation);
}

/* ---- what the user asks for ---- */

void rw_operation_abort(ropeway_operation_t *operation) {
    rw_tell_t peer;

    if (operation->phase >= RW_PHASE_ENDING || operation->cancel_asked) {
        return;
    }
    operation->cancel_asked = true;
    if (operation->phase == RW_PHASE_IDLE || operation->protocol->may_decide(operation)) {
        rw_operation_end(operation, ROPEWAY_STATUS_CANCELLED, ROPEWAY_ERR_CANCELLED, true,
                         "cancelled on this side after %llu of %llu bytes; %s",
                         (unsigned long long)atomic_load(&operation->done),
                         (unsigned long long)operation->layout.total,
                         rw_operation_tell_peer(operation, peer));
    } else {
        rw_operation_start_quiet(operation);
    }
}

static bool is_over(const void *argument) RW_UNCHECKED {
    const ropeway_operation_t *operation = argument;

    return operation->phase == RW_PHASE_TERMINAL;
}

void rw_operation_await(ropeway_operation_t *operation, uint64_t due) {
    rw_wait_t wait = {.is_over = is_over, .arg = operation, .changed = &operation->changed};

    rw_progress_wait(operation->connector, &wait, due);
}
