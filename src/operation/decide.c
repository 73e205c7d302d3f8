/* SPDX-License-Identifier: Apache-2.0 */
/* What to send, and how; without side effects. */
#include "operation/decide.h"

static size_t least(uint64_t a, uint64_t b) {
    return (size_t)(a < b ? a : b);
}

/* How many bytes from the cursor on, up to limit and RW_GATHER_MAX, lie in pieces of at most
 * largest bytes; 0 when there is just one. */
static size_t gatherable(const rw_layout_t *layout, const rw_cursor_t *cursor, uint64_t limit,
                         size_t largest) {
    size_t index = cursor->piece, total = 0, pieces = 0;
    uint64_t within = cursor->within;

    limit = least(limit, RW_GATHER_MAX);
    for (; index < layout->piece_count && total < limit; index++, within = 0) {
        size_t piece = layout->pieces[index].size - within;

        if (piece > largest) {
            break;
        }
        total += piece;
        pieces += piece > 0;
    }
    return pieces > 1 ? least(total, limit) : 0;
}

/* The longest message that may start at the cursor. */
static size_t longest(const rw_situation_t *situation, const rw_cursor_t *cursor) {
    const rw_layout_t *layout = situation->layout;
    size_t most = situation->frame_max > 0 ? least(situation->frame_max, situation->chunk_size)
                                           : situation->chunk_size;
    uint64_t start, left;

    if (situation->remote_grain == 0 || cursor->offset == layout->total) {
        return most;
    }
    start = layout->starts[rw_layout_descriptor(layout, cursor->offset)];
    left = situation->remote_grain - (cursor->offset - start) % situation->remote_grain;
    return least(left, most);
}

static bool lend(const rw_situation_t *situation, size_t length) {
    const rw_layout_t *layout = situation->layout;
    bool by_host = !layout->any_device && !situation->remote_device;

    return !situation->pushes && length > RW_EAGER_MAX &&
           (layout->total > situation->eager_total || !by_host);
}

static rw_cut_t cut(const rw_layout_t *layout, const rw_cursor_t *cursor, size_t gathered,
                    size_t limit) {
    uint64_t left = layout->pieces[cursor->piece].size - cursor->within;

    return (rw_cut_t){.length = gathered > 0 ? gathered : least(left, limit),
                      .gather = gathered > 0};
}

rw_cut_t rw_decide_cut(const rw_situation_t *situation, const rw_cursor_t *cursor) {
    const rw_layout_t *layout = situation->layout;
    size_t limit = longest(situation, cursor), gathered = 0;
    rw_cut_t next;

    if (!layout->any_device && !situation->remote_device) {
        gathered = gatherable(layout, cursor, limit, RW_EAGER_MAX);
    }
    next = cut(layout, cursor, gathered, limit);
    next.lend = lend(situation, next.length);
    return next;
}

rw_cut_t rw_decide_piece(const rw_layout_t *layout, size_t chunk_size, const rw_cursor_t *cursor) {
    size_t index = rw_layout_descriptor(layout, cursor->offset);
    uint64_t left = layout->starts[index + 1] - cursor->offset;
    /* Small pieces of a descriptor are worth a copy: a get or a put of each takes longer. */
    size_t gathered = gatherable(layout, cursor, least(left, chunk_size), RW_GRAIN_MIN - 1);

    return cut(layout, cursor, gathered, chunk_size);
}

bool rw_decide_inline(const rw_layout_t *layout, bool integrity) {
    return !layout->any_device && !integrity && layout->total <= RW_INLINE_MAX;
}

uint64_t rw_decide_grain(const rw_layout_t *layout) {
    uint64_t grain = 0;

    if (!rw_layout_is_grouped(layout)) {
        return 0;
    }
    for (size_t i = 0, piece = 0; i < layout->count; i++) {
        size_t first = piece, last = first;

        while (last + 1 < layout->piece_count &&
               layout->piece_starts[last + 1] < layout->starts[i + 1]) {
            last++;
        }
        for (; piece <= last && last > first; piece++) {
            uint64_t size = layout->pieces[piece].size;

            grain = grain == 0 ? size : grain;
            if (size > grain || (size < grain && piece < last)) {
                return RW_GATHER_MAX;
            }
        }
        piece = last + 1;
    }
    return grain == 0 || grain >= RW_GRAIN_MIN ? grain : RW_GATHER_MAX;
}

bool rw_decide_may_span(const rw_layout_t *layout, size_t length, bool lent) {
    return !layout->any_device && (!lent || length <= RW_SCATTER_MAX);
}
