/* SPDX-License-Identifier: Apache-2.0 */
/* A connector's links as a whole: which kind it uses, and what all kinds share. */
#include "base/assert.h"
#include "base/error.h"
#include "link/peer.h"

#include <stdlib.h>
#include <string.h>

#define KINDS_MAX 4

static const rw_link_kind_t *kinds[KINDS_MAX]; /* written by rw_links_add_kind() only */

void rw_links_add_kind(const rw_link_kind_t *kind) {
    size_t place = 0;

    while (place < KINDS_MAX && kinds[place] != NULL) {
        place++;
    }
    rw_assert(place < KINDS_MAX && kind->pieces >= 1 && kind->pieces <= RW_FLIGHT_PIECES);
    kinds[place] = kind;
}

const rw_link_kind_t *rw_links_find_kind(const char *transports) {
    for (size_t i = 0; i < KINDS_MAX && transports != NULL; i++) {
        if (kinds[i] != NULL && strcmp(kinds[i]->name, transports) == 0) {
            return kinds[i];
        }
    }
    return NULL;
}

ropeway_error_t rw_links_open(ropeway_connector_t *connector, const rw_link_kind_t *kind,
                              const rw_link_kind_t *dial, const rw_link_user_t *user) RW_UNCHECKED {
    struct rw_links *links = calloc(1, sizeof *links);

    if (links == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    rw_list_init(&links->spare_flights);
    rw_assert(dial != kind && (dial == NULL || dial->knows_address != NULL));
    links->kind = kind;
    links->dial = dial;
    links->user = user;
    connector->links = links;
    return kind->listen(connector);
}

void rw_links_free(ropeway_connector_t *connector) RW_UNCHECKED {
    struct rw_links *links = connector->links;
    rw_node_t *node;

    if (links == NULL) {
        return;
    }
    if (links->dial_state != NULL) {
        links->dial->end(connector);
    }
    if (links->state != NULL) {
        links->kind->end(connector);
    }
    while ((node = rw_list_take(&links->spare_flights)) != NULL) {
        free(RW_CONTAINER(node, rw_flight_t, node));
    }
    free(links);
    connector->links = NULL;
}

ropeway_error_t rw_links_choose(ropeway_connector_t *connector, const rw_hello_t *hello,
                                const rw_link_kind_t **kind) {
    struct rw_links *links = connector->links;

    *kind = links->kind;
    if (links->dial == NULL || !links->dial->knows_address(hello)) {
        return ROPEWAY_OK;
    }
    *kind = links->dial;
    return links->dial_state != NULL ? ROPEWAY_OK : links->dial->dial(connector);
}

void rw_links_flush(ropeway_connector_t *connector, uint64_t due) {
    struct rw_links *links = connector->links;

    links->kind->flush(connector, due);
    if (links->dial_state != NULL) {
        links->dial->flush(connector, due);
    }
}

void rw_links_settle(ropeway_connector_t *connector, uint64_t due) {
    struct rw_links *links = connector->links;

    if (links->dial_state != NULL) {
        links->dial->settle(connector, due);
    }
    links->kind->settle(connector, due);
}

void rw_link_init(rw_link_t *link, const rw_link_kind_t *kind, rw_peer_t *peer) {
    *link = (rw_link_t){.kind = kind, .peer = peer, .references = 1};
    peer->references++;
}

void rw_link_drop(rw_link_t *link) {
    rw_peer_t *peer = link->peer;

    rw_assert(link->references > 0);
    if (--link->references == 0) {
        free(link);
        rw_peer_drop(peer);
    }
}

const char *rw_link_path(rw_link_t *link) {
    if (link->path[0] == '\0' && link->peer->heard) {
        link->kind->path(link);
    }
    return link->path;
}
