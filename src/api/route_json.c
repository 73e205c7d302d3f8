/* SPDX-License-Identifier: Apache-2.0 */
/* The report of ropeway_connector_route() as JSON; its man page has the members. */
#include "api/route.h"
#include "base/rdma.h"
#include "base/utf8.h"

#include <jansson.h>
#include <sodium.h>
#include <string.h>

/* Text, of which some is a peer's. */
static json_t *printable(const char *text) {
    char clean[RW_SENTENCE_MAX];

    rw_printable(text, strlen(text), clean, sizeof clean);
    return json_string(clean);
}

static json_t *printable_or_null(const char *text) {
    return text != NULL && text[0] != '\0' ? printable(text) : json_null();
}

static json_t *pack_id(const uint8_t id[RW_ID_BYTES]) {
    char text[2 * RW_ID_BYTES + 1];

    return sodium_is_zero(id, RW_ID_BYTES)
               ? json_null()
               : json_string(sodium_bin2hex(text, sizeof text, id, RW_ID_BYTES));
}

static json_t *pack_peer(const rw_report_t *report) {
    const rw_hello_t *hello = &report->hello;
    bool is_native = report->metadata->native != NULL;
    bool has_process = report->has_hello && hello->process != 0;

    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name", printable(report->metadata->agent), "id",
        pack_id(report->id), "protocol",
        printable_or_null(is_native                       ? "ropeway"
                          : report->metadata->ucx != NULL ? "nixl"
                                                          : NULL),
        "version", is_native && hello->version != 0 ? json_integer(hello->version) : json_null(),
        "process", has_process ? json_integer(hello->process) : json_null(), "ucx",
        printable_or_null(hello->ucx), "encryption", printable_or_null(report->routes.encryption));
}

static json_t *pack_offer(const ropeway_metadata_t *metadata) {
    return json_pack("{s:s, s:I, s:I, s:b}", "kind",
                     metadata->kind == ROPEWAY_OPERATION_READABLE ? "readable" : "writable",
                     "descriptors", (json_int_t)metadata->count, "bytes",
                     (json_int_t)metadata->total, "device_memory",
                     rw_metadata_any_device(metadata));
}

static json_t *pack_same_host(const rw_report_t *report) {
    if (!report->has_hello || sodium_is_zero(report->hello.scope, RW_ID_BYTES) ||
        sodium_is_zero(report->connector->peers->scope, RW_ID_BYTES)) {
        return json_null();
    }
    return json_boolean(rw_watch_is_near(report->connector, &report->hello));
}

static json_t *pack_same_user(const rw_report_t *report) {
    return report->routes.owner == RW_OWNER_UNKNOWN
               ? json_null()
               : json_boolean(report->routes.owner == RW_OWNER_US);
}

static json_t *pack_ways(const rw_report_t *report) {
    json_t *list = json_array();
    bool any = false;

    for (size_t i = 0; i < report->count; i++) {
        const rw_way_t *way = &report->ways[i];
        const char *use = "none", *why = way->why;

        if (!way->refused && report->error != ROPEWAY_OK) {
            why = "no operation gets that far, as the error says";
        } else if (!way->refused) {
            use = way->asks ? "asks" : any ? "fallback" : "first";
            any |= !way->asks;
        }
        json_array_append_new(list,
                              json_pack("{s:s, s:o, s:s, s:b, s:s, s:o}", "link", way->link, "path",
                                        printable(way->path), "mover", way->mover, "encrypted",
                                        way->is_encrypted, "use", use, "why", printable(why)));
    }
    return list;
}

static json_t *pack_error(const rw_report_t *report) {
    return report->error == ROPEWAY_OK
               ? json_null()
               : json_pack("{s:s, s:o}", "name", ropeway_error_name(report->error), "text",
                           printable(report->sentence));
}

char *rw_report_write(const rw_report_t *report) {
    const char *net_devices = report->connector->options.net_devices;
    json_t *root =
        json_pack("{s:b, s:o, s:o, s:o, s:o, s:o, s:b, s:b, s:{s:b, s:s}, s:o, s:o}", "usable",
                  report->error == ROPEWAY_OK, "error", pack_error(report), "peer",
                  pack_peer(report), "offer", pack_offer(report->metadata), "same_host",
                  pack_same_host(report), "same_user", pack_same_user(report), "device_memory",
                  rw_report_is_device(report), "rdma", rw_rdma_is_up(RW_RDMA_FOLDER, net_devices),
                  "ucx", "needed", report->needs_ucx, "version", ropeway_ucx_version(),
                  "connection", printable_or_null(report->connection), "ways", pack_ways(report));
    char *text = root != NULL ? json_dumps(root, JSON_INDENT(2)) : NULL;

    json_decref(root);
    return text;
}
