/* SPDX-License-Identifier: Apache-2.0 */
/* Which memory may be read and not written, and which is a file's: the kernel says so, and nothing
 * else is taken for it. */
#include "unit.h"

#include "ucx/ucx.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGES 4

static size_t page;

static uint8_t *map(int protection, int flags, int fd) {
    uint8_t *memory = mmap(NULL, PAGES * page, protection, flags, fd, 0);

    assert_ptr_not_equal(memory, MAP_FAILED);
    return memory;
}

static void unmap(uint8_t *memory) {
    assert_int_equal(munmap(memory, PAGES * page), 0);
}

static uint8_t *map_anonymous(int protection) {
    return map(protection, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static int open_file(void) {
    int fd = memfd_create("unit", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)(PAGES * page)), 0);
    return fd;
}

/* Before Linux 5.14 nobody is told. */
static bool kernel_tells(void) {
    void *memory = mmap(NULL, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool tells = rw_ucx_is_read_only(memory, page) || errno != EINVAL;

    munmap(memory, page);
    return tells;
}

static void memory_that_may_be_written_is_not_read_only(void **state) {
    uint8_t *memory = map_anonymous(PROT_READ | PROT_WRITE);
    int fd = open_file();
    uint8_t *file = map(PROT_READ | PROT_WRITE, MAP_SHARED, fd);

    (void)state;
    memory[1] = 5;
    assert_false(rw_ucx_is_read_only(memory, PAGES * page));
    assert_false(rw_ucx_is_read_only(memory + 1, 1));
    assert_false(rw_ucx_is_read_only(file, PAGES * page));
    assert_int_equal(memory[1], 5);
    unmap(memory);
    unmap(file);
    close(fd);
}

static void constants_and_files_mapped_for_reading_are(void **state) {
    static const char constant[] = "constant";
    int fd = open_file();
    uint8_t *shared = map(PROT_READ, MAP_SHARED, fd), *private = map(PROT_READ, MAP_PRIVATE, fd);

    (void)state;
    assert_true(rw_ucx_is_read_only(constant, sizeof constant));
    assert_true(rw_ucx_is_read_only(shared, PAGES * page));
    assert_true(rw_ucx_is_read_only(private + 7, page));
    unmap(shared);
    unmap(private);
    close(fd);
}

static void its_first_or_its_last_page_is_enough(void **state) {
    uint8_t *memory = map_anonymous(PROT_READ | PROT_WRITE);

    (void)state;
    assert_int_equal(mprotect(memory, page, PROT_READ), 0);
    assert_true(rw_ucx_is_read_only(memory + page - 1, 2));
    assert_false(rw_ucx_is_read_only(memory + page, page));
    assert_int_equal(mprotect(memory, page, PROT_READ | PROT_WRITE), 0);
    assert_int_equal(mprotect(memory + 3 * page, page, PROT_READ), 0);
    assert_true(rw_ucx_is_read_only(memory, 3 * page + 1));
    assert_false(rw_ucx_is_read_only(memory, 3 * page));
    unmap(memory);
}

/* Whoever would copy it would be killed. */
static void memory_that_can_not_be_read_is_not(void **state) {
    uint8_t *memory = map_anonymous(PROT_READ);
    int fd = open_file();
    uint8_t *file = map(PROT_READ, MAP_SHARED, fd);

    (void)state;
    assert_int_equal(mprotect(memory + page, page, PROT_NONE), 0);
    assert_false(rw_ucx_is_read_only(memory, PAGES * page));
    assert_int_equal(ftruncate(fd, (off_t)page), 0);
    assert_false(rw_ucx_is_read_only(file, PAGES * page));
    assert_true(rw_ucx_is_read_only(file, page));
    assert_int_equal(munmap(memory + 2 * page, page), 0);
    assert_false(rw_ucx_is_read_only(memory + 2 * page, 1));
    assert_false(rw_ucx_is_read_only(memory, 0));
    unmap(memory);
    unmap(file);
    close(fd);
}

static void pages_of_files_are_told_from_the_process_s_own(void **state) {
    int fd = open_file(), pagemap = rw_ucx_open_pagemap();
    uint8_t *own = map_anonymous(PROT_READ | PROT_WRITE);
    uint8_t *shared = map(PROT_READ | PROT_WRITE, MAP_SHARED, fd);
    uint8_t *private = map(PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);

    (void)state;
    if (pagemap < 0) {
        skip();
    }
    for (size_t i = 0; i < PAGES; i++) {
        own[i * page] = shared[i * page] = private[i * page] = 1; /* the last is a copy now */
        assert_false(rw_ucx_is_of_file(pagemap, own + i * page + 5));
        assert_true(rw_ucx_is_of_file(pagemap, shared + i * page + 5));
        assert_false(rw_ucx_is_of_file(pagemap, private + i * page + 5));
    }
    assert_false(rw_ucx_is_of_file(-1, shared));
    unmap(own);
    unmap(shared);
    unmap(private);
    assert_false(rw_ucx_is_of_file(pagemap, shared));
    assert_false(rw_ucx_is_of_file(pagemap, (void *)UINTPTR_MAX));
    close(pagemap);
    close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_that_may_be_written_is_not_read_only),
        cmocka_unit_test(constants_and_files_mapped_for_reading_are),
        cmocka_unit_test(its_first_or_its_last_page_is_enough),
        cmocka_unit_test(memory_that_can_not_be_read_is_not),
        cmocka_unit_test(pages_of_files_are_told_from_the_process_s_own),
    };

    page = (size_t)sysconf(_SC_PAGESIZE);
    return kernel_tells() ? cmocka_run_group_tests_name("ucx_registrable", tests, NULL, NULL) : 77;
}
