/* SPDX-License-Identifier: Apache-2.0 */
/* The connector's lock, and the annotations by which clang checks who holds it. */
#ifndef RW_LOCK_H
#define RW_LOCK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#if defined(__clang__)
#define RW_ANNOTATE(x) __attribute__((x))
#else
#define RW_ANNOTATE(x)
#endif

/* "Holds the lock of the connector at hand." clang can't see that operation->connector->lock and
 * connector->lock are the same lock, so one role stands for the lock of every connector. */
typedef struct RW_ANNOTATE(capability("role")) rw_role {
    char unused;
} rw_role_t;
extern rw_role_t rw_holder;

#define RW_GUARDED RW_ANNOTATE(guarded_by(rw_holder))
#define RW_LOCKED RW_ANNOTATE(requires_capability(rw_holder))
/* For functions that UCX calls under the lock, and for objects that only one thread knows yet. */
#define RW_UNCHECKED RW_ANNOTATE(no_thread_safety_analysis)

/* A mutex whose busiest holder (the thread that polls UCX) can see that others want it. */
typedef struct rw_lock {
    pthread_mutex_t mutex;
    atomic_uint wanted; /* threads inside rw_lock() that found it taken */
    atomic_uint asleep; /* those of them that look no more, and have to be woken */
} rw_lock_t;

void rw_lock_init(rw_lock_t *lock);
void rw_lock_destroy(rw_lock_t *lock);
void rw_lock(rw_lock_t *lock) RW_ANNOTATE(acquire_capability(rw_holder));
void rw_unlock(rw_lock_t *lock) RW_ANNOTATE(release_capability(rw_holder));
/* Lets those in who wait for the lock, and takes it again. */
void rw_lock_yield(rw_lock_t *lock) RW_LOCKED;
/* For a thread that polls in vain: lets those in who wait for the lock or the processor. On a busy
 * machine the peer it polls for may need just this processor. */
void rw_lock_pause(rw_lock_t *lock) RW_LOCKED;
/* A condition variable on the monotonic clock. */
void rw_condition_init(pthread_cond_t *condition);
/* Waits until signalled or until due (nanoseconds, CLOCK_MONOTONIC; UINT64_MAX: no limit). */
void rw_condition_wait(pthread_cond_t *condition, rw_lock_t *lock, uint64_t due) RW_LOCKED;

#endif
