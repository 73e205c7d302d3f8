/* SPDX-License-Identifier: Apache-2.0 */
/* The native protocol's bytes: what is sent is what is received, and what no Ropeway sends is
 * refused. */
#include "base/bytes.h"
#include "base/utf8.h"
#include "native/message.h"
#include "operation/operation.h"
#include "text/field.h"
#include "unit.h"

#include <xxhash.h>

#define ALL_TYPES 8

/* Fills in a valid message of this type, and returns the payload's length that goes with it. */
static size_t random_message(uint8_t type, rw_message_t *message) {
    memset(message, 0, sizeof *message);
    message->type = type;
    message->version = RW_PROTOCOL_VERSION;
    message->flags = (uint16_t)unit_below(8);
    unit_random_bytes(message->to, RW_ID_BYTES);
    unit_random_bytes(message->from, RW_ID_BYTES);
    if (type != RW_REQUEST) {
        unit_random_bytes(message->token, RW_ID_BYTES);
    }
    switch (type) {
    case RW_REQUEST:
        message->request.digest = unit_random();
        message->request.count = (uint32_t)(1 + unit_below(UINT32_MAX));
        message->request.fields_length = (uint32_t)unit_below(UINT32_MAX);
        message->request.total = unit_random() >> 20;
        if (unit_below(2) == 0) {
            message->flags |= RW_FLAG_INLINE;
            return message->request.fields_length + message->request.total;
        }
        return message->request.fields_length;
    case RW_ACCEPT:
        message->accept.grain = unit_below(2) == 0 ? 0 : unit_random() | RW_GRAIN_LEAST;
        return 0;
    case RW_DATA:
        message->data.offset = unit_random();
        return unit_random() >> 1;
    case RW_SUMS:
        message->sums.first = unit_random();
        return unit_below(RW_SUMS_MAX + 1) * sizeof(uint64_t);
    case RW_FIN:
        message->fin.status = ROPEWAY_STATUS_COMPLETE + (uint32_t)unit_below(3);
        message->fin.error = (uint32_t)unit_random();
        return unit_below(RW_TEXT_MAX + 1);
    default:
        return 0;
    }
}

/* Decodes bytes that end where they end. */
static ropeway_error_t decode(const uint8_t *bytes, size_t length, size_t payload,
                              rw_message_t *message) {
    uint8_t *exact = malloc(length > 0 ? length : 1);
    ropeway_error_t error;

    assert_non_null(exact);
    memcpy(exact, bytes, length);
    error = rw_message_decode(exact, length, payload, message);
    free(exact);
    return error;
}

static ropeway_error_t pass(const rw_message_t *message, size_t payload, rw_message_t *again) {
    uint8_t bytes[RW_MESSAGE_BYTES];

    rw_message_encode(message, bytes);
    return decode(bytes, sizeof bytes, payload, again);
}

static void every_message_arrives_as_it_was_sent(void **state) {
    (void)state;
    for (int round = 0; round < 5000; round++) {
        rw_message_t message;
        rw_message_t again;
        size_t payload = random_message((uint8_t)(1 + round % ALL_TYPES), &message);

        assert_int_equal(pass(&message, payload, &again), ROPEWAY_OK);
        assert_memory_equal(&message, &again, sizeof message);
    }
}

static void the_bytes_are_little_endian_and_at_their_places(void **state) {
    rw_message_t message = {.type = RW_REQUEST,
                            .version = 2,
                            .flags = 0x0302,
                            .to = {0xA0},
                            .from = {0xB0},
                            .request = {.total = 0x0807060504030201,
                                        .digest = 0x1817161514131211,
                                        .count = 0x24232221,
                                        .fields_length = 0x34333231}};
    uint8_t bytes[RW_MESSAGE_BYTES];

    (void)state;
    rw_message_encode(&message, bytes);
    assert_memory_equal(bytes, "RW\1\2\2\3\0\0\xA0", 9);
    assert_int_equal(bytes[24], 0xB0);
    assert_memory_equal(bytes + 40, "\1\2\3\4\5\6\7\x8\x11\x12\x13\x14\x15\x16\x17\x18", 16);
    assert_memory_equal(bytes + 56, "!\"#$1234", 8);
    message =
        (rw_message_t){.type = RW_DATA, .token = {0xC0}, .data = {.offset = 0x0807060504030201}};
    rw_message_encode(&message, bytes);
    assert_memory_equal(bytes + 40, "\1\2\3\4\5\6\7\x8\xC0", 9);
}

static void what_is_no_header_is_refused(void **state) {
    rw_message_t message;
    uint8_t bytes[RW_MESSAGE_BYTES + 1] = {0};

    (void)state;
    random_message(RW_DONE, &message);
    rw_message_encode(&message, bytes);
    assert_int_equal(decode(bytes, RW_MESSAGE_BYTES, 0, &message), ROPEWAY_OK);
    for (size_t length = 0; length <= sizeof bytes; length++) {
        if (length != RW_MESSAGE_BYTES) {
            assert_int_equal(decode(bytes, length, 0, &message), ROPEWAY_ERR_PROTOCOL);
        }
    }
    bytes[0] = 'r';
    assert_int_equal(decode(bytes, RW_MESSAGE_BYTES, 0, &message), ROPEWAY_ERR_PROTOCOL);
    bytes[0] = 'R';
    bytes[1] = 'w';
    assert_int_equal(decode(bytes, RW_MESSAGE_BYTES, 0, &message), ROPEWAY_ERR_PROTOCOL);
}

static void an_unknown_type_is_refused(void **state) {
    (void)state;
    for (int type = 0; type < 256; type++) {
        rw_message_t message;
        rw_message_t again;

        random_message(RW_DONE, &message);
        message.type = (uint8_t)type;
        if (type == 0 || type > ALL_TYPES) {
            assert_int_equal(pass(&message, 0, &again), ROPEWAY_ERR_PROTOCOL);
        }
    }
}

static void another_version_can_still_be_answered(void **state) {
    (void)state;
    for (int version = 0; version < 256; version++) {
        rw_message_t message;
        rw_message_t again;

        if (version == RW_PROTOCOL_VERSION) {
            continue;
        }
        random_message(RW_REQUEST, &message);
        message.version = (uint8_t)version;
        message.request.fields_length = UINT32_MAX; /* its meaning is not known */
        assert_int_equal(pass(&message, 0, &again), ROPEWAY_ERR_VERSION);
        assert_int_equal(again.type, RW_REQUEST);
        assert_int_equal(again.version, version);
        assert_memory_equal(again.to, message.to, RW_ID_BYTES);
        assert_memory_equal(again.from, message.from, RW_ID_BYTES);
    }
}

static void a_request_must_fit_its_payload(void **state) {
    rw_message_t good = {.type = RW_REQUEST,
                         .version = RW_PROTOCOL_VERSION,
                         .request = {.total = 1000, .count = 1, .fields_length = 100}};
    rw_message_t bad = good;
    rw_message_t again;

    (void)state;
    assert_int_equal(pass(&good, 100, &again), ROPEWAY_OK);
    assert_int_equal(pass(&good, 99, &again), ROPEWAY_ERR_PROTOCOL);
    assert_int_equal(pass(&good, 101, &again), ROPEWAY_ERR_PROTOCOL);
    assert_int_equal(pass(&good, 1100, &again), ROPEWAY_ERR_PROTOCOL);
    bad.request.count = 0;
    assert_int_equal(pass(&bad, 100, &again), ROPEWAY_ERR_PROTOCOL);
    good.flags = RW_FLAG_INLINE;
    assert_int_equal(pass(&good, 1100, &again), ROPEWAY_OK);
    assert_int_equal(pass(&good, 1099, &again), ROPEWAY_ERR_PROTOCOL);
    assert_int_equal(pass(&good, 1101, &again), ROPEWAY_ERR_PROTOCOL);
    assert_int_equal(pass(&good, 100, &again), ROPEWAY_ERR_PROTOCOL);
    good.request.total = UINT64_MAX;
    assert_int_equal(pass(&good, 99, &again), ROPEWAY_ERR_PROTOCOL);
    assert_int_equal(pass(&good, 100, &again), ROPEWAY_ERR_PROTOCOL);
}

/* ---- What a request says ---- */

#define REQUEST_MAX 4096

static const uint8_t runs[2 * RW_RUN_BYTES] = {1, 0, 0, 0, 5};
static const rw_request_t full = {.hello = (const uint8_t *)"hello",
                                  .hello_length = 5,
                                  .token = (const uint8_t *)"0123456789abcdef",
                                  .grain = 0x0807060504030201,
                                  .is_prefix = true,
                                  .runs = runs,
                                  .run_count = 2,
                                  .trace =
                                      "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                                  .trace_length = 55};

/* Reads a request of so many descriptors from bytes that end where they end. */
static ropeway_error_t read_request(const uint8_t *bytes, size_t fields, size_t data,
                                    uint32_t count, rw_request_t *request, uint8_t **exact) {
    rw_message_t message = {.request = {.count = count, .fields_length = (uint32_t)fields}};

    *exact = malloc(fields + data > 0 ? fields + data : 1);
    assert_non_null(*exact);
    memcpy(*exact, bytes, fields + data);
    return rw_request_decode(&message, *exact, fields + data, request);
}

static ropeway_error_t try_request(const uint8_t *bytes, size_t fields, uint32_t count) {
    rw_request_t request;
    uint8_t *exact;
    ropeway_error_t error = read_request(bytes, fields, 0, count, &request, &exact);

    free(exact);
    return error;
}

static void a_request_says_what_was_meant(void **state) {
    (void)state;
    for (unsigned parts = 0; parts < 16; parts++) {
        rw_request_t request = full, again;
        uint8_t bytes[REQUEST_MAX], *exact;
        size_t length;

        request.grain = (parts & 1) != 0 ? full.grain : 0;
        request.is_prefix = (parts & 2) != 0;
        request.run_count = (parts & 4) != 0 && request.is_prefix ? 2 : 0;
        request.trace_length = (parts & 8) != 0 ? full.trace_length : 0;
        length = rw_request_length(&request);
        assert_ptr_equal(rw_request_encode(&request, bytes), bytes + length);
        memcpy(bytes + length, "data", 4);
        assert_int_equal(read_request(bytes, length, 4, 2, &again, &exact), ROPEWAY_OK);
        assert_int_equal(again.hello_length, 5);
        assert_memory_equal(again.hello, "hello", 5);
        assert_memory_equal(again.token, full.token, RW_ID_BYTES);
        assert_true(again.grain == request.grain);
        assert_int_equal(again.is_prefix, request.is_prefix);
        assert_int_equal(again.run_count, request.run_count);
        if (again.run_count > 0) {
            assert_memory_equal(again.runs, runs, sizeof runs);
        }
        assert_int_equal(again.trace_length, request.trace_length);
        if (again.trace_length > 0) {
            assert_memory_equal(again.trace, full.trace, full.trace_length);
        }
        assert_int_equal(again.length, 4);
        assert_memory_equal(again.data, "data", 4);
        free(exact);
    }
}

static void a_request_that_is_cut_short_is_refused(void **state) {
    uint8_t bytes[REQUEST_MAX];
    size_t length = rw_request_length(&full), ends = 0;

    (void)state;
    rw_request_encode(&full, bytes);
    for (size_t cut = 0; cut < length; cut++) {
        ends +=
            try_request(bytes, cut, 2) == ROPEWAY_OK; /* behind the token, and what is optional */
    }
    assert_int_equal(ends, 3);
    assert_int_equal(try_request(bytes, length, 2), ROPEWAY_OK);
    assert_int_equal(try_request(bytes, length, 1), ROPEWAY_ERR_PROTOCOL); /* more runs than that */
}

static void fields_of_a_later_release_are_skipped_unless_they_are_needed(void **state) {
    const rw_request_t request = {.hello = full.hello, .hello_length = 5, .token = full.token};
    uint8_t bytes[REQUEST_MAX], *end = rw_request_encode(&request, bytes);
    uint8_t *later = rw_field_put(end, 77, "later", 5);
    uint8_t *needed = rw_field_put(later, RW_FIELD_NEEDED | 77, "needed", 6);

    (void)state;
    assert_int_equal(try_request(bytes, (size_t)(later - bytes), 1), ROPEWAY_OK);
    assert_int_equal(try_request(bytes, (size_t)(needed - bytes), 1), ROPEWAY_ERR_VERSION);
    rw_field_put(needed, 78, "not in order", 12);
    assert_int_equal(try_request(bytes, (size_t)(needed - bytes) + 18, 1), ROPEWAY_ERR_PROTOCOL);
    rw_field_put(later, 77, "twice", 5);
    assert_int_equal(try_request(bytes, (size_t)(later - bytes) + 11, 1), ROPEWAY_ERR_PROTOCOL);
}

static void each_part_of_a_request_has_its_length(void **state) {
    static const struct {
        uint16_t type;
        size_t length;
    } wrong[] = {{3, 0},      {3, RW_TRACE_MAX + 1}, {0x8004, 7},
                 {0x8004, 9}, {0x8005, 11},          {0x8005, 13}};
    static const uint8_t zeroes[REQUEST_MAX];
    const rw_request_t request = {.hello = full.hello, .hello_length = 5, .token = full.token};
    uint8_t bytes[REQUEST_MAX], *end = rw_request_encode(&request, bytes);

    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(wrong); i++) {
        uint8_t *last = rw_field_put(end, wrong[i].type, zeroes, wrong[i].length);

        assert_int_equal(try_request(bytes, (size_t)(last - bytes), 9), ROPEWAY_ERR_PROTOCOL);
    }
    end = rw_field_put(bytes, 1, "hello", 5);
    assert_int_equal(try_request(bytes, (size_t)(end - bytes), 9), ROPEWAY_ERR_PROTOCOL);
    end = rw_field_put(rw_field_put(bytes, 1, "hello", 5), 2, full.token, RW_ID_BYTES - 1);
    assert_int_equal(try_request(bytes, (size_t)(end - bytes), 9), ROPEWAY_ERR_PROTOCOL);
    rw_put32(end - RW_ID_BYTES + 1 - 4, UINT32_MAX); /* the token's length */
    assert_int_equal(try_request(bytes, (size_t)(end - bytes), 9), ROPEWAY_ERR_PROTOCOL);
}

static void a_wish_for_a_grain_must_fit(void **state) {
    rw_message_t accept = {.type = RW_ACCEPT, .version = RW_PROTOCOL_VERSION};
    rw_message_t again;

    (void)state;
    for (uint64_t grain = 0; grain < 2 * (uint64_t)RW_GRAIN_LEAST; grain++) {
        accept.accept.grain = grain;
        assert_int_equal(pass(&accept, 0, &again),
                         grain == 0 || grain >= RW_GRAIN_LEAST ? ROPEWAY_OK : ROPEWAY_ERR_PROTOCOL);
    }
}

static void checksums_and_sentences_have_a_longest_length(void **state) {
    rw_message_t sums = {.type = RW_SUMS, .version = RW_PROTOCOL_VERSION};
    rw_message_t fin = {.type = RW_FIN,
                        .version = RW_PROTOCOL_VERSION,
                        .fin = {.status = ROPEWAY_STATUS_ERRORED, .error = UINT32_MAX}};
    rw_message_t again;

    (void)state;
    assert_int_equal(pass(&sums, (size_t)RW_SUMS_MAX * 8, &again), ROPEWAY_OK);
    assert_int_equal(pass(&sums, (size_t)RW_SUMS_MAX * 8 + 8, &again), ROPEWAY_ERR_PROTOCOL);
    assert_int_equal(pass(&sums, 12, &again), ROPEWAY_ERR_PROTOCOL);
    assert_int_equal(pass(&fin, RW_TEXT_MAX, &again), ROPEWAY_OK);
    assert_int_equal(pass(&fin, RW_TEXT_MAX + 1, &again), ROPEWAY_ERR_PROTOCOL);
}

static void a_fin_must_tell_an_outcome(void **state) {
    rw_message_t again;

    (void)state;
    for (uint32_t status = 0; status < 10; status++) {
        rw_message_t fin = {
            .type = RW_FIN, .version = RW_PROTOCOL_VERSION, .fin = {.status = status}};
        bool outcome = status >= ROPEWAY_STATUS_COMPLETE && status <= ROPEWAY_STATUS_ERRORED;

        assert_int_equal(pass(&fin, 0, &again), outcome ? ROPEWAY_OK : ROPEWAY_ERR_PROTOCOL);
    }
}

static void messages_without_a_payload_have_none(void **state) {
    static const uint8_t types[] = {RW_ACCEPT, RW_DONE, RW_BYE};

    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(types); i++) {
        rw_message_t message;
        rw_message_t again;

        random_message(types[i], &message);
        assert_int_equal(pass(&message, 0, &again), ROPEWAY_OK);
        assert_int_equal(pass(&message, 1, &again), ROPEWAY_ERR_PROTOCOL);
    }
}

static void a_peers_sentence_is_cut_and_made_printable(void **state) {
    /* Right to left from here, and until it is popped. */
    static const uint8_t turning[] = {0xe2, 0x80, 0xae, 'a', 0xe2, 0x81, 0xa6};
    char text[8];

    (void)state;
    rw_printable("a\n\0\x1b\x7f", 5, text, sizeof text);
    assert_string_equal(text, "a????");
    rw_printable("0123456789", 10, text, sizeof text);
    assert_string_equal(text, "0123456");
    rw_printable("\xc3\xa4\xff\xc0l\xc3", 6, text, sizeof text);
    assert_string_equal(text, "\xc3\xa4??l?");
    rw_printable("12345\xe2\x82\xac", 8, text, sizeof text);
    assert_string_equal(text, "12345");
    rw_printable("", 0, text, sizeof text);
    assert_string_equal(text, "");
    rw_printable("a\xc2\x9b"
                 "b\xc2\xa0",
                 6, text, sizeof text); /* CSI, and a space that is none */
    assert_string_equal(text, "a?b\xc2\xa0");
    rw_printable(turning, sizeof turning, text, sizeof text);
    assert_string_equal(text, "?a?");
}

static void the_digest_tells_lists_of_sizes_apart(void **state) {
    ropeway_descriptor_t list[3] = {{.size = 1}, {.size = 2}, {.size = 3}};
    ropeway_descriptor_t swapped[3] = {{.size = 2}, {.size = 1}, {.size = 3}};
    uint64_t digest = rw_message_digest(list, 3);

    (void)state;
    assert_true(digest != rw_message_digest(swapped, 3));
    assert_true(digest != rw_message_digest(list, 2));
    list[0].ptr = list;
    list[1].device.kind = ROPEWAY_DEVICE_CUDA;
    assert_true(digest == rw_message_digest(list, 3));
}

static void sizes_go_as_runs_of_equal_ones(void **state) {
    ropeway_descriptor_t list[] = {{.size = 7}, {.size = 7}, {.size = 0},
                                   {.size = 9}, {.size = 9}, {.size = 7}};
    uint8_t bytes[6 * RW_RUN_BYTES];
    uint64_t sizes[6];

    (void)state;
    assert_int_equal(rw_message_put_runs(list, 6, NULL), 4);
    assert_int_equal(rw_message_put_runs(list, 6, bytes), 4);
    assert_true(rw_message_read_runs(bytes, 4, sizes, 6));
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(sizes[i], list[i].size);
    }
    /* Too few, too many, and so many that they would overflow. */
    assert_false(rw_message_read_runs(bytes, 3, sizes, 6));
    assert_false(rw_message_read_runs(bytes, 4, sizes, 5));
    memset(bytes, 0xff, 4);
    assert_false(rw_message_read_runs(bytes, 4, sizes, 6));
}

/* ---- Hello ---- */

static uint8_t *make_hello(rw_hello_t *hello, size_t *length) {
    static const uint8_t address[] = "a UCX worker address";

    memset(hello, 0, sizeof *hello);
    hello->version = RW_PROTOCOL_VERSION;
    unit_random_bytes(hello->instance, sizeof hello->instance);
    strcpy(hello->name, "worker-1");
    strcpy(hello->ucx, "1.22.0");
    hello->process = 0x44332211;
    unit_random_bytes(hello->scope, sizeof hello->scope);
    hello->address = address;
    hello->address_length = sizeof address;
    return rw_hello_encode(hello, length);
}

static ropeway_error_t decode_hello(const uint8_t *bytes, size_t length, rw_hello_t *hello) {
    uint8_t *exact = malloc(length > 0 ? length : 1);
    ropeway_error_t error;

    assert_non_null(exact);
    memcpy(exact, bytes, length);
    error = rw_hello_decode(exact, length, hello);
    free(exact);
    return error;
}

static void a_hello_arrives_as_it_was_sent(void **state) {
    rw_hello_t hello;
    rw_hello_t again;
    size_t length;
    uint8_t *bytes = make_hello(&hello, &length);

    (void)state;
    assert_int_equal(rw_hello_decode(bytes, length, &again), ROPEWAY_OK);
    assert_int_equal(again.version, RW_PROTOCOL_VERSION);
    assert_memory_equal(again.instance, hello.instance, RW_ID_BYTES);
    assert_int_equal(again.process, hello.process);
    assert_memory_equal(again.scope, hello.scope, RW_ID_BYTES);
    assert_string_equal(again.name, "worker-1");
    assert_string_equal(again.ucx, "1.22.0");
    assert_int_equal(again.address_length, hello.address_length);
    assert_memory_equal(again.address, hello.address, hello.address_length);
    assert_true(again.address > bytes && again.address + again.address_length < bytes + length);
    free(bytes);
}

static void a_hello_with_any_bit_flipped_is_refused(void **state) {
    rw_hello_t hello;
    rw_hello_t again;
    size_t length;
    uint8_t *bytes = make_hello(&hello, &length);

    (void)state;
    for (size_t bit = 0; bit < length * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(decode_hello(bytes, length, &again),
                         bit / 8 == 4 ? ROPEWAY_ERR_VERSION : ROPEWAY_ERR_PROTOCOL);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    free(bytes);
}

static void a_hello_of_another_length_is_refused(void **state) {
    rw_hello_t hello;
    rw_hello_t again;
    size_t length;
    uint8_t *bytes = make_hello(&hello, &length);
    uint8_t *longer = calloc(1, RW_HELLO_MAX + 100);

    (void)state;
    assert_non_null(longer);
    memcpy(longer, bytes, length);
    for (size_t cut = 0; cut < length; cut++) {
        assert_int_equal(decode_hello(bytes, cut, &again), ROPEWAY_ERR_PROTOCOL);
    }
    assert_int_equal(decode_hello(longer, length + 1, &again), ROPEWAY_ERR_PROTOCOL);
    assert_int_equal(decode_hello(longer, RW_HELLO_MAX + 100, &again), ROPEWAY_ERR_PROTOCOL);
    free(longer);
    free(bytes);
}

static void a_hello_must_have_a_name_and_an_address_of_some_length(void **state) {
    rw_hello_t hello;
    rw_hello_t again;
    size_t length;
    uint8_t *bytes = make_hello(&hello, &length);

    (void)state;
    free(bytes);
    hello.name[0] = '\0';
    bytes = rw_hello_encode(&hello, &length);
    assert_int_equal(decode_hello(bytes, length, &again), ROPEWAY_ERR_PROTOCOL);
    free(bytes);
    memset(hello.name, 'n', 255);
    bytes = rw_hello_encode(&hello, &length);
    assert_int_equal(decode_hello(bytes, length, &again), ROPEWAY_OK);
    assert_string_equal(again.name, hello.name);
    free(bytes);
    hello.address = calloc(1, RW_HELLO_MAX);
    assert_non_null(hello.address);
    hello.address_length = RW_HELLO_MAX;
    bytes = rw_hello_encode(&hello, &length);
    assert_int_equal(decode_hello(bytes, length, &again), ROPEWAY_ERR_PROTOCOL);
    free((void *)hello.address);
    free(bytes);
    hello.address_length = 0;
    bytes = rw_hello_encode(&hello, &length);
    assert_int_equal(decode_hello(bytes, length, &again), ROPEWAY_ERR_PROTOCOL);
    free(bytes);
}

static void a_hello_of_a_later_release_is_read_unless_it_needs_more(void **state) {
    static const ropeway_error_t expected[] = {ROPEWAY_OK, ROPEWAY_ERR_VERSION};
    rw_hello_t hello, again;
    size_t length;
    uint8_t *bytes = make_hello(&hello, &length), *longer = malloc(length + 100), *end;

    (void)state;
    assert_non_null(longer);
    for (unsigned needed = 0; needed < 2; needed++) {
        memcpy(longer, bytes, length - 8);
        end = rw_field_put(longer + length - 8, (uint16_t)(needed << 15 | 99), "more", 4);
        rw_put64(end, XXH3_64bits(longer, (size_t)(end - longer)));
        assert_int_equal(decode_hello(longer, (size_t)(end - longer) + 8, &again),
                         expected[needed]);
        assert_int_equal(again.version, RW_PROTOCOL_VERSION);
    }
    free(longer);
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_arrives_as_it_was_sent),
        cmocka_unit_test(the_bytes_are_little_endian_and_at_their_places),
        cmocka_unit_test(what_is_no_header_is_refused),
        cmocka_unit_test(an_unknown_type_is_refused),
        cmocka_unit_test(another_version_can_still_be_answered),
        cmocka_unit_test(a_request_must_fit_its_payload),
        cmocka_unit_test(a_request_says_what_was_meant),
        cmocka_unit_test(a_request_that_is_cut_short_is_refused),
        cmocka_unit_test(fields_of_a_later_release_are_skipped_unless_they_are_needed),
        cmocka_unit_test(each_part_of_a_request_has_its_length),
        cmocka_unit_test(a_wish_for_a_grain_must_fit),
        cmocka_unit_test(checksums_and_sentences_have_a_longest_length),
        cmocka_unit_test(a_fin_must_tell_an_outcome),
        cmocka_unit_test(messages_without_a_payload_have_none),
        cmocka_unit_test(a_peers_sentence_is_cut_and_made_printable),
        cmocka_unit_test(the_digest_tells_lists_of_sizes_apart),
        cmocka_unit_test(sizes_go_as_runs_of_equal_ones),
        cmocka_unit_test(a_hello_arrives_as_it_was_sent),
        cmocka_unit_test(a_hello_with_any_bit_flipped_is_refused),
        cmocka_unit_test(a_hello_of_another_length_is_refused),
        cmocka_unit_test(a_hello_must_have_a_name_and_an_address_of_some_length),
        cmocka_unit_test(a_hello_of_a_later_release_is_read_unless_it_needs_more),
    };

    return cmocka_run_group_tests(tests, unit_seed, NULL);
}
