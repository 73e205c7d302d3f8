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

void rw_sums_advance(ropeway_operation_t *operation, uint64_t end) {
    rw_sums_t *sums = operation->sums;

    while (sums->next < operation->count) {
        const ropeway_descriptor_t *descriptor = &operation->descriptors[sums->next];
        uint64_t start = operation->starts[sums->next], stop = operation->starts[sums->next + 1];
        uint64_t limit = end < stop ? end : stop;

        if (sums->position < limit) {
            XXH3_64bits_update(sums->state,
                               (const char *)descriptor->ptr + (sums->position - start),
                               limit - sums->position);
            sums->position = limit;
        }
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
