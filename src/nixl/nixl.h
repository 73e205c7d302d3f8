/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stock NIXL peers: what they see of us, and reads and writes of what they offer. They get from and
 * put into registered memory by themselves (mover/mover.h), over a second UCX port, whose context
 * has RMA; the first one has none, which is why there are two. It is made when the connector allows
 * such peers (interop), or when an operation is begun on theirs.
 *
 * A stock peer moves the bytes and then sends a notification with the operation's key. That is all
 * that we learn: until it comes the operation is INITIALIZED, whatever the peer does.
 */
#ifndef RW_NIXL_H
#define RW_NIXL_H

#include "link/ucx_port.h"
#include "mover/mover.h"
#include "operation/operation.h"
#include "text/agent.h"
#include "text/metadata.h"

struct rw_nixl {
    rw_ucx_port_t port;
    uint8_t *address; /* written once */
    size_t address_length;
};

/* ---- port.c ---- */

/* Makes the second port, unless it is there. Errors: ERR_NO_MEMORY, ERR_TRANSPORT, ERR_SYSTEM. */
ropeway_error_t rw_nixl_open(ropeway_connector_t *connector) RW_LOCKED;
/* Waits for its links to close, at most until due; then frees it. */
void rw_nixl_close(ropeway_connector_t *connector, uint64_t due) RW_LOCKED;
/* The connection to this agent. Errors: those of rw_peer_get(). */
ropeway_error_t rw_nixl_find_peer(ropeway_connector_t *connector, const rw_agent_blob_t *agent,
                                  rw_peer_t **peer) RW_LOCKED;
/* Whether a connection to this agent would be tried; *peer: the one that there is already, or NULL.
 * Errors: ERR_NO_PATH, ERR_UNREACHABLE. */
ropeway_error_t rw_nixl_foresee(ropeway_connector_t *connector, const rw_agent_blob_t *agent,
                                rw_peer_t **peer) RW_LOCKED;
/* Tells the agent at the other end, by a message of these bytes. done() follows. */
void rw_nixl_notify(rw_peer_t *peer, rw_flight_t *flight) RW_LOCKED;

/* ---- expose.c ---- */

/* Lets stock peers reach a passive operation's memory, and makes its metadata. */
ropeway_error_t rw_nixl_expose(ropeway_operation_t *operation) RW_LOCKED;

/* ---- transfer.c ---- */

/* Gives the operation what this protocol needs. Errors: ERR_NO_MEMORY, ERR_UNSUPPORTED. */
ropeway_error_t rw_nixl_prepare(ropeway_operation_t *operation, const ropeway_metadata_t *metadata);
/* Enters the operation and posts its first bytes. Errors: those of rw_nixl_open(),
 * rw_nixl_find_peer() and rw_operation_start(), ERR_METADATA, ERR_NO_PATH. */
ropeway_error_t rw_nixl_begin(ropeway_operation_t *operation,
                              const ropeway_metadata_t *metadata) RW_LOCKED;

#endif
