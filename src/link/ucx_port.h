/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A UCX worker, and the endpoints that are made on it: a connector has one for peers that speak our
 * protocol, and one for stock NIXL agents once it needs that. What goes through the endpoints is
 * others' business.
 *
 * When an endpoint is closed matters, because of a fault of UCX (1.22, 1.23). When its TCP
 * connection is given up with bytes left to send, and the other side gives it up too before they
 * have left, UCX frees the connection in the middle of handling its events, and goes on to use it:
 * the process crashes. So the endpoint is flushed first, unless an operation has waited for its
 * memory as long as it may. A side that gives up an idle connection also waits for quiet_ms: the
 * other one may do the same, with bytes left to send, and needs time for them. An endpoint that
 * can't wait is given up after its socket, if nothing could be sent through that for long: then UCX
 * finds a connection that the peer has ended, and frees it at a time of its own.
 */
#ifndef RW_UCX_PORT_H
#define RW_UCX_PORT_H

#include "link/peer.h"
#include "link/progress.h"
#include "ucx/ucx.h"

#define RW_UCX_RELEASE_MAX 32 /* of a peer's UCX, as text */

typedef struct rw_ucx_port {
    ropeway_connector_t *connector; /* written once */
    ucp_context_h context;          /* written once */
    bool registers;                 /* it registers host memory with devices; written once */
    int pagemap;                    /* to ask what memory is; -1: not asked; written once */
    ucp_worker_h worker RW_GUARDED;
    rw_watcher_t watcher RW_GUARDED;
    rw_poller_t poller RW_GUARDED;
    rw_node_t ended RW_GUARDED;   /* links whose endpoint is to be closed at the next step */
    rw_node_t leaving RW_GUARDED; /* those whose endpoint will be closed later */
    size_t closing RW_GUARDED;    /* endpoints being closed */
} rw_ucx_port_t;

typedef enum rw_ucx_state {
    RW_UCX_OPEN,
    RW_UCX_ENDED,   /* in port->ended */
    RW_UCX_LEAVING, /* in port->leaving */
    RW_UCX_CLOSING  /* UCX closes the endpoint */
} rw_ucx_state_t;

/* A link that is a UCX endpoint. */
typedef struct rw_ucx_link {
    rw_link_t base;
    rw_ucx_port_t *port;          /* written once */
    ucp_ep_h endpoint RW_GUARDED; /* NULL once closing began */
    rw_ucx_state_t state RW_GUARDED;
    rw_close_t how RW_GUARDED;        /* once it is not open any more */
    bool reported RW_GUARDED;         /* UCX itself says that it is broken */
    bool flushing RW_GUARDED;         /* what we have sent has not all left yet */
    unsigned requests RW_GUARDED;     /* of UCX that refer to the link */
    rw_node_t node RW_GUARDED;        /* in a list of the port's */
    rw_timer_t timer RW_GUARDED;      /* when leaving ends, or is looked at */
    uint64_t left RW_GUARDED;         /* when it began to leave */
    char release[RW_UCX_RELEASE_MAX]; /* of UCX on the other side, as far as known; written once */
} rw_ucx_link_t;

static inline rw_ucx_link_t *rw_ucx_link(rw_link_t *link) {
    return (rw_ucx_link_t *)link;
}

/* Makes context and worker, and lets the connector's threads work on it. On failure nothing is
 * left. */
ropeway_error_t rw_ucx_port_open(rw_ucx_port_t *port, ropeway_connector_t *connector,
                                 const rw_ucx_wish_t *wish) RW_LOCKED;
/* Waits until every link has closed; those that have not when due comes are closed by force. */
void rw_ucx_port_settle(rw_ucx_port_t *port, uint64_t due) RW_LOCKED;
/* Frees what open made. Every link has closed. */
void rw_ucx_port_close(rw_ucx_port_t *port) RW_LOCKED;

/* Whether devices take this memory, where there are some; false for that which can't be registered
 * whatever the limits (ucx/registrable.c). */
bool rw_ucx_port_takes(const rw_ucx_port_t *port, const ropeway_descriptor_t *memory);
/* Before a flight goes out: bytes that devices don't take go from a copy, which is the flight's.
 * Errors: ERR_NO_MEMORY. */
ropeway_error_t rw_ucx_port_make_sendable(const rw_ucx_port_t *port, rw_flight_t *flight) RW_LOCKED;
/* Before bytes come in: for a place that devices don't take they come into the flight's buffer, and
 * its done() is to scatter them. Errors: ERR_NO_MEMORY. */
ropeway_error_t rw_ucx_port_make_fillable(const rw_ucx_port_t *port, rw_flight_t *flight) RW_LOCKED;

/* Whether the hello's address is one that UCX can read. Errors: ERR_NO_PATH. */
ropeway_error_t rw_ucx_link_check(const rw_hello_t *hello);
/* As rw_link_kind_t's open(), close() and path(), for links of this kind on this port. */
ropeway_error_t rw_ucx_link_open(rw_ucx_port_t *port, const rw_link_kind_t *kind, rw_peer_t *peer,
                                 const rw_hello_t *hello, rw_link_t **link) RW_LOCKED;
void rw_ucx_link_close(rw_link_t *link, rw_close_t how) RW_LOCKED;
/* At the next step after it has ended: closes the endpoint, or begins to leave. */
void rw_ucx_link_go(rw_ucx_link_t *link) RW_LOCKED;
void rw_ucx_link_path(rw_link_t *link) RW_LOCKED;

#endif
