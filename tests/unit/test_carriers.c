/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of a device and two carriers, of which one moves host memory alone. The memory is the
 * host's here, and a device's by its descriptor: whoever touched it by the wrong way would not
 * crash, as he would with a device, but be seen. */
#include "unit.h"

#include "base/error.h"
#include "link/stream_address.h"
#include "link/ucx_kind.h"
#include "native/native.h"
#include "text/descriptor.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define SIZE 70000
#define WAIT_MS 20000

static uint8_t of_device[SIZE], of_host[SIZE], there[SIZE];
static const ropeway_device_t device = {ROPEWAY_DEVICE_CUDA, 0};

/* It takes descriptors of devices, as it would where there is one. */
static ropeway_connector_t *connect_with_device(void) RW_UNCHECKED {
    ropeway_connector_t *connector;

    assert_accepted(ropeway_connector_create(NULL, &connector));
    rw_lock(&connector->lock);
    (void)rw_device_check(connector, device); /* starts UCX, which has none */
    assert_non_null(connector->links->second.state);
    connector->links->has_cuda = true;
    rw_unlock(&connector->lock);
    return connector;
}

static ropeway_operation_t *offer(ropeway_connector_t *owner, void *memory, ropeway_device_t where,
                                  const char **json) {
    ropeway_descriptor_t descriptor = {memory, SIZE, where};
    ropeway_operation_t *readable;

    assert_accepted(ropeway_create_readable(owner, &descriptor, 1, NULL, &readable));
    assert_accepted(ropeway_operation_metadata(readable, json));
    return readable;
}

static void key_of(const char *json, char key[RW_KEY_TEXT]) {
    ropeway_metadata_t *metadata;

    assert_accepted(ropeway_metadata_parse(json, strlen(json), 0, &metadata));
    rw_key_to_text(metadata->key_bytes, key);
    ropeway_metadata_release(metadata);
}

static void an_offer_of_a_device_names_the_way_that_moves_it(void **state) {
    ropeway_connector_t *owner = connect_with_device();
    ropeway_metadata_t *metadata;
    const char *json;
    ropeway_operation_t *readable = offer(owner, of_device, device, &json);
    rw_hello_t hello;

    (void)state;
    assert_accepted(ropeway_metadata_parse(json, strlen(json), 0, &metadata));
    assert_non_null(metadata->native);
    assert_int_equal(rw_hello_decode(metadata->native, metadata->native_length, &hello),
                     ROPEWAY_OK);
    assert_false(rw_stream_address_is_meant(hello.address, hello.address_length));
    ropeway_metadata_release(metadata);
    ropeway_operation_release(readable);
    assert_accepted(ropeway_connector_destroy(owner));
}

/* Its key, with metadata that leads to the stream. */
static void memory_of_a_device_is_not_touched_by_a_stream(void **state) {
    ropeway_connector_t *owner = connect_with_device(), *other;
    ropeway_descriptor_t target = {there, SIZE, {ROPEWAY_DEVICE_HOST, 0}};
    const char *json, *of_other;
    ropeway_operation_t *of_gpu = offer(owner, of_device, device, &json);
    ropeway_operation_t *of_cpu = offer(owner, of_host, target.device, &of_other), *read;
    char key[RW_KEY_TEXT], other_key[RW_KEY_TEXT], *forged = strdup(of_other);

    (void)state;
    assert_non_null(forged);
    key_of(json, key);
    key_of(of_other, other_key);
    assert_non_null(strstr(forged, other_key));
    memcpy(strstr(forged, other_key), key, strlen(key));
    memset(of_device, 7, SIZE);
    memset(there, 1, SIZE);
    assert_accepted(ropeway_connector_create(NULL, &other));
    assert_accepted(ropeway_begin_read(other, forged, strlen(forged), &target, 1, NULL, &read));
    assert_int_equal(ropeway_operation_wait(read, WAIT_MS), ROPEWAY_ERR_NO_PATH);
    for (size_t i = 0; i < SIZE; i++) {
        assert_int_equal(there[i], 1);
    }
    assert_int_equal(ropeway_operation_status(of_gpu), ROPEWAY_STATUS_INITIALIZED);
    free(forged);
    ropeway_operation_release(read);
    ropeway_operation_release(of_gpu);
    ropeway_operation_release(of_cpu);
    assert_accepted(ropeway_connector_destroy(other));
    assert_accepted(ropeway_connector_destroy(owner));
}

/* An owner that is asked for another way goes on by this one: with bytes that are not here yet, or
 * with the word that it waits for some. */
static void go_on(ropeway_operation_t *operation, rw_message_type_t type) RW_LOCKED {
    rw_message_t message = {.type = (uint8_t)type, .version = RW_PROTOCOL_VERSION};
    uint8_t header[RW_MESSAGE_BYTES];
    rw_frame_t frame = {.link = operation->link,
                        .header = header,
                        .header_length = sizeof header,
                        .length = type == RW_DATA ? SIZE : 0};

    assert_true(rw_side(operation)->asking);
    memcpy(message.to, operation->node.id, RW_ID_BYTES);
    memcpy(message.from, rw_side(operation)->remote, RW_ID_BYTES);
    rw_message_encode(&message, header);
    assert_int_equal(rw_native_on_frame(operation->connector, &frame), RW_FRAME_TAKEN);
    assert_int_equal(operation->inflight, 0);
}

static void who_asks_for_another_way_moves_nothing_by_this_one(void **state) RW_UNCHECKED {
    static const rw_message_type_t types[] = {RW_DATA, RW_ACCEPT};
    ropeway_descriptor_t mine = {of_device, SIZE, device},
                         theirs = {of_host, SIZE, {ROPEWAY_DEVICE_HOST, 0}};

    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(types); i++) {
        ropeway_connector_t *owner, *user = connect_with_device();
        ropeway_operation_t *passive, *active;
        const char *json;

        assert_accepted(ropeway_connector_create(NULL, &owner));
        assert_accepted(types[i] == RW_DATA
                            ? ropeway_create_readable(owner, &theirs, 1, NULL, &passive)
                            : ropeway_create_writable(owner, &theirs, 1, NULL, &passive));
        assert_accepted(ropeway_operation_metadata(passive, &json));
        rw_lock(&owner->lock); /* it answers nothing */
        assert_accepted(
            types[i] == RW_DATA
                ? ropeway_begin_read(user, json, strlen(json), &mine, 1, NULL, &active)
                : ropeway_begin_write(user, json, strlen(json), &mine, 1, NULL, &active));
        rw_lock(&user->lock);
        go_on(active, types[i]);
        rw_unlock(&user->lock);
        rw_unlock(&owner->lock);
        assert_int_equal(ropeway_operation_wait(active, WAIT_MS), ROPEWAY_ERR_PROTOCOL);
        ropeway_operation_release(active);
        ropeway_operation_release(passive);
        assert_accepted(ropeway_connector_destroy(user));
        assert_accepted(ropeway_connector_destroy(owner));
    }
}

/* An owner that is asked how it is reached by UCX tells how it is reached by the stream, where
 * memory of a device would be touched as the host's. */
static void a_way_that_leads_back_to_the_stream_is_refused(void **state) RW_UNCHECKED {
    ropeway_descriptor_t mine = {of_device, SIZE, device},
                         theirs = {of_host, SIZE, {ROPEWAY_DEVICE_HOST, 0}};
    ropeway_connector_t *owner, *user = connect_with_device();
    ropeway_operation_t *readable, *read;
    rw_message_t message = {.type = RW_WAY, .version = RW_PROTOCOL_VERSION};
    uint8_t header[RW_MESSAGE_BYTES];
    const char *json;

    (void)state;
    assert_accepted(ropeway_connector_create(NULL, &owner));
    readable = offer(owner, of_host, theirs.device, &json);
    rw_lock(&owner->lock); /* it answers nothing */
    assert_accepted(ropeway_begin_read(user, json, strlen(json), &mine, 1, NULL, &read));
    rw_lock(&user->lock);
    memcpy(message.to, read->node.id, RW_ID_BYTES);
    memcpy(message.from, rw_side(read)->remote, RW_ID_BYTES);
    rw_message_encode(&message, header);
    assert_true(rw_side(read)->asking);
    assert_int_equal(
        rw_native_on_frame(user, &(rw_frame_t){.link = read->link,
                                               .header = header,
                                               .header_length = sizeof header,
                                               .payload = owner->links->first.hello,
                                               .length = owner->links->first.hello_length}),
        RW_FRAME_TAKEN);
    rw_unlock(&user->lock);
    rw_unlock(&owner->lock);
    assert_int_equal(ropeway_operation_wait(read, WAIT_MS), ROPEWAY_ERR_PROTOCOL);
    ropeway_operation_release(read);
    ropeway_operation_release(readable);
    assert_accepted(ropeway_connector_destroy(user));
    assert_accepted(ropeway_connector_destroy(owner));
}

/* The two are connected. */
static void meet(ropeway_connector_t *owner, ropeway_connector_t *user) {
    ropeway_descriptor_t target = {there, SIZE, {ROPEWAY_DEVICE_HOST, 0}};
    const char *json;
    ropeway_operation_t *readable = offer(owner, of_host, target.device, &json), *read;

    assert_accepted(ropeway_begin_read(user, json, strlen(json), &target, 1, NULL, &read));
    assert_accepted(ropeway_operation_wait(read, WAIT_MS));
    ropeway_operation_release(read);
    ropeway_operation_release(readable);
}

/* An offer is cancelled when it was asked for, and not begun: nobody has used its key, and who has
 * asked hears of it though he has left for another way. */
static void an_offer_that_was_only_asked_for_was_not_used(void **state) RW_UNCHECKED {
    ropeway_descriptor_t mine = {of_device, SIZE, device},
                         theirs = {of_host, SIZE, {ROPEWAY_DEVICE_HOST, 0}};
    ropeway_connector_t *owner, *user = connect_with_device();
    ropeway_operation_t *readable, *read;
    uint8_t key[RW_ID_BYTES];
    const char *json;

    (void)state;
    assert_accepted(ropeway_connector_create(NULL, &owner));
    meet(owner, user);
    readable = offer(owner, of_host, theirs.device, &json);
    memcpy(key, readable->node.id, RW_ID_BYTES);
    rw_lock(&owner->lock); /* it answers nothing until the other one can't hear it */
    assert_accepted(ropeway_begin_read(user, json, strlen(json), &mine, 1, NULL, &read));
    rw_lock(&user->lock);
    rw_unlock(&owner->lock);
    while (ropeway_operation_status(readable) == ROPEWAY_STATUS_INITIALIZED) {
        sched_yield();
    }
    assert_accepted(ropeway_operation_cancel(readable));
    assert_int_equal(ropeway_operation_wait(readable, WAIT_MS), ROPEWAY_ERR_CANCELLED);
    rw_lock(&owner->lock);
    assert_int_equal(rw_recent_find(&owner->operations->ended, key), ROPEWAY_ERR_KEY_FINISHED);
    rw_unlock(&user->lock); /* he hears nothing by the other way */
    assert_int_equal(ropeway_operation_wait(read, WAIT_MS), ROPEWAY_ERR_CANCELLED);
    rw_unlock(&owner->lock);
    ropeway_operation_release(read);
    ropeway_operation_release(readable);
    assert_accepted(ropeway_connector_destroy(user));
    assert_accepted(ropeway_connector_destroy(owner));
}

/* Where neither side knows its host, they may be two. */
static void nothing_goes_in_clear_between_hosts_that_are_not_known(void **state) RW_UNCHECKED {
    ropeway_connector_options_t options;
    ropeway_connector_t *owner, *user;
    ropeway_descriptor_t target = {there, SIZE, {ROPEWAY_DEVICE_HOST, 0}};
    ropeway_operation_t *readable, *read;
    const char *json;

    (void)state;
    ropeway_connector_options_init(&options, sizeof options);
    options.transports = "tcp,self";
    assert_accepted(ropeway_connector_create(&options, &owner));
    assert_accepted(ropeway_connector_create(NULL, &user));
    memset(user->peers->scope, 0, RW_ID_BYTES);
    memset(owner->peers->scope, 0, RW_ID_BYTES);
    free(owner->links->first.hello); /* another one is made that says so */
    owner->links->first.hello = NULL;
    readable = offer(owner, of_host, target.device, &json);
    assert_int_equal(ropeway_begin_read(user, json, strlen(json), &target, 1, NULL, &read),
                     ROPEWAY_ERR_NO_PATH);
    ropeway_operation_release(readable);
    assert_accepted(ropeway_connector_destroy(user));
    assert_accepted(ropeway_connector_destroy(owner));
}

static uint64_t peers_at_start;

/* It notes who was connected to before it, and can't start. */
static ropeway_error_t start_in_vain(rw_carrier_t *carrier) RW_LOCKED {
    peers_at_start = carrier->connector->stats.peers_created;
    rw_explain("it can't");
    return ROPEWAY_ERR_UNSUPPORTED;
}

/* It may take seconds, and a peer that was connected to waits two for a greeting. */
static void the_second_carrier_starts_before_anybody_is_connected_to(void **state) RW_UNCHECKED {
    ropeway_connector_t *owner, *user;
    rw_link_kind_t slow = rw_ucx_kind;

    (void)state;
    slow.start = start_in_vain;
    peers_at_start = UINT64_MAX;
    assert_accepted(ropeway_connector_create(NULL, &owner));
    assert_accepted(ropeway_connector_create(NULL, &user));
    user->links->second.kind = &slow;
    user->links->second.is_preferred = true;
    memset(user->peers->scope, 0, RW_ID_BYTES); /* the owner is on another host */
    meet(owner, user);
    assert_int_equal(peers_at_start, 0);
    assert_false(user->links->second.is_preferred);
    assert_accepted(ropeway_connector_destroy(user));
    assert_accepted(ropeway_connector_destroy(owner));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_offer_of_a_device_names_the_way_that_moves_it),
        cmocka_unit_test(memory_of_a_device_is_not_touched_by_a_stream),
        cmocka_unit_test(nothing_goes_in_clear_between_hosts_that_are_not_known),
        cmocka_unit_test(who_asks_for_another_way_moves_nothing_by_this_one),
        cmocka_unit_test(a_way_that_leads_back_to_the_stream_is_refused),
        cmocka_unit_test(an_offer_that_was_only_asked_for_was_not_used),
        cmocka_unit_test(the_second_carrier_starts_before_anybody_is_connected_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
