/* SPDX-License-Identifier: Apache-2.0 */
/* What travels: frames, in segments, and the memory that they lend; and what a peer that lies
 * sends. */
#include "network.h"

#include "native/message.h"
#include "workload.h"

#include <string.h>

/* ---- parcels, loans ---- */

void sim_loan_drop(sim_loan_t *loan) {
    if (--loan->references == 0) {
        sim_give(loan);
    }
}

void sim_parcel_drop(sim_parcel_t *parcel) {
    if (parcel != NULL && --parcel->references == 0) {
        if (parcel->loan != NULL) {
            sim_loan_drop(parcel->loan);
        }
        sim_give(parcel);
    }
}

void sim_pull_drop(sim_pull_t *pull) {
    if (pull->loan != NULL) {
        sim_loan_drop(pull->loan);
    }
    sim_parcel_drop(pull->parcel);
    sim_give(pull);
}

sim_parcel_t *sim_parcel_new(size_t length) {
    sim_parcel_t *parcel = sim_take(sizeof *parcel + length);

    parcel->references = 1;
    return parcel;
}

/* Puts a segment on its way to this end. */
void sim_post(sim_end_t *to, sim_segment_kind_t kind, sim_parcel_t *parcel, size_t bytes) {
    sim_segment_t *segment = sim_take(sizeof *segment);
    uint64_t due = sim.now + sim_between(&sim.network, to->conn->latency / 4, to->conn->latency);

    if (sim_chance(&sim.network, 20)) {
        due += to->conn->latency * 4;
    }
    due = due < to->last_due ? to->last_due : due;
    segment->kind = kind;
    segment->parcel = parcel;
    segment->to = bytes;
    segment->due = to->last_due = due;
    if (parcel != NULL) {
        parcel->references++;
    }
    rw_list_append(&to->wire, &segment->node);
    to->waiting++;
}

void sim_segment_drop(sim_end_t *to, sim_segment_t *segment) {
    rw_list_remove(&segment->node);
    to->waiting--;
    sim_parcel_drop(segment->parcel);
    sim_give(segment);
}

sim_segment_t *sim_segment_first(const sim_end_t *end) {
    return rw_list_is_empty(&end->wire) ? NULL : RW_CONTAINER(end->wire.next, sim_segment_t, node);
}

sim_loan_t *sim_loan_of(const rw_flight_t *flight) {
    return (sim_loan_t *)(uintptr_t)flight->loan;
}

/* ---- lies ---- */

static sim_parcel_t *copy_parcel(const sim_parcel_t *parcel) {
    sim_parcel_t *copy = sim_parcel_new(parcel->length);

    memcpy(copy->bytes, parcel->bytes, parcel->length);
    memcpy(copy->header, parcel->header, sizeof copy->header);
    copy->header_length = parcel->header_length;
    copy->length = parcel->length;
    copy->bulk = parcel->bulk;
    return copy;
}

/* The hello of somebody's fabric, or of its streams, in a parcel; NULL: there is none. */
static sim_parcel_t *false_hello(void) RW_UNCHECKED {
    const sim_process_t *process = &sim.lives[sim_below(&sim.network, sim.life_count)];
    const struct rw_links *links = process->attached != NULL ? process->attached->links : NULL;
    const rw_carrier_t *carrier;
    sim_parcel_t *parcel;

    if (links == NULL) {
        return NULL;
    }
    carrier = sim_chance(&sim.network, 500) ? &links->first : &links->second;
    if (carrier->hello == NULL) {
        return NULL;
    }
    parcel = sim_parcel_new(carrier->hello_length);
    parcel->length = carrier->hello_length;
    memcpy(parcel->bytes, carrier->hello, parcel->length);
    return parcel;
}

/* A WAY in the place of the parcel: the same, one that is damaged, too short or empty, or leads to
 * somebody else. */
static sim_parcel_t *false_way(sim_parcel_t *copy) {
    uint64_t choice = sim_below(&sim.network, 5);
    sim_parcel_t *other = choice == 0 ? false_hello() : NULL;

    if (other != NULL) {
        memcpy(other->header, copy->header, sizeof copy->header);
        other->header_length = copy->header_length;
        sim_parcel_drop(copy);
        return other;
    }
    if (choice == 1 && copy->length > 0) {
        copy->bytes[sim_below(&sim.network, copy->length)] ^= 0x10;
    } else if (choice < 4) {
        copy->length = choice == 2 ? (size_t)sim_below(&sim.network, copy->length + 1) : 0;
    }
    return copy;
}

/* An offer of a device's memory at this end; NULL: there is none. */
static const sim_operation_t *find_device(const sim_end_t *to) {
    for (unsigned i = 0; i < sim_operation_count && to->port != NULL; i++) {
        const sim_operation_t *one = sim_operations[i];

        if (one->process == to->port->process && one->on_device && one->metadata != NULL &&
            one->handle != NULL && !one->ended && one->taken == 0) {
            return one;
        }
    }
    return NULL;
}

/* The request begins such an offer, whose key the liar has, by this link. */
static void request_device(const sim_operation_t *offer, rw_message_t *message,
                           sim_parcel_t *copy) {
    rw_request_t said, kept = {0};

    if (rw_request_decode(message, copy->bytes, copy->length, &said) != ROPEWAY_OK) {
        return;
    }
    kept.hello_length = said.hello_length; /* and the token, which come first */
    message->flags = offer->kind == ROPEWAY_OPERATION_READABLE ? RW_FLAG_READ : 0;
    memcpy(message->to, offer->handle->node.id, RW_ID_BYTES);
    message->request.total = offer->total;
    message->request.count = (uint32_t)offer->count;
    message->request.digest = rw_message_digest(offer->pieces, offer->count);
    copy->length = rw_request_length(&kept);
    message->request.fields_length = (uint32_t)copy->length;
}

/* A lie on how somebody is reached, in the place of the parcel. */
static sim_parcel_t *lie_on_way(const sim_end_t *to, sim_parcel_t *copy, rw_message_t *message) {
    const sim_operation_t *offer = find_device(to);

    if (message->type == RW_WAY) {
        return false_way(copy);
    }
    if (message->type == RW_REQUEST && offer != NULL) {
        request_device(offer, message, copy);
    } else if (message->type == RW_REQUEST) { /* it is asked for twice, or begun as well */
        message->flags ^= sim_chance(&sim.network, 500) ? RW_FLAG_ASK : 0;
    } else { /* a WAY that nobody has asked for, or has to do without */
        message->type = RW_WAY;
        copy->length = 0;
        copy->bulk = false;
    }
    rw_message_encode(message, copy->header);
    return copy;
}

static bool is_on_way(const rw_message_t *message) {
    return sim.carriers == SIM_BOTH &&
           (message->type == RW_WAY ||
            (message->type == RW_REQUEST && (message->flags & RW_FLAG_ASK) != 0) ||
            ((message->type == RW_ACCEPT || message->type == RW_DATA) &&
             sim_chance(&sim.network, 100)));
}

/* What an honest peer would not send, beside the frame that it does send: bytes or a word
 * twice, bytes past the end, a frame of an operation that the receiver does not know, an outcome
 * before its time. */
void sim_lie(sim_end_t *to, const sim_parcel_t *parcel) {
    sim_parcel_t *copy;
    rw_message_t message;
    bool on_way;

    if (parcel->loan != NULL || !sim_may(SIM_LIES) || sim.is_calm ||
        !sim_chance(&sim.network, 60) ||
        rw_message_decode(parcel->header, parcel->header_length, parcel->length, &message) !=
            ROPEWAY_OK ||
        message.type == RW_BYE) {
        return;
    }
    on_way = is_on_way(&message);
    if (message.type == RW_REQUEST && !on_way) {
        return;
    }
    copy = copy_parcel(parcel);
    if (on_way) {
        copy = lie_on_way(to, copy, &message);
        if (to->port != NULL) {
            sim_befall(to->port->process, SIM_LIES, sim.now + 1);
        }
    } else if (sim_chance(&sim.network, 500)) { /* to be ignored */
        message.from[sim_below(&sim.network, RW_ID_BYTES)] ^= 1;
        rw_message_encode(&message, copy->header);
    } else if (message.type == RW_DATA || message.type == RW_ACCEPT) {
        uint64_t choice = message.type == RW_DATA ? sim_below(&sim.network, 10) : 9;

        if (choice < 3) {
            message.type = RW_FIN;
            message.fin.status = ROPEWAY_STATUS_COMPLETE;
            message.fin.error = ROPEWAY_OK;
            copy->length = 0;
            copy->bulk = false;
        } else if (choice < 6) {
            message.data.offset += (uint64_t)64 << 20;
        }
        rw_message_encode(&message, copy->header);
        if (to->port != NULL) {
            sim_befall(to->port->process, SIM_LIES, sim.now + 1);
        }
    } else {
        sim_parcel_drop(copy);
        return;
    }
    sim_note("a lie is told on connection %u", to->conn->number);
    sim_post(to, SIM_WHOLE, copy, copy->length);
    sim_parcel_drop(copy);
}
