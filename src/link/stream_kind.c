/* SPDX-License-Identifier: Apache-2.0 */
/* The kind of link that is a TCP connection: a connector's part, and its poller. */
#include "link/stream.h"

#include "base/assert.h"
#include "base/error.h"
#include "base/log.h"
#include "link/stream_route.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

/* ---- turns ---- */

static void close_ended(rw_stream_t *stream) RW_LOCKED {
    rw_node_t *node;

    while ((node = rw_list_take(&stream->ended)) != NULL) {
        rw_stream_finish(RW_CONTAINER(node, rw_stream_link_t, ended));
        stream->moved = true;
    }
}

/* Links whose ring has something have a turn. */
static void look_at_rings(rw_stream_t *stream) RW_LOCKED {
    for (rw_node_t *node = stream->rings.next; node != &stream->rings; node = node->next) {
        rw_stream_link_t *link = RW_CONTAINER(node, rw_stream_link_t, ringing);

        if (stream->resting) {
            rw_ring_rise(&link->wire.ring);
        }
        if (rw_wire_has_ring_work(&link->wire, link->blocked)) {
            rw_stream_call(link);
        }
    }
    stream->resting = false;
}

/* false: one has something already. */
static bool rest_rings(rw_stream_t *stream) RW_LOCKED {
    stream->resting = true;
    for (rw_node_t *node = stream->rings.next; node != &stream->rings; node = node->next) {
        rw_stream_link_t *link = RW_CONTAINER(node, rw_stream_link_t, ringing);

        if (!rw_wire_rest_ring(&link->wire, link->blocked)) {
            return false;
        }
    }
    return true;
}

static bool poll_links(rw_poller_t *poller) RW_LOCKED {
    rw_stream_t *stream = RW_CONTAINER(poller, rw_stream_t, poller);
    rw_node_t turn, *node;

    /* Rings cost no system call to look at, and descriptors one. */
    bool looks =
        rw_list_is_empty(&stream->rings) || stream->resting || ++stream->polls % RW_LOOK_EVERY == 0;

    stream->moved = false;
    rw_puller_collect(stream);
    look_at_rings(stream);
    rw_list_init(&turn);
    while ((node = rw_list_take(&stream->ready)) != NULL) {
        rw_list_append(&turn, node);
    }
    while ((node = rw_list_take(&turn)) != NULL) { /* one may take another one out */
        rw_stream_turn(RW_CONTAINER(node, rw_stream_link_t, ready));
    }
    if (looks) {
        rw_events_look(&stream->events);
    }
    close_ended(stream);
    return stream->moved;
}

static rw_rest_t arm(rw_poller_t *poller) RW_LOCKED {
    rw_stream_t *stream = RW_CONTAINER(poller, rw_stream_t, poller);
    bool idle = rw_list_is_empty(&stream->ready) && rw_list_is_empty(&stream->ended) &&
                !rw_puller_has_any(&stream->puller) && rest_rings(stream);

    return idle ? RW_ARMED : RW_BUSY;
}

/* The next step looks at it. */
static void on_ready(rw_watcher_t *watcher) {
    (void)watcher;
}

/* ---- life ---- */

static ropeway_error_t open_parts(rw_stream_t *stream, const rw_carrier_t *carrier) RW_LOCKED {
    ropeway_connector_t *connector = stream->connector;
    ropeway_error_t error = rw_stream_read_options(carrier, &stream->ways, &stream->encryption);

    if (error == ROPEWAY_OK) {
        error = rw_identity_make(&stream->identity, &connector->options);
    }
    if (error != ROPEWAY_OK) {
        return error;
    }
    if (!rw_events_open(&stream->events)) {
        return rw_fail(ROPEWAY_ERR_SYSTEM, "the stream's events can't be watched: %m; raise the "
                                           "limit on open files (ulimit -n)");
    }
    stream->watcher.fd = stream->events.epoll;
    if (!rw_events_watch(&connector->events, &stream->watcher, EPOLLIN)) {
        return rw_fail(ROPEWAY_ERR_SYSTEM, "the stream's events can't be watched: %m");
    }
    return stream->dials_only ? ROPEWAY_OK : rw_stream_listen(stream);
}

static void free_stream(rw_stream_t *stream) RW_LOCKED {
    ropeway_connector_t *connector = stream->connector;

    rw_stream_unlisten(stream);
    close_ended(stream);
    rw_assert(rw_list_is_empty(&stream->links));
    rw_puller_stop(stream);
    rw_poller_remove(&stream->poller);
    rw_events_forget(&connector->events, &stream->watcher);
    rw_events_close(&stream->events);
    rw_identity_free(&stream->identity);
    free(stream);
}

static ropeway_error_t start(rw_carrier_t *carrier) RW_LOCKED {
    ropeway_connector_t *connector = carrier->connector;
    rw_stream_t *stream = calloc(1, sizeof *stream);
    ropeway_error_t error;

    if (stream == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    stream->connector = connector;
    stream->dials_only = carrier->dials_only;
    stream->is_named = carrier->is_named;
    stream->events.epoll = -1;
    stream->watcher = (rw_watcher_t){.fd = -1, .on_event = on_ready};
    stream->poller = (rw_poller_t){.poll = poll_links, .arm = arm};
    rw_puller_init(&stream->puller, rw_stream_say);
    rw_list_init(&stream->links);
    rw_list_init(&stream->ready);
    rw_list_init(&stream->ended);
    rw_list_init(&stream->rings);
    rw_list_init(&stream->pending);
    rw_poller_add(connector, &stream->poller);
    error = open_parts(stream, carrier);
    if (error != ROPEWAY_OK) {
        free_stream(stream);
        return error;
    }
    carrier->state = stream;
    return ROPEWAY_OK;
}

static bool knows_address(const rw_hello_t *hello) {
    return rw_stream_address_is_meant(hello->address, hello->address_length);
}

static ropeway_error_t copy_address(rw_carrier_t *carrier, uint8_t **address,
                                    size_t *length) RW_UNCHECKED {
    const rw_stream_t *stream = carrier->state;
    uint8_t bytes[RW_ADDRESS_MAX];

    *length = rw_stream_address_encode(&stream->address, bytes);
    *address = malloc(*length);
    if (*address == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    memcpy(*address, bytes, *length);
    return ROPEWAY_OK;
}

/* Every frame names its link. */
static ropeway_error_t refuse(ropeway_connector_t *connector, void *reply, rw_flight_t *flight) {
    (void)connector, (void)reply, (void)flight;
    return rw_fail(ROPEWAY_ERR_PEER_LOST, "the frame names no link");
}

/* It is written when the link opens. */
static void write_path(rw_link_t *link) {
    (void)link;
}

static void unlisten(rw_carrier_t *carrier) RW_LOCKED {
    rw_stream_unlisten(carrier->state);
}

static void settle(rw_carrier_t *carrier, uint64_t due) RW_LOCKED {
    rw_stream_t *stream = carrier->state;

    while (!rw_list_is_empty(&stream->links) && rw_now() < due) {
        rw_progress_step(carrier->connector);
        rw_lock_yield(&carrier->connector->lock);
    }
    for (rw_node_t *node = stream->links.next; node != &stream->links; node = node->next) {
        rw_stream_close(&RW_CONTAINER(node, rw_stream_link_t, node)->base, RW_CLOSE_NOW);
    }
    close_ended(stream);
}

static void end(rw_carrier_t *carrier) RW_UNCHECKED {
    free_stream(carrier->state);
}

const rw_link_kind_t rw_stream_kind = {
    .name = "stream",
    .frame_max = RW_STREAM_BULK_MAX,
    .word_max = RW_STREAM_CONTROL_MAX,
    .is_private = true,
    .pushes = true,
    .host_only = true,
    .start = start,
    .knows_address = knows_address,
    .address = copy_address,
    .routes = rw_stream_routes,
    .open = rw_stream_open,
    .send = rw_stream_send,
    .refuse = refuse,
    .abandon = rw_stream_abandon,
    .close = rw_stream_close,
    .path = write_path,
    .unlisten = unlisten,
    .settle = settle,
    .end = end,
};
