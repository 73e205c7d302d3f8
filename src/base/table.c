/* SPDX-License-Identifier: Apache-2.0 */
/* Buckets of nodes, doubled when they fill. */
#include "base/table.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define FIRST_SIZE 64

static size_t bucket_of(const rw_table_t *table, const uint8_t *id) {
    return (size_t)XXH3_64bits_withSeed(id, RW_ID_BYTES, table->secret) & table->mask;
}

bool rw_table_init(rw_table_t *table) {
    table->buckets = calloc(FIRST_SIZE, sizeof *table->buckets);
    table->mask = FIRST_SIZE - 1;
    table->count = 0;
    randombytes_buf(&table->secret, sizeof table->secret);
    return table->buckets != NULL;
}

void rw_table_free(rw_table_t *table) {
    free(table->buckets);
    table->buckets = NULL;
    table->count = 0;
}

static void grow(rw_table_t *table) {
    rw_table_node_t **old = table->buckets;
    size_t old_size = table->mask + 1;
    rw_table_node_t **fresh = calloc(old_size * 2, sizeof *fresh);

    if (fresh == NULL) {
        return;
    }
    table->buckets = fresh;
    table->mask = old_size * 2 - 1;
    for (size_t i = 0; i < old_size; i++) {
        for (rw_table_node_t *node = old[i], *next; node != NULL; node = next) {
            size_t bucket = bucket_of(table, node->id);

            next = node->next;
            node->next = fresh[bucket];
            fresh[bucket] = node;
        }
    }
    free(old);
}

void rw_table_add(rw_table_t *table, rw_table_node_t *node) {
    size_t bucket;

    if (table->count > table->mask) {
        grow(table);
    }
    bucket = bucket_of(table, node->id);
    node->next = table->buckets[bucket];
    table->buckets[bucket] = node;
    table->count++;
}

rw_table_node_t *rw_table_find(const rw_table_t *table, const uint8_t id[RW_ID_BYTES]) {
    rw_table_node_t *node = table->buckets[bucket_of(table, id)];

    while (node != NULL && sodium_memcmp(node->id, id, RW_ID_BYTES) != 0) {
        node = node->next;
    }
    return node;
}

bool rw_table_remove(rw_table_t *table, rw_table_node_t *node) {
    rw_table_node_t **place = &table->buckets[bucket_of(table, node->id)];

    while (*place != NULL && *place != node) {
        place = &(*place)->next;
    }
    if (*place == NULL) {
        return false;
    }
    *place = node->next;
    node->next = NULL;
    table->count--;
    return true;
}
