/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue in shared memory between two connectors on one host, theirs alone: a pair of UCX workers,
 * one on each side. The queue of a worker that serves all peers is blocked for all of them when one
 * is killed while it writes to it; this one is blocked for those two only, and goes when its
 * connection does. queue_talk.c tells how two connectors agree on one, and docs/rationale.md why.
 *
 * An operation uses the queue for all its messages, or not at all (by_queue).
 *
 * A peer that is stopped while it writes leaves the queue neither empty nor readable: UCX can't be
 * armed, and has nothing to do. Such a queue is left alone for SULK_MS at a time, so that the
 * progress thread can sleep.
 */
#include "base/error.h"
#include "internal.h"

#include <stdlib.h>
#include <sys/epoll.h>

#define BURST 32         /* calls of ucp_worker_progress() for a queue per step */
#define DRAIN_MAX 4096   /* the same, to get what is left in a queue */
#define CLOSE_MAX 100000 /* the same, until UCX has given up the endpoint */
#define REFUSALS_MAX 64  /* how often UCX may have neither work nor rest */

static ropeway_error_t open_context(ropeway_connector_t *connector) RW_LOCKED {
    ucp_params_t params = {.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_NAME |
                                         UCP_PARAM_FIELD_ESTIMATED_NUM_EPS,
                           .features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP,
                           .estimated_num_eps = 1,
                           .name = "ropeway-queue"};
    ucp_config_t *config;
    ucs_status_t status;
    ropeway_error_t error;

    if (connector->queue_context != NULL) {
        return ROPEWAY_OK;
    }
    error = rw_ucx_queue_config(connector, &config);
    if (error != ROPEWAY_OK) {
        return error;
    }
    status = ucp_init(&params, config, &connector->queue_context);
    ucp_config_release(config);
    return status == UCS_OK ? ROPEWAY_OK
                            : rw_fail(ROPEWAY_ERR_TRANSPORT, "UCX can't start for queues: %s",
                                      ucs_status_string(status));
}

void rw_queue_close_context(ropeway_connector_t *connector) {
    if (connector->queue_context != NULL) {
        ucp_cleanup(connector->queue_context);
        connector->queue_context = NULL;
    }
}

/* Makes the queue's worker, and copies its address. */
static ropeway_error_t open_worker(rw_queue_t *queue, uint8_t **address, size_t *length) RW_LOCKED {
    ropeway_connector_t *connector = queue->peer->connector;
    ropeway_error_t error =
        rw_ucx_open_worker(connector->queue_context, &queue->worker, &queue->fd);

    if (error == ROPEWAY_OK) {
        error = rw_ucx_copy_address(queue->worker, address, length);
    }
    return error == ROPEWAY_OK ? rw_native_listen(connector, queue) : error;
}

ropeway_error_t rw_queue_new(rw_peer_t *peer, rw_queue_t **result, uint8_t **address,
                             size_t *length) {
    ropeway_error_t error = open_context(peer->connector);
    rw_queue_t *queue = calloc(1, sizeof *queue);

    *address = NULL;
    if (queue == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    queue->peer = peer;
    queue->fd = -1;
    rw_list_init(&queue->link);
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
    rw_peer_fail(queue->peer, ROPEWAY_ERR_PEER_LOST,
                 "UCX says \"%s\" of the queue in shared memory; has its process gone?",
                 ucs_status_string(status));
}

ropeway_error_t rw_queue_connect(rw_queue_t *queue, const uint8_t *address, size_t length) {
    ropeway_connector_t *connector = queue->peer->connector;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = queue->fd};
    ropeway_error_t error =
        rw_ucx_connect(queue->worker, address, length, on_error, queue, &queue->endpoint);

    if (error == ROPEWAY_OK &&
        epoll_ctl(connector->epoll_fd, EPOLL_CTL_ADD, queue->fd, &event) != 0) {
        error = rw_fail(ROPEWAY_ERR_SYSTEM, "the queue can't be watched: %m");
    }
    if (error == ROPEWAY_OK) {
        queue->peer->queue = queue;
        rw_list_append(&connector->queues, &queue->link);
        connector->stats.queues++;
        rw_progress_wake(connector); /* it must arm the new worker, too */
    }
    return error;
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

bool rw_queue_progress(ropeway_connector_t *connector) {
    bool any = false;

    for (rw_link_t *link = connector->queues.next; link != &connector->queues; link = link->next) {
        any |= progress(RW_CONTAINER(link, rw_queue_t, link), BURST);
    }
    return any;
}

/* Whether a sleeping thread shall hear of it. */
static void mute(rw_queue_t *queue, bool muted) RW_LOCKED {
    struct epoll_event event = {.events = muted ? 0 : EPOLLIN, .data.fd = queue->fd};

    if (queue->muted != muted) {
        epoll_ctl(queue->peer->connector->epoll_fd, EPOLL_CTL_MOD, queue->fd, &event);
        queue->muted = muted;
    }
}

bool rw_queue_arm(ropeway_connector_t *connector) {
    connector->sulking = false;
    for (rw_link_t *link = connector->queues.next; link != &connector->queues; link = link->next) {
        rw_queue_t *queue = RW_CONTAINER(link, rw_queue_t, link);

        if (ucp_worker_arm(queue->worker) == UCS_OK) {
            queue->refusals = 0;
            mute(queue, false);
        } else if (queue->refusals < REFUSALS_MAX) {
            queue->refusals++;
            return false;
        } else {
            connector->sulking = true;
            mute(queue, true);
        }
    }
    return true;
}

bool rw_queue_owns(const ropeway_connector_t *connector, int fd) {
    for (rw_link_t *link = connector->queues.next; link != &connector->queues; link = link->next) {
        if (RW_CONTAINER(link, rw_queue_t, link)->fd == fd) {
            return true;
        }
    }
    return false;
}

void rw_queue_drain(rw_queue_t *queue) {
    if (queue != NULL) {
        progress(queue, DRAIN_MAX);
    }
}

static bool is_flushing(const ropeway_connector_t *connector) RW_LOCKED {
    for (rw_link_t *link = connector->queues.next; link != &connector->queues; link = link->next) {
        const rw_queue_t *queue = RW_CONTAINER(link, rw_queue_t, link);

        if (UCS_PTR_IS_PTR(queue->flush) &&
            ucp_request_check_status(queue->flush) == UCS_INPROGRESS) {
            return true;
        }
    }
    return false;
}

void rw_queue_flush(ropeway_connector_t *connector, uint64_t due) {
    rw_link_t *queues = &connector->queues;
    ucp_request_param_t param = {0};

    for (rw_link_t *link = queues->next; link != queues; link = link->next) {
        rw_queue_t *queue = RW_CONTAINER(link, rw_queue_t, link);

        queue->flush = ucp_ep_flush_nbx(queue->endpoint, &param);
    }
    while (is_flushing(connector) && rw_now() < due) {
        rw_queue_progress(connector);
    }
    for (rw_link_t *link = queues->next; link != queues; link = link->next) {
        rw_queue_t *queue = RW_CONTAINER(link, rw_queue_t, link);

        if (UCS_PTR_IS_PTR(queue->flush)) {
            ucp_request_free(queue->flush);
        }
        queue->flush = NULL;
    }
}

static bool holds_memory(const rw_queue_t *queue) RW_LOCKED {
    const rw_link_t *operations = &queue->peer->operations;

    for (const rw_link_t *link = operations->next; link != operations; link = link->next) {
        const ropeway_operation_t *operation = RW_CONTAINER(link, ropeway_operation_t, of_peer);

        if (operation->by_queue && operation->inflight > 0) {
            return true;
        }
    }
    return false;
}

/* Closes the endpoint by force. UCX gives back what is in flight while it works on, also after it
 * has called the endpoint closed. */
static void disconnect(rw_queue_t *queue) RW_LOCKED {
    ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS,
                                 .flags = UCP_EP_CLOSE_FLAG_FORCE};
    ucs_status_ptr_t request = ucp_ep_close_nbx(queue->endpoint, &param);
    bool closing = UCS_PTR_IS_PTR(request), busy = true;

    for (int i = 0; i < CLOSE_MAX && (busy || closing || holds_memory(queue)); i++) {
        busy = ucp_worker_progress(queue->worker) != 0;
        closing = closing && ucp_request_check_status(request) == UCS_INPROGRESS;
    }
    if (UCS_PTR_IS_PTR(request)) {
        ucp_request_free(request);
    }
}

void rw_queue_free(rw_queue_t *queue) {
    ropeway_connector_t *connector = queue->peer->connector;

    if (queue->peer->queue == queue) {
        queue->peer->queue = NULL;
        connector->stats.queues--;
    }
    rw_list_remove(&queue->link);
    if (queue->endpoint != NULL) {
        disconnect(queue);
    }
    if (queue->fd >= 0) {
        epoll_ctl(connector->epoll_fd, EPOLL_CTL_DEL, queue->fd, NULL);
    }
    if (queue->worker != NULL) {
        ucp_worker_destroy(queue->worker);
    }
    free(queue);
}
