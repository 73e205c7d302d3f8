/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connecting to one of several addresses, as RFC 8305 has it: in order, the next one when the one
 * before has failed or has not answered within DELAY, and whoever answers first is taken.
 */
#ifndef RW_STREAM_DIAL_H
#define RW_STREAM_DIAL_H

#include "base/connector.h"
#include "link/stream_address.h"

#define RW_DIAL_MAX (RW_PLACES_MAX + 1) /* addresses of a peer, and its Unix socket */

struct rw_dial;

/* An attempt. */
typedef struct rw_try {
    rw_watcher_t watcher; /* fd -1: not under way */
    struct rw_dial *dial;
    bool tried;     /* and not ended for the sake of another one */
    bool begun;     /* ever */
    bool postponed; /* it is tried once more when nothing else is left */
} rw_try_t;

typedef struct rw_dial {
    rw_timers_t *timers;
    rw_events_t *events;
    rw_timer_t timer; /* when to try the next */
    rw_place_t places[RW_DIAL_MAX];
    rw_try_t tries[RW_DIAL_MAX];
    size_t count;
    size_t current; /* index of the place that answered last */
    bool answered;  /* a place was reached and was of no use */
    char why[192];  /* what became of the first such place, else of the last that was tried */
    /* A connected socket, which is the callee's now. Called from an event of the socket's. */
    void (*on_connected)(struct rw_dial *dial, int fd);
    /* No address is left; dial->why says why. May be called from within
     * rw_dial_next(). */
    void (*on_failed)(struct rw_dial *dial);
} rw_dial_t;

/* places: in the order in which to try them. The callbacks are set. false: out of memory. */
bool rw_dial_init(rw_dial_t *dial, rw_timers_t *timers, rw_events_t *events,
                  const rw_place_t *places, size_t count) RW_LOCKED;
/* Whether there is an address that has never been tried. */
bool rw_dial_has_more(const rw_dial_t *dial) RW_LOCKED;
/* The address that is waited for, or else the one that answered last. */
const rw_place_t *rw_dial_place(const rw_dial_t *dial) RW_LOCKED;
/* Tries the next address. */
void rw_dial_next(rw_dial_t *dial) RW_LOCKED;
/* The same, as the place that answered last was of no use. why: a phrase. */
void rw_dial_reject(rw_dial_t *dial, const char *why) RW_LOCKED;
/* The same, but it is tried once more when nothing else is left. At most once for each. */
void rw_dial_postpone(rw_dial_t *dial, const char *why) RW_LOCKED;
/* Ends what is under way. Also on zeroes. */
void rw_dial_stop(rw_dial_t *dial) RW_LOCKED;

/* How every TCP socket of ours is set; others are left as they are. keepalive_ms: how soon a dead
 * host is asked for a sign. */
void rw_socket_tune(int fd, uint32_t keepalive_ms);

#endif
