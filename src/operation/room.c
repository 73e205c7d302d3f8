/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room in flight: how many bytes a connector has under way at a time (max_inflight), and whose. A
 * peer may have as much as all peers leave free (the dynamic thresholds of shared switch buffers),
 * and always one chunk: so one peer alone has half of it, and what went to peers that take nothing,
 * however many they are, keeps no other waiting. What comes in does not count: who sends decides
 * when. Operations wait in a line of their peer, and the peers whose operations wait take turns.
 */
#include "operation/operation.h"

#include "base/assert.h"

static bool has_room(const rw_peer_t *peer) RW_LOCKED {
    const ropeway_connector_t *connector = peer->connector;
    uint64_t max = connector->options.max_inflight, used = connector->operations->inflight;

    return peer->inflight == 0 || (used < max && peer->inflight <= max - used);
}

bool rw_operation_list_pieces(const ropeway_operation_t *operation, uint64_t offset, size_t length,
                              rw_flight_t *flight) {
    size_t count;
    struct iovec *list = rw_layout_list(&operation->layout, offset, length, &count);

    if (list != NULL) {
        rw_flight_lend_list(flight, list, count, length);
    }
    return list != NULL;
}

void rw_operation_lend(ropeway_operation_t *operation, rw_flight_t *flight) {
    rw_assert(operation->phase != RW_PHASE_TERMINAL);
    flight->tag = operation;
    operation->inflight++;
    operation->connector->stats.bytes_inflight += flight->length;
    if (flight->takes_room) {
        operation->peer->inflight += flight->length;
        operation->connector->operations->inflight += flight->length;
    }
}

void rw_operation_regain(ropeway_operation_t *operation, rw_flight_t *flight) {
    struct rw_operations *operations = operation->connector->operations;

    rw_assert(operation->inflight > 0 && flight->tag == operation);
    operation->inflight--;
    operation->connector->stats.bytes_inflight -= flight->length;
    if (flight->takes_room) {
        rw_assert(operation->peer->inflight >= flight->length);
        operation->peer->inflight -= flight->length;
        operations->inflight -= flight->length;
        operations->has_new_room = true;
    }
}

void rw_operation_starve(ropeway_operation_t *operation) {
    struct rw_operations *operations = operation->connector->operations;
    rw_peer_t *peer = operation->peer;

    if (!rw_list_is_empty(&operation->starved)) {
        return;
    }
    if (rw_list_is_empty(&peer->starved)) {
        rw_list_append(&operations->starved, &peer->node_starved);
        operations->starved_count++;
    }
    rw_list_append(&peer->starved, &operation->starved);
}

void rw_operation_sate(ropeway_operation_t *operation) {
    struct rw_operations *operations = operation->connector->operations;

    if (rw_list_is_empty(&operation->starved)) {
        return;
    }
    rw_list_remove(&operation->starved);
    if (rw_list_is_empty(&operation->peer->starved)) {
        rw_list_remove(&operation->peer->node_starved);
        operations->starved_count--;
    }
}

bool rw_operation_has_room(ropeway_operation_t *operation) {
    if (has_room(operation->peer)) {
        return true;
    }
    rw_operation_starve(operation);
    return false;
}

void rw_operations_feed(ropeway_connector_t *connector) {
    struct rw_operations *operations = connector->operations;
    size_t refused = 0; /* peers in a row */

    if (!operations->has_new_room) {
        return;
    }
    operations->has_new_room = false;
    while (refused < operations->starved_count) {
        rw_node_t *node = rw_list_take(&operations->starved);
        rw_peer_t *peer = RW_CONTAINER(node, rw_peer_t, node_starved);
        ropeway_operation_t *operation =
            RW_CONTAINER(peer->starved.next, ropeway_operation_t, starved);

        rw_list_append(&operations->starved, node);
        if (!has_room(peer)) {
            refused++;
            continue;
        }
        refused = 0;
        rw_operation_sate(operation);
        operation->protocol->pump(operation);
    }
}
