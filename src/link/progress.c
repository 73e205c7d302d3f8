/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who drives UCX, and when it may sleep.
 *
 * UCX moves only while somebody calls ucp_worker_progress(). The connector's progress thread does,
 * and sleeps in epoll when there is nothing to do: ucp_worker_arm() makes UCX's descriptor readable
 * at the next event. Three things make that fast:
 *
 *  - After activity the thread polls for spin_us more before it sleeps.
 *  - A thread in ropeway_operation_wait() drives UCX itself for a while (it is then a "driver"), so
 *    that a short operation needs no thread switch. Two threads that poll would only fight for the
 *    lock, so the progress thread parks while there is a driver. It stays parked for LINGER after
 *    the last driver left, because a program that waits for one operation is likely to begin and
 *    wait for another. It looks by itself whether the driver is still there: to wake it when the
 *    driver leaves would cost more than a small operation.
 *  - A thread that posts while the progress thread sleeps (UCX armed) polls and arms UCX again
 *    itself, and wakes the thread only when UCX stays busy or a timer became due sooner.
 *
 * The states of the progress thread: polling (neither flag), sleeping, parked. Both flags change
 * only under the lock. A state in which nobody polls and UCX is not armed lasts LINGER at most.
 */
#include "base/error.h"
#include "internal.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LINGER 100000u   /* nanoseconds; the parked thread looks as often at a driver at work */
#define BURST 32         /* calls of ucp_worker_progress() per step */
#define ARM_TRIES 8      /* how often a posting thread polls before it gives up and wakes */
#define FULL_STEP 8      /* of so many steps one is whole, when there are queues */
#define STEP_LATE 20000u /* nanoseconds; the next one is whole after so long in any case */
#define LOOK_STEP 256    /* so often somebody may have asked for a queue without our notice */
#define SULK_MS 5u       /* how often to look at a queue that can't be armed */
#define MILLISECOND 1000000u

static uint64_t spin_time(const ropeway_connector_t *connector) {
    return (uint64_t)connector->options.spin_us * 1000;
}

bool rw_progress_reserve_timer(ropeway_connector_t *connector) {
    return rw_timers_reserve(&connector->timers, connector->live_count + connector->leaving_count +
                                                     connector->talk_count + 1) == 0;
}

static bool run_timers(ropeway_connector_t *connector) RW_LOCKED {
    rw_timer_t *timer = rw_timers_first(&connector->timers);
    uint64_t now;
    bool any = false;

    if (timer == NULL) {
        return false;
    }
    now = rw_now();
    while (timer != NULL && timer->due <= now) {
        rw_timer_set(&connector->timers, timer, RW_NEVER);
        timer->run(timer, now);
        timer = rw_timers_first(&connector->timers);
        any = true;
    }
    return any;
}

bool rw_progress_step(ropeway_connector_t *connector) {
    bool any = rw_queue_progress(connector);

    for (int i = 0; i < BURST && ucp_worker_progress(connector->worker) != 0; i++) {
        any = true;
    }
    for (int i = 0;
         connector->nixl != NULL && i < BURST && ucp_worker_progress(connector->nixl->worker) != 0;
         i++) {
        any = true;
    }
    if (connector->knocked || !rw_list_is_empty(&connector->talks) ||
        !rw_list_is_empty(&connector->asking) || ++connector->steps % LOOK_STEP == 0) {
        connector->knocked = false;
        rw_talk_look(connector);
    }
    if (!rw_list_is_empty(&connector->queues)) {
        connector->last_step = rw_now();
    }
    any |= rw_peer_bury(connector);
    any |= run_timers(connector);
    rw_send_feed(connector);
    return any;
}

/* A step without what a queue makes dispensable for a while: to ask the other transports costs
 * several times what a message through a queue does. */
static bool short_step(ropeway_connector_t *connector) RW_LOCKED {
    if (rw_list_is_empty(&connector->queues) || ++connector->turns % FULL_STEP == 0 ||
        rw_now() - connector->last_step > STEP_LATE) {
        return rw_progress_step(connector);
    }
    return rw_queue_progress(connector);
}

void rw_progress_wake(ropeway_connector_t *connector) {
    uint64_t one = 1;

    if (connector->parked) {
        connector->unparking = true;
        pthread_cond_signal(&connector->unpark);
    } else if (connector->sleeping) {
        (void)!write(connector->wake_fd, &one, sizeof one);
    }
}

/* Whether the sleeping thread will be up in time for the next timer. */
static bool wakes_in_time(const ropeway_connector_t *connector) RW_LOCKED {
    const rw_timer_t *timer = rw_timers_first(&connector->timers);

    return (timer == NULL || timer->due >= connector->sleep_until) && !connector->sulking;
}

static bool arm(ropeway_connector_t *connector) RW_LOCKED {
    return rw_queue_arm(connector) && ucp_worker_arm(connector->worker) == UCS_OK &&
           (connector->nixl == NULL || ucp_worker_arm(connector->nixl->worker) == UCS_OK);
}

void rw_progress_kick(ropeway_connector_t *connector) {
    if (connector->drivers > 0 || connector->parked || !connector->sleeping) {
        return;
    }
    for (int i = 0; i < ARM_TRIES; i++) {
        /* What a step did may call for another, of which UCX's descriptor tells nothing. */
        if (!rw_progress_step(connector) && arm(connector)) {
            if (wakes_in_time(connector)) {
                return;
            }
            break;
        }
    }
    rw_progress_wake(connector);
}

/* Sleeps until UCX, rw_progress_wake() or a timer. Returns at once when UCX is busy. */
static void sleep_armed(ropeway_connector_t *connector) RW_LOCKED {
    const rw_timer_t *timer = rw_timers_first(&connector->timers);
    struct epoll_event events[3];
    uint64_t due = timer != NULL ? timer->due : RW_NEVER, now = rw_now(), ignored;
    int timeout = -1, count;

    if (!arm(connector)) {
        return;
    }
    if (connector->sulking && due > now + SULK_MS * MILLISECOND) {
        due = now + SULK_MS * MILLISECOND;
    }
    if (due != RW_NEVER) {
        uint64_t left = due > now ? (due - now + MILLISECOND - 1) / MILLISECOND : 0;

        timeout = left > INT32_MAX ? INT32_MAX : (int)left;
    }
    connector->sleep_until = due;
    connector->sleeping = true;
    rw_unlock(&connector->lock);
    count = epoll_wait(connector->epoll_fd, events, 3, timeout);
    rw_lock(&connector->lock);
    connector->sleeping = false;
    connector->stats.wakeups++;
    for (int i = 0; i < count; i++) {
        int fd = events[i].data.fd;

        if (fd == connector->wake_fd) {
            (void)!read(fd, &ignored, sizeof ignored);
        } else if (rw_talk_owns(connector, fd)) {
            connector->knocked = true;
        } else if (rw_queue_owns(connector, fd)) {
            continue;
        } else if (fd != connector->ucx_fd &&
                   (connector->nixl == NULL || fd != connector->nixl->fd)) {
            rw_watch_event(connector, fd);
        }
    }
}

/* Leaves the driving to the waiters, while there are any and for LINGER after. */
static void park(ropeway_connector_t *connector) RW_LOCKED {
    connector->parked = true;
    connector->unparking = false;
    while (!connector->unparking && !connector->stopping) {
        uint64_t now = rw_now();

        if (connector->drivers == 0 && now >= connector->last_driven + LINGER) {
            break;
        }
        rw_condition_wait(&connector->unpark, &connector->lock,
                          connector->drivers > 0 ? now + LINGER : connector->last_driven + LINGER);
    }
    connector->parked = false;
}

static void *progress_main(void *argument) {
    ropeway_connector_t *connector = argument;
    uint64_t active = 0;

    rw_lock(&connector->lock);
    while (!connector->stopping) {
        if (connector->drivers > 0) {
            park(connector);
        } else if (short_step(connector)) {
            active = rw_now();
        } else if (rw_now() - active >= spin_time(connector)) {
            /* The last turns may have been short ones. */
            if (!rw_progress_step(connector)) {
                sleep_armed(connector);
            }
            active = rw_now();
        } else {
            rw_lock_pause(&connector->lock);
        }
        rw_lock_yield(&connector->lock);
    }
    rw_unlock(&connector->lock);
    return NULL;
}

ropeway_error_t rw_progress_start(ropeway_connector_t *connector) {
    int problem = pthread_create(&connector->thread, NULL, progress_main, connector);

    if (problem != 0) {
        return rw_fail(ROPEWAY_ERR_SYSTEM, "the progress thread can't be started: %s",
                       strerror(problem));
    }
    return ROPEWAY_OK;
}

static bool live(const ropeway_operation_t *operation) RW_LOCKED {
    return operation->phase != RW_PHASE_TERMINAL;
}

/* Polls for the operation until nothing has happened for spin_us. */
static void drive(ropeway_operation_t *operation, uint64_t due) RW_LOCKED {
    ropeway_connector_t *connector = operation->connector;
    uint64_t now = rw_now(), active = now;

    connector->drivers++;
    while (live(operation) && now < due && now - active < spin_time(connector)) {
        if (short_step(connector)) {
            active = now;
            rw_lock_yield(&connector->lock);
        } else {
            rw_lock_pause(&connector->lock);
        }
        now = rw_now();
        connector->last_driven = now;
    }
    connector->drivers--;
}

void rw_progress_wait(ropeway_operation_t *operation, uint64_t due) {
    ropeway_connector_t *connector = operation->connector;

    if (!live(operation) || rw_now() >= due) {
        return;
    }
    if (connector->drivers == 0 && spin_time(connector) > 0) {
        drive(operation, due);
        if (connector->parked && connector->live_count > 0) {
            rw_progress_wake(connector);
        } else {
            rw_progress_kick(connector);
        }
    } else {
        rw_progress_kick(connector);
    }
    while (live(operation) && rw_now() < due) {
        rw_condition_wait(&operation->changed, &connector->lock, due);
    }
}
