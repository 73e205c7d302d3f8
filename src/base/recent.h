/* SPDX-License-Identifier: Apache-2.0 */
/* The latest ids that ended, and how: what a latecomer who brings one is told. */
#ifndef RW_RECENT_H
#define RW_RECENT_H

#include "base/table.h"
#include "ropeway.h"

typedef struct rw_recent_id {
    uint8_t id[RW_ID_BYTES];
    ropeway_error_t error; /* ROPEWAY_OK: unused */
} rw_recent_id_t;

typedef struct rw_recent {
    rw_recent_id_t *ids;
    size_t capacity, next;
} rw_recent_t;

/* false: out of memory. */
bool rw_recent_init(rw_recent_t *recent, size_t capacity);
void rw_recent_free(rw_recent_t *recent);
/* The oldest one is forgotten for it. error: not ROPEWAY_OK. */
void rw_recent_add(rw_recent_t *recent, const uint8_t id[RW_ID_BYTES], ropeway_error_t error);
/* ROPEWAY_OK: nothing is known of it. */
ropeway_error_t rw_recent_find(const rw_recent_t *recent, const uint8_t id[RW_ID_BYTES]);

#endif
