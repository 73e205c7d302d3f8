/* SPDX-License-Identifier: Apache-2.0 */
/* Peers of another protocol version, and of later releases of this one: what they send, and what
 * they are told. */
#include "unit.h"

#include "base/bytes.h"
#include "native/native.h"
#include "text/descriptor.h"
#include "text/field.h"

#include <stdlib.h>
#include <string.h>

#define KEY "5d1bb38a-4c3e-4f0a-8d3b-0a6c7e9f1b2d"

static ropeway_descriptor_t memory(void) {
    static uint8_t bytes[100];

    return (ropeway_descriptor_t){bytes, sizeof bytes, {ROPEWAY_DEVICE_HOST, 0}};
}

static void metadata_of_another_version_is_refused_by_name(void **state) {
    /* All that is the same in each version. */
    static const uint8_t first[60] = "RWNC\1", later[60] = "RWNC\xC8";
    static const struct {
        const uint8_t *hello;
        const char *named;
    } cases[] = {{first, "protocol version 1, this library 2"},
                 {later, "protocol version 200, this library 2"}};
    ropeway_connector_t *connector;
    ropeway_descriptor_t one = memory();

    (void)state;
    assert_accepted(ropeway_connector_create(NULL, &connector));
    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        rw_connection_t connection = {RW_BACKEND_NATIVE, cases[i].hello, sizeof first};
        ropeway_operation_t *operation;
        char *json;
        size_t length;

        assert_accepted(rw_metadata_encode(ROPEWAY_OPERATION_READABLE, &one, 1, "other",
                                           &connection, 1, NULL, 0, KEY, RW_METADATA_MAX_DEFAULT,
                                           &json, &length));
        assert_refused(ropeway_begin_read(connector, json, length, &one, 1, NULL, &operation),
                       ROPEWAY_ERR_VERSION, "\"other\"", cases[i].named);
        free(json);
    }
    assert_accepted(ropeway_connector_destroy(connector));
}

/* ---- Requests ---- */

/* What was sent by the link below. */
static uint8_t sent[RW_MESSAGE_BYTES];
static char said[RW_TEXT_MAX + 1];

static ropeway_error_t keep(rw_link_t *link, rw_flight_t *flight) RW_LOCKED {
    (void)link;
    memcpy(sent, flight->header, sizeof sent);
    memcpy(said, flight->pieces[0].iov_base, flight->length);
    said[flight->length] = '\0';
    flight->done(flight, ROPEWAY_OK, "");
    return ROPEWAY_OK;
}

/* Lets the connector get a request with these fields, and returns the error in its answer. */
static uint32_t answer_to(ropeway_connector_t *connector, const rw_message_t *request,
                          const uint8_t *fields) RW_UNCHECKED {
    static const rw_link_kind_t kind = {.send = keep};
    rw_peer_t peer = {.connector = connector, .accepted = true};
    rw_link_t link = {.kind = &kind, .peer = &peer, .references = 1};
    uint8_t header[RW_MESSAGE_BYTES];
    rw_frame_t frame = {.kind = &kind,
                        .link = &link,
                        .header = header,
                        .header_length = sizeof header,
                        .payload = fields,
                        .length = request->request.fields_length};

    memset(sent, 0, sizeof sent);
    rw_message_encode(request, header);
    rw_lock(&connector->lock);
    assert_int_equal(rw_native_on_frame(connector, &frame), RW_FRAME_TAKEN);
    rw_unlock(&connector->lock);
    assert_int_equal(link.references, 1);
    return rw_get32(sent + 44);
}

/* Its form is the same in each version, so whoever asks understands it. */
static void a_request_of_another_version_is_answered_in_that_version(void **state) {
    ropeway_connector_t *connector;

    (void)state;
    assert_accepted(ropeway_connector_create(NULL, &connector));
    for (unsigned version = 0; version < 256; version++) {
        rw_message_t request = {.type = RW_REQUEST,
                                .version = (uint8_t)version,
                                .to = {1},
                                .from = {2},
                                .request = {.count = 1}};

        if (version == RW_PROTOCOL_VERSION) {
            continue;
        }
        assert_int_equal(answer_to(connector, &request, NULL), ROPEWAY_ERR_VERSION);
        assert_memory_equal(sent, "RW", 2);
        assert_int_equal(sent[2], RW_FIN);
        assert_int_equal(sent[3], version);
        assert_int_equal(sent[8], 2);  /* to */
        assert_int_equal(sent[24], 1); /* from */
        assert_int_equal(rw_get32(sent + 40), ROPEWAY_STATUS_ERRORED);
        assert_non_null(strstr(said, "is not spoken here, but 2"));
    }
    assert_accepted(ropeway_connector_destroy(connector));
}

static void a_request_that_needs_more_is_told_so(void **state) {
    static const struct {
        uint16_t type;
        ropeway_error_t expected;
    } cases[] = {{99, ROPEWAY_ERR_KEY_UNKNOWN}, {RW_FIELD_NEEDED | 99, ROPEWAY_ERR_VERSION}};
    ropeway_connector_t *connector;

    (void)state;
    assert_accepted(ropeway_connector_create(NULL, &connector));
    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        const rw_request_t say = {.hello = (const uint8_t *)"hello",
                                  .hello_length = 5,
                                  .token = (const uint8_t *)"0123456789abcdef"};
        uint8_t fields[200], *end = rw_request_encode(&say, fields);
        rw_message_t request = {.type = RW_REQUEST,
                                .version = RW_PROTOCOL_VERSION,
                                .to = {1},
                                .from = {2},
                                .request = {.count = 1}};

        end = rw_field_put(end, cases[i].type, "later", 5);
        request.request.fields_length = (uint32_t)(end - fields);
        assert_int_equal(answer_to(connector, &request, fields), cases[i].expected);
        assert_int_equal(sent[3], RW_PROTOCOL_VERSION);
    }
    assert_accepted(ropeway_connector_destroy(connector));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metadata_of_another_version_is_refused_by_name),
        cmocka_unit_test(a_request_of_another_version_is_answered_in_that_version),
        cmocka_unit_test(a_request_that_needs_more_is_told_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
