/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads and writes of what stock NIXL peers offer: one-sided gets and puts, and then the
 * notification that tells the peer. A piece that is under way can't be taken back; a cancel stops
 * between pieces and waits for those in flight, and a peer that does not answer has its connection
 * closed by force, like a native one.
 */
#include "base/assert.h"
#include "base/error.h"
#include "nixl/nixl.h"
#include "operation/decide.h"
#include "text/serdes.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PIECES_MAX 64 /* in flight per operation */

/* What is left to do, in this order. */
typedef enum rw_agent_step {
    RW_AGENT_MOVE,   /* bytes are left to post */
    RW_AGENT_FENCE,  /* WRITE: every byte must be in place before the peer is told */
    RW_AGENT_NOTIFY, /* the peer is to be told */
    RW_AGENT_FINISH  /* it is being told */
} rw_agent_step_t;

/* This protocol's part of an operation: operation->side. Guarded by the connector's lock. */
typedef struct rw_agent_side {
    char *key;            /* of the notification; written once */
    uint64_t *addresses;  /* per descriptor, in the agent's memory */
    rw_reach_t **reaches; /* the same, until terminal; NULL: not found yet */
    size_t count;         /* of these */
    rw_cursor_t cursor;   /* what to move next */
    rw_agent_step_t step;
    bool posting; /* a flight is being handed over */
} rw_agent_side_t;

static rw_agent_side_t *side_of(const ropeway_operation_t *operation) {
    return operation->side;
}

/* ---- the beginning ---- */

static bool covers(const rw_region_t *region, const ropeway_descriptor_t *descriptor) {
    uint64_t start = (uint64_t)(uintptr_t)descriptor->ptr;
    uint32_t memory =
        descriptor->device.kind == ROPEWAY_DEVICE_HOST ? RW_MEMORY_DRAM : RW_MEMORY_VRAM;

    return region->memory == memory && start >= region->address &&
           descriptor->size <= region->length &&
           start - region->address <= region->length - descriptor->size;
}

/* Finds the region of each remote descriptor and the way to it. They mostly come in the same order,
 * so the search goes on where the last one ended. */
static ropeway_error_t find_reaches(ropeway_operation_t *operation, rw_peer_t *peer,
                                    const ropeway_metadata_t *metadata,
                                    const rw_region_t *regions) RW_LOCKED {
    rw_agent_side_t *side = side_of(operation);
    size_t count = metadata->region_count, at = 0;

    for (size_t i = 0; i < side->count; i++) {
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
        error = rw_rma.understand(peer, regions[at].key, regions[at].key_length, &side->reaches[i]);
        if (error != ROPEWAY_OK) {
            return error;
        }
        side->addresses[i] = (uint64_t)(uintptr_t)remote->ptr;
    }
    return ROPEWAY_OK;
}

static void let_go(ropeway_operation_t *operation) RW_LOCKED {
    rw_agent_side_t *side = side_of(operation);

    for (size_t i = 0; i < side->count; i++) {
        if (side->reaches[i] != NULL) {
            rw_rma.let_go(side->reaches[i]);
            side->reaches[i] = NULL;
        }
    }
}

static void free_side(void *argument) {
    rw_agent_side_t *side = argument;

    free(side->key);
    free(side->addresses);
    free(side->reaches);
    free(side);
}

static void pump(ropeway_operation_t *operation) RW_LOCKED;

/* A stock peer is told of nothing but completion. */
static void tell(ropeway_operation_t *operation) {
    (void)operation;
}

static bool may_decide(const ropeway_operation_t *operation) {
    return operation->is_sender ? side_of(operation)->step == RW_AGENT_MOVE
                                : side_of(operation)->step != RW_AGENT_FINISH;
}

static const rw_protocol_t agent_protocol = {
    .pump = pump, .tell = tell, .may_decide = may_decide, .release = let_go, .free = free_side};

ropeway_error_t rw_nixl_prepare(ropeway_operation_t *operation,
                                const ropeway_metadata_t *metadata) {
    size_t count = operation->layout.count;
    rw_agent_side_t *side;
    ropeway_error_t error = rw_ucx_load(); /* takes long, and should not with the lock held */

    if (error != ROPEWAY_OK) {
        return error;
    }
    side = calloc(1, sizeof *side);
    if (side == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    operation->protocol = &agent_protocol;
    operation->side = side;
    side->count = count;
    side->key = strdup(metadata->key);
    side->reaches = calloc(count, sizeof *side->reaches);
    side->addresses = calloc(count, sizeof *side->addresses);
    if (side->key == NULL || side->reaches == NULL || side->addresses == NULL) {
        side->count = 0;
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    if ((operation->flags & ROPEWAY_OPERATION_INTEGRITY) != 0) {
        return rw_fail(ROPEWAY_ERR_UNSUPPORTED,
                       "the NIXL agent \"%s\" can't take part in an integrity check; leave "
                       "ROPEWAY_OPERATION_INTEGRITY out",
                       metadata->agent);
    }
    return ROPEWAY_OK;
}

ropeway_error_t rw_nixl_begin(ropeway_operation_t *operation, const ropeway_metadata_t *metadata) {
    rw_region_t *regions = calloc(metadata->region_count + 1, sizeof *regions);
    rw_peer_t *peer = NULL;
    ropeway_error_t error = rw_nixl_open(operation->connector);

    if (error == ROPEWAY_OK && regions == NULL) {
        error = rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    if (error == ROPEWAY_OK) {
        error = rw_nixl_find_peer(operation->connector, metadata->shared, &peer);
    }
    if (error == ROPEWAY_OK) {
        rw_serdes_regions(metadata->blob, metadata->blob_length, regions);
        error = find_reaches(operation, peer, metadata, regions);
    }
    free(regions);
    if (error == ROPEWAY_OK) {
        error = rw_operation_start(operation);
    }
    if (error != ROPEWAY_OK) {
        let_go(operation);
        return error;
    }
    rw_operation_bind(operation, peer, peer->link);
    pump(operation);
    return ROPEWAY_OK;
}

/* ---- the transfer ---- */

/* A flight has ended. */
static void on_piece_done(rw_flight_t *flight, ropeway_error_t error, const char *why) RW_LOCKED {
    ropeway_operation_t *operation = flight->tag;
    rw_peer_t *peer = operation->peer;

    rw_operation_regain(operation, flight);
    if (error == ROPEWAY_OK) {
        if (flight->buffer != NULL && !operation->is_sender && flight->length > 0 &&
            operation->phase == RW_PHASE_MOVING) {
            rw_layout_scatter(&operation->layout, flight->offset, flight->buffer, flight->length);
        }
        rw_operation_count(operation, flight->length);
        peer->heard = true;
        peer->last_heard = operation->last_moved;
    } else {
        rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_PEER_LOST, false,
                         "the transfer with the NIXL agent \"%s\" failed after %llu of %llu bytes: "
                         "%s",
                         peer->name, (unsigned long long)atomic_load(&operation->done),
                         (unsigned long long)operation->layout.total, why);
    }
    rw_flight_give(flight);
    if (!side_of(operation)->posting) { /* else the pump that posted it goes on */
        pump(operation);
        rw_operation_settle(operation);
    }
}

/* NULL: the operation has ended. */
static rw_flight_t *make_flight(ropeway_operation_t *operation) RW_LOCKED {
    rw_flight_t *flight = rw_flight_take(operation->connector);

    if (flight == NULL) {
        rw_operation_run_out(operation, "a request");
        return NULL;
    }
    flight->done = on_piece_done;
    flight->takes_room = true;
    return flight;
}

/* Finds the memory for the next get or put: the user's, or a buffer of the flight. false: out of
 * memory. */
static bool load(ropeway_operation_t *operation, rw_flight_t *flight, rw_cut_t cut) RW_LOCKED {
    const rw_layout_t *layout = &operation->layout;
    const rw_cursor_t *cursor = &side_of(operation)->cursor;

    flight->device = layout->pieces[cursor->piece].device;
    flight->offset = cursor->offset;
    if (!cut.gather) {
        rw_flight_lend(flight, (char *)layout->pieces[cursor->piece].ptr + cursor->within,
                       cut.length);
        return true;
    }
    flight->buffer = malloc(cut.length);
    if (flight->buffer == NULL) {
        return false;
    }
    rw_flight_lend(flight, flight->buffer, cut.length);
    if (operation->is_sender) {
        rw_layout_gather(layout, cursor->offset, flight->buffer, cut.length);
    }
    return true;
}

/* Posts the next get or put. false: the operation has ended. */
static bool move(ropeway_operation_t *operation) RW_LOCKED {
    rw_agent_side_t *side = side_of(operation);
    const rw_layout_t *layout = &operation->layout;
    size_t index = rw_layout_descriptor(layout, side->cursor.offset);
    uint64_t address = side->addresses[index] + (side->cursor.offset - layout->starts[index]);
    rw_cut_t cut = rw_decide_piece(layout, operation->connector->options.chunk_size, &side->cursor);
    rw_flight_t *flight = make_flight(operation);

    if (flight == NULL) {
        return false;
    }
    if (!load(operation, flight, cut)) {
        rw_flight_give(flight);
        rw_operation_run_out(operation, "a buffer");
        return false;
    }
    rw_cursor_advance(&side->cursor, layout, cut.length);
    rw_operation_lend(operation, flight);
    (operation->is_sender ? rw_rma.push : rw_rma.pull)(operation->peer, side->reaches[index],
                                                       address, flight);
    return true;
}

static void fence(ropeway_operation_t *operation) RW_LOCKED {
    rw_flight_t *flight = make_flight(operation);

    if (flight != NULL) {
        rw_operation_lend(operation, flight);
        rw_rma.fence(operation->peer, flight);
    }
}

static void notify(ropeway_operation_t *operation) RW_LOCKED {
    rw_flight_t *flight = make_flight(operation);
    size_t length;

    if (flight == NULL) {
        return;
    }
    flight->buffer = malloc(RW_NOTIFICATION_MAX + 64);
    if (flight->buffer == NULL) {
        rw_flight_give(flight);
        rw_operation_run_out(operation, "the notification");
        return;
    }
    length =
        rw_serdes_notification(operation->connector->name, side_of(operation)->key, flight->buffer);
    rw_flight_lend(flight, flight->buffer, length);
    flight->length = 0; /* none of the operation's bytes */
    rw_operation_lend(operation, flight);
    rw_nixl_notify(operation->peer, flight);
}

static bool has_room(const ropeway_operation_t *operation) RW_LOCKED {
    const ropeway_connector_options_t *options = &operation->connector->options;
    uint64_t own = side_of(operation)->cursor.offset - atomic_load(&operation->done);

    return operation->inflight < PIECES_MAX && own < options->window * options->chunk_size;
}

/* Posts gets or puts as far as the window allows. Whether all are posted. */
static bool move_all(ropeway_operation_t *operation) RW_LOCKED {
    rw_agent_side_t *side = side_of(operation);

    for (;;) {
        rw_cursor_advance(&side->cursor, &operation->layout, 0); /* past pieces without bytes */
        if (side->cursor.piece == operation->layout.piece_count) {
            return true;
        }
        if (!has_room(operation)) {
            return false;
        }
        if (!rw_operation_has_room(operation)) {
            return false;
        }
        if (!move(operation) || operation->phase != RW_PHASE_MOVING) {
            return false;
        }
    }
}

/* One step, if it can be taken. Whether the next one may be. */
static bool step(ropeway_operation_t *operation) RW_LOCKED {
    rw_agent_side_t *side = side_of(operation);

    if (operation->phase != RW_PHASE_MOVING || operation->peer->failed) {
        return false;
    }
    switch (side->step) {
    case RW_AGENT_MOVE:
        if (!move_all(operation) || operation->inflight > 0) {
            return false;
        }
        side->step = operation->is_sender ? RW_AGENT_FENCE : RW_AGENT_NOTIFY;
        return true;
    case RW_AGENT_FENCE:
        side->step = RW_AGENT_NOTIFY;
        fence(operation);
        return operation->inflight == 0;
    case RW_AGENT_NOTIFY:
        side->step = RW_AGENT_FINISH;
        notify(operation);
        return operation->inflight == 0;
    default:
        rw_operation_complete(operation, false);
        return false;
    }
}

/* Goes on as far as it can. */
static void pump(ropeway_operation_t *operation) {
    rw_agent_side_t *side = side_of(operation);

    if (side->posting || (operation->inflight > 0 && side->step != RW_AGENT_MOVE)) {
        return;
    }
    side->posting = true;
    while (step(operation)) {
    }
    side->posting = false;
    rw_operation_settle(operation);
}
