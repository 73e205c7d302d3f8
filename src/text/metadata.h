/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RdmaMetadata: the JSON text that travels on the secondary channel, and the agent metadata inside
 * it. The format is shared with stock NIXL peers; docs/wire.md describes it.
 */
#ifndef RW_METADATA_H
#define RW_METADATA_H

#include "ropeway.h"

#include <stdbool.h>

#define RW_KEY_BYTES 16
#define RW_KEY_TEXT 37 /* a UUID as text, with its NUL */
#define RW_METADATA_MAX_DEFAULT ((size_t)16 << 20)

/* Backend names of the connections inside the agent metadata. */
#define RW_BACKEND_NATIVE "ROPEWAY"
#define RW_BACKEND_UCX "UCX"

/* One connection record of the agent metadata. */
typedef struct rw_connection {
    const char *backend;
    const uint8_t *blob;
    size_t length;
} rw_connection_t;

/* Memory types of regions. */
enum { RW_MEMORY_DRAM = 0, RW_MEMORY_VRAM = 1 };

/* A piece of registered memory, and the UCX key that lets a peer reach it. */
typedef struct rw_region {
    uint64_t address;
    uint64_t length;
    uint64_t device; /* number of the GPU */
    uint32_t memory; /* RW_MEMORY_* or another type */
    const uint8_t *key;
    size_t key_length;
} rw_region_t;

struct ropeway_metadata {
    ropeway_operation_kind_t kind; /* READABLE or WRITABLE */
    size_t count;
    uint64_t total;
    ropeway_descriptor_t *descriptors;
    const char *agent; /* a valid name; see rw_agent_name_text() */
    char *key;
    bool key_is_uuid; /* then key_bytes holds it */
    uint8_t key_bytes[RW_KEY_BYTES];
    struct rw_agent_blob *shared; /* keeps what follows */
    const uint8_t *blob;          /* the inflated agent metadata; the connections point into it */
    size_t blob_length;
    const uint8_t *native; /* the RW_BACKEND_NATIVE connection, or NULL */
    size_t native_length;
    const uint8_t *ucx; /* the RW_BACKEND_UCX connection, or NULL */
    size_t ucx_length;
    size_t region_count; /* registered regions that come with it; rw_serdes_regions() reads them */
};

/* How many descriptors a text of so many bytes stands for at most. Those that are alike take few
 * bytes: no more than could be written out, in 34 each. */
static inline size_t rw_metadata_most(size_t max) {
    return max / 34 + 1;
}

/* Makes the JSON text of an operation: descriptors as given, the connections in the given order,
 * and the regions, if any. Addresses go out only with regions, which mean nothing without them.
 * kind: READABLE or WRITABLE. agent: see rw_agent_name_valid(). key: text of the notification key,
 * without characters that JSON escapes. max: longest text allowed. *json is malloc'ed, *length
 * excludes its NUL. Errors: ERR_LIMIT, ERR_NO_MEMORY. */
ropeway_error_t rw_metadata_encode(ropeway_operation_kind_t kind,
                                   const ropeway_descriptor_t *descriptors, size_t count,
                                   const char *agent, const rw_connection_t *connections,
                                   size_t connection_count, const rw_region_t *regions,
                                   size_t region_count, const char *key, size_t max, char **json,
                                   size_t *length);

/* ropeway_metadata_parse() with what a connector keeps of agents (agent.h), or NULL. */
struct rw_agents;
ropeway_error_t rw_metadata_parse(const char *json, size_t length, size_t max_length,
                                  struct rw_agents *agents, ropeway_metadata_t **metadata);

/* Whether a descriptor's memory is not the host's. */
bool rw_metadata_any_device(const ropeway_metadata_t *metadata);

/* By which protocol its peer is spoken to: our own if it speaks that. Errors: ERR_NO_PATH. */
typedef enum rw_speech { RW_SPEECH_NATIVE, RW_SPEECH_STOCK } rw_speech_t;
ropeway_error_t rw_metadata_choose(const ropeway_metadata_t *metadata, rw_speech_t *speech);

/* UUID text of 16 bytes and back; from_text accepts exactly the 36-character form, either case. */
void rw_key_to_text(const uint8_t key[RW_KEY_BYTES], char text[RW_KEY_TEXT]);
bool rw_key_from_text(const char *text, uint8_t key[RW_KEY_BYTES]);

#endif
