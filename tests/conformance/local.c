/* SPDX-License-Identifier: Apache-2.0 */
/* What the transports "local" and "pull" have of their own: who comes by them, and who does not. */
#include "lists.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BIG "8388608"
#define ALL "transports=stream,local,pull net_devices=lo "
#define ALL_AND_RING "transports=stream,local,pull,ring net_devices=lo "

static bool about_pulls(void) {
    if (!ts_transport_is("default")) {
        skip();
        return false;
    }
    return true;
}

/* One operation of many bytes with the peer; by which path it went. */
static const char *move(ropeway_connector_t *connector, ts_peer_t *peer,
                        ropeway_operation_kind_t kind) {
    static char path[256];
    ts_pair_t pair = ts_pair_make(connector, peer, 0, kind, BIG, "");
    ts_outcome_t mine = ts_wait(pair.operation);
    assert_complete(mine);
    ropeway_operation_path(pair.operation, path, sizeof path);
    ts_pair_finish(&pair);
    return path;
}

/* Both sides have seen that they can fetch from each other, on either one's connection. */
static void await_pulls(ropeway_connector_t *connector, ts_peer_t *peer) {
    static const ropeway_operation_kind_t kinds[] = {ROPEWAY_OPERATION_READ,
                                                     ROPEWAY_OPERATION_WRITABLE};
    double end = ts_now() + TS_BOUND_MS / 1000.0;
    for (int i = 0; i < 2; i++) {
        uint64_t before;
        do {
            assert_true(ts_now() < end);
            before = ts_stats(connector).bytes_fetched;
            move(connector, peer, kinds[i]);
        } while (ts_stats(connector).bytes_fetched - before < strtoull(BIG, NULL, 10));
    }
}

static void a_peer_on_this_host_comes_by_the_unix_socket(void **state) {
    (void)state;
    if (!about_pulls()) {
        return;
    }
    static const struct {
        const char *mine, *theirs, *path;
    } cases[] = {
        {"stream,local,pull", "stream,local,pull", "local pull"},
        {"stream,local,pull", "local", "local"},
        {"local", "local,pull", "local"},
        {"stream,local", "stream", "tcp/127.0.0.1"},
        {"stream", "pull,local,stream", "tcp/127.0.0.1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char options[100];
        snprintf(options, sizeof options, "net_devices=lo transports=%s", cases[i].mine);
        ropeway_connector_t *connector = ts_connect(options);
        snprintf(options, sizeof options, "net_devices=lo transports=%s", cases[i].theirs);
        ts_peer_t *peer = ts_new_peer(options);
        bool pulled = strcmp(cases[i].path, "local pull") == 0;
        if (pulled) {
            await_pulls(connector, peer);
        }
        uint64_t fetched = ts_stats(connector).bytes_fetched;
        for (int kind = ROPEWAY_OPERATION_READABLE; kind <= ROPEWAY_OPERATION_WRITE; kind++) {
            const char *path = move(connector, peer, (ropeway_operation_kind_t)kind);
            bool as_it_should = cases[i].path[0] == 't'
                                    ? strncmp(path, cases[i].path, strlen(cases[i].path)) == 0
                                    : strcmp(path, cases[i].path) == 0;
            if (!as_it_should) {
                fail_msg("%s and %s: %s", cases[i].mine, cases[i].theirs, path);
            }
        }
        assert_int_equal(ts_stats(connector).bytes_fetched - fetched,
                         pulled ? 2 * strtoull(BIG, NULL, 10) : 0);
        ts_drop_peer(peer);
        ts_disconnect(connector);
    }
}

/* How many bytes of a READ of this size are fetched. */
static uint64_t fetched_of(ropeway_connector_t *connector, ts_peer_t *peer, const char *size) {
    uint64_t before = ts_stats(connector).bytes_fetched;
    ts_pair_t pair = ts_pair_make(connector, peer, 0, ROPEWAY_OPERATION_READ, size, "");
    assert_complete(ts_wait(pair.operation));
    ts_pair_finish(&pair);
    return ts_stats(connector).bytes_fetched - before;
}

static void up_to_128_kib_go_through_the_socket_and_more_is_fetched(void **state) {
    (void)state;
    if (!about_pulls()) {
        return;
    }
    ropeway_connector_t *connector = ts_connect(ALL);
    ts_peer_t *peer = ts_new_peer(ALL);
    await_pulls(connector, peer);
    assert_int_equal(fetched_of(connector, peer, "131072"), 0);
    assert_int_equal(fetched_of(connector, peer, "131073"), 131073);
}

/* It is there once the two have talked for a while. */
static void up_to_1_mib_go_through_the_ring_and_more_is_fetched(void **state) {
    (void)state;
    if (!about_pulls()) {
        return;
    }
    ropeway_connector_t *connector = ts_connect(ALL_AND_RING);
    ts_peer_t *peer = ts_new_peer(ALL_AND_RING);
    double end = ts_now() + TS_BOUND_MS / 1000.0;
    await_pulls(connector, peer);
    while (fetched_of(connector, peer, "1048576") != 0) {
        assert_true(ts_now() < end);
    }
    assert_int_equal(fetched_of(connector, peer, "1048577"), 1048577);
}

static void without_a_way_in_common_there_is_no_path(void **state) {
    (void)state;
    if (!about_pulls()) {
        return;
    }
    const char *metadata;
    ropeway_connector_t *owner = ts_connect("transports=stream net_devices=lo");
    ropeway_connector_t *reader = ts_connect("transports=local");
    ropeway_operation_t *offer = ts_create(owner, ROPEWAY_OPERATION_READABLE, "9", 5, ""), *read;
    assert_ok(ropeway_operation_metadata(offer, &metadata));
    uint8_t room[9];
    ropeway_descriptor_t to = {room, sizeof room, {ROPEWAY_DEVICE_HOST, 0}};
    assert_int_equal(ropeway_begin_read(reader, metadata, strlen(metadata), &to, 1, NULL, &read),
                     ROPEWAY_ERR_NO_PATH);
    assert_non_null(strstr(ropeway_last_error(), "no way in common"));
}

static void lists_that_can_not_be_are_refused(void **state) {
    (void)state;
    if (!about_pulls()) {
        return;
    }
    static const char *const lists[] = {"pull", "stream,pull", "stream,tcp", "local,posix",
                                        "pull,self"};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        ropeway_connector_options_t options;
        ropeway_connector_t *connector;
        ropeway_connector_options_init(&options, sizeof options);
        options.transports = lists[i];
        assert_int_equal(ropeway_connector_create(&options, &connector),
                         ROPEWAY_ERR_INVALID_ARGUMENT);
        assert_non_null(strstr(ropeway_last_error(), lists[i]));
    }
    ropeway_connector_options_t options;
    ropeway_connector_t *connector;
    ropeway_connector_options_init(&options, sizeof options);
    options.transports = "local";
    options.encryption = "required";
    assert_int_equal(ropeway_connector_create(&options, &connector), ROPEWAY_ERR_INVALID_ARGUMENT);
}

static void rule10_encryption_that_is_required_goes_by_no_unix_socket(void **state) {
    (void)state;
    if (!about_pulls()) {
        return;
    }
    for (int i = 0; i < 2; i++) {
        ropeway_connector_t *connector = ts_connect(i == 0 ? ALL "encryption=required" : ALL);
        ts_peer_t *peer = ts_new_peer(i == 1 ? ALL "encryption=required" : ALL);
        assert_non_null(strstr(move(connector, peer, ROPEWAY_OPERATION_READ), "TLSv1.3"));
        assert_non_null(strstr(move(connector, peer, ROPEWAY_OPERATION_READABLE), "TLSv1.3"));
        ts_drop_peer(peer);
        ts_disconnect(connector);
    }
}

static void rule10_another_users_process_comes_by_tcp(void **state) {
    (void)state;
    if (!about_pulls()) {
        return;
    }
    if (geteuid() != 0) {
        skip();
    }
    ropeway_connector_t *connector = ts_connect(ALL);
    ts_peer_t *peer = ts_new_peer(ALL "user=65534");
    for (int kind = ROPEWAY_OPERATION_READABLE; kind <= ROPEWAY_OPERATION_WRITE; kind++) {
        assert_non_null(strstr(move(connector, peer, (ropeway_operation_kind_t)kind), "tcp/"));
    }
}

/* The kernel lets nobody without CAP_SYS_PTRACE read it any more, and our threads have none. */
static void a_peer_that_can_be_read_no_more_sends_its_bytes(void **state) {
    (void)state;
    if (!about_pulls()) {
        return;
    }
    ts_peer_need_processes();
    uint64_t fetched;
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    do {
        fetched = ts_stats(connector).bytes_fetched;
        move(connector, peer, ROPEWAY_OPERATION_READ);
    } while (ts_stats(connector).bytes_fetched - fetched < strtoull(BIG, NULL, 10));
    ts_peer_ask(peer, "close-memory");
    ts_pair_t pair = ts_pair_make(connector, peer, 1, ROPEWAY_OPERATION_READ, BIG, "");
    ts_outcome_t mine = ts_wait(pair.operation), theirs = ts_peer_wait(peer, 1);
    assert_ended(mine, ROPEWAY_STATUS_ERRORED, mine.error);
    assert_non_null(strstr(theirs.text, "can't be read"));
    assert_int_equal(theirs.status, ROPEWAY_STATUS_ERRORED);
    ts_pair_release(&pair);
    for (int i = 0; i < 3; i++) { /* that operation alone */
        move(connector, peer, ROPEWAY_OPERATION_READ);
        move(connector, peer, ROPEWAY_OPERATION_WRITE);
        move(connector, peer, ROPEWAY_OPERATION_WRITABLE);
    }
    /* And from the beginning. */
    ropeway_connector_t *other = ts_connect("");
    move(other, peer, ROPEWAY_OPERATION_READ);
    move(other, peer, ROPEWAY_OPERATION_WRITE);
}

/* The sender cancels, and unmaps its memory at once, while it is fetched. */
static void rule5_memory_that_goes_with_a_cancel_is_a_cancel(void **state) {
    (void)state;
    if (!about_pulls()) {
        return;
    }
    enum { SIZE = 64 << 20 };
    ropeway_connector_t *owner = ts_connect(""), *reader = ts_connect("");
    ropeway_device_t host = {ROPEWAY_DEVICE_HOST, 0};
    uint8_t *room = malloc(SIZE);
    uint64_t random = ts_seed(), fetched;
    size_t cancelled = 0;
    assert_non_null(room);
    for (size_t tries = 0; tries < 400 && cancelled < ts_scaled(20, 5); tries++) {
        uint8_t *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        assert_true(memory != MAP_FAILED);
        ropeway_descriptor_t from = {memory, SIZE, host}, to = {room, SIZE, host};
        ropeway_operation_t *readable, *read;
        const char *metadata;
        assert_ok(ropeway_create_readable(owner, &from, 1, NULL, &readable));
        assert_ok(ropeway_operation_metadata(readable, &metadata));
        assert_ok(ropeway_begin_read(reader, metadata, strlen(metadata), &to, 1, NULL, &read));
        ts_await_progress(read, ts_random(&random) % (SIZE / 2));
        ropeway_operation_cancel(readable);
        ts_outcome_t mine = ts_wait(readable);
        munmap(memory, SIZE);
        ts_outcome_t theirs = ts_wait(read);
        ropeway_operation_release(readable);
        ropeway_operation_release(read);
        if (mine.status == ROPEWAY_STATUS_COMPLETE) {
            assert_complete(theirs);
        } else {
            assert_ended(mine, ROPEWAY_STATUS_CANCELLED, ROPEWAY_ERR_CANCELLED);
            assert_ended(theirs, ROPEWAY_STATUS_CANCELLED, ROPEWAY_ERR_CANCELLED);
            cancelled++;
        }
    }
    assert_true(cancelled > 0);
    free(room);
    /* And it was only that memory. */
    fetched = ts_stats(reader).bytes_fetched;
    ts_move_between(owner, reader, BIG, NULL);
    assert_int_equal(ts_stats(reader).bytes_fetched - fetched, strtoull(BIG, NULL, 10));
}

/* Its sockets answer while it closes, or have done so just before. */
static void a_connector_may_close_while_it_connects(void **state) {
    (void)state;
    if (!about_pulls()) {
        return;
    }
    for (int i = 0; i < 300; i++) {
        ropeway_connector_t *owner = ts_connect(""), *reader = ts_connect("");
        ropeway_operation_t *offer = ts_create(owner, ROPEWAY_OPERATION_READABLE, "70000", 5, "");
        const char *metadata;
        assert_ok(ropeway_operation_metadata(offer, &metadata));
        ropeway_operation_t *read =
            ts_begin(reader, ROPEWAY_OPERATION_READ, "70000", 5, "", metadata, strlen(metadata));
        usleep((useconds_t)(i % 8 * 50));
        ts_release(read);
        ts_release(offer);
        ts_disconnect(i % 2 == 0 ? owner : reader);
        ts_disconnect(i % 2 == 0 ? reader : owner);
    }
}

static const struct CMUnitTest tests[] = {
    TS_TEST(a_peer_on_this_host_comes_by_the_unix_socket),
    TS_TEST(up_to_128_kib_go_through_the_socket_and_more_is_fetched),
    TS_TEST(up_to_1_mib_go_through_the_ring_and_more_is_fetched),
    TS_TEST(without_a_way_in_common_there_is_no_path),
    TS_TEST(lists_that_can_not_be_are_refused),
    TS_TEST(rule10_encryption_that_is_required_goes_by_no_unix_socket),
    TS_TEST(a_connector_may_close_while_it_connects),
    TS_TEST(rule10_another_users_process_comes_by_tcp),
    TS_TEST(a_peer_that_can_be_read_no_more_sends_its_bytes),
    TS_TEST(rule5_memory_that_goes_with_a_cancel_is_a_cancel),
};

TS_LIST(ts_list_local, tests);
