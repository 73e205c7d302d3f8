/* SPDX-License-Identifier: Apache-2.0 */
/* The mover that is UCX's one-sided gets and puts. */
#include "base/error.h"
#include "link/ucx_port.h"
#include "mover/rma_keys.h"

#include <stdlib.h>

struct rw_grant {
    void *registration;
    void *key; /* packed by UCX */
};

static void withdraw(void *mover, rw_grant_t *grant) RW_LOCKED {
    rw_ucx_port_t *port = mover;

    if (grant->key != NULL) {
        ucp_rkey_buffer_release(grant->key);
    }
    if (grant->registration != NULL) {
        rw_ucx_unmap(port->context, grant->registration);
    }
    free(grant);
}

static ropeway_error_t make_grant(void *mover, const ropeway_descriptor_t *memory,
                                  rw_grant_t **result, const uint8_t **description,
                                  size_t *length) RW_LOCKED {
    rw_ucx_port_t *port = mover;
    rw_grant_t *grant = calloc(1, sizeof *grant);
    ucs_status_t status;
    ropeway_error_t error;

    if (grant == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    error = rw_ucx_map(port->context, memory, &grant->registration);
    if (error == ROPEWAY_OK) {
        status = ucp_rkey_pack(port->context, grant->registration, &grant->key, length);
        if (status != UCS_OK) {
            grant->key = NULL;
            error = rw_fail(ROPEWAY_ERR_TRANSPORT, "UCX can't pack a key for %zu bytes: %s",
                            memory->size, ucs_status_string(status));
        }
    }
    if (error != ROPEWAY_OK) {
        withdraw(mover, grant);
        return error;
    }
    *description = grant->key;
    *result = grant;
    return ROPEWAY_OK;
}

static void end_access(rw_flight_t *flight, ucs_status_t status) RW_LOCKED {
    flight->done(flight, status == UCS_OK ? ROPEWAY_OK : ROPEWAY_ERR_PEER_LOST,
                 ucs_status_string(status));
}

static void on_accessed(void *request, ucs_status_t status, void *argument) RW_UNCHECKED {
    ucp_request_free(request);
    end_access(argument, status);
}

static ucp_request_param_t make_param(rw_flight_t *flight) {
    return (ucp_request_param_t){.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK |
                                                 UCP_OP_ATTR_FIELD_USER_DATA |
                                                 UCP_OP_ATTR_FIELD_MEMORY_TYPE,
                                 .memory_type = rw_ucx_memory_type(flight->device),
                                 .cb.send = on_accessed,
                                 .user_data = flight};
}

static void check_posted(rw_flight_t *flight, ucs_status_ptr_t request) RW_LOCKED {
    if (!UCS_PTR_IS_PTR(request)) {
        end_access(flight, UCS_PTR_STATUS(request));
    }
}

static void pull(rw_peer_t *peer, rw_reach_t *reach, uint64_t address,
                 rw_flight_t *flight) RW_LOCKED {
    ucp_request_param_t param = make_param(flight);

    if (rw_ucx_port_make_fillable(rw_ucx_link(peer->link)->port, flight) != ROPEWAY_OK) {
        end_access(flight, UCS_ERR_NO_MEMORY);
        return;
    }
    check_posted(flight, ucp_get_nbx(rw_ucx_link(peer->link)->endpoint, flight->pieces[0].iov_base,
                                     flight->length, address, rw_key_handle(reach), &param));
}

static void push(rw_peer_t *peer, rw_reach_t *reach, uint64_t address,
                 rw_flight_t *flight) RW_LOCKED {
    ucp_request_param_t param = make_param(flight);

    if (rw_ucx_port_make_sendable(rw_ucx_link(peer->link)->port, flight) != ROPEWAY_OK) {
        end_access(flight, UCS_ERR_NO_MEMORY);
        return;
    }
    check_posted(flight, ucp_put_nbx(rw_ucx_link(peer->link)->endpoint, flight->pieces[0].iov_base,
                                     flight->length, address, rw_key_handle(reach), &param));
}

static void fence(rw_peer_t *peer, rw_flight_t *flight) RW_LOCKED {
    ucp_request_param_t param = {.op_attr_mask =
                                     UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
                                 .cb.send = on_accessed,
                                 .user_data = flight};

    check_posted(flight, ucp_ep_flush_nbx(rw_ucx_link(peer->link)->endpoint, &param));
}

const rw_mover_kind_t rw_rma = {
    .name = "rma",
    .grant = make_grant,
    .withdraw = withdraw,
    .understand = rw_key_take,
    .let_go = rw_key_give,
    .pull = pull,
    .push = push,
    .fence = fence,
};
