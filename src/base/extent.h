/* SPDX-License-Identifier: Apache-2.0 */
/* Which bytes of a stream have been seen, when its pieces may arrive out of order. */
#ifndef RW_EXTENT_H
#define RW_EXTENT_H

#include <stdint.h>

#define RW_EXTENTS_MAX 256 /* disjoint pieces held beyond the first hole */

typedef struct rw_extent {
    uint64_t begin;
    uint64_t end; /* the first byte behind it */
} rw_extent_t;

/* All zeroes is the empty set. */
typedef struct rw_extents {
    uint64_t contiguous; /* every byte below has been seen */
    rw_extent_t *later;  /* sorted, with a hole before each; allocated when first needed */
    uint32_t count;
    uint32_t capacity;
} rw_extents_t;

/* Adds length bytes at offset. In-order pieces cost O(1) and allocate nothing.
 * Returns 0, or -1 (and changes nothing) when a byte was seen before, the range passes 2^64, more
 * than RW_EXTENTS_MAX pieces would have to be held, or memory runs out. Length 0 does nothing. */
int rw_extents_add(rw_extents_t *extents, uint64_t offset, uint64_t length);

/* Frees what the set holds and empties it. */
void rw_extents_free(rw_extents_t *extents);

#endif
