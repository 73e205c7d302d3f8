/* SPDX-License-Identifier: Apache-2.0 */
/* The progress thread, threads that wait, and who of them polls; progress.h tells how. */
#include "link/progress.h"

#include "base/assert.h"
#include "base/error.h"
#include "link/link.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define LINGER 100000u /* nanoseconds; the parked thread looks as often at a driver at work */
#define ARM_TRIES 8    /* how often a posting thread polls before it gives up and wakes */
#define EVENT_STEP 256 /* so often threads that poll look at descriptors */

static uint64_t spin_time(const ropeway_connector_t *connector) {
    return (uint64_t)connector->options.spin_us * 1000;
}

/* ---- pollers ---- */

void rw_poller_add(ropeway_connector_t *connector, rw_poller_t *poller) {
    rw_node_t *pollers = &connector->progress->pollers;

    rw_assert(poller->poll != NULL);
    rw_list_append(pollers, &poller->node);
    rw_progress_wake(connector); /* it must arm this one, too */
}

void rw_poller_remove(rw_poller_t *poller) {
    rw_list_remove(&poller->node);
}

/* A poller may add others, and remove others than its own successor. */
static bool poll_all(struct rw_progress *progress) RW_LOCKED {
    bool any = false;

    for (rw_node_t *node = progress->pollers.next; node != &progress->pollers; node = node->next) {
        rw_poller_t *poller = RW_CONTAINER(node, rw_poller_t, node);

        any |= poller->poll(poller);
    }
    return any;
}

/* false: there is something to do first. */
static bool arm_all(struct rw_progress *progress) RW_LOCKED {
    for (rw_node_t *node = progress->pollers.next; node != &progress->pollers; node = node->next) {
        rw_poller_t *poller = RW_CONTAINER(node, rw_poller_t, node);

        if (poller->arm != NULL && poller->arm(poller) == RW_BUSY) {
            return false;
        }
    }
    return true;
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
    struct rw_progress *progress = connector->progress;
    bool any = poll_all(progress);

    any |= run_timers(connector);
    if (++progress->steps % EVENT_STEP == 0 && !progress->looking) {
        progress->looking = true; /* what an event calls may step */
        rw_events_look(&connector->events);
        progress->looking = false;
    }
    connector->links->user->on_room(connector);
    return any;
}

/* ---- sleeping and waking ---- */

void rw_progress_wake(ropeway_connector_t *connector) {
    struct rw_progress *progress = connector->progress;
    uint64_t one = 1;

    if (progress->parked) {
        progress->unparking = true;
        pthread_cond_signal(&progress->unpark);
    } else if (progress->sleeping) {
        (void)!write(progress->waker.fd, &one, sizeof one);
    }
}

/* Whoever looks at descriptors while the thread sleeps leaves it the call: it is not awake before
 * it has seen that itself. */
static void take_call(const struct rw_progress *progress, const rw_watcher_t *watcher) RW_LOCKED {
    uint64_t ignored;

    if (!progress->sleeping) {
        (void)!read(watcher->fd, &ignored, sizeof ignored);
    }
}

static void on_wake(rw_watcher_t *waker) RW_LOCKED {
    take_call(RW_CONTAINER(waker, struct rw_progress, waker), waker);
}

static void on_alarm(rw_watcher_t *alarm) RW_LOCKED {
    take_call(RW_CONTAINER(alarm, struct rw_progress, alarm), alarm);
}

/* The sleeping thread will be up for the next timer. */
static void set_alarm(ropeway_connector_t *connector) RW_LOCKED {
    struct rw_progress *progress = connector->progress;
    const rw_timer_t *timer = rw_timers_first(&connector->timers);
    struct itimerspec at = {0};

    if (timer == NULL || timer->due >= progress->sleep_until) {
        return;
    }
    at.it_value.tv_sec = (time_t)(timer->due / 1000000000u);
    at.it_value.tv_nsec = (long)(timer->due % 1000000000u);
    progress->sleep_until = timer->due;
    if (timerfd_settime(progress->alarm.fd, TFD_TIMER_ABSTIME, &at, NULL) != 0) {
        rw_progress_wake(connector);
    }
}

void rw_progress_kick(ropeway_connector_t *connector) {
    struct rw_progress *progress = connector->progress;

    if (progress->drivers > 0 || progress->parked || !progress->sleeping) {
        return;
    }
    for (int i = 0; i < ARM_TRIES; i++) {
        /* What a step did may call for another, of which no descriptor tells. */
        if (!rw_progress_step(connector) && arm_all(progress)) {
            set_alarm(connector);
            return;
        }
    }
    rw_progress_wake(connector);
}

/* Sleeps until an event, rw_progress_wake() or a timer. Returns at once when there is something to
 * do. */
static void sleep_armed(ropeway_connector_t *connector) RW_LOCKED {
    struct rw_progress *progress = connector->progress;
    const rw_timer_t *timer = rw_timers_first(&connector->timers);
    uint64_t due = timer != NULL ? timer->due : RW_NEVER, now = rw_now();
    int timeout = -1;

    if (!arm_all(progress)) {
        return;
    }
    if (due != RW_NEVER) {
        uint64_t left =
            due > now ? (due - now + RW_NANOSECONDS_PER_MS - 1) / RW_NANOSECONDS_PER_MS : 0;

        timeout = left > INT32_MAX ? INT32_MAX : (int)left;
    }
    progress->sleep_until = due;
    progress->sleeping = true;
    rw_events_wait(&connector->events, &connector->lock, timeout, &progress->sleeping);
    connector->stats.wakeups++;
}

/* Leaves the driving to the waiters, while there are any and for LINGER after. */
static void park(ropeway_connector_t *connector) RW_LOCKED {
    struct rw_progress *progress = connector->progress;

    progress->parked = true;
    progress->unparking = false;
    while (!progress->unparking && !progress->stopping) {
        uint64_t now = rw_now();

        if (progress->drivers == 0 && now >= progress->last_driven + LINGER) {
            break;
        }
        rw_condition_wait(&progress->unpark, &connector->lock,
                          progress->drivers > 0 ? now + LINGER : progress->last_driven + LINGER);
    }
    progress->parked = false;
}

static void *run(void *argument) {
    ropeway_connector_t *connector = argument;
    struct rw_progress *progress = connector->progress;
    uint64_t active = 0;

    rw_lock(&connector->lock);
    while (!progress->stopping) {
        if (progress->drivers > 0) {
            park(connector);
        } else if (rw_progress_step(connector)) {
            active = rw_now();
        } else if (rw_now() - active >= spin_time(connector)) {
            sleep_armed(connector);
            active = rw_now();
        } else {
            rw_lock_pause(&connector->lock);
        }
        rw_lock_yield(&connector->lock);
    }
    rw_unlock(&connector->lock);
    return NULL;
}

/* ---- waiting ---- */

/* Polls for what is waited for until nothing has happened for spin_us. */
static void drive(ropeway_connector_t *connector, const rw_wait_t *wait, uint64_t due) RW_LOCKED {
    struct rw_progress *progress = connector->progress;
    uint64_t now = rw_now(), active = now;

    progress->drivers++;
    while (!wait->is_over(wait->arg) && now < due && now - active < spin_time(connector)) {
        if (rw_progress_step(connector)) {
            active = now;
            rw_lock_yield(&connector->lock);
        } else {
            rw_lock_pause(&connector->lock);
        }
        now = rw_now();
        progress->last_driven = now;
    }
    progress->drivers--;
}

void rw_progress_wait(ropeway_connector_t *connector, const rw_wait_t *wait, uint64_t due) {
    struct rw_progress *progress = connector->progress;

    if (wait->is_over(wait->arg) || rw_now() >= due) {
        return;
    }
    if (progress->drivers == 0 && spin_time(connector) > 0) {
        drive(connector, wait, due);
        if (progress->parked && connector->stats.operations_live > 0) {
            rw_progress_wake(connector);
        } else {
            rw_progress_kick(connector);
        }
    } else {
        rw_progress_kick(connector);
    }
    while (!wait->is_over(wait->arg) && rw_now() < due) {
        rw_condition_wait(wait->changed, &connector->lock, due);
    }
}

/* ---- life ---- */

ropeway_error_t rw_progress_open(ropeway_connector_t *connector) RW_UNCHECKED {
    struct rw_progress *progress = calloc(1, sizeof *progress);

    if (progress == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    connector->progress = progress;
    rw_list_init(&progress->pollers);
    rw_condition_init(&progress->unpark);
    progress->sleep_until = RW_NEVER;
    progress->waker.on_event = on_wake;
    progress->alarm.on_event = on_alarm;
    progress->waker.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    progress->alarm.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (progress->waker.fd >= 0 && progress->alarm.fd >= 0 &&
        rw_events_watch(&connector->events, &progress->waker, EPOLLIN) &&
        rw_events_watch(&connector->events, &progress->alarm, EPOLLIN)) {
        return ROPEWAY_OK;
    }
    return rw_fail(ROPEWAY_ERR_SYSTEM,
                   "the connector's event descriptors can't be made: %m; raise the limit on open "
                   "files (ulimit -n)");
}

ropeway_error_t rw_progress_start(ropeway_connector_t *connector) {
    return rw_spawn(&connector->progress->thread, run, connector, "the progress thread");
}

void rw_progress_stop(ropeway_connector_t *connector) {
    connector->progress->stopping = true;
    rw_progress_wake(connector);
}

void rw_progress_join(ropeway_connector_t *connector) {
    pthread_join(connector->progress->thread, NULL);
}

static void close_watcher(ropeway_connector_t *connector, rw_watcher_t *watcher) RW_LOCKED {
    if (watcher->fd >= 0) {
        rw_events_forget(&connector->events, watcher);
        close(watcher->fd);
    }
}

void rw_progress_free(ropeway_connector_t *connector) RW_UNCHECKED {
    struct rw_progress *progress = connector->progress;

    if (progress == NULL) {
        return;
    }
    rw_assert(rw_list_is_empty(&progress->pollers));
    close_watcher(connector, &progress->waker);
    close_watcher(connector, &progress->alarm);
    pthread_cond_destroy(&progress->unpark);
    free(progress);
    connector->progress = NULL;
}
