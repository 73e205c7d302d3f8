/* SPDX-License-Identifier: Apache-2.0 */
/* Running out of memory at any step of reading or writing metadata is an error like others, and
 * leaks nothing. The linker sends the library's allocations through the functions below. */
#include "base/extent.h"
#include "base/timer.h"
#include "native/message.h"
#include "unit.h"

static size_t calls;
static size_t failing_call; /* 1: the first from now on; 0: none */
static long held;           /* blocks, since the count began */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void __real_free(void *memory);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void __wrap_free(void *memory);

static bool fails(void) {
    return ++calls == failing_call;
}

static void *counted(void *memory) {
    held += memory != NULL ? 1 : 0;
    return memory;
}

void *__wrap_malloc(size_t size) {
    return fails() ? NULL : counted(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size) {
    return fails() ? NULL : counted(__real_calloc(count, size));
}

void *__wrap_realloc(void *memory, size_t size) {
    if (fails()) {
        return NULL;
    }
    return memory == NULL ? counted(__real_realloc(NULL, size)) : __real_realloc(memory, size);
}

void __wrap_free(void *memory) {
    held -= memory != NULL ? 1 : 0;
    __real_free(memory);
}

static void fail_at(size_t call) {
    calls = 0;
    held = 0;
    failing_call = call;
}

/* Runs work with its first allocation failing, its second, and so on until none is left to fail.
 * Returns how many there are. */
static size_t fail_each(ropeway_error_t (*work)(void *arg), void *arg) {
    for (size_t call = 1;; call++) {
        ropeway_error_t error;
        size_t made;

        fail_at(call);
        error = work(arg);
        made = calls;
        failing_call = 0;
        assert_int_equal(held, 0);
        if (made < call) {
            assert_accepted(error);
            return call - 1;
        }
        assert_refused(error, ROPEWAY_ERR_NO_MEMORY, "no memory for");
    }
}

static ropeway_error_t parse(void *arg) {
    ropeway_metadata_t *metadata = (ropeway_metadata_t *)&metadata;
    ropeway_error_t error = ropeway_metadata_parse(arg, strlen(arg), 0, &metadata);

    if (error != ROPEWAY_OK) {
        assert_null(metadata);
    }
    ropeway_metadata_release(metadata);
    return error;
}

static ropeway_error_t encode(void *arg) {
    enum { COUNT = 100 };
    ropeway_descriptor_t descriptors[COUNT];
    char *json;
    size_t length;
    ropeway_error_t error;

    for (size_t i = 0; i < COUNT; i++) {
        descriptors[i] = (ropeway_descriptor_t){arg, i, {ROPEWAY_DEVICE_HOST, 0}};
    }
    error = rw_metadata_encode(ROPEWAY_OPERATION_READABLE, descriptors, COUNT, "agent", NULL, 0,
                               NULL, 0, "key", RW_METADATA_MAX_DEFAULT, &json, &length);
    if (error == ROPEWAY_OK) {
        free(json);
    }
    return error;
}

static void parsing_survives_each_allocation_that_fails(void **state) {
    static char text[] =
        "{\"descriptors\":[{\"device\":\"cpu\",\"ptr\":1,\"size\":2},"
        "{\"device\":\"cpu\",\"ptr\":1,\"size\":2},{\"device\":\"cpu\",\"ptr\":1,\"size\":2},"
        "{\"device\":\"cpu\",\"ptr\":1,\"size\":2},{\"device\":\"cpu\",\"ptr\":1,\"size\":2}],"
        "\"nixl_metadata\":\"b64:eJzLy6zICU4tckktrnFMT80rYWSAgMQa5\\/y8vGIOBlRQwwVl+KbmBqcml2Tm"
        "59XkgY1Ids3JxVQOAAzQEzU=\",\"notification_key\":\"key\",\"operation_kind\":2}";

    (void)state;
    assert_in_range(fail_each(parse, text), 8, 20);
}

static void encoding_survives_each_allocation_that_fails(void **state) {
    (void)state;
    assert_in_range(fail_each(encode, &state), 6, 20);
}

static void a_piece_that_finds_no_memory_changes_nothing(void **state) {
    rw_extents_t extents = {.contiguous = 1};

    (void)state;
    fail_at(1);
    assert_int_equal(rw_extents_add(&extents, 10, 5), -1);
    assert_int_equal(extents.contiguous, 1);
    assert_int_equal(extents.count, 0);
    assert_int_equal(rw_extents_add(&extents, 10, 5), 0);
    rw_extents_free(&extents);
    assert_int_equal(held, 0);
}

static void a_table_that_cannot_grow_stays_right(void **state) {
    enum { NODES = 1000 };
    static rw_table_node_t nodes[NODES];
    rw_table_t table;

    (void)state;
    fail_at(1);
    assert_false(rw_table_init(&table));
    assert_true(rw_table_init(&table));
    for (size_t i = 0; i < NODES; i++) {
        memcpy(nodes[i].id, &i, sizeof i);
        fail_at(1);
        rw_table_add(&table, &nodes[i]);
    }
    for (size_t i = 0; i < NODES; i++) {
        assert_ptr_equal(rw_table_find(&table, nodes[i].id), &nodes[i]);
    }
    rw_table_free(&table);
}

static void timers_and_hellos_report_a_lack_of_memory(void **state) {
    rw_timers_t timers = {0};
    rw_hello_t hello = {.name = "n", .address = (const uint8_t *)"a", .address_length = 1};
    size_t length;

    (void)state;
    fail_at(1);
    assert_false(rw_timer_promise(&timers));
    assert_int_equal(timers.capacity, 0);
    fail_at(1);
    assert_null(rw_hello_encode(&hello, &length));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parsing_survives_each_allocation_that_fails),
        cmocka_unit_test(encoding_survives_each_allocation_that_fails),
        cmocka_unit_test(a_piece_that_finds_no_memory_changes_nothing),
        cmocka_unit_test(a_table_that_cannot_grow_stays_right),
        cmocka_unit_test(timers_and_hellos_report_a_lack_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
