/* SPDX-License-Identifier: Apache-2.0 */
/* Where an operation's bytes lie: its descriptors, laid end to end, and the pieces of memory that
 * they consist of; and how to move about in them. */
#include "base/error.h"
#include "internal.h"
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

size_t rw_layout_descriptor(const ropeway_operation_t *operation, uint64_t offset) {
    return locate(operation->starts, operation->count, offset);
}

size_t rw_layout_piece(const ropeway_operation_t *operation, uint64_t offset) {
    return locate(operation->piece_starts, operation->piece_count, offset);
}

size_t rw_layout_stretch(const ropeway_operation_t *operation, size_t piece, uint64_t offset,
                         uint64_t length, char **at) {
    size_t delta = (size_t)(offset - operation->piece_starts[piece]);
    size_t left = operation->pieces[piece].size - delta;

    *at = (char *)operation->pieces[piece].ptr + delta;
    return left < length ? left : (size_t)length;
}

/* inwards: data is only read. */
static void copy(const ropeway_operation_t *operation, uint64_t offset, size_t length, char *data,
                 bool inwards) {
    size_t piece = length > 0 ? rw_layout_piece(operation, offset) : 0;

    for (size_t done = 0, part; done < length; done += part) {
        char *at;

        part = rw_layout_stretch(operation, piece++, offset + done, length - done, &at);
        if (inwards) {
            memcpy(at, data + done, part);
        } else {
            memcpy(data + done, at, part);
        }
    }
}

void rw_layout_scatter(const ropeway_operation_t *operation, uint64_t offset, const void *data,
                       size_t length) {
    copy(operation, offset, length, (char *)data, true);
}

void rw_layout_gather(const ropeway_operation_t *operation, uint64_t offset, void *data,
                      size_t length) {
    copy(operation, offset, length, data, false);
}

size_t rw_layout_gatherable(const ropeway_operation_t *operation, uint64_t limit, size_t largest) {
    size_t index = operation->cursor, total = 0, pieces = 0;
    uint64_t offset = operation->cursor_offset;

    limit = limit < RW_GATHER_MAX ? limit : RW_GATHER_MAX;
    for (; index < operation->piece_count && total < limit; index++, offset = 0) {
        size_t piece = operation->pieces[index].size - offset;

        if (piece > largest) {
            break;
        }
        total += piece;
        pieces += piece > 0;
    }
    return pieces > 1 ? (total < limit ? total : (size_t)limit) : 0;
}

void rw_layout_advance(ropeway_operation_t *operation, size_t length) {
    operation->cursor_offset += length;
    operation->posted += length;
    while (operation->cursor < operation->piece_count &&
           operation->cursor_offset >= operation->pieces[operation->cursor].size) {
        operation->cursor_offset -= operation->pieces[operation->cursor++].size;
    }
}

bool rw_layout_is_grouped(const ropeway_operation_t *operation) {
    return operation->pieces != operation->descriptors;
}

/* Whether the descriptors' devices can be used by this connector. */
static ropeway_error_t check_devices(ropeway_operation_t *operation) {
    for (size_t i = 0; i < operation->piece_count; i++) {
        ropeway_device_t device = operation->pieces[i].device;

        if (device.kind == ROPEWAY_DEVICE_HOST) {
            continue;
        }
        operation->any_device = true;
        if (rw_device_check(operation->connector, device) != ROPEWAY_OK) {
            return ROPEWAY_ERR_DEVICE;
        }
    }
    if (operation->any_device && operation->integrity) {
        return rw_fail(ROPEWAY_ERR_UNSUPPORTED,
                       "the integrity check works on host memory only; leave "
                       "ROPEWAY_OPERATION_INTEGRITY out for device memory");
    }
    if (operation->any_device && rw_layout_is_grouped(operation)) {
        return rw_fail(ROPEWAY_ERR_UNSUPPORTED,
                       "descriptors in groups can only be of host memory; leave group_sizes out "
                       "for device memory");
    }
    return ROPEWAY_OK;
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

/* How a sender should cut its messages for us: at the edges of the pieces, when these are large and
 * all alike (the last of a group may be shorter); else so short that we can copy the bytes to their
 * places. */
static uint64_t find_grain(const ropeway_operation_t *operation, const size_t *sizes) {
    const ropeway_descriptor_t *piece = operation->pieces;
    uint64_t grain = 0;

    for (size_t i = 0; i < operation->count; piece += sizes[i++]) {
        for (size_t j = 0; sizes[i] > 1 && j < sizes[i]; j++) {
            bool is_last = j + 1 == sizes[i];

            grain = grain == 0 ? piece[j].size : grain;
            if (piece[j].size > grain || (piece[j].size < grain && !is_last)) {
                return RW_GATHER_MAX;
            }
        }
    }
    return grain == 0 || grain >= RW_GRAIN_MIN ? grain : RW_GATHER_MAX;
}

/* The pieces are there; makes a descriptor of each group of them. */
static ropeway_error_t group(ropeway_operation_t *operation,
                             const ropeway_operation_options_t *options) {
    const ropeway_descriptor_t *piece = operation->pieces;
    ropeway_error_t error = check_groups(options, operation->piece_count);

    if (error != ROPEWAY_OK) {
        return error;
    }
    operation->count = options->group_count;
    operation->descriptors = malloc(operation->count * sizeof *operation->descriptors);
    if (operation->descriptors == NULL) {
        return no_memory(operation->count);
    }
    for (size_t i = 0; i < operation->count; i++) {
        ropeway_descriptor_t *whole = &operation->descriptors[i];

        *whole = *piece++;
        for (size_t j = 1; j < options->group_sizes[i]; j++) {
            whole->size += (piece++)->size; /* rw_descriptors_check() has added them up */
        }
    }
    operation->starts = lay_out(operation->descriptors, operation->count);
    operation->grain = operation->is_sender ? 0 : find_grain(operation, options->group_sizes);
    return operation->starts != NULL ? ROPEWAY_OK : no_memory(operation->count);
}

ropeway_error_t rw_layout_make(ropeway_operation_t *operation, const ropeway_descriptor_t *list,
                               size_t count, const ropeway_operation_options_t *options) {
    ropeway_error_t error = rw_descriptors_check(
        list, count, operation->connector->options.max_descriptors, &operation->total);

    if (error != ROPEWAY_OK) {
        return error;
    }
    operation->piece_count = count;
    operation->pieces = malloc(count * sizeof *list);
    operation->piece_starts = lay_out(list, count);
    if (operation->pieces == NULL || operation->piece_starts == NULL) {
        return no_memory(count);
    }
    memcpy(operation->pieces, list, count * sizeof *list);
    if (options->group_sizes != NULL) {
        error = group(operation, options);
    } else {
        operation->count = count;
        operation->descriptors = operation->pieces;
        operation->starts = operation->piece_starts;
    }
    return error == ROPEWAY_OK ? check_devices(operation) : error;
}

void rw_layout_free(ropeway_operation_t *operation) {
    if (rw_layout_is_grouped(operation)) {
        free(operation->descriptors);
        free(operation->starts);
    }
    free(operation->pieces);
    free(operation->piece_starts);
}
