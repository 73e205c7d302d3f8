/* SPDX-License-Identifier: Apache-2.0 */
/* ropeway_connector_route() against what then happens: over each transport, and with a peer of
 * another user. */
#include "lists.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static json_t *ask(ropeway_connector_t *connector, const char *metadata, size_t length) {
    char *text;
    assert_ok(ropeway_connector_route(connector, metadata, length, (ropeway_device_t){0}, &text));
    json_t *report = json_loads(text, 0, NULL);
    assert_non_null(report);
    ropeway_text_free(text);
    return report;
}

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

/* The way with this use; NULL: there is none. */
static const json_t *find_way(const json_t *report, const char *use) {
    json_t *way;
    size_t i;
    json_array_foreach(json_object_get(report, "ways"), i, way) {
        if (strcmp(text_of(way, "use"), use) == 0) {
            return way;
        }
    }
    return NULL;
}

/* Asks how the peer's offer would be reached, and then reads it. */
static json_t *ask_and_read(ropeway_connector_t *connector, ts_peer_t *peer, char path[256]) {
    size_t length;
    ts_peer_ask(peer, "readable 0 300000 5");
    char *metadata = ts_peer_metadata(peer, 0, &length);
    json_t *report = ask(connector, metadata, length);
    ropeway_operation_t *read =
        ts_begin(connector, ROPEWAY_OPERATION_READ, "300000", 5, "", metadata, length);
    assert_complete(ts_wait(read));
    ropeway_operation_path(read, path, 256);
    ts_release(read);
    free(metadata);
    return report;
}

/* Of the ways of a stream: the one of this path, or of which it is the beginning, as whether a
 * connection pulls shows in use. */
static const char *use_of(const json_t *report, const char *path) {
    json_t *way;
    size_t i;
    json_array_foreach(json_object_get(report, "ways"), i, way) {
        if (strcmp(text_of(way, "link"), "stream") == 0 &&
            strncmp(text_of(way, "path"), path, strlen(path)) == 0) {
            return text_of(way, "use");
        }
    }
    return "missing";
}

static void the_way_that_is_told_is_the_one_that_is_taken(void **state) {
    (void)state;
    char path[256];
    ropeway_connector_t *connector = ts_connect("");
    ts_peer_t *peer = ts_new_peer("");
    json_t *report = ask_and_read(connector, peer, path);
    const json_t *way = find_way(report, "first");
    assert_true(json_is_true(json_object_get(report, "usable")));
    assert_non_null(way);
    if (!ts_transport_is_stream()) {
        assert_string_equal(text_of(way, "link"), ts_transport_is("memory") ? "memory" : "ucx");
    } else { /* that loopback addresses lead elsewhere shows only when they are tried */
        assert_string_equal(use_of(report, path),
                            ts_transport_is("stream-netns") ? "fallback" : "first");
    }
    json_decref(report);
}

/* The kernel knows it before anything is begun. */
static void another_users_peer_is_told_apart(void **state) {
    (void)state;
    if (!ts_transport_is("default") || geteuid() != 0) {
        skip();
        return;
    }
    char path[256];
    ropeway_connector_t *connector = ts_connect("net_devices=lo");
    ts_peer_t *peer = ts_new_peer("net_devices=lo user=65534");
    json_t *report = ask_and_read(connector, peer, path);
    const json_t *local = json_array_get(json_object_get(report, "ways"), 0);
    assert_true(json_is_false(json_object_get(report, "same_user")));
    assert_true(json_is_true(json_object_get(report, "same_host")));
    assert_string_equal(text_of(local, "use"), "none");
    assert_string_equal(text_of(local, "why"), "it belongs to another user");
    assert_string_equal(text_of(find_way(report, "first"), "path"), path);
    json_decref(report);
}

static const struct CMUnitTest tests[] = {
    TS_TEST(the_way_that_is_told_is_the_one_that_is_taken),
    TS_TEST(another_users_peer_is_told_apart),
};

TS_LIST(ts_list_route, tests);
