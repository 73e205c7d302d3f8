/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that is moved: descriptors at odd addresses with guard bytes between them, and patterns
 * that tell one operation's bytes from another's.
 */
#ifndef TS_REGION_H
#define TS_REGION_H

#include "ropeway.h"

#include <stdbool.h>

#define TS_CANARY 0xEE /* what a receiver's memory holds before the transfer */

typedef struct ts_region {
    size_t count; /* of the list; pieces, when the descriptors lie in pieces */
    uint64_t total;
    ropeway_descriptor_t *descriptors;
    size_t *groups; /* NULL, or how many pieces each descriptor has */
    size_t group_count;
    uint8_t *arena;
    size_t arena_size;
} ts_region_t;

/* spec: sizes with commas, each perhaps with a count, e.g. "64*4096,0,1" (64 of 4096 bytes). shift:
 * added to the address of each descriptor, which is else aligned to 64 bytes; descriptor n lies n *
 * shift bytes off. The memory is filled with TS_CANARY. Ends the process when spec is malformed. */
ts_region_t *ts_region_new(const char *spec, unsigned shift);
/* The same with options as text: "shift=N"; "pieces=N": each descriptor lies in pieces of N bytes;
 * "uneven=1": of N bytes and less. The pattern does not depend on where the pieces end. */
ts_region_t *ts_region_make(const char *spec, const char *options);
/* Lets the operation's options say how the list is grouped. */
void ts_region_group(const ts_region_t *region, ropeway_operation_options_t *options);
void ts_region_free(ts_region_t *region);

void ts_region_pattern(ts_region_t *region, uint64_t seed);
bool ts_region_matches(const ts_region_t *region, uint64_t seed);
void ts_region_set(ts_region_t *region, uint8_t byte);
bool ts_region_is(const ts_region_t *region, uint8_t byte);

/* True while the bytes around the descriptors are as they were made. */
bool ts_region_guarded(const ts_region_t *region);

#endif
