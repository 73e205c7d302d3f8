/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Remote keys of a peer, unpacked once for all regions and operations that have the same one. A key
 * is known by all its bytes, so memory that is registered anew with another key never meets the old
 * one. Keys that no operation uses are kept up to a limit, the least recently used go first.
 */
#ifndef RW_RMA_KEYS_H
#define RW_RMA_KEYS_H

#include "mover/mover.h"

#include <ucp/api/ucp.h>

/* As rw_mover_kind_t's understand() and let_go(). */
ropeway_error_t rw_key_take(rw_peer_t *peer, const uint8_t *description, size_t length,
                            rw_reach_t **reach) RW_LOCKED;
void rw_key_give(rw_reach_t *reach) RW_LOCKED;
ucp_rkey_h rw_key_handle(const rw_reach_t *reach);

#endif
