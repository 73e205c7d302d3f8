/* SPDX-License-Identifier: Apache-2.0 */
/* Rule 9: what the host is short of for a moment is named, or not needed, and everything works
 * again when it is there. tests/unit/test_ucx_means.c has threads and ports. */
#include "lists.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

enum { READERS = TS_PEERS };

/* ---- shared memory ---- */

/* /dev/shm of the calling thread, and of what it starts, has hardly any room. */
static bool shrink_shared_memory(void) {
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", "/dev/shm", "tmpfs", 0, "size=64k") == 0;
}

static void rule9_no_room_in_shared_memory_is_gone_without(void **state) {
    (void)state;
    if (!ts_transport_is("default") && !ts_transport_is("host")) {
        skip(); /* others have no use for it */
    }
    ts_peer_need_processes();
    if (geteuid() != 0 || !shrink_shared_memory()) {
        skip();
    }
    ropeway_connector_t *connector = ts_connect("");
    for (int i = 0; i < READERS; i++) {
        ts_peer_t *peer = ts_new_peer("");
        ts_pair_t pair =
            ts_pair_make(connector, peer, 0, ROPEWAY_OPERATION_READABLE, "1048576", "");
        assert_complete(ts_wait(pair.operation));
        ts_pair_finish(&pair);
    }
    assert_int_equal(umount2("/dev/shm", MNT_DETACH), 0);
}

/* ---- descriptors ---- */

static int wasted[4096];
static size_t waste;
static struct rlimit limit;

static void take_all_descriptors(void) {
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    struct rlimit low = {.rlim_cur = 256, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    waste = 0;
    while (waste < sizeof wasted / sizeof *wasted && (wasted[waste] = dup(0)) >= 0) {
        waste++;
    }
}

static void give_descriptors_back(void) {
    while (waste > 0) {
        close(wasted[--waste]);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void rule9_no_descriptor_for_a_connector_is_named(void **state) {
    (void)state;
    ropeway_connector_options_t options;
    ts_option_texts_t texts;
    ts_connector_options("", &texts, &options);
    /* One more is there each time, until there are enough. */
    take_all_descriptors();
    ropeway_connector_t *connector = NULL;
    ropeway_error_t error;
    size_t failed = 0;
    while ((error = ropeway_connector_create(&options, &connector)) != ROPEWAY_OK) {
        char said[512];
        snprintf(said, sizeof said, "%s", ropeway_last_error());
        if (strstr(said, "open files") == NULL || waste == 0) {
            give_descriptors_back();
            fail_msg("%s: %s", ropeway_error_name(error), said);
        }
        close(wasted[--waste]);
        failed++;
    }
    give_descriptors_back();
    assert_ok(ropeway_connector_destroy(connector));
    assert_true(failed > 0);
    ts_assert_works(ts_connect(""), ts_new_peer(""));
}

static void rule9_no_descriptor_for_a_connection_is_named(void **state) {
    (void)state;
    if (!ts_transport_is("default") && !ts_transport_is_stream()) {
        skip(); /* UCX says "Input/output error" */
    }
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    size_t length;
    ts_peer_ask(peer, "readable 0 70000 5");
    char *metadata = ts_peer_metadata(peer, 0, &length);
    ts_region_t *region = ts_region_new("70000", 0);
    ropeway_operation_t *read = NULL;
    take_all_descriptors();
    ropeway_error_t error =
        ropeway_begin_read(connector, metadata, length, region->descriptors, 1, NULL, &read);
    char said[512];
    if (error == ROPEWAY_OK) {
        error = ropeway_operation_wait(read, TS_BOUND_MS);
        snprintf(said, sizeof said, "%s", ropeway_operation_error_text(read));
    } else {
        snprintf(said, sizeof said, "%s", ropeway_last_error());
    }
    give_descriptors_back();
    if (error == ROPEWAY_OK || strstr(said, "open files") == NULL) {
        fail_msg("%s: %s", ropeway_error_name(error), said);
    }
    ropeway_operation_release(read);
    /* The offer is as it was. */
    assert_ok(ropeway_begin_read(connector, metadata, length, region->descriptors, 1, NULL, &read));
    assert_ok(ropeway_operation_wait(read, TS_BOUND_MS));
    ropeway_operation_release(read);
    ts_region_free(region);
    free(metadata);
}

static const struct CMUnitTest tests[] = {
    TS_TEST(rule9_no_room_in_shared_memory_is_gone_without),
    TS_TEST(rule9_no_descriptor_for_a_connector_is_named),
    TS_TEST(rule9_no_descriptor_for_a_connection_is_named),
};

TS_LIST(ts_list_shortage, tests);
