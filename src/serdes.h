/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Agent metadata: the binary "nixlSerDes" blob that names an agent and how to connect to it. The
 * layout is NIXL's; docs/wire.md describes it.
 */
#ifndef RW_SERDES_H
#define RW_SERDES_H

#include "metadata.h"

#define RW_AGENT_NAME_MAX 255
#define RW_CONNECTIONS_MAX 64

/* Whether length bytes may be an agent's name: 1 to RW_AGENT_NAME_MAX bytes of UTF-8 without
 * control characters, since names end up in sentences, logs and on terminals. */
bool rw_agent_name_valid(const char *name, size_t length);

/* What was found in a blob; everything points into it. */
typedef struct rw_agent {
    const char *name; /* name_length bytes, none of them NUL, and no NUL behind */
    size_t name_length;
    const uint8_t *native; /* the RW_BACKEND_NATIVE connection, or NULL */
    size_t native_length;
    const uint8_t *ucx; /* the RW_BACKEND_UCX connection, or NULL */
    size_t ucx_length;
} rw_agent_t;

/* Makes the blob of an agent with these connections and no memory sections. agent: a
 * valid name. *blob is malloc'ed. Errors: ERR_LIMIT (longer than max), ERR_NO_MEMORY. */
ropeway_error_t rw_serdes_encode(const char *agent, const rw_connection_t *connections,
                                 size_t connection_count, size_t max, uint8_t **blob,
                                 size_t *length);

/* Reads a blob. Connections of other backends, the contents of memory sections and whatever follows
 * them are skipped. Errors: ERR_METADATA. */
ropeway_error_t rw_serdes_decode(const uint8_t *blob, size_t length, rw_agent_t *agent);

#endif
