/* SPDX-License-Identifier: Apache-2.0 */
/* Checksums, computed as bytes pass. */
#include "operation/sums.h"

#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

rw_sums_t *rw_sums_new(const rw_layout_t *layout) {
    rw_sums_t *sums = calloc(1, sizeof *sums);

    if (sums == NULL) {
        return NULL;
    }
    sums->layout = layout;
    sums->mine = malloc(layout->count * sizeof *sums->mine);
    sums->theirs = malloc(layout->count * sizeof *sums->theirs);
    sums->state = XXH3_createState();
    if (sums->mine == NULL || sums->theirs == NULL || sums->state == NULL) {
        rw_sums_free(sums);
        return NULL;
    }
    XXH3_64bits_reset(sums->state);
    return sums;
}

void rw_sums_free(rw_sums_t *sums) {
    if (sums == NULL) {
        return;
    }
    rw_extents_free(&sums->arrived);
    rw_extents_free(&sums->known);
    XXH3_freeState(sums->state);
    free(sums->mine);
    free(sums->theirs);
    free(sums);
}

/* Up to limit, which lies in or at the end of the present descriptor. */
static void add(rw_sums_t *sums, uint64_t limit) {
    while (sums->position < limit) {
        char *at;
        size_t piece = rw_layout_piece(sums->layout, sums->position);
        size_t part =
            rw_layout_stretch(sums->layout, piece, sums->position, limit - sums->position, &at);

        XXH3_64bits_update(sums->state, at, part);
        sums->position += part;
    }
}

void rw_sums_advance(rw_sums_t *sums, uint64_t end) {
    while (sums->next < sums->layout->count) {
        uint64_t stop = sums->layout->starts[sums->next + 1];

        add(sums, end < stop ? end : stop);
        if (end < stop) {
            break;
        }
        sums->mine[sums->next++] = XXH3_64bits_digest(sums->state);
        XXH3_64bits_reset(sums->state);
    }
}

size_t rw_sums_compare(const rw_sums_t *sums) {
    size_t i = 0;

    while (i < sums->layout->count && sums->mine[i] == sums->theirs[i]) {
        i++;
    }
    return i;
}
