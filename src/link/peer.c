/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections to other connectors, one per peer, shared by all operations with it and kept open. A
 * peer is known by its whole hello: nobody can pose as another without having its address, and a
 * peer that restarts is another one, even under the same name.
 *
 * A broken connection is found by UCX (error handler, which UCX may call from within any function
 * that posts) or declared by us (a peer that lets no operation end). Its operations end at once;
 * its endpoint is closed at the next step, outside UCX's own callbacks, which makes UCX give back
 * whatever is in flight.
 *
 * When the endpoint is closed matters, because of a fault of UCX (1.22, 1.23). When its TCP
 * connection is given up with bytes left to send, and the other side gives it up too before they
 * have left, UCX frees the connection in the middle of handling its events, and goes on to use it:
 * the process crashes. So the endpoint is flushed first, unless an operation has waited for its
 * memory as long as it may. A side that gives up an idle connection also waits for quiet_ms: the
 * other one may do the same, with bytes left to send, and needs time for them. An endpoint that
 * can't wait is given up after its socket, if nothing could be sent through that for long: then UCX
 * finds a connection that the peer has ended, and frees it at a time of its own.
 */
#include "base/error.h"
#include "internal.h"
#include "ucx/ucx_blob.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MILLISECOND 1000000u
#define STUCK_MIN_MS 10u
#define STUCK_MAX_MS 500u
#define CUT_STEPS 1024 /* until UCX has seen the ends of its sockets */
#define LEAVE_MAX ((uint64_t)60000 * MILLISECOND)

rw_peer_t *rw_peer_find(ropeway_connector_t *connector, const uint8_t id[RW_ID_BYTES]) {
    rw_table_node_t *node = rw_table_find(&connector->peer_table, id);

    return node != NULL ? RW_CONTAINER(node, rw_peer_t, node) : NULL;
}

void rw_peer_use(rw_peer_t *peer) {
    rw_list_remove(&peer->link);
    rw_list_append(&peer->connector->peers, &peer->link);
}

void rw_peer_drop(rw_peer_t *peer) {
    if (--peer->references == 0) {
        free(peer);
    }
}

/* Takes it out of sight of new operations. */
static void detach(rw_peer_t *peer) RW_LOCKED {
    ropeway_connector_t *connector = peer->connector;

    if (!peer->failed) {
        peer->failed = true;
        rw_watch_stop(peer);
        rw_table_remove(&connector->peer_table, &peer->node);
        rw_list_remove(&peer->asking);
        rw_list_remove(&peer->link);
        rw_list_append(&connector->broken, &peer->link);
        connector->stats.peers--;
    }
}

void rw_peer_fail(rw_peer_t *peer, ropeway_error_t cause, const char *format, ...) {
    char why[256];
    va_list arguments;

    if (peer->failed) {
        return;
    }
    va_start(arguments, format);
    vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    detach(peer);
    peer->connector->stats.peers_failed += cause != ROPEWAY_ERR_PEER_CLOSED;
    rw_log(peer->connector, ROPEWAY_LOG_INFO, "the connection to \"%s\" ended: %s", peer->name,
           why);
    for (rw_link_t *link = peer->operations.next, *next; link != &peer->operations; link = next) {
        ropeway_operation_t *operation = RW_CONTAINER(link, ropeway_operation_t, of_peer);

        next = link->next;
        if (operation->cancel_asked) {
            rw_operation_end(operation, ROPEWAY_STATUS_CANCELLED, ROPEWAY_ERR_CANCELLED, false,
                             "cancelled on this side; the peer \"%s\" did not confirm it: %s",
                             peer->name, why);
        } else {
            rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, cause, false,
                             "the connection to the peer \"%s\" ended after %llu of %llu bytes: %s",
                             peer->name, (unsigned long long)atomic_load(&operation->done),
                             (unsigned long long)operation->total, why);
        }
    }
}

/* Its endpoint shall be closed at the next step. */
static void end_leaving(rw_peer_t *peer) RW_LOCKED {
    ropeway_connector_t *connector = peer->connector;

    peer->leaving = false;
    peer->leave = RW_LEAVE_NOW;
    rw_timer_set(&connector->timers, &peer->timer, RW_NEVER);
    connector->leaving_count--;
    rw_list_remove(&peer->link);
    rw_list_append(&connector->broken, &peer->link);
}

static void on_error(void *argument, ucp_ep_h endpoint, ucs_status_t status) RW_UNCHECKED {
    rw_peer_t *peer = argument;

    (void)endpoint;
    peer->reported = true;
    rw_queue_drain(peer->queue); /* it may have said more before its end */
    if (peer->leaving) {
        end_leaving(peer);
        return;
    }
    if (peer->heard) {
        rw_peer_fail(peer, ROPEWAY_ERR_PEER_LOST,
                     "UCX says \"%s\"; has its process or its host gone?",
                     ucs_status_string(status));
    } else {
        rw_peer_fail(peer, ROPEWAY_ERR_UNREACHABLE,
                     "UCX says \"%s\" (UCX %s there, %s here); is its process alive, and its "
                     "address reachable from here?",
                     ucs_status_string(status), peer->ucx, ropeway_ucx_version());
    }
}

static ropeway_error_t no_path(const rw_peer_t *peer, const rw_hello_t *hello, const char *why) {
    return rw_fail(
        ROPEWAY_ERR_NO_PATH,
        "no transport connects to the peer \"%s\" (UCX %s there, %s here): %s; it may have "
        "ended, or share no transport with us: compare `ropeway info` on both hosts, and "
        "UCX_TLS and UCX_NET_DEVICES",
        hello->name, peer->ucx, ropeway_ucx_version(), why);
}

/* Tries to connect; the answer comes later. */
static ropeway_error_t connect_to(rw_peer_t *peer, const rw_hello_t *hello) RW_LOCKED {
    ropeway_connector_t *connector = peer->connector;
    ucp_worker_h worker = peer->stock ? connector->nixl->worker : connector->worker;
    char release[RW_UCX_RELEASE], why[64];
    const char *wrong;
    ropeway_error_t error;

    if (hello->ucx[0] == '\0') { /* only the address tells */
        rw_ucx_address_check(hello->address, hello->address_length, release, &wrong);
    }
    snprintf(peer->ucx, sizeof peer->ucx, "%s", hello->ucx[0] != '\0' ? hello->ucx : release);
    error = rw_ucx_connect(worker, hello->address, hello->address_length, on_error, peer,
                           &peer->endpoint);
    if (error == ROPEWAY_ERR_NO_PATH) {
        snprintf(why, sizeof why, "%s", ropeway_last_error());
        error = no_path(peer, hello, why);
    }
    return error;
}

static void say_goodbye(rw_peer_t *peer, uint16_t flags) RW_LOCKED {
    rw_message_t message = {.type = RW_BYE, .version = RW_PROTOCOL_VERSION, .flags = flags};

    if (peer->stock) {
        return;
    }
    memcpy(message.from, peer->connector->id, RW_ID_BYTES);
    memcpy(message.token, peer->token, RW_ID_BYTES);
    rw_native_send(peer->connector, peer->endpoint, &message, NULL, 0);
}

void rw_peer_forsake(rw_peer_t *peer, rw_leave_t leave, ropeway_error_t cause, const char *why) {
    if (!peer->failed) {
        peer->leave = leave;
        say_goodbye(peer, 0);
        rw_peer_fail(peer, cause, "%s", why);
    } else if (leave == RW_LEAVE_NOW) {
        peer->leave = leave;
        if (peer->leaving) {
            end_leaving(peer);
        }
    }
}

/* Closes the least recently used connection that no operation uses. */
static ropeway_error_t make_room(ropeway_connector_t *connector) RW_LOCKED {
    if (connector->stats.peers < connector->options.max_peers) {
        return ROPEWAY_OK;
    }
    for (rw_link_t *link = connector->peers.next; link != &connector->peers; link = link->next) {
        rw_peer_t *peer = RW_CONTAINER(link, rw_peer_t, link);

        if (rw_list_is_empty(&peer->operations)) {
            rw_peer_forsake(peer, RW_LEAVE_FLUSHED, ROPEWAY_ERR_PEER_CLOSED,
                            "idle, and its place was needed");
            return ROPEWAY_OK;
        }
    }
    return rw_fail(ROPEWAY_ERR_LIMIT,
                   "%llu connections are open and in use, the connector's limit (max_peers)",
                   (unsigned long long)connector->stats.peers);
}

static ropeway_error_t get(ropeway_connector_t *connector, const uint8_t id[RW_ID_BYTES],
                           const rw_hello_t *hello, bool stock, rw_peer_t **result) RW_LOCKED {
    rw_peer_t *peer = rw_peer_find(connector, id);
    ropeway_error_t error;

    if (peer != NULL) {
        rw_peer_use(peer);
        *result = peer;
        return ROPEWAY_OK;
    }
    if (rw_grave_read(connector, id) == ROPEWAY_ERR_PEER_CLOSED) {
        return rw_fail(ROPEWAY_ERR_UNREACHABLE, "the peer \"%s\" has closed its connector",
                       hello->name);
    }
    error = make_room(connector);
    if (error != ROPEWAY_OK) {
        return error;
    }
    peer = calloc(1, sizeof *peer);
    if (peer == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    peer->connector = connector;
    peer->stock = stock;
    memcpy(peer->instance, hello->instance, RW_ID_BYTES);
    rw_list_init(&peer->operations);
    rw_list_init(&peer->asking);
    if (stock && (peer->keys = rw_keys_new()) == NULL) {
        free(peer);
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    error = rw_watch_start(peer, hello);
    if (error == ROPEWAY_OK) {
        error = connect_to(peer, hello);
    }
    if (error != ROPEWAY_OK) {
        rw_watch_stop(peer);
        rw_keys_free(peer->keys);
        free(peer);
        return error;
    }
    memcpy(peer->node.id, id, RW_ID_BYTES);
    randombytes_buf(peer->token, sizeof peer->token);
    snprintf(peer->name, sizeof peer->name, "%s", hello->name);
    peer->references = 1;
    peer->last_heard = rw_now();
    rw_table_add(&connector->peer_table, &peer->node);
    rw_list_append(&connector->peers, &peer->link);
    connector->stats.peers++;
    connector->stats.peers_created++;
    *result = peer;
    return ROPEWAY_OK;
}

ropeway_error_t rw_peer_get(ropeway_connector_t *connector, const uint8_t id[RW_ID_BYTES],
                            const rw_hello_t *hello, rw_peer_t **peer) {
    return get(connector, id, hello, false, peer);
}

/* The agent of this name lives at another address now: an idle connection to the old one is of no
 * use. One with operations is left alone: two agents of one name may be alive, and one that is gone
 * is found by UCX or the stall limit. */
static void replace_stock(ropeway_connector_t *connector, const uint8_t id[RW_ID_BYTES],
                          const char *name) RW_LOCKED {
    for (rw_link_t *link = connector->peers.next, *next; link != &connector->peers; link = next) {
        rw_peer_t *peer = RW_CONTAINER(link, rw_peer_t, link);

        next = link->next;
        if (peer->stock && rw_list_is_empty(&peer->operations) && strcmp(peer->name, name) == 0 &&
            memcmp(peer->node.id, id, RW_ID_BYTES) != 0) {
            rw_peer_fail(peer, ROPEWAY_ERR_PEER_LOST, "it is back under another address");
        }
    }
}

ropeway_error_t rw_peer_get_stock(ropeway_connector_t *connector, const rw_agent_blob_t *agent,
                                  rw_peer_t **peer) {
    rw_hello_t hello = {.address = agent->agent.ucx, .address_length = agent->agent.ucx_length};

    snprintf(hello.name, sizeof hello.name, "%s", agent->name);
    replace_stock(connector, agent->stock_id, hello.name);
    return get(connector, agent->stock_id, &hello, true, peer);
}

static void on_closed(void *request, ucs_status_t status, void *argument) RW_UNCHECKED {
    rw_peer_t *peer = argument;

    (void)status;
    ucp_request_free(request);
    peer->connector->closing--;
    rw_keys_free(peer->keys);
    rw_peer_drop(peer);
}

static void close_endpoint(rw_peer_t *peer, uint32_t flags) RW_LOCKED {
    ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS |
                                                 UCP_OP_ATTR_FIELD_CALLBACK |
                                                 UCP_OP_ATTR_FIELD_USER_DATA,
                                 .flags = flags,
                                 .cb.send = on_closed,
                                 .user_data = peer};
    ucp_ep_h endpoint = peer->endpoint;
    ucs_status_ptr_t request;

    if (peer->queue != NULL) {
        rw_queue_free(peer->queue);
    }
    peer->endpoint = NULL;
    request = ucp_ep_close_nbx(endpoint, &param);
    if (UCS_PTR_IS_PTR(request)) {
        peer->connector->closing++;
    } else {
        rw_keys_free(peer->keys);
        rw_peer_drop(peer);
    }
}

/* Ends it, or says when to look again. */
static void look_at_leaving(rw_peer_t *peer, uint64_t now) RW_LOCKED {
    uint64_t quiet = (uint64_t)peer->connector->options.quiet_ms * MILLISECOND;
    uint64_t first = peer->left + (peer->leave == RW_LEAVE_LATER ? quiet : 0);
    uint64_t last = peer->left + (peer->leave == RW_LEAVE_LATER ? LEAVE_MAX + quiet : quiet);

    if (!peer->leaving) {
        return;
    }
    if ((!peer->flushing && now >= first) || now >= last) {
        end_leaving(peer);
    } else {
        rw_timer_set(&peer->connector->timers, &peer->timer, now < first ? first : last);
    }
}

static void on_leave_due(rw_timer_t *timer, uint64_t now) RW_LOCKED {
    look_at_leaving(RW_CONTAINER(timer, rw_peer_t, timer), now);
}

static void on_flushed(void *request, ucs_status_t status, void *argument) RW_UNCHECKED {
    rw_peer_t *peer = argument;

    (void)status;
    ucp_request_free(request);
    peer->flushing = false;
    look_at_leaving(peer, rw_now());
    rw_peer_drop(peer);
}

static void begin_leaving(rw_peer_t *peer) RW_LOCKED {
    ropeway_connector_t *connector = peer->connector;
    ucp_request_param_t param = {.op_attr_mask =
                                     UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
                                 .cb.send = on_flushed,
                                 .user_data = peer};

    peer->flushing = UCS_PTR_IS_PTR(ucp_ep_flush_nbx(peer->endpoint, &param));
    peer->references += peer->flushing; /* the request's */
    peer->leaving = true;
    peer->left = rw_now();
    peer->timer.run = on_leave_due;
    connector->leaving_count++;
    rw_list_append(&connector->leaving, &peer->link);
    look_at_leaving(peer, peer->left);
}

/* Whether an endpoint of this worker is to be closed at once that UCX takes for a good one. */
static bool gives_up(ropeway_connector_t *connector, bool stock) RW_LOCKED {
    for (rw_link_t *link = connector->broken.next; link != &connector->broken; link = link->next) {
        rw_peer_t *peer = RW_CONTAINER(link, rw_peer_t, link);

        if (peer->stock == stock && peer->leave == RW_LEAVE_NOW && !peer->reported) {
            return true;
        }
    }
    return false;
}

/* Ends the connections of a worker that are stuck, when one of them may be to be closed. */
static void cut_stuck(ropeway_connector_t *connector, bool stock) RW_LOCKED {
    int fd = stock ? connector->nixl->fd : connector->ucx_fd;
    ucp_worker_h worker = stock ? connector->nixl->worker : connector->worker;
    uint32_t half = connector->options.quiet_ms / 2;
    unsigned count = rw_stuck_cut(fd, half < STUCK_MIN_MS   ? STUCK_MIN_MS
                                      : half > STUCK_MAX_MS ? STUCK_MAX_MS
                                                            : half);

    if (count > 0) {
        rw_log(connector, ROPEWAY_LOG_INFO, "%u TCP connections were cut: their peers take nothing",
               count);
        for (int i = 0; i < CUT_STEPS && ucp_worker_progress(worker) != 0; i++) {
        }
    }
}

bool rw_peer_bury(ropeway_connector_t *connector) {
    rw_link_t *link;
    bool any = false;

    if (gives_up(connector, false)) {
        cut_stuck(connector, false);
    }
    if (gives_up(connector, true)) {
        cut_stuck(connector, true);
    }
    while ((link = rw_list_take(&connector->broken)) != NULL) {
        rw_peer_t *peer = RW_CONTAINER(link, rw_peer_t, link);

        if (peer->leave != RW_LEAVE_NOW && rw_progress_reserve_timer(connector)) {
            begin_leaving(peer);
        } else {
            close_endpoint(peer, UCP_EP_CLOSE_FLAG_FORCE);
        }
        any = true;
    }
    return any;
}

static bool is_flushing(const ropeway_connector_t *connector) RW_LOCKED {
    for (rw_link_t *link = connector->leaving.next; link != &connector->leaving;
         link = link->next) {
        if (RW_CONTAINER(link, rw_peer_t, link)->flushing) {
            return true;
        }
    }
    return false;
}

void rw_peer_close_all(ropeway_connector_t *connector) {
    uint64_t quiet = (uint64_t)connector->options.quiet_ms * MILLISECOND;
    uint64_t due = rw_now() + quiet;

    rw_queue_flush(connector, due - quiet / 2);
    while (!rw_list_is_empty(&connector->peers)) {
        rw_peer_t *peer = RW_CONTAINER(connector->peers.next, rw_peer_t, link);

        say_goodbye(peer, RW_FLAG_GONE);
        if (!peer->failed) { /* by what was sent to it */
            detach(peer);
            rw_list_remove(&peer->link);
            close_endpoint(peer, 0);
        }
    }
    while ((connector->closing > 0 || is_flushing(connector) || connector->messages_inflight > 0) &&
           rw_now() < due) {
        rw_progress_step(connector);
        rw_lock_yield(&connector->lock);
    }
    do {
        while (!rw_list_is_empty(&connector->leaving)) {
            end_leaving(RW_CONTAINER(connector->leaving.next, rw_peer_t, link));
        }
        rw_progress_step(connector);
    } while (!rw_list_is_empty(&connector->leaving) || !rw_list_is_empty(&connector->broken));
}

/* Writes "tcp/lo cma/memory": each lane's transport and device, once. */
static void write_path(char *path, size_t size, const ucp_transport_entry_t *entries,
                       unsigned count) {
    size_t used = 0;

    for (unsigned i = 0; i < count; i++) {
        char entry[96];
        int length = snprintf(entry, sizeof entry, "%s/%s", entries[i].transport_name,
                              entries[i].device_name);

        if (length <= 0 || strstr(path, entry) != NULL || used + (size_t)length + 2 > size) {
            continue;
        }
        used += (size_t)snprintf(path + used, size - used, "%s%s", used > 0 ? " " : "", entry);
    }
}

const char *rw_peer_path(rw_peer_t *peer, bool by_queue) {
    ucp_transport_entry_t entries[16];
    ucp_ep_attr_t attributes = {
        .field_mask = UCP_EP_ATTR_FIELD_TRANSPORTS,
        .transports = {.entries = entries, .num_entries = 16, .entry_size = sizeof entries[0]}};

    char *path = by_queue ? peer->queue_path : peer->path;

    if (path[0] == '\0' && peer->heard && peer->endpoint != NULL && !peer->failed &&
        ucp_ep_query(by_queue ? peer->queue->endpoint : peer->endpoint, &attributes) == UCS_OK) {
        write_path(path, sizeof peer->path, entries, attributes.transports.num_entries);
    }
    return path;
}
