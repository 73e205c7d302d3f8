/* SPDX-License-Identifier: Apache-2.0 */
/* Layouts of memory: made from lists of descriptors, searched, copied from and to. */
#include "operation/layout.h"

#include "base/assert.h"
#include "base/error.h"
#include "text/descriptor.h"

#include <stdlib.h>
#include <string.h>

/* The last one that starts at or before offset is the one that is not empty there. */
static size_t locate(const uint64_t *starts, size_t count, uint64_t offset) {
    size_t low = 0, high = count;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (starts[middle] <= offset) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

size_t rw_layout_descriptor(const rw_layout_t *layout, uint64_t offset) {
    return locate(layout->starts, layout->count, offset);
}

size_t rw_layout_piece(const rw_layout_t *layout, uint64_t offset) {
    return locate(layout->piece_starts, layout->piece_count, offset);
}

size_t rw_layout_stretch(const rw_layout_t *layout, size_t piece, uint64_t offset, uint64_t length,
                         char **at) {
    size_t delta = (size_t)(offset - layout->piece_starts[piece]);
    size_t left = layout->pieces[piece].size - delta;

    *at = (char *)layout->pieces[piece].ptr + delta;
    return left < length ? left : (size_t)length;
}

struct iovec *rw_layout_list(const rw_layout_t *layout, uint64_t offset, size_t length,
                             size_t *count) {
    size_t first = rw_layout_piece(layout, offset);
    size_t last = rw_layout_piece(layout, offset + length - 1);
    struct iovec *list = calloc(last - first + 2, sizeof *list), *row = list;
    char *end = NULL;

    for (size_t done = 0, part; list != NULL && done < length; done += part) {
        char *at;

        part = rw_layout_stretch(layout, first++, offset + done, length - done, &at);
        if (part > 0 && at == end) {
            row[-1].iov_len += part;
        } else if (part > 0) {
            *row++ = (struct iovec){.iov_base = at, .iov_len = part};
        }
        end = part > 0 ? at + part : end;
    }
    *count = (size_t)(row - list);
    return list;
}

/* inwards: data is only read. */
static void copy(const rw_layout_t *layout, uint64_t offset, size_t length, char *data,
                 bool inwards) {
    size_t piece = length > 0 ? rw_layout_piece(layout, offset) : 0;

    for (size_t done = 0, part; done < length; done += part) {
        char *at;

        part = rw_layout_stretch(layout, piece++, offset + done, length - done, &at);
        if (inwards) {
            memcpy(at, data + done, part);
        } else {
            memcpy(data + done, at, part);
        }
    }
}

void rw_layout_scatter(const rw_layout_t *layout, uint64_t offset, const void *data,
                       size_t length) {
    copy(layout, offset, length, (char *)data, true);
}

void rw_layout_gather(const rw_layout_t *layout, uint64_t offset, void *data, size_t length) {
    copy(layout, offset, length, data, false);
}

void rw_cursor_advance(rw_cursor_t *cursor, const rw_layout_t *layout, size_t length) {
    cursor->within += length;
    cursor->offset += length;
    while (cursor->piece < layout->piece_count &&
           cursor->within >= layout->pieces[cursor->piece].size) {
        cursor->within -= layout->pieces[cursor->piece++].size;
    }
}

bool rw_layout_is_grouped(const rw_layout_t *layout) {
    return layout->pieces != layout->descriptors;
}

static ropeway_error_t no_memory(size_t count) {
    return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory for %zu descriptors", count);
}

/* count + 1 offsets, or NULL. */
static uint64_t *lay_out(const ropeway_descriptor_t *list, size_t count) {
    uint64_t *starts = malloc((count + 1) * sizeof *starts);
    uint64_t offset = 0;

    for (size_t i = 0; starts != NULL && i < count; i++) {
        starts[i] = offset;
        offset += list[i].size;
    }
    if (starts != NULL) {
        starts[count] = offset;
    }
    return starts;
}

static ropeway_error_t check_groups(const ropeway_operation_options_t *options, size_t count) {
    size_t left = count;

    for (size_t i = 0; i < options->group_count; i++) {
        if (options->group_sizes[i] == 0 || options->group_sizes[i] > left) {
            return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                           "group_sizes[%zu] is %zu, and %zu of the %zu descriptors are left; each "
                           "group needs at least one",
                           i, options->group_sizes[i], left, count);
        }
        left -= options->group_sizes[i];
    }
    if (left > 0) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                       "%zu of the %zu descriptors are in none of the %zu groups", left, count,
                       options->group_count);
    }
    return ROPEWAY_OK;
}

/* The pieces are there; makes a descriptor of each group of them. */
static ropeway_error_t group(rw_layout_t *layout, const ropeway_operation_options_t *options) {
    const ropeway_descriptor_t *piece = layout->pieces;
    ropeway_error_t error = check_groups(options, layout->piece_count);

    if (error != ROPEWAY_OK) {
        return error;
    }
    layout->count = options->group_count;
    layout->descriptors = malloc(layout->count * sizeof *layout->descriptors);
    if (layout->descriptors == NULL) {
        return no_memory(layout->count);
    }
    for (size_t i = 0; i < layout->count; i++) {
        ropeway_descriptor_t *whole = &layout->descriptors[i];

        *whole = *piece++;
        for (size_t j = 1; j < options->group_sizes[i]; j++) {
            whole->size += (piece++)->size; /* rw_descriptors_check() has added them up */
        }
    }
    layout->starts = lay_out(layout->descriptors, layout->count);
    return layout->starts != NULL ? ROPEWAY_OK : no_memory(layout->count);
}

ropeway_error_t rw_layout_make(rw_layout_t *layout, const ropeway_descriptor_t *list, size_t count,
                               size_t max_count, const ropeway_operation_options_t *options) {
    ropeway_error_t error = rw_descriptors_check(list, count, max_count, &layout->total);

    if (error != ROPEWAY_OK) {
        return error;
    }
    layout->piece_count = count;
    layout->pieces = malloc(count * sizeof *list);
    layout->piece_starts = lay_out(list, count);
    if (layout->pieces == NULL || layout->piece_starts == NULL) {
        return no_memory(count);
    }
    for (size_t i = 0; i < count; i++) {
        layout->pieces[i] = list[i];
        layout->pieces[i].device = rw_device_meant(list[i].device);
        layout->any_device |= layout->pieces[i].device.kind != ROPEWAY_DEVICE_HOST;
    }
    if (options->group_sizes != NULL) {
        return group(layout, options);
    }
    layout->count = count;
    layout->descriptors = layout->pieces;
    layout->starts = layout->piece_starts;
    return ROPEWAY_OK;
}

bool rw_layout_has_prefix(const rw_layout_t *layout, const uint64_t *sizes, size_t count) {
    if (count == 0 || count > layout->count) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (sizes[i] > layout->descriptors[i].size) {
            return false;
        }
    }
    return true;
}

/* The offsets of descriptors whose sizes have changed. Returns their sum. */
static uint64_t lay_out_again(const ropeway_descriptor_t *list, size_t count, uint64_t *starts) {
    uint64_t offset = 0;

    for (size_t i = 0; i < count; i++) {
        starts[i] = offset;
        offset += list[i].size;
    }
    return starts[count] = offset;
}

void rw_layout_cut(rw_layout_t *layout, const uint64_t *sizes, size_t count) {
    size_t piece = 0;

    rw_assert(rw_layout_has_prefix(layout, sizes, count));
    for (size_t i = 0; i < layout->count; i++) {
        uint64_t end = layout->starts[i + 1], left = i < count ? sizes[i] : 0;

        /* An empty piece at a descriptor's edge may be anybody's: it stays empty. */
        for (; piece < layout->piece_count && layout->piece_starts[piece] < end; piece++) {
            ropeway_descriptor_t *part = &layout->pieces[piece];

            part->size = part->size < left ? part->size : (size_t)left;
            left -= part->size;
        }
    }
    for (size_t i = 0; rw_layout_is_grouped(layout) && i < count; i++) {
        layout->descriptors[i].size = (size_t)sizes[i];
    }
    layout->count = count;
    if (rw_layout_is_grouped(layout)) {
        lay_out_again(layout->descriptors, count, layout->starts);
    } else {
        layout->piece_count = count;
    }
    layout->total = lay_out_again(layout->pieces, layout->piece_count, layout->piece_starts);
}

void rw_layout_free(rw_layout_t *layout) {
    if (rw_layout_is_grouped(layout)) {
        free(layout->descriptors);
        free(layout->starts);
    }
    free(layout->pieces);
    free(layout->piece_starts);
}
