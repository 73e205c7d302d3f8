/* SPDX-License-Identifier: Apache-2.0 */
/* Queues in shared memory for two connectors alone: who gets one, who does not, and that operations
 * work either way. Run where the tests are about them ("private"), or where there may be none. */
#include "lists.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static bool about_queues(void) {
    if (!ts_transport_is("private")) {
        skip();
        return false;
    }
    return true;
}

static bool await_queues(ropeway_connector_t *connector, uint64_t count) {
    double end = ts_now() + TS_BOUND_MS / 1000.0;
    while (ts_stats(connector).queues != count) {
        if (ts_now() > end) {
            return false;
        }
        sched_yield();
    }
    return true;
}

/* A read of what the peer offers. Returns its path. */
static const char *read_one(ropeway_connector_t *connector, ts_peer_t *peer) {
    static char path[256];
    size_t length;
    ts_peer_ask(peer, "readable 0 70000 1");
    char *metadata = ts_peer_metadata(peer, 0, &length);
    ropeway_operation_t *operation =
        ts_begin(connector, ROPEWAY_OPERATION_READ, "70000", 1, "", metadata, length);
    free(metadata);
    assert_complete(ts_wait(operation));
    assert_true(ts_region_matches(ts_region(operation), 1));
    assert_complete(ts_peer_wait(peer, 0));
    ropeway_operation_path(operation, path, sizeof path);
    ts_release(operation);
    ts_peer_ask(peer, "release 0");
    return path;
}

static unsigned long long peers_queues(ts_peer_t *peer) {
    unsigned long long queues;
    assert_int_equal(sscanf(ts_peer_ask(peer, "stats"), "%*u %*u %*u %*u %llu", &queues), 1);
    return queues;
}

static bool await_peers_queues(ts_peer_t *peer, unsigned long long count) {
    double end = ts_now() + TS_BOUND_MS / 1000.0;
    while (peers_queues(peer) != count) {
        if (ts_now() > end) {
            return false;
        }
    }
    return true;
}

static void a_queue_comes_after_so_many_operations(void **state) {
    (void)state;
    if (!about_queues()) {
        return;
    }
    ropeway_connector_t *connector = ts_connect("queue_after=3");
    ts_peer_t *peer = ts_new_peer("queue_after=1000");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ts_stats(connector).queues, 0);
        assert_non_null(strstr(read_one(connector, peer), "tcp"));
    }
    assert_true(await_queues(connector, 1));
    assert_true(await_peers_queues(peer, 1));
    const char *path = read_one(connector, peer);
    assert_non_null(strstr(path, "posix"));
    assert_null(strstr(path, "tcp"));
    peer->warm = connector;
    ts_assert_works(connector, peer);
    assert_int_equal(ts_stats(connector).queues, 1);
    assert_int_equal(ts_stats(connector).peers, 1);
    assert_int_equal(ts_stats(connector).peers_created, 1);
    ts_drop_peer(peer);
    assert_true(await_queues(connector, 0));
}

/* Neither who may have none, nor who may have no more. */
static void no_queue_is_had_past_the_limit(void **state) {
    (void)state;
    static const char *const options[][2] = {
        {"max_queues=0", ""}, {"", "max_queues=0"}, {"max_queues=1", ""}};
    if (!about_queues()) {
        return;
    }
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        ropeway_connector_t *connector = ts_connect(options[i][0]);
        ts_peer_t *first = ts_new_peer(""), *peer = ts_new_peer(options[i][1]);
        uint64_t held = i == 2 ? 1 : 0;
        if (held > 0) {
            ts_warm_up(connector, first);
        }
        for (int j = 0; j < 5; j++) {
            assert_non_null(strstr(read_one(connector, peer), "tcp"));
        }
        peer->warm = connector; /* as far as it will ever be */
        ts_assert_works(connector, peer);
        assert_int_equal(ts_stats(connector).queues, held);
        assert_int_equal(peers_queues(peer), 0);
        ts_disconnect(connector);
        ts_drop_peer(first);
        ts_drop_peer(peer);
    }
}

/* Both sides read from each other from the first moment on. */
static void two_that_ask_each_other_get_one_queue(void **state) {
    (void)state;
    if (!about_queues()) {
        return;
    }
    for (int round = 0; round < 10; round++) {
        ropeway_connector_t *connector = ts_connect("");
        ts_peer_t *peer = ts_new_peer("");
        for (int i = 0; i < 40; i++) {
            const char *metadata;
            size_t length;
            ropeway_operation_t *readable =
                ts_create(connector, ROPEWAY_OPERATION_READABLE, "100", 1, "");
            assert_ok(ropeway_operation_metadata(readable, &metadata));
            ts_peer_ask(peer, "readable 0 100 1");
            char *theirs = ts_peer_metadata(peer, 0, &length);
            assert_ok(ts_peer_begin(peer, "read", 1, "100", 1, "", metadata, strlen(metadata)));
            ropeway_operation_t *read =
                ts_begin(connector, ROPEWAY_OPERATION_READ, "100", 1, "", theirs, length);
            free(theirs);
            assert_complete(ts_wait(read));
            assert_complete(ts_wait(readable));
            assert_complete(ts_peer_wait(peer, 0));
            assert_complete(ts_peer_wait(peer, 1));
            ts_release(read);
            ts_release(readable);
            ts_peer_ask(peer, "release 0");
            ts_peer_ask(peer, "release 1");
        }
        assert_true(await_queues(connector, 1));
        assert_true(await_peers_queues(peer, 1));
        assert_int_equal(ts_stats(connector).peers_failed, 0);
        ts_disconnect(connector);
        ts_drop_peer(peer);
    }
}

static void another_users_process_is_served_without_a_queue(void **state) {
    (void)state;
    if (!about_queues()) {
        return;
    }
    if (geteuid() != 0) {
        skip();
    }
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("user=65534");
    for (int i = 0; i < 5; i++) {
        assert_non_null(strstr(read_one(connector, peer), "tcp"));
    }
    peer->warm = connector;
    ts_assert_works(connector, peer);
    assert_int_equal(ts_stats(connector).queues, 0);
    assert_int_equal(peers_queues(peer), 0);
}

/* Two peers are asked at a time, and there is room for one queue: nobody keeps half of one. */
static void room_for_one_queue_is_given_once(void **state) {
    (void)state;
    if (!about_queues()) {
        return;
    }
    for (int round = 0; round < 5; round++) {
        ropeway_connector_t *connector = ts_connect("max_queues=1");
        ts_peer_t *peers[2] = {ts_new_peer(""), ts_new_peer("")};
        ropeway_operation_t *reads[2];
        for (int i = 0; i < 2; i++) {
            size_t length;
            ts_peer_ask(peers[i], "readable 0 1 1");
            char *metadata = ts_peer_metadata(peers[i], 0, &length);
            reads[i] = ts_begin(connector, ROPEWAY_OPERATION_READ, "1", 1, "", metadata, length);
            free(metadata);
        }
        for (int i = 0; i < 2; i++) {
            assert_complete(ts_wait(reads[i]));
            ts_release(reads[i]);
            ts_peer_ask(peers[i], "release 0");
        }
        assert_true(await_queues(connector, 1));
        double end = ts_now() + TS_BOUND_MS / 1000.0;
        while (peers_queues(peers[0]) + peers_queues(peers[1]) != 1) {
            assert_true(ts_now() < end);
        }
        assert_int_equal(ts_stats(connector).queues, 1);
        ts_disconnect(connector);
        ts_drop_peer(peers[0]);
        ts_drop_peer(peers[1]);
    }
}

static void the_room_of_a_peer_that_left_is_given_to_the_next(void **state) {
    (void)state;
    if (!about_queues()) {
        return;
    }
    ropeway_connector_t *connector = ts_connect("max_queues=1 quiet_ms=50");
    ts_peer_t *first = ts_new_peer(""), *next = ts_new_peer("");
    ts_warm_up(connector, first);
    for (int i = 0; i < 3; i++) {
        assert_non_null(strstr(read_one(connector, next), "tcp"));
    }
    ts_drop_peer(first);
    assert_true(await_queues(connector, 0));
    double end = ts_now() + TS_BOUND_MS / 1000.0;
    while (strstr(read_one(connector, next), "posix") == NULL) {
        assert_true(ts_now() < end);
    }
}

/* Nobody polls, nothing but the operations wakes anybody, and one waits for the other's room. */
static void a_queue_works_without_polling(void **state) {
    (void)state;
    static const char *const options =
        "spin_us=0 chunk_size=65536 max_inflight=65536 keepalive_ms=100000000";
    if (!about_queues()) {
        return;
    }
    ropeway_connector_t *connector = ts_connect(options);
    ts_peer_t *peer = ts_new_peer(options);
    for (int kind = ROPEWAY_OPERATION_READABLE; kind <= ROPEWAY_OPERATION_WRITE; kind++) {
        ts_pair_t pairs[4];
        for (int i = 0; i < 4; i++) {
            pairs[i] = ts_pair_make(connector, peer, i, (ropeway_operation_kind_t)kind, "4194304",
                                    "stall_ms=0");
        }
        for (int i = 0; i < 4; i++) {
            ts_pair_finish(&pairs[i]);
        }
    }
    assert_int_equal(ts_stats(connector).queues, 1);
}

/* ---- strangers at the socket ---- */

/* Sends an empty datagram to each socket of this process by which UCX wakes it. */
static int wake_all(void) {
    int woken = 0, from = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(from >= 0);
    for (int fd = 3; fd < 1024; fd++) {
        struct sockaddr_un address;
        socklen_t length = sizeof address, size = sizeof(int);
        int type = 0;
        if (fd != from && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
            type == SOCK_DGRAM && getsockname(fd, (struct sockaddr *)&address, &length) == 0 &&
            address.sun_family == AF_UNIX && length > sizeof address.sun_family) {
            woken += sendto(from, "", 0, 0, (struct sockaddr *)&address, length) == 0;
        }
    }
    close(from);
    return woken;
}

static void empty_datagrams_to_a_queue_do_no_harm(void **state) {
    (void)state;
    if (!about_queues()) {
        return;
    }
    ropeway_connector_t *connector = ts_connect("");
    for (int round = 0; round < 5; round++) {
        ts_peer_t *peer = ts_new_peer("");
        ts_warm_up(connector, peer);
        assert_true(wake_all() > 0);
        ts_assert_works(connector, peer);
        wake_all();
        wake_all();
        ts_drop_peer(peer);
        assert_true(await_queues(connector, 0));
    }
}

/* The socket on which the only connector of this process listens. */
static struct sockaddr_un find_socket(socklen_t *length) {
    struct sockaddr_un address;
    for (int fd = 3; fd < 1024; fd++) {
        *length = sizeof address;
        if (getsockname(fd, (struct sockaddr *)&address, length) == 0 &&
            address.sun_family == AF_UNIX && strncmp(address.sun_path + 1, "ropeway-", 8) == 0) {
            return address;
        }
    }
    fail_msg("the connector does not listen");
    return address;
}

static int knock(void) {
    socklen_t length;
    struct sockaddr_un address = find_socket(&length);
    struct timeval patience = {.tv_sec = TS_BOUND_MS / 1000};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, length), 0);
    return fd;
}

/* Says something, and returns the type of the answer; 0: the other side hung up; -1: it did so
 * before anything was said, which took longer than it waits. */
static int try_to_say(const void *bytes, size_t length) {
    uint8_t answer[5000];
    int fd = knock();
    ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
    ssize_t got = sent < 0 ? 0 : recv(fd, answer, sizeof answer, 0);
    if (got < 0 && errno == ECONNRESET) {
        got = 0; /* it hung up without having read */
    }
    close(fd);
    assert_true(sent < 0 || sent == (ssize_t)length);
    assert_true(got == 0 || (got >= 40 && memcmp(answer, "RWQ1", 4) == 0));
    return sent < 0 ? -1 : got == 0 ? 0 : answer[4];
}

static int say(const void *bytes, size_t length) {
    double end = ts_now() + TS_BOUND_MS / 1000.0;
    int answer;
    do {
        answer = try_to_say(bytes, length);
    } while (answer < 0 && ts_now() < end);
    return answer;
}

/* The same, until there was an answer: what is said late is not heard. */
static int answer_to(const void *bytes, size_t length) {
    double end = ts_now() + TS_BOUND_MS / 1000.0;
    int answer;
    do {
        answer = say(bytes, length);
    } while (answer <= 0 && ts_now() < end);
    return answer;
}

static void strangers_at_the_socket_get_nothing(void **state) {
    (void)state;
    enum { ASK = 1, REFUSE = 4 };
    if (!about_queues()) {
        return;
    }
    ropeway_connector_t *connector = ts_connect("quiet_ms=200");
    ts_peer_t *peer = ts_new_peer("");
    uint8_t bytes[6000] = "RWQ1";
    ts_warm_up(connector, peer);
    size_t descriptors = ts_usage(0).descriptors;
    assert_int_equal(say("hello", 5), 0);
    assert_int_equal(say(bytes, 39), 0);
    bytes[4] = 9;
    assert_int_equal(say(bytes, 60), 0);
    bytes[4] = ASK;
    assert_int_equal(say(bytes, 40), 0);            /* without an address */
    assert_int_equal(say(bytes, 6000), 0);          /* too long */
    assert_int_equal(answer_to(bytes, 60), REFUSE); /* an id that nobody has */
    /* One who says nothing is sent away, and so is one who leaves. */
    int silent = knock();
    uint8_t byte;
    assert_int_equal(recv(silent, &byte, 1, 0), 0);
    close(silent);
    close(knock());
    double end = ts_now() + TS_BOUND_MS / 1000.0;
    while (ts_usage(0).descriptors > descriptors) {
        assert_true(ts_now() < end);
        sched_yield();
    }
    assert_int_equal(ts_stats(connector).queues, 1);
    ts_assert_works(connector, peer);
}

static const struct CMUnitTest tests[] = {
    TS_TEST(a_queue_comes_after_so_many_operations),
    TS_TEST(no_queue_is_had_past_the_limit),
    TS_TEST(two_that_ask_each_other_get_one_queue),
    TS_TEST(another_users_process_is_served_without_a_queue),
    TS_TEST(room_for_one_queue_is_given_once),
    TS_TEST(the_room_of_a_peer_that_left_is_given_to_the_next),
    TS_TEST(a_queue_works_without_polling),
    TS_TEST(strangers_at_the_socket_get_nothing),
    TS_TEST(empty_datagrams_to_a_queue_do_no_harm),
};

TS_LIST(ts_list_queue, tests);
