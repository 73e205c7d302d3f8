/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that RDMA devices don't take: what may not be written, as a file that is mapped for
 * reading or a constant, which is sent; and files that are mapped to be written, which are sent and
 * filled. Those lie in TMPDIR: on a disk, or what is like one. */
#include "lists.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SEED 31
#define SIZE ((size_t)5000001) /* a whole chunk, and part of one */
#define SPEC "5000001"

static const ropeway_device_t host = {.kind = ROPEWAY_DEVICE_HOST};

/* Maps memory with the pattern of SEED. */
static ropeway_descriptor_t map_pattern(void) {
    ts_region_t *region = ts_region_new(SPEC, 0);
    void *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    ts_region_pattern(region, SEED);
    memcpy(memory, region->descriptors[0].ptr, SIZE);
    ts_region_free(region);
    return (ropeway_descriptor_t){.ptr = memory, .size = SIZE, .device = host};
}

static void protect(const ropeway_descriptor_t *memory, int protection) {
    assert_int_equal(mprotect(memory->ptr, memory->size, protection), 0);
}

/* The peer's side of an operation of the given kind, begun or offered. */
static ropeway_operation_t *start(ropeway_connector_t *connector, ts_peer_t *peer, bool is_active,
                                  const ropeway_descriptor_t *memory, size_t count,
                                  const char *spec) {
    ropeway_operation_t *operation;
    const char *offered;
    if (is_active) {
        size_t length;
        ts_peer_ask(peer, "writable 0 %s %d", spec, SEED);
        char *metadata = ts_peer_metadata(peer, 0, &length);
        assert_ok(
            ropeway_begin_write(connector, metadata, length, memory, count, NULL, &operation));
        free(metadata);
    } else {
        assert_ok(ropeway_create_readable(connector, memory, count, NULL, &operation));
        assert_ok(ropeway_operation_metadata(operation, &offered));
        assert_ok(ts_peer_begin(peer, "read", 0, spec, SEED, "", offered, strlen(offered)));
    }
    return operation;
}

/* By a write, and by the peer's read. */
static void move(ropeway_connector_t *connector, ts_peer_t *peer,
                 const ropeway_descriptor_t *memory, size_t count, const char *spec) {
    for (int is_active = 0; is_active < 2; is_active++) {
        ropeway_operation_t *operation = start(connector, peer, is_active, memory, count, spec);
        char path[256] = "";
        assert_complete(ts_wait(operation));
        assert_complete(ts_peer_wait(peer, 0));
        assert_int_equal(ts_peer_number(peer, "matches 0 %d", SEED), 1);
        ropeway_operation_path(operation, path, sizeof path);
        print_message("over %s\n", path);
        assert_true(!ts_transport_is("rc") || strstr(path, "rc_verbs/rxe") != NULL);
        ts_peer_ask(peer, "release 0");
        ropeway_operation_release(operation);
    }
}

static void read_only_memory_is_sent(void **state) {
    (void)state;
    static const size_t sizes[] = {1, 4096, 30000, 65537, 1048579, SIZE};
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    ropeway_descriptor_t memory = map_pattern();
    protect(&memory, PROT_READ);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char spec[32];
        memory.size = sizes[i];
        snprintf(spec, sizeof spec, "%zu", sizes[i]);
        move(connector, peer, &memory, 1, spec);
    }
    ts_assert_works(connector, peer);
    munmap(memory.ptr, SIZE);
}

/* The second of three pieces: a whole one, and less than a page at either end of others. */
static void read_only_memory_may_lie_among_other_memory(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    ropeway_descriptor_t whole = map_pattern(), pieces[3] = {whole, whole, whole};
    pieces[0].size = (size_t)1 << 20;
    pieces[1].ptr = (char *)whole.ptr + pieces[0].size;
    pieces[1].size = (size_t)2 << 20;
    pieces[2].ptr = (char *)pieces[1].ptr + pieces[1].size;
    pieces[2].size = SIZE - pieces[0].size - pieces[1].size;
    protect(&pieces[1], PROT_READ);
    ropeway_operation_options_t options;
    size_t group = 3;
    ropeway_operation_t *operation;
    const char *metadata;
    ropeway_operation_options_init(&options, sizeof options);
    options.group_sizes = &group;
    options.group_count = 1;
    assert_ok(ropeway_create_readable(connector, pieces, 3, &options, &operation));
    assert_ok(ropeway_operation_metadata(operation, &metadata));
    assert_ok(ts_peer_begin(peer, "read", 0, SPEC, SEED, "", metadata, strlen(metadata)));
    assert_complete(ts_wait(operation));
    assert_complete(ts_peer_wait(peer, 0));
    assert_int_equal(ts_peer_number(peer, "matches 0 %d", SEED), 1);
    ropeway_operation_release(operation);
    munmap(whole.ptr, SIZE);
}

static void read_only_memory_may_be_registered(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    ropeway_descriptor_t memory = map_pattern();
    ropeway_memory_t *registration;
    ts_assert_works(connector, peer); /* what moves bytes has started */
    protect(&memory, PROT_READ);
    assert_ok(ropeway_memory_register(connector, memory.ptr, SIZE, host, &registration));
    assert_int_equal(ts_stats(connector).memory_registered, SIZE);
    move(connector, peer, &memory, 1, SPEC);
    ropeway_memory_release(registration);
    assert_int_equal(ts_stats(connector).memory_registered, 0);
    munmap(memory.ptr, SIZE);
}

/* A new file's memory. */
static void *map_file(char *name, size_t size) {
    const char *folder = getenv("TMPDIR");
    snprintf(name, PATH_MAX, "%s/ropeway-test-XXXXXX", folder != NULL ? folder : "/tmp");
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    close(fd);
    return memory;
}

/* By a read, and by the peer's write. */
static void fill(ropeway_connector_t *connector, ts_peer_t *peer,
                 const ropeway_descriptor_t *memory, const char *spec, const void *pattern) {
    for (int is_active = 0; is_active < 2; is_active++) {
        ropeway_operation_t *operation;
        const char *offered;
        memset(memory->ptr, 0, memory->size);
        if (is_active) {
            size_t length;
            ts_peer_ask(peer, "readable 0 %s %d", spec, SEED);
            char *metadata = ts_peer_metadata(peer, 0, &length);
            assert_ok(ropeway_begin_read(connector, metadata, length, memory, 1, NULL, &operation));
            free(metadata);
        } else {
            assert_ok(ropeway_create_writable(connector, memory, 1, NULL, &operation));
            assert_ok(ropeway_operation_metadata(operation, &offered));
            assert_ok(ts_peer_begin(peer, "write", 0, spec, SEED, "", offered, strlen(offered)));
        }
        assert_complete(ts_wait(operation));
        assert_complete(ts_peer_wait(peer, 0));
        assert_memory_equal(memory->ptr, pattern, memory->size);
        ts_peer_ask(peer, "release 0");
        ropeway_operation_release(operation);
    }
}

static void files_that_are_mapped_are_sent_and_filled(void **state) {
    (void)state;
    static const size_t sizes[] = {4096, 70001, 1048579, SIZE};
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    ropeway_descriptor_t pattern = map_pattern(), memory = {.device = host};
    char name[PATH_MAX];
    memory.ptr = map_file(name, SIZE);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char spec[32];
        memory.size = sizes[i];
        snprintf(spec, sizeof spec, "%zu", sizes[i]);
        memcpy(memory.ptr, pattern.ptr, sizes[i]);
        move(connector, peer, &memory, 1, spec);
        fill(connector, peer, &memory, spec, pattern.ptr);
    }
    ts_assert_works(connector, peer);
    munmap(memory.ptr, SIZE);
    munmap(pattern.ptr, SIZE);
    assert_int_equal(unlink(name), 0);
}

static void files_that_are_mapped_may_be_registered(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    ropeway_descriptor_t pattern = map_pattern(), memory = {.size = SIZE, .device = host};
    ropeway_memory_t *registration;
    char name[PATH_MAX];
    memory.ptr = map_file(name, SIZE);
    memcpy(memory.ptr, pattern.ptr, SIZE);
    ts_assert_works(connector, peer); /* what moves bytes has started */
    assert_ok(ropeway_memory_register(connector, memory.ptr, SIZE, host, &registration));
    move(connector, peer, &memory, 1, SPEC);
    fill(connector, peer, &memory, SPEC, pattern.ptr);
    ropeway_memory_release(registration);
    munmap(memory.ptr, SIZE);
    munmap(pattern.ptr, SIZE);
    assert_int_equal(unlink(name), 0);
}

static const struct CMUnitTest tests[] = {
    TS_TEST(read_only_memory_is_sent),
    TS_TEST(read_only_memory_may_lie_among_other_memory),
    TS_TEST(read_only_memory_may_be_registered),
    TS_TEST(files_that_are_mapped_are_sent_and_filled),
    TS_TEST(files_that_are_mapped_may_be_registered),
};

TS_LIST(ts_list_mapped, tests);
