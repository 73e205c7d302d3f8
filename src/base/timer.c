/* SPDX-License-Identifier: Apache-2.0 */
/* Timers in a binary heap. */
#include "base/timer.h"

#include "base/assert.h"

#include <stdlib.h>

bool rw_timer_promise(rw_timers_t *timers) {
    size_t wanted = timers->capacity > 0 ? timers->capacity * 2 : 64;
    rw_timer_t **heap;

    if (timers->promised == timers->capacity) {
        heap = realloc(timers->heap, wanted * sizeof(*heap));
        if (heap == NULL) {
            return false;
        }
        timers->heap = heap;
        timers->capacity = wanted;
    }
    timers->promised++;
    return true;
}

void rw_timer_return(rw_timers_t *timers, rw_timer_t *timer) {
    rw_assert(timers->promised > 0);
    rw_timer_set(timers, timer, RW_NEVER);
    timers->promised--;
}

void rw_timers_free(rw_timers_t *timers) {
    free(timers->heap);
    timers->heap = NULL;
    timers->count = timers->capacity = timers->promised = 0;
}

static void place(rw_timers_t *timers, size_t index, rw_timer_t *timer) {
    timers->heap[index] = timer;
    timer->place = index + 1;
}

static void sift_up(rw_timers_t *timers, size_t index, rw_timer_t *timer) {
    while (index > 0 && timers->heap[(index - 1) / 2]->due > timer->due) {
        place(timers, index, timers->heap[(index - 1) / 2]);
        index = (index - 1) / 2;
    }
    place(timers, index, timer);
}

static void sift_down(rw_timers_t *timers, size_t index, rw_timer_t *timer) {
    for (;;) {
        size_t child = index * 2 + 1;

        if (child >= timers->count) {
            break;
        }
        if (child + 1 < timers->count && timers->heap[child + 1]->due < timers->heap[child]->due) {
            child++;
        }
        if (timers->heap[child]->due >= timer->due) {
            break;
        }
        place(timers, index, timers->heap[child]);
        index = child;
    }
    place(timers, index, timer);
}

static void settle(rw_timers_t *timers, size_t index, rw_timer_t *timer) {
    if (index > 0 && timers->heap[(index - 1) / 2]->due > timer->due) {
        sift_up(timers, index, timer);
    } else {
        sift_down(timers, index, timer);
    }
}

static void unset(rw_timers_t *timers, rw_timer_t *timer) {
    size_t index = timer->place - 1;
    rw_timer_t *last = timers->heap[--timers->count];

    timer->place = 0;
    if (last != timer) {
        settle(timers, index, last);
    }
}

void rw_timer_set(rw_timers_t *timers, rw_timer_t *timer, uint64_t due) {
    if (due == RW_NEVER) {
        if (timer->place != 0) {
            unset(timers, timer);
        }
        return;
    }
    timer->due = due;
    if (timer->place == 0) {
        rw_assert(timers->count < timers->promised);
        sift_up(timers, timers->count++, timer);
    } else {
        settle(timers, timer->place - 1, timer);
    }
}

rw_timer_t *rw_timers_first(const rw_timers_t *timers) {
    return timers->count > 0 ? timers->heap[0] : NULL;
}
