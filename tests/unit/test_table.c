/* SPDX-License-Identifier: Apache-2.0 */
/* The table of ids, held against plain flags. */
#include "base/table.h"
#include "unit.h"

#define NODES 5000

static void make_id(size_t number, uint8_t id[RW_ID_BYTES]) {
    memset(id, 0, RW_ID_BYTES);
    memcpy(id, &number, sizeof number);
}

static void random_steps_agree_with_flags(void **state) {
    rw_table_node_t *nodes = calloc(NODES, sizeof *nodes);
    bool in[NODES] = {false};
    size_t count = 0;
    rw_table_t table;

    (void)state;
    assert_non_null(nodes);
    assert_true(rw_table_init(&table));
    for (size_t i = 0; i < NODES; i++) {
        make_id(i, nodes[i].id);
    }
    for (size_t step = 0, steps = ts_scaled(300000, 10000); step < steps; step++) {
        size_t i = unit_below(NODES);

        assert_ptr_equal(rw_table_find(&table, nodes[i].id), in[i] ? &nodes[i] : NULL);
        if (!in[i]) {
            assert_false(rw_table_remove(&table, &nodes[i]));
            rw_table_add(&table, &nodes[i]);
            count++;
        } else {
            assert_true(rw_table_remove(&table, &nodes[i]));
            count--;
        }
        in[i] = !in[i];
        assert_int_equal(table.count, count);
    }
    rw_table_free(&table);
    free(nodes);
}

static void a_full_table_grows_and_keeps_its_nodes(void **state) {
    rw_table_node_t *nodes = calloc(NODES, sizeof *nodes);
    rw_table_t table;

    (void)state;
    assert_non_null(nodes);
    assert_true(rw_table_init(&table));
    for (size_t i = 0; i < NODES; i++) {
        make_id(i, nodes[i].id);
        rw_table_add(&table, &nodes[i]);
    }
    assert_true(table.mask + 1 >= NODES / 2);
    for (size_t i = 0; i < NODES; i++) {
        assert_ptr_equal(rw_table_find(&table, nodes[i].id), &nodes[i]);
    }
    rw_table_free(&table);
    assert_int_equal(table.count, 0);
    free(nodes);
}

static void chosen_ids_land_in_different_buckets_in_each_table(void **state) {
    enum { TABLES = 64 };
    rw_table_t tables[TABLES];
    rw_table_node_t node = {.id = {1}};
    size_t places = 0;

    (void)state;
    for (size_t i = 0; i < TABLES; i++) {
        assert_true(rw_table_init(&tables[i]));
        rw_table_add(&tables[i], &node);
        for (size_t bucket = 0; bucket <= tables[i].mask; bucket++) {
            places |= tables[i].buckets[bucket] == &node ? (size_t)1 << bucket % 64 : 0;
        }
        rw_table_free(&tables[i]);
    }
    /* One bucket in all 64 tables would be a chance of 64 ** -63. */
    assert_true((places & (places - 1)) != 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_steps_agree_with_flags),
        cmocka_unit_test(a_full_table_grows_and_keeps_its_nodes),
        cmocka_unit_test(chosen_ids_land_in_different_buckets_in_each_table),
    };

    return cmocka_run_group_tests(tests, unit_seed, NULL);
}
