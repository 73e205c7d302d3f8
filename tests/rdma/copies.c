/* SPDX-License-Identifier: Apache-2.0 */
/* Large transfers between registered memories are not copied: UCX itself says which protocols it
 * used, into the file UCX_LOG_FILE, which tests/rdma/guest sets beside UCX_PROTO_INFO=used. What is
 * registered for an operation, and the key to it, ends with the operation; what was registered
 * ahead is found again, as is everything with UCX's cache, but not after the memory has been
 * another's. */
#include "lab.h"
#include "lists.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHUNK ((size_t)1 << 20)
#define CHUNKS 16
#define SIZE (CHUNK * CHUNKS)
#define SIDE "chunk_size=1048576"

/* How often bytes that lay in a sender's memory were fetched or sent in one way or the other. */
typedef struct uses {
    unsigned long zero_copy, copied;
} uses_t;

static FILE *open_protocols(void) {
    const char *name = getenv("UCX_LOG_FILE");
    FILE *file = name != NULL ? fopen(name, "re") : NULL;
    if (file == NULL) {
        fail_msg("UCX_LOG_FILE must name a file, and UCX_PROTO_INFO must be \"used\"");
    }
    return file;
}

static long end_of_protocols(void) {
    fflush(NULL); /* UCX's stream is one of this process */
    FILE *file = open_protocols();
    fseek(file, 0, SEEK_END);
    long end = ftell(file);
    fclose(file);
    return end;
}

/* Reads the tables that UCX wrote from there on. A table has a title of two lines, and rows
 * "| COUNT | RANGE | DESCRIPTION | DEVICES |"; those of the rendezvous carry the large bytes.
 * Nobody copies where one side's device reads from or writes to the remote memory; what is
 * "zero-copy" alone is copied by the receiver. */
static uses_t read_protocols(long start) {
    char line[1024];
    uses_t uses = {0};
    bool is_large = false;
    fflush(NULL);
    FILE *file = open_protocols();
    fseek(file, start, SEEK_SET);
    while (fgets(line, sizeof line, file) != NULL) {
        const char *row = strchr(line, '|');
        char *rest;
        if (row == NULL) {
            continue;
        }
        if (strstr(row, " by ucp_") != NULL || strstr(row, "rendezvous data") != NULL) {
            is_large = strstr(row, "rendezvous data") != NULL;
        }
        unsigned long count = strtoul(row + 1, &rest, 10);
        if (!is_large || rest == row + 1 || strchr(rest, '|') == NULL) {
            continue;
        }
        print_message("%s", row);
        if (strstr(row, "zero-copy") != NULL && strstr(row, "remote ") != NULL &&
            strstr(row, "_verbs/rxe") != NULL) {
            uses.zero_copy += count;
        } else {
            uses.copied += count;
        }
    }
    fclose(file);
    return uses;
}

/* One side: a connector on a device of its own, and memory. */
typedef struct side {
    ropeway_connector_t *connector;
    uint8_t *memory;
    ropeway_memory_t *registration;
} side_t;

static uint8_t *map(void *where) {
    uint8_t *memory =
        mmap(where, SIZE, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | (where != NULL ? MAP_FIXED_NOREPLACE : 0), -1, 0);
    if (memory == MAP_FAILED) {
        fail_msg("no memory of %zu bytes at %p: %m", SIZE, where);
    }
    return memory;
}

static void fill(uint8_t *memory, uint32_t seed) {
    uint32_t *words = (uint32_t *)memory;
    for (size_t i = 0; i < SIZE / sizeof *words; i++) {
        words[i] = seed + (uint32_t)i * 2654435761u;
    }
}

static void assert_filled(const uint8_t *memory, uint32_t seed) {
    const uint32_t *words = (const uint32_t *)memory;
    for (size_t i = 0; i < SIZE / sizeof *words; i++) {
        assert_int_equal(words[i], seed + (uint32_t)i * 2654435761u);
    }
}

static side_t open_side(const char *options, bool registered) {
    ropeway_device_t host = {.kind = ROPEWAY_DEVICE_HOST};
    side_t side = {.connector = ts_connect(options), .memory = map(NULL)};
    if (registered) {
        assert_ok(
            ropeway_memory_register(side.connector, side.memory, SIZE, host, &side.registration));
    }
    return side;
}

static void close_side(side_t *side) {
    if (side->registration != NULL) {
        ropeway_memory_release(side->registration);
    }
    ts_disconnect(side->connector);
    munmap(side->memory, SIZE);
}

/* user reads from owner, or writes to it. */
static void move(side_t *owner, side_t *user, bool is_read, uint32_t seed) {
    ropeway_descriptor_t there = {owner->memory, SIZE, {ROPEWAY_DEVICE_HOST, 0}};
    ropeway_descriptor_t here = {user->memory, SIZE, {ROPEWAY_DEVICE_HOST, 0}};
    ropeway_operation_t *offer, *operation;
    const char *metadata;
    char path[256];
    fill(is_read ? owner->memory : user->memory, seed);
    assert_ok((is_read ? ropeway_create_readable
                       : ropeway_create_writable)(owner->connector, &there, 1, NULL, &offer));
    assert_ok(ropeway_operation_metadata(offer, &metadata));
    assert_ok((is_read ? ropeway_begin_read : ropeway_begin_write)(
        user->connector, metadata, strlen(metadata), &here, 1, NULL, &operation));
    ropeway_error_t mine = ropeway_operation_wait(operation, TS_BOUND_MS);
    ropeway_error_t theirs = ropeway_operation_wait(offer, TS_BOUND_MS);
    ropeway_operation_path(operation, path, sizeof path);
    print_message("over %s\n", path);
    assert_string_equal(ropeway_error_name(mine), "ROPEWAY_OK");
    assert_string_equal(ropeway_error_name(theirs), "ROPEWAY_OK");
    assert_filled(is_read ? user->memory : owner->memory, seed);
    ropeway_operation_release(operation);
    ropeway_operation_release(offer);
}

/* Moves the memory both ways; what UCX says that it did for it. */
static uses_t uses_of(bool registered) {
    long start = end_of_protocols();
    side_t owner = open_side(SIDE " net_devices=rxe0:1", registered);
    side_t user = open_side(SIDE " net_devices=rxe1:1", registered);
    move(&owner, &user, true, 1);
    move(&owner, &user, false, 2);
    close_side(&user);
    close_side(&owner);
    return read_protocols(start);
}

static void a_large_transfer_between_registered_memories_is_not_copied(void **state) {
    (void)state;
    uses_t uses = uses_of(true);
    print_message("%lu pieces without a copy, %lu with\n", uses.zero_copy, uses.copied);
    assert_in_range(uses.zero_copy, 2 * CHUNKS, SIZE);
    assert_int_equal(uses.copied, 0);
}

static void a_large_transfer_between_other_memories_is_not_copied_either(void **state) {
    (void)state;
    uses_t uses = uses_of(false);
    assert_in_range(uses.zero_copy, 2 * CHUNKS, SIZE);
    assert_int_equal(uses.copied, 0);
}

/* Without this the two above would prove nothing. */
static void a_copy_is_told_from_none(void **state) {
    (void)state;
    setenv("UCX_RNDV_SCHEME", "am", 1);
    uses_t uses = uses_of(true);
    unsetenv("UCX_RNDV_SCHEME");
    print_message("%lu pieces without a copy, %lu with\n", uses.zero_copy, uses.copied);
    assert_int_equal(uses.zero_copy, 0);
    assert_in_range(uses.copied, 2 * CHUNKS, SIZE);
}

/* The registrations with the devices, as the kernel lists them: each has a number of its own. No
 * other process has one. (The one that is listed with a registration is the thread that made it.)
 */
static char *registrations(void) {
    return ts_lab("rdma resource show mr");
}

/* The keys that a peer was told of are those of registrations: without these the device refuses
 * them. What connections need stays. */
static void no_registration_of_an_operations_memory_outlives_it(void **state) {
    (void)state;
    side_t owner = open_side(SIDE " net_devices=rxe0:1", false);
    side_t user = open_side(SIDE " net_devices=rxe1:1", false);
    move(&owner, &user, true, 2);
    move(&owner, &user, false, 3);
    char *before = registrations();
    side_t *const sides[] = {&owner, &user};
    for (uint32_t i = 0; i < 2; i++) { /* other memory, which was never seen */
        uint8_t *used = sides[i]->memory;
        sides[i]->memory = map(NULL);
        move(&owner, &user, true, 4 + i);
        move(&owner, &user, false, 6 + i);
        munmap(used, SIZE);
    }
    char *after = registrations();
    assert_string_equal(after, before);
    free(before);
    free(after);
    close_side(&user);
    close_side(&owner);
}

/* The same registrations, by their numbers, from the first operation to the last one. */
static void move_with_the_same_registrations(bool registered) {
    side_t owner = open_side(SIDE " net_devices=rxe0:1", registered);
    side_t user = open_side(SIDE " net_devices=rxe1:1", registered);
    move(&owner, &user, true, 3);
    char *first = registrations();
    for (uint32_t seed = 4; seed < 8; seed++) {
        move(&owner, &user, true, seed);
    }
    char *then = registrations();
    assert_string_equal(then, first);
    free(first);
    free(then);
    close_side(&user);
    close_side(&owner);
}

static void registered_memory_is_registered_once_and_found_again(void **state) {
    (void)state;
    move_with_the_same_registrations(true);
}

static void with_the_cache_all_memory_is_registered_once_and_found_again(void **state) {
    (void)state;
    setenv("UCX_RCACHE_ENABLE", "y", 1);
    move_with_the_same_registrations(false);
    unsetenv("UCX_RCACHE_ENABLE");
}

/* The classic fault of a registration cache: the device goes on with the pages that were there. */
static void memory_that_was_unmapped_and_mapped_again_has_its_own_bytes(void **state) {
    (void)state;
    for (int cached = 0; cached < 2; cached++) {
        setenv("UCX_RCACHE_ENABLE", cached ? "y" : "n", 1);
        side_t owner = open_side(SIDE " net_devices=rxe0:1", false);
        side_t user = open_side(SIDE " net_devices=rxe1:1", false);
        side_t *const sides[] = {&owner, &user};
        move(&owner, &user, true, 10);
        for (uint32_t i = 0; i < 2; i++) {
            munmap(sides[i]->memory, SIZE);
            assert_ptr_equal(map(sides[i]->memory), sides[i]->memory);
            move(&owner, &user, true, 20 + i);
            move(&owner, &user, false, 30 + i);
        }
        close_side(&user);
        close_side(&owner);
    }
    unsetenv("UCX_RCACHE_ENABLE");
}

static const struct CMUnitTest tests[] = {
    TS_TEST(a_large_transfer_between_registered_memories_is_not_copied),
    TS_TEST(a_large_transfer_between_other_memories_is_not_copied_either),
    TS_TEST(a_copy_is_told_from_none),
    TS_TEST(no_registration_of_an_operations_memory_outlives_it),
    TS_TEST(registered_memory_is_registered_once_and_found_again),
    TS_TEST(with_the_cache_all_memory_is_registered_once_and_found_again),
    TS_TEST(memory_that_was_unmapped_and_mapped_again_has_its_own_bytes),
};

TS_LIST(ts_list_copies, tests);
