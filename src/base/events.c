/* SPDX-License-Identifier: Apache-2.0 */
/* Watchers of descriptors, on epoll. */
#include "base/events.h"

#include "base/assert.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

bool rw_events_open(rw_events_t *events) {
    events->epoll = epoll_create1(EPOLL_CLOEXEC);
    return events->epoll >= 0;
}

void rw_events_close(rw_events_t *events) RW_UNCHECKED {
    if (events->epoll >= 0) {
        close(events->epoll);
    }
    events->epoll = -1;
    free(events->slots);
    events->slots = NULL;
    events->capacity = 0;
}

/* A free slot's index; capacity: out of memory. */
static size_t find_slot(rw_events_t *events) RW_LOCKED {
    size_t index = 0, capacity = events->capacity;
    rw_slot_t *slots;

    while (index < capacity && events->slots[index].watcher != NULL) {
        index++;
    }
    if (index < capacity) {
        return index;
    }
    slots = realloc(events->slots, (capacity * 2 + 8) * sizeof *slots);
    if (slots == NULL) {
        return capacity;
    }
    events->slots = slots;
    events->capacity = capacity * 2 + 8;
    memset(slots + capacity, 0, (events->capacity - capacity) * sizeof *slots);
    return capacity;
}

static bool control(const rw_events_t *events, int command, const rw_watcher_t *watcher,
                    size_t index, uint32_t what) RW_LOCKED {
    uint64_t generation = events->slots[index].generation;
    struct epoll_event event = {.events = what, .data.u64 = generation << 32 | (uint64_t)index};

    return epoll_ctl(events->epoll, command, watcher->fd, &event) == 0;
}

bool rw_events_watch(rw_events_t *events, rw_watcher_t *watcher, uint32_t what) {
    size_t index;

    rw_assert(watcher->on_event != NULL);
    if (watcher->slot > 0) {
        return control(events, EPOLL_CTL_MOD, watcher, watcher->slot - 1, what);
    }
    index = find_slot(events);
    if (index == events->capacity) {
        errno = ENOMEM;
        return false;
    }
    if (!control(events, EPOLL_CTL_ADD, watcher, index, what)) {
        return false;
    }
    events->slots[index].watcher = watcher;
    watcher->slot = index + 1;
    return true;
}

void rw_events_forget(rw_events_t *events, rw_watcher_t *watcher) {
    size_t index;

    if (watcher->slot == 0) {
        return;
    }
    index = watcher->slot - 1;
    rw_assert(events->slots[index].watcher == watcher);
    epoll_ctl(events->epoll, EPOLL_CTL_DEL, watcher->fd, NULL);
    events->slots[index].watcher = NULL;
    events->slots[index].generation++;
    watcher->slot = 0;
}

static void call(rw_events_t *events, const struct epoll_event *ready, int count) RW_LOCKED {
    for (int i = 0; i < count; i++) {
        size_t index = (uint32_t)ready[i].data.u64;
        const rw_slot_t *slot;

        rw_assert(index < events->capacity);
        slot = &events->slots[index];
        if (slot->watcher != NULL && slot->generation == ready[i].data.u64 >> 32) {
            slot->watcher->on_event(slot->watcher);
        }
    }
}

void rw_events_wait(rw_events_t *events, rw_lock_t *lock, int timeout, bool *waiting) {
    struct epoll_event ready[RW_EVENTS_BATCH];
    int count;

    rw_unlock(lock);
    count = epoll_wait(events->epoll, ready, RW_EVENTS_BATCH, timeout);
    rw_lock(lock);
    *waiting = false;
    call(events, ready, count);
}

void rw_events_look(rw_events_t *events) {
    struct epoll_event ready[RW_EVENTS_BATCH];

    call(events, ready, epoll_wait(events->epoll, ready, RW_EVENTS_BATCH, 0));
}
