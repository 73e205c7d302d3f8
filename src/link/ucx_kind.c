/* SPDX-License-Identifier: Apache-2.0 */
/* The kind of link that goes by UCX's active messages: a port for all peers. */
#include "link/ucx_kind.h"

#include "base/error.h"
#include "link/ucx_am.h"
#include "link/ucx_port.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct rw_ucx {
    rw_ucx_port_t port;
    rw_am_receiver_t receiver;
} rw_ucx_t;

static rw_ucx_t *of(const rw_carrier_t *carrier) RW_LOCKED {
    return carrier->state;
}

/* Where a connector's transports are not UCX's, it may choose. But on a host with RDMA peers come
 * for that, and bytes that an RDMA network does not reach shall not go by TCP in clear. */
static const char *choose_transports(const rw_carrier_t *carrier) RW_LOCKED {
    if (carrier->is_named) {
        return carrier->connector->options.transports;
    }
    return carrier->is_preferred && getenv("UCX_TLS") == NULL ? "^tcp,mm" : NULL;
}

static ropeway_error_t start(rw_carrier_t *carrier) RW_UNCHECKED {
    ropeway_connector_t *connector = carrier->connector;
    const ropeway_connector_options_t *options = &connector->options;
    rw_ucx_wish_t wish = {.purpose = RW_UCX_MESSAGES,
                          .transports = choose_transports(carrier),
                          .net_devices = options->net_devices,
                          .keepalive_ms = options->keepalive_ms};
    rw_ucx_t *ucx = calloc(1, sizeof *ucx);
    ropeway_error_t error;

    if (ucx == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    error = rw_ucx_port_open(&ucx->port, connector, &wish);
    if (error == ROPEWAY_OK) {
        ucx->receiver = (rw_am_receiver_t){.connector = connector,
                                           .kind = &rw_ucx_kind,
                                           .port = &ucx->port,
                                           .worker = ucx->port.worker};
        error = rw_am_listen(&ucx->receiver);
        if (error != ROPEWAY_OK) {
            rw_ucx_port_close(&ucx->port);
        }
    }
    if (error != ROPEWAY_OK) {
        free(ucx);
        return error;
    }
    carrier->state = ucx;
    connector->links->has_cuda = rw_ucx_has_cuda(ucx->port.context);
    return ROPEWAY_OK;
}

static ropeway_error_t copy_address(rw_carrier_t *carrier, uint8_t **address,
                                    size_t *length) RW_UNCHECKED {
    return rw_ucx_copy_address(of(carrier)->port.worker, address, length);
}

/* Which transports it comes to UCX says once it has connected. */
static ropeway_error_t routes(rw_carrier_t *carrier, const rw_hello_t *hello, rw_routes_t *routes) {
    (void)carrier;
    routes->count = 1;
    snprintf(routes->list[0].path, sizeof routes->list[0].path, "%s", rw_ucx_kind.name);
    return rw_ucx_link_check(hello);
}

static ropeway_error_t open_link(rw_peer_t *peer, const rw_hello_t *hello,
                                 rw_link_t **link) RW_LOCKED {
    return rw_ucx_link_open(&of(rw_links_carrier(peer->connector, &rw_ucx_kind))->port,
                            &rw_ucx_kind, peer, hello, link);
}

static ropeway_error_t send_frame(rw_link_t *link, rw_flight_t *flight) RW_LOCKED {
    ropeway_error_t error;

    if (rw_ucx_link(link)->endpoint == NULL) {
        return rw_fail(ROPEWAY_ERR_PEER_LOST, "the connection is closed");
    }
    error = rw_ucx_port_make_sendable(rw_ucx_link(link)->port, flight);
    return error == ROPEWAY_OK ? rw_am_send(rw_ucx_link(link)->endpoint, flight) : error;
}

static ropeway_error_t refuse(ropeway_connector_t *connector, void *reply,
                              rw_flight_t *flight) RW_LOCKED {
    (void)connector;
    return rw_am_send(reply, flight);
}

/* UCX gives nothing back before its time. */
static void abandon(rw_link_t *link, void *tag) {
    (void)link, (void)tag;
}

static bool came_from(const rw_link_t *link, const void *reply) RW_LOCKED {
    return ((const rw_ucx_link_t *)link)->endpoint == reply;
}

static void settle(rw_carrier_t *carrier, uint64_t due) RW_LOCKED {
    rw_ucx_port_settle(&of(carrier)->port, due);
}

static ropeway_error_t register_memory(rw_carrier_t *carrier, const ropeway_descriptor_t *memory,
                                       void **registration) RW_LOCKED {
    if (!rw_ucx_port_takes(&of(carrier)->port, memory)) {
        *registration = NULL; /* it goes by copies */
        return ROPEWAY_OK;
    }
    return rw_ucx_map(of(carrier)->port.context, memory, registration);
}

static void unregister_memory(rw_carrier_t *carrier, void *registration) RW_LOCKED {
    rw_ucx_unmap(of(carrier)->port.context, registration);
}

static void end(rw_carrier_t *carrier) RW_UNCHECKED {
    rw_ucx_t *ucx = carrier->state;

    rw_ucx_port_close(&ucx->port);
    free(ucx);
}

const rw_link_kind_t rw_ucx_kind = {
    .name = "ucx",
    .done_early = true,
    .load = rw_ucx_load,
    .start = start,
    .address = copy_address,
    .routes = routes,
    .open = open_link,
    .send = send_frame,
    .refuse = refuse,
    .came_from = came_from,
    .abandon = abandon,
    .close = rw_ucx_link_close,
    .path = rw_ucx_link_path,
    .settle = settle,
    .register_memory = register_memory,
    .unregister_memory = unregister_memory,
    .end = end,
};
