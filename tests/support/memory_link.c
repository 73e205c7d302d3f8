/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A link in memory, between connectors of one process: the seam link/link.h without any transport.
 * Frames are copied into the inbox of the other connector's port, whose poller hands them on. Lent
 * bytes are copied, too, but handed on as if they were still to be fetched: they get into their
 * places when there are more of them than a window has, or every sender has all of its own back, so
 * that senders run ahead of receivers. A test program that has
 * this file in it uses it for connectors whose transports are "memory".
 */
#include "base/error.h"
#include "link/peer.h"
#include "link/progress.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BURST 32 /* frames handed on per step */
#define AHEAD 80 /* loans that are not in their places yet: more than the longest window */

static const rw_link_kind_t memory_kind;

typedef struct parcel {
    rw_node_t node;
    uint8_t from[RW_ID_BYTES]; /* the instance of the sender */
    rw_flight_t *place;        /* in a port's list of what is lent */
    bool lent, for_device;
    size_t header_length, length;
    uint8_t header[RW_HEADER_MAX];
    uint8_t payload[];
} parcel_t;

typedef struct memory_link {
    rw_link_t base;
    rw_node_t node; /* in port->cut, once a frame found nobody */
} memory_link_t;

typedef struct port {
    rw_node_t node; /* in ports */
    ropeway_connector_t *connector;
    rw_poller_t poller;
    rw_watcher_t watcher;
    rw_node_t sent; /* flights whose bytes have left */
    rw_node_t cut;  /* links to connectors that have gone */
    rw_node_t lent; /* parcels with places, into which their bytes have not got yet */
    size_t lent_count;
    rw_node_t inbox; /* guarded by ports_mutex, as other connectors' threads fill it */
} port_t;

static pthread_mutex_t ports_mutex = PTHREAD_MUTEX_INITIALIZER;
static rw_node_t ports = {&ports, &ports};
static size_t under_way; /* flights that senders do not have back; guarded by ports_mutex */

/* ---- out ---- */

/* The port of this instance, or NULL; ports_mutex is held. */
static port_t *find_port(const uint8_t instance[RW_ID_BYTES]) {
    for (rw_node_t *node = ports.next; node != &ports; node = node->next) {
        port_t *port = RW_CONTAINER(node, port_t, node);

        if (memcmp(port->connector->instance, instance, RW_ID_BYTES) == 0) {
            return port;
        }
    }
    return NULL;
}

static parcel_t *pack(const rw_flight_t *flight) {
    parcel_t *parcel = malloc(sizeof *parcel + flight->length);
    size_t at = 0;

    if (parcel == NULL) {
        return NULL;
    }
    memcpy(parcel->from, flight->connector->instance, RW_ID_BYTES);
    parcel->lent = flight->lends;
    parcel->for_device = flight->to_device;
    parcel->header_length = flight->header_length;
    parcel->length = flight->length;
    memcpy(parcel->header, flight->header, flight->header_length);
    for (size_t i = 0; i < flight->count && flight->length > 0; i++) {
        memcpy(parcel->payload + at, flight->pieces[i].iov_base, flight->pieces[i].iov_len);
        at += flight->pieces[i].iov_len;
    }
    return parcel;
}

/* false: there is no such port any more. */
static bool post(const uint8_t instance[RW_ID_BYTES], parcel_t *parcel) {
    uint64_t one = 1;
    port_t *port;

    pthread_mutex_lock(&ports_mutex);
    port = find_port(instance);
    if (port != NULL) {
        rw_list_append(&port->inbox, &parcel->node);
        (void)!write(port->watcher.fd, &one, sizeof one);
    }
    pthread_mutex_unlock(&ports_mutex);
    if (port == NULL) {
        free(parcel);
    }
    return port != NULL;
}

static ropeway_error_t send_to(const uint8_t instance[RW_ID_BYTES], rw_flight_t *flight,
                               bool *arrived) RW_LOCKED {
    port_t *own = flight->connector->links->first.state;
    parcel_t *parcel = pack(flight);

    if (parcel == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    pthread_mutex_lock(&ports_mutex);
    under_way++;
    pthread_mutex_unlock(&ports_mutex);
    *arrived = post(instance, parcel);
    rw_list_append(&own->sent, &flight->node);
    return ROPEWAY_OK;
}

static ropeway_error_t send_frame(rw_link_t *link, rw_flight_t *flight) RW_LOCKED {
    port_t *port = link->peer->connector->links->first.state;
    bool arrived = true;
    ropeway_error_t error;

    flight->link = link;
    error = send_to(link->peer->instance, flight, &arrived);
    if (!arrived) {
        rw_list_remove(&((memory_link_t *)link)->node);
        rw_list_append(&port->cut, &((memory_link_t *)link)->node);
    }
    return error;
}

static ropeway_error_t refuse(ropeway_connector_t *connector, void *reply,
                              rw_flight_t *flight) RW_LOCKED {
    bool ignored;

    (void)connector;
    return send_to(reply, flight, &ignored);
}

/* A sender has a flight back, and has posted what it posts then. */
static void arrive(void) {
    uint64_t one = 1;

    pthread_mutex_lock(&ports_mutex);
    under_way--;
    for (rw_node_t *node = ports.next; node != &ports && under_way == 0; node = node->next) {
        (void)!write(RW_CONTAINER(node, port_t, node)->watcher.fd, &one, sizeof one);
    }
    pthread_mutex_unlock(&ports_mutex);
}

/* Gives back what of this link and tag has left; NULL: of all of them. */
static bool give_back(port_t *port, const rw_link_t *link, const void *tag) RW_LOCKED {
    bool any = false;

    for (rw_node_t *node = port->sent.next, *next; node != &port->sent; node = next) {
        rw_flight_t *flight = RW_CONTAINER(node, rw_flight_t, node);

        next = node->next;
        if ((link == NULL || flight->link == link) && (tag == NULL || flight->tag == tag)) {
            rw_list_remove(node);
            flight->link = NULL;
            flight->done(flight, ROPEWAY_OK, "");
            arrive();
            next = port->sent.next; /* done() may have given back others */
            any = true;
        }
    }
    return any;
}

static bool all_are_back(void) {
    bool result;

    pthread_mutex_lock(&ports_mutex);
    result = under_way == 0;
    pthread_mutex_unlock(&ports_mutex);
    return result;
}

/* Puts what was lent to this tag into its place, until no more than most are left; NULL: to all of
 * them. */
static bool fill(port_t *port, const void *tag, size_t most) RW_LOCKED {
    bool any = false;

    for (rw_node_t *node = port->lent.next, *next; node != &port->lent && port->lent_count > most;
         node = next) {
        parcel_t *parcel = RW_CONTAINER(node, parcel_t, node);
        rw_flight_t *place = parcel->place;
        size_t at = 0;

        next = node->next;
        if (tag != NULL && place->tag != tag) {
            continue;
        }
        rw_list_remove(node);
        port->lent_count--;
        for (size_t i = 0; i < place->count; i++) {
            memcpy(place->pieces[i].iov_base, parcel->payload + at, place->pieces[i].iov_len);
            at += place->pieces[i].iov_len;
        }
        free(parcel);
        place->done(place, ROPEWAY_OK, "");
        next = port->lent.next; /* done() may have filled others */
        any = true;
    }
    return any;
}

static void abandon(rw_link_t *link, void *tag) RW_LOCKED {
    port_t *port = link->peer->connector->links->first.state;

    give_back(port, link, tag);
    fill(port, tag, 0);
}

/* ---- in ---- */

static parcel_t *take_parcel(port_t *port) {
    rw_node_t *node;

    pthread_mutex_lock(&ports_mutex);
    node = rw_list_take(&port->inbox);
    pthread_mutex_unlock(&ports_mutex);
    return node != NULL ? RW_CONTAINER(node, parcel_t, node) : NULL;
}

static void hand_on(port_t *port, parcel_t *parcel) RW_LOCKED {
    rw_frame_t frame = {.kind = &memory_kind,
                        .header = parcel->header,
                        .header_length = parcel->header_length,
                        .payload = parcel->lent ? NULL : parcel->payload,
                        .length = parcel->length,
                        .lent = parcel->lent,
                        .for_device = parcel->for_device,
                        .reply = parcel->from};

    if (port->connector->links->user->on_frame(port->connector, &frame) == RW_FRAME_PLACED) {
        parcel->place = frame.place;
        rw_list_append(&port->lent, &parcel->node);
        port->lent_count++;
        fill(port, NULL, AHEAD);
        return;
    }
    free(parcel);
}

/* All that the others said is read: those that went without a word have gone all the same. */
static bool tell_cut(port_t *port) RW_LOCKED {
    rw_node_t *node = rw_list_take(&port->cut);

    if (node == NULL) {
        return false;
    }
    rw_peer_fail(RW_CONTAINER(node, memory_link_t, node)->base.peer, RW_CLOSE_NOW,
                 ROPEWAY_ERR_PEER_LOST, "its connector has gone");
    return true;
}

static bool poll_port(rw_poller_t *poller) RW_LOCKED {
    port_t *port = RW_CONTAINER(poller, port_t, poller);
    bool any = give_back(port, NULL, NULL);
    parcel_t *parcel;

    for (int i = 0; i < BURST; i++) {
        parcel = take_parcel(port);
        if (parcel == NULL) {
            if (all_are_back() && fill(port, NULL, 0)) {
                return true; /* what is said then may find somebody gone, who has said goodbye */
            }
            return tell_cut(port) || any;
        }
        hand_on(port, parcel);
        any = true;
    }
    return any;
}

static rw_rest_t arm(rw_poller_t *poller) RW_LOCKED {
    port_t *port = RW_CONTAINER(poller, port_t, poller);
    bool is_empty;

    pthread_mutex_lock(&ports_mutex);
    is_empty = rw_list_is_empty(&port->inbox);
    pthread_mutex_unlock(&ports_mutex);
    is_empty &= rw_list_is_empty(&port->lent) || !all_are_back();
    return is_empty && rw_list_is_empty(&port->sent) && rw_list_is_empty(&port->cut) ? RW_ARMED
                                                                                     : RW_BUSY;
}

static void on_ready(rw_watcher_t *watcher) {
    uint64_t ignored;

    (void)!read(watcher->fd, &ignored, sizeof ignored);
}

/* ---- life ---- */

static ropeway_error_t start(rw_carrier_t *carrier) RW_UNCHECKED {
    ropeway_connector_t *connector = carrier->connector;
    port_t *port = calloc(1, sizeof *port);

    if (port == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    port->connector = connector;
    rw_list_init(&port->sent);
    rw_list_init(&port->cut);
    rw_list_init(&port->lent);
    rw_list_init(&port->inbox);
    port->poller = (rw_poller_t){.poll = poll_port, .arm = arm};
    port->watcher =
        (rw_watcher_t){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .on_event = on_ready};
    if (port->watcher.fd < 0 || !rw_events_watch(&connector->events, &port->watcher, EPOLLIN)) {
        free(port);
        return rw_fail(ROPEWAY_ERR_SYSTEM, "no event descriptor: %m");
    }
    rw_poller_add(connector, &port->poller);
    carrier->state = port;
    pthread_mutex_lock(&ports_mutex);
    rw_list_append(&ports, &port->node);
    pthread_mutex_unlock(&ports_mutex);
    return ROPEWAY_OK;
}

static ropeway_error_t address(rw_carrier_t *carrier, uint8_t **bytes, size_t *length) {
    *bytes = malloc(RW_ID_BYTES);
    *length = RW_ID_BYTES;
    if (*bytes == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    memcpy(*bytes, carrier->connector->instance, RW_ID_BYTES);
    return ROPEWAY_OK;
}

static ropeway_error_t open_link(rw_peer_t *peer, const rw_hello_t *hello,
                                 rw_link_t **result) RW_LOCKED {
    memory_link_t *link = calloc(1, sizeof *link);
    port_t *port;

    (void)hello;
    if (link == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    pthread_mutex_lock(&ports_mutex);
    port = find_port(peer->instance);
    pthread_mutex_unlock(&ports_mutex);
    if (port == NULL) {
        free(link);
        return rw_fail(ROPEWAY_ERR_UNREACHABLE, "the connector of \"%s\" is not there", peer->name);
    }
    rw_list_init(&link->node);
    rw_link_init(&link->base, &memory_kind, peer);
    *result = &link->base;
    return ROPEWAY_OK;
}

static void close_link(rw_link_t *link, rw_close_t how) RW_LOCKED {
    (void)how;
    rw_list_remove(&((memory_link_t *)link)->node);
    give_back(link->peer->connector->links->first.state, link, NULL);
    fill(link->peer->connector->links->first.state, NULL, 0);
    link->peer->link = NULL;
    rw_link_drop(link);
}

static void path(rw_link_t *link) RW_LOCKED {
    strcpy(link->path, "memory");
}

static void wait_for_nothing(rw_carrier_t *carrier, uint64_t due) {
    (void)carrier, (void)due;
}

static void end(rw_carrier_t *carrier) RW_UNCHECKED {
    ropeway_connector_t *connector = carrier->connector;
    port_t *port = carrier->state;
    parcel_t *parcel;

    pthread_mutex_lock(&ports_mutex);
    rw_list_remove(&port->node);
    pthread_mutex_unlock(&ports_mutex);
    while ((parcel = take_parcel(port)) != NULL) {
        free(parcel);
    }
    give_back(port, NULL, NULL);
    fill(port, NULL, 0);
    rw_poller_remove(&port->poller);
    rw_events_forget(&connector->events, &port->watcher);
    close(port->watcher.fd);
    free(port);
}

static const rw_link_kind_t memory_kind = {
    .name = "memory",
    .done_early = true,
    .start = start,
    .address = address,
    .open = open_link,
    .send = send_frame,
    .refuse = refuse,
    .abandon = abandon,
    .close = close_link,
    .path = path,
    .settle = wait_for_nothing,
    .end = end,
};

__attribute__((constructor)) static void add_kind(void) {
    rw_links_add_kind(&memory_kind);
}
