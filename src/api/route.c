/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a peer would be reached: ropeway_connector_route(). It asks those who decide for an operation
 * (text/metadata.h, native/choose.c, a link kind's routes()), in the same order, and does nothing
 * that they have decided; only UCX is loaded where an operation would, to see whether it can be.
 */
#include "api/route.h"
#include "base/error.h"
#include "base/rdma.h"
#include "link/ucx_kind.h"
#include "nixl/nixl.h"
#include "text/agent.h"
#include "text/descriptor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- ways ---- */

static void set_error(rw_report_t *report, ropeway_error_t error) {
    if (error != ROPEWAY_OK && report->error == ROPEWAY_OK) {
        report->error = error;
        snprintf(report->sentence, sizeof report->sentence, "%s", ropeway_last_error());
    }
}

static const char *mover_of(const rw_link_kind_t *kind, const rw_route_t *route) {
    return route->pulls ? "pull" : kind->pushes ? "push" : "rendezvous";
}

static rw_way_t *add_way(rw_report_t *report, const rw_link_kind_t *kind, const rw_route_t *route) {
    rw_way_t *way = &report->ways[report->count++];

    *way = (rw_way_t){.link = kind->name,
                      .mover = mover_of(kind, route),
                      .refused = route->refused != NULL,
                      .is_encrypted = route->is_encrypted};
    snprintf(way->path, sizeof way->path, "%s", route->path);
    snprintf(way->why, sizeof way->why, "%s", route->refused != NULL ? route->refused : "");
    return way;
}

/* There is a connection, or there can be one as far as that shows. */
static void take_peer(rw_report_t *report, rw_peer_t *peer, ropeway_error_t error) RW_LOCKED {
    set_error(report, error);
    report->is_connected = peer != NULL;
    if (peer != NULL) {
        snprintf(report->connection, sizeof report->connection, "%s", rw_link_path(peer->link));
    }
}

/* What a kind that tells no routes has to say. */
static ropeway_error_t tell_one(rw_carrier_t *carrier, rw_routes_t *routes) {
    routes->count = 1;
    snprintf(routes->list[0].path, sizeof routes->list[0].path, "%s", carrier->kind->name);
    return ROPEWAY_OK;
}

/* The places where this carrier would connect to. why: for the first one that is tried. */
static void add_routes(rw_report_t *report, rw_carrier_t *carrier, const char *why,
                       bool asks) RW_LOCKED {
    rw_routes_t *routes = &report->routes;
    bool first = true;
    ropeway_error_t error = carrier->kind->routes != NULL
                                ? carrier->kind->routes(carrier, &report->hello, routes)
                                : tell_one(carrier, routes);

    if (!report->is_connected) {
        set_error(report, error);
    }
    for (size_t i = 0; i < routes->count; i++) {
        rw_way_t *way = add_way(report, carrier->kind, &routes->list[i]);

        way->asks = asks;
        if (!way->refused) {
            snprintf(way->why, sizeof way->why, "%s",
                     first ? why : "if none of those before it can be reached");
            first = false;
        }
    }
}

/* ---- peers that speak our protocol ---- */

/* Loads UCX if it is that, and was not needed before. */
static ropeway_error_t load(rw_report_t *report, const rw_carrier_t *carrier) RW_LOCKED {
    report->needs_ucx |= carrier->kind->load != NULL;
    return carrier->state == NULL && carrier->kind->load != NULL ? carrier->kind->load()
                                                                 : ROPEWAY_OK;
}

static const char *why_other(const rw_report_t *report) {
    return rw_report_is_device(report) ? "only UCX moves memory of a device"
           : rw_native_needs_other(report->connector, false)
               ? "the option transports names UCX's"
               : "an RDMA network is up here, and the peer is on another host; the peer is asked "
                 "inside the stream how UCX reaches it";
}

static const char *why_not_other(const rw_report_t *report, const rw_carrier_t *other) RW_LOCKED {
    const struct rw_links *links = report->connector->links;

    if (other == NULL) {
        return links->first.is_named
                   ? "the option transports names only what moves host memory"
                   : "the option encryption is \"required\", and UCX does not encrypt";
    }
    if (rw_watch_is_near(report->connector, &report->hello)) {
        return "streams move host memory to and from peers on this host";
    }
    return rw_rdma_is_up(RW_RDMA_FOLDER, "all")
               ? "no RDMA network is up here that net_devices and UCX_NET_DEVICES allow, or UCX "
                 "could not be used"
               : "no RDMA network is up here, and streams move host memory";
}

/* Why the carrier for devices can't be used, as a sentence or a phrase; NULL: it can, if the peer
 * says so as well. */
static const char *refuse_other(rw_report_t *report, const rw_carrier_t *other, bool needed,
                                const rw_peer_t *peer) RW_LOCKED {
    bool is_refused = peer != NULL && peer->other_known && peer->other_length == 0;
    ropeway_error_t error = ROPEWAY_OK;

    if (is_refused && !needed) {
        return "the peer has said that UCX does not reach it";
    }
    error = other == NULL || is_refused
                ? rw_native_refuse_way(report->hello.name, rw_report_is_device(report))
                : load(report, other);
    if (needed) {
        set_error(report, error);
    }
    return error != ROPEWAY_OK ? ropeway_last_error() : NULL;
}

/* The carrier for devices, by which the peer would be reached if it says how. Whether it can be
 * used. */
static bool add_other(rw_report_t *report, bool needed, const rw_peer_t *peer) RW_LOCKED {
    rw_carrier_t *other = rw_links_for_devices(report->connector);
    const rw_route_t route = {.path = "ucx", .refused = refuse_other(report, other, needed, peer)};
    rw_way_t *way = add_way(report, other != NULL ? other->kind : &rw_ucx_kind, &route);

    if (!way->refused) {
        snprintf(way->why, sizeof way->why, "%s", why_other(report));
    }
    return !way->refused;
}

static void add_not_other(rw_report_t *report) RW_LOCKED {
    rw_carrier_t *other = rw_links_for_devices(report->connector);
    rw_route_t route = {.path = "ucx", .refused = why_not_other(report, other)};

    add_way(report, other != NULL ? other->kind : &rw_ucx_kind, &route);
}

static const char *why_stream(const rw_report_t *report) {
    return rw_watch_is_near(report->connector, &report->hello)
               ? "the peer is on this host"
               : "it is the first address that the peer offers";
}

static void describe_native(rw_report_t *report) RW_LOCKED {
    ropeway_connector_t *connector = report->connector;
    const rw_trip_t trip = {.connector = connector,
                            .hello = &report->hello,
                            .device_here = rw_report_is_device(report),
                            .device_there = rw_metadata_any_device(report->metadata)};
    rw_choice_t choice;
    rw_peer_t *peer;
    ropeway_error_t error;
    bool needed = rw_native_needs_other(connector, rw_report_is_device(report));

    set_error(report, rw_native_choose(&trip, &choice));
    error = rw_peer_foresee(connector, report->id, &report->hello, &peer);
    take_peer(report, peer, error);
    if (!choice.carrier->kind->host_only) {
        if (report->error == ROPEWAY_OK) {
            set_error(report, load(report, choice.carrier));
        }
        add_routes(report, choice.carrier, "the peer's metadata leads to UCX", false);
        return;
    }
    if (choice.wants_other && add_other(report, needed, peer)) {
        add_routes(report, choice.carrier,
                   needed ? "the peer is asked here how UCX reaches it"
                          : "if UCX does not reach the peer, which is asked here",
                   needed);
        return;
    }
    add_routes(report, choice.carrier, why_stream(report), false);
    if (!choice.wants_other) {
        add_not_other(report);
    }
}

/* ---- stock peers ---- */

static rw_way_t *add_stock(rw_report_t *report, const char *why) {
    rw_way_t *way = &report->ways[report->count++];

    *way = (rw_way_t){.link = "agent", .mover = "rma", .path = "ucx"};
    snprintf(way->why, sizeof way->why, "%s", why);
    return way;
}

static void describe_stock(rw_report_t *report) RW_LOCKED {
    rw_peer_t *peer;
    ropeway_error_t error = rw_nixl_foresee(report->connector, report->metadata->shared, &peer);

    take_peer(report, peer, error);
    add_stock(report, "the peer is a stock NIXL agent, whose memory UCX reads and writes");
}

static void describe(rw_report_t *report) RW_LOCKED {
    set_error(report, rw_device_foresee(report->connector, report->device));
    if (report->error != ROPEWAY_OK) {
        return;
    }
    if (report->speech == RW_SPEECH_STOCK) {
        describe_stock(report);
        return;
    }
    describe_native(report);
    if (report->metadata->ucx != NULL) {
        add_stock(report, "the peer speaks Ropeway's own protocol")->refused = true;
    }
}

/* ---- the function ---- */

/* How the peer is spoken to: its hello, or UCX. */
static ropeway_error_t read_peer(rw_report_t *report) {
    const ropeway_metadata_t *metadata = report->metadata;
    ropeway_error_t error = rw_metadata_choose(metadata, &report->speech);

    memcpy(report->id, metadata->shared->stock_id, sizeof report->id);
    if (metadata->native != NULL) {
        rw_hello_id(metadata->native, metadata->native_length, report->id);
    }
    if (error == ROPEWAY_OK && report->speech == RW_SPEECH_STOCK) {
        report->needs_ucx = true;
        error = rw_ucx_load(); /* takes long, and should not with the lock held */
    } else if (error == ROPEWAY_OK) {
        error = rw_native_read_hello(metadata, &report->hello);
        report->has_hello = error == ROPEWAY_OK;
    }
    return error;
}

static ropeway_error_t report_route(rw_report_t *report, const char *text, size_t length,
                                    char **json) RW_UNCHECKED {
    ropeway_connector_t *connector = report->connector;
    ropeway_error_t error = rw_connector_enter(connector);

    if (error != ROPEWAY_OK) {
        return error;
    }
    connector->references++; /* it stays while we read without its lock */
    rw_unlock(&connector->lock);
    error = rw_metadata_parse(text, length, connector->options.max_metadata, connector->agents,
                              &report->metadata);
    if (error == ROPEWAY_OK) {
        set_error(report, read_peer(report));
    }
    rw_lock(&connector->lock);
    if (error == ROPEWAY_OK && connector->closed) {
        error = rw_fail(ROPEWAY_ERR_CLOSED, "the connector \"%s\" is closed", connector->name);
    }
    if (error == ROPEWAY_OK && report->error == ROPEWAY_OK) {
        describe(report);
    }
    if (error == ROPEWAY_OK) {
        *json = rw_report_write(report);
        error = *json != NULL ? ROPEWAY_OK : rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    connector->references--;
    rw_connector_leave(connector);
    ropeway_metadata_release(report->metadata);
    return error;
}

ropeway_error_t ropeway_connector_route(ropeway_connector_t *connector, const char *metadata,
                                        size_t length, ropeway_device_t device, char **json) {
    rw_report_t *report;
    ropeway_error_t error;

    if (json == NULL || metadata == NULL) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                       "the metadata and the place for the text must not be null");
    }
    *json = NULL;
    report = calloc(1, sizeof *report);
    if (report == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    report->connector = connector;
    report->device = rw_device_meant(device);
    error = report_route(report, metadata, length, json);
    free(report);
    return error;
}
