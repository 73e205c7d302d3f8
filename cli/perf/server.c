/* SPDX-License-Identifier: Apache-2.0 */
/* The server: one client at a time, with the passive operations and a connector of its own. */
#include "perf.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/address.h"
#include "common/cli.h"
#include "common/interrupt.h"
#include "common/message.h"
#include "common/text.h"

#define REQUEST_TIMEOUT_MS 600000
#define OUTCOME_TIMEOUT_MS 60000
#define MAX_IDLE_S 3600.0

/* One client's session. */
struct session {
    struct cli_perf_channel channel;
    ropeway_connector_t *connector;
    struct cli_perf_memory memory;
    ropeway_operation_t **operations;
    size_t count;
};

static json_t *failure(const char *text) {
    return json_pack("{s:s}", "error", text);
}

static uint64_t number(const json_t *request, const char *key) {
    json_int_t value = json_integer_value(json_object_get(request, key));
    return value > 0 ? (uint64_t)value : 0;
}

static void release_operations(struct session *session) {

    for (size_t i = 0; i < session->count; i++) {
        ropeway_operation_release(session->operations[i]);
    }
    free(session->operations);
    session->operations = NULL;
    session->count = 0;
}

static json_t *do_hello(struct session *session, const json_t *request) {
    const char *transports = json_string_value(json_object_get(request, "transports"));
    const json_t *spin = json_object_get(request, "spin_us");
    ropeway_connector_options_t options;
    if (session->connector != NULL) {
        return failure("the client said hello twice");
    }
    ropeway_connector_options_init(&options, sizeof options);
    options.transports = transports;
    options.net_devices = json_string_value(json_object_get(request, "net_devices"));
    if (json_is_integer(spin)) {
        options.spin_us = (uint32_t)json_integer_value(spin);
    }
    if (ropeway_connector_create(&options, &session->connector) != ROPEWAY_OK) {
        return failure(ropeway_last_error());
    }
    return json_pack("{s:s,s:s}", "ropeway", ropeway_version(), "ucx", ropeway_ucx_version());
}

static bool create(struct session *session, ropeway_operation_kind_t kind, void *ptr, size_t size,
                   uint32_t flags) {
    ropeway_descriptor_t descriptor = {
        .ptr = ptr, .size = size, .device = {.kind = ROPEWAY_DEVICE_HOST}};
    ropeway_operation_options_t options;
    ropeway_operation_t **operation = &session->operations[session->count];
    ropeway_error_t rc;
    ropeway_operation_options_init(&options, sizeof options);
    options.flags = flags;
    if (kind == ROPEWAY_OPERATION_READ) {
        rc = ropeway_create_readable(session->connector, &descriptor, 1, &options, operation);
    } else {
        rc = ropeway_create_writable(session->connector, &descriptor, 1, &options, operation);
    }
    session->count += rc == ROPEWAY_OK;
    return rc == ROPEWAY_OK;
}

/* Creates the operations and lists their metadata. NULL: ropeway_last_error() says why. */
static json_t *offer(struct session *session, ropeway_operation_kind_t kind, size_t count,
                     uint32_t flags) {
    json_t *list = json_array();
    const char *metadata;
    session->operations = calloc(count, sizeof(ropeway_operation_t *));
    if (session->operations == NULL) {
        json_decref(list);
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        uint8_t *ptr = cli_perf_slot(&session->memory, i % session->memory.slots);
        if (!create(session, kind, ptr, session->memory.size, flags) ||
            ropeway_operation_metadata(session->operations[i], &metadata) != ROPEWAY_OK) {
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, json_string(metadata));
    }
    return list;
}

static json_t *do_prepare(struct session *session, const json_t *request) {
    ropeway_operation_kind_t kind = (ropeway_operation_kind_t)number(request, "kind");
    uint64_t size = number(request, "size");
    uint64_t slots = number(request, "slots");
    uint64_t count = number(request, "count");
    if (session->connector == NULL || session->count > 0 ||
        (kind != ROPEWAY_OPERATION_READ && kind != ROPEWAY_OPERATION_WRITE) ||
        size > CLI_PERF_MAX_SIZE || slots == 0 || count == 0 || count > CLI_PERF_MAX_BATCH ||
        slots > count || (slots > 1 && size * slots > CLI_PERF_MAX_MEMORY)) {
        return failure("the client asked for a batch beyond this server's limits");
    }
    if (!cli_perf_memory_resize(&session->memory, size, slots)) {
        return failure("out of memory for the buffers; choose a smaller --size or --concurrency");
    }
    if (json_is_true(json_object_get(request, "clear"))) {
        cli_perf_memory_clear(&session->memory);
    }
    if (number(request, "fill") > 0) {
        cli_perf_memory_fill(&session->memory, number(request, "fill"));
    }
    json_t *list = offer(session, kind, count, (uint32_t)number(request, "flags"));
    if (list == NULL) {
        release_operations(session);
        return failure(ropeway_last_error());
    }
    return json_pack("{s:o}", "metadata", list);
}

static json_t *do_collect(struct session *session, const json_t *request) {
    uint64_t seed = number(request, "verify");
    char text[CLI_SENTENCE_SIZE] = "";
    for (size_t i = 0; i < session->count; i++) {
        ropeway_error_t rc = ropeway_operation_wait(session->operations[i], OUTCOME_TIMEOUT_MS);
        if (rc != ROPEWAY_OK && text[0] == '\0') {
            snprintf(text, sizeof text, "operation %zu of %zu did not complete: %s", i + 1,
                     session->count,
                     rc == ROPEWAY_ERR_TIMEOUT
                         ? "it never ended"
                         : ropeway_operation_error_text(session->operations[i]));
        }
    }
    release_operations(session);
    if (text[0] == '\0' && seed > 0) {
        cli_perf_memory_check(&session->memory, seed, text);
    }
    return text[0] != '\0' ? failure(text) : json_object();
}

static json_t *do_idle(struct session *session, const json_t *request) {
    double seconds = json_number_value(json_object_get(request, "seconds"));
    uint64_t pending = number(request, "pending");
    struct cli_perf_usage usage;
    if (session->connector == NULL || session->count > 0 || seconds <= 0 || seconds > MAX_IDLE_S ||
        pending > CLI_PERF_MAX_PENDING || !cli_perf_memory_resize(&session->memory, 4096, 1)) {
        return failure("the client asked for an idle measurement beyond this server's limits");
    }
    json_t *list = pending > 0 ? offer(session, ROPEWAY_OPERATION_READ, pending, 0) : json_array();
    if (list == NULL) {
        release_operations(session);
        return failure(ropeway_last_error());
    }
    json_decref(list);
    cli_perf_usage_of_idling(session->connector, seconds, &usage);
    release_operations(session);
    return json_pack("{s:f,s:I}", "cpu", usage.cpu_percent, "wakeups", (json_int_t)usage.wakeups);
}

static json_t *answer_to(struct session *session, const json_t *request) {
    const char *what = json_string_value(json_object_get(request, "do"));
    if (what == NULL) {
        return failure("a request without \"do\"");
    }
    if (strcmp(what, "hello") == 0) {
        return do_hello(session, request);
    }
    if (strcmp(what, "prepare") == 0) {
        return do_prepare(session, request);
    }
    if (strcmp(what, "collect") == 0) {
        return do_collect(session, request);
    }
    if (strcmp(what, "idle") == 0) {
        return do_idle(session, request);
    }
    return failure("an unknown request; do both sides have the same ropeway?");
}

/* Answers requests until the client leaves. */
static void answer_requests(struct session *session) {
    json_t *request;
    while ((request = cli_perf_receive(&session->channel, REQUEST_TIMEOUT_MS)) != NULL) {
        uint64_t before = cli_perf_cpu_ns(); /* closes the batch that a collect ends */
        json_t *answer = answer_to(session, request);
        json_decref(request);
        json_object_set_new(answer, "cpu_before_ns", json_integer((json_int_t)before));
        json_object_set_new(answer, "cpu_after_ns", json_integer((json_int_t)cli_perf_cpu_ns()));
        if (!cli_perf_send_line(&session->channel, cli_perf_line(answer))) {
            break;
        }
    }
    if (session->channel.error[0] != '\0') {
        cli_warn("a client's session ended: %s", session->channel.error);
    }
}

static void serve_client(int fd, int stop_fd) {
    struct session session = {0};
    cli_perf_channel_init(&session.channel, fd, stop_fd);
    answer_requests(&session);
    release_operations(&session);
    ropeway_connector_destroy(session.connector);
    cli_perf_memory_free(&session.memory);
    cli_perf_channel_close(&session.channel);
}

int cli_perf_serve(const char *listen_address) {
    struct cli_bound bound;
    char error[CLI_SENTENCE_SIZE];
    int stop_fd = cli_interrupt_watch();
    int listener = stop_fd >= 0 ? cli_address_listen(listen_address, &bound, error) : -1;
    if (listener < 0) {
        return stop_fd >= 0 ? cli_fail("%s", error) : CLI_EXIT_FAILED;
    }
    printf("ropeway: perf server on %s\n", bound.name);
    if (cli_flush_stdout() != CLI_EXIT_OK) {
        return CLI_EXIT_FAILED;
    }
    for (;;) {
        struct pollfd fds[2] = {{.fd = stop_fd, .events = POLLIN},
                                {.fd = listener, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR) {
            break;
        }
        if (fds[0].revents != 0) {
            break;
        }
        int fd = fds[1].revents != 0 ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : -1;
        if (fd >= 0) {
            serve_client(fd, stop_fd);
        }
    }
    close(listener);
    close(stop_fd);
    return CLI_EXIT_OK;
}
