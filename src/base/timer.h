/* SPDX-License-Identifier: Apache-2.0 */
/* Timers of one connector: a binary heap by due time. */
#ifndef RW_TIMER_H
#define RW_TIMER_H

#include <stddef.h>
#include <stdint.h>

#define RW_NEVER UINT64_MAX

/* Part of the object that it times; zeroed before first use. */
typedef struct rw_timer {
    uint64_t due;                                      /* nanoseconds, CLOCK_MONOTONIC */
    size_t place;                                      /* index in the heap plus 1; 0: not set */
    void (*run)(struct rw_timer *timer, uint64_t now); /* its owner calls it when it is due */
} rw_timer_t;

typedef struct rw_timers {
    rw_timer_t **heap;
    size_t count, capacity;
} rw_timers_t;

/* Makes room for capacity timers, so that rw_timer_set() can't fail.
 * 0: done; -1: out of memory. */
int rw_timers_reserve(rw_timers_t *timers, size_t capacity);
void rw_timers_free(rw_timers_t *timers);
/* Sets or moves a timer; RW_NEVER unsets it. Room must have been reserved. */
void rw_timer_set(rw_timers_t *timers, rw_timer_t *timer, uint64_t due);
/* The earliest, or NULL. */
rw_timer_t *rw_timers_first(const rw_timers_t *timers);
/* Nanoseconds, CLOCK_MONOTONIC. */
uint64_t rw_now(void);

#endif
