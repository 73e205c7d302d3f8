/* SPDX-License-Identifier: Apache-2.0 */
/* The mutex, and who yields it to whom. */
#include <stdint.h>

#include "base/lock.h"

#include <sched.h>
#include <time.h>

/* How often whoever finds the lock taken looks again before it sleeps. */
#define TRIES 64
/* How often a yielding holder looks again before it takes the lock back: little where whoever wants
 * it is looking, too, and longer for those who have to wake first. */
#define YIELDS 2
#define YIELDS_ASLEEP 64

rw_role_t rw_holder;

void rw_lock_init(rw_lock_t *lock) {
    pthread_mutex_init(&lock->mutex, NULL);
    atomic_init(&lock->wanted, 0);
    atomic_init(&lock->asleep, 0);
}

void rw_lock_destroy(rw_lock_t *lock) {
    pthread_mutex_destroy(&lock->mutex);
}

void rw_lock(rw_lock_t *lock) RW_UNCHECKED {
    if (pthread_mutex_trylock(&lock->mutex) == 0) {
        return;
    }
    atomic_fetch_add(&lock->wanted, 1);
    for (int i = 0; i < TRIES; i++) {
        sched_yield();
        if (pthread_mutex_trylock(&lock->mutex) == 0) {
            atomic_fetch_sub(&lock->wanted, 1);
            return;
        }
    }
    atomic_fetch_add(&lock->asleep, 1);
    pthread_mutex_lock(&lock->mutex);
    atomic_fetch_sub(&lock->asleep, 1);
    atomic_fetch_sub(&lock->wanted, 1);
}

void rw_unlock(rw_lock_t *lock) RW_UNCHECKED {
    pthread_mutex_unlock(&lock->mutex);
}

void rw_lock_yield(rw_lock_t *lock) RW_UNCHECKED {
    if (atomic_load_explicit(&lock->wanted, memory_order_relaxed) == 0) {
        return;
    }
    pthread_mutex_unlock(&lock->mutex);
    for (int i = 0; atomic_load(&lock->wanted) > 0 &&
                    i < (atomic_load(&lock->asleep) > 0 ? YIELDS_ASLEEP : YIELDS);
         i++) {
        sched_yield();
    }
    pthread_mutex_lock(&lock->mutex);
}

void rw_lock_pause(rw_lock_t *lock) RW_UNCHECKED {
    pthread_mutex_unlock(&lock->mutex);
    sched_yield();
    pthread_mutex_lock(&lock->mutex);
}

void rw_condition_init(pthread_cond_t *condition) {
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

void rw_condition_wait(pthread_cond_t *condition, rw_lock_t *lock, uint64_t due) {
    struct timespec until = {.tv_sec = (time_t)(due / 1000000000u),
                             .tv_nsec = (long)(due % 1000000000u)};

    if (due == UINT64_MAX) {
        pthread_cond_wait(condition, &lock->mutex);
    } else {
        pthread_cond_timedwait(condition, &lock->mutex, &until);
    }
}
