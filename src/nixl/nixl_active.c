/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads and writes of what stock NIXL peers offer: one-sided gets and puts on the second worker,
 * and then the notification that tells the peer. A piece that UCX was given can't be taken back; a
 * cancel stops between pieces and waits for those in flight, and a peer that does not answer has
 * its connection closed by force, like a native one.
 */
#include "base/error.h"
#include "internal.h"
#include "text/serdes.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PIECES_MAX 64 /* in flight per operation */

void rw_nixl_let_go(ropeway_operation_t *operation) {
    for (size_t i = 0; operation->remote_keys != NULL && i < operation->count; i++) {
        if (operation->remote_keys[i] != NULL) {
            rw_key_give(operation->remote_keys[i]);
        }
    }
    free(operation->remote_keys);
    operation->remote_keys = NULL;
}

static bool covers(const rw_region_t *region, const ropeway_descriptor_t *descriptor) {
    uint64_t start = (uint64_t)(uintptr_t)descriptor->ptr;
    uint32_t memory =
        descriptor->device.kind == ROPEWAY_DEVICE_HOST ? RW_MEMORY_DRAM : RW_MEMORY_VRAM;

    return region->memory == memory && start >= region->address &&
           descriptor->size <= region->length &&
           start - region->address <= region->length - descriptor->size;
}

/* Finds the region of each remote descriptor and its key. They mostly come in the same order, so
 * the search goes on where the last one ended. */
static ropeway_error_t find_keys(ropeway_operation_t *operation, rw_peer_t *peer,
                                 const ropeway_metadata_t *metadata,
                                 const rw_region_t *regions) RW_LOCKED {
    size_t count = metadata->region_count, at = 0;

    for (size_t i = 0; i < operation->count; i++) {
        const ropeway_descriptor_t *remote = &metadata->descriptors[i];
        ropeway_error_t error;
        size_t tried = 0;

        while (tried < count && !covers(&regions[at], remote)) {
            at = (at + 1) % count;
            tried++;
        }
        if (tried == count) {
            return rw_fail(ROPEWAY_ERR_METADATA,
                           "the remote descriptor %zu (0x%" PRIxPTR ", %zu bytes) lies in none of "
                           "the %zu regions that the NIXL agent \"%s\" registered with UCX",
                           i, (uintptr_t)remote->ptr, remote->size, count, metadata->agent);
        }
        error = rw_key_take(peer, &regions[at], &operation->remote_keys[i]);
        if (error != ROPEWAY_OK) {
            return error;
        }
        operation->remote_ptrs[i] = (uint64_t)(uintptr_t)remote->ptr;
    }
    return ROPEWAY_OK;
}

ropeway_error_t rw_nixl_prepare(ropeway_operation_t *operation, const ropeway_metadata_t *metadata,
                                rw_peer_t **result) {
    rw_region_t *regions = calloc(metadata->region_count + 1, sizeof *regions);
    ropeway_error_t error = rw_nixl_open(operation->connector);
    rw_peer_t *peer = NULL;

    operation->remote_keys = calloc(operation->count, sizeof *operation->remote_keys);
    operation->remote_ptrs = calloc(operation->count, sizeof *operation->remote_ptrs);
    if (regions == NULL || operation->remote_keys == NULL || operation->remote_ptrs == NULL) {
        error = rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    if (error == ROPEWAY_OK && (operation->flags & ROPEWAY_OPERATION_INTEGRITY) != 0) {
        error = rw_fail(ROPEWAY_ERR_UNSUPPORTED,
                        "the NIXL agent \"%s\" can't take part in an integrity check; leave "
                        "ROPEWAY_OPERATION_INTEGRITY out",
                        metadata->agent);
    }
    if (error == ROPEWAY_OK) {
        error = rw_peer_get_stock(operation->connector, metadata->shared, &peer);
    }
    if (error == ROPEWAY_OK) {
        rw_serdes_regions(metadata->blob, metadata->blob_length, regions);
        error = find_keys(operation, peer, metadata, regions);
    }
    free(regions);
    *result = peer;
    return error;
}

/* ---- the transfer ---- */

static void fail(ropeway_operation_t *operation, ucs_status_t status) RW_LOCKED {
    rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_PEER_LOST, false,
                     "the transfer with the NIXL agent \"%s\" failed after %llu of %llu bytes: %s",
                     operation->peer->name, (unsigned long long)atomic_load(&operation->done),
                     (unsigned long long)operation->total, ucs_status_string(status));
}

static void account(rw_flight_t *flight, ucs_status_t status) RW_LOCKED {
    ropeway_operation_t *operation = flight->operation;
    ropeway_stats_t *stats = &flight->connector->stats;

    if (status == UCS_OK) {
        if (flight->buffer != NULL && !operation->is_sender &&
            operation->phase == RW_PHASE_MOVING) {
            rw_layout_scatter(operation, flight->offset, flight->buffer, flight->length);
        }
        atomic_fetch_add(&operation->done, flight->length);
        *(operation->is_sender ? &stats->bytes_sent : &stats->bytes_received) += flight->length;
        operation->peer->heard = true;
        rw_operation_touch(operation);
        operation->peer->last_heard = operation->last_moved;
    }
    rw_flight_give(flight);
}

static void on_posted(void *request, ucs_status_t status, void *argument) RW_UNCHECKED {
    rw_flight_t *flight = argument;
    ropeway_operation_t *operation = flight->operation;

    ucp_request_free(request);
    rw_flight_land(flight);
    account(flight, status);
    if (status != UCS_OK) {
        fail(operation, status);
    }
    rw_nixl_pump(operation);
    rw_operation_settle(operation);
}

/* Takes what a post function returned for a flight that had departed. false: the operation has
 * ended. */
static bool take(rw_flight_t *flight, ucs_status_ptr_t request) RW_LOCKED {
    ropeway_operation_t *operation = flight->operation;

    if (!UCS_PTR_IS_PTR(request)) {
        rw_flight_land(flight);
        account(flight, UCS_PTR_STATUS(request));
        if (request != NULL) {
            fail(operation, UCS_PTR_STATUS(request));
        }
        rw_operation_settle(operation);
    }
    return operation->phase == RW_PHASE_MOVING;
}

static void run_out(ropeway_operation_t *operation, const char *what) RW_LOCKED {
    rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_NO_MEMORY, false,
                     "out of memory for %s", what);
}

static rw_flight_t *make_flight(ropeway_operation_t *operation, size_t length,
                                ucp_request_param_t *param) RW_LOCKED {
    rw_flight_t *flight = rw_flight_take(operation->connector);

    if (flight == NULL) {
        run_out(operation, "a request");
        return NULL;
    }
    flight->operation = operation;
    flight->length = length;
    *param = (ucp_request_param_t){.op_attr_mask =
                                       UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
                                   .cb.send = on_posted,
                                   .user_data = flight};
    return flight;
}

/* The bytes of the next get or put: in the user's memory, or in a buffer of the flight. NULL: out
 * of memory. */
static char *find_place(const ropeway_operation_t *operation, rw_flight_t *flight,
                        bool gathered) RW_LOCKED {
    if (!gathered) {
        return (char *)operation->pieces[operation->cursor].ptr + operation->cursor_offset;
    }
    flight->offset = operation->posted;
    flight->buffer = malloc(flight->length);
    if (flight->buffer != NULL && operation->is_sender) {
        rw_layout_gather(operation, flight->offset, flight->buffer, flight->length);
    }
    return flight->buffer;
}

/* Posts the next get or put. false: the operation has ended. */
static bool post_next(ropeway_operation_t *operation) RW_LOCKED {
    const ropeway_descriptor_t *piece = &operation->pieces[operation->cursor];
    size_t index = rw_layout_descriptor(operation, operation->posted);
    uint64_t remote =
        operation->remote_ptrs[index] + (operation->posted - operation->starts[index]);
    size_t chunk = operation->connector->options.chunk_size;
    /* Small pieces of a descriptor are worth a copy: a get or a put of each takes longer. */
    size_t gathered = rw_layout_gatherable(
        operation, operation->starts[index + 1] - operation->posted, RW_GRAIN_MIN - 1);
    size_t length = gathered > 0 ? gathered : piece->size - operation->cursor_offset;
    ucp_request_param_t param;
    rw_flight_t *flight;
    ucp_rkey_h key;
    char *local;

    length = length < chunk ? length : chunk;
    flight = make_flight(operation, length, &param);
    if (flight == NULL) {
        return false;
    }
    local = find_place(operation, flight, gathered > 0);
    if (local == NULL) {
        rw_flight_give(flight);
        run_out(operation, "a buffer");
        return false;
    }
    key = rw_key_handle(operation->remote_keys[index]);
    param.op_attr_mask |= UCP_OP_ATTR_FIELD_MEMORY_TYPE;
    param.memory_type = rw_ucx_memory_type(piece->device);
    rw_layout_advance(operation, length);
    rw_flight_depart(flight);
    return take(flight,
                operation->is_sender
                    ? ucp_put_nbx(operation->peer->endpoint, local, length, remote, key, &param)
                    : ucp_get_nbx(operation->peer->endpoint, local, length, remote, key, &param));
}

/* Every byte of a write must be in place before the peer is told. */
static bool flush(ropeway_operation_t *operation) RW_LOCKED {
    ucp_request_param_t param;
    rw_flight_t *flight = make_flight(operation, 0, &param);

    operation->all_sent = true;
    if (flight == NULL) {
        return false;
    }
    rw_flight_depart(flight);
    return take(flight, ucp_ep_flush_nbx(operation->peer->endpoint, &param));
}

static bool notify(ropeway_operation_t *operation) RW_LOCKED {
    ucp_request_param_t param;
    rw_flight_t *flight = make_flight(operation, 0, &param);
    size_t length;

    operation->done_sent = true;
    if (flight == NULL) {
        return false;
    }
    flight->buffer = malloc(RW_NOTIFICATION_MAX + 64);
    if (flight->buffer == NULL) {
        rw_flight_give(flight);
        run_out(operation, "the notification");
        return false;
    }
    length =
        rw_serdes_notification(operation->connector->name, operation->remote_name, flight->buffer);
    param.op_attr_mask |= UCP_OP_ATTR_FIELD_FLAGS;
    param.flags = UCP_AM_SEND_FLAG_EAGER;
    rw_flight_depart(flight);
    return take(flight, ucp_am_send_nbx(operation->peer->endpoint, 0, NULL, 0, flight->buffer,
                                        length, &param));
}

/* Whether any bytes are left to post. */
static bool more(ropeway_operation_t *operation) RW_LOCKED {
    rw_layout_advance(operation, 0);
    return operation->cursor < operation->piece_count;
}

static bool has_room(const ropeway_operation_t *operation) RW_LOCKED {
    const ropeway_connector_options_t *options = &operation->connector->options;
    uint64_t own = operation->posted - atomic_load(&operation->done);

    return operation->inflight < PIECES_MAX && own < options->window * options->chunk_size;
}

void rw_nixl_pump(ropeway_operation_t *operation) {
    ropeway_connector_t *connector = operation->connector;

    while (operation->phase == RW_PHASE_MOVING && !operation->peer->failed && more(operation)) {
        if (!has_room(operation)) {
            return;
        }
        if (connector->stats.bytes_inflight >= connector->options.max_inflight) {
            if (rw_list_is_empty(&operation->waiting)) {
                rw_list_append(&connector->starved, &operation->waiting);
            }
            return;
        }
        if (!post_next(operation)) {
            return;
        }
    }
    if (operation->phase != RW_PHASE_MOVING || operation->peer->failed || operation->inflight > 0) {
        return;
    }
    if (operation->is_sender && !operation->all_sent &&
        (!flush(operation) || operation->inflight)) {
        return;
    }
    if (!operation->done_sent && (!notify(operation) || operation->inflight > 0)) {
        return;
    }
    rw_operation_end(operation, ROPEWAY_STATUS_COMPLETE, ROPEWAY_OK, false, " ");
}
