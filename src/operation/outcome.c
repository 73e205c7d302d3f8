/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An operation's life, from creation to the one outcome that everybody sees.
 *
 *   IDLE ------> MOVING ------> ENDING ------> TERMINAL
 *   (passive)    (peer known)   (decided)      (quiet)
 *
 * The outcome is decided once, by rw_operation_end(); the first decision stands. It is published by
 * rw_operation_settle() when no UCX request touches our memory any more. Requests that do not end
 * within quiet_ms have their connection closed by force, which ends them.
 *
 * Who may decide (docs/design.md has the table):
 *  - The receiver may end an operation until it has said DONE.
 *  - The sender may end it until DONE arrives; but when all bytes went eagerly the receiver may
 * have completed already, so once the last byte has left, a cancelling sender waits for its word.
 *  - With rendezvous ("pulled") the receiver fetched the bytes from the sender's memory at a time
 * of its own. So it is complete only when the sender confirms, by FIN, that it still held the
 * memory.
 *
 * A side that asked for a cancel but must wait for the other's word waits for quiet_ms at most.
 */
#include "base/error.h"
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TEXT_SIZE 640
#define NANOSECONDS_PER_MS 1000000u

/* ---- time ---- */

void rw_operation_touch(ropeway_operation_t *operation) {
    operation->last_moved = rw_now();
}

static uint64_t stall_due(const ropeway_operation_t *operation) RW_LOCKED {
    if (operation->phase != RW_PHASE_MOVING || operation->stall == RW_NEVER) {
        return RW_NEVER;
    }
    return operation->last_moved + operation->stall;
}

void rw_operation_set_timer(ropeway_operation_t *operation) {
    uint64_t due = stall_due(operation);

    if (operation->phase < RW_PHASE_ENDING && operation->deadline < due) {
        due = operation->deadline;
    }
    if (operation->quiet_due < due) {
        due = operation->quiet_due;
    }
    rw_timer_set(&operation->connector->timers, &operation->timer, due);
}

/* From now on the peer has quiet_ms to let us end. */
static void start_quiet(ropeway_operation_t *operation) RW_LOCKED {
    if (operation->quiet_due == RW_NEVER) {
        operation->quiet_due =
            rw_now() + (uint64_t)operation->connector->options.quiet_ms * NANOSECONDS_PER_MS;
    }
    rw_operation_set_timer(operation);
}

static const char *peer_name(const ropeway_operation_t *operation) RW_LOCKED {
    return operation->peer != NULL ? operation->peer->name : "(none yet)";
}

/* The peer did not let us end in time: the connection to it is cut, and with it what is in flight.
 */
static void lose_patience(ropeway_operation_t *operation, uint64_t now) RW_LOCKED {
    uint64_t quiet = (uint64_t)operation->connector->options.quiet_ms * NANOSECONDS_PER_MS;
    bool late = now > operation->quiet_due + quiet / 2;

    operation->quiet_due = RW_NEVER;
    if (late && !operation->asked_again) { /* we were stopped; what the peer said is not read yet */
        operation->asked_again = true;
        start_quiet(operation);
        return;
    }
    if (operation->phase == RW_PHASE_MOVING) {
        rw_operation_end(operation, ROPEWAY_STATUS_CANCELLED, ROPEWAY_ERR_CANCELLED, true,
                         "cancelled; the peer \"%s\" did not confirm it within %u ms",
                         peer_name(operation), operation->connector->options.quiet_ms);
    } else if (operation->inflight > 0 && operation->peer != NULL) {
        rw_peer_forsake(operation->peer, RW_LEAVE_NOW, ROPEWAY_ERR_PEER_LOST,
                        "it did not let an ended operation go, so the connection was closed");
    }
}

static void time_out(ropeway_operation_t *operation) RW_LOCKED {
    rw_operation_end(
        operation, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_DEADLINE, true,
        "the deadline of %llu ms passed after %llu of %llu bytes; peer: \"%s\"",
        (unsigned long long)((operation->deadline - operation->created) / NANOSECONDS_PER_MS),
        (unsigned long long)atomic_load(&operation->done), (unsigned long long)operation->total,
        peer_name(operation));
}

/* A peer that was silent all the while may have lost the connection without our notice. When
 * nothing else uses it, it is made anew for the next operation. */
static void stall(ropeway_operation_t *operation, uint64_t now) RW_LOCKED {
    rw_peer_t *peer = operation->peer;

    rw_operation_end(
        operation, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_STALLED, true,
        "no byte moved to or from the peer \"%s\" for %llu ms, after %llu of %llu "
        "bytes; is it stopped or unreachable?",
        peer_name(operation), (unsigned long long)(operation->stall / NANOSECONDS_PER_MS),
        (unsigned long long)atomic_load(&operation->done), (unsigned long long)operation->total);
    if (peer != NULL && rw_list_is_empty(&peer->operations) &&
        peer->last_heard + operation->stall <= now) {
        rw_peer_forsake(peer, RW_LEAVE_LATER, ROPEWAY_ERR_PEER_LOST,
                        "it was silent for the stall limit");
    }
}

void rw_operation_on_timer(rw_timer_t *timer, uint64_t now) {
    ropeway_operation_t *operation = RW_CONTAINER(timer, ropeway_operation_t, timer);

    operation->references++;
    if (operation->quiet_due <= now) {
        lose_patience(operation, now);
    } else if (operation->phase < RW_PHASE_ENDING && operation->deadline <= now) {
        time_out(operation);
    } else if (stall_due(operation) <= now) {
        stall(operation, now);
    }
    if (operation->phase != RW_PHASE_TERMINAL) {
        rw_operation_set_timer(operation);
    }
    rw_operation_drop(operation);
}

/* ---- deciding ---- */

static ropeway_error_t epitaph_of(const ropeway_operation_t *operation) RW_LOCKED {
    return operation->peer != NULL ? ROPEWAY_ERR_KEY_USED : ROPEWAY_ERR_KEY_FINISHED;
}

void rw_grave_dig(ropeway_connector_t *connector, const uint8_t id[RW_ID_BYTES],
                  ropeway_error_t error) {
    rw_grave_t *grave = &connector->graves[connector->next_grave];

    memcpy(grave->id, id, sizeof grave->id);
    grave->error = error;
    connector->next_grave = (connector->next_grave + 1) % RW_GRAVES;
}

ropeway_error_t rw_grave_read(ropeway_connector_t *connector, const uint8_t id[RW_ID_BYTES]) {
    for (size_t i = 0; i < RW_GRAVES; i++) {
        const rw_grave_t *grave = &connector->graves[i];

        if (grave->error != ROPEWAY_OK && memcmp(grave->id, id, sizeof grave->id) == 0) {
            return grave->error;
        }
    }
    return ROPEWAY_OK;
}

void rw_operation_end(ropeway_operation_t *operation, ropeway_status_t status,
                      ropeway_error_t error, bool tell, const char *format, ...) {
    va_list arguments;

    if (operation->phase >= RW_PHASE_ENDING) {
        return;
    }
    if (operation->cancel_asked && status == ROPEWAY_STATUS_ERRORED) {
        status = ROPEWAY_STATUS_CANCELLED; /* whatever came of it, it is what was asked for */
        error = ROPEWAY_ERR_CANCELLED;
    }
    operation->phase = RW_PHASE_ENDING;
    operation->end_status = status;
    operation->error = error;
    if (status != ROPEWAY_STATUS_COMPLETE) {
        operation->text = malloc(TEXT_SIZE);
        if (operation->text != NULL) {
            va_start(arguments, format);
            vsnprintf(operation->text, TEXT_SIZE, format, arguments);
            va_end(arguments);
        }
    }
    operation->quiet_due = RW_NEVER;
    rw_list_remove(&operation->waiting);
    if (tell) {
        rw_native_tell_end(operation);
    }
    if (operation->inflight > 0) {
        start_quiet(operation);
    }
    rw_operation_settle(operation);
}

void rw_operation_violate(ropeway_operation_t *operation, const char *what) {
    rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_PROTOCOL, true,
                     "the peer \"%s\" broke the protocol: %s", operation->peer->name, what);
}

static void count_outcome(ropeway_operation_t *operation) RW_LOCKED {
    ropeway_stats_t *stats = &operation->connector->stats;

    if (operation->end_status == ROPEWAY_STATUS_COMPLETE) {
        stats->operations_completed++;
    } else if (operation->end_status == ROPEWAY_STATUS_CANCELLED) {
        stats->operations_cancelled++;
    } else {
        stats->operations_errored++;
    }
}

static void release_memories(ropeway_operation_t *operation) RW_LOCKED {
    for (size_t i = 0; operation->memories != NULL && i < operation->piece_count; i++) {
        if (operation->memories[i] != NULL) {
            rw_memory_drop(operation->memories[i]);
        }
    }
    free(operation->memories);
    operation->memories = NULL;
}

static void announce(ropeway_operation_t *operation) RW_LOCKED {
    ropeway_connector_t *connector = operation->connector;
    uint64_t one = 1;

    pthread_cond_broadcast(&operation->changed);
    if ((operation->flags & ROPEWAY_OPERATION_NOTIFY) != 0) {
        rw_list_append(&connector->events, &operation->event);
        (void)!write(connector->event_fd, &one, sizeof one);
    }
    if (operation->callback != NULL) {
        rw_callback_post(operation);
    }
}

void rw_operation_settle(ropeway_operation_t *operation) {
    ropeway_connector_t *connector = operation->connector;

    if (operation->phase != RW_PHASE_ENDING || operation->inflight > 0) {
        return;
    }
    operation->phase = RW_PHASE_TERMINAL;
    rw_timer_set(&connector->timers, &operation->timer, RW_NEVER);
    rw_table_remove(&connector->operations, &operation->node);
    rw_list_remove(&operation->live);
    rw_list_remove(&operation->of_peer);
    connector->live_count--;
    if (!rw_operation_is_active(operation)) {
        rw_grave_dig(connector, operation->node.id, epitaph_of(operation));
    }
    count_outcome(operation);
    if (operation->end_status == ROPEWAY_STATUS_COMPLETE && rw_operation_is_active(operation) &&
        !operation->by_queue) {
        rw_talk_count(operation->peer);
    }
    release_memories(operation);
    rw_nixl_conceal(operation);
    rw_nixl_let_go(operation);
    rw_extents_free(&operation->claimed);
    rw_sums_free(operation);
    atomic_store(&operation->status, operation->end_status);
    announce(operation);
    rw_operation_drop(operation);
}

/* Whether this side may still decide on CANCELLED by itself; see the top of the file. */
static bool may_decide(const ropeway_operation_t *operation) RW_LOCKED {
    if (operation->phase == RW_PHASE_IDLE) {
        return true;
    }
    return operation->is_sender ? !operation->all_sent || operation->pulled : !operation->done_sent;
}

void rw_operation_abort(ropeway_operation_t *operation) {
    if (operation->phase >= RW_PHASE_ENDING || operation->cancel_asked) {
        return;
    }
    operation->cancel_asked = true;
    if (may_decide(operation)) {
        rw_operation_end(operation, ROPEWAY_STATUS_CANCELLED, ROPEWAY_ERR_CANCELLED, true,
                         "cancelled on this side after %llu of %llu bytes; peer: \"%s\"",
                         (unsigned long long)atomic_load(&operation->done),
                         (unsigned long long)operation->total, peer_name(operation));
    } else {
        start_quiet(operation);
    }
}

/* ---- what the user may do ---- */

static ropeway_error_t check_process(const ropeway_operation_t *operation) {
    if (operation == NULL) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT, "the operation is null");
    }
    if (operation->connector->generation != rw_process_generation()) {
        return rw_fail(ROPEWAY_ERR_FORKED,
                       "the operation's connector belongs to the parent process");
    }
    return ROPEWAY_OK;
}

ropeway_error_t ropeway_operation_cancel(ropeway_operation_t *operation) {
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

ropeway_error_t ropeway_operation_wait(ropeway_operation_t *operation, int timeout_ms) {
    ropeway_error_t error = check_process(operation);

    if (error != ROPEWAY_OK) {
        return error;
    }
    if (ropeway_operation_status(operation) < ROPEWAY_STATUS_COMPLETE && timeout_ms != 0) {
        uint64_t due =
            timeout_ms < 0 ? RW_NEVER : rw_now() + (uint64_t)timeout_ms * NANOSECONDS_PER_MS;

        rw_lock(&operation->connector->lock);
        rw_progress_wait(operation, due);
        rw_unlock(&operation->connector->lock);
    }
    if (ropeway_operation_status(operation) < ROPEWAY_STATUS_COMPLETE) {
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
        rw_progress_wait(operation, RW_NEVER);
        rw_progress_kick(connector); /* what was sent may wait for room */
    }
    rw_callback_finish(operation);
    rw_list_remove(&operation->event);
    rw_operation_drop(operation);
    rw_connector_leave(connector);
}
