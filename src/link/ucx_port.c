/* SPDX-License-Identifier: Apache-2.0 */
/* A worker's life, its poller, and how its endpoints are closed; ucx_port.h tells why so. */
#include "link/ucx_port.h"

#include "base/assert.h"
#include "base/error.h"
#include "base/log.h"
#include "link/ucx_stuck.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BURST 32       /* calls of ucp_worker_progress() per step */
#define CUT_STEPS 1024 /* the same, until UCX has seen the ends of its sockets */
#define STUCK_MIN_MS 10u
#define STUCK_MAX_MS 500u

/* ---- closing ---- */

/* Whether an endpoint is to be closed at once that UCX takes for a good one. */
static bool gives_up(const rw_ucx_port_t *port) RW_LOCKED {
    for (rw_node_t *node = port->ended.next; node != &port->ended; node = node->next) {
        const rw_ucx_link_t *link = RW_CONTAINER(node, rw_ucx_link_t, node);

        if (link->how == RW_CLOSE_NOW && !link->reported) {
            return true;
        }
    }
    return false;
}

/* Ends the connections that are stuck, when one of them may be to be closed. */
static void cut_stuck(rw_ucx_port_t *port) RW_LOCKED {
    uint32_t half = port->connector->options.quiet_ms / 2;
    unsigned count = rw_stuck_cut(port->watcher.fd, half < STUCK_MIN_MS   ? STUCK_MIN_MS
                                                    : half > STUCK_MAX_MS ? STUCK_MAX_MS
                                                                          : half);

    if (count > 0) {
        rw_log(port->connector, ROPEWAY_LOG_INFO,
               "%u TCP connections were cut: their peers take nothing", count);
        for (int i = 0; i < CUT_STEPS && ucp_worker_progress(port->worker) != 0; i++) {
        }
    }
}

/* Closes what has ended, outside of UCX's own callbacks. */
static bool close_ended(rw_ucx_port_t *port) RW_LOCKED {
    rw_node_t *node;
    bool any = false;

    if (gives_up(port)) {
        cut_stuck(port);
    }
    while ((node = rw_list_take(&port->ended)) != NULL) {
        rw_ucx_link_go(RW_CONTAINER(node, rw_ucx_link_t, node));
        any = true;
    }
    return any;
}

static bool is_flushing(const rw_ucx_port_t *port) RW_LOCKED {
    for (rw_node_t *node = port->leaving.next; node != &port->leaving; node = node->next) {
        if (RW_CONTAINER(node, rw_ucx_link_t, node)->flushing) {
            return true;
        }
    }
    return false;
}

void rw_ucx_port_settle(rw_ucx_port_t *port, uint64_t due) {
    ropeway_connector_t *connector = port->connector;

    while ((port->closing > 0 || is_flushing(port) || !rw_list_is_empty(&port->ended)) &&
           rw_now() < due) {
        rw_progress_step(connector);
        rw_lock_yield(&connector->lock);
    }
    do {
        while (!rw_list_is_empty(&port->leaving)) {
            rw_link_t *link = &RW_CONTAINER(port->leaving.next, rw_ucx_link_t, node)->base;

            rw_ucx_link_close(link, RW_CLOSE_NOW);
        }
        rw_progress_step(connector);
    } while (!rw_list_is_empty(&port->leaving) || !rw_list_is_empty(&port->ended));
}

/* ---- the worker ---- */

static bool poll_worker(rw_poller_t *poller) RW_LOCKED {
    rw_ucx_port_t *port = RW_CONTAINER(poller, rw_ucx_port_t, poller);
    bool any = false;

    for (int i = 0; i < BURST && ucp_worker_progress(port->worker) != 0; i++) {
        any = true;
    }
    return close_ended(port) || any;
}

static rw_rest_t arm(rw_poller_t *poller) RW_LOCKED {
    rw_ucx_port_t *port = RW_CONTAINER(poller, rw_ucx_port_t, poller);

    return ucp_worker_arm(port->worker) == UCS_OK ? RW_ARMED : RW_BUSY;
}

/* The next step looks at it. */
static void on_ready(rw_watcher_t *watcher) {
    (void)watcher;
}

/* ---- memory ---- */

/* Nothing is tried of most memory, which is this process's alone. */
bool rw_ucx_port_takes(const rw_ucx_port_t *port, const ropeway_descriptor_t *memory) {
    if (!port->registers || memory->device.kind != ROPEWAY_DEVICE_HOST || memory->size == 0) {
        return true;
    }
    return !rw_ucx_is_read_only(memory->ptr, memory->size) &&
           (!rw_ucx_is_of_file(port->pagemap, memory->ptr) ||
            rw_ucx_can_map(port->context, memory->ptr));
}

/* Gives the flight a buffer in place of memory that devices don't take. */
static ropeway_error_t change_memory(const rw_ucx_port_t *port, rw_flight_t *flight,
                                     bool is_out) RW_LOCKED {
    ropeway_descriptor_t memory = {
        .ptr = flight->pieces[0].iov_base, .size = flight->length, .device = flight->device};

    if (flight->length == 0 || flight->buffer != NULL || flight->registration != NULL ||
        rw_ucx_port_takes(port, &memory)) {
        return ROPEWAY_OK;
    }
    flight->buffer = malloc(memory.size);
    if (flight->buffer == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY,
                       "out of memory for a copy of %zu bytes that can't be registered",
                       memory.size);
    }
    if (is_out) {
        memcpy(flight->buffer, memory.ptr, memory.size);
    }
    rw_flight_lend(flight, flight->buffer, memory.size);
    return ROPEWAY_OK;
}

ropeway_error_t rw_ucx_port_make_sendable(const rw_ucx_port_t *port, rw_flight_t *flight) {
    return change_memory(port, flight, true);
}

ropeway_error_t rw_ucx_port_make_fillable(const rw_ucx_port_t *port, rw_flight_t *flight) {
    return change_memory(port, flight, false);
}

/* ---- life ---- */

ropeway_error_t rw_ucx_port_open(rw_ucx_port_t *port, ropeway_connector_t *connector,
                                 const rw_ucx_wish_t *wish) {
    ropeway_error_t error;

    memset(port, 0, sizeof *port);
    port->connector = connector;
    port->registers = rw_ucx_may_register();
    port->pagemap = port->registers ? rw_ucx_open_pagemap() : -1;
    rw_list_init(&port->ended);
    rw_list_init(&port->leaving);
    port->watcher.on_event = on_ready;
    port->poller = (rw_poller_t){.poll = poll_worker, .arm = arm};
    error = rw_ucx_open_context(wish, &port->context);
    if (error == ROPEWAY_OK) {
        error = rw_ucx_check_locked(port->context);
    }
    if (error == ROPEWAY_OK) {
        error = rw_ucx_open_worker(port->context, wish, &port->worker, &port->watcher.fd);
    }
    if (error == ROPEWAY_OK && !rw_events_watch(&connector->events, &port->watcher, EPOLLIN)) {
        error = rw_fail(ROPEWAY_ERR_SYSTEM, "UCX's events can't be watched: %m; raise the limit on "
                                            "open files (ulimit -n)");
    }
    if (error != ROPEWAY_OK) {
        rw_ucx_port_close(port);
        return error;
    }
    rw_poller_add(connector, &port->poller);
    return ROPEWAY_OK;
}

void rw_ucx_port_close(rw_ucx_port_t *port) {
    rw_assert(rw_list_is_empty(&port->ended) && rw_list_is_empty(&port->leaving));
    if (port->poller.node.next != NULL) {
        rw_poller_remove(&port->poller);
    }
    rw_events_forget(&port->connector->events, &port->watcher);
    if (port->worker != NULL) {
        ucp_worker_destroy(port->worker);
    }
    if (port->context != NULL) {
        ucp_cleanup(port->context);
    }
    if (port->registers && port->pagemap >= 0) {
        close(port->pagemap);
    }
    memset(port, 0, sizeof *port);
}
