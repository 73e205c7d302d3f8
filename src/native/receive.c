/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The receiving side of a transfer. Every DATA message says where in the stream of descriptors its
 * bytes belong; each byte is taken once, wherever the message's edges lie. What does not fit ends
 * the operation before anything is written.
 */
#include "internal.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

static void run_out(ropeway_operation_t *operation) RW_LOCKED {
    rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_NO_MEMORY, true,
                     "out of memory while receiving");
}

/* Bytes are in memory. */
static void arrived(ropeway_operation_t *operation, uint64_t offset, size_t length) RW_LOCKED {
    atomic_fetch_add(&operation->done, length);
    operation->connector->stats.bytes_received += length;
    rw_operation_touch(operation);
    if (operation->sums != NULL && operation->phase == RW_PHASE_MOVING) {
        if (rw_extents_add(&operation->sums->arrived, offset, length) != 0) {
            run_out(operation);
            return;
        }
        rw_sums_advance(operation, operation->sums->arrived.contiguous);
    }
}

static bool sums_are_known(const ropeway_operation_t *operation) RW_LOCKED {
    return operation->sums != NULL && operation->sums->known.contiguous == operation->count;
}

static bool sums_are_right(ropeway_operation_t *operation) RW_LOCKED {
    size_t index;

    rw_sums_advance(operation, operation->total);
    index = rw_sums_compare(operation);
    if (index == operation->count) {
        return true;
    }
    rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_INTEGRITY, true,
                     "descriptor %zu (%zu bytes) arrived with the checksum %016llx, but the sender "
                     "\"%s\" computed %016llx: its memory changed during the transfer, or the "
                     "bytes were damaged on the way",
                     index, operation->descriptors[index].size,
                     (unsigned long long)operation->sums->mine[index],
                     operation->is_sender ? "this side" : operation->peer->name,
                     (unsigned long long)operation->sums->theirs[index]);
    return false;
}

void rw_receive_check(ropeway_operation_t *operation) {
    if (operation->phase != RW_PHASE_MOVING || !operation->started || operation->done_sent ||
        operation->inflight > 0 || atomic_load(&operation->done) < operation->total) {
        return;
    }
    if (operation->integrity && (!sums_are_known(operation) || !sums_are_right(operation))) {
        return;
    }
    operation->done_sent = true;
    rw_native_tell(operation, RW_DONE);
    if (!operation->pulled) {
        rw_operation_end(operation, ROPEWAY_STATUS_COMPLETE, ROPEWAY_OK, false, " ");
    }
}

static void received(rw_flight_t *flight, ucs_status_t status) RW_LOCKED {
    ropeway_operation_t *operation = flight->operation;

    if (status == UCS_OK) {
        if (flight->buffer != NULL && operation->phase == RW_PHASE_MOVING) {
            rw_layout_scatter(operation, flight->offset, flight->buffer, flight->length);
        }
        arrived(operation, flight->offset, flight->length);
    } else if (operation->phase == RW_PHASE_MOVING) {
        rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_PEER_LOST, true,
                         "receiving from the peer \"%s\" failed after %llu of %llu bytes: %s",
                         operation->peer->name, (unsigned long long)atomic_load(&operation->done),
                         (unsigned long long)operation->total, ucs_status_string(status));
    }
    rw_flight_give(flight);
    rw_receive_check(operation);
}

static void on_received(void *request, ucs_status_t status, size_t length,
                        void *argument) RW_UNCHECKED {
    rw_flight_t *flight = argument;
    ropeway_operation_t *operation = flight->operation;

    (void)length;
    ucp_request_free(request);
    rw_flight_land(flight);
    received(flight, status);
    rw_operation_settle(operation);
}

/* Lets UCX put the bytes where they belong, or into a buffer when they span pieces. Returns
 * what the message callback is to return. */
static ucs_status_t fetch(ropeway_operation_t *operation, uint64_t offset, void *data,
                          size_t length) RW_LOCKED {
    ropeway_connector_t *connector = operation->connector;
    size_t index = rw_layout_piece(operation, offset);
    char *target;
    bool fits = rw_layout_stretch(operation, index, offset, length, &target) == length;
    rw_flight_t *flight = rw_flight_take(connector);
    ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK |
                                                 UCP_OP_ATTR_FIELD_USER_DATA |
                                                 UCP_OP_ATTR_FIELD_MEMORY_TYPE,
                                 .memory_type = UCS_MEMORY_TYPE_HOST,
                                 .cb.recv_am = on_received,
                                 .user_data = flight};
    ucs_status_ptr_t request;

    if (flight == NULL) {
        run_out(operation);
        return UCS_OK;
    }
    if (!fits) {
        target = flight->buffer = malloc(length);
        if (target == NULL) {
            rw_flight_give(flight);
            run_out(operation);
            return UCS_OK;
        }
    } else {
        param.memory_type = rw_ucx_memory_type(operation->pieces[index].device);
        if (operation->memories != NULL && operation->memories[index] != NULL &&
            !operation->by_queue) {
            param.op_attr_mask |= UCP_OP_ATTR_FIELD_MEMH;
            param.memh = operation->memories[index]->handle;
        }
    }
    flight->operation = operation;
    flight->offset = offset;
    flight->length = length;
    rw_flight_depart(flight);
    request = ucp_am_recv_data_nbx(operation->by_queue ? operation->peer->queue->worker
                                                       : connector->worker,
                                   data, target, length, &param);
    if (!UCS_PTR_IS_PTR(request)) {
        rw_flight_land(flight);
        received(flight, UCS_PTR_STATUS(request));
        rw_operation_settle(operation);
    }
    return UCS_INPROGRESS;
}

/* Whether these bytes are wanted; if not the operation ends. */
static bool claim(ropeway_operation_t *operation, uint64_t offset, size_t length,
                  bool can_span) RW_LOCKED {
    size_t index;

    if (operation->is_sender || offset > operation->total || length > operation->total - offset) {
        rw_operation_violate(operation, "bytes past the end of the operation");
        return false;
    }
    if (rw_extents_add(&operation->claimed, offset, length) != 0) {
        rw_operation_violate(operation, "the same bytes twice, or too many gaps between them");
        return false;
    }
    index = length > 0 ? rw_layout_piece(operation, offset) : 0;
    if (length > 0 && offset + length > operation->piece_starts[index + 1] && !can_span) {
        rw_operation_violate(operation,
                             "a message that spans descriptors, which this kind may not");
        return false;
    }
    return true;
}

/* Takes the sender's word on checksums. */
static bool agree_on_sums(ropeway_operation_t *operation, const rw_message_t *message) RW_LOCKED {
    operation->integrity |= (message->flags & RW_FLAG_INTEGRITY) != 0;
    if (!operation->integrity) {
        return true;
    }
    if (operation->any_device) {
        rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_UNSUPPORTED, true,
                         "the peer \"%s\" asks for an integrity check, which works on host memory "
                         "only",
                         operation->peer->name);
        return false;
    }
    if (!rw_sums_start(operation)) {
        run_out(operation);
        return false;
    }
    return true;
}

ucs_status_t rw_receive_data(ropeway_operation_t *operation, const rw_message_t *message,
                             void *data, size_t length, const ucp_am_recv_param_t *param) {
    bool by_rendezvous = (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0;
    bool persistent = (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_DATA) != 0;
    uint64_t offset = message->data.offset;
    bool can_span = !operation->any_device && (!by_rendezvous || length <= RW_SCATTER_MAX);

    if (!agree_on_sums(operation, message) || !claim(operation, offset, length, can_span)) {
        return UCS_OK;
    }
    operation->started = true;
    operation->pulled |= by_rendezvous;
    if (length > 0 && (by_rendezvous || (operation->any_device && persistent))) {
        return fetch(operation, offset, data, length);
    }
    if (operation->any_device && length > 0) {
        rw_operation_violate(operation, "bytes for device memory in a message for host memory");
        return UCS_OK;
    }
    rw_layout_scatter(operation, offset, data, length);
    arrived(operation, offset, length);
    rw_receive_check(operation);
    return UCS_OK;
}

void rw_receive_inline(ropeway_operation_t *operation, const uint8_t *data, size_t length) {
    if (!claim(operation, 0, length, true)) {
        return;
    }
    operation->started = true;
    rw_layout_scatter(operation, 0, data, length);
    arrived(operation, 0, length);
    rw_receive_check(operation);
}

void rw_receive_sums(ropeway_operation_t *operation, const rw_message_t *message,
                     const uint8_t *payload, size_t length) {
    size_t number = length / sizeof(uint64_t);
    uint64_t first = message->sums.first;

    if (operation->is_sender || first > operation->count || number > operation->count - first) {
        rw_operation_violate(operation, "checksums of descriptors that do not exist");
        return;
    }
    if (!agree_on_sums(operation, message)) {
        return;
    }
    if (operation->sums == NULL || rw_extents_add(&operation->sums->known, first, number) != 0) {
        rw_operation_violate(operation, "checksums that nobody asked for, or the same ones twice");
        return;
    }
    for (size_t i = 0; i < number; i++) {
        uint64_t sum;

        memcpy(&sum, payload + i * sizeof sum, sizeof sum);
        operation->sums->theirs[first + i] = le64toh(sum);
    }
    rw_receive_check(operation);
}
