/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The receiving side of a transfer. Every DATA message says where in the stream of descriptors its
 * bytes belong; each byte is taken once, wherever the message's edges lie. What does not fit ends
 * the operation before anything is written.
 */
#include "native/native.h"

#include "base/assert.h"
#include "base/bytes.h"

#include <stdlib.h>

#define NO_DEVICE_SUMS                                                                             \
    "the peer \"%s\" asks for an integrity check, which works on host memory only"

static bool all_is_here(const ropeway_operation_t *operation) RW_LOCKED {
    return rw_side(operation)->in.state == RW_RECEIVER_RECEIVING && operation->inflight == 0 &&
           atomic_load(&operation->done) == operation->layout.total;
}

static bool sums_are_known(const ropeway_operation_t *operation) RW_LOCKED {
    const rw_sums_t *sums = rw_side(operation)->sums;

    return sums != NULL && sums->known.contiguous == operation->layout.count;
}

static bool sums_are_right(ropeway_operation_t *operation) RW_LOCKED {
    rw_sums_t *sums = rw_side(operation)->sums;

    rw_sums_advance(sums, operation->layout.total);
    return rw_sums_compare(sums) == operation->layout.count;
}

void rw_receive_damaged(ropeway_operation_t *operation, bool tell) {
    const rw_sums_t *sums = rw_side(operation)->sums;
    size_t index = rw_sums_compare(sums);

    rw_assert(index < operation->layout.count);
    rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_INTEGRITY, tell,
                     "descriptor %zu (%zu bytes) arrived with the checksum %016llx, but the sender "
                     "\"%s\" computed %016llx: its memory changed during the transfer, or the "
                     "bytes were damaged on the way",
                     index, operation->layout.descriptors[index].size,
                     (unsigned long long)sums->mine[index], operation->peer->name,
                     (unsigned long long)sums->theirs[index]);
}

/* Completes or answers, once all bytes and checksums are here. Bytes that were fetched and are not
 * right may be of memory that the sender has taken back meanwhile, which is no damage: it has the
 * word. */
static void check(ropeway_operation_t *operation) RW_LOCKED {
    rw_side_t *side = rw_side(operation);

    if (operation->phase != RW_PHASE_MOVING || !all_is_here(operation) ||
        (side->integrity && !sums_are_known(operation))) {
        return;
    }
    side->in.damaged = side->integrity && !sums_are_right(operation);
    if (side->in.damaged && !side->pulled) {
        rw_receive_damaged(operation, true);
        return;
    }
    side->in.state = RW_RECEIVER_CONFIRMING;
    rw_native_tell(operation, RW_DONE);
    if (!side->pulled) {
        rw_operation_complete(operation, false);
    }
}

/* Bytes are in memory. */
static void arrived(ropeway_operation_t *operation, uint64_t offset, size_t length) RW_LOCKED {
    rw_sums_t *sums = rw_side(operation)->sums;

    rw_operation_count(operation, length);
    if (sums != NULL && operation->phase == RW_PHASE_MOVING) {
        if (rw_extents_add(&sums->arrived, offset, length) != 0) {
            rw_operation_run_out(operation, "what has arrived");
            return;
        }
        rw_sums_advance(sums, sums->arrived.contiguous);
    }
}

/* The link has filled a place. */
static void on_filled(rw_flight_t *flight, ropeway_error_t error, const char *why) RW_LOCKED {
    ropeway_operation_t *operation = flight->tag;

    rw_operation_regain(operation, flight);
    if (error == ROPEWAY_OK) {
        if (flight->buffer != NULL && operation->phase == RW_PHASE_MOVING) {
            rw_layout_scatter(&operation->layout, flight->offset, flight->buffer, flight->length);
        }
        arrived(operation, flight->offset, flight->length);
    } else {
        rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_PEER_LOST, true,
                         "receiving from the peer \"%s\" failed after %llu of %llu bytes: %s",
                         operation->peer->name, (unsigned long long)atomic_load(&operation->done),
                         (unsigned long long)operation->layout.total, why);
    }
    rw_flight_give(flight);
    check(operation);
    rw_operation_settle(operation);
}

/* Where the bytes belong, or a buffer where they span pieces that the link can't put them into.
 * false: out of memory. */
static bool find_place(const ropeway_operation_t *operation, const rw_frame_t *frame,
                       uint64_t offset, rw_flight_t *flight) RW_LOCKED {
    const rw_layout_t *layout = &operation->layout;
    size_t first = rw_layout_piece(layout, offset);
    size_t last = rw_layout_piece(layout, offset + frame->length - 1);
    char *at;

    if (rw_layout_stretch(layout, first, offset, frame->length, &at) == frame->length) {
        flight->device = layout->pieces[first].device;
        flight->registration =
            rw_memory_registration(&operation->memories, first, operation->link->kind);
        rw_flight_lend(flight, at, frame->length);
        return true;
    }
    if (frame->scatters && rw_decide_scatter(frame->length, last - first + 1)) {
        return rw_operation_list_pieces(operation, offset, frame->length, flight);
    }
    flight->buffer = malloc(frame->length);
    if (flight->buffer != NULL) {
        rw_flight_lend(flight, flight->buffer, frame->length);
    }
    return flight->buffer != NULL;
}

/* Lets the link put the bytes there. */
static rw_verdict_t place_bytes(ropeway_operation_t *operation, rw_frame_t *frame,
                                uint64_t offset) RW_LOCKED {
    rw_flight_t *flight = rw_flight_take(operation->connector);

    if (flight == NULL || !find_place(operation, frame, offset, flight)) {
        if (flight != NULL) {
            rw_flight_give(flight);
        }
        rw_operation_run_out(operation, "a place for bytes");
        return RW_FRAME_TAKEN;
    }
    flight->offset = offset;
    flight->done = on_filled;
    rw_operation_lend(operation, flight);
    frame->place = flight;
    return RW_FRAME_PLACED;
}

/* Whether these bytes are wanted; if not the operation ends. */
static bool claim(ropeway_operation_t *operation, uint64_t offset, size_t length,
                  bool may_span) RW_LOCKED {
    const rw_layout_t *layout = &operation->layout;

    if (operation->is_sender || offset > layout->total || length > layout->total - offset) {
        rw_operation_violate(operation, "bytes past the end of the operation");
        return false;
    }
    if (rw_extents_add(&rw_side(operation)->in.claimed, offset, length) != 0) {
        rw_operation_violate(operation, "the same bytes twice, or too many gaps between them");
        return false;
    }
    if (length > 0 && !may_span &&
        offset + length > layout->piece_starts[rw_layout_piece(layout, offset) + 1]) {
        rw_operation_violate(operation,
                             "a message that spans descriptors, which this kind may not");
        return false;
    }
    return true;
}

/* Whether a sender can have made this loan; if not the operation ends. What is held for loans is
 * bounded by their number, and where the sender may run ahead, by the least size that they have:
 * there are no more of them than the operation has bytes for. */
static bool may_lend(ropeway_operation_t *operation, const rw_frame_t *frame) RW_LOCKED {
    if (frame->length <= RW_EAGER_MAX) {
        rw_operation_violate(operation, "a loan of fewer bytes than are worth one");
        return false;
    }
    if (!operation->link->kind->done_early && operation->inflight >= RW_WINDOW_MAX) {
        rw_operation_violate(operation, "more loans at a time than any window has");
        return false;
    }
    return true;
}

/* Takes the sender's word on checksums. */
static bool agree_on_sums(ropeway_operation_t *operation, const rw_message_t *message) RW_LOCKED {
    rw_side_t *side = rw_side(operation);

    side->integrity |= (message->flags & RW_FLAG_INTEGRITY) != 0;
    if (side->integrity && operation->layout.any_device) {
        rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_UNSUPPORTED, true,
                         NO_DEVICE_SUMS, operation->peer->name);
        return false;
    }
    return rw_native_need_sums(operation);
}

static void start(rw_side_t *side) RW_LOCKED {
    if (side->in.state == RW_RECEIVER_WAITING) {
        side->in.state = RW_RECEIVER_RECEIVING;
    }
}

/* Bytes that the host can read are here. */
static void take_bytes(ropeway_operation_t *operation, uint64_t offset, const uint8_t *data,
                       size_t length) RW_LOCKED {
    start(rw_side(operation));
    rw_layout_scatter(&operation->layout, offset, data, length);
    arrived(operation, offset, length);
    check(operation);
}

rw_verdict_t rw_receive_data(ropeway_operation_t *operation, rw_frame_t *frame,
                             const rw_message_t *message) {
    const rw_layout_t *layout = &operation->layout;
    uint64_t offset = message->data.offset;
    rw_side_t *side = rw_side(operation);

    if (frame->lent && !may_lend(operation, frame)) {
        return RW_FRAME_TAKEN;
    }
    if (!agree_on_sums(operation, message) ||
        !claim(operation, offset, frame->length,
               rw_decide_may_span(layout, frame->length, frame->lent))) {
        return RW_FRAME_TAKEN;
    }
    side->pulled |= frame->lent;
    if (frame->length > 0 &&
        (frame->payload == NULL || (layout->any_device && frame->for_device))) {
        start(side);
        return place_bytes(operation, frame, offset);
    }
    if (layout->any_device && frame->length > 0) {
        rw_operation_violate(operation, "bytes for device memory in a message for host memory");
        return RW_FRAME_TAKEN;
    }
    take_bytes(operation, offset, frame->payload, frame->length);
    return RW_FRAME_TAKEN;
}

void rw_receive_inline(ropeway_operation_t *operation, const uint8_t *data, size_t length) {
    if (claim(operation, 0, length, true)) {
        take_bytes(operation, 0, data, length);
    }
}

void rw_receive_sums(ropeway_operation_t *operation, const rw_message_t *message,
                     const uint8_t *payload, size_t length) {
    size_t number = length / sizeof(uint64_t);
    uint64_t first = message->sums.first;
    rw_sums_t *sums;

    if (operation->is_sender || first > operation->layout.count ||
        number > operation->layout.count - first) {
        rw_operation_violate(operation, "checksums of descriptors that do not exist");
        return;
    }
    if (!agree_on_sums(operation, message)) {
        return;
    }
    sums = rw_side(operation)->sums;
    if (sums == NULL || rw_extents_add(&sums->known, first, number) != 0) {
        rw_operation_violate(operation, "checksums that nobody asked for, or the same ones twice");
        return;
    }
    for (size_t i = 0; i < number; i++) {
        sums->theirs[first + i] = rw_get64(payload + i * sizeof(uint64_t));
    }
    check(operation);
}
