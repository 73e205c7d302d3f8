/* SPDX-License-Identifier: Apache-2.0 */
/* Rule 4 when the network of an RDMA device fails in the middle of a transfer: its cable is cut, or
 * its port goes down. Both sides learn, their memory is quiet, and once the device is back the
 * survivors work with it. (The device itself can't be taken away: the kernel waits for those who
 * hold it.) */
#include "lab.h"
#include "lists.h"

#include <stdlib.h>

/* Chunks so small, one at a time, and a transfer so big, that its middle can be caught. */
#define SLOW "chunk_size=65536 window=1 quiet_ms=500"
#define BIG "33554437"

static bool learned(const ts_outcome_t *outcome) {
    return outcome->status == ROPEWAY_STATUS_ERRORED &&
           (outcome->error == ROPEWAY_ERR_STALLED || outcome->error == ROPEWAY_ERR_PEER_LOST ||
            outcome->error == ROPEWAY_ERR_TRANSPORT);
}

/* A transfer to or from a peer, on rxe1, in whose middle functions break something. Returns this
 * side's outcome, with its memory marked. */
static ts_pair_t break_in_the_middle(ropeway_connector_t *connector, ts_peer_t *peer,
                                     ropeway_operation_kind_t kind, const char *functions) {
    ts_assert_works(connector, peer); /* making contact takes the machine seconds */
    ts_pair_t pair = ts_pair_make(connector, peer, 0, kind, BIG, "stall_ms=5000");
    assert_true(ts_await_progress(pair.operation, 1));
    free(ts_lab(functions));
    ts_outcome_t mine = ts_wait(pair.operation);
    ts_region_set(ts_region(pair.operation), 0x5A);
    print_message("over rc, rxe0 to rxe1, until '%s'; here: %s\n", functions, mine.text);
    if (!learned(&mine)) {
        fail_msg("here %s, %s", ropeway_status_name(mine.status), mine.text);
    }
    return pair;
}

static void the_cable_is_cut(ropeway_operation_kind_t kind) {
    ropeway_connector_t *connector = ts_connect(SLOW);
    ts_peer_t *peer = ts_new_peer(SLOW);
    ts_pair_t pair = break_in_the_middle(connector, peer, kind, "lab_rdma_cut");
    ts_outcome_t theirs = ts_peer_wait(peer, 0);
    free(ts_lab("lab_rdma_mend"));
    if (!learned(&theirs)) {
        fail_msg("there %s, %s", ropeway_status_name(theirs.status), theirs.text);
    }
    ts_assert_recovers(connector, peer);
    assert_true(ts_region_is(ts_region(pair.operation), 0x5A));
    ts_pair_release(&pair);
}

static void rule4_the_cable_is_cut_during_a_read(void **state) {
    (void)state;
    the_cable_is_cut(ROPEWAY_OPERATION_READ);
}

static void rule4_the_cable_is_cut_during_a_write(void **state) {
    (void)state;
    the_cable_is_cut(ROPEWAY_OPERATION_WRITE);
}

static void rule4_the_cable_is_cut_while_the_peer_reads(void **state) {
    (void)state;
    the_cable_is_cut(ROPEWAY_OPERATION_READABLE);
}

/* UCX ends a process whose own port goes down (its unreliable datagrams know no error but that), so
 * what becomes of the peer is not asked. This side lives on, and works with the next peer. */
static void rule4_the_peers_port_goes_down(void **state) {
    (void)state;
    ropeway_connector_t *connector = ts_connect(SLOW);
    ts_peer_t *peer = ts_peer_start(SLOW); /* not the fixture's, which wants peers to be silent */
    ts_pair_t pair =
        break_in_the_middle(connector, peer, ROPEWAY_OPERATION_READ, "lab_rdma_down 1");
    ts_peer_free(peer);
    free(ts_lab("lab_rdma_up 1"));
    ts_assert_recovers(connector, ts_new_peer(""));
    assert_true(ts_region_is(ts_region(pair.operation), 0x5A));
    ts_release(pair.operation);
}

static const struct CMUnitTest tests[] = {
    TS_TEST(rule4_the_cable_is_cut_during_a_read),
    TS_TEST(rule4_the_cable_is_cut_during_a_write),
    TS_TEST(rule4_the_cable_is_cut_while_the_peer_reads),
    TS_TEST(rule4_the_peers_port_goes_down),
};

TS_LIST(ts_list_device, tests);
