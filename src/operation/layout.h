/* SPDX-License-Identifier: Apache-2.0 */
/* Where an operation's bytes lie: its descriptors, laid end to end, and the pieces of memory that
 * they consist of; and how to move about in them. Not changed once bytes move. */
#ifndef RW_LAYOUT_H
#define RW_LAYOUT_H

#include "ropeway.h"

#include <stdbool.h>
#include <sys/uio.h>

typedef struct rw_layout {
    size_t count; /* descriptors, as the peer sees them */
    uint64_t total;
    ropeway_descriptor_t *descriptors;
    uint64_t *starts; /* count + 1 offsets of the descriptors laid end to end */
    /* Where their bytes lie. The same arrays as above, unless descriptors are groups of pieces. */
    size_t piece_count;
    ropeway_descriptor_t *pieces;
    uint64_t *piece_starts;
    bool any_device; /* not all memory is host memory */
} rw_layout_t;

/* A place in a layout. All zeroes is its beginning. */
typedef struct rw_cursor {
    size_t piece;    /* layout->piece_count: the end */
    uint64_t within; /* bytes of that piece that lie behind */
    uint64_t offset; /* bytes of the layout that lie behind */
} rw_cursor_t;

/* Copies and checks a list of descriptors, in groups where the options say so. What it left is
 * freed by rw_layout_free(), also after an error. Errors: those of ropeway_create_readable() that
 * are about lists; whether a device can be used is not its question. */
ropeway_error_t rw_layout_make(rw_layout_t *layout, const ropeway_descriptor_t *list, size_t count,
                               size_t max_count, const ropeway_operation_options_t *options);
void rw_layout_free(rw_layout_t *layout);
bool rw_layout_is_grouped(const rw_layout_t *layout);
/* The descriptor and the piece that hold this byte; offset < total. */
size_t rw_layout_descriptor(const rw_layout_t *layout, uint64_t offset);
size_t rw_layout_piece(const rw_layout_t *layout, uint64_t offset);
/* How many bytes from offset on, which lies in or at the end of this piece, lie behind each other,
 * at most length; and where. */
size_t rw_layout_stretch(const rw_layout_t *layout, size_t piece, uint64_t offset, uint64_t length,
                         char **at);
/* Where these bytes lie, in order: *count pieces of memory, none of them empty, and neighbours as
 * one. There is room for one more. To be freed; NULL: out of memory. length > 0. */
struct iovec *rw_layout_list(const rw_layout_t *layout, uint64_t offset, size_t length,
                             size_t *count);
/* Copy bytes to and from their places; host memory only. */
void rw_layout_scatter(const rw_layout_t *layout, uint64_t offset, const void *data, size_t length);
void rw_layout_gather(const rw_layout_t *layout, uint64_t offset, void *data, size_t length);
/* Whether sizes, one for each of count descriptors, ask for a prefix of what is here: no more
 * descriptors, and none of them larger. */
bool rw_layout_has_prefix(const rw_layout_t *layout, const uint64_t *sizes, size_t count);
/* Keeps that prefix alone. Nothing may have moved yet. */
void rw_layout_cut(rw_layout_t *layout, const uint64_t *sizes, size_t count);
/* Moves the cursor past length more bytes, and past pieces without bytes. */
void rw_cursor_advance(rw_cursor_t *cursor, const rw_layout_t *layout, size_t length);

#endif
