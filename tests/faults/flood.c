/* SPDX-License-Identifier: Apache-2.0 */
/* Rule 4: a peer that is killed or stopped in the midst of many small messages takes nobody else
 * along. */
#include "lists.h"

#include <string.h>

#define MESSAGES 128
#define SIZE "8000"

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

static const struct CMUnitTest tests[] = {
    TS_TEST(rule4_a_peer_killed_amid_many_messages_leaves_the_others_served),
    TS_TEST(rule4_a_peer_stopped_amid_many_messages_leaves_the_others_served),
};

TS_LIST(ts_list_flood, tests);
