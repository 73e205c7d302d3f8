/* SPDX-License-Identifier: Apache-2.0 */
/* Two hosts with two networks between them: rxe0 and rxe2 are this side's, rxe1 and rxe3 the
 * peer's. Which one carries the bytes is told by the devices' counters. */
#include "lab.h"
#include "lists.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BIG "8388608"
#define BIG_PACKETS (8388608 / 4096)
#define NOISE                                                                                      \
    200 /* packets of first contact and of a connection that lives; far from BIG_PACKETS */
#define HERE "rxe0:1,rxe2:1"
#define THERE "rxe1:1,rxe3:1"

/* Packets that a device of ours has sent and received. */
static unsigned long packets(int device) {
    char command[64];
    unsigned long sent, received;
    snprintf(command, sizeof command, "lab_rdma_packets rxe%d", device);
    char *text = ts_lab(command);
    if (sscanf(text, "%lu %lu", &sent, &received) != 2) {
        fail_msg("no counters of rxe%d: %s", device, text);
    }
    free(text);
    return sent + received;
}

typedef struct network {
    ropeway_connector_t *connector;
    ts_peer_t *peer;
} network_t;

/* The two sides, each with these devices. */
static network_t open_network(const char *here, const char *there, const char *more) {
    char options[256];
    network_t network;
    snprintf(options, sizeof options, "net_devices=%s %s", here, more);
    network.connector = ts_connect(options);
    snprintf(options, sizeof options, "net_devices=%s %s", there, more);
    network.peer = ts_new_peer(options);
    return network;
}

static void close_network(network_t *network) {
    ts_drop_peer(network->peer);
    ts_disconnect(network->connector);
}

/* Moves BIG both ways, and counts the packets that rxe0 and rxe2 had to do with it. */
static void move(network_t *network, unsigned long counted[2], char *path, size_t size) {
    ts_assert_works(network->connector, network->peer);
    unsigned long before[2] = {packets(0), packets(2)};
    for (int kind = ROPEWAY_OPERATION_READ; kind <= ROPEWAY_OPERATION_WRITE; kind++) {
        ts_pair_t pair = ts_pair_make(network->connector, network->peer, 0,
                                      (ropeway_operation_kind_t)kind, BIG, "");
        assert_complete(ts_wait(pair.operation));
        ropeway_operation_path(pair.operation, path, size);
        ts_pair_finish(&pair);
    }
    counted[0] = packets(0) - before[0];
    counted[1] = packets(2) - before[1];
    print_message("%s: %lu packets by rxe0, %lu by rxe2\n", path, counted[0], counted[1]);
}

static void a_pinned_device_carries_everything(void **state) {
    (void)state;
    static const char *const pins[2][2] = {{"rxe0:1", "rxe1:1"}, {"rxe2:1", "rxe3:1"}};
    for (int i = 0; i < 2; i++) {
        unsigned long counted[2];
        char path[256];
        network_t network = open_network(pins[i][0], pins[i][1], "");
        move(&network, counted, path, sizeof path);
        close_network(&network);
        assert_non_null(strstr(path, pins[i][0]));
        assert_null(strstr(path, pins[1 - i][0]));
        assert_in_range(counted[i], 2 * BIG_PACKETS, ~0ul);
        assert_in_range(counted[1 - i], 0, NOISE);
    }
}

static void of_two_networks_those_that_the_path_names_carry_the_bytes(void **state) {
    (void)state;
    unsigned long counted[2];
    char path[256];
    network_t network = open_network(HERE, THERE, "");
    move(&network, counted, path, sizeof path);
    close_network(&network);
    assert_in_range(counted[0] + counted[1], 2 * BIG_PACKETS, ~0ul);
    for (int i = 0; i < 2; i++) {
        bool named = strstr(path, i == 0 ? "_verbs/rxe0:1" : "_verbs/rxe2:1") != NULL;
        assert_true(named || counted[i] <= NOISE);
    }
}

static void rdma_is_chosen_where_tcp_is_there_too(void **state) {
    (void)state;
    unsigned long counted[2];
    char path[256];
    network_t network = open_network("rxe0:1,v0", "rxe1:1,v1", "transports=rc,tcp,self");
    move(&network, counted, path, sizeof path);
    close_network(&network);
    assert_non_null(strstr(path, "rc_verbs/rxe0:1"));
    assert_in_range(counted[0], 2 * BIG_PACKETS, ~0ul);
}

/* A transfer that uses the network that fails ends; those who are pinned to the other one work. */
static void rule4_one_of_two_networks_fails(void **state) {
    (void)state;
    static const char slow[] = "chunk_size=65536 window=1 quiet_ms=500";
    network_t both = open_network(HERE, THERE, slow);
    network_t other = open_network("rxe2:1", "rxe3:1", slow);
    ts_assert_works(both.connector, both.peer);
    ts_assert_works(other.connector, other.peer);
    ts_pair_t hit = ts_pair_make(both.connector, both.peer, 0, ROPEWAY_OPERATION_READ, "33554437",
                                 "stall_ms=5000");
    assert_true(ts_await_progress(hit.operation, 1));
    free(ts_lab("lab_rdma_cut 0"));
    ts_assert_works(other.connector, other.peer);
    ts_outcome_t mine = ts_wait(hit.operation), theirs = ts_peer_wait(hit.peer, 0);
    print_message("by both networks, one of them cut: here %s (%s), there %s (%s)\n",
                  ropeway_status_name(mine.status), mine.text, ropeway_status_name(theirs.status),
                  theirs.text);
    ts_assert_works(other.connector, other.peer);
    free(ts_lab("lab_rdma_mend 0"));
    assert_int_equal(mine.status, theirs.status);
    if (mine.status == ROPEWAY_STATUS_COMPLETE) {
        assert_true(ts_region_matches(ts_region(hit.operation), hit.seed));
    } else {
        assert_int_equal(mine.status, ROPEWAY_STATUS_ERRORED);
        assert_string_not_equal(mine.text, "");
    }
    ts_assert_recovers(both.connector, both.peer);
    ts_pair_release(&hit);
}

/* The first device is taken out of the machine: of two that are named the other one is used, and
 * who is pinned to the one that is gone is refused. */
static void a_device_that_is_gone_is_not_used(void **state) {
    (void)state;
    char path[256], sentence[600];
    free(ts_lab("lab_rdma_delete 0"));
    /* To UCX all that is one machine's is reachable: only the right device is offered to it. */
    network_t network = open_network(HERE, "rxe3:1", "");
    ts_pair_t pair =
        ts_pair_make(network.connector, network.peer, 0, ROPEWAY_OPERATION_READ, BIG, "");
    assert_complete(ts_wait(pair.operation));
    ropeway_operation_path(pair.operation, path, sizeof path);
    ts_pair_finish(&pair);

    ts_option_texts_t texts;
    ropeway_connector_options_t options;
    ropeway_connector_t *pinned;
    ts_connector_options("net_devices=rxe0:1", &texts, &options);
    ropeway_error_t error = ropeway_connector_create(&options, &pinned);
    snprintf(sentence, sizeof sentence, "%s", ropeway_last_error());
    if (error == ROPEWAY_OK) {
        ropeway_connector_destroy(pinned);
    }
    close_network(&network);
    free(ts_lab("lab_rdma_add 0"));
    print_message("without rxe0: by %s; pinned to it: %s\n", path, sentence);
    assert_non_null(strstr(path, "rc_verbs/rxe2:1"));
    assert_null(strstr(path, "rxe0"));
    assert_string_equal(ropeway_error_name(error), "ROPEWAY_ERR_TRANSPORT");
    assert_non_null(strstr(sentence, "\"rxe0:1\" of the connector"));
}

static const struct CMUnitTest tests[] = {
    TS_TEST(a_pinned_device_carries_everything),
    TS_TEST(of_two_networks_those_that_the_path_names_carry_the_bytes),
    TS_TEST(rdma_is_chosen_where_tcp_is_there_too),
    TS_TEST(rule4_one_of_two_networks_fails),
    TS_TEST(a_device_that_is_gone_is_not_used),
};

TS_LIST(ts_list_networks, tests);
