/* SPDX-License-Identifier: Apache-2.0 */
/* The table of peers: who is connected, who goes when there is no room, and how connections end. */
#include "link/peer.h"

#include "base/assert.h"
#include "base/error.h"
#include "base/log.h"
#include "link/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLOSED_KEPT 256 /* closed connectors that are remembered */

rw_peer_t *rw_peer_find(ropeway_connector_t *connector, const uint8_t id[RW_ID_BYTES]) {
    rw_table_node_t *node = rw_table_find(&connector->peers->table, id);

    return node != NULL ? RW_CONTAINER(node, rw_peer_t, node) : NULL;
}

void rw_peer_touch(rw_peer_t *peer) {
    if (!peer->failed) {
        rw_list_remove(&peer->node_used);
        rw_list_append(&peer->connector->peers->used, &peer->node_used);
    }
}

void rw_peer_forget_keys(rw_peer_t *peer) {
    if (peer->keys != NULL) {
        peer->free_keys(peer->keys);
        peer->keys = NULL;
    }
}

void rw_peer_drop(rw_peer_t *peer) {
    rw_assert(peer->references > 0);
    if (--peer->references == 0) {
        rw_assert(rw_list_is_empty(&peer->users) && rw_list_is_empty(&peer->node_used));
        rw_assert(peer->keys == NULL && peer->inflight == 0);
        rw_assert(rw_list_is_empty(&peer->starved) && rw_list_is_empty(&peer->node_starved));
        free(peer->other);
        free(peer);
    }
}

/* Takes it out of sight of new operations. */
static void detach(rw_peer_t *peer) RW_LOCKED {
    rw_assert(!peer->failed);
    peer->failed = true;
    rw_watch_stop(peer);
    rw_table_remove(&peer->connector->peers->table, &peer->node);
    rw_list_remove(&peer->node_used);
    peer->connector->stats.peers--;
}

void rw_peer_fail(rw_peer_t *peer, rw_close_t how, ropeway_error_t cause, const char *format, ...) {
    char why[256];
    va_list arguments;

    if (peer->failed) {
        return;
    }
    va_start(arguments, format);
    vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    peer->references++; /* its users let it go */
    detach(peer);
    peer->connector->stats.peers_failed += cause != ROPEWAY_ERR_PEER_CLOSED;
    rw_log(peer->connector, ROPEWAY_LOG_INFO, "the connection to \"%s\" ended: %s", peer->name,
           why);
    for (rw_node_t *node = peer->users.next, *next; node != &peer->users; node = next) {
        rw_peer_user_t *user = RW_CONTAINER(node, rw_peer_user_t, node);

        next = node->next;
        user->on_down(user, cause, why);
    }
    if (peer->link != NULL) {
        peer->link->kind->close(peer->link, how);
    }
    rw_peer_drop(peer);
}

void rw_peer_leave(rw_peer_t *peer, rw_close_t how, ropeway_error_t cause, const char *why) {
    if (!peer->failed) {
        peer->connector->links->user->on_leave(peer, false);
        rw_peer_fail(peer, how, cause, "%s", why);
    } else if (how == RW_CLOSE_NOW && peer->link != NULL) {
        peer->link->kind->close(peer->link, how);
    }
}

void rw_peer_remember_closed(rw_peer_t *peer) {
    rw_recent_add(&peer->connector->peers->closed, peer->node.id, ROPEWAY_ERR_PEER_CLOSED);
}

/* The least recently used connection that nobody uses; strangers who have asked for nothing first.
 * NULL: there is none. */
static rw_peer_t *find_idle(ropeway_connector_t *connector) RW_LOCKED {
    rw_node_t *used = &connector->peers->used;
    rw_peer_t *idle = NULL;

    for (rw_node_t *node = used->next; node != used; node = node->next) {
        rw_peer_t *peer = RW_CONTAINER(node, rw_peer_t, node_used);

        if (rw_list_is_empty(&peer->users) && peer->accepted && !peer->heard) {
            return peer;
        }
        if (rw_list_is_empty(&peer->users) && idle == NULL) {
            idle = peer;
        }
    }
    return idle;
}

/* Closes one that is idle if there are too many. */
static ropeway_error_t make_room(ropeway_connector_t *connector) RW_LOCKED {
    rw_peer_t *idle;

    if (connector->stats.peers < connector->options.max_peers) {
        return ROPEWAY_OK;
    }
    idle = find_idle(connector);
    if (idle != NULL) {
        rw_peer_leave(idle, RW_CLOSE_FLUSHED, ROPEWAY_ERR_PEER_CLOSED,
                      "idle, and its place was needed");
        return ROPEWAY_OK;
    }
    return rw_fail(ROPEWAY_ERR_LIMIT,
                   "%llu connections are open and in use, the connector's limit (max_peers)",
                   (unsigned long long)connector->stats.peers);
}

static rw_peer_t *make(ropeway_connector_t *connector) RW_LOCKED {
    rw_peer_t *peer = calloc(1, sizeof *peer);

    if (peer == NULL) {
        rw_explain("out of memory");
        return NULL;
    }
    peer->connector = connector;
    peer->references = 1;
    peer->last_heard = rw_now();
    peer->process.fd = -1;
    rw_random(peer->token, sizeof peer->token);
    rw_list_init(&peer->users);
    rw_list_init(&peer->node_used);
    rw_list_init(&peer->starved);
    rw_list_init(&peer->node_starved);
    return peer;
}

static void name(rw_peer_t *peer, const rw_hello_t *hello) {
    memcpy(peer->instance, hello->instance, RW_ID_BYTES);
    snprintf(peer->name, sizeof peer->name, "%s", hello->name);
}

/* It has a link, which holds it from now on. */
static void enter(rw_peer_t *peer) RW_LOCKED {
    ropeway_connector_t *connector = peer->connector;

    rw_assert(peer->link != NULL && peer->link->peer == peer && peer->references == 2);
    rw_table_add(&connector->peers->table, &peer->node);
    rw_list_append(&connector->peers->used, &peer->node_used);
    connector->stats.peers++;
    connector->stats.peers_created++;
    rw_peer_drop(peer);
}

ropeway_error_t rw_peer_accept(ropeway_connector_t *connector, const rw_link_kind_t *kind,
                               rw_link_t *link) {
    ropeway_error_t error = make_room(connector);
    rw_peer_t *peer;

    if (error != ROPEWAY_OK) {
        return error;
    }
    peer = make(connector);
    if (peer == NULL) {
        return ROPEWAY_ERR_NO_MEMORY;
    }
    rw_random(peer->node.id, RW_ID_BYTES);
    peer->accepted = true;
    rw_link_init(link, kind, peer);
    peer->link = link;
    enter(peer);
    return ROPEWAY_OK;
}

/* Who is another host's, or says so, has no process to watch here: the answer would tell it which
 * ones there are. */
ropeway_error_t rw_peer_introduce(rw_peer_t *peer, const rw_hello_t *hello) {
    ropeway_error_t error = ROPEWAY_OK;

    rw_assert(peer->accepted);
    if (peer->name[0] != '\0') {
        return ROPEWAY_OK;
    }
    if (peer->link->is_local) {
        error = rw_watch_start(peer, hello);
    }
    if (error == ROPEWAY_OK) {
        name(peer, hello);
    }
    return error;
}

static ropeway_error_t refuse_closed(const ropeway_connector_t *connector,
                                     const uint8_t id[RW_ID_BYTES],
                                     const rw_hello_t *hello) RW_LOCKED {
    return rw_recent_find(&connector->peers->closed, id) == ROPEWAY_OK
               ? ROPEWAY_OK
               : rw_fail(ROPEWAY_ERR_UNREACHABLE, "the peer \"%s\" has closed its connector",
                         hello->name);
}

ropeway_error_t rw_peer_foresee(ropeway_connector_t *connector, const uint8_t id[RW_ID_BYTES],
                                const rw_hello_t *hello, rw_peer_t **peer) {
    int process = -1;
    ropeway_error_t error;

    *peer = rw_peer_find(connector, id);
    if (*peer != NULL) {
        return ROPEWAY_OK;
    }
    error = refuse_closed(connector, id, hello);
    if (error == ROPEWAY_OK) {
        error = rw_watch_open(connector, hello, &process);
    }
    if (process >= 0) {
        close(process);
    }
    return error;
}

ropeway_error_t rw_peer_get(ropeway_connector_t *connector, const uint8_t id[RW_ID_BYTES],
                            const rw_hello_t *hello, const rw_link_kind_t *kind,
                            rw_peer_t **result) {
    rw_peer_t *peer = rw_peer_find(connector, id);
    ropeway_error_t error;

    if (peer != NULL && peer->link->kind != kind) {
        return rw_fail(ROPEWAY_ERR_PROTOCOL,
                       "the peer \"%s\" is reached by another kind of connection than it says",
                       peer->name);
    }
    if (peer != NULL) {
        rw_peer_touch(peer);
        *result = peer;
        return ROPEWAY_OK;
    }
    error = refuse_closed(connector, id, hello);
    if (error == ROPEWAY_OK) {
        error = make_room(connector);
    }
    if (error != ROPEWAY_OK) {
        return error;
    }
    peer = make(connector);
    if (peer == NULL) {
        return ROPEWAY_ERR_NO_MEMORY;
    }
    memcpy(peer->node.id, id, RW_ID_BYTES);
    name(peer, hello);
    error = rw_watch_start(peer, hello);
    if (error == ROPEWAY_OK) {
        error = kind->open(peer, hello, &peer->link);
    }
    if (error != ROPEWAY_OK) {
        rw_watch_stop(peer);
        rw_peer_drop(peer);
        return error;
    }
    enter(peer);
    *result = peer;
    return ROPEWAY_OK;
}

void rw_peers_close(ropeway_connector_t *connector) {
    rw_node_t *used = &connector->peers->used;
    uint64_t due = rw_now() + (uint64_t)connector->options.quiet_ms * RW_NANOSECONDS_PER_MS;

    rw_links_unlisten(connector);
    while (!rw_list_is_empty(used)) {
        rw_peer_t *peer = RW_CONTAINER(used->next, rw_peer_t, node_used);

        peer->references++;
        connector->links->user->on_leave(peer, true);
        if (!peer->failed) { /* by what was sent to it */
            detach(peer);
            peer->link->kind->close(peer->link, RW_CLOSE_GRACEFUL);
        }
        rw_peer_drop(peer);
    }
    rw_links_settle(connector, due);
}

ropeway_error_t rw_peers_open(ropeway_connector_t *connector) RW_UNCHECKED {
    struct rw_peers *peers = calloc(1, sizeof *peers);

    connector->peers = peers;
    if (peers == NULL || !rw_table_init(&peers->table) ||
        !rw_recent_init(&peers->closed, CLOSED_KEPT)) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    rw_list_init(&peers->used);
    rw_watch_scope(peers->scope);
    return ROPEWAY_OK;
}

void rw_peers_free(ropeway_connector_t *connector) RW_UNCHECKED {
    struct rw_peers *peers = connector->peers;

    if (peers != NULL) {
        rw_table_free(&peers->table);
        rw_recent_free(&peers->closed);
        free(peers);
        connector->peers = NULL;
    }
}
