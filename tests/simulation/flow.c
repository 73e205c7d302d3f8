/* SPDX-License-Identifier: Apache-2.0 */
/* How frames leave and arrive at the end of a connection, and how what it has is given back. */
#include "network.h"

#include <string.h>

static bool is_private(const sim_end_t *end) {
    return end->conn->kind->is_private;
}

/* ---- out ---- */

void sim_end_send(sim_end_t *end, rw_flight_t *flight) {
    rw_list_append(is_private(end) && flight->class == RW_BULK ? &end->bulk : &end->control,
                   &flight->node);
}

/* The bytes of one operation may come in any order. */
static rw_flight_t *pass_over(const rw_node_t *list, rw_flight_t *first) {
    rw_flight_t *second = RW_CONTAINER(first->node.next, rw_flight_t, node);

    return first->node.next != list && first->class == RW_BULK && second->class == RW_BULK &&
                   second->tag == first->tag && sim_chance(&sim.network, 250)
               ? second
               : first;
}

/* Control first; of bulk another operation's now and then. */
static rw_flight_t *choose(sim_end_t *end) {
    rw_node_t *node;
    rw_flight_t *first;

    if (!rw_list_is_empty(&end->control)) {
        first = pass_over(&end->control, RW_CONTAINER(end->control.next, rw_flight_t, node));
        rw_list_remove(&first->node);
        return first;
    }
    if (rw_list_is_empty(&end->bulk)) {
        return NULL;
    }
    first = RW_CONTAINER(end->bulk.next, rw_flight_t, node);
    if (sim_chance(&sim.network, 400)) {
        for (node = end->bulk.next; node != &end->bulk; node = node->next) {
            rw_flight_t *flight = RW_CONTAINER(node, rw_flight_t, node);

            if (flight->tag != first->tag) {
                first = flight;
                break;
            }
        }
    }
    first = pass_over(&end->bulk, first);
    rw_list_remove(&first->node);
    return first;
}

static void begin_parcel(sim_end_t *end, rw_flight_t *flight) {
    sim_parcel_t *parcel = sim_parcel_new(flight->lends ? 0 : flight->length);

    parcel->header_length = flight->header_length;
    memcpy(parcel->header, flight->header, flight->header_length);
    parcel->length = flight->length;
    parcel->bulk = flight->class == RW_BULK;
    parcel->introduces = flight->introduces;
    parcel->to_device = flight->to_device;
    sim_sights->messages[flight->header[2] & 15]++; /* its type */
    if (flight->lends) {
        size_t pieces = flight->count * sizeof flight->pieces[0];
        sim_loan_t *loan = sim_take(sizeof *loan + pieces);

        loan->references = 1;
        loan->owner = end->port->process;
        loan->is_buffer = flight->buffer != NULL;
        loan->count = flight->count;
        memcpy(loan->pieces, flight->pieces, pieces);
        loan->id = ++end->loans;
        parcel->loan = loan;
    }
    end->current = flight;
    end->parcel = parcel;
    end->at = 0;
}

static void drop_current(sim_end_t *end) {
    sim_parcel_drop(end->parcel);
    end->parcel = NULL;
    end->current = NULL;
}

static void end_parcel(sim_end_t *end) {
    rw_flight_t *flight = end->current;
    sim_loan_t *loan = end->parcel->loan;

    sim_lie(sim_other(end), end->parcel);
    sim_post(sim_other(end), SIM_WHOLE, end->parcel, end->parcel->length);
    if (loan != NULL) {
        loan->references++;
        flight->loan = (uint64_t)(uintptr_t)loan;
        rw_list_append(&end->lent, &flight->node);
        drop_current(end);
        return;
    }
    drop_current(end);
    flight->done(flight, ROPEWAY_OK, "");
}

static bool can_send(const sim_end_t *end) {
    return end->open && !end->finished && sim.now >= end->next_out &&
           sim_other(end)->waiting < end->conn->capacity &&
           (end->current != NULL || !rw_list_is_empty(&end->control) ||
            !rw_list_is_empty(&end->bulk));
}

static bool send_some(sim_end_t *end) {
    size_t length, part;

    if (!can_send(end)) {
        return false;
    }
    if (end->current == NULL) {
        begin_parcel(end, choose(end));
    }
    length = end->parcel->loan != NULL ? 0 : end->parcel->length;
    part = length - end->at;
    if (part > 1 && sim_chance(&sim.network, 300)) {
        part = (size_t)sim_between(&sim.network, 1, part);
    }
    if (part > 0) {
        memcpy(end->parcel->bytes + end->at,
               (char *)sim_reach(end->current->pieces[0].iov_base) + end->at, part);
        end->at += part;
        if (end->at < length || sim_chance(&sim.network, 200)) {
            sim_post(sim_other(end), SIM_BYTES, end->parcel, end->at);
        }
    }
    if (end->conn->pace > 0 || sim_chance(&sim.network, 100)) {
        end->next_out = sim.now + sim_below(&sim.network, end->conn->pace + end->conn->latency / 4);
    }
    if (end->at == length) {
        end_parcel(end);
    }
    return true;
}

/* ---- giving back ---- */

static void give_back_lent(rw_flight_t *flight, ropeway_error_t error, const char *why) {
    sim_loan_t *loan = sim_loan_of(flight);

    loan->given_back = true;
    sim_loan_drop(loan);
    rw_list_remove(&flight->node);
    flight->done(flight, error, why);
}

static void fetched(sim_end_t *end, uint64_t id, bool refused) RW_UNCHECKED {
    for (rw_node_t *node = end->lent.next; node != &end->lent; node = node->next) {
        rw_flight_t *flight = RW_CONTAINER(node, rw_flight_t, node);

        if (sim_loan_of(flight)->id == id) {
            if (refused && end->link != NULL) {
                end->link->base.lends = false;
            }
            give_back_lent(flight, refused ? ROPEWAY_ERR_TRANSPORT : ROPEWAY_OK,
                           refused ? "this memory can't be read by the other side" : "");
            return;
        }
    }
}

/* Those of a tag, or all of them. One may take others with it. */
static void give_back_all(sim_end_t *end, rw_node_t *list, const void *tag, ropeway_error_t error,
                          const char *why) {
    rw_node_t *node = list->next;

    while (node != list) {
        rw_flight_t *flight = RW_CONTAINER(node, rw_flight_t, node);

        node = node->next;
        if (tag == NULL || (flight->tag == tag && (list != &end->control))) {
            if (list == &end->lent) {
                give_back_lent(flight, error, why);
            } else {
                rw_list_remove(&flight->node);
                flight->done(flight, error, why);
            }
            node = list->next;
        }
    }
}

void sim_end_recall(sim_end_t *end, ropeway_error_t error, const char *why) {
    give_back_all(end, &end->lent, NULL, error, why);
}

/* What was begun is ended as void: the other side waits for the rest. */
static void give_back_current(sim_end_t *end, ropeway_error_t error, const char *why) {
    rw_flight_t *flight = end->current;

    if (flight == NULL) {
        return;
    }
    if (end->at > 0) {
        sim_post(sim_other(end), SIM_VOID, end->parcel, end->at);
    }
    drop_current(end);
    flight->done(flight, error, why);
}

/* Pulls of this end that nobody is at come back at once, the others when that one has noticed. */
static void withdraw_pulls(sim_end_t *end, const void *tag) {
    for (rw_node_t *node = end->port->pulls.next; node != &end->port->pulls; node = node->next) {
        sim_pull_t *pull = RW_CONTAINER(node, sim_pull_t, node);

        if (pull->end == end && (tag == NULL || pull->place->tag == tag)) {
            pull->unwanted = true;
            pull->finished |= !pull->begun;
        }
    }
}

static void give_back_place(sim_end_t *end, ropeway_error_t error, const char *why) {
    rw_flight_t *place = end->place;

    if (place != NULL) {
        end->place = NULL;
        place->done(place, error, why);
    }
}

static void say_fetched(sim_end_t *end, const sim_loan_t *loan, bool refused) {
    sim_parcel_t *parcel = sim_parcel_new(0);

    parcel->fetched = loan->id;
    parcel->refused = refused;
    sim_post(sim_other(end), SIM_WHOLE, parcel, 0);
    sim_parcel_drop(parcel);
}

static void finish_pull(sim_pull_t *pull) {
    sim_end_t *end = pull->end;
    rw_flight_t *place = pull->place;
    bool failed = pull->failed && !pull->unwanted;
    bool is_open = end != NULL && end->link != NULL && end->link->state == SIM_LINK_OPEN;

    rw_list_remove(&pull->node);
    if (end != NULL && pull->loan != NULL && (is_open || !pull->failed || !is_private(end))) {
        say_fetched(end, pull->loan, failed);
    }
    if (failed && is_open && is_private(end)) {
        rw_list_append(&end->voided, &place->node);
    } else {
        place->done(place,
                    pull->unwanted ? ROPEWAY_ERR_CANCELLED
                    : failed       ? ROPEWAY_ERR_TRANSPORT
                                   : ROPEWAY_OK,
                    pull->unwanted ? "it was given up" : "its memory can't be read");
    }
    sim_pull_drop(pull);
}

bool sim_port_collect(sim_port_t *port) {
    bool any = false;
    rw_node_t *node = port->pulls.next;

    while (node != &port->pulls) {
        sim_pull_t *pull = RW_CONTAINER(node, sim_pull_t, node);

        node = node->next;
        if (pull->finished) {
            finish_pull(pull);
            node = port->pulls.next; /* others may have gone with it */
            any = true;
        }
    }
    return any;
}

void sim_end_abandon(sim_end_t *end, const void *tag) {
    if (!is_private(end)) {
        return; /* as UCX, which gives nothing back before its time */
    }
    give_back_all(end, &end->lent, tag, ROPEWAY_ERR_CANCELLED, "it was given up");
    if (end->current != NULL && end->current->tag == tag && end->current->class == RW_BULK) {
        give_back_current(end, ROPEWAY_ERR_CANCELLED, "it was given up");
    }
    give_back_all(end, &end->bulk, tag, ROPEWAY_ERR_CANCELLED, "it was given up");
    if (end->place != NULL && end->place->tag == tag) {
        give_back_place(end, ROPEWAY_ERR_CANCELLED, "it was given up");
    }
    give_back_all(end, &end->voided, tag, ROPEWAY_ERR_CANCELLED, "it was given up");
    withdraw_pulls(end, tag);
    sim_port_collect(end->port);
}

void sim_end_stop(sim_end_t *end, ropeway_error_t error, const char *why) {
    end->stopped = true;
    give_back_place(end, error, why);
    give_back_all(end, &end->voided, NULL, error, why);
    withdraw_pulls(end, NULL);
}

void sim_end_finish(sim_end_t *end) {
    end->finished = true;
    sim_post(sim_other(end), SIM_CLOSE, NULL, 0);
}

bool sim_end_is_idle(const sim_end_t *end) {
    return end->current == NULL && rw_list_is_empty(&end->control) &&
           rw_list_is_empty(&end->bulk) && rw_list_is_empty(&end->lent);
}

void sim_end_detach(sim_end_t *end, bool orderly, ropeway_error_t error, const char *why) {
    sim_give_up_dial(end);
    if (!end->finished) {
        end->finished = true;
        sim_cut_off(sim_other(end), !orderly && sim_chance(&sim.network, 500));
    }
    sim_end_stop(end, error, why);
    for (rw_node_t *node = end->port->pulls.next; node != &end->port->pulls; node = node->next) {
        sim_pull_t *pull = RW_CONTAINER(node, sim_pull_t, node);

        if (pull->end == end) {
            pull->end = NULL;
        }
    }
    give_back_all(end, &end->lent, NULL, error, why);
    give_back_current(end, error, why);
    give_back_all(end, &end->control, NULL, error, why);
    give_back_all(end, &end->bulk, NULL, error, why);
    while (sim_segment_first(end) != NULL) {
        sim_segment_drop(end, sim_segment_first(end));
    }
    sim_parcel_drop(end->incoming);
    end->incoming = NULL;
    rw_list_remove(&end->node);
    end->port = NULL;
    end->link = NULL;
}

/* ---- in ---- */

static rw_frame_t describe(sim_end_t *end, sim_parcel_t *parcel, bool whole) {
    return (rw_frame_t){.link = is_private(end) && end->link != NULL ? &end->link->base : NULL,
                        .kind = end->conn->kind,
                        .header = parcel->header,
                        .header_length = parcel->header_length,
                        .payload = whole && parcel->loan == NULL ? parcel->bytes : NULL,
                        .length = parcel->length,
                        .lent = parcel->loan != NULL,
                        .scatters = parcel->loan != NULL && is_private(end),
                        .for_device = parcel->to_device && whole && parcel->loan == NULL,
                        .reply = !is_private(end) && parcel->introduces ? end : NULL};
}

/* The parcel's bytes, which are here or lent, go to their place. */
static void fetch(sim_end_t *end, sim_parcel_t *parcel, rw_flight_t *place) {
    sim_pull_t *pull = sim_take(sizeof *pull);

    pull->port = end->port;
    pull->end = end;
    pull->place = place;
    if (parcel->loan != NULL) {
        pull->loan = parcel->loan;
        pull->loan->references++;
    } else {
        pull->parcel = parcel;
        parcel->references++;
    }
    rw_list_append(&end->port->pulls, &pull->node);
}

static void check_place(const rw_link_kind_t *kind, const rw_flight_t *place) {
    sim_check_memory(kind, place);
    if (place->takes_room) {
        sim_fail("bytes that come in take room from those that go out");
    }
}

/* All of it is here. */
static void show_whole(sim_end_t *end, sim_parcel_t *parcel) {
    ropeway_connector_t *connector = end->port->connector;
    rw_frame_t frame = describe(end, parcel, true);
    rw_verdict_t verdict;

    if (parcel->fetched != 0) {
        fetched(end, parcel->fetched, parcel->refused);
        return;
    }
    end->port->serving = end;
    verdict = connector->links->user->on_frame(connector, &frame);
    end->port->serving = NULL;
    if (verdict == RW_FRAME_PLACED) {
        if (frame.place->length != parcel->length) {
            sim_fail("a place of %zu bytes for a frame of %zu", frame.place->length,
                     parcel->length);
        }
        if (parcel->loan == NULL && !frame.for_device) {
            sim_fail("bytes are placed that could be read");
        }
        check_place(end->conn->kind, frame.place);
        fetch(end, parcel, frame.place);
    } else if (parcel->loan != NULL) {
        say_fetched(end, parcel->loan, false);
    }
}

/* A part of it is here. */
static void show_begun(sim_end_t *end, sim_parcel_t *parcel) {
    ropeway_connector_t *connector = end->port->connector;
    rw_frame_t frame = describe(end, parcel, false);

    end->incoming = parcel;
    parcel->references++;
    end->arrived = 0;
    if (connector->links->user->on_frame(connector, &frame) == RW_FRAME_PLACED) {
        check_place(end->conn->kind, frame.place);
        end->place = frame.place;
    }
}

static void take_bytes(sim_end_t *end, size_t to) {
    if (end->place != NULL) {
        memcpy((char *)end->place->pieces[0].iov_base + end->arrived,
               end->incoming->bytes + end->arrived, to - end->arrived);
    }
    end->arrived = to;
}

/* The last of what was begun. */
static void take_last(sim_end_t *end, const sim_segment_t *segment) {
    rw_flight_t *place = end->place;
    sim_parcel_t *parcel = end->incoming;

    take_bytes(end, segment->to);
    end->place = NULL;
    end->incoming = NULL;
    if (place != NULL && segment->kind == SIM_WHOLE) {
        place->done(place, ROPEWAY_OK, "");
    } else if (place != NULL) {
        rw_list_append(&end->voided, &place->node);
    }
    sim_parcel_drop(parcel);
}

static void take_segment(sim_end_t *end, const sim_segment_t *segment) {
    if (segment->kind >= SIM_CLOSE) {
        end->heard_out = true;
    } else if (end->stopped) {
        return;
    } else if (segment->kind == SIM_BYTES) {
        if (!is_private(end) || !segment->parcel->bulk) {
            return; /* shown as a whole */
        }
        if (end->incoming == NULL) {
            show_begun(end, segment->parcel);
        }
        if (end->incoming != NULL) { /* not ended by what was shown */
            take_bytes(end, segment->to);
        }
    } else if (end->incoming == segment->parcel) {
        take_last(end, segment);
    } else if (segment->kind == SIM_WHOLE) {
        show_whole(end, segment->parcel);
    }
}

static bool receive_some(sim_end_t *end) {
    sim_segment_t *segment = sim_segment_first(end);

    if (segment == NULL || segment->due > sim.now || !end->open) {
        return false;
    }
    rw_list_remove(&segment->node);
    end->waiting--;
    take_segment(end, segment);
    sim_parcel_drop(segment->parcel);
    sim_give(segment);
    return true;
}

bool sim_end_work(sim_end_t *end) {
    bool any = receive_some(end);

    return (end->port != NULL && send_some(end)) || any;
}

uint64_t sim_end_due(const sim_end_t *end) {
    const sim_segment_t *segment = sim_segment_first(end);
    uint64_t due = segment != NULL && end->open ? segment->due : RW_NEVER;

    if (can_send(end)) {
        return 0;
    }
    if (end->open && !end->finished && end->next_out > sim.now && end->next_out < due) {
        due = end->next_out;
    }
    return due;
}
