/* SPDX-License-Identifier: Apache-2.0 */
/* Checksums of an operation with integrity: XXH3-64 over each descriptor, computed as bytes pass.
 */
#include "internal.h"

#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

bool rw_sums_start(ropeway_operation_t *operation) {
    rw_sums_t *sums;

    if (operation->sums != NULL) {
        return true;
    }
    sums = calloc(1, sizeof *sums);
    if (sums == NULL) {
        return false;
    }
    operation->sums = sums;
    sums->mine = malloc(operation->count * sizeof *sums->mine);
    sums->theirs = malloc(operation->count * sizeof *sums->theirs);
    sums->state = XXH3_createState();
    if (sums->mine == NULL || sums->theirs == NULL || sums->state == NULL) {
        rw_sums_free(operation);
        return false;
    }
    XXH3_64bits_reset(sums->state);
    return true;
}

void rw_sums_free(ropeway_operation_t *operation) {
    rw_sums_t *sums = operation->sums;

    if (sums == NULL) {
        return;
    }
    rw_extents_free(&sums->arrived);
    rw_extents_free(&sums->known);
    XXH3_freeState(sums->state);
    free(sums->mine);
    free(sums->theirs);
    free(sums);
    operation->sums = NULL;
}

/* Up to limit, which lies in or at the end of the present descriptor. */
static void add(ropeway_operation_t *operation, uint64_t limit) RW_LOCKED {
    rw_sums_t *sums = operation->sums;

    while (sums->position < limit) {
        char *at;
        size_t piece = rw_layout_piece(operation, sums->position);
        size_t part =
            rw_layout_stretch(operation, piece, sums->position, limit - sums->position, &at);

        XXH3_64bits_update(sums->state, at, part);
        sums->position += part;
    }
}

void rw_sums_advance(ropeway_operation_t *operation, uint64_t end) {
    rw_sums_t *sums = operation->sums;

    while (sums->next < operation->count) {
        uint64_t stop = operation->starts[sums->next + 1];

        add(operation, end < stop ? end : stop);
        if (end < stop) {
            break;
        }
        sums->mine[sums->next++] = XXH3_64bits_digest(sums->state);
        XXH3_64bits_reset(sums->state);
    }
}

size_t rw_sums_compare(const ropeway_operation_t *operation) {
    size_t i = 0;

    while (i < operation->count && operation->sums->mine[i] == operation->sums->theirs[i]) {
        i++;
    }
    return i;
}
