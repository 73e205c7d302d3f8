/* SPDX-License-Identifier: Apache-2.0 */
/* What to send, and how; without side effects. */
#include "operation/decide.h"

_Static_assert(RW_SCATTER_MAX / RW_PIECE_MIN <= RW_FLIGHT_PIECES, "a flight has the pieces");

static size_t least(uint64_t a, uint64_t b) {
    return (size_t)(a < b ? a : b);
}

/* Small pieces in a row. */
typedef struct run {
    size_t length; /* of them all */
    size_t pieces; /* that are not empty */
} run_t;

/* How many bytes from the cursor on, up to limit, lie in pieces of at most largest bytes. */
static run_t run_at(const rw_layout_t *layout, const rw_cursor_t *cursor, uint64_t limit,
                    size_t largest) {
    size_t index = cursor->piece;
    uint64_t within = cursor->within;
    run_t run = {0};

    for (; index < layout->piece_count && run.length < limit; index++, within = 0) {
        size_t piece = layout->pieces[index].size - within;

        if (piece > largest) {
            break;
        }
        run.length += piece;
        run.pieces += piece > 0;
    }
    run.length = least(run.length, limit);
    return run;
}

/* The bytes to gather, up to limit; 0 when they lie in one piece. */
static size_t gatherable(const rw_layout_t *layout, const rw_cursor_t *cursor, uint64_t limit,
                         size_t largest) {
    run_t run = run_at(layout, cursor, least(limit, RW_GATHER_MAX), largest);

    return run.pieces > 1 ? run.length : 0;
}

/* The bytes to lend in a list; 0: there is none worth it. */
static size_t listable(const rw_layout_t *layout, const rw_cursor_t *cursor, uint64_t limit) {
    run_t run = run_at(layout, cursor, least(limit, RW_SCATTER_MAX), RW_GRAIN_MIN - 1);

    return run.pieces > 1 && run.length > RW_EAGER_MAX && rw_decide_scatter(run.length, run.pieces)
               ? run.length
               : 0;
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

static bool is_by_host(const rw_situation_t *situation) {
    return !situation->layout->any_device && !situation->remote_device;
}

static bool may_lend(const rw_situation_t *situation) {
    return !situation->pushes &&
           (situation->layout->total > situation->eager_total || !is_by_host(situation));
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

    if (is_by_host(situation)) {
        size_t listed =
            situation->lists && may_lend(situation) ? listable(layout, cursor, limit) : 0;

        if (listed > 0) {
            return (rw_cut_t){.length = listed, .list = true, .lend = true};
        }
        gathered = gatherable(layout, cursor, limit, RW_EAGER_MAX);
    }
    next = cut(layout, cursor, gathered, limit);
    next.lend = next.length > RW_EAGER_MAX && may_lend(situation);
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
