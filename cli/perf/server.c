/* SPDX-License-Identifier: Apache-2.0 */
#include "perf.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cli.h"
#include "common/util.h"

#define REQUEST_TIMEOUT_MS 600000
#define OUTCOME_TIMEOUT_MS 60000
#define MAX_IDLE_S 3600.0

/* One client's visit. */
struct visit {
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

static void release_operations(struct visit *visit) {

    for (size_t i = 0; i < visit->count; i++) {
        ropeway_operation_release(visit->operations[i]);
    }
    free(visit->operations);
    visit->operations = NULL;
    visit->count = 0;
}

static json_t *do_hello(struct visit *visit, const json_t *request) {
    const char *transports = json_string_value(json_object_get(request, "transports"));
    const json_t *spin = json_object_get(request, "spin_us");
    ropeway_connector_options_t options;
    if (visit->connector != NULL) {
        return failure("the client said hello twice");
    }
    ropeway_connector_options_init(&options, sizeof options);
    options.transports = transports;
    if (json_is_integer(spin)) {
        options.spin_us = (uint32_t)json_integer_value(spin);
    }
    if (ropeway_connector_create(&options, &visit->connector) != ROPEWAY_OK) {
        return failure(ropeway_last_error());
    }
    return json_pack("{s:s,s:s}", "ropeway", ropeway_version(), "ucx", ropeway_ucx_version());
}

static int create(struct visit *visit, ropeway_operation_kind_t kind, void *ptr, size_t size,
                  uint32_t flags) {
    ropeway_descriptor_t descriptor = {
        .ptr = ptr, .size = size, .device = {.kind = ROPEWAY_DEVICE_HOST}};
    ropeway_operation_options_t options;
    ropeway_operation_t **operation = &visit->operations[visit->count];
    ropeway_error_t rc;
    ropeway_operation_options_init(&options, sizeof options);
    options.flags = flags;
    if (kind == ROPEWAY_OPERATION_READ) {
        rc = ropeway_create_readable(visit->connector, &descriptor, 1, &options, operation);
    } else {
        rc = ropeway_create_writable(visit->connector, &descriptor, 1, &options, operation);
    }
    visit->count += rc == ROPEWAY_OK;
    return rc == ROPEWAY_OK ? 0 : -1;
}

/* Creates the operations and lists their metadata. NULL: ropeway_last_error() says why. */
static json_t *offer(struct visit *visit, ropeway_operation_kind_t kind, size_t count,
                     uint32_t flags) {
    json_t *list = json_array();
    const char *metadata;
    visit->operations = calloc(count, sizeof(ropeway_operation_t *));
    if (visit->operations == NULL) {
        json_decref(list);
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        uint8_t *ptr = cli_perf_slot(&visit->memory, i % visit->memory.slots);
        if (create(visit, kind, ptr, visit->memory.size, flags) != 0 ||
            ropeway_operation_metadata(visit->operations[i], &metadata) != ROPEWAY_OK) {
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, json_string(metadata));
    }
    return list;
}

static json_t *do_prepare(struct visit *visit, const json_t *request) {
    ropeway_operation_kind_t kind = (ropeway_operation_kind_t)number(request, "kind");
    uint64_t size = number(request, "size");
    uint64_t slots = number(request, "slots");
    uint64_t count = number(request, "count");
    if (visit->connector == NULL || visit->count > 0 ||
        (kind != ROPEWAY_OPERATION_READ && kind != ROPEWAY_OPERATION_WRITE) ||
        size > CLI_PERF_MAX_SIZE || slots == 0 || count == 0 || count > CLI_PERF_MAX_BATCH ||
        slots > count || (slots > 1 && size * slots > CLI_PERF_MAX_MEMORY)) {
        return failure("the client asked for a batch beyond this server's limits");
    }
    if (cli_perf_memory_resize(&visit->memory, size, slots) != 0) {
        return failure("out of memory for the buffers; choose a smaller --size or --concurrency");
    }
    if (json_is_true(json_object_get(request, "clear"))) {
        cli_perf_memory_clear(&visit->memory);
    }
    if (number(request, "fill") > 0) {
        cli_perf_memory_fill(&visit->memory, number(request, "fill"));
    }
    json_t *list = offer(visit, kind, count, (uint32_t)number(request, "flags"));
    if (list == NULL) {
        release_operations(visit);
        return failure(ropeway_last_error());
    }
    return json_pack("{s:o}", "metadata", list);
}

static json_t *do_collect(struct visit *visit, const json_t *request) {
    uint64_t seed = number(request, "verify");
    char text[CLI_PERF_ERROR_SIZE] = "";
    for (size_t i = 0; i < visit->count; i++) {
        ropeway_error_t rc = ropeway_operation_wait(visit->operations[i], OUTCOME_TIMEOUT_MS);
        if (rc != ROPEWAY_OK && text[0] == '\0') {
            snprintf(
                text, sizeof text, "operation %zu of %zu did not complete: %s", i + 1, visit->count,
                rc == ROPEWAY_ERR_TIMEOUT ? "it never ended"
                                          : ropeway_operation_error_text(visit->operations[i]));
        }
    }
    release_operations(visit);
    if (text[0] == '\0' && seed > 0) {
        cli_perf_memory_check(&visit->memory, seed, text, sizeof text);
    }
    return text[0] != '\0' ? failure(text) : json_object();
}

static json_t *do_idle(struct visit *visit, const json_t *request) {
    double seconds = json_number_value(json_object_get(request, "seconds"));
    uint64_t pending = number(request, "pending");
    struct cli_perf_usage usage;
    if (visit->connector == NULL || visit->count > 0 || seconds <= 0 || seconds > MAX_IDLE_S ||
        pending > CLI_PERF_MAX_PENDING || cli_perf_memory_resize(&visit->memory, 4096, 1) != 0) {
        return failure("the client asked for an idle measurement beyond this server's limits");
    }
    json_t *list = pending > 0 ? offer(visit, ROPEWAY_OPERATION_READ, pending, 0) : json_array();
    if (list == NULL) {
        release_operations(visit);
        return failure(ropeway_last_error());
    }
    json_decref(list);
    cli_perf_usage_of_idling(visit->connector, seconds, &usage);
    release_operations(visit);
    return json_pack("{s:f,s:I}", "cpu", usage.cpu_percent, "wakeups", (json_int_t)usage.wakeups);
}

static json_t *answer_to(struct visit *visit, const json_t *request) {
    const char *what = json_string_value(json_object_get(request, "do"));
    if (what == NULL) {
        return failure("a request without \"do\"");
    }
    if (strcmp(what, "hello") == 0) {
        return do_hello(visit, request);
    }
    if (strcmp(what, "prepare") == 0) {
        return do_prepare(visit, request);
    }
    if (strcmp(what, "collect") == 0) {
        return do_collect(visit, request);
    }
    if (strcmp(what, "idle") == 0) {
        return do_idle(visit, request);
    }
    return failure("an unknown request; do both sides have the same ropeway?");
}

/* Answers requests until the client leaves. */
static void serve_visit(struct visit *visit) {
    json_t *request;
    while ((request = cli_perf_receive(&visit->channel, REQUEST_TIMEOUT_MS)) != NULL) {
        uint64_t before = cli_perf_cpu_ns(); /* closes the batch that a collect ends */
        json_t *answer = answer_to(visit, request);
        json_decref(request);
        json_object_set_new(answer, "cpu_before_ns", json_integer((json_int_t)before));
        json_object_set_new(answer, "cpu_after_ns", json_integer((json_int_t)cli_perf_cpu_ns()));
        if (cli_perf_send_line(&visit->channel, cli_perf_line(answer)) != 0) {
            break;
        }
    }
    if (visit->channel.error[0] != '\0') {
        cli_warn("a client's visit ended: %s", visit->channel.error);
    }
}

static void welcome(int fd, int stop_fd) {
    struct visit visit = {0};
    cli_perf_channel_init(&visit.channel, fd, stop_fd);
    serve_visit(&visit);
    release_operations(&visit);
    ropeway_connector_destroy(visit.connector);
    cli_perf_memory_free(&visit.memory);
    cli_perf_channel_close(&visit.channel);
}

/* SIGTERM and SIGINT as a descriptor: no handler runs in threads of the library. */
static int watch_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0) {
        return -1;
    }
    return signalfd(-1, &set, SFD_CLOEXEC);
}

int cli_perf_serve(const char *listen_address) {
    char bound[128];
    char error[CLI_PERF_ERROR_SIZE];
    int stop_fd = watch_signals();
    int listener = cli_perf_listen(listen_address, bound, sizeof bound, error, sizeof error);
    if (stop_fd < 0 || listener < 0) {
        return cli_fail("%s", listener < 0 ? error : "no descriptor is left to watch signals");
    }
    printf("ropeway: perf server on %s\n", bound);
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
            welcome(fd, stop_fd);
        }
    }
    close(listener);
    close(stop_fd);
    return CLI_EXIT_OK;
}
