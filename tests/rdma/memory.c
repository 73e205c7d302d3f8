/* SPDX-License-Identifier: Apache-2.0 */
/* Rules 7 and 8 for what an RDMA device holds: registrations, queue pairs and completion queues do
 * not grow with the number of operations. And many descriptors, registered ahead and not. */
#include "lab.h"
#include "lists.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define OPERATIONS 1000

/* What the kernel's list of the device's resources says of one kind ("mr", "qp", "cq", "pd"), of
 * all processes. */
static long resources(const char *device, const char *kind) {
    char command[64], wanted[16];
    snprintf(command, sizeof command, "rdma resource show %s", device);
    snprintf(wanted, sizeof wanted, " %s ", kind);
    char *text = ts_lab(command);
    const char *at = strstr(text, wanted);
    long count = at != NULL ? strtol(at + strlen(wanted), NULL, 10) : -1;
    free(text);
    if (count < 0) {
        fail_msg("rdma resource does not tell of %s on %s", kind, device);
    }
    return count;
}

static void rule8_a_thousand_operations_leave_the_devices_resources_flat(void **state) {
    (void)state;
    static const char *const kinds[] = {"mr", "qp", "cq", "pd"};
    static const char *const devices[] = {"rxe0", "rxe1"};
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    long before[2][4] = {{0}};
    /* The first few make what is kept: connections, pools of buffers. */
    for (int i = 0; i < OPERATIONS + 20; i++) {
        if (i == 20) {
            for (int device = 0; device < 2; device++) {
                for (int kind = 0; kind < 4; kind++) {
                    before[device][kind] = resources(devices[device], kinds[kind]);
                }
            }
        }
        /* Some small enough to travel in a message, some read or written by the device itself. */
        static const char *const specs[] = {"4096", "100000", "16*1000", "300001"};
        ts_pair_t pair = ts_pair_make(
            connector, peer, 0, (ropeway_operation_kind_t)(ROPEWAY_OPERATION_READABLE + i % 4),
            specs[i / 4 % 4], "");
        ts_pair_finish(&pair);
    }
    for (int device = 0; device < 2; device++) {
        for (int kind = 0; kind < 4; kind++) {
            long after = resources(devices[device], kinds[kind]);
            print_message("%s: %ld %s before, %ld after %d operations\n", devices[device],
                          before[device][kind], kinds[kind], after, OPERATIONS);
            assert_in_range(after, 1, (unsigned long)before[device][kind]);
        }
    }
}

static void four_thousand_descriptors(const char *options, bool registered) {
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    for (int kind = ROPEWAY_OPERATION_READABLE; kind <= ROPEWAY_OPERATION_WRITE; kind++) {
        ts_pair_t pair = ts_pair_make(connector, peer, kind, (ropeway_operation_kind_t)kind,
                                      "4096*777", options);
        ts_pair_finish(&pair);
    }
    if (!registered) {
        return;
    }
    ts_region_t *region = ts_region_new("4096*777", 0);
    ropeway_memory_t *memory;
    ropeway_device_t host = {.kind = ROPEWAY_DEVICE_HOST};
    ropeway_operation_t *operation = NULL;
    ropeway_operation_options_t chosen;
    size_t length;
    ts_operation_options(options, &chosen);
    assert_ok(ropeway_memory_register(connector, region->arena, region->arena_size, host, &memory));
    ts_peer_ask(peer, "readable 9 4096*777 77 %s", options);
    char *metadata = ts_peer_metadata(peer, 9, &length);
    assert_ok(ropeway_begin_read(connector, metadata, length, region->descriptors, region->count,
                                 &chosen, &operation));
    assert_complete(ts_wait(operation));
    assert_true(ts_region_matches(region, 77) && ts_region_guarded(region));
    ropeway_operation_release(operation);
    ropeway_memory_release(memory);
    ts_region_free(region);
    free(metadata);
}

static void four_thousand_descriptors_move_with_checksums(void **state) {
    (void)state;
    four_thousand_descriptors("flags=2", false);
}

static void four_thousand_descriptors_move_into_registered_memory(void **state) {
    (void)state;
    four_thousand_descriptors("", true);
}

/* A user whose limit leaves room for UCX's buffers, but not for a piece of 256 MiB. */
static void a_piece_that_may_not_be_locked_ends_with_a_sentence(void **state) {
    (void)state;
    static const char large[] = "chunk_size=268435456 window=1";
    const struct rlimit limit = {256u << 20, 256u << 20};
    ropeway_connector_t *connector = ts_connect(large);
    ts_peer_t *peer = ts.peers[0] = ts_peer_spawn();
    assert_int_equal(prlimit(peer->pid, RLIMIT_MEMLOCK, &limit, NULL), 0);
    ts_peer_ask(peer, "open user=65534 %s", large);
    ts_assert_works(connector, peer);
    ts_pair_t pair = ts_pair_make(connector, peer, 0, ROPEWAY_OPERATION_READABLE, "268435456", "");
    ts_outcome_t theirs = ts_peer_wait(peer, 0);
    print_message("%s\n", theirs.text);
    assert_int_equal(theirs.status, ROPEWAY_STATUS_ERRORED);
    assert_non_null(strstr(theirs.text, "the limit on locked memory (ulimit -l)"));
    ts_outcome_t mine = ts_wait(pair.operation);
    assert_int_equal(mine.status, ROPEWAY_STATUS_ERRORED);
    ts_pair_release(&pair);
}

static const struct CMUnitTest tests[] = {
    TS_TEST(four_thousand_descriptors_move_with_checksums),
    TS_TEST(four_thousand_descriptors_move_into_registered_memory),
    TS_TEST(a_piece_that_may_not_be_locked_ends_with_a_sentence),
    TS_TEST(rule8_a_thousand_operations_leave_the_devices_resources_flat),
};

TS_LIST(ts_list_memory, tests);
