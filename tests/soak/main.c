/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What long use costs: nothing that grows. RSS is compared after a warm-up that is long enough for
 * every cache to fill (UCX's pools, the library's memory of ended keys), with a slack of
 * TS_SLACK_BYTES for the allocator. Under sanitizers, whose quarantine grows by design, RSS is
 * printed only.
 */
#include "support.h"

#include <malloc.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TS_SLACK_BYTES ((size_t)2 << 20)

static void assert_flat(const char *what, ts_usage_t before, ts_usage_t after) {
    print_message("%s: %zu -> %zu KiB, %zu -> %zu descriptors, %zu -> %zu threads\n", what,
                  before.resident / 1024, after.resident / 1024, before.descriptors,
                  after.descriptors, before.threads, after.threads);
    /* Fewer is no leak: the first look may have met something that was about to be closed. */
    assert_true(after.descriptors <= before.descriptors);
    assert_true(after.threads <= before.threads);
    if (!ts_sanitized()) {
        assert_true(after.resident <= before.resident + TS_SLACK_BYTES);
    }
}

/* Waits until the process has let go of what it has just closed, and then looks. */
static ts_usage_t settled(pid_t pid, const ts_usage_t *before) {
    ts_usage_t usage;
    double end = ts_now() + TS_BOUND_MS / 1000.0;
    do {
        poll(NULL, 0, 5);
        usage = ts_usage(pid);
    } while ((usage.descriptors > before->descriptors || usage.threads > before->threads) &&
             ts_now() < end);
    return usage;
}

static void rule7_a_thousand_pending_operations_cost_no_cpu(void **state) {
    (void)state;
    enum { COUNT = 1000 };
    static char memory[COUNT];
    static ropeway_operation_t *operations[COUNT];
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    ts_assert_works(connector, peer);
    ropeway_operation_options_t options;
    ropeway_operation_options_init(&options, sizeof options);
    options.flags = ROPEWAY_OPERATION_NOTIFY;
    options.deadline_ms = 600000;
    for (size_t i = 0; i < COUNT; i++) {
        ropeway_descriptor_t descriptor = {&memory[i], 1, {ROPEWAY_DEVICE_HOST, 0}};
        const char *metadata;
        assert_ok((i % 2 == 0 ? ropeway_create_readable : ropeway_create_writable)(
            connector, &descriptor, 1, &options, &operations[i]));
        assert_ok(ropeway_operation_metadata(operations[i], &metadata));
    }
    /* Near nothing; the slack is for sanitizers and for UCX's look at its peers once a second. */
    ts_assert_sleeps(connector, 2500, ts_sanitized() ? 0.02 : 0.005, 10);
    assert_int_equal(ts_stats(connector).operations_live, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        ropeway_operation_release(operations[i]);
    }
}

static void move_one(ropeway_connector_t *connector, ts_peer_t *peer, size_t number) {
    static const char *const specs[] = {"100", "5000,3", "70000", "3*4096"};
    ropeway_operation_kind_t kind = (ropeway_operation_kind_t)(1 + number % 4);
    ts_pair_t pair = ts_pair_make(connector, peer, (int)(number % 100), kind, specs[number / 4 % 4],
                                  number % 64 == 0 ? "flags=2" : "");
    ts_pair_finish(&pair);
}

static void rule8_twenty_thousand_operations_leave_nothing_behind(void **state) {
    (void)state;
    alarm(1200);
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    size_t count = ts_scaled(20000, 1000), i = 0;
    uint64_t completed = ts_stats(connector).operations_completed;
    double start = ts_now();
    for (; i < count / 2; i++) {
        move_one(connector, peer, i);
    }
    ts_usage_t here = ts_usage(0), there = ts_usage(peer->pid);
    for (; i < count; i++) {
        move_one(connector, peer, i);
    }
    print_message("%zu operations in %.1f s\n", count, ts_now() - start);
    assert_flat("here", here, ts_usage(0));
    assert_flat("the peer", there, ts_usage(peer->pid));
    ropeway_stats_t stats = ts_stats(connector);
    assert_int_equal(stats.operations_completed - completed, count);
    assert_int_equal(stats.operations_live, 0);
    assert_int_equal(stats.bytes_inflight, 0);
    assert_int_equal(stats.peers, ts_transport_connections());
    assert_int_equal(stats.peers_created, ts_transport_connections());
    assert_int_equal(stats.peers_failed, 0);
    unsigned long long live, inflight, peers;
    assert_int_equal(sscanf(ts_peer_ask(peer, "stats"), "%llu %llu %llu", &live, &inflight, &peers),
                     3);
    assert_int_equal(live + inflight, 0);
    assert_int_equal(peers, ts_transport_connections());
}

static void rule8_two_hundred_connectors_come_and_go(void **state) {
    (void)state;
    alarm(1200);
    ts_peer_t *peer = ts_new_peer("");
    ts_usage_t before = ts_usage(0), here = {0}, there = {0};
    size_t count = ts_scaled(200, 40);
    double start = ts_now();
    for (size_t i = 0; i < count; i++) {
        ropeway_connector_t *connector = ts_connect("");
        move_one(connector, peer, i);
        move_one(connector, peer, i + 1);
        ts_disconnect(connector);
        if (i == count / 2 - 1) {
            here = settled(0, &before);
            there = ts_usage(peer->pid);
        }
    }
    print_message("%zu connectors in %.1f s\n", count, ts_now() - start);
    assert_flat("here", here, settled(0, &here));
    assert_flat("the peer", there, settled(peer->pid, &there));
}

/* Waits until the connector knows that its last client has gone, and then looks. */
static ts_usage_t without_clients(ropeway_connector_t *connector) {
    double end = ts_now() + TS_BOUND_MS / 1000.0;
    while (ts_stats(connector).peers > 0 && ts_now() < end) {
        poll(NULL, 0, 5);
    }
    assert_int_equal(ts_stats(connector).peers, 0);
    return ts_usage(0);
}

static void rule8_a_hundred_clients_come_and_go(void **state) {
    (void)state;
    alarm(1200);
    ropeway_connector_t *connector = ts_connect("");
    ts_usage_t here = {0};
    size_t count = ts_scaled(100, 20);
    double start = ts_now();
    for (size_t i = 0; i < count; i++) {
        ts_peer_t *peer = ts_new_peer("name=client");
        for (size_t k = 0; k < 4; k++) {
            move_one(connector, peer, i + k);
        }
        /* Some go without a word. */
        if (i % 2 == 0) {
            ts_peer_kill(peer);
        }
        ts_drop_peer(peer);
        if (i == count / 2 - 1) {
            here = without_clients(connector);
        }
    }
    without_clients(connector);
    print_message("%zu clients in %.1f s\n", count, ts_now() - start);
    assert_flat("here", here, settled(0, &here));
    assert_int_equal(ts_stats(connector).operations_live, 0);
}

static const struct CMUnitTest tests[] = {
    TS_TEST(rule7_a_thousand_pending_operations_cost_no_cpu),
    TS_TEST(rule8_twenty_thousand_operations_leave_nothing_behind),
    TS_TEST(rule8_two_hundred_connectors_come_and_go),
    TS_TEST(rule8_a_hundred_clients_come_and_go),
};

static TS_LIST(list, tests);

int main(int argc, char **argv) {
    static const ts_list_t *const lists[] = {&list};
    /* One arena, and no large block kept back: what threads that come and go have freed would
     * otherwise count as it happens to lie. */
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, 128 << 10);
    return ts_main("soak", argc, argv, lists, 1);
}
