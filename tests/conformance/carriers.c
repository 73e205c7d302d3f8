/* SPDX-License-Identifier: Apache-2.0 */
/* A connector's two carriers: streams, and UCX when it is needed. In "mixed" we name UCX, and peers
 * name nothing, so that they start it only for us. */
#include "lists.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BY_TCP "net_devices=lo user=65534 "

static bool about_carriers(void) {
    if (!ts_transport_is("mixed")) {
        skip();
        return false;
    }
    return true;
}

/* What becomes of a read of what the peer offers. */
static ts_outcome_t read_from(ropeway_connector_t *connector, ts_peer_t *peer, char path[256]) {
    ts_pair_t pair = ts_pair_make(connector, peer, 0, ROPEWAY_OPERATION_READ, "300000", "");
    ts_outcome_t outcome = ts_wait(pair.operation);
    ropeway_operation_path(pair.operation, path, 256);
    if (outcome.status == ROPEWAY_STATUS_COMPLETE) {
        ts_pair_finish(&pair);
    }
    return outcome;
}

static void peers_on_this_host_meet_by_ucx_when_one_names_it(void **state) {
    (void)state;
    if (!about_carriers()) {
        return;
    }
    char path[256];
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    for (int i = 0; i < 3; i++) {
        assert_complete(read_from(connector, peer, path));
        assert_non_null(strstr(path, "cma"));
    }
    /* One connection to ask by, and one for the bytes. */
    assert_int_equal(ts_stats(connector).peers_created, 2);
}

static void rule10_who_comes_by_the_network_can_not_make_ucx_start(void **state) {
    static const struct {
        const char *options;
        bool reached;
    } peers[] = {{"", false},
                 {"encryption=required", false},
                 {"transports=stream,local,pull interop=0", false},
                 {"encryption=off", true},
                 {"interop=1", true}};
    (void)state;
    if (!about_carriers()) {
        return;
    }
    if (geteuid() != 0) {
        skip();
    }
    for (size_t i = 0; i < sizeof peers / sizeof *peers; i++) {
        char options[256], path[256];
        snprintf(options, sizeof options, BY_TCP "%s", peers[i].options);
        ropeway_connector_t *connector = ts_connect("net_devices=lo");
        ts_peer_t *peer = ts_new_peer(options);
        ts_outcome_t outcome = read_from(connector, peer, path);
        if (peers[i].reached) {
            assert_complete(outcome);
            assert_non_null(strstr(path, "tcp/lo"));
        } else {
            assert_ended(outcome, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_NO_PATH);
            assert_non_null(strstr(outcome.text, "can't be reached by UCX"));
        }
        ts_drop_peer(peer);
        ts_disconnect(connector);
    }
}

/* The offer is as it was: whoever names nothing can have it. */
static void an_offer_outlives_who_can_not_come_for_it(void **state) {
    (void)state;
    if (!about_carriers()) {
        return;
    }
    const char *metadata;
    ropeway_connector_t *owner = ts_connect("transports=stream,local,pull net_devices=lo");
    ropeway_connector_t *by_ucx = ts_connect(""), *by_stream = ts_connect("transports=");
    ropeway_operation_t *offer = ts_create(owner, ROPEWAY_OPERATION_READABLE, "300000", 5, "");
    assert_ok(ropeway_operation_metadata(offer, &metadata));
    ropeway_operation_t *read =
        ts_begin(by_ucx, ROPEWAY_OPERATION_READ, "300000", 5, "", metadata, strlen(metadata));
    assert_ended(ts_wait(read), ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_NO_PATH);
    read = ts_begin(by_stream, ROPEWAY_OPERATION_READ, "300000", 5, "", metadata, strlen(metadata));
    assert_complete(ts_wait(read));
    assert_complete(ts_wait(offer));
}

/* The end of the connection by which an operation asked is not its own. */
static void a_peer_that_is_gone_ends_those_that_asked(void **state) {
    (void)state;
    if (!about_carriers()) {
        return;
    }
    ts_peer_need_processes();
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    size_t length;
    ts_peer_ask(peer, "readable 0 300000 5");
    char *metadata = ts_peer_metadata(peer, 0, &length);
    ts_peer_stop(peer);
    ropeway_operation_t *read =
        ts_begin(connector, ROPEWAY_OPERATION_READ, "300000", 5, "", metadata, length);
    assert_int_equal(ropeway_operation_wait(read, 50), ROPEWAY_ERR_TIMEOUT);
    ts_peer_kill(peer);
    assert_ended(ts_wait(read), ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_UNREACHABLE);
    free(metadata);
}

static const struct CMUnitTest tests[] = {
    TS_TEST(peers_on_this_host_meet_by_ucx_when_one_names_it),
    TS_TEST(rule10_who_comes_by_the_network_can_not_make_ucx_start),
    TS_TEST(an_offer_outlives_who_can_not_come_for_it),
    TS_TEST(a_peer_that_is_gone_ends_those_that_asked),
};

TS_LIST(ts_list_carriers, tests);
