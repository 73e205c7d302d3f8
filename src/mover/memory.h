/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that the user registered ahead of its use. Operations find it by address. */
#ifndef RW_MEMORY_H
#define RW_MEMORY_H

#include "link/link.h"

struct ropeway_memory {
    /* Written once. */
    ropeway_connector_t *connector;
    ropeway_descriptor_t place;

    rw_node_t node RW_GUARDED;      /* in memories->list */
    unsigned references RW_GUARDED; /* the user's, and one per piece of a live operation */
    bool released RW_GUARDED;       /* new operations must not use it */
    /* With the carrier that wants memory registered, once that has started. NULL: not yet, it could
     * not, or there is none. */
    void *registration RW_GUARDED;
    bool tried RW_GUARDED; /* to register it */
};

/* A connector's registrations. */
struct rw_memories {
    rw_node_t list RW_GUARDED;
};

/* The registrations that an operation's pieces lie in. All zeroes: none. */
typedef struct rw_memory_use {
    ropeway_memory_t **of_piece; /* NULL: no piece lies in any */
    size_t count;
} rw_memory_use_t;

ropeway_error_t rw_memories_open(ropeway_connector_t *connector);
/* Frees the registrations that are left, whoever holds them. */
void rw_memories_end(ropeway_connector_t *connector) RW_LOCKED;
void rw_memories_free(ropeway_connector_t *connector);

/* Registers memory that was checked. Errors: ERR_NO_MEMORY, ERR_TRANSPORT. */
ropeway_error_t rw_memory_add(ropeway_connector_t *connector, const ropeway_descriptor_t *place,
                              ropeway_memory_t **memory) RW_LOCKED;
/* The user lets go of it. */
void rw_memory_release(ropeway_memory_t *memory) RW_LOCKED;

/* Finds the registrations that cover these pieces, and keeps them. Errors: ERR_NO_MEMORY. */
ropeway_error_t rw_memory_use(ropeway_connector_t *connector, const ropeway_descriptor_t *pieces,
                              size_t count, rw_memory_use_t *use) RW_LOCKED;
void rw_memory_unuse(rw_memory_use_t *use) RW_LOCKED;
/* For a flight on a link of this kind; NULL: there is none. */
void *rw_memory_registration(const rw_memory_use_t *use, size_t piece,
                             const rw_link_kind_t *kind) RW_LOCKED;

#endif
