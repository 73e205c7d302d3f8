/* SPDX-License-Identifier: Apache-2.0 */
/* An operation's limits: deadline, stall limit, least rate, and patience with a peer while it ends.
 */
#include "operation/operation.h"

#define PACE_WINDOW ((uint64_t)30000 * RW_NANOSECONDS_PER_MS) /* where there is no stall limit */

static uint64_t stall_due(const ropeway_operation_t *operation) RW_LOCKED {
    if (operation->phase != RW_PHASE_MOVING || operation->stall == RW_NEVER) {
        return RW_NEVER;
    }
    return operation->last_moved + operation->stall;
}

/* When its rate is to be judged. */
static uint64_t pace_due(const ropeway_operation_t *operation) RW_LOCKED {
    if (operation->phase != RW_PHASE_MOVING || operation->connector->options.min_rate == 0 ||
        atomic_load(&operation->done) >= operation->layout.total) {
        return RW_NEVER;
    }
    return operation->paced_at + (operation->stall != RW_NEVER ? operation->stall : PACE_WINDOW);
}

void rw_operation_set_timer(ropeway_operation_t *operation) {
    uint64_t due = stall_due(operation), pace = pace_due(operation);

    due = pace < due ? pace : due;
    if (operation->phase < RW_PHASE_ENDING && operation->deadline < due) {
        due = operation->deadline;
    }
    if (operation->quiet_due < due) {
        due = operation->quiet_due;
    }
    rw_timer_set(&operation->connector->timers, &operation->timer, due);
}

void rw_operation_start_quiet(ropeway_operation_t *operation) {
    if (operation->quiet_due == RW_NEVER) {
        operation->quiet_due =
            rw_now() + (uint64_t)operation->connector->options.quiet_ms * RW_NANOSECONDS_PER_MS;
    }
    rw_operation_set_timer(operation);
}

/* The peer did not let us end in time: the connection to it is cut, and with it what is in flight.
 */
static void lose_patience(ropeway_operation_t *operation, uint64_t now) RW_LOCKED {
    uint64_t quiet = (uint64_t)operation->connector->options.quiet_ms * RW_NANOSECONDS_PER_MS;
    bool late = now > operation->quiet_due + quiet / 2;

    operation->quiet_due = RW_NEVER;
    if (late && !operation->asked_again) { /* we were stopped; what the peer said is not read yet */
        operation->asked_again = true;
        rw_operation_start_quiet(operation);
        return;
    }
    if (operation->phase == RW_PHASE_MOVING) {
        rw_operation_end(operation, ROPEWAY_STATUS_CANCELLED, ROPEWAY_ERR_CANCELLED, true,
                         "cancelled; the peer \"%s\" did not confirm it within %u ms",
                         rw_operation_peer_name(operation), operation->connector->options.quiet_ms);
    } else if (operation->inflight > 0 && operation->peer != NULL) {
        rw_peer_leave(operation->peer, RW_CLOSE_NOW, ROPEWAY_ERR_PEER_LOST,
                      "it did not let an ended operation go, so the connection was closed");
    }
}

static void time_out(ropeway_operation_t *operation) RW_LOCKED {
    rw_tell_t peer;

    rw_operation_end(
        operation, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_DEADLINE, true,
        "the deadline of %llu ms passed after %llu of %llu bytes; %s",
        (unsigned long long)((operation->deadline - operation->created) / RW_NANOSECONDS_PER_MS),
        (unsigned long long)atomic_load(&operation->done),
        (unsigned long long)operation->layout.total, rw_operation_tell_peer(operation, peer));
}

/* A peer that was silent all the while may have lost the connection without our notice. When
 * nothing else uses it, it is made anew for the next operation. */
static void stall(ropeway_operation_t *operation, uint64_t now) RW_LOCKED {
    rw_peer_t *peer = operation->peer;

    rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_STALLED, true,
                     "no byte moved to or from the peer \"%s\" for %llu ms, after %llu of %llu "
                     "bytes; is it stopped or unreachable?",
                     rw_operation_peer_name(operation),
                     (unsigned long long)(operation->stall / RW_NANOSECONDS_PER_MS),
                     (unsigned long long)atomic_load(&operation->done),
                     (unsigned long long)operation->layout.total);
    if (peer != NULL && rw_list_is_empty(&peer->users) &&
        peer->last_heard + operation->stall <= now) {
        rw_peer_leave(peer, RW_CLOSE_LATER, ROPEWAY_ERR_PEER_LOST,
                      "it was silent for the stall limit");
    }
}

/* Bytes have moved, or the stall limit would have ended it; but were they enough? */
static void judge_pace(ropeway_operation_t *operation, uint64_t now) RW_LOCKED {
    uint64_t done = atomic_load(&operation->done), moved = done - operation->paced_bytes;
    uint64_t elapsed = (now - operation->paced_at) / RW_NANOSECONDS_PER_MS;
    size_t rate = operation->connector->options.min_rate;

    if ((double)moved * 1000 < (double)rate * (double)elapsed) {
        rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_STALLED, true,
                         "%llu bytes moved to or from the peer \"%s\" in %llu ms, which is less "
                         "than the %zu a second of the option min_rate, after %llu of %llu bytes",
                         (unsigned long long)moved, rw_operation_peer_name(operation),
                         (unsigned long long)elapsed, rate, (unsigned long long)done,
                         (unsigned long long)operation->layout.total);
    } else {
        operation->paced_at = now;
        operation->paced_bytes = done;
    }
}

void rw_operation_on_timer(rw_timer_t *timer, uint64_t now) {
    ropeway_operation_t *operation = RW_CONTAINER(timer, ropeway_operation_t, timer);
    uint64_t stalls = stall_due(operation), paced = pace_due(operation);

    operation->references++;
    if (operation->quiet_due <= now) {
        lose_patience(operation, now);
    } else if (operation->phase < RW_PHASE_ENDING && operation->deadline <= now) {
        time_out(operation);
    } else if (paced <= now && paced < stalls) { /* a late timer may find both over */
        judge_pace(operation, now);
    } else if (stalls <= now) {
        stall(operation, now);
    }
    if (operation->phase != RW_PHASE_TERMINAL) {
        rw_operation_set_timer(operation);
    }
    rw_operation_drop(operation);
}
