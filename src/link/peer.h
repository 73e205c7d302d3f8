/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections to other connectors, one per peer, shared by all operations with it and kept open. A
 * peer is known by its whole hello: nobody can pose as another without having its address, and a
 * peer that restarts is another one, even under the same name.
 *
 * A broken connection is found by its link, or declared by us (a peer that lets no operation end).
 * Its users learn it at once; its link closes in a way of its own.
 *
 * A peer is freed when no user refers to it and its links have closed (a reference each).
 */
#ifndef RW_PEER_H
#define RW_PEER_H

#include "base/recent.h"
#include "link/link.h"

#include <sys/types.h>

/* Who has something under way with a peer. */
typedef struct rw_peer_user {
    rw_node_t node; /* in peer->users */
    /* The connection has ended, for this cause. */
    void (*on_down)(struct rw_peer_user *user, ropeway_error_t cause, const char *why);
} rw_peer_user_t;

typedef struct rw_peer {
    /* Written once. */
    rw_table_node_t node; /* node.id: the id of the other connector's hello; accepted: random */
    ropeway_connector_t *connector;
    uint8_t token[RW_ID_BYTES];    /* what we call the connection */
    uint8_t instance[RW_ID_BYTES]; /* from its hello */
    char name[256]; /* the same; of one that was accepted it comes with its first request */
    bool accepted;  /* it connected to us: it begins operations on its link, and we don't */

    rw_node_t node_used RW_GUARDED; /* in peers->used */
    rw_node_t users RW_GUARDED;
    rw_link_t *link RW_GUARDED; /* NULL once it has closed */
    unsigned references RW_GUARDED;
    rw_watcher_t process RW_GUARDED;             /* on this host; fd -1: unknown */
    bool heard RW_GUARDED;                       /* it has sent us something */
    bool failed RW_GUARDED;                      /* new operations need a fresh peer */
    uint8_t their_token[RW_ID_BYTES] RW_GUARDED; /* what it calls the connection; zeroes: unknown */
    uint64_t last_heard RW_GUARDED;              /* when, or when the connection was made */
    void *keys RW_GUARDED;                       /* of its memory, for a mover; see free_keys */
    void (*free_keys)(void *keys) RW_GUARDED;
    uint64_t inflight RW_GUARDED;      /* bytes that take room; see operation/room.c */
    rw_node_t starved RW_GUARDED;      /* its operations that wait until fewer are in flight */
    rw_node_t node_starved RW_GUARDED; /* in operations->starved while there are any */
    /* How it is reached by our second carrier: its hello, of no bytes if it is not. */
    uint8_t *other RW_GUARDED;
    size_t other_length RW_GUARDED;
    bool other_known RW_GUARDED;
} rw_peer_t;

/* A connector's peers. */
struct rw_peers {
    rw_table_t table RW_GUARDED;   /* by hello id */
    rw_node_t used RW_GUARDED;     /* open ones, least recently used first */
    uint8_t scope[RW_ID_BYTES];    /* see rw_watch_scope(); written once */
    rw_recent_t closed RW_GUARDED; /* hellos of connectors that have closed */
};

ropeway_error_t rw_peers_open(ropeway_connector_t *connector);
void rw_peers_free(ropeway_connector_t *connector);

/* Finds or makes the connection to whoever this hello describes, over a link of this kind.
 * Errors: ERR_UNREACHABLE, ERR_LIMIT, ERR_NO_PATH, ERR_NO_MEMORY, ERR_PROTOCOL (there is one, over
 * another kind). */
ropeway_error_t rw_peer_get(ropeway_connector_t *connector, const uint8_t id[RW_ID_BYTES],
                            const rw_hello_t *hello, const rw_link_kind_t *kind,
                            rw_peer_t **peer) RW_LOCKED;
/* Whether a connection to whoever this hello describes would be tried; *peer: the one that there is
 * already, or NULL. Errors: ERR_UNREACHABLE (the connector has closed, the process has ended). */
ropeway_error_t rw_peer_foresee(ropeway_connector_t *connector, const uint8_t id[RW_ID_BYTES],
                                const rw_hello_t *hello, rw_peer_t **peer) RW_LOCKED;
/* Makes a peer of whoever has connected to us, and begins its link, of this kind. Errors:
 * ERR_LIMIT, ERR_NO_MEMORY. */
ropeway_error_t rw_peer_accept(ropeway_connector_t *connector, const rw_link_kind_t *kind,
                               rw_link_t *link) RW_LOCKED;
/* One that was accepted says who it is; what it said first stands. Errors: ERR_UNREACHABLE. */
ropeway_error_t rw_peer_introduce(rw_peer_t *peer, const rw_hello_t *hello) RW_LOCKED;
/* NULL: there is none that is open. */
rw_peer_t *rw_peer_find(ropeway_connector_t *connector, const uint8_t id[RW_ID_BYTES]) RW_LOCKED;
/* Others are closed before this one when there is no room. */
void rw_peer_touch(rw_peer_t *peer) RW_LOCKED;
/* The connection is of no more use: its users learn the cause, and its link closes. */
void rw_peer_fail(rw_peer_t *peer, rw_close_t how, ropeway_error_t cause, const char *format, ...)
    __attribute__((format(printf, 4, 5))) RW_LOCKED;
/* Gives up on a peer that may be alive: tells it, so that it drops the connection too, and fails
 * it. On one that has failed: RW_CLOSE_NOW hurries. */
void rw_peer_leave(rw_peer_t *peer, rw_close_t how, ropeway_error_t cause,
                   const char *why) RW_LOCKED;
/* The connector that this id belongs to has closed: no new connection to it is tried. */
void rw_peer_remember_closed(rw_peer_t *peer) RW_LOCKED;
/* Says goodbye to every peer and closes the connections; at most about quiet_ms. */
void rw_peers_close(ropeway_connector_t *connector) RW_LOCKED;
/* Its link closes: what a mover kept of its memory's keys goes. */
void rw_peer_forget_keys(rw_peer_t *peer) RW_LOCKED;
void rw_peer_drop(rw_peer_t *peer) RW_LOCKED;

/* ---- watch.c: ends of peer processes ---- */

/* Identifies the host and the PID namespace that this process lives in; zeroes: unknown. */
void rw_watch_scope(uint8_t scope[RW_ID_BYTES]);
/* Whether whoever this hello is of says that it lives in the same. Nobody does who does not know.
 */
bool rw_watch_is_near(const ropeway_connector_t *connector, const rw_hello_t *hello);
/* Opens the process that this hello is of, if it is within reach: see rw_process_open(). *process:
 * -1: it is not. Errors: ERR_UNREACHABLE (it has ended). */
ropeway_error_t rw_watch_open(const ropeway_connector_t *connector, const rw_hello_t *hello,
                              int *process);
/* Begins to watch the peer's process, if it is within reach. Errors: ERR_UNREACHABLE (it has
 * ended). */
ropeway_error_t rw_watch_start(rw_peer_t *peer, const rw_hello_t *hello) RW_LOCKED;
void rw_watch_stop(rw_peer_t *peer) RW_LOCKED;

#endif
