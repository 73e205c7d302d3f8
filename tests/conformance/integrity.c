/* SPDX-License-Identifier: Apache-2.0 */
/* The integrity option: on if either side asks, and bytes that arrive other than they were sent are
 * found before COMPLETE. */
#include "lists.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void move_with_flags(int mine, int theirs, const char *spec) {
    ropeway_connector_t *connector = ts.connectors[0] ? ts.connectors[0] : ts_connect("");
    ts_peer_t *peer = ts.peers[0] ? ts.peers[0] : ts_new_peer("");
    char options[32];
    snprintf(options, sizeof options, "flags=%d", mine);
    for (int kind = ROPEWAY_OPERATION_READABLE; kind <= ROPEWAY_OPERATION_WRITABLE; kind++) {
        const char *metadata;
        ropeway_operation_t *operation =
            ts_create(connector, (ropeway_operation_kind_t)kind, spec, 12, options);
        assert_ok(ropeway_operation_metadata(operation, &metadata));
        char their_options[32];
        snprintf(their_options, sizeof their_options, "flags=%d", theirs);
        ts_peer_begin(peer, ts_verb(ts_other((ropeway_operation_kind_t)kind)), 0, spec, 12,
                      their_options, metadata, strlen(metadata));
        assert_complete(ts_wait(operation));
        assert_complete(ts_peer_wait(peer, 0));
        assert_true(ts_region_matches(ts_region(operation), 12));
        assert_int_equal(ts_peer_number(peer, "matches 0 12"), 1);
        ts_peer_ask(peer, "release 0");
        ts_release(operation);
    }
}

static void checksums_agree_whichever_side_asks(void **state) {
    (void)state;
    static const char *const specs[] = {"1",       "0",        "4096,0,65537", "2000*100",
                                        "1048579", "20000003", "600*3,5000000"};
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        move_with_flags(ROPEWAY_OPERATION_INTEGRITY, 0, specs[i]);
        move_with_flags(0, ROPEWAY_OPERATION_INTEGRITY, specs[i]);
        move_with_flags(ROPEWAY_OPERATION_INTEGRITY, ROPEWAY_OPERATION_INTEGRITY, specs[i]);
    }
}

/* Two addresses of the same memory. */
static void map_twice(size_t size, uint8_t *views[2]) {
    int fd = memfd_create("shared", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    for (int i = 0; i < 2; i++) {
        views[i] = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        assert_true(views[i] != MAP_FAILED);
    }
    close(fd);
}

/* The receiver's two descriptors lie on the same bytes and the sender's hold different ones, so few
 * that one message brings both: when they have arrived, the second has spoiled the first. */
static void receive_on_shared_bytes(bool read, size_t size, uint32_t flags, ropeway_error_t want) {
    ropeway_connector_t *owner = ts_connect(""), *user = ts_connect("");
    uint8_t *sent = malloc(2 * size), *shared[2];
    assert_non_null(sent);
    map_twice(size, shared);
    memset(sent, 1, size);
    memset(sent + size, 2, size);
    ropeway_device_t host = {ROPEWAY_DEVICE_HOST, 0};
    ropeway_descriptor_t from[] = {{sent, size, host}, {sent + size, size, host}};
    ropeway_descriptor_t to[] = {{shared[0], size, host}, {shared[1], size, host}};
    ropeway_operation_options_t options;
    ropeway_operation_t *passive, *active;
    const char *metadata;
    ropeway_operation_options_init(&options, sizeof options);
    options.flags = flags;
    assert_ok((read ? ropeway_create_readable : ropeway_create_writable)(owner, read ? from : to, 2,
                                                                         &options, &passive));
    assert_ok(ropeway_operation_metadata(passive, &metadata));
    assert_ok((read ? ropeway_begin_read : ropeway_begin_write)(
        user, metadata, strlen(metadata), read ? to : from, 2, &options, &active));
    ts_outcome_t mine = ts_wait(active), theirs = ts_wait(passive);
    ropeway_status_t status = want == ROPEWAY_OK ? ROPEWAY_STATUS_COMPLETE : ROPEWAY_STATUS_ERRORED;
    assert_ended(mine, status, want);
    assert_ended(theirs, status, want);
    if (want != ROPEWAY_OK) {
        assert_non_null(strpbrk(mine.text, "01"));
    }
    ropeway_operation_release(active);
    ropeway_operation_release(passive);
    free(sent);
    munmap(shared[0], size);
    munmap(shared[1], size);
    ts_disconnect(owner);
    ts_disconnect(user);
}

static void spoiled_bytes_are_found_before_complete(void **state) {
    (void)state;
    static const size_t sizes[] = {1, 64, 1000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int read = 0; read < 2; read++) {
            receive_on_shared_bytes(read, sizes[i], ROPEWAY_OPERATION_INTEGRITY,
                                    ROPEWAY_ERR_INTEGRITY);
            receive_on_shared_bytes(read, sizes[i], 0, ROPEWAY_OK);
        }
    }
}

static const struct CMUnitTest tests[] = {
    TS_TEST(checksums_agree_whichever_side_asks),
    TS_TEST(spoiled_bytes_are_found_before_complete),
};

TS_LIST(ts_list_integrity, tests);
