/* SPDX-License-Identifier: Apache-2.0 */
/* The heap of timers, held against a search through all of them. */
#include "base/timer.h"
#include "unit.h"

#define TIMERS 300

static void promise(rw_timers_t *heap) {
    for (size_t i = 0; i < TIMERS; i++) {
        assert_true(rw_timer_promise(heap));
    }
}

static uint64_t earliest(const uint64_t *due) {
    uint64_t first = RW_NEVER;

    for (size_t i = 0; i < TIMERS; i++) {
        first = due[i] < first ? due[i] : first;
    }
    return first;
}

static void the_first_is_always_the_earliest(void **state) {
    rw_timer_t timers[TIMERS] = {0};
    uint64_t due[TIMERS];
    rw_timers_t heap = {0};

    (void)state;
    memset(due, 0xff, sizeof due); /* RW_NEVER */
    promise(&heap);
    for (size_t step = 0, steps = ts_scaled(100000, 10000); step < steps; step++) {
        size_t i = unit_below(TIMERS);
        rw_timer_t *first;

        due[i] = unit_below(3) == 0 ? RW_NEVER : unit_below(1000);
        rw_timer_set(&heap, &timers[i], due[i]);
        first = rw_timers_first(&heap);
        if (earliest(due) == RW_NEVER) {
            assert_null(first);
            continue;
        }
        assert_non_null(first);
        assert_true(first->due == earliest(due));
        assert_true(due[first - timers] == first->due);
    }
    rw_timers_free(&heap);
}

static void timers_are_taken_off_in_order(void **state) {
    rw_timer_t timers[TIMERS] = {0};
    rw_timers_t heap = {0};
    uint64_t last = 0;
    size_t taken = 0;

    (void)state;
    promise(&heap);
    for (size_t i = 0; i < TIMERS; i++) {
        rw_timer_set(&heap, &timers[i], unit_below(100));
    }
    for (rw_timer_t *first; (first = rw_timers_first(&heap)) != NULL; taken++) {
        assert_true(first->due >= last);
        last = first->due;
        rw_timer_set(&heap, first, RW_NEVER);
        rw_timer_set(&heap, first, RW_NEVER);
        assert_int_equal(first->place, 0);
    }
    assert_int_equal(taken, TIMERS);
    assert_int_equal(heap.count, 0);
    rw_timers_free(&heap);
}

static void the_clock_does_not_go_back(void **state) {
    uint64_t last = rw_now();

    (void)state;
    for (int i = 0; i < 1000; i++) {
        uint64_t now = rw_now();

        assert_true(now >= last);
        last = now;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_is_always_the_earliest),
        cmocka_unit_test(timers_are_taken_off_in_order),
        cmocka_unit_test(the_clock_does_not_go_back),
    };

    return cmocka_run_group_tests(tests, unit_seed, NULL);
}
