/* SPDX-License-Identifier: Apache-2.0 */
/* The text form of agent metadata inside RdmaMetadata: zlib, then base64 (or, from older peers,
 * hex). */
#ifndef RW_PACKING_H
#define RW_PACKING_H

#include "ropeway.h"

#define RW_PACKING_PREFIX "b64:"

/* Lengths and limits here are at most INT_MAX: zlib counts in 32 bits. */

/* *text becomes RW_PACKING_PREFIX + base64(zlib(blob)), malloc'ed. Errors: ERR_NO_MEMORY. */
ropeway_error_t rw_pack(const uint8_t *blob, size_t length, char **text, size_t *text_length);

/* Reads what rw_pack() makes, and hex(zlib(blob)). *blob is malloc'ed, and NULL on failure.
 * Errors: ERR_METADATA, ERR_LIMIT (more than max bytes come out), ERR_NO_MEMORY. */
ropeway_error_t rw_unpack(const char *text, size_t text_length, size_t max, uint8_t **blob,
                          size_t *length);

#endif
