/* SPDX-License-Identifier: Apache-2.0 */
/* The tracker of received bytes, held against a map with one flag per byte. */
#include "base/extent.h"
#include "unit.h"

#define BYTES 2000

typedef struct model {
    bool seen[BYTES];
    size_t first_hole;
} model_t;

static bool overlaps(const model_t *model, size_t offset, size_t length) {
    for (size_t i = offset; i < offset + length; i++) {
        if (model->seen[i]) {
            return true;
        }
    }
    return false;
}

/* How many separate pieces lie beyond the first hole. */
static size_t pieces(const model_t *model) {
    size_t count = 0;

    for (size_t i = model->first_hole + 1; i < BYTES; i++) {
        count += model->seen[i] && !model->seen[i - 1] ? 1 : 0;
    }
    return count;
}

static void mark(model_t *model, size_t offset, size_t length, bool seen) {
    memset(model->seen + offset, seen, length);
    model->first_hole = 0;
    while (model->first_hole < BYTES && model->seen[model->first_hole]) {
        model->first_hole++;
    }
}

/* Returns whether the piece was taken. */
static bool add_to_both(rw_extents_t *extents, model_t *model, size_t offset, size_t length) {
    bool fits = !overlaps(model, offset, length);

    if (fits && length > 0) {
        mark(model, offset, length, true);
        if (pieces(model) > RW_EXTENTS_MAX) {
            mark(model, offset, length, false);
            fits = false;
        }
    }
    assert_int_equal(rw_extents_add(extents, offset, length), fits ? 0 : -1);
    assert_int_equal(extents->contiguous, model->first_hole);
    assert_int_equal(extents->count, pieces(model));
    return fits;
}

static void assert_like_model(const rw_extents_t *extents, const model_t *model) {
    size_t at = model->first_hole;

    for (uint32_t i = 0; i < extents->count; i++) {
        for (; at < extents->later[i].begin; at++) {
            assert_false(model->seen[at]);
        }
        for (; at < extents->later[i].end; at++) {
            assert_true(model->seen[at]);
        }
    }
    for (; at < BYTES; at++) {
        assert_false(model->seen[at]);
    }
}

static void random_pieces_agree_with_a_byte_map(void **state) {
    size_t refused = 0;

    (void)state;
    for (size_t round = 0, rounds = ts_scaled(300, 20); round < rounds; round++) {
        rw_extents_t extents = {0};
        model_t model = {0};
        size_t longest = 1 + unit_below(round % 2 == 0 ? 3 : 300);

        for (int i = 0; i < 1500; i++) {
            size_t length = unit_below(longest + 1);
            size_t offset = unit_below(8) == 0 ? model.first_hole : unit_below(BYTES);

            if (offset + length <= BYTES) {
                refused += add_to_both(&extents, &model, offset, length) ? 0 : 1;
            }
        }
        assert_like_model(&extents, &model);
        rw_extents_free(&extents);
    }
    assert_true(refused > 0);
}

static void any_order_of_chunks_ends_in_one_piece(void **state) {
    enum { CHUNKS = 200, CHUNK = 4096 };
    uint32_t order[CHUNKS];
    rw_extents_t extents = {0};

    (void)state;
    for (uint32_t i = 0; i < CHUNKS; i++) {
        uint32_t other = (uint32_t)unit_below(i + 1);

        order[i] = order[other];
        order[other] = i;
    }
    for (uint32_t i = 0; i < CHUNKS; i++) {
        assert_int_equal(rw_extents_add(&extents, (uint64_t)order[i] * CHUNK, CHUNK), 0);
        assert_int_equal(rw_extents_add(&extents, (uint64_t)order[i] * CHUNK + 5, 1), -1);
    }
    assert_int_equal(extents.contiguous, CHUNKS * CHUNK);
    assert_int_equal(extents.count, 0);
    rw_extents_free(&extents);
}

static void pieces_in_order_allocate_nothing(void **state) {
    rw_extents_t extents = {0};

    (void)state;
    for (uint64_t i = 0; i < 100000; i++) {
        assert_int_equal(rw_extents_add(&extents, extents.contiguous, 1 + i % 7), 0);
        assert_int_equal(rw_extents_add(&extents, i * 1000000, 0), 0);
    }
    assert_null(extents.later);
    assert_int_equal(rw_extents_add(&extents, extents.contiguous - 1, 1), -1);
}

static void more_than_256_pieces_are_refused_until_one_joins(void **state) {
    rw_extents_t extents = {0};

    (void)state;
    for (uint64_t i = 1; i <= RW_EXTENTS_MAX; i++) {
        assert_int_equal(rw_extents_add(&extents, i * 10, 5), 0);
    }
    assert_int_equal(rw_extents_add(&extents, 5000, 5), -1);
    assert_int_equal(rw_extents_add(&extents, 15, 5), 0);
    assert_int_equal(rw_extents_add(&extents, 5000, 5), 0);
    assert_int_equal(rw_extents_add(&extents, 6000, 5), -1);
    assert_int_equal(rw_extents_add(&extents, 0, 10), 0);
    assert_int_equal(extents.contiguous, 25);
    assert_int_equal(rw_extents_add(&extents, 6000, 5), 0);
    rw_extents_free(&extents);
    assert_null(extents.later);
    assert_int_equal(extents.contiguous, 0);
}

static void ranges_past_the_end_of_numbers_are_refused(void **state) {
    rw_extents_t extents = {0};

    (void)state;
    assert_int_equal(rw_extents_add(&extents, UINT64_MAX, 2), -1);
    assert_int_equal(rw_extents_add(&extents, 1, UINT64_MAX), -1);
    assert_int_equal(rw_extents_add(&extents, UINT64_MAX, 0), 0);
    assert_int_equal(rw_extents_add(&extents, UINT64_MAX - 1, 1), 0);
    assert_int_equal(rw_extents_add(&extents, 0, UINT64_MAX), -1);
    assert_int_equal(rw_extents_add(&extents, 0, UINT64_MAX - 1), 0);
    assert_true(extents.contiguous == UINT64_MAX);
    rw_extents_free(&extents);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_pieces_agree_with_a_byte_map),
        cmocka_unit_test(any_order_of_chunks_ends_in_one_piece),
        cmocka_unit_test(pieces_in_order_allocate_nothing),
        cmocka_unit_test(more_than_256_pieces_are_refused_until_one_joins),
        cmocka_unit_test(ranges_past_the_end_of_numbers_are_refused),
    };

    return cmocka_run_group_tests(tests, unit_seed, NULL);
}
