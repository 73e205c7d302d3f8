/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every layer shares of a connector: its options, lock, timers, descriptors to wait for, and
 * statistics. Each layer above hangs a part of its own here, whose shape only that layer knows;
 * api/connect.c makes and frees them in order.
 *
 * Lock rules (docs/design.md tells why):
 *  - One lock per connector. It guards whatever belongs to the connector and is neither RW_GUARDED
 *    by something else, nor atomic, nor said to be written once.
 *  - UCX's callbacks run inside ucp_worker_progress() and post functions, so they hold that lock.
 *  - The user's callbacks run with no lock held; only the log callback may run under it.
 *  - Nothing that can block is done under the lock, except UCX itself.
 *
 * References: a connector is freed when it is destroyed and its last operation is freed.
 */
#ifndef RW_CONNECTOR_H
#define RW_CONNECTOR_H

#include "base/env.h"
#include "base/events.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/table.h"
#include "base/timer.h"
#include "ropeway.h"

#include <stdatomic.h>

struct ropeway_connector {
    /* Written once, at creation. */
    ropeway_connector_options_t options;
    char name[256];
    uint8_t instance[RW_ID_BYTES];                /* random */
    unsigned generation;                          /* of the process; see rw_process_generation() */
    void (*free)(ropeway_connector_t *connector); /* with everything that the layers have made */

    rw_node_t logging; /* guarded by log.c */
    /* Stock peers were to come if there is a UCX, and there is none. */
    atomic_bool without_stock;

    rw_lock_t lock;
    unsigned references RW_GUARDED; /* operations not freed, and 1 until destroyed */
    bool closed RW_GUARDED;         /* destroy has begun */
    rw_timers_t timers RW_GUARDED;
    ropeway_stats_t stats RW_GUARDED;
    rw_events_t events; /* what its descriptors guard is guarded there */

    /* The layers' parts: the pointers are written once, at creation, unless said otherwise. */
    struct rw_agents *agents;         /* text/agent.h; with a lock of its own */
    struct rw_progress *progress;     /* link/progress.h */
    struct rw_links *links;           /* link/link.h */
    struct rw_peers *peers;           /* link/peer.h */
    struct rw_memories *memories;     /* mover/memory.h */
    struct rw_operations *operations; /* operation/operation.h */
    struct rw_native *native;         /* native/native.h */
    struct rw_nixl *nixl RW_GUARDED;  /* nixl/nixl.h; NULL until it is needed */
};

/* ROPEWAY_OK with the lock taken, or the error of a null, forked or closed connector without it. */
ropeway_error_t rw_connector_enter(ropeway_connector_t *connector);
/* Gives the lock back, and frees the connector if nothing refers to it any more. */
void rw_connector_leave(ropeway_connector_t *connector) RW_ANNOTATE(release_capability(rw_holder));
/* ERR_FORKED when the connector belongs to the parent process, else ROPEWAY_OK. */
ropeway_error_t rw_connector_check_process(const ropeway_connector_t *connector);

#endif
