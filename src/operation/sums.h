/* SPDX-License-Identifier: Apache-2.0 */
/* Checksums of an operation with integrity: XXH3-64 over each descriptor, computed as bytes pass.
 */
#ifndef RW_SUMS_H
#define RW_SUMS_H

#include "base/extent.h"
#include "operation/layout.h"

typedef struct rw_sums {
    const rw_layout_t *layout;
    uint64_t *mine;       /* per descriptor, computed as its bytes pass */
    uint64_t *theirs;     /* receiver: as announced by the sender */
    rw_extents_t arrived; /* receiver: bytes that are in memory */
    rw_extents_t known;   /* receiver: indexes in theirs that are filled */
    size_t next;          /* descriptor that is being summed */
    uint64_t position;    /* first byte that is not summed yet */
    size_t sent;          /* sender: checksums sent so far */
    void *state;          /* XXH3_state_t */
} rw_sums_t;

/* NULL: out of memory. */
rw_sums_t *rw_sums_new(const rw_layout_t *layout);
/* NULL: nothing. */
void rw_sums_free(rw_sums_t *sums);
/* The layout's bytes [0, end) have passed. */
void rw_sums_advance(rw_sums_t *sums, uint64_t end);
/* Index of a descriptor whose checksums differ, or the layout's count. */
size_t rw_sums_compare(const rw_sums_t *sums);

#endif
