/* SPDX-License-Identifier: Apache-2.0 */
/* ropeway doctor --peer: which way leads to a peer from here, and why that one. */
#include "peer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <ropeway.h>

#include "common/cli.h"
#include "common/message.h"
#include "common/text.h"

#define TEXT_MAX ((size_t)16 << 20) /* as the library's max_metadata */
#define ANSWER_MAX ((size_t)256 << 10)

/* ---- the metadata ---- */

/* What a file, or for "-" stdin, holds; malloc'ed. */
static char *read_text(const char *path, size_t *length) {
    bool is_stdin = strcmp(path, "-") == 0;
    char *text = malloc(TEXT_MAX);
    FILE *file = is_stdin ? stdin : fopen(path, "re");
    int error = file == NULL ? errno : text == NULL ? ENOMEM : 0;
    if (error == 0) {
        *length = fread(text, 1, TEXT_MAX, file);
        error = ferror(file) ? errno : *length == TEXT_MAX ? EFBIG : 0;
    }
    if (file != NULL && !is_stdin) {
        fclose(file);
    }
    if (error == 0) {
        return text;
    }
    cli_fail("the metadata can't be read from '%s': %s", path, cli_errno_text(error));
    free(text);
    return NULL;
}

/* What a server answers to a request for an object has the metadata in it: takes them out. */
static char *take_out(char *text, size_t *length) {
    json_t *answer = *length <= ANSWER_MAX ? json_loadb(text, *length, 0, NULL) : NULL;
    json_t *metadata = json_object_get(answer, "metadata");
    char *inner = json_is_object(metadata) ? json_dumps(metadata, JSON_COMPACT) : NULL;
    json_decref(answer);
    if (inner == NULL) {
        return text;
    }
    free(text);
    *length = strlen(inner);
    return inner;
}

/* ---- the report ---- */

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static bool is_true(const json_t *object, const char *key) {
    return json_is_true(json_object_get(object, key));
}

static const char *yes_or_no(const json_t *object, const char *key) {
    return is_true(object, key)                          ? "yes"
           : json_is_false(json_object_get(object, key)) ? "no"
                                                         : "not known";
}

static void print_line(const char *label, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void print_line(const char *label, const char *format, ...) {
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    cli_printable(text);
    printf("%-13s %s\n", label, text);
}

static void print_peer(const json_t *peer) {
    const char *protocol = text_of(peer, "protocol");
    json_int_t version = json_integer_value(json_object_get(peer, "version"));
    json_int_t process = json_integer_value(json_object_get(peer, "process"));
    char speech[64];
    print_line("Peer", "%s", text_of(peer, "name"));
    print_line("Id", "%s", text_of(peer, "id"));
    snprintf(speech, sizeof speech, "Ropeway's own, version %lld", (long long)version);
    print_line("Protocol", "%s",
               strcmp(protocol, "ropeway") == 0 ? speech
               : strcmp(protocol, "nixl") == 0  ? "that of stock NIXL agents"
                                                : "none that is known here");
    if (process != 0) {
        print_line("Process", "%lld", (long long)process);
    }
    if (text_of(peer, "encryption")[0] != '\0') {
        print_line("Encryption", "%s", text_of(peer, "encryption"));
    }
    if (text_of(peer, "ucx")[0] != '\0') {
        print_line("Its UCX", "%s", text_of(peer, "ucx"));
    }
}

static void print_offer(const json_t *offer, bool device_here) {
    json_int_t count = json_integer_value(json_object_get(offer, "descriptors"));
    char size[CLI_SIZE_TEXT];
    print_line("Offer", "%s, %lld descriptor%s, %s in %s", text_of(offer, "kind"), (long long)count,
               count == 1 ? "" : "s",
               cli_size_text((uint64_t)json_integer_value(json_object_get(offer, "bytes")), size),
               is_true(offer, "device_memory") ? "memory of a device" : "host memory");
    print_line("Memory here", "%s", device_here ? "of a device" : "host memory");
}

static void print_ucx(const json_t *ucx) {
    const char *version = text_of(ucx, "version");
    bool needed = is_true(ucx, "needed");
    print_line("UCX", "%s%s",
               !needed              ? "not needed"
               : version[0] == '\0' ? "needed, and none can be used"
                                    : "needed: ",
               needed ? version : "");
}

static void print_way(const json_t *way) {
    const char *use = text_of(way, "use");
    print_line(strcmp(use, "first") == 0      ? "Used"
               : strcmp(use, "fallback") == 0 ? "Else"
               : strcmp(use, "asks") == 0     ? "Asked by"
                                              : "Not used",
               "link %s (%s), mover %s: %s", text_of(way, "link"), text_of(way, "path"),
               text_of(way, "mover"), text_of(way, "why"));
}

static void print_report(const json_t *report) {
    const json_t *error = json_object_get(report, "error");
    json_t *way;
    size_t i;
    print_peer(json_object_get(report, "peer"));
    print_offer(json_object_get(report, "offer"), is_true(report, "device_memory"));
    print_line("Same host", "%s", yes_or_no(report, "same_host"));
    print_line("Same user", "%s", yes_or_no(report, "same_user"));
    print_line("RDMA", "%s",
               is_true(report, "rdma") ? "a network is up here"
                                       : "no network is up here that may be used");
    print_ucx(json_object_get(report, "ucx"));
    json_array_foreach(json_object_get(report, "ways"), i, way) {
        print_way(way);
    }
    if (!is_true(report, "usable")) {
        print_line("No way", "%s (%s)", text_of(error, "text"), text_of(error, "name"));
    }
}

/* What the library says of the way from a connector with these options. */
static char *ask(const struct cli_peer_options *wish, const char *text, size_t length) {
    ropeway_connector_options_t options;
    ropeway_connector_t *connector = NULL;
    char *report = NULL;
    ropeway_connector_options_init(&options, sizeof options);
    options.log = cli_log_line;
    options.transports = wish->transports;
    options.net_devices = wish->net_devices;
    if (ropeway_connector_create(&options, &connector) != ROPEWAY_OK ||
        ropeway_connector_route(connector, text, length, wish->device, &report) != ROPEWAY_OK) {
        cli_fail("%s", ropeway_last_error());
    }
    ropeway_connector_destroy(connector);
    return report;
}

int cli_doctor_peer(const struct cli_peer_options *options) {
    size_t length;
    char *text = read_text(options->path, &length);
    if (text == NULL) {
        return CLI_EXIT_FAILED;
    }
    text = take_out(text, &length);
    char *answer = ask(options, text, length);
    free(text);
    json_t *report = answer != NULL ? json_loads(answer, 0, NULL) : NULL;
    if (report == NULL) {
        ropeway_text_free(answer);
        return CLI_EXIT_FAILED;
    }
    if (options->json) {
        puts(answer);
    } else {
        print_report(report);
    }
    bool usable = is_true(report, "usable");
    json_decref(report);
    ropeway_text_free(answer);
    int code = cli_flush_stdout();
    return code == CLI_EXIT_OK && !usable ? CLI_EXIT_FAILED : code;
}
