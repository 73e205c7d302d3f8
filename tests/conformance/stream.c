/* SPDX-License-Identifier: Apache-2.0 */
/* What the transport "stream" has of its own: encryption, ports, addresses, and what it refuses. */
#include "lists.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool about_streams(void) {
    if (!ts_transport_is("stream")) {
        skip();
        return false;
    }
    return true;
}

static ropeway_connector_options_t of_stream(void) {
    static ts_option_texts_t texts;
    ropeway_connector_options_t options;
    ts_connector_options("", &texts, &options);
    options.encryption = NULL;
    return options;
}

/* Lets one read what the other offers, and returns the path. */
static const char *move_between(ropeway_connector_t *owner, ropeway_connector_t *reader) {
    static char path[256];
    ts_move_between(owner, reader, "70000", path);
    return path;
}

static void rule10_the_stricter_sides_wish_for_encryption_counts(void **state) {
    (void)state;
    static const char *const wishes[] = {"off", "auto", "required"};
    if (!about_streams()) {
        return;
    }
    for (int i = 0; i < 9; i++) {
        ropeway_connector_options_t mine = of_stream(), theirs = of_stream();
        ropeway_connector_t *owner, *reader;
        mine.encryption = wishes[i / 3];
        theirs.encryption = wishes[i % 3];
        assert_ok(ropeway_connector_create(&mine, &owner));
        assert_ok(ropeway_connector_create(&theirs, &reader));
        /* All is loopback here. */
        bool encrypted = strstr(move_between(owner, reader), "TLSv1.3") != NULL;
        assert_int_equal(encrypted, i / 3 == 2 || i % 3 == 2);
        assert_ok(ropeway_connector_destroy(owner));
        assert_ok(ropeway_connector_destroy(reader));
    }
}

/* Two ports next to each other that are free, as far as can be known. */
static unsigned find_two_ports(void) {
    for (unsigned port = 20011 + (unsigned)getpid() % 10000; port < 60000; port += 2) {
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int first = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int second = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        address.sin_port = htons((uint16_t)port);
        bool free = bind(first, (struct sockaddr *)&address, sizeof address) == 0;
        address.sin_port = htons((uint16_t)(port + 1));
        free = free && bind(second, (struct sockaddr *)&address, sizeof address) == 0;
        close(first);
        close(second);
        if (free) {
            return port;
        }
    }
    fail_msg("no two free ports");
    return 0;
}

static void rule8_a_range_of_ports_that_is_used_up_is_named(void **state) {
    (void)state;
    if (!about_streams()) {
        return;
    }
    char range[32];
    unsigned port = find_two_ports();
    ropeway_connector_options_t options = of_stream();
    ropeway_connector_t *connectors[3];
    snprintf(range, sizeof range, "%u-%u", port, port + 1);
    options.listen = range;
    assert_ok(ropeway_connector_create(&options, &connectors[0]));
    assert_ok(ropeway_connector_create(&options, &connectors[1]));
    assert_fails(ropeway_connector_create(&options, &connectors[2]), ROPEWAY_ERR_SYSTEM);
    assert_non_null(strstr(ropeway_last_error(), range));
    move_between(connectors[0], connectors[1]);
    assert_ok(ropeway_connector_destroy(connectors[0]));
    /* Its port is free at once, though its connection is remembered by the kernel. */
    assert_ok(ropeway_connector_create(&options, &connectors[2]));
    move_between(connectors[2], connectors[1]);
    assert_ok(ropeway_connector_destroy(connectors[1]));
    assert_ok(ropeway_connector_destroy(connectors[2]));
}

static void what_the_options_name_and_does_not_exist_is_refused(void **state) {
    (void)state;
    if (!about_streams()) {
        return;
    }
    const struct {
        const char *encryption, *listen, *advertise, *devices, *said;
    } cases[] = {{.encryption = "maybe", .said = "maybe"},
                 {.listen = "port", .said = "port"},
                 {.advertise = "nowhere", .said = "nowhere"},
                 {.devices = "lo,nosuchdevice0", .said = "nosuchdevice0"},
                 {.listen = "192.0.2.77:0", .said = "192.0.2.77"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ropeway_connector_options_t options = of_stream();
        ropeway_connector_t *none;
        options.encryption = cases[i].encryption;
        options.listen = cases[i].listen;
        options.advertise = cases[i].advertise;
        options.net_devices = cases[i].devices;
        ropeway_error_t error = ropeway_connector_create(&options, &none);
        assert_true(error == ROPEWAY_ERR_INVALID_ARGUMENT || error == ROPEWAY_ERR_SYSTEM);
        assert_non_null(strstr(ropeway_last_error(), cases[i].said));
    }
}

/* Where the kernel connects whoever comes, and nobody says a word. */
static int listen_silently(unsigned *port) {
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof place;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&place, size), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&place, &size), 0);
    *port = ntohs(place.sin_port);
    return fd;
}

/* The first address leads to nobody, the second one to something that waits, and the third one to a
 * connector that was not meant. */
static void the_next_address_is_tried(void **state) {
    (void)state;
    if (!about_streams()) {
        return;
    }
    unsigned port = find_two_ports(), silent;
    char own[32], other[32], all[128];
    ropeway_connector_options_t options = of_stream(), wrong = of_stream();
    ropeway_connector_t *owner, *third;
    int listener = listen_silently(&silent);
    snprintf(own, sizeof own, "127.0.0.1:%u", port);
    snprintf(other, sizeof other, "127.0.0.1:%u", port + 1);
    snprintf(all, sizeof all, "127.0.0.1:1,127.0.0.1:%u,%s,%s", silent, other, own);
    options.listen = own;
    options.advertise = all;
    wrong.listen = other;
    assert_ok(ropeway_connector_create(&options, &owner));
    assert_ok(ropeway_connector_create(&wrong, &third));
    assert_non_null(strstr(move_between(owner, ts_connect("")), own));
    assert_ok(ropeway_connector_destroy(third));
    assert_ok(ropeway_connector_destroy(owner));
    close(listener);
}

/* Leaves the first connection without a word, and hands the second one on to the connector of this
 * port. */
typedef struct relay {
    int listener;
    unsigned port;
} relay_t;

static void *relay(void *argument) {
    const relay_t *about = argument;
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    static char buffer[65536];
    int silent = accept4(about->listener, NULL, NULL, SOCK_CLOEXEC);
    int ends[2] = {accept4(about->listener, NULL, NULL, SOCK_CLOEXEC),
                   socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    place.sin_port = htons((uint16_t)about->port);
    ssize_t got = connect(ends[1], (struct sockaddr *)&place, sizeof place) == 0 ? 1 : 0;
    while (got > 0) {
        struct pollfd polled[2] = {{ends[0], POLLIN, 0}, {ends[1], POLLIN, 0}};
        poll(polled, 2, -1);
        for (int i = 0; i < 2 && got > 0; i++) {
            if (polled[i].revents != 0) {
                got = recv(ends[i], buffer, sizeof buffer, 0);
                got = got > 0 ? send(ends[1 - i], buffer, (size_t)got, MSG_NOSIGNAL) : got;
            }
        }
    }
    close(silent);
    close(ends[0]);
    close(ends[1]);
    return NULL;
}

/* It did not greet in time, and nothing else is left: lost packets take longer. */
static void an_address_that_was_silent_is_tried_once_more(void **state) {
    (void)state;
    if (!about_streams()) {
        return;
    }
    relay_t about = {.port = find_two_ports()};
    ropeway_connector_options_t options = of_stream();
    ropeway_connector_t *owner;
    unsigned port;
    char own[32], all[64], expected[32];
    pthread_t thread;
    about.listener = listen_silently(&port);
    snprintf(own, sizeof own, "127.0.0.1:%u", about.port);
    snprintf(expected, sizeof expected, "127.0.0.1:%u", port);
    snprintf(all, sizeof all, "%s,127.0.0.1:1", expected);
    options.listen = own;
    options.advertise = all;
    assert_ok(ropeway_connector_create(&options, &owner));
    assert_int_equal(pthread_create(&thread, NULL, relay, &about), 0);
    assert_non_null(strstr(move_between(owner, ts_connect("")), expected));
    assert_ok(ropeway_connector_destroy(owner));
    pthread_join(thread, NULL);
    close(about.listener);
}

static void a_peer_of_another_transport_has_no_path(void **state) {
    (void)state;
    if (!about_streams()) {
        return;
    }
    ropeway_connector_options_t by_ucx = of_stream();
    ropeway_connector_t *ours = ts_connect(""), *other;
    by_ucx.transports = "tcp,self";
    assert_ok(ropeway_connector_create(&by_ucx, &other));
    for (int i = 0; i < 2; i++) {
        const char *metadata;
        ropeway_operation_t *read;
        ts_region_t *region = ts_region_new("9", 0);
        ropeway_operation_t *offer =
            ts_create(i == 0 ? ours : other, ROPEWAY_OPERATION_READABLE, "9", 5, "");
        assert_ok(ropeway_operation_metadata(offer, &metadata));
        ropeway_error_t error = ropeway_begin_read(
            i == 0 ? other : ours, metadata, strlen(metadata), region->descriptors, 1, NULL, &read);
        if (i == 0 && error == ROPEWAY_OK) { /* it has asked whether there is another way */
            error = ropeway_operation_wait(read, TS_BOUND_MS);
            ropeway_operation_release(read);
        }
        assert_fails(error, ROPEWAY_ERR_NO_PATH);
        ts_release(offer);
        ts_region_free(region);
    }
    assert_ok(ropeway_connector_destroy(other));
}

static void who_names_no_transport_reaches_a_stream(void **state) {
    (void)state;
    if (!about_streams()) {
        return;
    }
    static const char *const owners[] = {"stream", "stream,local,pull", "local"};
    static const char *const paths[] = {"tcp/127.0.0.1", "local pull", "local"};
    for (int i = 0; i < 3; i++) {
        ropeway_connector_options_t mine = of_stream(), theirs = of_stream();
        ropeway_connector_t *owner, *reader;
        mine.transports = owners[i];
        theirs.transports = NULL;
        theirs.net_devices = NULL;
        assert_ok(ropeway_connector_create(&mine, &owner));
        assert_ok(ropeway_connector_create(&theirs, &reader));
        for (int k = 0; k < 3; k++) {
            const char *path = move_between(owner, reader);
            bool may_differ = i == 1 && strcmp(path, "local") == 0; /* not looked at yet */
            if (!may_differ && strncmp(path, paths[i], strlen(paths[i])) != 0) {
                fail_msg("%s: %s", owners[i], path);
            }
        }
        assert_int_equal(ts_stats(reader).peers, 1);
        assert_ok(ropeway_connector_destroy(i % 2 == 0 ? owner : reader));
        assert_ok(ropeway_connector_destroy(i % 2 == 0 ? reader : owner));
    }
}

static void device_memory_is_refused(void **state) {
    (void)state;
    if (!about_streams()) {
        return;
    }
    char byte;
    ropeway_descriptor_t descriptor = {&byte, 1, {ROPEWAY_DEVICE_CUDA, 0}};
    ropeway_operation_t *none;
    assert_fails(ropeway_create_readable(ts_connect(""), &descriptor, 1, NULL, &none),
                 ROPEWAY_ERR_DEVICE);
    assert_non_null(strstr(ropeway_last_error(), "transports"));
}

static const struct CMUnitTest tests[] = {
    TS_TEST(rule10_the_stricter_sides_wish_for_encryption_counts),
    TS_TEST(rule8_a_range_of_ports_that_is_used_up_is_named),
    TS_TEST(what_the_options_name_and_does_not_exist_is_refused),
    TS_TEST(the_next_address_is_tried),
    TS_TEST(an_address_that_was_silent_is_tried_once_more),
    TS_TEST(a_peer_of_another_transport_has_no_path),
    TS_TEST(who_names_no_transport_reaches_a_stream),
    TS_TEST(device_memory_is_refused),
};

TS_LIST(ts_list_stream, tests);
