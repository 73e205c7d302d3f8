/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who drives a connector's links, and when everybody may sleep.
 *
 * Links and movers move only while somebody calls their pollers. The connector's progress thread
 * does, and sleeps when there is nothing to do: arming a poller makes a descriptor readable at the
 * next event. Three things make that fast:
 *
 *  - After activity the thread polls for spin_us more before it sleeps.
 *  - A thread in ropeway_operation_wait() polls by itself for a while (it is then a "driver"), so
 *    that a short operation needs no thread switch. Two threads that poll would only fight for the
 *    lock, so the progress thread parks while there is a driver. It stays parked for LINGER after
 *    the last driver left, because a program that waits for one operation is likely to begin and
 *    wait for another. It looks by itself whether the driver is still there: to wake it when the
 *    driver leaves would cost more than a small operation.
 *  - A thread that posts while the progress thread sleeps polls and arms again by itself, and wakes
 *    the thread only when there is more to do. If a timer became due sooner than the thread would
 *    wake, it sets an alarm.
 *
 * The states of the progress thread: polling (neither flag), sleeping, parked. Both flags change
 * only under the lock. A state in which nobody polls and nothing is armed lasts LINGER at most.
 */
#ifndef RW_PROGRESS_H
#define RW_PROGRESS_H

#include "base/connector.h"

typedef enum rw_rest {
    RW_ARMED, /* a descriptor that is watched becomes readable at the next event */
    RW_BUSY,  /* there is something to do first */
} rw_rest_t;

/* A poller may leave what costs a system call out of so many polls, less one, in a row. */
#define RW_LOOK_EVERY 8

/* Something that moves by being polled. */
typedef struct rw_poller {
    rw_node_t node;
    /* Works for a bounded while. Returns whether anything happened; that nothing has more to do is
     * known when it is false RW_LOOK_EVERY times in a row. */
    bool (*poll)(struct rw_poller *poller);
    /* Before the progress thread sleeps. NULL: always armed. */
    rw_rest_t (*arm)(struct rw_poller *poller);
} rw_poller_t;

struct rw_progress {
    pthread_t thread;   /* written once */
    rw_watcher_t waker; /* wakes the thread */
    rw_watcher_t alarm; /* the same, at a time */
    pthread_cond_t unpark;
    rw_node_t pollers RW_GUARDED;
    bool stopping RW_GUARDED;    /* the thread shall end */
    bool sleeping RW_GUARDED;    /* it waits for descriptors, everything is armed */
    bool parked RW_GUARDED;      /* it leaves the driving to waiters */
    bool unparking RW_GUARDED;   /* it shall not stay parked */
    unsigned drivers RW_GUARDED; /* waiters that poll */
    unsigned steps RW_GUARDED;
    bool looking RW_GUARDED;         /* at descriptors */
    uint64_t last_driven RW_GUARDED; /* when a driver polled last */
    uint64_t sleep_until RW_GUARDED; /* the thread, at the latest */
};

/* Makes what the pollers of links need; the thread comes later. Errors: ERR_SYSTEM,
 * ERR_NO_MEMORY. */
ropeway_error_t rw_progress_open(ropeway_connector_t *connector);
/* Errors: ERR_SYSTEM. */
ropeway_error_t rw_progress_start(ropeway_connector_t *connector);
/* The thread shall end; it is joined, without the lock, by rw_progress_join(). */
void rw_progress_stop(ropeway_connector_t *connector) RW_LOCKED;
void rw_progress_join(ropeway_connector_t *connector);
void rw_progress_free(ropeway_connector_t *connector);

void rw_poller_add(ropeway_connector_t *connector, rw_poller_t *poller) RW_LOCKED;
/* Not from within its poll(). */
void rw_poller_remove(rw_poller_t *poller) RW_LOCKED;
/* Polls everything and runs the timers, once. Returns whether anything happened. */
bool rw_progress_step(ropeway_connector_t *connector) RW_LOCKED;
/* To be called after posting, before the lock is released: makes sure that somebody goes on. */
void rw_progress_kick(ropeway_connector_t *connector) RW_LOCKED;
/* Wakes the progress thread for what only it does (arming a new poller, stopping). */
void rw_progress_wake(ropeway_connector_t *connector) RW_LOCKED;

/* What a thread waits for: until is_over(arg), of which changed is signalled. */
typedef struct rw_wait {
    bool (*is_over)(const void *arg);
    const void *arg;
    pthread_cond_t *changed;
} rw_wait_t;

/* Drives or sleeps until it is over, or due. */
void rw_progress_wait(ropeway_connector_t *connector, const rw_wait_t *wait,
                      uint64_t due) RW_LOCKED;

#endif
