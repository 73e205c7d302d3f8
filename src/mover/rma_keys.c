/* SPDX-License-Identifier: Apache-2.0 */
/* A peer's remote keys, found again and forgotten. */
#include "mover/rma_keys.h"

#include "base/assert.h"
#include "base/error.h"
#include "link/ucx_port.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_MAX 1024 /* unused keys that are kept per peer */

typedef struct rw_keys rw_keys_t;

struct rw_reach {
    rw_table_node_t node; /* node.id: hash of the packed key */
    rw_node_t list;       /* in keys->idle while unused, else in keys->in_use */
    rw_keys_t *keys;      /* NULL: the peer is gone */
    unsigned references;  /* one per descriptor that uses it */
    ucp_rkey_h handle;
    size_t length;
    uint8_t bytes[]; /* the packed key, and what UCX wants behind it */
};

struct rw_keys {
    rw_table_t table;
    rw_node_t idle;   /* least recently used first */
    rw_node_t in_use; /* the others */
    size_t idle_count;
    rw_reach_t *latest; /* most descriptors have the key of the one before */
};

static rw_keys_t *new_keys(void) {
    rw_keys_t *keys = calloc(1, sizeof *keys);

    if (keys != NULL && !rw_table_init(&keys->table)) {
        free(keys);
        return NULL;
    }
    if (keys != NULL) {
        rw_list_init(&keys->idle);
        rw_list_init(&keys->in_use);
    }
    return keys;
}

static void destroy(rw_reach_t *key) {
    ucp_rkey_destroy(key->handle);
    free(key);
}

/* Keys in use live on until they are given back. */
static void free_keys(void *argument) {
    rw_keys_t *keys = argument;
    rw_node_t *link;

    while ((link = rw_list_take(&keys->idle)) != NULL) {
        destroy(RW_CONTAINER(link, rw_reach_t, list));
    }
    while ((link = rw_list_take(&keys->in_use)) != NULL) {
        RW_CONTAINER(link, rw_reach_t, list)->keys = NULL;
    }
    rw_table_free(&keys->table);
    free(keys);
}

static void use(rw_keys_t *keys, rw_reach_t *key) {
    if (key->references++ == 0) {
        keys->idle_count--;
        rw_list_remove(&key->list);
        rw_list_append(&keys->in_use, &key->list);
    }
    keys->latest = key;
}

static void evict(rw_keys_t *keys) {
    rw_reach_t *key = RW_CONTAINER(rw_list_take(&keys->idle), rw_reach_t, list);

    keys->idle_count--;
    rw_table_remove(&keys->table, &key->node);
    if (keys->latest == key) {
        keys->latest = NULL;
    }
    destroy(key);
}

void rw_key_give(rw_reach_t *key) {
    rw_keys_t *keys = key->keys;

    if (--key->references > 0) {
        return;
    }
    if (keys == NULL) {
        destroy(key);
        return;
    }
    rw_list_remove(&key->list);
    rw_list_append(&keys->idle, &key->list);
    if (++keys->idle_count > IDLE_MAX) {
        evict(keys);
    }
}

ucp_rkey_h rw_key_handle(const rw_reach_t *key) {
    return key->handle;
}

static ropeway_error_t refuse(rw_peer_t *peer, const char *why) RW_LOCKED {
    return rw_fail(ROPEWAY_ERR_NO_PATH,
                   "a remote key of the NIXL agent \"%s\" (UCX %s there, %s here) can't be used: "
                   "%s; use the same UCX release and a common transport on both sides",
                   peer->name, rw_ucx_link(peer->link)->release, ropeway_ucx_version(), why);
}

/* Makes the key, in use once. */
static ropeway_error_t unpack(rw_peer_t *peer, const uint8_t *description, size_t length,
                              const uint8_t id[RW_ID_BYTES], rw_reach_t **result) RW_LOCKED {
    rw_keys_t *keys = peer->keys;
    rw_reach_t *key;
    const char *wrong;
    ucs_status_t status;

    if (!rw_ucx_key_check(description, length, &wrong)) {
        return refuse(peer, wrong);
    }
    key = calloc(1, sizeof *key + length + RW_UCX_KEY_PAD);
    if (key == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    memcpy(key->bytes, description, length);
    memset(key->bytes + length, RW_UCX_KEY_END, RW_UCX_KEY_PAD);
    status = ucp_ep_rkey_unpack(rw_ucx_link(peer->link)->endpoint, key->bytes, &key->handle);
    if (status != UCS_OK) {
        free(key);
        return refuse(peer, ucs_status_string(status));
    }
    memcpy(key->node.id, id, RW_ID_BYTES);
    key->length = length;
    key->keys = keys;
    key->references = 1;
    rw_table_add(&keys->table, &key->node);
    rw_list_append(&keys->in_use, &key->list);
    keys->latest = key;
    *result = key;
    return ROPEWAY_OK;
}

/* NULL: out of memory. */
static rw_keys_t *find_keys(rw_peer_t *peer) RW_LOCKED {
    if (peer->keys == NULL) {
        peer->keys = new_keys();
        peer->free_keys = free_keys;
    }
    return peer->keys;
}

ropeway_error_t rw_key_take(rw_peer_t *peer, const uint8_t *description, size_t length,
                            rw_reach_t **result) {
    rw_keys_t *keys = find_keys(peer);
    uint8_t id[RW_ID_BYTES];
    rw_table_node_t *node;
    rw_reach_t *latest;

    if (keys == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    latest = keys->latest;
    if (latest != NULL && latest->length == length &&
        memcmp(latest->bytes, description, length) == 0) {
        use(keys, latest);
        *result = latest;
        return ROPEWAY_OK;
    }
    crypto_generichash(id, sizeof id, description, length, NULL, 0);
    node = rw_table_find(&keys->table, id);
    if (node == NULL) {
        return unpack(peer, description, length, id, result);
    }
    *result = RW_CONTAINER(node, rw_reach_t, node);
    use(keys, *result);
    return ROPEWAY_OK;
}
