/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors that a connector's progress thread waits for. Each has a watcher, which says what to
 * do when it is readable, so nobody asks whose descriptor an event was for. A watcher may be
 * forgotten, and its object freed, at any time under the connector's lock, also while the thread
 * waits: an event names a slot and its generation, and a slot that was given back answers to
 * neither.
 */
#ifndef RW_EVENTS_H
#define RW_EVENTS_H

#include "base/lock.h"

#include <stddef.h>
#include <stdint.h>

#define RW_EVENTS_BATCH 16

/* Part of the object that owns the descriptor; zeroed before first use. */
typedef struct rw_watcher {
    int fd;
    size_t slot; /* plus 1; 0: not watched */
    /* The descriptor is ready. Called with the connector's lock held. */
    void (*on_event)(struct rw_watcher *watcher);
} rw_watcher_t;

typedef struct rw_slot {
    rw_watcher_t *watcher; /* NULL: free */
    uint32_t generation;
} rw_slot_t;

typedef struct rw_events {
    int epoll; /* -1: not open */
    rw_slot_t *slots RW_GUARDED;
    size_t capacity RW_GUARDED;
} rw_events_t;

/* false, with errno: no descriptor is left. */
bool rw_events_open(rw_events_t *events);
void rw_events_close(rw_events_t *events);

/* Waits for watcher->fd to be readable, or with events of epoll's, such as EPOLLOUT. Changes what
 * is waited for when it is watched already. 0: until told otherwise nothing. false, with errno: out
 * of memory or of room in the kernel. */
bool rw_events_watch(rw_events_t *events, rw_watcher_t *watcher, uint32_t what) RW_LOCKED;
/* To be called before the descriptor is closed. An unwatched one: nothing. */
void rw_events_forget(rw_events_t *events, rw_watcher_t *watcher) RW_LOCKED;

/* Gives the lock up, waits for at most timeout milliseconds (negative: no limit), takes it again
 * and calls the watchers of what is ready. *waiting: becomes false before the first one is called.
 */
void rw_events_wait(rw_events_t *events, rw_lock_t *lock, int timeout, bool *waiting) RW_LOCKED;
/* The same without waiting, and without giving the lock up. */
void rw_events_look(rw_events_t *events) RW_LOCKED;

#endif
