/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Agent metadata: the binary "nixlSerDes" blob that names an agent and how to connect to it. The
 * layout is NIXL's; docs/wire.md describes it.
 */
#ifndef RW_SERDES_H
#define RW_SERDES_H

#include "text/metadata.h"

#define RW_AGENT_NAME_MAX 255
#define RW_CONNECTIONS_MAX 64

/* Whether length bytes may be an agent's name: 1 to RW_AGENT_NAME_MAX bytes of UTF-8 without
 * control characters, since names end up in sentences, logs and on terminals. */
bool rw_agent_name_valid(const char *name, size_t length);

/* A valid name for length bytes that any agent may call itself: themselves when they are one, else
 * their printable part and a hash, so that two agents still have two names. */
void rw_agent_name_text(const char *name, size_t length, char text[RW_AGENT_NAME_MAX + 1]);

/* What was found in a blob; everything points into it. */
typedef struct rw_agent {
    const char *name; /* name_length bytes, at least 1, of any kind, and no NUL behind */
    size_t name_length;
    const uint8_t *native; /* the RW_BACKEND_NATIVE connection, or NULL */
    size_t native_length;
    const uint8_t *ucx; /* the RW_BACKEND_UCX connection, or NULL */
    size_t ucx_length;
    size_t region_count; /* of the RW_BACKEND_UCX sections */
} rw_agent_t;

/* Makes the blob of an agent with these connections and, in RW_BACKEND_UCX sections, these regions.
 * agent: a valid name. *blob is malloc'ed. Errors: ERR_LIMIT (longer than max), ERR_NO_MEMORY. */
ropeway_error_t rw_serdes_encode(const char *agent, const rw_connection_t *connections,
                                 size_t connection_count, const rw_region_t *regions,
                                 size_t region_count, size_t max, uint8_t **blob, size_t *length);

/* Reads a blob. Connections and sections of other backends, and whatever follows them, are skipped.
 * Errors: ERR_METADATA. */
ropeway_error_t rw_serdes_decode(const uint8_t *blob, size_t length, rw_agent_t *agent);

/* The regions of a blob that rw_serdes_decode() has accepted; regions: room for region_count. */
void rw_serdes_regions(const uint8_t *blob, size_t length, rw_region_t *regions);

/* The notification that ends a transfer: name and msg, at most RW_NOTIFICATION_MAX bytes together.
 * Returns the blob's length. */
#define RW_NOTIFICATION_MAX 512
size_t rw_serdes_notification(const char *name, const char *message,
                              uint8_t blob[RW_NOTIFICATION_MAX + 64]);
/* Reads one; name and message: room for 256 bytes each, NUL-terminated, names made printable.
 * false: it is none, or too long. */
bool rw_serdes_read_notification(const uint8_t *blob, size_t length, char *name, char *message);

#endif
