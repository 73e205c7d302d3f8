/* SPDX-License-Identifier: Apache-2.0 */
/* Flights, and the pool of unused ones. */
#include "link/flight.h"

#include "base/assert.h"
#include "link/link.h"

#include <stdlib.h>

rw_flight_t *rw_flight_take(ropeway_connector_t *connector) {
    struct rw_links *links = connector->links;
    rw_node_t *node = rw_list_take(&links->spare_flights);
    rw_flight_t *flight;

    if (node != NULL) {
        links->spare_count--;
        return RW_CONTAINER(node, rw_flight_t, node);
    }
    flight = calloc(1, sizeof *flight);
    if (flight != NULL) {
        rw_list_init(&flight->node);
        flight->connector = connector;
        flight->pieces = &flight->piece;
        flight->device.kind = ROPEWAY_DEVICE_HOST;
    }
    return flight;
}

void rw_flight_lend(rw_flight_t *flight, void *data, size_t length) {
    flight->count = 1;
    flight->length = length;
    flight->piece = (struct iovec){.iov_base = data, .iov_len = length};
    flight->pieces = &flight->piece;
}

void rw_flight_lend_list(rw_flight_t *flight, struct iovec *list, size_t count, size_t length) {
    rw_assert(count <= RW_FLIGHT_PIECES);
    flight->count = count;
    flight->length = length;
    flight->pieces = flight->list = list;
}

void rw_flight_give(rw_flight_t *flight) {
    struct rw_links *links = flight->connector->links;

    rw_assert(rw_list_is_empty(&flight->node));
    free(flight->buffer);
    free(flight->list);
    if (links->spare_count >= RW_FLIGHT_SPARES) {
        free(flight);
        return;
    }
    flight->buffer = flight->registration = flight->tag = NULL;
    flight->list = NULL;
    flight->loan = 0;
    flight->piece = (struct iovec){0};
    flight->pieces = &flight->piece;
    flight->done = NULL;
    flight->class = RW_CONTROL;
    flight->lends = flight->introduces = flight->to_device = flight->takes_room = false;
    flight->device = (ropeway_device_t){ROPEWAY_DEVICE_HOST, 0};
    flight->offset = flight->length = flight->count = flight->header_length = 0;
    links->spare_count++;
    rw_list_append(&links->spare_flights, &flight->node);
}
