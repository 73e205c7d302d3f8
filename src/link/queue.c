/* SPDX-License-Identifier: Apache-2.0 */
/* Queues in shared memory: the workers, the links over them, their poller and their end. */
#include "link/queue.h"

#include "base/assert.h"
#include "base/error.h"
#include "link/ucx_port.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define BURST 32         /* calls of ucp_worker_progress() for a queue per step */
#define DRAIN_MAX 4096   /* the same, to get what is left in a queue */
#define CLOSE_MAX 100000 /* the same, until UCX has given up the endpoint */
#define REFUSALS_MAX 64  /* how often UCX may have neither work nor rest */

static rw_queue_t *queue_of(rw_link_t *link) {
    return (rw_queue_t *)link;
}

/* ---- the link ---- */

static ropeway_error_t send_frame(rw_link_t *link, rw_flight_t *flight) RW_LOCKED {
    flight->registration = NULL; /* it is another context's */
    return rw_am_send(link, queue_of(link)->endpoint, flight);
}

/* UCX gives nothing back before its time. */
static void abandon(rw_link_t *link, void *tag) {
    (void)link, (void)tag;
}

/* It goes with the peer's first link. */
static void close_link(rw_link_t *link, rw_close_t how) {
    (void)link, (void)how;
}

static void write_path(rw_link_t *link) RW_LOCKED {
    if (queue_of(link)->endpoint != NULL) {
        rw_ucx_write_path(queue_of(link)->endpoint, link->path, sizeof link->path);
    }
}

/* Lets UCX work on one queue, at most so often. Returns whether it did. */
static bool progress(rw_queue_t *queue, int most) RW_LOCKED {
    bool any = false;

    if (queue->running) { /* one of its own messages brought us here */
        return false;
    }
    queue->running = true;
    for (int i = 0; i < most && ucp_worker_progress(queue->worker) != 0; i++) {
        any = true;
    }
    queue->running = false;
    queue->refusals = any ? 0 : queue->refusals;
    return any;
}

static const rw_link_kind_t queue_kind = {
    .name = "queue",
    .pieces = 1,
    .is_private = true,
    .knows_peer = true,
    .is_quick = true,
    .send = send_frame,
    .abandon = abandon,
    .close = close_link,
    .path = write_path,
};

/* ---- the beginning ---- */

static ropeway_error_t open_context(rw_queues_t *queues) RW_LOCKED {
    const ropeway_connector_options_t *options = &queues->connector->options;
    rw_ucx_wish_t wish = {.purpose = RW_UCX_QUEUES,
                          .transports = options->transports,
                          .keepalive_ms = options->keepalive_ms,
                          .has_cuda = queues->connector->links->has_cuda};

    return queues->context != NULL ? ROPEWAY_OK : rw_ucx_open_context(&wish, &queues->context);
}

/* A message has come: the peer is ready too. */
static bool is_open(rw_am_receiver_t *receiver) RW_LOCKED {
    rw_queue_t *queue = queue_of(receiver->link);
    rw_peer_t *peer = queue->base.peer;

    if (peer->asker.queue != queue || peer->failed) {
        return false; /* not connected yet, or not any more */
    }
    rw_queue_use(queue);
    return true;
}

static void on_ready(rw_watcher_t *watcher) {
    (void)watcher;
}

/* Makes the queue's worker, and copies its address. */
static ropeway_error_t open_worker(rw_queue_t *queue, uint8_t **address, size_t *length) RW_LOCKED {
    rw_queues_t *queues = rw_queues(queue->base.peer->connector);
    ropeway_error_t error = rw_ucx_open_worker(queues->context, &queue->worker, &queue->watcher.fd);

    if (error == ROPEWAY_OK) {
        error = rw_ucx_copy_address(queue->worker, address, length);
    }
    queue->receiver = (rw_am_receiver_t){.connector = queues->connector,
                                         .worker = queue->worker,
                                         .link = &queue->base,
                                         .is_open = is_open};
    return error == ROPEWAY_OK ? rw_am_listen(&queue->receiver) : error;
}

ropeway_error_t rw_queue_new(rw_peer_t *peer, rw_queue_t **result, uint8_t **address,
                             size_t *length) {
    ropeway_error_t error = open_context(rw_queues(peer->connector));
    rw_queue_t *queue = calloc(1, sizeof *queue);

    *address = NULL;
    if (queue == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    rw_link_init(&queue->base, &queue_kind, peer);
    queue->watcher = (rw_watcher_t){.fd = -1, .on_event = on_ready};
    rw_list_init(&queue->node);
    if (error == ROPEWAY_OK) {
        error = open_worker(queue, address, length);
    }
    if (error != ROPEWAY_OK) {
        free(*address);
        *address = NULL;
        rw_queue_free(queue);
        return error;
    }
    *result = queue;
    return ROPEWAY_OK;
}

static void on_error(void *argument, ucp_ep_h endpoint, ucs_status_t status) RW_UNCHECKED {
    rw_queue_t *queue = argument;

    (void)endpoint;
    rw_peer_fail(queue->base.peer, RW_CLOSE_NOW, ROPEWAY_ERR_PEER_LOST,
                 "UCX says \"%s\" of the queue in shared memory; has its process gone?",
                 ucs_status_string(status));
}

ropeway_error_t rw_queue_connect(rw_queue_t *queue, const uint8_t *address, size_t length) {
    rw_peer_t *peer = queue->base.peer;
    ropeway_connector_t *connector = peer->connector;
    ropeway_error_t error =
        rw_ucx_connect(queue->worker, address, length, on_error, queue, &queue->endpoint);

    if (error == ROPEWAY_OK && !rw_events_watch(&connector->events, &queue->watcher, EPOLLIN)) {
        error = rw_fail(ROPEWAY_ERR_SYSTEM, "the queue can't be watched: %m");
    }
    if (error == ROPEWAY_OK) {
        rw_assert(peer->asker.queue == NULL);
        peer->asker.queue = queue;
        if (rw_list_is_empty(&rw_queues(connector)->list)) {
            rw_poller_add(connector, &rw_queues(connector)->poller);
        }
        rw_list_append(&rw_queues(connector)->list, &queue->node);
        connector->stats.queues++;
        rw_progress_wake(connector); /* it must arm the new worker, too */
    }
    return error;
}

void rw_queue_use(rw_queue_t *queue) {
    if (!queue->base.peer->failed) {
        queue->base.peer->quick = &queue->base;
    }
}

/* ---- progress ---- */

static bool poll_queues(rw_poller_t *poller) RW_LOCKED {
    rw_queues_t *queues = RW_CONTAINER(poller, rw_queues_t, poller);
    bool any = false;

    for (rw_node_t *node = queues->list.next; node != &queues->list; node = node->next) {
        any |= progress(RW_CONTAINER(node, rw_queue_t, node), BURST);
    }
    return any;
}

/* Whether a sleeping thread shall hear of it. */
static void mute(rw_queue_t *queue, bool muted) RW_LOCKED {
    if (queue->muted != muted) {
        rw_events_watch(&queue->base.peer->connector->events, &queue->watcher, muted ? 0 : EPOLLIN);
        queue->muted = muted;
    }
}

static rw_rest_t arm(rw_poller_t *poller) RW_LOCKED {
    rw_queues_t *queues = RW_CONTAINER(poller, rw_queues_t, poller);
    rw_rest_t rest = RW_ARMED;

    for (rw_node_t *node = queues->list.next; node != &queues->list; node = node->next) {
        rw_queue_t *queue = RW_CONTAINER(node, rw_queue_t, node);

        if (ucp_worker_arm(queue->worker) == UCS_OK) {
            queue->refusals = 0;
            mute(queue, false);
        } else if (queue->refusals < REFUSALS_MAX) {
            queue->refusals++;
            return RW_BUSY;
        } else {
            rest = RW_LOOK_AGAIN;
            mute(queue, true);
        }
    }
    return rest;
}

/* ---- the end ---- */

static bool is_flushing(const rw_queues_t *queues) RW_LOCKED {
    for (rw_node_t *node = queues->list.next; node != &queues->list; node = node->next) {
        const rw_queue_t *queue = RW_CONTAINER(node, rw_queue_t, node);

        if (UCS_PTR_IS_PTR(queue->flush) &&
            ucp_request_check_status(queue->flush) == UCS_INPROGRESS) {
            return true;
        }
    }
    return false;
}

void rw_queues_flush(rw_queues_t *queues, uint64_t due) {
    ucp_request_param_t param = {0};

    for (rw_node_t *node = queues->list.next; node != &queues->list; node = node->next) {
        rw_queue_t *queue = RW_CONTAINER(node, rw_queue_t, node);

        queue->flush = ucp_ep_flush_nbx(queue->endpoint, &param);
    }
    while (is_flushing(queues) && rw_now() < due) {
        poll_queues(&queues->poller);
    }
    for (rw_node_t *node = queues->list.next; node != &queues->list; node = node->next) {
        rw_queue_t *queue = RW_CONTAINER(node, rw_queue_t, node);

        if (UCS_PTR_IS_PTR(queue->flush)) {
            ucp_request_free(queue->flush);
        }
        queue->flush = NULL;
    }
}

/* Closes the endpoint by force. UCX gives back what is in flight while it works on, also after it
 * has called the endpoint closed. */
static void disconnect(rw_queue_t *queue) RW_LOCKED {
    ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS,
                                 .flags = UCP_EP_CLOSE_FLAG_FORCE};
    ucs_status_ptr_t request = ucp_ep_close_nbx(queue->endpoint, &param);
    bool closing = UCS_PTR_IS_PTR(request), busy = true;

    for (int i = 0; i < CLOSE_MAX && (busy || closing || queue->base.flights > 0); i++) {
        busy = ucp_worker_progress(queue->worker) != 0;
        closing = closing && ucp_request_check_status(request) == UCS_INPROGRESS;
    }
    if (UCS_PTR_IS_PTR(request)) {
        ucp_request_free(request);
    }
}

void rw_queue_free(rw_queue_t *queue) {
    rw_peer_t *peer = queue->base.peer;

    if (peer->asker.queue == queue) {
        peer->asker.queue = NULL;
        peer->quick = NULL;
        peer->connector->stats.queues--;
    }
    rw_list_remove(&queue->node);
    if (rw_list_is_empty(&rw_queues(peer->connector)->list)) {
        rw_poller_remove(&rw_queues(peer->connector)->poller);
    }
    rw_link_path(&queue->base); /* may be asked for afterwards */
    if (queue->endpoint != NULL) {
        disconnect(queue);
        queue->endpoint = NULL;
    }
    rw_events_forget(&peer->connector->events, &queue->watcher);
    if (queue->worker != NULL) {
        ucp_worker_destroy(queue->worker);
        queue->worker = NULL;
    }
    rw_link_drop(&queue->base);
}

void rw_queue_drain(rw_peer_t *peer) {
    if (peer->asker.queue != NULL) {
        progress(peer->asker.queue, DRAIN_MAX);
    }
}

void rw_queue_close(rw_peer_t *peer) {
    if (peer->asker.queue != NULL) {
        rw_queue_free(peer->asker.queue);
    }
}

void rw_queues_init(rw_queues_t *queues, ropeway_connector_t *connector) {
    memset(queues, 0, sizeof *queues);
    queues->connector = connector;
    rw_list_init(&queues->list);
    rw_list_init(&queues->talks);
    rw_list_init(&queues->asking);
    /* Added while there are queues. */
    queues->poller = (rw_poller_t){.poll = poll_queues, .arm = arm, .quick = true};
    rw_list_init(&queues->poller.node);
    rw_talk_listen(queues);
}

void rw_queues_free(rw_queues_t *queues) {
    rw_assert(rw_list_is_empty(&queues->list));
    if (queues->context != NULL) {
        ucp_cleanup(queues->context);
    }
}
