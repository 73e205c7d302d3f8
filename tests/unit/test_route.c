/* SPDX-License-Identifier: Apache-2.0 */
/* ropeway_connector_route(): what it says, of peers of every sort, and that it does no more. */
#include "unit.h"

#include "link/stream_address.h"
#include "native/native.h"
#include "text/packing.h"
#include "text/serdes.h"

#include <jansson.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE 300000
#define WAIT_MS 20000

static uint8_t here[SIZE], there[SIZE];
static const ropeway_device_t host = {ROPEWAY_DEVICE_HOST, 0}, gpu = {ROPEWAY_DEVICE_CUDA, 0},
                              xpu = {ROPEWAY_DEVICE_XPU, 0};

/* ---- what is asked, and what is said ---- */

static ropeway_connector_t *make(const char *transports, const char *encryption) {
    ropeway_connector_options_t options;
    ropeway_connector_t *connector;

    ropeway_connector_options_init(&options, sizeof options);
    options.transports = transports;
    options.encryption = encryption;
    options.listen = "127.0.0.1:0"; /* one address, whatever this host has */
    assert_accepted(ropeway_connector_create(&options, &connector));
    return connector;
}

static json_t *ask(ropeway_connector_t *connector, const char *metadata, ropeway_device_t device) {
    char *text;
    json_t *report;

    assert_accepted(ropeway_connector_route(connector, metadata, strlen(metadata), device, &text));
    report = json_loads(text, 0, NULL);
    assert_non_null(report);
    ropeway_text_free(text);
    return report;
}

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "";
}

/* Leaves out the port of a loopback address, which may be any. */
static void drop_port(char *text) {
    char *port = strstr(text, "127.0.0.1:");

    if (port != NULL) {
        char *rest;

        port += strlen("127.0.0.1");
        rest = port + 1 + strspn(port + 1, "0123456789");
        memmove(port, rest, strlen(rest) + 1);
    }
}

/* The ways as "USE LINK/MOVER PATH" or, of those that are not used, "none LINK (WHY)". */
static void compare_ways(const json_t *report, const char *const *ways) {
    size_t i;
    json_t *way;

    json_array_foreach(json_object_get(report, "ways"), i, way) {
        char text[512];

        if (strcmp(text_of(way, "use"), "none") == 0) {
            snprintf(text, sizeof text, "none %s (%s)", text_of(way, "link"), text_of(way, "why"));
        } else {
            snprintf(text, sizeof text, "%s %s/%s %s", text_of(way, "use"), text_of(way, "link"),
                     text_of(way, "mover"), text_of(way, "path"));
        }
        drop_port(text);
        assert_non_null(ways[i]);
        assert_string_equal(text, ways[i]);
        assert_true(strlen(text_of(way, "why")) > 0);
    }
    assert_null(ways[i]);
}

#define assert_ways(report, ...) compare_ways((report), (const char *const[]){__VA_ARGS__, NULL})

static void assert_usable(const json_t *report) {
    assert_true(json_is_true(json_object_get(report, "usable")));
    assert_true(json_is_null(json_object_get(report, "error")));
}

static void assert_unusable(const json_t *report, ropeway_error_t error, const char *piece) {
    const json_t *said = json_object_get(report, "error");
    json_t *way;
    size_t i;

    assert_true(json_is_false(json_object_get(report, "usable")));
    assert_string_equal(text_of(said, "name"), ropeway_error_name(error));
    if (strstr(text_of(said, "text"), piece) == NULL) {
        fail_msg("\"%s\" has no \"%s\"", text_of(said, "text"), piece);
    }
    json_array_foreach(json_object_get(report, "ways"), i, way) {
        assert_string_equal(text_of(way, "use"), "none");
    }
}

static ropeway_operation_t *offer(ropeway_connector_t *owner, const char **json) {
    ropeway_descriptor_t descriptor = {there, SIZE, host};
    ropeway_operation_t *readable;

    assert_accepted(ropeway_create_readable(owner, &descriptor, 1, NULL, &readable));
    assert_accepted(ropeway_operation_metadata(readable, json));
    return readable;
}

static ropeway_error_t read_it(ropeway_connector_t *connector, const char *metadata,
                               char path[128]) {
    ropeway_descriptor_t target = {here, SIZE, host};
    ropeway_operation_t *read;
    ropeway_error_t error =
        ropeway_begin_read(connector, metadata, strlen(metadata), &target, 1, NULL, &read);

    if (error == ROPEWAY_OK) {
        error = ropeway_operation_wait(read, WAIT_MS);
        ropeway_operation_path(read, path, 128);
        ropeway_operation_release(read);
    }
    return error;
}

/* Metadata of a peer with this hello. */
static char *metadata_of(rw_hello_t *hello) {
    ropeway_descriptor_t descriptor = {(void *)1, SIZE, host};
    rw_connection_t connection = {.backend = RW_BACKEND_NATIVE};
    size_t length;
    uint8_t *blob = rw_hello_encode(hello, &connection.length);
    char *json;

    assert_non_null(blob);
    connection.blob = blob;
    assert_accepted(rw_metadata_encode(
        ROPEWAY_OPERATION_READABLE, &descriptor, 1, hello->name, &connection, 1, NULL, 0,
        "01234567-89ab-4def-8123-456789abcdef", RW_METADATA_MAX_DEFAULT, &json, &length));
    free(blob);
    return json;
}

/* A peer on another host, by a stream. */
static rw_hello_t far_hello(uint8_t bytes[RW_ADDRESS_MAX]) {
    rw_stream_address_t address = {.encryption = RW_ENCRYPT_AUTO, .local = true, .count = 2};
    rw_hello_t hello = {.version = RW_PROTOCOL_VERSION, .name = "far", .address = bytes};

    memset(hello.scope, 7, sizeof hello.scope);
    assert_true(rw_place_read("192.0.2.1", 9, &address.places[0]));
    assert_true(rw_place_read("2001:db8::1", 11, &address.places[1]));
    rw_place_set_port(&address.places[0], 4711);
    rw_place_set_port(&address.places[1], 4712);
    hello.address_length = rw_stream_address_encode(&address, bytes);
    return hello;
}

/* ---- without a UCX ---- */

/* First, while none is loaded. */
static void without_a_ucx_that_can_be_loaded_the_error_says_so(void **state) {
    ropeway_connector_t *connector = make(NULL, NULL);
    uint8_t bytes[RW_ADDRESS_MAX];
    rw_hello_t hello = far_hello(bytes);
    char *far = metadata_of(&hello), *packed, *stock;
    json_t *report;
    size_t length;

    (void)state;
    assert_accepted(rw_pack(unit_stock_agent, unit_stock_agent_length, &packed, &length));
    stock = unit_metadata(packed);
    setenv("ROPEWAY_UCX", "/nonexistent", 1);
    report = ask(connector, stock, host);
    assert_unusable(report, ROPEWAY_ERR_UNSUPPORTED, "ROPEWAY_UCX=/nonexistent leads to none");
    assert_string_equal(text_of(json_object_get(report, "peer"), "protocol"), "nixl");
    assert_true(json_is_true(json_object_get(json_object_get(report, "ucx"), "needed")));
    json_decref(report);
    report = ask(connector, far, gpu);
    assert_unusable(report, ROPEWAY_ERR_UNSUPPORTED, "ROPEWAY_UCX=/nonexistent leads to none");
    json_decref(report);
    rw_lock(&connector->lock);
    connector->links->second.is_preferred = true;
    rw_unlock(&connector->lock);
    report = ask(connector, far, host); /* for want of it, the stream */
    assert_usable(report);
    assert_string_equal(text_of(json_array_get(json_object_get(report, "ways"), 0), "use"), "none");
    assert_string_equal(text_of(json_array_get(json_object_get(report, "ways"), 2), "path"),
                        "tcp/192.0.2.1:4711 TLSv1.3");
    json_decref(report);
    unsetenv("ROPEWAY_UCX");
    report = ask(connector, stock, host);
    assert_usable(report);
    assert_ways(report, "first agent/rma ucx");
    json_decref(report);
    free(stock);
    free(packed);
    free(far);
    assert_accepted(ropeway_connector_destroy(connector));
}

/* ---- peers on this host ---- */

static void what_is_said_is_what_happens_and_the_key_still_works(void **state) {
    static const struct {
        const char *transports, *encryption, *path;
    } cases[] = {{NULL, NULL, "local"},
                 {NULL, "required", "tcp/127.0.0.1:"},
                 {"stream,local", NULL, "local"},
                 {"stream", NULL, "tcp/127.0.0.1:"}};

    (void)state;
    for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
        ropeway_connector_t *owner = make(NULL, NULL),
                            *user = make(cases[i].transports, cases[i].encryption);
        const char *json;
        ropeway_operation_t *readable = offer(owner, &json);
        ropeway_stats_t before, after;
        json_t *report, *way;
        char path[128];
        size_t at;

        assert_accepted(ropeway_connector_stats(user, &before, sizeof before));
        report = ask(user, json, host);
        assert_usable(report);
        assert_accepted(ropeway_connector_stats(user, &after, sizeof after));
        assert_true(after.operations_created == before.operations_created &&
                    after.peers_created == before.peers_created);
        assert_int_equal(ropeway_operation_status(readable), ROPEWAY_STATUS_INITIALIZED);
        assert_accepted(read_it(user, json, path));
        assert_memory_equal(path, cases[i].path, strlen(cases[i].path));
        json_array_foreach(json_object_get(report, "ways"), at, way) {
            if (strcmp(text_of(way, "use"), "first") == 0) { /* pulls begin when they can */
                assert_memory_equal(text_of(way, "path"), path, strlen(path));
                assert_int_equal(json_is_true(json_object_get(way, "encrypted")),
                                 strstr(path, "TLS") != NULL);
            }
        }
        json_decref(report);
        report = ask(user, json, host); /* now there is a connection */
        assert_memory_equal(text_of(report, "connection"), path, strlen(path));
        json_decref(report);
        ropeway_operation_release(readable);
        assert_accepted(ropeway_connector_destroy(user));
        assert_accepted(ropeway_connector_destroy(owner));
    }
}

static void every_way_has_its_reason(void **state) {
    ropeway_connector_t *owner = make("stream,local,pull", NULL), *user = make(NULL, NULL),
                        *strict = make(NULL, "required"), *plain = make("stream", NULL),
                        *local = make("local", NULL);
    const char *json, *of_local;
    ropeway_operation_t *readable = offer(owner, &json), *other = offer(local, &of_local);
    json_t *report = ask(user, json, host);

    (void)state;
    assert_ways(report, "first stream/pull local pull", "fallback stream/push tcp/127.0.0.1",
                "none ucx (streams move host memory to and from peers on this host)");
    assert_true(json_is_true(json_object_get(report, "same_host")));
    assert_true(json_is_true(json_object_get(report, "same_user")));
    assert_string_equal(text_of(json_object_get(report, "peer"), "name"),
                        ropeway_connector_name(owner));
    assert_string_equal(text_of(json_object_get(report, "peer"), "encryption"), "auto");
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(report, "peer"), "process")), getpid());
    json_decref(report);
    report = ask(strict, json, host);
    assert_ways(report, "none stream (encryption is required, and it has none)",
                "first stream/push tcp/127.0.0.1 TLSv1.3",
                "none ucx (the option encryption is \"required\", and UCX does not encrypt)");
    json_decref(report);
    report = ask(plain, of_local, host);
    assert_unusable(report, ROPEWAY_ERR_NO_PATH, "both sides have no way in common");
    assert_ways(report, "none stream (the option transports leaves it out here)",
                "none ucx (the option transports names only what moves host memory)");
    json_decref(report);
    report = ask(plain, json, gpu);
    assert_unusable(report, ROPEWAY_ERR_DEVICE, "names only what moves host memory");
    json_decref(report);
    report = ask(user, json, xpu);
    assert_unusable(report, ROPEWAY_ERR_DEVICE, "xpu:0");
    json_decref(report);
    report = ask(user, json, gpu);
    assert_ways(report, "first ucx/rendezvous ucx", "asks stream/pull local pull",
                "asks stream/push tcp/127.0.0.1");
    json_decref(report);
    ropeway_operation_release(readable);
    ropeway_operation_release(other);
    assert_accepted(ropeway_connector_destroy(local));
    assert_accepted(ropeway_connector_destroy(plain));
    assert_accepted(ropeway_connector_destroy(strict));
    assert_accepted(ropeway_connector_destroy(user));
    assert_accepted(ropeway_connector_destroy(owner));
}

static void a_peer_of_ucx_is_reached_as_the_options_allow(void **state) RW_UNCHECKED {
    ropeway_connector_t *owner = make("tcp,self", NULL), *user = make(NULL, NULL),
                        *streams = make("stream", NULL);
    const char *json;
    ropeway_operation_t *readable = offer(owner, &json);
    json_t *report = ask(user, json, host);
    char path[128];

    (void)state;
    assert_usable(report);
    assert_ways(report, "first ucx/rendezvous ucx");
    assert_string_equal(text_of(json_object_get(report, "peer"), "ucx"), ropeway_ucx_version());
    json_decref(report);
    report = ask(streams, json, host);
    assert_unusable(report, ROPEWAY_ERR_NO_PATH, "can't be reached by the transport \"stream\"");
    json_decref(report);
    memset(user->peers->scope, 0, RW_ID_BYTES); /* it may be on another host */
    report = ask(user, json, host);
    assert_unusable(report, ROPEWAY_ERR_NO_PATH, "UCX alone, which encrypts nothing");
    assert_true(json_is_null(json_object_get(report, "same_host")));
    json_decref(report);
    assert_int_equal(read_it(user, json, path), ROPEWAY_ERR_NO_PATH);
    ropeway_operation_release(readable);
    assert_accepted(ropeway_connector_destroy(streams));
    assert_accepted(ropeway_connector_destroy(user));
    assert_accepted(ropeway_connector_destroy(owner));
}

/* ---- peers elsewhere, and gone ---- */

static void another_host_is_reached_by_rdma_if_there_is_some(void **state) RW_UNCHECKED {
    ropeway_connector_t *user = make(NULL, NULL);
    uint8_t bytes[RW_ADDRESS_MAX];
    rw_hello_t hello = far_hello(bytes);
    char *far = metadata_of(&hello);
    json_t *report;

    (void)state;
    user->links->second.is_preferred = false;
    report = ask(user, far, host);
    assert_usable(report);
    assert_true(json_is_false(json_object_get(report, "same_host")));
    assert_true(json_is_null(json_object_get(report, "same_user")));
    assert_string_equal(text_of(json_array_get(json_object_get(report, "ways"), 1), "path"),
                        "tcp/192.0.2.1:4711 TLSv1.3");
    assert_string_equal(text_of(json_array_get(json_object_get(report, "ways"), 3), "use"), "none");
    json_decref(report);
    user->links->second.is_preferred = true;
    report = ask(user, far, host);
    assert_usable(report);
    assert_ways(report, "first ucx/rendezvous ucx",
                "none stream (the peer is on another host, or in another PID namespace)",
                "fallback stream/push tcp/192.0.2.1:4711 TLSv1.3",
                "fallback stream/push tcp/[2001:db8::1]:4712 TLSv1.3");
    assert_true(json_is_true(json_object_get(json_object_get(report, "ucx"), "needed")));
    assert_null(user->links->second.state); /* it was loaded, and not started */
    json_decref(report);
    free(far);
    assert_accepted(ropeway_connector_destroy(user));
}

static void a_peer_that_is_gone_or_too_new_is_told(void **state) RW_UNCHECKED {
    ropeway_connector_t *user = make(NULL, NULL);
    uint8_t bytes[RW_ADDRESS_MAX];
    rw_hello_t hello = far_hello(bytes);
    pid_t child = fork();
    char *text;
    json_t *report;

    (void)state;
    if (child == 0) {
        _exit(0);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    memcpy(hello.scope, user->peers->scope, sizeof hello.scope);
    hello.process = (uint32_t)child;
    text = metadata_of(&hello);
    report = ask(user, text, host);
    assert_unusable(report, ROPEWAY_ERR_UNREACHABLE, "on this host) has ended");
    free(text);
    json_decref(report);
    hello.version = RW_PROTOCOL_VERSION + 1;
    text = metadata_of(&hello);
    report = ask(user, text, host);
    assert_unusable(report, ROPEWAY_ERR_VERSION, "speaks protocol version 3");
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(report, "peer"), "version")), 3);
    free(text);
    json_decref(report);
    assert_accepted(ropeway_connector_destroy(user));
}

/* A peer's words can't steer a terminal. */
static void names_are_made_printable(void **state) {
    ropeway_connector_t *user = make(NULL, NULL);
    uint8_t bytes[RW_ADDRESS_MAX];
    rw_hello_t hello = far_hello(bytes);
    char *text, *json;

    (void)state;
    strcpy(hello.name, "a\033[2Jb\xff");
    strcpy(hello.ucx, "1\n2");
    text = metadata_of(&hello);
    assert_accepted(ropeway_connector_route(user, text, strlen(text), host, &json));
    assert_null(strchr(json, '\033'));
    assert_null(strstr(json, "\\u00"));
    assert_non_null(strstr(json, "\"1?2\""));
    ropeway_text_free(json);
    free(text);
    assert_accepted(ropeway_connector_destroy(user));
}

static void wrong_arguments_are_refused(void **state) {
    ropeway_connector_t *user = make(NULL, NULL);
    char *json;

    (void)state;
    assert_refused(ropeway_connector_route(user, NULL, 0, host, &json),
                   ROPEWAY_ERR_INVALID_ARGUMENT, "must not be null");
    assert_refused(ropeway_connector_route(user, "{}", 2, host, NULL), ROPEWAY_ERR_INVALID_ARGUMENT,
                   "must not be null");
    assert_refused(ropeway_connector_route(NULL, "{}", 2, host, &json),
                   ROPEWAY_ERR_INVALID_ARGUMENT, "connector");
    assert_null(json);
    assert_refused(ropeway_connector_route(user, "{}", 2, host, &json), ROPEWAY_ERR_METADATA,
                   "descriptors");
    assert_null(json);
    assert_accepted(ropeway_connector_destroy(user));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_ucx_that_can_be_loaded_the_error_says_so),
        cmocka_unit_test(what_is_said_is_what_happens_and_the_key_still_works),
        cmocka_unit_test(every_way_has_its_reason),
        cmocka_unit_test(a_peer_of_ucx_is_reached_as_the_options_allow),
        cmocka_unit_test(another_host_is_reached_by_rdma_if_there_is_some),
        cmocka_unit_test(a_peer_that_is_gone_or_too_new_is_told),
        cmocka_unit_test(names_are_made_printable),
        cmocka_unit_test(wrong_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
