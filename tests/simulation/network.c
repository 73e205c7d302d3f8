/* SPDX-License-Identifier: Apache-2.0 */
/* Connections: made, broken, looked at; and what is fetched by them. network.h tells how. */
#include "network.h"

#include "link/ucx_kind.h"

#include <string.h>

#define SLOW (1000000 * SIM_MS) /* longer than any schedule */

static rw_node_t conns = {&conns, &conns};
static unsigned conn_count;
static uint64_t broken[SIM_PROCESSES][SIM_PROCESSES];

/* ---- connections ---- */

static void init_end(sim_conn_t *conn, unsigned side) {
    sim_end_t *end = &conn->ends[side];
    rw_node_t *nodes[] = {&end->node, &end->control, &end->bulk,
                          &end->lent, &end->wire,    &end->voided};

    end->conn = conn;
    end->side = side;
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
        rw_list_init(nodes[i]);
    }
}

sim_conn_t *sim_connect(sim_port_t *from, const uint8_t target[RW_ID_BYTES]) {
    sim_conn_t *conn = sim_take(sizeof *conn);
    uint64_t latency = from->kind == &rw_ucx_kind ? sim.fabric_latency : sim.latency;

    conn->number = ++conn_count;
    conn->kind = from->kind;
    conn->host = from->process->host;
    conn->dial_due = conn->fail_due = conn->open_due = RW_NEVER;
    memcpy(conn->instances[0], from->connector->instance, RW_ID_BYTES);
    memcpy(conn->instances[1], target, RW_ID_BYTES);
    conn->capacity = (unsigned)sim_between(&sim.network, 1, 12);
    conn->latency = sim_between(&sim.network, SIM_US, latency);
    if (sim_chance(&sim.network, 250)) {
        conn->pace = sim_between(&sim.network, SIM_US, SIM_MS);
        if (sim_may(SIM_DELAYS) && sim_chance(&sim.network, 200)) {
            conn->pace = 20 * SIM_MS;
        }
    }
    conn->pulls = sim_chance(&sim.network, 600);
    init_end(conn, 0);
    init_end(conn, 1);
    rw_list_append(&conns, &conn->node);
    sim_end_attach(&conn->ends[0], from);
    return conn;
}

bool sim_dial_fails(void) {
    return sim_may(SIM_DIALS) && !sim.is_calm && sim_chance(&sim.network, 100);
}

void sim_end_attach(sim_end_t *end, sim_port_t *port) {
    if (end->conn->pace > SIM_MS) {
        sim_befall(port->process, SIM_DELAYS, SLOW);
    }
    end->port = port;
    rw_list_append(&port->ends, &end->node);
}

/* The other side was waited for, and does not look any more. */
void sim_give_up_dial(sim_end_t *end) {
    sim_conn_t *conn = end->conn;

    if (end->side == 1 && conn->pending) {
        conn->pending = false;
        conn->dial_due = RW_NEVER;
        conn->open_due = sim.now + conn->latency;
    }
}

static void note_broken(const sim_conn_t *conn) {
    const sim_port_t *one = conn->ends[0].port, *other = conn->ends[1].port;

    if (one != NULL && other != NULL) {
        sim_network_note_broken(one->process, other->process);
    }
}

void sim_network_note_broken(const sim_process_t *one, const sim_process_t *other) {
    broken[one->slot][other->slot] = broken[other->slot][one->slot] = sim.now + 1;
}

uint64_t sim_network_broken(unsigned slot, unsigned other) {
    return broken[slot][other];
}

/* Some of the last segments on the way to this end are lost, and nothing follows them. */
void sim_cut_off(sim_end_t *to, bool lose) {
    size_t kept = lose ? (size_t)sim_below(&sim.network, to->waiting + 1) : to->waiting;

    while (to->waiting > kept) {
        sim_segment_drop(to, RW_CONTAINER(to->wire.previous, sim_segment_t, node));
    }
    sim_post(to, SIM_RESET, NULL, 0);
}

/* ---- what moves by itself ---- */

/* One of all the ports; NULL: it is not there, or its process does not run. */
static const sim_port_t *port_at(unsigned index) {
    const sim_process_t *process = sim.slots[index / SIM_PORTS];

    return process != NULL && process->alive && !process->stopped
               ? process->ports[index % SIM_PORTS]
               : NULL;
}

static sim_pull_t *choose_pull(void) {
    sim_pull_t *chosen = NULL;
    unsigned seen = 0;

    for (unsigned i = 0; i < sim.count * SIM_PORTS; i++) {
        const sim_port_t *port = port_at(i);

        if (port == NULL) {
            continue;
        }
        for (rw_node_t *node = port->pulls.next; node != &port->pulls; node = node->next) {
            sim_pull_t *pull = RW_CONTAINER(node, sim_pull_t, node);

            if (!pull->finished && sim_below(&sim.network, ++seen) == 0) {
                chosen = pull;
            }
        }
    }
    return chosen;
}

bool sim_network_is_busy(void) {
    for (unsigned i = 0; i < sim.count * SIM_PORTS; i++) {
        const sim_port_t *port = port_at(i);

        if (port == NULL) {
            continue;
        }
        for (rw_node_t *node = port->pulls.next; node != &port->pulls; node = node->next) {
            if (!RW_CONTAINER(node, sim_pull_t, node)->finished) {
                return true;
            }
        }
    }
    return false;
}

/* Where this byte of what lies in these pieces is; at most *length follow it there. */
static char *find_byte(const struct iovec *pieces, size_t at, size_t *length) {
    while (at >= pieces->iov_len) {
        at -= (pieces++)->iov_len;
    }
    *length = pieces->iov_len - at < *length ? pieces->iov_len - at : *length;
    return (char *)sim_reach(pieces->iov_base) + at;
}

/* Returns how many bytes they were, which lie in one piece. */
static size_t copy_piece(sim_pull_t *pull, size_t part) {
    const sim_loan_t *loan = pull->loan;
    char *to = find_byte(pull->place->pieces, pull->at, &part);

    if (loan == NULL) {
        memcpy(to, pull->parcel->bytes + pull->at, part);
    } else if (loan->given_back && loan->is_buffer) {
        memset(to, 0xdb, part);
    } else {
        const char *from = find_byte(loan->pieces, pull->at, &part);

        memcpy(to, from, part);
    }
    return part;
}

static void copy_part(sim_pull_t *pull, size_t part) {
    if (pull->loan != NULL && pull->loan->given_back) {
        sim_on_late(pull->place->tag);
    }
    while (part > 0) {
        size_t copied = copy_piece(pull, part);

        pull->at += copied;
        part -= copied;
    }
}

bool sim_network_turn(void) {
    sim_pull_t *pull = choose_pull();
    size_t part;

    if (pull == NULL) {
        return false;
    }
    if (pull->loan != NULL && !pull->begun && sim_may(SIM_REFUSALS) && !sim.is_calm &&
        sim_chance(&sim.network, 30)) {
        pull->failed = true;
        sim_befall(pull->port->process, SIM_REFUSALS, sim.now + 1);
        sim_note("a fetch is refused");
    }
    if (pull->loan != NULL && (!pull->loan->owner->alive ||
                               (pull->loan->count > 1 && pull->loan->given_back && !pull->begun))) {
        pull->failed = true; /* so is the table of its pieces */
    }
    pull->begun = true;
    if (pull->failed || pull->unwanted) {
        pull->finished = true;
        return true;
    }
    part = pull->place->length - pull->at;
    if (part > 1 && sim_chance(&sim.network, 400)) {
        part = (size_t)sim_between(&sim.network, 1, part);
    }
    copy_part(pull, part);
    pull->finished = pull->at == pull->place->length;
    if (pull->finished && pull->loan != NULL) {
        sim_sights->fetches[pull->loan->count > 1][pull->place->count > 1]++;
    }
    return true;
}

static sim_conn_t *choose_conn(void) {
    sim_conn_t *chosen = NULL;
    unsigned seen = 0;

    for (rw_node_t *node = conns.next; node != &conns; node = node->next) {
        sim_conn_t *conn = RW_CONTAINER(node, sim_conn_t, node);

        if (conn->ends[0].port != NULL && conn->ends[1].port != NULL &&
            sim_below(&sim.faults, ++seen) == 0) {
            chosen = conn;
        }
    }
    return chosen;
}

void sim_network_break(void) {
    sim_conn_t *conn = choose_conn();

    if (conn != NULL) {
        sim_note("connection %u breaks", conn->number);
        note_broken(conn);
        conn->ends[0].finished = conn->ends[1].finished = true;
        sim_cut_off(&conn->ends[0], true);
        sim_cut_off(&conn->ends[1], true);
    }
}

void sim_network_delay(void) {
    sim_conn_t *conn = choose_conn();
    uint64_t delay = sim_between(&sim.faults, SIM_MS,
                                 sim_chance(&sim.faults, 200) ? 1500 * SIM_MS : 300 * SIM_MS);

    if (conn == NULL) {
        return;
    }
    sim_note("connection %u stands still for %llu ms", conn->number,
             (unsigned long long)(delay / SIM_MS));
    for (unsigned side = 0; side < 2; side++) {
        sim_end_t *end = &conn->ends[side];

        sim_befall(end->port->process, SIM_DELAYS, sim.now + delay);
        if (sim_chance(&sim.faults, 700)) {
            end->last_due = sim.now + delay;
            for (rw_node_t *node = end->wire.next; node != &end->wire; node = node->next) {
                RW_CONTAINER(node, sim_segment_t, node)->due += delay;
                end->last_due = RW_CONTAINER(node, sim_segment_t, node)->due;
            }
        }
    }
}

/* ---- counting, ending ---- */

static void count_list(const rw_node_t *list, const void *tag, size_t *flights, size_t *bytes) {
    for (rw_node_t *node = list->next; node != list; node = node->next) {
        const rw_flight_t *flight = RW_CONTAINER(node, rw_flight_t, node);

        if (flight->class == RW_BULK && (tag == NULL || flight->tag == tag)) {
            ++*flights;
            *bytes += flight->length;
        }
    }
}

static void count_one(const rw_flight_t *flight, const void *tag, size_t *flights, size_t *bytes) {
    if (flight != NULL && (tag == NULL || flight->tag == tag)) {
        ++*flights;
        *bytes += flight->length;
    }
}

void sim_port_census(const sim_port_t *port, const void *tag, size_t *flights, size_t *bytes) {
    *flights = *bytes = 0;
    for (rw_node_t *node = port->ends.next; node != &port->ends; node = node->next) {
        const sim_end_t *end = RW_CONTAINER(node, sim_end_t, node);

        count_list(&end->control, tag, flights, bytes);
        count_list(&end->bulk, tag, flights, bytes);
        count_list(&end->lent, tag, flights, bytes);
        for (rw_node_t *place = end->voided.next; place != &end->voided; place = place->next) {
            count_one(RW_CONTAINER(place, rw_flight_t, node), tag, flights, bytes);
        }
        if (end->current != NULL && end->current->class == RW_BULK) {
            count_one(end->current, tag, flights, bytes);
        }
        count_one(end->place, tag, flights, bytes);
    }
    for (rw_node_t *node = port->pulls.next; node != &port->pulls; node = node->next) {
        count_one(RW_CONTAINER(node, sim_pull_t, node)->place, tag, flights, bytes);
    }
}

void sim_census(const sim_process_t *process, const void *tag, size_t *flights, size_t *bytes) {
    *flights = *bytes = 0;
    for (unsigned i = 0; i < SIM_PORTS; i++) {
        size_t more = 0, length = 0;

        if (process->ports[i] != NULL) {
            sim_port_census(process->ports[i], tag, &more, &length);
        }
        *flights += more;
        *bytes += length;
    }
}

size_t sim_port_fetching(const sim_port_t *port, const void *tag) {
    size_t count = 0;

    for (rw_node_t *node = port->pulls.next; node != &port->pulls; node = node->next) {
        const sim_pull_t *pull = RW_CONTAINER(node, sim_pull_t, node);

        count += pull->place->tag == tag && pull->begun;
    }
    return count;
}

/* Its memory is about to go: nothing of it is given back. */
static void forget_end(sim_end_t *end) {
    sim_end_t *other = sim_other(end);

    end->finished = true;
    sim_give_up_dial(end);
    if (other->port != NULL && !other->heard_out) {
        note_broken(end->conn);
        sim_cut_off(other, sim_chance(&sim.network, 500));
    }
    for (rw_node_t *node = end->lent.next; node != &end->lent; node = node->next) {
        sim_loan_t *loan = sim_loan_of(RW_CONTAINER(node, rw_flight_t, node));

        loan->given_back = true;
        sim_loan_drop(loan);
    }
    rw_list_init(&end->lent);
    rw_list_init(&end->control);
    rw_list_init(&end->bulk);
    rw_list_init(&end->voided);
    end->current = end->place = NULL;
    sim_parcel_drop(end->parcel);
    sim_parcel_drop(end->incoming);
    end->parcel = end->incoming = NULL;
    while (sim_segment_first(end) != NULL) {
        sim_segment_drop(end, sim_segment_first(end));
    }
    rw_list_remove(&end->node);
    end->port = NULL;
    end->link = NULL;
}

static void kill_port(sim_port_t *port) {
    rw_node_t *node;

    while (!rw_list_is_empty(&port->ends)) {
        forget_end(RW_CONTAINER(port->ends.next, sim_end_t, node));
    }
    while ((node = rw_list_take(&port->pulls)) != NULL) {
        sim_pull_t *pull = RW_CONTAINER(node, sim_pull_t, node);

        sim_pull_drop(pull);
    }
}

void sim_network_kill(sim_process_t *process) {
    for (unsigned i = 0; i < SIM_PORTS; i++) {
        if (process->ports[i] != NULL) {
            kill_port(process->ports[i]);
            process->ports[i] = NULL;
        }
    }
}

uint64_t sim_network_moves_at(void) {
    uint64_t at = sim.now;

    for (rw_node_t *node = conns.next; node != &conns; node = node->next) {
        const sim_conn_t *conn = RW_CONTAINER(node, sim_conn_t, node);

        for (unsigned side = 0; side < 2; side++) {
            at = conn->ends[side].last_due > at ? conn->ends[side].last_due : at;
        }
    }
    return at;
}

unsigned sim_network_open(void) {
    unsigned open = 0;

    for (rw_node_t *node = conns.next; node != &conns; node = node->next) {
        const sim_conn_t *conn = RW_CONTAINER(node, sim_conn_t, node);

        open += (conn->ends[0].port != NULL) + (conn->ends[1].port != NULL);
    }
    return open;
}

void sim_network_reset(void) {
    rw_node_t *node;

    while ((node = rw_list_take(&conns)) != NULL) {
        sim_conn_t *conn = RW_CONTAINER(node, sim_conn_t, node);

        for (unsigned side = 0; side < 2; side++) {
            while (sim_segment_first(&conn->ends[side]) != NULL) {
                sim_segment_drop(&conn->ends[side], sim_segment_first(&conn->ends[side]));
            }
        }
        sim_give(conn);
    }
    conn_count = 0;
    memset(broken, 0, sizeof broken);
}
