/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two kinds of link over the simulated network. "shared" is as UCX: frames come to a port and name
 * no link, nothing is given back before its time, and large bytes are lent. "private" is as a
 * stream: whoever connects knows whom it reaches, frames name their link and may be half here, and
 * bytes are pushed unless a connection can fetch them. Connectors that name one of them have that
 * one; where there are two carriers (carriers.c) they take the places of streams and of UCX.
 */
#include "network.h"

#include "base/error.h"
#include "link/stream.h"
#include "link/ucx_kind.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define BURST 16 /* rounds in one step */
#define DIAL_PATIENCE (10000 * SIM_MS)
#define LINGER (60000 * SIM_MS) /* of a link that is closed later */

/* Of a shared link's memory. */
typedef struct sim_registration {
    bool is_valid;
    ropeway_descriptor_t memory;
} sim_registration_t;

static sim_link_t *of(rw_link_t *link) {
    return (sim_link_t *)link;
}

static bool is_private(const sim_link_t *link) {
    return link->base.kind->is_private;
}

/* ---- ports ---- */

sim_port_t *sim_port_find(const rw_link_kind_t *kind, const uint8_t instance[RW_ID_BYTES]) {
    for (unsigned i = 0; i < sim.life_count * SIM_PORTS; i++) {
        sim_port_t *port = sim.lives[i / SIM_PORTS].ports[i % SIM_PORTS];

        if (port != NULL && port->kind == kind &&
            memcmp(port->connector->instance, instance, RW_ID_BYTES) == 0) {
            return port;
        }
    }
    return NULL;
}

/* What the link itself waits for. */
static uint64_t link_due(const sim_link_t *link) {
    uint64_t due = RW_NEVER;

    if (link->state == SIM_LINK_ENDED) {
        return 0;
    }
    if (link->state == SIM_LINK_LEAVING) {
        due = link->leave_until;
        if (sim_end_is_idle(link->end) && (!link->end->finished || link->end->heard_out)) {
            due = link->leave_from < due ? link->leave_from : due;
        }
    }
    return due;
}

static uint64_t conn_due(const sim_end_t *end) {
    const sim_conn_t *conn = end->conn;
    uint64_t due = RW_NEVER;

    if (end->side == 0) {
        due = conn->dial_due < conn->fail_due && !conn->pending ? conn->dial_due : conn->fail_due;
        due = conn->open_due < due ? conn->open_due : due;
    } else if (conn->pending) {
        due = conn->dial_due;
    }
    return due;
}

uint64_t sim_port_due(const sim_port_t *port) {
    uint64_t first = port->reap ? 0 : RW_NEVER;

    for (rw_node_t *node = port->ends.next; node != &port->ends; node = node->next) {
        const sim_end_t *end = RW_CONTAINER(node, sim_end_t, node);
        uint64_t due = sim_end_due(end), of_conn = conn_due(end);
        uint64_t of_link = end->link != NULL ? link_due(end->link) : RW_NEVER;

        due = of_conn < due ? of_conn : due;
        due = of_link < due ? of_link : due;
        first = due < first ? due : first;
    }
    for (rw_node_t *node = port->pulls.next; node != &port->pulls; node = node->next) {
        first = RW_CONTAINER(node, sim_pull_t, node)->finished ? 0 : first;
    }
    return first;
}

uint64_t sim_port_event(const sim_port_t *port) {
    return port->armed ? sim_port_due(port) : RW_NEVER;
}

/* ---- the beginning ---- */

static sim_link_t *new_link(void) {
    return calloc(1, sizeof(sim_link_t));
}

static void tie(sim_link_t *link, sim_end_t *end) {
    link->end = end;
    end->link = link;
}

/* A connection between the two that we have no link on yet. */
static sim_end_t *find_unused(sim_port_t *port, const uint8_t instance[RW_ID_BYTES]) {
    if (port->serving != NULL && port->serving->link == NULL) {
        return port->serving; /* the one who asks is at the other end */
    }
    for (rw_node_t *node = port->ends.next; node != &port->ends; node = node->next) {
        sim_end_t *end = RW_CONTAINER(node, sim_end_t, node);

        if (end->link == NULL && !end->heard_out &&
            memcmp(end->conn->instances[1 - end->side], instance, RW_ID_BYTES) == 0) {
            return end;
        }
    }
    return NULL;
}

/* Where the connector's links of one nature have their ends. */
static sim_port_t *port_of(const ropeway_connector_t *connector, bool is_private) RW_LOCKED {
    const struct rw_links *links = connector->links;

    return links->first.kind->is_private == is_private ? links->first.state : links->second.state;
}

static ropeway_error_t open_shared(rw_peer_t *peer, const rw_hello_t *hello,
                                   rw_link_t **result) RW_LOCKED {
    sim_port_t *port = port_of(peer->connector, false);
    sim_port_t *target = sim_port_find(port->kind, hello->address);
    sim_end_t *end = find_unused(port, hello->address);
    bool fails = end == NULL && sim.carriers == SIM_BOTH && sim_dial_fails();
    sim_link_t *link;

    if (fails) {
        sim_befall(port->process, SIM_DIALS, sim.now + DIAL_PATIENCE);
    }
    if (fails && sim_chance(&sim.network, 500)) {
        return rw_fail(ROPEWAY_ERR_NO_PATH, "the two have no transport in common");
    }
    if (target == NULL && sim_chance(&sim.network, 500)) {
        return rw_fail(ROPEWAY_ERR_UNREACHABLE, "nobody is there");
    }
    link = new_link();
    if (link == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    if (end == NULL) {
        sim_conn_t *conn = sim_connect(port, hello->address);

        sim_note("connection %u to %s begins", conn->number, peer->name);
        end = &conn->ends[0];
        end->open = true;
        if (target != NULL && !fails) {
            conn->ends[1].open = true;
            sim_end_attach(&conn->ends[1], target);
        } else {
            conn->fail_due =
                sim.now + (fails && sim_chance(&sim.network, 300) ? DIAL_PATIENCE : conn->latency);
        }
    }
    tie(link, end);
    rw_link_init(&link->base, port->kind, peer);
    *result = &link->base;
    return ROPEWAY_OK;
}

static ropeway_error_t open_private(rw_peer_t *peer, const rw_hello_t *hello,
                                    rw_link_t **result) RW_LOCKED {
    sim_port_t *port = port_of(peer->connector, true);
    sim_link_t *link;
    sim_conn_t *conn;

    if (hello->address_length != RW_ID_BYTES) {
        return rw_fail(ROPEWAY_ERR_NO_PATH, "that is no address of a stream");
    }
    link = new_link();
    if (link == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    conn = sim_connect(port, hello->address);
    conn->dial_due = sim.now + conn->latency;
    if (sim_dial_fails()) {
        conn->dial_due = RW_NEVER;
        conn->fail_due = sim.now + (sim_chance(&sim.network, 700) ? conn->latency : DIAL_PATIENCE);
        sim_befall(port->process, SIM_DIALS, conn->fail_due);
    }
    sim_note("connection %u to %s begins", conn->number, peer->name);
    tie(link, &conn->ends[0]);
    rw_link_init(&link->base, port->kind, peer);
    *result = &link->base;
    return ROPEWAY_OK;
}

/* Somebody has connected to this port. */
static void let_in(sim_end_t *end) RW_LOCKED {
    sim_port_t *port = end->port;
    sim_conn_t *conn = end->conn;
    sim_link_t *link = new_link();

    conn->pending = false;
    conn->is_local = sim.has_local && conn->host == port->process->host;
    if (port->deaf || link == NULL ||
        rw_peer_accept(port->connector, port->kind, &link->base) != ROPEWAY_OK) {
        sim_note("connection %u is not let in", conn->number);
        free(link);
        sim_end_detach(end, true, ROPEWAY_ERR_PEER_LOST, "it was not let in");
        conn->open_due = sim.now + conn->latency;
        return;
    }
    sim_note("connection %u is let in", conn->number);
    tie(link, end);
    link->base.is_local = conn->is_local;
    end->open = true;
    conn->open_due = sim.now + conn->latency;
}

static void fail_to_connect(sim_end_t *end, const char *why) RW_LOCKED {
    sim_note("connection %u can't be made: %s", end->conn->number, why);
    end->conn->fail_due = RW_NEVER;
    if (end->link != NULL && !end->link->base.peer->failed) {
        rw_peer_fail(end->link->base.peer, RW_CLOSE_NOW, ROPEWAY_ERR_UNREACHABLE,
                     "no connection to it can be made: %s", why);
    }
}

/* One step of a connection that is being made. */
static bool make_progress(sim_end_t *end) RW_LOCKED {
    sim_conn_t *conn = end->conn;

    if (end->side == 1) {
        if (!conn->pending || conn->dial_due > sim.now) {
            return false;
        }
        conn->dial_due = RW_NEVER;
        let_in(end);
        return true;
    }
    if (conn->fail_due <= sim.now) {
        fail_to_connect(end, "it was refused");
    } else if (conn->dial_due <= sim.now && !conn->pending) {
        sim_port_t *target = sim_port_find(conn->kind, conn->instances[1]);

        if (target == NULL) {
            conn->dial_due = RW_NEVER;
            fail_to_connect(end, "nobody listens there");
            return true;
        }
        conn->pending = true;
        sim_end_attach(&conn->ends[1], target);
    } else if (conn->open_due <= sim.now) {
        conn->open_due = RW_NEVER;
        end->open = true;
        end->link->base.is_local = conn->is_local;
        sim_note("connection %u is open", conn->number);
    } else {
        return false;
    }
    return true;
}

/* ---- the end ---- */

static void leave(sim_link_t *link, rw_close_t how) RW_LOCKED {
    const ropeway_connector_t *connector = link->base.peer->connector;
    uint64_t quiet = (uint64_t)connector->options.quiet_ms * SIM_MS;

    link->state = SIM_LINK_LEAVING;
    link->leave_from = how == RW_CLOSE_LATER && !is_private(link) ? sim.now + quiet : 0;
    link->leave_until = sim.now + (how == RW_CLOSE_LATER && !is_private(link) ? LINGER : quiet);
    if (is_private(link)) {
        sim_end_stop(link->end, ROPEWAY_ERR_PEER_LOST, "the connection was closed");
        sim_end_recall(link->end, ROPEWAY_ERR_PEER_LOST, "the connection was closed");
    }
}

static void close_link(rw_link_t *base, rw_close_t how) RW_LOCKED {
    sim_link_t *link = of(base);

    if (link->state == SIM_LINK_OPEN && how != RW_CLOSE_NOW && link->end->open) {
        leave(link, how);
    } else if (link->state < SIM_LINK_ENDED && (how == RW_CLOSE_NOW || !link->end->open)) {
        link->state = SIM_LINK_ENDED;
    }
    port_of(base->peer->connector, is_private(link))->reap = true;
}

static void finish(sim_link_t *link, bool orderly) RW_LOCKED {
    rw_peer_t *peer = link->base.peer;
    sim_end_t *end = link->end;

    sim_note("connection %u is closed here%s", end->conn->number, orderly ? "" : " by force");
    link->state = SIM_LINK_CLOSED;
    link->end = NULL;
    sim_end_detach(end, orderly, ROPEWAY_ERR_PEER_LOST, "the connection was closed");
    rw_peer_forget_keys(peer);
    peer->link = NULL;
    rw_link_drop(&link->base);
}

/* The other side has ended the connection. */
static void lose(sim_end_t *end) RW_LOCKED {
    sim_link_t *link = end->link;

    if (link->state == SIM_LINK_OPEN) {
        bool heard = link->base.peer->heard;

        rw_peer_fail(link->base.peer, RW_CLOSE_NOW,
                     heard ? ROPEWAY_ERR_PEER_LOST : ROPEWAY_ERR_UNREACHABLE,
                     "the connection broke");
    } else if (link->state == SIM_LINK_LEAVING && (link->end->finished || !is_private(link))) {
        link->state = SIM_LINK_ENDED;
    }
}

/* Moves a link that leaves towards its end. */
static bool go(sim_link_t *link) RW_LOCKED {
    sim_end_t *end = link->end;

    if (link->state == SIM_LINK_LEAVING) {
        if (sim.now >= link->leave_until) {
            link->state = SIM_LINK_ENDED;
        } else if (sim_end_is_idle(end) && sim.now >= link->leave_from) {
            if (!end->finished) {
                sim_end_finish(end);
            }
            if (!is_private(link) || end->heard_out) {
                finish(link, true);
                return true;
            }
        }
    }
    if (link->state == SIM_LINK_ENDED) {
        finish(link, false);
        return true;
    }
    return false;
}

/* ---- the poller ---- */

/* One that nobody has made a link on, and that has ended. */
static bool is_left_over(const sim_end_t *end) {
    return end->link == NULL && !end->conn->pending && (end->heard_out || end->finished);
}

static bool work(sim_end_t *end) RW_LOCKED {
    sim_port_t *port = end->port;
    bool any = make_progress(end);

    if (end->port != port) {
        return true;
    }
    if (end->link == NULL || end->link->state < SIM_LINK_ENDED) {
        any |= sim_end_work(end);
    }
    if (end->port != port) {
        return true;
    }
    if (end->heard_out && end->link != NULL) {
        lose(end);
    }
    if (end->link != NULL) {
        any |= go(end->link);
    } else if (is_left_over(end)) {
        sim_end_detach(end, true, ROPEWAY_ERR_PEER_LOST, "the connection was closed");
        any = true;
    }
    return any;
}

static bool poll_port(rw_poller_t *poller) RW_LOCKED {
    sim_port_t *port = RW_CONTAINER(poller, sim_port_t, poller);
    bool any = sim_port_collect(port), more = true;

    port->reap = port->armed = false; /* it must be armed again */
    for (int i = 0; i < BURST && more; i++) {
        rw_node_t *node = port->ends.next;

        more = false;
        while (node != &port->ends) {
            rw_node_t *next = node->next;
            sim_end_t *end = RW_CONTAINER(node, sim_end_t, node);

            more |= work(end);
            /* What was done may have taken the next one away. */
            node = next->next != next || next == &port->ends ? next : &port->ends;
        }
        any |= more;
    }
    return any;
}

static rw_rest_t arm(rw_poller_t *poller) RW_LOCKED {
    sim_port_t *port = RW_CONTAINER(poller, sim_port_t, poller);

    if (sim_port_due(port) <= sim.now || sim_chance(&sim.network, 5)) {
        return RW_BUSY; /* UCX says so for no reason as well */
    }
    port->armed = true;
    return RW_ARMED;
}

static void on_ready(rw_watcher_t *watcher) {
    RW_CONTAINER(watcher, sim_port_t, watcher)->armed = false;
}

/* ---- the kinds' members ---- */

static ropeway_error_t start(rw_carrier_t *carrier) RW_UNCHECKED {
    ropeway_connector_t *connector = carrier->connector;
    bool is_second = carrier == &connector->links->second;
    sim_port_t *port;

    if (is_second && !sim_second_may_start(carrier)) {
        return rw_fail(ROPEWAY_ERR_TRANSPORT, "there is no fabric");
    }
    port = calloc(1, sizeof *port);
    if (port == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    port->process = sim_here();
    port->connector = connector;
    port->kind = carrier->kind;
    port->deaf = carrier->dials_only;
    port->poller = (rw_poller_t){.poll = poll_port, .arm = arm};
    rw_list_init(&port->ends);
    rw_list_init(&port->pulls);
    port->watcher = (rw_watcher_t){.fd = sim_descriptor_of_port(port), .on_event = on_ready};
    if (port->watcher.fd < 0 || !rw_events_watch(&connector->events, &port->watcher, EPOLLIN)) {
        if (port->watcher.fd >= 0) {
            sim_descriptor_close(port->watcher.fd);
        }
        free(port);
        return rw_fail(ROPEWAY_ERR_SYSTEM, "no descriptor is left");
    }
    rw_poller_add(connector, &port->poller);
    carrier->state = port;
    port->process->ports[is_second] = port;
    connector->links->has_cuda |= !port->kind->host_only && port->process->has_device;
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

static bool knows_address(const rw_hello_t *hello) {
    return hello->address_length == RW_ID_BYTES;
}

/* Longer than a stream's. */
static ropeway_error_t fabric_address(rw_carrier_t *carrier, uint8_t **bytes, size_t *length) {
    *length = sim_here()->address_length;
    *bytes = calloc(1, *length);
    if (*bytes == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    memcpy(*bytes, carrier->connector->instance, RW_ID_BYTES);
    return ROPEWAY_OK;
}

/* It covers the memory that is sent, and somebody keeps it. */
static void check_registration(const rw_flight_t *flight) {
    const sim_registration_t *one = flight->registration;
    const char *at = flight->pieces[0].iov_base;

    if (one != NULL && (!one->is_valid || at < (const char *)one->memory.ptr ||
                        at + flight->length > (const char *)one->memory.ptr + one->memory.size)) {
        sim_fail("memory is sent with the registration of another");
    }
}

static ropeway_error_t send_frame(rw_link_t *base, rw_flight_t *flight) RW_LOCKED {
    sim_link_t *link = of(base);

    if (link->state != SIM_LINK_OPEN) {
        return rw_fail(ROPEWAY_ERR_PEER_LOST, "the connection is closed");
    }
    /* It broke, and nobody has noticed yet: it may show now. */
    if ((link->end->heard_out || link->end->finished) && sim_chance(&sim.network, 500)) {
        lose(link->end);
        return rw_fail(ROPEWAY_ERR_PEER_LOST, "the connection broke");
    }
    if (is_private(link) && link->end->open && link->end->conn->pulls && !base->lends &&
        link->end->loans == 0 && sim_chance(&sim.network, 100)) {
        base->lends = true; /* from now on */
    }
    check_registration(flight);
    if (sim.carriers == SIM_BOTH) {
        sim_check_sent(link, flight);
    }
    sim_end_send(link->end, flight);
    return ROPEWAY_OK;
}

static ropeway_error_t refuse(ropeway_connector_t *connector, void *reply,
                              rw_flight_t *flight) RW_LOCKED {
    sim_end_t *end = reply;

    (void)connector;
    if (end->port == NULL) {
        return rw_fail(ROPEWAY_ERR_PEER_LOST, "the connection is closed");
    }
    sim_end_send(end, flight);
    return ROPEWAY_OK;
}

static bool came_from(const rw_link_t *link, const void *reply) RW_LOCKED {
    return ((const sim_link_t *)link)->end == reply;
}

static void abandon(rw_link_t *base, void *tag) RW_LOCKED {
    if (of(base)->end != NULL) {
        sim_end_abandon(of(base)->end, tag);
    }
}

static void path(rw_link_t *link) RW_LOCKED {
    strcpy(link->path, "simulated");
}

/* What the library says is registered. */
static ropeway_error_t register_memory(rw_carrier_t *carrier, const ropeway_descriptor_t *memory,
                                       void **registration) {
    sim_registration_t *one = calloc(1, sizeof *one);

    (void)carrier;
    if (one == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    one->is_valid = true;
    one->memory = *memory;
    *registration = one;
    return ROPEWAY_OK;
}

static void unregister_memory(rw_carrier_t *carrier, void *registration) {
    sim_registration_t *one = registration;

    (void)carrier;
    one->is_valid = false;
    free(one);
}

/* Nobody new is let in. */
static void unlisten(rw_carrier_t *carrier) RW_LOCKED {
    ((sim_port_t *)carrier->state)->deaf = true;
}

static bool has_links(const sim_port_t *port) {
    for (rw_node_t *node = port->ends.next; node != &port->ends; node = node->next) {
        if (RW_CONTAINER(node, sim_end_t, node)->link != NULL) {
            return true;
        }
    }
    return !rw_list_is_empty(&port->pulls);
}

static bool has_work(const void *port) {
    return sim_port_due(port) <= sim.now;
}

static void settle(rw_carrier_t *carrier, uint64_t due) RW_LOCKED {
    ropeway_connector_t *connector = carrier->connector;
    sim_port_t *port = carrier->state;

    while (has_links(port) && rw_now() < due) {
        if (!rw_progress_step(connector)) {
            uint64_t next = sim_port_due(port);

            next = next == RW_NEVER ? due : next + port->process->offset;
            rw_unlock(&connector->lock);
            sim_wait(has_work, port, next < due ? next : due);
            rw_lock(&connector->lock);
        }
    }
    for (rw_node_t *node = port->ends.next; node != &port->ends; node = node->next) {
        if (RW_CONTAINER(node, sim_end_t, node)->link != NULL) {
            close_link(&RW_CONTAINER(node, sim_end_t, node)->link->base, RW_CLOSE_NOW);
        }
    }
    while (has_links(port)) {
        rw_unlock(&connector->lock);
        sim_pause(); /* what is being fetched comes to an end */
        rw_lock(&connector->lock);
        rw_progress_step(connector);
    }
}

static void end(rw_carrier_t *carrier) RW_UNCHECKED {
    ropeway_connector_t *connector = carrier->connector;
    sim_port_t *port = carrier->state;

    while (!rw_list_is_empty(&port->ends)) {
        sim_end_detach(RW_CONTAINER(port->ends.next, sim_end_t, node), true, ROPEWAY_ERR_PEER_LOST,
                       "the connector has ended");
    }
    port->process->ports[carrier == &connector->links->second] = NULL;
    rw_poller_remove(&port->poller);
    rw_events_forget(&connector->events, &port->watcher);
    sim_descriptor_close(port->watcher.fd);
    free(port);
}

#define MEMBERS                                                                                    \
    .start = start, .send = send_frame, .refuse = refuse, .abandon = abandon, .close = close_link, \
    .path = path, .unlisten = unlisten, .settle = settle, .end = end
#define SHARED                                                                                     \
    .open = open_shared, .came_from = came_from, .register_memory = register_memory,               \
    .unregister_memory = unregister_memory, MEMBERS
#define PRIVATE                                                                                    \
    .frame_max = SIM_FRAME_MAX, .word_max = SIM_WORD_MAX, .is_private = true, .pushes = true,      \
    .host_only = true, .address = address, .open = open_private, MEMBERS

static const rw_link_kind_t shared_kind = {
    .name = "shared", .host_only = true, .address = address, SHARED};
static const rw_link_kind_t private_kind = {.name = "private", PRIVATE};

const rw_link_kind_t rw_ucx_kind = {.name = "fabric", .address = fabric_address, SHARED};
const rw_link_kind_t rw_stream_kind = {.name = "stream", .knows_address = knows_address, PRIVATE};

__attribute__((constructor)) static void add_kinds(void) {
    rw_links_add_kind(&shared_kind);
    rw_links_add_kind(&private_kind);
}
