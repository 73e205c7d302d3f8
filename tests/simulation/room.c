/* SPDX-License-Identifier: Apache-2.0 */
/* What is held against the room in flight: nobody has more than his share of it, and nobody waits
 * for what is there. src/operation/room.c tells whose it is. */
#include "simulation.h"

#include "base/connector.h"
#include "link/peer.h"
#include "operation/operation.h"

/* A peer's last flight began when it had no more than the others left, so at most half of all. */
static void check_share(const ropeway_connector_t *connector, const rw_peer_t *peer) RW_UNCHECKED {
    const ropeway_connector_options_t *options = &connector->options;

    if (peer->inflight > options->max_inflight / 2 + options->chunk_size) {
        sim_fail("the peer \"%s\" has %llu bytes in flight, and all may have %llu", peer->name,
                 (unsigned long long)peer->inflight, (unsigned long long)options->max_inflight);
    }
}

static void check_need(const ropeway_connector_t *connector, const rw_peer_t *peer) RW_UNCHECKED {
    uint64_t max = connector->options.max_inflight, used = connector->operations->inflight;
    uint64_t left = used < max ? max - used : 0;

    if (peer->inflight == 0 || (left > 0 && peer->inflight <= left)) {
        sim_fail("the peer \"%s\" waits for room with %llu bytes in flight, and %llu are free",
                 peer->name, (unsigned long long)peer->inflight, (unsigned long long)left);
    }
}

void sim_check_room(const ropeway_connector_t *connector) RW_UNCHECKED {
    const struct rw_operations *operations = connector->operations;
    const rw_node_t *used = &connector->peers->used, *starved = &operations->starved;

    for (const rw_node_t *node = used->next; node != used; node = node->next) {
        check_share(connector, RW_CONTAINER(node, const rw_peer_t, node_used));
    }
    if (operations->has_new_room) {
        return; /* the next step looks at who waits */
    }
    for (const rw_node_t *node = starved->next; node != starved; node = node->next) {
        check_need(connector, RW_CONTAINER(node, const rw_peer_t, node_starved));
    }
}
