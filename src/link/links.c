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
    rw_assert(place < KINDS_MAX);
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

rw_carrier_t *rw_links_carrier(const ropeway_connector_t *connector, const rw_link_kind_t *kind) {
    struct rw_links *links = connector->links;

    return links->first.kind == kind    ? &links->first
           : links->second.kind == kind ? &links->second
                                        : NULL;
}

rw_carrier_t *rw_links_for_devices(const ropeway_connector_t *connector) {
    struct rw_links *links = connector->links;

    if (!links->first.kind->host_only) {
        return &links->first;
    }
    return links->second.kind != NULL && !links->second.kind->host_only ? &links->second : NULL;
}

ropeway_error_t rw_links_need(rw_carrier_t *carrier) {
    return carrier->state != NULL ? ROPEWAY_OK : carrier->kind->start(carrier);
}

ropeway_error_t rw_links_open(ropeway_connector_t *connector, const rw_carrier_t *first,
                              const rw_carrier_t *second, const rw_link_user_t *user) RW_UNCHECKED {
    struct rw_links *links = calloc(1, sizeof *links);

    if (links == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    rw_assert(first->kind != NULL && first->kind != second->kind);
    rw_list_init(&links->spare_flights);
    links->first = *first;
    links->second = *second;
    links->first.connector = links->second.connector = connector;
    links->user = user;
    connector->links = links;
    return rw_links_need(&links->first);
}

static void end(rw_carrier_t *carrier) RW_UNCHECKED {
    if (carrier->state != NULL) {
        carrier->kind->end(carrier);
        carrier->state = NULL;
    }
    free(carrier->hello);
    carrier->hello = NULL;
}

void rw_links_free(ropeway_connector_t *connector) RW_UNCHECKED {
    struct rw_links *links = connector->links;
    rw_node_t *node;

    if (links == NULL) {
        return;
    }
    end(&links->second);
    end(&links->first);
    while ((node = rw_list_take(&links->spare_flights)) != NULL) {
        free(RW_CONTAINER(node, rw_flight_t, node));
    }
    free(links);
    connector->links = NULL;
}

static bool is_for(const rw_carrier_t *carrier, const rw_hello_t *hello) {
    return carrier->kind != NULL && carrier->kind->knows_address != NULL &&
           carrier->kind->knows_address(hello);
}

/* Whether it takes the addresses that no other kind knows. */
static bool takes_others(const rw_carrier_t *carrier) {
    return carrier->kind != NULL && carrier->kind->knows_address == NULL;
}

rw_carrier_t *rw_links_choose(const ropeway_connector_t *connector, const rw_hello_t *hello) {
    rw_carrier_t *first = &connector->links->first, *second = &connector->links->second;

    if (is_for(first, hello) || is_for(second, hello)) {
        return is_for(first, hello) ? first : second;
    }
    return !takes_others(first) && takes_others(second) ? second : first;
}

static void unlisten(rw_carrier_t *carrier) RW_LOCKED {
    if (carrier->state != NULL && carrier->kind->unlisten != NULL) {
        carrier->kind->unlisten(carrier);
    }
}

void rw_links_unlisten(ropeway_connector_t *connector) {
    unlisten(&connector->links->first);
    unlisten(&connector->links->second);
}

void rw_links_settle(ropeway_connector_t *connector, uint64_t due) {
    struct rw_links *links = connector->links;

    if (links->second.state != NULL) {
        links->second.kind->settle(&links->second, due);
    }
    links->first.kind->settle(&links->first, due);
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
