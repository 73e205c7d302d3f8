/* SPDX-License-Identifier: Apache-2.0 */
/* A sorted array of ranges behind the contiguous part. */
#include "base/extent.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 8

static void remove_at(rw_extents_t *extents, uint32_t index) {
    extents->count--;
    memmove(&extents->later[index], &extents->later[index + 1],
            (extents->count - index) * sizeof extents->later[0]);
}

static bool insert_at(rw_extents_t *extents, uint32_t index, rw_extent_t piece) {
    if (extents->count == RW_EXTENTS_MAX) {
        return false;
    }
    if (extents->later == NULL || extents->count == extents->capacity) {
        uint32_t capacity = extents->capacity == 0 ? FIRST_CAPACITY : extents->capacity * 2;
        rw_extent_t *later = realloc(extents->later, capacity * sizeof *later);

        if (later == NULL) {
            return false;
        }
        extents->later = later;
        extents->capacity = capacity;
    }
    memmove(&extents->later[index + 1], &extents->later[index],
            (extents->count - index) * sizeof extents->later[0]);
    extents->later[index] = piece;
    extents->count++;
    return true;
}

/* The first held piece that begins at or behind offset; count when there is none. */
static uint32_t find_extent(const rw_extents_t *extents, uint64_t offset) {
    uint32_t low = 0;
    uint32_t high = extents->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (extents->later[middle].begin < offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static int add_in_order(rw_extents_t *extents, uint64_t end) {
    if (extents->count > 0) {
        if (end > extents->later[0].begin) {
            return -1;
        }
        if (end == extents->later[0].begin) {
            end = extents->later[0].end;
            remove_at(extents, 0);
        }
    }
    extents->contiguous = end;
    return 0;
}

static int add_later(rw_extents_t *extents, rw_extent_t piece) {
    uint32_t index = find_extent(extents, piece.begin);
    rw_extent_t *before = index > 0 ? &extents->later[index - 1] : NULL;
    rw_extent_t *after = index < extents->count ? &extents->later[index] : NULL;

    if ((before != NULL && before->end > piece.begin) ||
        (after != NULL && after->begin < piece.end)) {
        return -1;
    }
    if (before != NULL && before->end == piece.begin) {
        before->end = piece.end;
        if (after != NULL && after->begin == piece.end) {
            before->end = after->end;
            remove_at(extents, index);
        }
        return 0;
    }
    if (after != NULL && after->begin == piece.end) {
        after->begin = piece.begin;
        return 0;
    }
    return insert_at(extents, index, piece) ? 0 : -1;
}

int rw_extents_add(rw_extents_t *extents, uint64_t offset, uint64_t length) {
    uint64_t end;

    if (length == 0) {
        return 0;
    }
    if (__builtin_add_overflow(offset, length, &end) || offset < extents->contiguous) {
        return -1;
    }
    if (offset == extents->contiguous) {
        return add_in_order(extents, end);
    }
    return add_later(extents, (rw_extent_t){offset, end});
}

void rw_extents_free(rw_extents_t *extents) {
    free(extents->later);
    *extents = (rw_extents_t){0};
}
