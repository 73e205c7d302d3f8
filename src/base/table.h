/* SPDX-License-Identifier: Apache-2.0 */
/* Hash table of nodes by a 16-byte random key (operation ids, connector instances). Keys that a
 * peer chose are mixed with a secret, so that nobody can aim them at one bucket. */
#ifndef RW_TABLE_H
#define RW_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RW_ID_BYTES 16

typedef struct rw_table_node {
    struct rw_table_node *next;
    uint8_t id[RW_ID_BYTES];
} rw_table_node_t;

typedef struct rw_table {
    rw_table_node_t **buckets;
    size_t mask; /* buckets - 1 */
    size_t count;
    uint64_t secret;
} rw_table_t;

/* false: out of memory. */
bool rw_table_init(rw_table_t *table);
/* The nodes stay their owners'. */
void rw_table_free(rw_table_t *table);
/* node->id is set by the caller and must not be in the table yet. A table that can't grow gets
 * slow, not wrong. */
void rw_table_add(rw_table_t *table, rw_table_node_t *node);
/* NULL: not there. */
rw_table_node_t *rw_table_find(const rw_table_t *table, const uint8_t id[RW_ID_BYTES]);
/* false: it was not there. */
bool rw_table_remove(rw_table_t *table, rw_table_node_t *node);

#endif
