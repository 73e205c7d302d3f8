/* SPDX-License-Identifier: Apache-2.0 */
/* Unpacks agent metadata, and keeps the latest. */
#include "text/agent.h"

#include "base/error.h"
#include "text/packing.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

void rw_agents_init(rw_agents_t *agents) {
    *agents = (rw_agents_t){.next = 0};
    pthread_mutex_init(&agents->mutex, NULL);
}

void rw_agents_free(rw_agents_t *agents) {
    for (size_t i = 0; i < RW_AGENTS_KEPT; i++) {
        rw_agent_blob_drop(agents->kept[i]);
    }
    pthread_mutex_destroy(&agents->mutex);
}

void rw_agent_blob_drop(rw_agent_blob_t *blob) {
    if (blob != NULL && atomic_fetch_sub(&blob->references, 1) == 1) {
        free(blob->bytes);
        free(blob->packed);
        free(blob);
    }
}

/* Who it is, in names that may be shown and as a peer. */
static void identify(rw_agent_blob_t *blob) {
    const rw_agent_t *agent = &blob->agent;

    rw_agent_name_text(agent->name, agent->name_length, blob->name);
    if (agent->ucx != NULL) {
        crypto_generichash(blob->stock_id, sizeof blob->stock_id, agent->ucx, agent->ucx_length,
                           (const uint8_t *)blob->name,
                           strnlen(blob->name, crypto_generichash_KEYBYTES_MAX));
    }
}

static ropeway_error_t make(const char *packed, size_t length, size_t max,
                            rw_agent_blob_t **result) {
    rw_agent_blob_t *blob = calloc(1, sizeof *blob);
    ropeway_error_t error;

    if (blob == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "no memory for %zu bytes of metadata", length);
    }
    atomic_init(&blob->references, 1);
    error = rw_unpack(packed, length, max, &blob->bytes, &blob->length);
    if (error == ROPEWAY_OK) {
        error = rw_serdes_decode(blob->bytes, blob->length, &blob->agent);
    }
    if (error != ROPEWAY_OK) {
        rw_agent_blob_drop(blob);
        return error;
    }
    identify(blob);
    *result = blob;
    return ROPEWAY_OK;
}

static rw_agent_blob_t *find_kept(rw_agents_t *agents, const char *packed, size_t length) {
    rw_agent_blob_t *found = NULL;

    pthread_mutex_lock(&agents->mutex);
    for (size_t i = 0; i < RW_AGENTS_KEPT && found == NULL; i++) {
        rw_agent_blob_t *blob = agents->kept[i];

        if (blob != NULL && blob->packed_length == length &&
            memcmp(blob->packed, packed, length) == 0) {
            found = blob;
            atomic_fetch_add(&blob->references, 1);
        }
    }
    pthread_mutex_unlock(&agents->mutex);
    return found;
}

/* In the place of the one that was kept longest. Without memory it is just not kept. */
static void keep(rw_agents_t *agents, rw_agent_blob_t *blob, const char *packed, size_t length) {
    rw_agent_blob_t *old;

    if (length > RW_AGENTS_LONGEST || blob->length > RW_AGENTS_LONGEST) {
        return;
    }
    blob->packed = malloc(length);
    if (blob->packed == NULL) {
        return;
    }
    memcpy(blob->packed, packed, length);
    blob->packed_length = length;
    atomic_fetch_add(&blob->references, 1);
    pthread_mutex_lock(&agents->mutex);
    old = agents->kept[agents->next];
    agents->kept[agents->next] = blob;
    agents->next = (agents->next + 1) % RW_AGENTS_KEPT;
    pthread_mutex_unlock(&agents->mutex);
    rw_agent_blob_drop(old);
}

ropeway_error_t rw_agents_get(rw_agents_t *agents, const char *packed, size_t length, size_t max,
                              rw_agent_blob_t **blob) {
    ropeway_error_t error;

    *blob = agents != NULL ? find_kept(agents, packed, length) : NULL;
    if (*blob != NULL) {
        return ROPEWAY_OK;
    }
    error = make(packed, length, max, blob);
    if (error == ROPEWAY_OK && agents != NULL) {
        keep(agents, *blob, packed, length);
    }
    return error;
}
