/* SPDX-License-Identifier: Apache-2.0 */
/* What to send, held against a model that looks at memory 512 bytes at a time. */
#include "operation/decide.h"
#include "unit.h"

#define QUANTUM ((size_t)512)
#define QUANTA_MAX 20000
#define PIECES_MAX 60

/* Every quantum of an operation: which piece and descriptor it lies in. */
typedef struct model {
    size_t quanta;
    size_t piece[QUANTA_MAX];
    size_t descriptor[QUANTA_MAX];
} model_t;

static model_t model;
static char memory[1];

/* A layout of random pieces, in groups if so wished, and the model of it. */
static void make_layout(rw_layout_t *layout, bool grouped, bool device) {
    static const size_t sizes[] = {0, 1, 2, 8, 32, 33, 128, 512, 1024, 2100};
    ropeway_descriptor_t pieces[PIECES_MAX];
    size_t groups[PIECES_MAX], count = 1 + (size_t)unit_below(PIECES_MAX), group_count = 0;
    ropeway_operation_options_t options;

    ropeway_operation_options_init(&options, sizeof options);
    memset(layout, 0, sizeof *layout);
    memset(&model, 0, sizeof model);
    for (size_t i = 0, left = 0; i < count; i++) {
        size_t quanta = sizes[unit_below(UNIT_COUNT(sizes))];

        if (model.quanta + quanta > QUANTA_MAX) {
            quanta = 0;
        }
        if (left == 0) {
            left = grouped ? 1 + (size_t)unit_below(count - i) : 1;
            groups[group_count++] = left;
        }
        left--;
        pieces[i] = (ropeway_descriptor_t){memory, quanta * QUANTUM, {ROPEWAY_DEVICE_HOST, 0}};
        if (device) {
            pieces[i].device.kind = ROPEWAY_DEVICE_CUDA;
        }
        for (size_t j = 0; j < quanta; j++, model.quanta++) {
            model.piece[model.quanta] = i;
            model.descriptor[model.quanta] = group_count - 1;
        }
    }
    if (grouped) {
        options.group_sizes = groups;
        options.group_count = group_count;
    }
    assert_accepted(rw_layout_make(layout, pieces, count, PIECES_MAX, &options));
    assert_int_equal(layout->total, model.quanta * QUANTUM);
    assert_int_equal(layout->count, group_count);
}

/* The quantum behind the last one of this quantum's piece. */
static size_t end_of_piece(size_t at) {
    size_t end = at;

    while (end < model.quanta && model.piece[end] == model.piece[at]) {
        end++;
    }
    return end;
}

/* How many quanta may go at most, by chunk size and grain. */
static size_t limit_at(const rw_situation_t *situation, size_t at) {
    size_t limit = situation->chunk_size / QUANTUM, first = at;

    while (first > 0 && model.descriptor[first - 1] == model.descriptor[at]) {
        first--;
    }
    for (size_t n = 1; situation->remote_grain > 0 && n < limit; n++) {
        if ((at + n - first) * QUANTUM % situation->remote_grain == 0) {
            return n;
        }
    }
    return limit;
}

/* Small pieces in a row, from here on: as many quanta as may go together; 0: just one piece. */
static size_t small_at(size_t at, size_t limit, size_t most, size_t largest, size_t *pieces) {
    size_t end = at;

    *pieces = 0;
    limit = limit < most / QUANTUM ? limit : most / QUANTUM;
    while (end < model.quanta && end - at < limit &&
           (end_of_piece(end) - end) * QUANTUM <= largest) {
        end = end_of_piece(end);
        ++*pieces;
    }
    end = end - at < limit ? end : at + limit;
    return *pieces > 1 ? end - at : 0;
}

/* As many as are lent in a list: of pieces that are large enough to be fetched one by one, and too
 * small to be lent one by one. 0: none. */
static size_t list_at(const rw_situation_t *situation, size_t at, size_t limit) {
    size_t pieces, listed = small_at(at, limit, RW_SCATTER_MAX, RW_GRAIN_MIN - 1, &pieces);

    return situation->lists && situation->layout->total > situation->eager_total &&
                   listed * QUANTUM > RW_EAGER_MAX && listed * QUANTUM / pieces >= RW_PIECE_MIN
               ? listed
               : 0;
}

static rw_cut_t expected(const rw_situation_t *situation, size_t at) {
    bool host = !situation->layout->any_device && !situation->remote_device;
    size_t limit = limit_at(situation, at), rest = end_of_piece(at) - at;
    size_t pieces, list = host ? list_at(situation, at, limit) : 0;
    size_t small = host ? small_at(at, limit, RW_GATHER_MAX, RW_EAGER_MAX, &pieces) : 0;
    rw_cut_t cut = {.gather = small > 0};

    if (list > 0) {
        return (rw_cut_t){.length = list * QUANTUM, .list = true, .lend = true};
    }
    cut.length = (small > 0 ? small : rest < limit ? rest : limit) * QUANTUM;
    cut.lend = cut.length > RW_EAGER_MAX;
    if (situation->layout->total <= situation->eager_total && host) {
        cut.lend = false;
    }
    return cut;
}

static void assert_same(rw_cut_t got, rw_cut_t want) {
    assert_int_equal(got.length, want.length);
    assert_int_equal(got.gather, want.gather);
    assert_int_equal(got.list, want.list);
    assert_int_equal(got.lend, want.lend);
}

static void cuts_are_those_of_the_model(void **state) {
    static const uint64_t grains[] = {0, 0, 16384, 65536, 262144, 524288};

    (void)state;
    for (int round = 0; round < 400; round++) {
        rw_layout_t layout;
        rw_cursor_t cursor = {0};
        rw_situation_t situation = {.layout = &layout,
                                    .chunk_size = (size_t)65536 << unit_below(5),
                                    .lists = unit_below(2) == 0,
                                    .eager_total = RW_EAGER_TOTAL << unit_below(3),
                                    .remote_device = unit_below(8) == 0,
                                    .remote_grain = grains[unit_below(UNIT_COUNT(grains))]};
        bool device = unit_below(8) == 0;

        make_layout(&layout, !device && unit_below(2) == 0, device);
        rw_cursor_advance(&cursor, &layout, 0);
        while (cursor.piece < layout.piece_count) {
            rw_cut_t cut = rw_decide_cut(&situation, &cursor);

            assert_same(cut, expected(&situation, (size_t)(cursor.offset / QUANTUM)));
            rw_cursor_advance(&cursor, &layout, cut.length);
        }
        assert_int_equal(cursor.offset, layout.total); /* every byte was sent once */
        rw_layout_free(&layout);
    }
}

static void a_get_or_put_ends_with_its_descriptor(void **state) {
    (void)state;
    for (int round = 0; round < 200; round++) {
        size_t chunk = (size_t)65536 << unit_below(5);
        rw_layout_t layout;
        rw_cursor_t cursor = {0};

        make_layout(&layout, unit_below(2) == 0, false);
        rw_cursor_advance(&cursor, &layout, 0);
        while (cursor.piece < layout.piece_count) {
            rw_cut_t cut = rw_decide_piece(&layout, chunk, &cursor);
            size_t first = (size_t)(cursor.offset / QUANTUM);
            size_t last = first + cut.length / QUANTUM - 1;

            assert_in_range(cut.length, 1, chunk);
            assert_int_equal(model.descriptor[first], model.descriptor[last]);
            assert_int_equal(cut.gather, model.piece[first] != model.piece[last]);
            assert_false(cut.lend);
            rw_cursor_advance(&cursor, &layout, cut.length);
        }
        assert_int_equal(cursor.offset, layout.total);
        rw_layout_free(&layout);
    }
}

static ropeway_descriptor_t piece(size_t size) {
    return (ropeway_descriptor_t){memory, size, {ROPEWAY_DEVICE_HOST, 0}};
}

static uint64_t grain_of(const size_t *sizes, size_t count, const size_t *groups,
                         size_t group_count) {
    ropeway_descriptor_t pieces[8];
    ropeway_operation_options_t options;
    rw_layout_t layout = {0};
    uint64_t grain;

    ropeway_operation_options_init(&options, sizeof options);
    options.group_sizes = groups;
    options.group_count = group_count;
    for (size_t i = 0; i < count; i++) {
        pieces[i] = piece(sizes[i]);
    }
    assert_accepted(rw_layout_make(&layout, pieces, count, 8, &options));
    grain = rw_decide_grain(&layout);
    rw_layout_free(&layout);
    return grain;
}

static void a_receiver_asks_for_messages_that_fit_its_pieces(void **state) {
    static const size_t large = (size_t)1 << 20, small = (size_t)4 << 10;
    const size_t alike[] = {large, large, large, large / 2}, one[] = {4}, two[] = {2, 2};
    const size_t uneven[] = {large, large / 2, large, large}, little[] = {small, small, small, 1};

    (void)state;
    assert_int_equal(grain_of(alike, 4, NULL, 0), 0); /* no groups: as the sender likes */
    assert_int_equal(grain_of(alike, 4, one, 1), large);
    assert_int_equal(grain_of(alike, 4, two, 2), large); /* the last of a group may be shorter */
    assert_int_equal(grain_of(uneven, 4, one, 1), RW_GATHER_MAX);
    assert_int_equal(grain_of(little, 4, one, 1), RW_GATHER_MAX);
}

static void small_writes_go_with_their_request(void **state) {
    ropeway_operation_options_t options;
    ropeway_descriptor_t fits = piece(RW_INLINE_MAX), does_not = piece(RW_INLINE_MAX + 1);
    rw_layout_t layout = {0};

    (void)state;
    ropeway_operation_options_init(&options, sizeof options);
    assert_accepted(rw_layout_make(&layout, &fits, 1, 1, &options));
    assert_true(rw_decide_inline(&layout, false));
    assert_false(rw_decide_inline(&layout, true)); /* its checksum comes after the bytes */
    rw_layout_free(&layout);
    memset(&layout, 0, sizeof layout);
    assert_accepted(rw_layout_make(&layout, &does_not, 1, 1, &options));
    assert_false(rw_decide_inline(&layout, false));
    rw_layout_free(&layout);
}

/* Where this byte of the layout lies, the slow way. */
static const char *find_byte(const rw_layout_t *layout, uint64_t offset) {
    size_t piece = 0;

    while (offset >= layout->pieces[piece].size) {
        offset -= layout->pieces[piece++].size;
    }
    return (const char *)layout->pieces[piece].ptr + offset;
}

static void a_list_has_every_byte_where_it_lies(void **state) {
    static const size_t sizes[] = {0, 1, 2, 700, 4096};
    ropeway_operation_options_t options;

    (void)state;
    ropeway_operation_options_init(&options, sizeof options);
    for (int round = 0; round < 300; round++) {
        ropeway_descriptor_t pieces[PIECES_MAX];
        rw_layout_t layout = {0};
        uint64_t offset, length;
        struct iovec *list;
        size_t count;
        uintptr_t at = 1 << 20; /* that nobody reads */

        for (size_t i = 0; i < PIECES_MAX; i++) {
            at += unit_below(2); /* some are neighbours */
            pieces[i] = (ropeway_descriptor_t){.ptr = (void *)at,
                                               .size = sizes[unit_below(UNIT_COUNT(sizes))]};
            pieces[i].size += i == 0;
            at += pieces[i].size;
        }
        assert_accepted(rw_layout_make(&layout, pieces, PIECES_MAX, PIECES_MAX, &options));
        offset = unit_below(layout.total);
        length = 1 + unit_below(layout.total - offset);
        list = rw_layout_list(&layout, offset, (size_t)length, &count);
        assert_non_null(list);
        for (size_t i = 0; i < count; i++) {
            assert_in_range(list[i].iov_len, 1, length);
            assert_true(i == 0 || (char *)list[i - 1].iov_base + list[i - 1].iov_len <
                                      (char *)list[i].iov_base);
            assert_ptr_equal(list[i].iov_base, find_byte(&layout, offset));
            offset += list[i].iov_len;
            length -= list[i].iov_len;
            assert_ptr_equal((char *)list[i].iov_base + list[i].iov_len - 1,
                             find_byte(&layout, offset - 1));
        }
        assert_int_equal(length, 0);
        free(list);
        rw_layout_free(&layout);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_are_those_of_the_model),
        cmocka_unit_test(a_get_or_put_ends_with_its_descriptor),
        cmocka_unit_test(a_receiver_asks_for_messages_that_fit_its_pieces),
        cmocka_unit_test(small_writes_go_with_their_request),
        cmocka_unit_test(a_list_has_every_byte_where_it_lies),
    };

    return cmocka_run_group_tests(tests, unit_seed, NULL);
}
