/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Remote keys of a NIXL agent, unpacked once for all regions and operations that have the same one.
 * A key is known by all its bytes, so memory that is registered anew with another key never meets
 * the old one. Keys that no operation uses are kept up to a limit, the least recently used go
 * first.
 */
#include "base/error.h"
#include "internal.h"
#include "ucx/ucx_blob.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_MAX 1024 /* unused keys that are kept per peer */

struct rw_key {
    rw_table_node_t node; /* node.id: hash of the packed key */
    rw_link_t link;       /* in keys->idle, while unused */
    rw_keys_t *keys;      /* NULL: the peer is gone */
    unsigned references;  /* one per descriptor that uses it */
    ucp_rkey_h handle;
    size_t length;
    uint8_t bytes[]; /* the packed key, and what UCX wants behind it */
};

struct rw_keys {
    rw_table_t table;
    rw_link_t idle;   /* least recently used first */
    rw_link_t in_use; /* the others */
    size_t idle_count;
    rw_key_t *latest; /* most descriptors have the key of the one before */
};

rw_keys_t *rw_keys_new(void) {
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

static void destroy(rw_key_t *key) {
    ucp_rkey_destroy(key->handle);
    free(key);
}

void rw_keys_free(rw_keys_t *keys) {
    rw_link_t *link;

    if (keys == NULL) {
        return;
    }
    while ((link = rw_list_take(&keys->idle)) != NULL) {
        destroy(RW_CONTAINER(link, rw_key_t, link));
    }
    while ((link = rw_list_take(&keys->in_use)) != NULL) {
        RW_CONTAINER(link, rw_key_t, link)->keys = NULL;
    }
    rw_table_free(&keys->table);
    free(keys);
}

static void use(rw_keys_t *keys, rw_key_t *key) {
    if (key->references++ == 0) {
        keys->idle_count--;
        rw_list_remove(&key->link);
        rw_list_append(&keys->in_use, &key->link);
    }
    keys->latest = key;
}

static void evict(rw_keys_t *keys) {
    rw_key_t *key = RW_CONTAINER(rw_list_take(&keys->idle), rw_key_t, link);

    keys->idle_count--;
    rw_table_remove(&keys->table, &key->node);
    if (keys->latest == key) {
        keys->latest = NULL;
    }
    destroy(key);
}

void rw_key_give(rw_key_t *key) {
    rw_keys_t *keys = key->keys;

    if (--key->references > 0) {
        return;
    }
    if (keys == NULL) {
        destroy(key);
        return;
    }
    rw_list_remove(&key->link);
    rw_list_append(&keys->idle, &key->link);
    if (++keys->idle_count > IDLE_MAX) {
        evict(keys);
    }
}

ucp_rkey_h rw_key_handle(const rw_key_t *key) {
    return key->handle;
}

static ropeway_error_t refuse(const rw_peer_t *peer, const char *why) {
    return rw_fail(ROPEWAY_ERR_NO_PATH,
                   "a remote key of the NIXL agent \"%s\" (UCX %s there, %s here) can't be used: "
                   "%s; use the same UCX release and a common transport on both sides",
                   peer->name, peer->ucx, ropeway_ucx_version(), why);
}

/* Makes the key, in use once. */
static ropeway_error_t unpack(rw_peer_t *peer, const rw_region_t *region,
                              const uint8_t id[RW_ID_BYTES], rw_key_t **result) RW_LOCKED {
    rw_key_t *key;
    const char *wrong;
    ucs_status_t status;

    if (!rw_ucx_key_check(region->key, region->key_length, &wrong)) {
        return refuse(peer, wrong);
    }
    key = calloc(1, sizeof *key + region->key_length + RW_UCX_KEY_PAD);
    if (key == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    memcpy(key->bytes, region->key, region->key_length);
    memset(key->bytes + region->key_length, RW_UCX_KEY_END, RW_UCX_KEY_PAD);
    status = ucp_ep_rkey_unpack(peer->endpoint, key->bytes, &key->handle);
    if (status != UCS_OK) {
        free(key);
        return refuse(peer, ucs_status_string(status));
    }
    memcpy(key->node.id, id, RW_ID_BYTES);
    key->length = region->key_length;
    key->keys = peer->keys;
    key->references = 1;
    rw_table_add(&peer->keys->table, &key->node);
    rw_list_append(&peer->keys->in_use, &key->link);
    peer->keys->latest = key;
    *result = key;
    return ROPEWAY_OK;
}

ropeway_error_t rw_key_take(rw_peer_t *peer, const rw_region_t *region, rw_key_t **result) {
    rw_keys_t *keys = peer->keys;
    rw_key_t *latest = keys->latest;
    uint8_t id[RW_ID_BYTES];
    rw_table_node_t *node;

    if (latest != NULL && latest->length == region->key_length &&
        memcmp(latest->bytes, region->key, region->key_length) == 0) {
        use(keys, latest);
        *result = latest;
        return ROPEWAY_OK;
    }
    crypto_generichash(id, sizeof id, region->key, region->key_length, NULL, 0);
    node = rw_table_find(&keys->table, id);
    if (node == NULL) {
        return unpack(peer, region, id, result);
    }
    *result = RW_CONTAINER(node, rw_key_t, node);
    use(keys, *result);
    return ROPEWAY_OK;
}
