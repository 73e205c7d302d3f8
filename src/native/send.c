/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sending side of a transfer. The descriptors laid end to end are a stream; chunks of it go out
 * in order, at most `window` of them in flight. Large ones go by rendezvous, small ones eagerly;
 * all straight from the user's memory, except that small pieces of it are gathered into one. A
 * receiver whose own memory lies in pieces wishes for chunks that fit into them.
 */
#include "internal.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

typedef struct rw_chunk {
    const void *data;
    size_t length;
    void *buffer; /* gathered bytes, to be freed; NULL: data is the user's memory */
    size_t piece;
} rw_chunk_t;

static bool exhausted(const ropeway_operation_t *operation) RW_LOCKED {
    return operation->started && operation->posted == operation->total;
}

/* The longest chunk that may start at the cursor. */
static size_t longest(const ropeway_operation_t *operation) RW_LOCKED {
    size_t limit = operation->connector->options.chunk_size;
    uint64_t start, left;

    if (operation->remote_grain == 0 || operation->posted == operation->total) {
        return limit;
    }
    start = operation->starts[rw_layout_descriptor(operation, operation->posted)];
    left = operation->remote_grain - (operation->posted - start) % operation->remote_grain;
    return left < limit ? (size_t)left : limit;
}

static bool gather(ropeway_operation_t *operation, size_t length, rw_chunk_t *chunk) RW_LOCKED {
    chunk->buffer = malloc(length);
    chunk->data = chunk->buffer;
    chunk->length = length;
    if (chunk->buffer == NULL) {
        return false;
    }
    rw_layout_gather(operation, operation->posted, chunk->buffer, length);
    rw_layout_advance(operation, length);
    return true;
}

/* The next chunk; the cursor moves past it. */
static bool next_chunk(ropeway_operation_t *operation, rw_chunk_t *chunk) RW_LOCKED {
    const ropeway_descriptor_t *piece;
    size_t length = 0, limit;

    rw_layout_advance(operation, 0);
    *chunk = (rw_chunk_t){.piece = operation->cursor};
    if (operation->cursor == operation->piece_count) {
        return true;
    }
    limit = longest(operation);
    if (!operation->any_device && !operation->remote_device) {
        length = rw_layout_gatherable(operation, limit, RW_EAGER_MAX);
    }
    if (length > 0) {
        return gather(operation, length, chunk);
    }
    piece = &operation->pieces[operation->cursor];
    length = piece->size - operation->cursor_offset;
    if (length > limit) {
        length = limit;
    }
    chunk->data = (const char *)piece->ptr + operation->cursor_offset;
    chunk->length = length;
    rw_layout_advance(operation, length);
    return true;
}

static void sent(rw_flight_t *flight, ucs_status_t status) RW_LOCKED {
    ropeway_operation_t *operation = flight->operation;

    if (status == UCS_OK) {
        if (operation->phase == RW_PHASE_MOVING) { /* DONE may have said it for all */
            atomic_fetch_add(&operation->done, flight->length);
        }
        flight->connector->stats.bytes_sent += flight->length;
        rw_operation_touch(operation);
    }
    rw_flight_give(flight);
}

static void fail(ropeway_operation_t *operation, ucs_status_t status) RW_LOCKED {
    rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_PEER_LOST, true,
                     "sending to the peer \"%s\" failed after %llu of %llu bytes: %s",
                     operation->peer->name, (unsigned long long)atomic_load(&operation->done),
                     (unsigned long long)operation->total, ucs_status_string(status));
}

/* Its place in the line stays if it has one. */
static void wait_for_room(ropeway_operation_t *operation) RW_LOCKED {
    if (rw_list_is_empty(&operation->waiting)) {
        rw_list_append(&operation->connector->starved, &operation->waiting);
    }
}

static void on_sent(void *request, ucs_status_t status, void *argument) RW_UNCHECKED {
    rw_flight_t *flight = argument;
    ropeway_operation_t *operation = flight->operation;

    ucp_request_free(request);
    rw_flight_land(flight);
    sent(flight, status);
    if (status != UCS_OK) {
        fail(operation, status);
    }
    if (operation->phase == RW_PHASE_MOVING && !rw_list_is_empty(&operation->connector->starved)) {
        wait_for_room(operation); /* others came first */
    } else {
        rw_send_pump(operation);
    }
    rw_operation_settle(operation);
}

static bool goes_eagerly(const ropeway_operation_t *operation, size_t length) RW_LOCKED {
    return length <= RW_EAGER_MAX ||
           (operation->total <= RW_EAGER_TOTAL && !operation->any_device &&
            !operation->remote_device && !operation->by_queue);
}

static ucp_request_param_t make_param(const ropeway_operation_t *operation, const rw_chunk_t *chunk,
                                      rw_flight_t *flight) RW_LOCKED {
    bool eager = goes_eagerly(operation, chunk->length);
    ucp_request_param_t param = {.op_attr_mask =
                                     UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA |
                                     UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_MEMORY_TYPE,
                                 .flags = eager ? UCP_AM_SEND_FLAG_EAGER : UCP_AM_SEND_FLAG_RNDV,
                                 .memory_type = UCS_MEMORY_TYPE_HOST,
                                 .cb.send = on_sent,
                                 .user_data = flight};

    if (chunk->buffer == NULL && chunk->length > 0) {
        param.memory_type = rw_ucx_memory_type(operation->pieces[chunk->piece].device);
        if (operation->memories != NULL && operation->memories[chunk->piece] != NULL &&
            !operation->by_queue) {
            param.op_attr_mask |= UCP_OP_ATTR_FIELD_MEMH;
            param.memh = operation->memories[chunk->piece]->handle;
        }
    }
    return param;
}

/* Posts the next chunk. false: the operation has ended. */
static bool post_chunk(ropeway_operation_t *operation) RW_LOCKED {
    ropeway_connector_t *connector = operation->connector;
    rw_message_t message = rw_native_message(operation, RW_DATA);
    rw_flight_t *flight = rw_flight_take(connector);
    ucp_request_param_t param;
    ucs_status_ptr_t request;
    rw_chunk_t chunk;

    message.data.offset = operation->posted;
    if (flight == NULL || !next_chunk(operation, &chunk)) {
        if (flight != NULL) {
            rw_flight_give(flight);
        }
        rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_NO_MEMORY, true,
                         "out of memory for a message");
        return false;
    }
    rw_message_encode(&message, flight->header);
    flight->operation = operation;
    flight->buffer = chunk.buffer;
    flight->length = chunk.length;
    operation->started = true;
    param = make_param(operation, &chunk, flight);
    operation->pulled |= (param.flags & UCP_AM_SEND_FLAG_RNDV) != 0;
    rw_flight_depart(flight);
    request = ucp_am_send_nbx(rw_native_endpoint(operation),
                              operation->remote_device ? RW_AM_DEVICE : RW_AM_HOST, flight->header,
                              RW_MESSAGE_BYTES, chunk.data, chunk.length, &param);
    if (!UCS_PTR_IS_PTR(request)) {
        rw_flight_land(flight);
        sent(flight, UCS_PTR_STATUS(request));
        if (request != NULL) {
            fail(operation, UCS_PTR_STATUS(request));
        }
        rw_operation_settle(operation);
    }
    return operation->phase == RW_PHASE_MOVING;
}

/* All checksums, once all bytes are posted. false: the operation has ended. */
static bool send_sums(ropeway_operation_t *operation) RW_LOCKED {
    rw_sums_t *sums = operation->sums;
    uint64_t payload[RW_SUMS_MAX];

    rw_sums_advance(operation, operation->total);
    while (sums->sent < operation->count) {
        rw_message_t message = rw_native_message(operation, RW_SUMS);
        size_t left = operation->count - sums->sent;
        size_t number = left < RW_SUMS_MAX ? left : RW_SUMS_MAX;

        message.sums.first = sums->sent;
        for (size_t i = 0; i < number; i++) {
            payload[i] = htole64(sums->mine[sums->sent + i]);
        }
        if (rw_native_send(operation->connector, rw_native_endpoint(operation), &message, payload,
                           number * sizeof *payload) != ROPEWAY_OK) {
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
    return operation->phase == RW_PHASE_MOVING && operation->accepted && !operation->all_sent &&
           !operation->peer->failed;
}

void rw_send_pump(ropeway_operation_t *operation) {
    ropeway_connector_t *connector = operation->connector;

    if (!may_send(operation)) {
        return;
    }
    if (operation->integrity && !rw_sums_start(operation)) {
        rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_NO_MEMORY, true,
                         "out of memory for checksums");
        return;
    }
    while (!exhausted(operation)) {
        if (operation->inflight >= connector->options.window) {
            return;
        }
        if (connector->stats.bytes_inflight >= connector->options.max_inflight) {
            wait_for_room(operation);
            return;
        }
        if (!post_chunk(operation)) {
            return;
        }
        if (operation->sums != NULL) {
            rw_sums_advance(operation, operation->posted);
        }
    }
    operation->all_sent = operation->sums == NULL || send_sums(operation);
}

void rw_send_feed(ropeway_connector_t *connector) {
    while (!rw_list_is_empty(&connector->starved) &&
           connector->stats.bytes_inflight < connector->options.max_inflight) {
        ropeway_operation_t *operation =
            RW_CONTAINER(rw_list_take(&connector->starved), ropeway_operation_t, waiting);

        if (operation->remote_keys != NULL) {
            rw_nixl_pump(operation);
        } else {
            rw_send_pump(operation);
        }
    }
}
