/* SPDX-License-Identifier: Apache-2.0 */
/* A stream link's bytes: greetings, frames, where it can be reached, and what is tried of that. */
#include "link/stream_address.h"
#include "link/stream_local.h"
#include "link/stream_out.h"
#include "link/stream_places.h"
#include "link/stream_route.h"
#include "unit.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void a_greeting_comes_back_as_it_went(void **state) {
    (void)state;
    for (int kind = RW_GREETING_CALL; kind <= RW_GREETING_ANSWER; kind++) {
        rw_greeting_t greeting = {.version = RW_STREAM_VERSION, .kind = (uint8_t)kind, .tls = 1};
        rw_greeting_t again;
        uint8_t bytes[RW_GREETING_BYTES];

        memset(greeting.fingerprint, 0x5A, sizeof greeting.fingerprint);
        rw_greeting_encode(&greeting, bytes);
        assert_true(rw_greeting_decode(bytes, (rw_greeting_kind_t)kind, &again));
        assert_memory_equal(&again, &greeting, sizeof again);
        assert_false(rw_greeting_decode(bytes, (rw_greeting_kind_t)(3 - kind), &again));
        for (size_t i = 12; i < 32; i++) { /* what is not used yet must be zero */
            bytes[i] = 1;
            assert_false(rw_greeting_decode(bytes, (rw_greeting_kind_t)kind, &again));
            bytes[i] = 0;
        }
    }
}

static void of_another_version_only_the_version_is_read(void **state) {
    (void)state;
    rw_greeting_t greeting = {.version = RW_STREAM_VERSION + 1, .kind = RW_GREETING_CALL};
    uint8_t bytes[RW_GREETING_BYTES];

    rw_greeting_encode(&greeting, bytes);
    memset(bytes + 10, 0xFF, sizeof bytes - 10);
    assert_true(rw_greeting_decode(bytes, RW_GREETING_CALL, &greeting));
    assert_int_equal(greeting.version, RW_STREAM_VERSION + 1);
    assert_int_equal(greeting.tls + greeting.verdict, 0);
}

static void a_head_comes_back_as_it_went(void **state) {
    (void)state;
    static const rw_head_t heads[] = {
        {.length = 0, .class = RW_FRAME_CONTROL, .header_length = 64, .header = "abc"},
        {.length = RW_STREAM_CONTROL_MAX, .class = RW_FRAME_CONTROL, .header_length = 1},
        {.length = RW_STREAM_BULK_MAX, .class = RW_FRAME_BULK, .header_length = 64},
        {.length = RW_LOAN_BYTES, .class = RW_FRAME_LENT, .header_length = 64},
        {.length = RW_FETCHED_BYTES, .class = RW_FRAME_FETCHED},
        {.length = RW_PROBE_BYTES, .class = RW_FRAME_PROBE},
        {.length = 0, .class = RW_FRAME_PROBED},
        {.length = 0, .class = RW_FRAME_RING},
        {.length = 0, .class = RW_FRAME_RING_TAKEN},
        {.length = 0, .class = RW_FRAME_RING_BEGUN},
    };

    for (size_t i = 0; i < UNIT_COUNT(heads); i++) {
        uint8_t bytes[RW_HEAD_BYTES];
        rw_head_t again;

        rw_head_encode(&heads[i], bytes);
        assert_null(rw_head_decode(bytes, &again));
        assert_int_equal(again.length, heads[i].length);
        assert_int_equal(again.class, heads[i].class);
        assert_int_equal(again.header_length, heads[i].header_length);
        assert_memory_equal(again.header, heads[i].header, sizeof again.header);
    }
}

static void a_head_that_is_wrong_in_one_way_is_refused(void **state) {
    (void)state;
    static const struct {
        size_t at;
        uint8_t value;
    } changes[] = {{3, 1},  {1, 64}, {4, 0},  {4, 3}, {4, 4}, {4, 7},
                   {4, 10}, {5, 0},  {5, 65}, {6, 1}, {7, 1}, {71, 1}};
    rw_head_t head = {.length = 100, .class = RW_FRAME_CONTROL, .header_length = 60};
    uint8_t bytes[RW_HEAD_BYTES];

    for (size_t i = 0; i < UNIT_COUNT(changes); i++) {
        rw_head_encode(&head, bytes);
        bytes[changes[i].at] = changes[i].value;
        assert_non_null(rw_head_decode(bytes, &(rw_head_t){0}));
    }
}

static void words_come_back_as_they_went(void **state) {
    (void)state;
    rw_loan_t loan = {.id = 0x0102030405060708, .address = UINT64_MAX, .length = 1, .pieces = 9};
    rw_loan_t same_loan = {0};
    rw_fetched_t fetched = {.id = UINT64_MAX - 1, .failed = 1}, same_fetched;
    rw_probe_t probe = {.address = 0xFEDCBA9876543210, .nonce = {1, 2, 3}}, same_probe;
    uint8_t bytes[RW_WORD_MAX];

    rw_loan_encode(&loan, bytes);
    assert_int_equal(bytes[0], 8);
    rw_loan_decode(bytes, &same_loan);
    assert_true(same_loan.id == loan.id && same_loan.address == loan.address &&
                same_loan.length == loan.length && same_loan.pieces == loan.pieces);
    rw_fetched_encode(&fetched, bytes);
    rw_fetched_decode(bytes, &same_fetched);
    assert_true(same_fetched.id == fetched.id && same_fetched.failed == 1);
    rw_probe_encode(&probe, bytes);
    rw_probe_decode(bytes, &same_probe);
    assert_true(same_probe.address == probe.address);
    assert_memory_equal(same_probe.nonce, probe.nonce, sizeof probe.nonce);
}

static rw_place_t place(const char *text, uint16_t port) {
    rw_place_t made;

    assert_true(rw_place_read(text, strlen(text), &made));
    rw_place_set_port(&made, port);
    return made;
}

static rw_stream_address_t some_address(void) {
    rw_stream_address_t address = {.encryption = RW_ENCRYPT_REQUIRED, .count = 3};

    address.places[0] = place("192.0.2.7", 4711);
    address.places[1] = place("2001:db8::5", 4712);
    address.places[2] = place("127.0.0.1", 1);
    memset(address.fingerprint, 0xA5, sizeof address.fingerprint);
    return address;
}

static void an_address_comes_back_as_it_went(void **state) {
    (void)state;
    rw_stream_address_t address = some_address(), again;
    uint8_t bytes[RW_ADDRESS_MAX];
    size_t length = rw_stream_address_encode(&address, bytes);

    assert_null(rw_stream_address_decode(bytes, length, &again));
    assert_int_equal(again.encryption, RW_ENCRYPT_REQUIRED);
    assert_int_equal(again.count, 3);
    assert_memory_equal(again.fingerprint, address.fingerprint, RW_FINGERPRINT_BYTES);
    for (size_t i = 0; i < 3; i++) {
        char text[RW_PLACE_TEXT], same[RW_PLACE_TEXT];

        rw_place_write(&address.places[i], text);
        rw_place_write(&again.places[i], same);
        assert_string_equal(text, same);
    }
    for (size_t cut = 0; cut < length; cut++) {
        uint8_t *exact = malloc(cut + (cut == 0)); /* for sanitizers */

        assert_non_null(exact);
        memcpy(exact, bytes, cut);
        /* Between two fields it is shorter, and right, once there is one address. */
        assert_int_equal(rw_stream_address_decode(exact, cut, &again) == NULL,
                         cut == length - 8 || cut == length - 8 - 20);
        free(exact);
    }
}

static void an_address_where_nobody_can_be_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"0.0.0.0", "224.0.0.1", "239.1.2.3",      "255.255.255.255",
                                      "::",      "ff02::1",   "::ffff:10.0.0.1"};
    uint8_t bytes[RW_ADDRESS_MAX];

    for (size_t i = 0; i <= UNIT_COUNT(bad); i++) {
        rw_stream_address_t address = some_address(), again;
        size_t length;

        address.places[1] =
            i < UNIT_COUNT(bad) ? place(bad[i], 4711) : place("192.0.2.1", 0); /* no port */
        length = rw_stream_address_encode(&address, bytes);
        assert_non_null(rw_stream_address_decode(bytes, length, &again));
    }
}

static void loopback_is_known_in_each_family(void **state) {
    (void)state;
    rw_place_t mapped = place("::ffff:127.0.0.1", 1);

    assert_true(rw_place_is_loopback(&mapped));
    assert_true(rw_place_is_loopback(&(rw_place_t){.v4 = {AF_INET, 0, {htonl(0x7F010203)}, {0}}}));
    mapped = place("::1", 1);
    assert_true(rw_place_is_loopback(&mapped));
    mapped = place("128.0.0.1", 1);
    assert_false(rw_place_is_loopback(&mapped));
    mapped = place("::ffff:10.0.0.1", 1);
    assert_false(rw_place_is_loopback(&mapped));
}

static void the_option_listen_is_read(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",       "port",    "0",     "65536",   "1-",  "-1", "9-8",      "1-2-", "1 ",
        "host:1", "1.2.3:4", "[::1]", "1.2.3.4", "::1", "+5", "1.2.3.4:", "0-5",  "1.1.1.1:0-5"};
    rw_listen_wish_t wish;

    assert_accepted(rw_places_read_listen(NULL, &wish));
    assert_int_equal(wish.first, 0);
    assert_accepted(rw_places_read_listen("4000-4007", &wish));
    assert_int_equal(wish.first, 4000);
    assert_int_equal(wish.last, 4007);
    assert_false(wish.has_place);
    assert_accepted(rw_places_read_listen("[2001:db8::1]:80", &wish));
    assert_true(wish.has_place);
    assert_int_equal(wish.first, 80);
    assert_int_equal(wish.place.any.sa_family, AF_INET6);
    assert_accepted(rw_places_read_listen("127.0.0.1:0", &wish));
    for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
        assert_int_equal(rw_places_read_listen(bad[i], &wish), ROPEWAY_ERR_INVALID_ARGUMENT);
        assert_non_null(strstr(ropeway_last_error(), bad[i]));
    }
}

static void the_option_advertise_is_read(void **state) {
    (void)state;
    static const char *const bad[] = {"",          "host",          "1.2.3.4:0", "0.0.0.0",
                                      "224.1.1.1", "1.2.3.4:70000", ",1.2.3.4",  "1.2.3.4:5x"};
    rw_stream_address_t address;

    assert_accepted(
        rw_places_read_advertised("192.0.2.1,[2001:db8::1]:99,2001:db8::2", 4711, &address));
    assert_int_equal(address.count, 3);
    assert_int_equal(rw_place_port(&address.places[0]), 4711);
    assert_int_equal(rw_place_port(&address.places[1]), 99);
    assert_int_equal(rw_place_port(&address.places[2]), 4711);
    for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
        if (rw_places_read_advertised(bad[i], 4711, &address) == ROPEWAY_OK) {
            fail_msg("\"%s\" is accepted", bad[i]);
        }
    }
    assert_int_equal(rw_places_read_advertised("1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,"
                                               "1.1.1.1,1.1.1.1,1.1.1.1",
                                               1, &address),
                     ROPEWAY_ERR_INVALID_ARGUMENT);
}

/* The places, each as its path or, where none is tried, in brackets why not. */
static void write_choice(const char *transports, rw_encryption_t own, rw_encryption_t theirs,
                         bool is_near, char *text, size_t size) {
    rw_stream_address_t address = {
        .encryption = theirs,
        .local = true,
        .count = 2,
        .places = {place("192.0.2.1", 4711), place("127.0.0.1", 4712)},
    };
    static const uint8_t instance[RW_ID_BYTES];
    rw_stream_target_t targets[RW_DIAL_MAX];
    rw_ways_t ways;
    size_t used = 0, count;

    assert_accepted(rw_ways_read(transports, &ways));
    count = rw_stream_choose(&ways, own, &address, instance, is_near, targets);
    assert_int_equal(count, 3);
    for (size_t i = 0; i < count; i++) {
        char path[RW_PLACE_TEXT + 8];
        const char *refused = targets[i].refused;

        rw_stream_write_path(&targets[i].place, NULL, path, sizeof path);
        used += (size_t)snprintf(text + used, size - used, refused != NULL ? "%s(%s)" : "%s%s",
                                 i > 0 ? " " : "", refused != NULL ? refused : path);
    }
}

static void what_is_tried_follows_from_both_sides_wishes(void **state) {
    static const struct {
        const char *transports;
        rw_encryption_t own, theirs;
        bool is_near;
        const char *choice;
    } cases[] = {
        {"stream,local", RW_ENCRYPT_AUTO, RW_ENCRYPT_AUTO, true,
         "local tcp/127.0.0.1:4712 tcp/192.0.2.1:4711"},
        {"stream,local", RW_ENCRYPT_AUTO, RW_ENCRYPT_OFF, false,
         "(the peer is on another host, or in another PID namespace) tcp/192.0.2.1:4711 "
         "tcp/127.0.0.1:4712"},
        {"stream,local", RW_ENCRYPT_AUTO, RW_ENCRYPT_REQUIRED, true,
         "(encryption is required, and it has none) tcp/127.0.0.1:4712 tcp/192.0.2.1:4711"},
        {"stream,local", RW_ENCRYPT_REQUIRED, RW_ENCRYPT_OFF, true,
         "(encryption is required, and it has none) tcp/127.0.0.1:4712 tcp/192.0.2.1:4711"},
        {"stream", RW_ENCRYPT_AUTO, RW_ENCRYPT_AUTO, true,
         "(the option transports leaves it out here) tcp/127.0.0.1:4712 tcp/192.0.2.1:4711"},
        {"local", RW_ENCRYPT_AUTO, RW_ENCRYPT_AUTO, true,
         "local (the option transports leaves it out here) (the option transports leaves it out "
         "here)"},
    };
    char text[512];

    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        write_choice(cases[i].transports, cases[i].own, cases[i].theirs, cases[i].is_near, text,
                     sizeof text);
        assert_string_equal(text, cases[i].choice);
    }
}

static void tls_is_spoken_where_a_side_wants_it(void **state) {
    const rw_place_t far = place("192.0.2.1", 1), here = place("127.0.0.1", 2);
    const rw_place_t unknown = {.any.sa_family = AF_UNSPEC};
    uint8_t fingerprint[RW_FINGERPRINT_BYTES] = {0}, instance[RW_ID_BYTES] = {0};
    rw_place_t local;

    (void)state;
    rw_local_place(fingerprint, instance, &local);
    assert_true(rw_stream_encrypts(RW_ENCRYPT_AUTO, &far, &far));
    assert_true(rw_stream_encrypts(RW_ENCRYPT_AUTO, &here, &far));
    assert_true(rw_stream_encrypts(RW_ENCRYPT_AUTO, &here, &unknown));
    assert_false(rw_stream_encrypts(RW_ENCRYPT_AUTO, &here, &here));
    assert_false(rw_stream_encrypts(RW_ENCRYPT_AUTO, &local, &unknown));
    assert_false(rw_stream_encrypts(RW_ENCRYPT_OFF, &far, &far));
    assert_true(rw_stream_encrypts(RW_ENCRYPT_REQUIRED, &here, &here));
}

static unsigned cleared;

static void on_taken_back(rw_flight_t *flight, ropeway_error_t error, const char *why) {
    static const struct iovec nothing;

    (void)error;
    (void)why;
    assert_memory_equal(&flight->list[flight->count], &nothing, sizeof nothing);
    cleared++;
}

/* Its last row says so; and no other loan has the same one. */
static void a_table_that_was_taken_back_is_none(void **state) RW_UNCHECKED {
    (void)state;
    static char memory[2][2048];
    struct iovec lists[2][3];
    rw_flight_t flights[2];
    rw_out_t outs[2];

    cleared = 0;
    for (size_t i = 0; i < 2; i++) {
        size_t budget = 1 << 20;
        rw_wire_t wire;
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
        rw_wire_open(&wire, fds[0]);
        assert_true(rw_out_init(&outs[i]));
        memcpy(lists[i], (struct iovec[3]){{memory[0], 2048}, {memory[1], 2048}, {0}},
               sizeof lists[i]);
        flights[i] = (rw_flight_t){.done = on_taken_back,
                                   .class = RW_BULK,
                                   .lends = true,
                                   .length = 4096,
                                   .count = 2,
                                   .list = lists[i],
                                   .pieces = lists[i],
                                   .header_length = RW_HEADER_MAX};
        rw_list_init(&flights[i].node);
        assert_accepted(rw_out_add(&outs[i], &flights[i]));
        assert_int_equal(rw_out_work(&outs[i], &wire, &budget), 1);
        assert_true(lists[i][2].iov_base == (void *)(uintptr_t)flights[i].loan);
        assert_int_equal(lists[i][2].iov_len, 4096);
        rw_wire_close(&wire);
        close(fds[1]);
    }
    assert_true(flights[0].loan != flights[1].loan);
    for (size_t i = 0; i < 2; i++) {
        rw_out_recall(&outs[i], ROPEWAY_ERR_CANCELLED, "");
        rw_out_free(&outs[i]);
    }
    assert_int_equal(cleared, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_greeting_comes_back_as_it_went),
        cmocka_unit_test(of_another_version_only_the_version_is_read),
        cmocka_unit_test(a_head_comes_back_as_it_went),
        cmocka_unit_test(words_come_back_as_they_went),
        cmocka_unit_test(a_head_that_is_wrong_in_one_way_is_refused),
        cmocka_unit_test(an_address_comes_back_as_it_went),
        cmocka_unit_test(an_address_where_nobody_can_be_is_refused),
        cmocka_unit_test(loopback_is_known_in_each_family),
        cmocka_unit_test(the_option_listen_is_read),
        cmocka_unit_test(the_option_advertise_is_read),
        cmocka_unit_test(what_is_tried_follows_from_both_sides_wishes),
        cmocka_unit_test(tls_is_spoken_where_a_side_wants_it),
        cmocka_unit_test(a_table_that_was_taken_back_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
