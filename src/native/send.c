/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sending side of a transfer. What to send next is decided by operation/decide.c; here it is
 * posted, straight from the user's memory where one message holds one piece of it or lends several.
 */
#include "native/native.h"

#include "base/assert.h"
#include "base/bytes.h"

#include <stdlib.h>

static bool exhausted(const ropeway_operation_t *operation) RW_LOCKED {
    const rw_side_t *side = rw_side(operation);

    /* An operation of no bytes has one message, too. */
    return side->out.state == RW_SENDER_SENDING &&
           side->out.cursor.offset == operation->layout.total;
}

static void fail(ropeway_operation_t *operation, const char *why) RW_LOCKED {
    rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_PEER_LOST, true,
                     "sending to the peer \"%s\" failed after %llu of %llu bytes: %s",
                     operation->peer->name, (unsigned long long)atomic_load(&operation->done),
                     (unsigned long long)operation->layout.total, why);
}

/* A message has left. */
static void on_data_sent(rw_flight_t *flight, ropeway_error_t error, const char *why) RW_LOCKED {
    ropeway_operation_t *operation = flight->tag;

    rw_operation_regain(operation, flight);
    if (error != ROPEWAY_OK) {
        fail(operation, why);
    } else if (operation->phase == RW_PHASE_MOVING) {
        rw_operation_count(operation, flight->length);
    } else { /* DONE may have said it for all */
        operation->connector->stats.bytes_sent += flight->length;
    }
    rw_flight_give(flight);
    if (rw_side(operation)->posting) {
        return; /* the pump that posted it goes on */
    }
    if (operation->phase == RW_PHASE_MOVING &&
        !rw_list_is_empty(&operation->connector->operations->starved)) {
        rw_operation_starve(operation); /* others came first */
    } else {
        rw_send_pump(operation);
    }
    rw_operation_settle(operation);
}

/* Puts the next bytes into the flight, as it was decided. false: out of memory. */
static bool fill(const ropeway_operation_t *operation, rw_cut_t cut,
                 rw_flight_t *flight) RW_LOCKED {
    const rw_layout_t *layout = &operation->layout;
    const rw_cursor_t *cursor = &rw_side(operation)->out.cursor;
    const ropeway_descriptor_t *piece = &layout->pieces[cursor->piece];

    flight->lends = cut.lend;
    if (cut.list) {
        return rw_operation_list_pieces(operation, cursor->offset, cut.length, flight);
    }
    if (cut.gather) {
        flight->buffer = malloc(cut.length);
        if (flight->buffer == NULL) {
            return false;
        }
        rw_layout_gather(layout, cursor->offset, flight->buffer, cut.length);
        rw_flight_lend(flight, flight->buffer, cut.length);
        return true;
    }
    flight->device = piece->device;
    flight->registration =
        rw_memory_registration(&operation->memories, cursor->piece, operation->link->kind);
    rw_flight_lend(flight, (char *)piece->ptr + cursor->within, cut.length);
    return true;
}

/* Puts the next bytes into the flight; the cursor moves past them. false: out of memory. */
static bool load(ropeway_operation_t *operation, rw_flight_t *flight) RW_LOCKED {
    rw_side_t *side = rw_side(operation);
    const rw_layout_t *layout = &operation->layout;
    rw_cursor_t *cursor = &side->out.cursor;
    const rw_link_t *link = operation->link;
    size_t whole = link->whole_max > 0 ? link->whole_max : RW_EAGER_TOTAL;
    rw_situation_t situation = {
        .layout = layout,
        .chunk_size = operation->connector->options.chunk_size,
        .frame_max = link->lends && layout->total > whole ? 0 : link->kind->frame_max,
        .pushes = link->kind->pushes && !link->lends,
        .lists = link->lends,
        .eager_total = whole,
        .remote_device = side->out.remote_device,
        .remote_grain = side->out.remote_grain};
    rw_cut_t cut;

    rw_cursor_advance(cursor, layout, 0); /* past pieces without bytes */
    if (cursor->piece == layout->piece_count) {
        rw_flight_lend(flight, NULL, 0);
        return true;
    }
    cut = rw_decide_cut(&situation, cursor);
    if (!fill(operation, cut, flight)) {
        return false;
    }
    rw_cursor_advance(cursor, layout, cut.length);
    return true;
}

/* Posts the next message. false: the operation has ended. */
static bool post(ropeway_operation_t *operation) RW_LOCKED {
    rw_side_t *side = rw_side(operation);
    rw_message_t message = rw_native_message(operation, RW_DATA);
    rw_flight_t *flight = rw_flight_take(operation->connector);

    message.data.offset = side->out.cursor.offset;
    if (flight == NULL || !load(operation, flight)) {
        if (flight != NULL) {
            rw_flight_give(flight);
        }
        rw_operation_run_out(operation, "a message");
        return false;
    }
    rw_message_encode(&message, flight->header);
    flight->header_length = RW_MESSAGE_BYTES;
    flight->class = RW_BULK;
    flight->to_device = side->out.remote_device;
    flight->done = on_data_sent;
    flight->takes_room = true;
    side->out.state = RW_SENDER_SENDING;
    side->pulled |= flight->lends;
    rw_operation_lend(operation, flight);
    side->posting = true;
    if (operation->link->kind->send(operation->link, flight) != ROPEWAY_OK) {
        on_data_sent(flight, ROPEWAY_ERR_TRANSPORT, ropeway_last_error());
    }
    side->posting = false;
    rw_operation_settle(operation);
    return operation->phase == RW_PHASE_MOVING;
}

/* All checksums, once all bytes are posted. false: the operation has ended. */
static bool send_sums(ropeway_operation_t *operation) RW_LOCKED {
    rw_sums_t *sums = rw_side(operation)->sums;
    uint8_t payload[RW_SUMS_MAX * sizeof(uint64_t)];

    rw_sums_advance(sums, operation->layout.total);
    while (sums->sent < operation->layout.count) {
        rw_message_t message = rw_native_message(operation, RW_SUMS);
        size_t left = operation->layout.count - sums->sent;
        size_t number = left < RW_SUMS_MAX ? left : RW_SUMS_MAX;

        message.sums.first = sums->sent;
        for (size_t i = 0; i < number; i++) {
            rw_put64(payload + i * sizeof(uint64_t), sums->mine[sums->sent + i]);
        }
        if (rw_native_send(operation->link, &message, payload, number * sizeof(uint64_t)) !=
            ROPEWAY_OK) {
            rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_TRANSPORT, true,
                             "the checksums could not be sent to the peer \"%s\"",
                             operation->peer->name);
            return false;
        }
        if (operation->phase != RW_PHASE_MOVING) { /* by what the sending showed */
            return false;
        }
        sums->sent += number;
    }
    return true;
}

static bool may_send(const ropeway_operation_t *operation) RW_LOCKED {
    rw_sender_t state = rw_side(operation)->out.state;

    return operation->phase == RW_PHASE_MOVING && operation->is_sender &&
           (state == RW_SENDER_READY || state == RW_SENDER_SENDING) && !operation->peer->failed;
}

void rw_send_pump(ropeway_operation_t *operation) {
    ropeway_connector_t *connector = operation->connector;
    rw_side_t *side = rw_side(operation);

    if (!may_send(operation) || !rw_native_need_sums(operation)) {
        return;
    }
    while (!exhausted(operation)) {
        if (operation->inflight >= connector->options.window) {
            return;
        }
        if (!rw_operation_has_room(operation)) {
            return;
        }
        if (!post(operation)) {
            return;
        }
        if (side->sums != NULL) {
            rw_sums_advance(side->sums, side->out.cursor.offset);
        }
    }
    if (side->sums == NULL || send_sums(operation)) {
        side->out.state = RW_SENDER_SENT;
    }
}
