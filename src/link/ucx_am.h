/* SPDX-License-Identifier: Apache-2.0 */
/* Frames as UCX active messages: the header is a frame's header, the data its payload. */
#ifndef RW_UCX_AM_H
#define RW_UCX_AM_H

#include "link/ucx_port.h"

/* Whose messages a worker takes. */
typedef struct rw_am_receiver {
    ropeway_connector_t *connector;
    const rw_link_kind_t *kind; /* frames come by it */
    const rw_ucx_port_t *port;
    ucp_worker_h worker;
} rw_am_receiver_t;

/* Errors: ERR_TRANSPORT. */
ropeway_error_t rw_am_listen(rw_am_receiver_t *receiver);

/* As rw_link_kind_t's send(). */
ropeway_error_t rw_am_send(ucp_ep_h endpoint, rw_flight_t *flight) RW_LOCKED;

#endif
