/* SPDX-License-Identifier: Apache-2.0 */
/* Rule 4 when the network itself fails: between network namespaces, whose cable can be pulled. */
#include "lists.h"

#include <stdlib.h>
#include <string.h>

static void pull_the_cable(ropeway_operation_kind_t kind) {
    ropeway_connector_t *connector = ts_connect(TS_SLOW);
    ts_peer_t *peer = ts_new_peer(TS_SLOW);
    for (int attempt = 0; attempt < 20; attempt++) {
        ts_pair_t pair = ts_pair_make(connector, peer, 0, kind, TS_BIG, "stall_ms=1500");
        ts_await_progress(pair.operation, 1);
        ts_transport_link(false);
        ts_outcome_t mine = ts_wait(pair.operation), theirs = ts_peer_wait(peer, 0);
        ts_region_set(ts_region(pair.operation), 0x5A);
        ts_transport_link(true);
        ts_assert_recovers(connector, peer);
        assert_true(ts_region_is(ts_region(pair.operation), 0x5A));
        ts_pair_release(&pair);
        if (mine.status == ROPEWAY_STATUS_COMPLETE || theirs.status == ROPEWAY_STATUS_COMPLETE) {
            continue; /* the last word may have been on its way */
        }
        /* By the stall limit, or by the transport when it learns of it sooner. */
        if (mine.status != ROPEWAY_STATUS_ERRORED || theirs.status != ROPEWAY_STATUS_ERRORED ||
            (mine.error != ROPEWAY_ERR_STALLED && mine.error != ROPEWAY_ERR_PEER_LOST) ||
            (theirs.error != ROPEWAY_ERR_STALLED && theirs.error != ROPEWAY_ERR_PEER_LOST)) {
            fail_msg("here %s, there %s", mine.text, theirs.text);
        }
        return;
    }
    fail_msg("no transfer was caught in its middle");
}

static void skip_without_cable(void) {
    if (!ts_transport_is_apart()) {
        skip();
    }
}

static void rule4_the_link_goes_down_during_a_read(void **state) {
    (void)state;
    skip_without_cable();
    pull_the_cable(ROPEWAY_OPERATION_READ);
}

static void rule4_the_link_goes_down_during_a_write(void **state) {
    (void)state;
    skip_without_cable();
    pull_the_cable(ROPEWAY_OPERATION_WRITE);
}

static void rule4_the_link_goes_down_while_the_peer_reads(void **state) {
    (void)state;
    skip_without_cable();
    pull_the_cable(ROPEWAY_OPERATION_READABLE);
}

static void rule4_the_link_is_down_before_first_contact(void **state) {
    (void)state;
    skip_without_cable();
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    ts_peer_ask(peer, "readable 0 70000 5");
    char *metadata = ts_peer_metadata(peer, 0, NULL);
    ts_transport_link(false);
    ts_region_t *region = ts_region_new("70000", 0);
    ropeway_operation_options_t options;
    ropeway_operation_t *operation = NULL;
    ts_operation_options("stall_ms=1500", &options);
    ropeway_error_t error = ropeway_begin_read(connector, metadata, strlen(metadata),
                                               region->descriptors, 1, &options, &operation);
    if (error == ROPEWAY_OK) {
        error = ropeway_operation_wait(operation, TS_BOUND_MS);
    }
    ts_transport_link(true);
    if (error != ROPEWAY_ERR_STALLED && error != ROPEWAY_ERR_UNREACHABLE &&
        error != ROPEWAY_ERR_PEER_LOST && error != ROPEWAY_ERR_NO_PATH) {
        fail_msg("begin without a link ends with %s", ropeway_error_name(error));
    }
    ts_assert_recovers(connector, peer);
    ropeway_operation_release(operation);
    ts_region_free(region);
    free(metadata);
}

static const struct CMUnitTest tests[] = {
    TS_TEST(rule4_the_link_goes_down_during_a_read),
    TS_TEST(rule4_the_link_goes_down_during_a_write),
    TS_TEST(rule4_the_link_goes_down_while_the_peer_reads),
    TS_TEST(rule4_the_link_is_down_before_first_contact),
};

TS_LIST(ts_list_link, tests);
