/* SPDX-License-Identifier: Apache-2.0 */
/* The port to stock NIXL agents: its notifications, its links, its life. */
#include "base/assert.h"
#include "base/error.h"
#include "link/ucx_kind.h"
#include "nixl/nixl.h"
#include "text/serdes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOTIFICATION_ID 0 /* UCX active message id of NIXL's notifications */

/* ---- notifications ---- */

static ropeway_operation_t *find_offer(ropeway_connector_t *connector, const char *key) RW_LOCKED {
    uint8_t id[RW_KEY_BYTES];
    ropeway_operation_t *operation;

    if (!rw_key_from_text(key, id)) {
        return NULL;
    }
    operation = rw_operation_find(connector, id);
    return operation != NULL && operation->exposure != NULL && operation->phase == RW_PHASE_IDLE
               ? operation
               : NULL;
}

static ucs_status_t on_notification(void *argument, const void *header, size_t header_length,
                                    void *data, size_t length,
                                    const ucp_am_recv_param_t *param) RW_UNCHECKED {
    ropeway_connector_t *connector = argument;
    ropeway_operation_t *operation = NULL;
    char name[256], key[256];

    (void)header, (void)header_length;
    if ((param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) == 0 &&
        rw_serdes_read_notification(data, length, name, key)) {
        operation = find_offer(connector, key);
    }
    if (operation == NULL) {
        connector->stats.messages_dropped++;
        return UCS_OK;
    }
    operation->stock_peer = strdup(name);
    rw_operation_count(operation, operation->layout.total);
    rw_operation_complete(operation, false);
    return UCS_OK;
}

static void end_notification(rw_flight_t *flight, ucs_status_t status) RW_LOCKED {
    flight->done(flight, status == UCS_OK ? ROPEWAY_OK : ROPEWAY_ERR_PEER_LOST,
                 ucs_status_string(status));
}

static void on_notified(void *request, ucs_status_t status, void *argument) RW_UNCHECKED {
    ucp_request_free(request);
    end_notification(argument, status);
}

void rw_nixl_notify(rw_peer_t *peer, rw_flight_t *flight) {
    ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK |
                                                 UCP_OP_ATTR_FIELD_USER_DATA |
                                                 UCP_OP_ATTR_FIELD_FLAGS,
                                 .flags = UCP_AM_SEND_FLAG_EAGER,
                                 .cb.send = on_notified,
                                 .user_data = flight};
    ucs_status_ptr_t request =
        ucp_am_send_nbx(rw_ucx_link(peer->link)->endpoint, NOTIFICATION_ID, NULL, 0,
                        flight->pieces[0].iov_base, flight->pieces[0].iov_len, &param);

    if (!UCS_PTR_IS_PTR(request)) {
        end_notification(flight, UCS_PTR_STATUS(request));
    }
}

/* ---- links ---- */

static ropeway_error_t open_agent_link(rw_peer_t *peer, const rw_hello_t *hello,
                                       rw_link_t **link) RW_LOCKED;

/* An agent's link has no frames: only what peers and paths need. */
static void abandon_nothing(rw_link_t *link, void *tag) {
    (void)link, (void)tag;
}

static const rw_link_kind_t agent_kind = {
    .name = "agent",
    .open = open_agent_link,
    .abandon = abandon_nothing,
    .close = rw_ucx_link_close,
    .path = rw_ucx_link_path,
};

static ropeway_error_t open_agent_link(rw_peer_t *peer, const rw_hello_t *hello, rw_link_t **link) {
    return rw_ucx_link_open(&peer->connector->nixl->port, &agent_kind, peer, hello, link);
}

/* The agent of this name lives at another address now: an idle connection to the old one is of no
 * use. One with operations is left alone: two agents of one name may be alive, and one that is gone
 * is found by UCX or the stall limit. */
static void replace(ropeway_connector_t *connector, const uint8_t id[RW_ID_BYTES],
                    const char *name) RW_LOCKED {
    rw_node_t *used = &connector->peers->used;

    for (rw_node_t *node = used->next, *next; node != used; node = next) {
        rw_peer_t *peer = RW_CONTAINER(node, rw_peer_t, node_used);

        next = node->next;
        if (peer->link->kind == &agent_kind && rw_list_is_empty(&peer->users) &&
            strcmp(peer->name, name) == 0 && memcmp(peer->node.id, id, RW_ID_BYTES) != 0) {
            rw_peer_fail(peer, RW_CLOSE_NOW, ROPEWAY_ERR_PEER_LOST,
                         "it is back under another address");
        }
    }
}

static rw_hello_t make_hello(const rw_agent_blob_t *agent) {
    rw_hello_t hello = {.address = agent->agent.ucx, .address_length = agent->agent.ucx_length};

    snprintf(hello.name, sizeof hello.name, "%s", agent->name);
    return hello;
}

ropeway_error_t rw_nixl_foresee(ropeway_connector_t *connector, const rw_agent_blob_t *agent,
                                rw_peer_t **peer) {
    const rw_hello_t hello = make_hello(agent);
    ropeway_error_t error = rw_peer_foresee(connector, agent->stock_id, &hello, peer);

    return error == ROPEWAY_OK && *peer == NULL ? rw_ucx_link_check(&hello) : error;
}

ropeway_error_t rw_nixl_find_peer(ropeway_connector_t *connector, const rw_agent_blob_t *agent,
                                  rw_peer_t **peer) {
    const rw_hello_t hello = make_hello(agent);

    replace(connector, agent->stock_id, hello.name);
    return rw_peer_get(connector, agent->stock_id, &hello, &agent_kind, peer);
}

/* ---- life ---- */

static ropeway_error_t open_port(ropeway_connector_t *connector, struct rw_nixl *nixl) RW_LOCKED {
    const ropeway_connector_options_t *options = &connector->options;
    /* If they name another kind of link, UCX may choose for itself. */
    const rw_carrier_t *carrier = rw_links_carrier(connector, &rw_ucx_kind);
    bool is_named = carrier != NULL && carrier->is_named;
    rw_ucx_wish_t wish = {.purpose = RW_UCX_STOCK,
                          .transports = is_named ? options->transports : NULL,
                          .net_devices = options->net_devices,
                          .keepalive_ms = options->keepalive_ms};
    ucp_am_handler_param_t handler = {
        .field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_FLAGS |
                      UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG,
        .id = NOTIFICATION_ID,
        .flags = UCP_AM_FLAG_WHOLE_MSG,
        .cb = on_notification,
        .arg = connector};
    ropeway_error_t error = rw_ucx_port_open(&nixl->port, connector, &wish);
    ucs_status_t status;

    if (error != ROPEWAY_OK) {
        return error;
    }
    status = ucp_worker_set_am_recv_handler(nixl->port.worker, &handler);
    error =
        status == UCS_OK
            ? rw_ucx_copy_address(nixl->port.worker, &nixl->address, &nixl->address_length)
            : rw_fail(ROPEWAY_ERR_TRANSPORT, "UCX takes no handler for NIXL's notifications: %s",
                      ucs_status_string(status));
    if (error != ROPEWAY_OK) {
        rw_ucx_port_close(&nixl->port);
    }
    return error;
}

ropeway_error_t rw_nixl_open(ropeway_connector_t *connector) {
    struct rw_nixl *nixl;
    ropeway_error_t error;

    if (connector->nixl != NULL) {
        return ROPEWAY_OK;
    }
    nixl = calloc(1, sizeof *nixl);
    if (nixl == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    error = open_port(connector, nixl);
    if (error != ROPEWAY_OK) {
        free(nixl);
        return error;
    }
    connector->nixl = nixl;
    return ROPEWAY_OK;
}

void rw_nixl_close(ropeway_connector_t *connector, uint64_t due) {
    struct rw_nixl *nixl = connector->nixl;

    if (nixl != NULL) {
        rw_ucx_port_settle(&nixl->port, due);
        rw_ucx_port_close(&nixl->port);
        connector->nixl = NULL;
        free(nixl->address);
        free(nixl);
    }
}
