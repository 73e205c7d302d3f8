/* SPDX-License-Identifier: Apache-2.0 */
/* Timers of one connector: a binary heap by due time. */
#ifndef RW_TIMER_H
#define RW_TIMER_H

#include "base/env.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Part of the object that it times; zeroed before first use. */
typedef struct rw_timer {
    uint64_t due;                                      /* nanoseconds, CLOCK_MONOTONIC */
    size_t place;                                      /* index in the heap plus 1; 0: not set */
    void (*run)(struct rw_timer *timer, uint64_t now); /* its owner calls it when it is due */
} rw_timer_t;

typedef struct rw_timers {
    rw_timer_t **heap;
    size_t count, capacity;
    size_t promised; /* timers that can be set at any time */
} rw_timers_t;

/* Makes room for one more timer, so that rw_timer_set() can't fail for it. false: out of memory. */
bool rw_timer_promise(rw_timers_t *timers);
/* Unsets the timer and gives its room back. */
void rw_timer_return(rw_timers_t *timers, rw_timer_t *timer);
void rw_timers_free(rw_timers_t *timers);
/* Sets or moves a timer; RW_NEVER unsets it. Room must have been promised. */
void rw_timer_set(rw_timers_t *timers, rw_timer_t *timer, uint64_t due);
/* The earliest, or NULL. */
rw_timer_t *rw_timers_first(const rw_timers_t *timers);
#endif
