/* SPDX-License-Identifier: Apache-2.0 */
/* Rule 4: a peer that is killed or stopped in the midst of many small messages takes nobody else
 * along. */
#include "lists.h"

#include <string.h>

#define MESSAGES 128
#define SIZE "8000"
#define READS 3000
#define READ_SIZE 16384

typedef struct flood {
    ropeway_operation_t *operations[MESSAGES];
    ts_peer_t *peer;
} flood_t;

/* Lets a peer begin many writes, one straight after the other, and returns in their midst. */
static flood_t flood(ropeway_connector_t *connector, uint64_t *random) {
    flood_t flood = {.peer = ts_new_peer("")};
    for (int i = 0; i < MESSAGES; i++) {
        const char *metadata;
        flood.operations[i] =
            ts_create(connector, ROPEWAY_OPERATION_WRITABLE, SIZE, (uint64_t)i, "");
        assert_ok(ropeway_operation_metadata(flood.operations[i], &metadata));
        fprintf(flood.peer->out, "write %d " SIZE " %d %zu \n%s", i, i, strlen(metadata), metadata);
    }
    fflush(flood.peer->out);
    for (uint64_t begun = ts_random(random) % MESSAGES; begun > 0; begun--) {
        ts_peer_reply(flood.peer);
    }
    for (volatile uint64_t spins = ts_random(random) % 20000; spins > 0; spins--) {
    }
    return flood;
}

static void end(flood_t *flood) {
    for (int i = 0; i < MESSAGES; i++) {
        if (ropeway_operation_status(flood->operations[i]) == ROPEWAY_STATUS_COMPLETE) {
            assert_true(ts_region_matches(ts_region(flood->operations[i]), (uint64_t)i));
        }
        ts_release(flood->operations[i]);
    }
    ts_drop_peer(flood->peer);
}

static void rule4_a_peer_killed_amid_many_messages_leaves_the_others_served(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("");
    uint64_t random = ts_seed();
    for (size_t tries = ts_scaled(12, 4); tries > 0; tries--) {
        flood_t killed = flood(connector, &random);
        ts_peer_kill(killed.peer);
        ts_peer_t *other = ts_new_peer("");
        ts_assert_works(connector, other);
        ts_drop_peer(other);
        end(&killed);
    }
}

static void rule4_a_peer_stopped_amid_many_messages_leaves_the_others_served(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect("quiet_ms=100");
    ts_peer_t *other = ts_new_peer("");
    uint64_t random = ts_seed();
    for (size_t tries = ts_scaled(12, 4); tries > 0; tries--) {
        flood_t stopped = flood(connector, &random);
        ts_peer_stop(stopped.peer);
        ts_assert_works(connector, other);
        ts_peer_continue(stopped.peer);
        end(&stopped);
    }
}

/* What is on its way to it fills max_inflight. */
static void rule11_bytes_for_a_peer_that_is_stopped_leave_room_for_others(void **state) {
    (void)state;
    ropeway_connector_t *connector =
        ts_connect(TS_SLOW " chunk_size=65536 max_inflight=65536 stall_ms=0");
    ts_peer_t *other = ts_new_peer("");
    for (int attempt = 0; attempt < 20; attempt++) {
        ts_peer_t *stopped = ts_new_peer(TS_SLOW " stall_ms=0");
        ts_pair_t pair =
            ts_pair_make(connector, stopped, 0, ROPEWAY_OPERATION_READABLE, TS_BIG, "");
        ts_await_progress(pair.operation, 1);
        ts_peer_stop(stopped);
        ts_assert_works(connector, other);
        bool caught = ropeway_operation_status(pair.operation) == ROPEWAY_STATUS_IN_PROGRESS;
        ts_peer_continue(stopped);
        ts_pair_finish(&pair);
        ts_drop_peer(stopped);
        if (caught) {
            return;
        }
    }
    fail_msg("no transfer was caught in its middle");
}

/* The reader closes its connector while the owner has more to send than its socket takes. UCX would
 * use freed memory if the owner then closed its end at once. */
static void rule9_a_reader_that_leaves_with_much_on_its_way_takes_nobody_down(void **state) {
    (void)state;
    static uint8_t offered[READ_SIZE], rooms[READS][READ_SIZE];
    static ropeway_operation_t *readables[READS], *reads[READS];
    ropeway_connector_t *owner = ts_connect("");
    ropeway_device_t host = {ROPEWAY_DEVICE_HOST, 0};
    for (size_t tries = ts_scaled(20, 3); tries > 0; tries--) {
        /* Patient enough to send all its requests before it goes. */
        ropeway_connector_t *reader = ts_connect("quiet_ms=20000");
        ts_move_between(owner, reader, SIZE, NULL); /* connected, or it would leave but an offer */
        for (int i = 0; i < READS; i++) {
            const char *metadata;
            ropeway_descriptor_t from = {offered, READ_SIZE, host};
            assert_ok(ropeway_create_readable(owner, &from, 1, NULL, &readables[i]));
            assert_ok(ropeway_operation_metadata(readables[i], &metadata));
        }
        for (int i = 0; i < READS; i++) {
            const char *metadata;
            ropeway_descriptor_t to = {rooms[i], READ_SIZE, host};
            assert_ok(ropeway_operation_metadata(readables[i], &metadata));
            assert_ok(
                ropeway_begin_read(reader, metadata, strlen(metadata), &to, 1, NULL, &reads[i]));
        }
        ts_disconnect(reader);
        for (int i = 0; i < READS; i++) {
            ropeway_operation_wait(readables[i], TS_BOUND_MS);
            assert_true(ropeway_operation_status(readables[i]) >= ROPEWAY_STATUS_COMPLETE);
            ropeway_operation_release(readables[i]);
            ropeway_operation_release(reads[i]);
        }
    }
    ts_assert_works(owner, ts_new_peer(""));
}

static const struct CMUnitTest tests[] = {
    TS_TEST(rule4_a_peer_killed_amid_many_messages_leaves_the_others_served),
    TS_TEST(rule9_a_reader_that_leaves_with_much_on_its_way_takes_nobody_down),
    TS_TEST(rule4_a_peer_stopped_amid_many_messages_leaves_the_others_served),
    TS_TEST(rule11_bytes_for_a_peer_that_is_stopped_leave_room_for_others),
};

TS_LIST(ts_list_flood, tests);
