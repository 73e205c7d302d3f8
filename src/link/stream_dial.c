/* SPDX-License-Identifier: Apache-2.0 */
/* Attempts to connect, one address after the other; stream_dial.h tells how. */
#include "link/stream_dial.h"

#include "base/assert.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define DELAY ((uint64_t)250 * RW_NANOSECONDS_PER_MS)
#define PROBES 5                  /* of keep-alive, unanswered: the host is dead */
#define NOT_SENT ((int)128 << 10) /* bytes that wait in the kernel, and can't be overtaken */

void rw_socket_tune(int fd, uint32_t keepalive_ms) {
    int seconds = (int)(keepalive_ms / 1000) + (keepalive_ms % 1000 != 0), one = 1;
    int probes = PROBES, lowat = NOT_SENT;

    seconds = seconds > 32767 ? 32767 : seconds; /* the most that Linux takes */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof lowat);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof seconds);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof seconds);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

static void note(rw_dial_t *dial, size_t index, const char *why) {
    char text[RW_PLACE_TEXT];

    if (dial->answered) {
        return; /* what became of that tells more */
    }
    rw_place_write(&dial->places[index], text);
    snprintf(dial->why, sizeof dial->why, "%s: %s", text, why);
}

/* Gives the socket up without closing it. */
static int take_socket(rw_dial_t *dial, rw_try_t *try) RW_LOCKED {
    int fd = try->watcher.fd;

    rw_events_forget(dial->events, &try->watcher);
    try->watcher.fd = -1;
    return fd;
}

bool rw_dial_has_more(const rw_dial_t *dial) {
    for (size_t i = 0; i < dial->count; i++) {
        if (!dial->tries[i].begun) {
            return true;
        }
    }
    return false;
}

/* An attempt that is; dial->count: none. */
static size_t find_under_way(const rw_dial_t *dial) {
    size_t i = 0;

    while (i < dial->count && dial->tries[i].watcher.fd < 0) {
        i++;
    }
    return i;
}

const rw_place_t *rw_dial_place(const rw_dial_t *dial) {
    size_t index = find_under_way(dial);

    return &dial->places[index < dial->count ? index : dial->current];
}

void rw_dial_stop(rw_dial_t *dial) {
    for (size_t i = 0; i < dial->count; i++) {
        rw_try_t *try = &dial->tries[i];

        if (try->watcher.fd >= 0) {
            rw_process_close(take_socket(dial, try));
            try->tried = false;
        }
    }
    if (dial->count > 0) {
        rw_timer_set(dial->timers, &dial->timer, RW_NEVER);
    }
}

/* false, with errno: it failed at once. */
static bool begin(rw_dial_t *dial, size_t index) RW_LOCKED {
    const rw_place_t *place = &dial->places[index];
    rw_try_t *try = &dial->tries[index];
    int fd = socket(place->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error;

    if (fd < 0) {
        return false;
    }
    try->watcher.fd = fd;
    if (rw_process_own(fd) && (connect(fd, &place->any, rw_place_length(place)) == 0 ||
                               errno == EINPROGRESS || errno == EINTR)) {
        if (rw_events_watch(dial->events, &try->watcher, EPOLLOUT)) {
            return true;
        }
    }
    error = errno;
    rw_process_close(take_socket(dial, try));
    errno = error;
    return false;
}

/* Those that were put off. false: there is none any more. */
static bool begin_again(rw_dial_t *dial) RW_LOCKED {
    for (size_t i = 0; i < dial->count; i++) {
        if (dial->tries[i].postponed) {
            dial->tries[i].postponed = false;
            if (begin(dial, i)) {
                return true;
            }
            note(dial, i, strerror(errno));
        }
    }
    return false;
}

void rw_dial_next(rw_dial_t *dial) {
    for (size_t i = 0; i < dial->count; i++) {
        if (!dial->tries[i].tried) {
            dial->tries[i].tried = dial->tries[i].begun = true;
            if (begin(dial, i)) {
                rw_timer_set(dial->timers, &dial->timer, rw_now() + DELAY);
                return;
            }
            note(dial, i, strerror(errno));
        }
    }
    rw_timer_set(dial->timers, &dial->timer, RW_NEVER);
    if (find_under_way(dial) == dial->count && !begin_again(dial)) {
        dial->on_failed(dial);
    }
}

void rw_dial_reject(rw_dial_t *dial, const char *why) {
    note(dial, dial->current, why);
    dial->answered = true;
    rw_dial_next(dial);
}

void rw_dial_postpone(rw_dial_t *dial, const char *why) {
    dial->tries[dial->current].postponed = true;
    note(dial, dial->current, why);
    rw_dial_next(dial);
}

static void on_answer(rw_watcher_t *watcher) RW_LOCKED {
    rw_try_t *try = RW_CONTAINER(watcher, rw_try_t, watcher);
    rw_dial_t *dial = try->dial;
    int fd = take_socket(dial, try), error = 0;
    socklen_t size = sizeof error;

    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    dial->current = (size_t)(try - dial->tries);
    if (error == 0) {
        rw_dial_stop(dial);
        dial->on_connected(dial, fd);
    } else {
        rw_process_close(fd);
        note(dial, dial->current, strerror(error));
        rw_dial_next(dial);
    }
}

static void on_delay(rw_timer_t *timer, uint64_t now) RW_LOCKED {
    (void)now;
    rw_dial_next(RW_CONTAINER(timer, rw_dial_t, timer));
}

bool rw_dial_init(rw_dial_t *dial, rw_timers_t *timers, rw_events_t *events,
                  const rw_place_t *places, size_t count) {
    rw_assert(count > 0 && count <= RW_DIAL_MAX);
    if (!rw_timer_promise(timers)) {
        return false;
    }
    dial->timers = timers;
    dial->events = events;
    dial->timer.run = on_delay;
    dial->count = count;
    for (size_t i = 0; i < count; i++) {
        dial->places[i] = places[i];
        dial->tries[i] = (rw_try_t){.watcher = {.fd = -1, .on_event = on_answer}, .dial = dial};
    }
    return true;
}
