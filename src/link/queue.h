/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue in shared memory between two connectors on one host, theirs alone: a pair of UCX workers,
 * one on each side. The queue of a worker that serves all peers is blocked for all of them when one
 * is killed while it writes to it; this one is blocked for those two only, and goes when its
 * connection does. queue_talk.c tells how two connectors agree on one, and docs/rationale.md why.
 *
 * It is a link of its own beside the peer's first one: an operation uses it for all its frames, or
 * not at all.
 *
 * A peer that is stopped while it writes leaves the queue neither empty nor readable: UCX can't be
 * armed, and has nothing to do. Such a queue is left alone for a while, so that the progress thread
 * can sleep.
 */
#ifndef RW_QUEUE_H
#define RW_QUEUE_H

#include "link/peer.h"
#include "link/progress.h"
#include "link/ucx_am.h"
#include "ucx/ucx.h"

typedef struct rw_queue {
    rw_link_t base;
    rw_node_t node RW_GUARDED; /* in queues->list, once it is connected */
    rw_am_receiver_t receiver;
    ucp_worker_h worker RW_GUARDED;
    ucp_ep_h endpoint RW_GUARDED;    /* NULL until connected */
    rw_watcher_t watcher RW_GUARDED; /* of what is readable when the worker has work */
    unsigned refusals RW_GUARDED;    /* how often in a row UCX could not be armed, for no reason */
    bool running RW_GUARDED;         /* UCX is at work on it */
    bool muted RW_GUARDED;           /* it is not waited for, as it can't be armed */
    ucs_status_ptr_t flush RW_GUARDED; /* that it is emptied, while the connector closes */
} rw_queue_t;

/* A connector's queues, and its talks about them. */
typedef struct rw_queues {
    ropeway_connector_t *connector; /* written once */
    rw_poller_t poller RW_GUARDED;
    rw_node_t list RW_GUARDED;
    ucp_context_h context RW_GUARDED; /* of their workers, once there was one */
    /* queue_talk.c: */
    rw_watcher_t listener RW_GUARDED; /* where peers on this host ask; fd -1: nowhere */
    bool turns_away RW_GUARDED;       /* there are no descriptors to let anybody in */
    rw_timer_t retry RW_GUARDED;      /* when to look whether there are some again */
    rw_poller_t talker RW_GUARDED;
    rw_node_t talks RW_GUARDED;  /* under way */
    rw_node_t asking RW_GUARDED; /* peers that should be asked for a queue */
    size_t talk_count RW_GUARDED;
} rw_queues_t;

/* Those of this connector, whose links are UCX's. */
static inline rw_queues_t *rw_queues(ropeway_connector_t *connector) {
    return connector->links->queues;
}

void rw_queues_init(rw_queues_t *queues, ropeway_connector_t *connector) RW_LOCKED;
void rw_queues_free(rw_queues_t *queues) RW_LOCKED;

/* Makes a queue for this peer, not connected yet. *address, of *length bytes: its UCX address, to
 * be freed. */
ropeway_error_t rw_queue_new(rw_peer_t *peer, rw_queue_t **queue, uint8_t **address,
                             size_t *length) RW_LOCKED;
/* Connects it to the peer's, whose address this is: it is the peer's queue now. */
ropeway_error_t rw_queue_connect(rw_queue_t *queue, const uint8_t *address,
                                 size_t length) RW_LOCKED;
/* The peer is ready too: operations may begin on it. */
void rw_queue_use(rw_queue_t *queue) RW_LOCKED;
/* Waits until all that was sent through queues is in the peers' hands; at most until due. */
void rw_queues_flush(rw_queues_t *queues, uint64_t due) RW_LOCKED;
/* Takes what the peer has put into its queue so far, if it has one. */
void rw_queue_drain(rw_peer_t *peer) RW_LOCKED;
/* Gives back what is in flight, and frees it. Not from within UCX. */
void rw_queue_free(rw_queue_t *queue) RW_LOCKED;
/* The same for the peer's queue, if it has one. */
void rw_queue_close(rw_peer_t *peer) RW_LOCKED;

/* ---- queue_talk.c ---- */

/* Opens the socket on which peers ask for queues, if there may be any. */
void rw_talk_listen(rw_queues_t *queues) RW_LOCKED;
/* An operation that was begun here has completed without a queue: it may be time to ask for one. */
void rw_talk_count(rw_peer_t *peer) RW_LOCKED;
void rw_talk_close(rw_queues_t *queues) RW_LOCKED;

#endif
