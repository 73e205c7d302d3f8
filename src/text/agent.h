/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Agent metadata, unpacked and decoded. A peer's is the same text in all its metadata, as long as
 * its connections and registrations are, so a connector keeps the latest ones: unpacking takes
 * longer than all else in beginning a small read.
 */
#ifndef RW_AGENT_H
#define RW_AGENT_H

#include "base/table.h"
#include "text/serdes.h"

#include <pthread.h>
#include <stdatomic.h>

#define RW_AGENTS_KEPT 16
#define RW_AGENTS_LONGEST ((size_t)64 << 10) /* longer texts are not kept */

/* Not changed once it is made, so threads may share it. */
typedef struct rw_agent_blob {
    atomic_uint references;
    uint8_t *bytes;
    size_t length;
    rw_agent_t agent;                 /* points into bytes */
    char name[RW_AGENT_NAME_MAX + 1]; /* see rw_agent_name_text() */
    uint8_t stock_id[RW_ID_BYTES];    /* of its name and its UCX address, if it has one */
    char *packed;                     /* the text that it came from; NULL: it is not kept */
    size_t packed_length;
} rw_agent_blob_t;

/* Thread-safe. */
typedef struct rw_agents {
    pthread_mutex_t mutex;
    rw_agent_blob_t *kept[RW_AGENTS_KEPT];
    unsigned next; /* the place that is used next */
} rw_agents_t;

void rw_agents_init(rw_agents_t *agents);
void rw_agents_free(rw_agents_t *agents);

/* Unpacks the text of nixl_metadata to at most max bytes, or finds it among the kept ones. agents:
 * NULL keeps nothing; else max is the same in every call. *blob is to be given back with
 * rw_agent_blob_drop(). Errors: those of rw_unpack() and rw_serdes_decode(). */
ropeway_error_t rw_agents_get(rw_agents_t *agents, const char *packed, size_t length, size_t max,
                              rw_agent_blob_t **blob);
void rw_agent_blob_drop(rw_agent_blob_t *blob);

#endif
