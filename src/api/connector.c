/* SPDX-License-Identifier: Apache-2.0 */
/* A connector's life: options, creation, event queue, statistics, destruction. */
#include "base/error.h"
#include "internal.h"
#include "text/serdes.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define STRING(x) #x
#define VERSION(major, minor, patch) STRING(major) "." STRING(minor) "." STRING(patch)

_Static_assert(sizeof ROPEWAY_VERSION_STRING == sizeof VERSION(ROPEWAY_VERSION_MAJOR,
                                                               ROPEWAY_VERSION_MINOR,
                                                               ROPEWAY_VERSION_PATCH),
               "the version's text and numbers belong together");

const char *ropeway_version(void) {
    return ROPEWAY_VERSION_STRING;
}

static const ropeway_connector_options_t defaults = {
    .struct_size = sizeof(ropeway_connector_options_t),
    .log_level = ROPEWAY_LOG_WARN,
    .stall_ms = 30000,
    .quiet_ms = 1000,
    .keepalive_ms = 1000,
    .spin_us = 50,
    .window = 4,
    .chunk_size = (size_t)4 << 20,
    .max_inflight = (size_t)256 << 20,
    .max_metadata = RW_METADATA_MAX_DEFAULT,
    .max_descriptors = 131072,
    .max_operations = 1000000,
    .max_peers = 4096,
    .max_queues = 16,
    .queue_after = 8,
};

void ropeway_connector_options_init(ropeway_connector_options_t *options, size_t size) {
    if (options == NULL) {
        return;
    }
    memset(options, 0, size);
    memcpy(options, &defaults, size < sizeof defaults ? size : sizeof defaults);
    options->struct_size = size;
}

static ropeway_error_t range(const char *field, uint64_t value, uint64_t low, uint64_t high) {
    if (value >= low && value <= high) {
        return ROPEWAY_OK;
    }
    return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                   "the connector option %s is %llu; it must be from %llu to %llu", field,
                   (unsigned long long)value, (unsigned long long)low, (unsigned long long)high);
}

static ropeway_error_t check_options(const ropeway_connector_options_t *options) {
    const struct {
        const char *field;
        uint64_t value, low, high;
    } ranges[] = {
        {"log_level", (uint64_t)(int64_t)options->log_level, ROPEWAY_LOG_ERROR, ROPEWAY_LOG_DEBUG},
        {"quiet_ms", options->quiet_ms, 1, UINT32_MAX},
        {"keepalive_ms", options->keepalive_ms, 1, UINT32_MAX},
        {"window", options->window, 1, 64},
        {"chunk_size", options->chunk_size, (uint64_t)64 << 10, (uint64_t)1 << 30},
        {"max_inflight", options->max_inflight, options->chunk_size, SIZE_MAX},
        {"max_metadata", options->max_metadata, 1024, SIZE_MAX / 2},
        {"max_descriptors", options->max_descriptors, 1, UINT32_MAX},
        {"max_operations", options->max_operations, 1, UINT32_MAX},
        {"max_peers", options->max_peers, 1, UINT32_MAX},
        {"max_queues", options->max_queues, 0, 4096},
        {"queue_after", options->queue_after, 1, UINT32_MAX},
        {"length of name", options->name != NULL ? strlen(options->name) : 1, 1, 255},
    };

    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        ropeway_error_t error =
            range(ranges[i].field, ranges[i].value, ranges[i].low, ranges[i].high);

        if (error != ROPEWAY_OK) {
            return error;
        }
    }
    if (options->name != NULL && !rw_agent_name_valid(options->name, strlen(options->name))) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                       "the connector's name must be UTF-8 without control characters");
    }
    return ROPEWAY_OK;
}

/* They are needed again when the second worker is made. */
static bool copy_text(const char **text) {
    const char *given = *text;

    *text = given != NULL ? strdup(given) : NULL;
    return given == NULL || *text != NULL;
}

static ropeway_error_t take_options(ropeway_connector_t *connector,
                                    const ropeway_connector_options_t *options) {
    connector->options = defaults;
    if (options != NULL) {
        if (options->struct_size < sizeof options->struct_size) {
            return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                           "the connector options' struct_size is %zu; fill them with "
                           "ropeway_connector_options_init() first",
                           options->struct_size);
        }
        memcpy(&connector->options, options,
               options->struct_size < sizeof defaults ? options->struct_size : sizeof defaults);
        bool transports = copy_text(&connector->options.transports);
        bool devices = copy_text(&connector->options.net_devices);

        if (!transports || !devices) {
            return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
        }
    }
    return check_options(&connector->options);
}

static void choose_name(ropeway_connector_t *connector) {
    char host[200] = "host";

    randombytes_buf(connector->instance, sizeof connector->instance);
    if (connector->options.name != NULL) {
        snprintf(connector->name, sizeof connector->name, "%s", connector->options.name);
    } else {
        gethostname(host, sizeof host - 1);
        snprintf(connector->name, sizeof connector->name, "%s-%ld-%02x%02x%02x%02x", host,
                 (long)getpid(), connector->instance[0], connector->instance[1],
                 connector->instance[2], connector->instance[3]);
    }
    connector->options.name = connector->name;
}

static ropeway_error_t make_hello(ropeway_connector_t *connector) RW_UNCHECKED {
    rw_hello_t hello = {.version = RW_PROTOCOL_VERSION};
    ucp_address_t *address;
    ucs_status_t status =
        ucp_worker_get_address(connector->worker, &address, &hello.address_length);

    if (status != UCS_OK) {
        return rw_fail(ROPEWAY_ERR_TRANSPORT, "UCX gives the worker no address: %s",
                       ucs_status_string(status));
    }
    memcpy(hello.instance, connector->instance, sizeof hello.instance);
    rw_watch_scope(connector->scope);
    memcpy(hello.scope, connector->scope, sizeof hello.scope);
    hello.process = (uint32_t)getpid();
    snprintf(hello.name, sizeof hello.name, "%s", connector->name);
    snprintf(hello.ucx, sizeof hello.ucx, "%s", ropeway_ucx_version());
    hello.address = (const uint8_t *)address;
    connector->hello = rw_hello_encode(&hello, &connector->hello_length);
    ucp_worker_release_address(connector->worker, address);
    if (connector->hello != NULL) {
        rw_hello_id(connector->hello, connector->hello_length, connector->id);
    }
    return connector->hello != NULL ? ROPEWAY_OK : rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
}

static ropeway_error_t open_files(ropeway_connector_t *connector) {
    struct epoll_event event = {.events = EPOLLIN};

    connector->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    connector->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    connector->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (connector->wake_fd >= 0 && connector->event_fd >= 0 && connector->epoll_fd >= 0) {
        event.data.fd = connector->wake_fd;
        if (epoll_ctl(connector->epoll_fd, EPOLL_CTL_ADD, connector->wake_fd, &event) == 0) {
            event.data.fd = connector->ucx_fd;
            if (epoll_ctl(connector->epoll_fd, EPOLL_CTL_ADD, connector->ucx_fd, &event) == 0) {
                return ROPEWAY_OK;
            }
        }
    }
    return rw_fail(ROPEWAY_ERR_SYSTEM,
                   "the connector's event descriptors can't be made: %m; raise the limit on open "
                   "files (ulimit -n)");
}

static void init_fields(ropeway_connector_t *connector) RW_UNCHECKED {
    rw_link_t *lists[] = {&connector->live,    &connector->peers,    &connector->broken,
                          &connector->leaving, &connector->starved,  &connector->callbacks,
                          &connector->events,  &connector->memories, &connector->spare_flights,
                          &connector->logging, &connector->queues,   &connector->talks,
                          &connector->asking};

    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        rw_list_init(lists[i]);
    }
    connector->wake_fd = connector->event_fd = connector->epoll_fd = connector->listen_fd = -1;
    connector->references = 1;
    connector->sleep_until = RW_NEVER;
    connector->generation = rw_process_generation();
    rw_lock_init(&connector->lock);
    rw_agents_init(&connector->agents);
    rw_condition_init(&connector->unpark);
    rw_condition_init(&connector->called);
}

/* Frees everything that was made so far; the progress thread is gone or was never started. */
static void free_connector(ropeway_connector_t *connector) RW_UNCHECKED {
    rw_link_t *link;

    rw_ucx_close(connector);
    while ((link = rw_list_take(&connector->spare_flights)) != NULL) {
        free(RW_CONTAINER(link, rw_flight_t, link));
    }
    int files[] = {connector->wake_fd, connector->event_fd, connector->epoll_fd,
                   connector->listen_fd};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (files[i] >= 0) {
            close(files[i]);
        }
    }
    rw_timers_free(&connector->timers);
    rw_table_free(&connector->operations);
    rw_table_free(&connector->peer_table);
    rw_agents_free(&connector->agents);
    free(connector->graves);
    free(connector->hello);
    free((char *)connector->options.transports);
    free((char *)connector->options.net_devices);
    pthread_cond_destroy(&connector->unpark);
    pthread_cond_destroy(&connector->called);
    rw_lock_destroy(&connector->lock);
    free(connector);
}

static ropeway_error_t build(ropeway_connector_t *connector) RW_UNCHECKED {
    ropeway_error_t error;

    choose_name(connector);
    connector->graves = calloc(RW_GRAVES, sizeof *connector->graves);
    if (connector->graves == NULL || !rw_table_init(&connector->operations) ||
        !rw_table_init(&connector->peer_table)) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    error = rw_ucx_open(connector);
    if (error == ROPEWAY_OK) {
        error = rw_native_listen(connector, NULL);
    }
    if (error == ROPEWAY_OK) {
        error = make_hello(connector);
    }
    if (error == ROPEWAY_OK) {
        error = open_files(connector);
    }
    if (error == ROPEWAY_OK) {
        rw_talk_listen(connector);
    }
    if (error == ROPEWAY_OK) {
        error = rw_progress_start(connector);
    }
    return error;
}

ropeway_error_t ropeway_connector_create(const ropeway_connector_options_t *options,
                                         ropeway_connector_t **result) {
    ropeway_connector_t *connector;
    ropeway_error_t error;

    if (result == NULL) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT, "the place for the connector is null");
    }
    *result = NULL;
    if (sodium_init() < 0) {
        return rw_fail(ROPEWAY_ERR_SYSTEM, "the system's random generator is not available");
    }
    if (!rw_process_is_fit()) {
        return rw_fail(ROPEWAY_ERR_FORKED,
                       "UCX does not work in a child that was forked while its parent had a "
                       "connector; fork before the first one is made, or exec a new program");
    }
    connector = calloc(1, sizeof *connector);
    if (connector == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    init_fields(connector);
    error = take_options(connector, options);
    if (error == ROPEWAY_OK) {
        rw_log_attach(connector);
        error = build(connector);
        if (error == ROPEWAY_OK) {
            rw_process_count(1);
            *result = connector;
            return ROPEWAY_OK;
        }
        rw_ucx_close(connector);
        rw_log_detach(connector);
    }
    free_connector(connector);
    return error;
}

ropeway_error_t rw_connector_enter(ropeway_connector_t *connector) RW_UNCHECKED {
    if (connector == NULL) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT, "the connector is null");
    }
    if (connector->generation != rw_process_generation()) {
        return rw_fail(ROPEWAY_ERR_FORKED,
                       "the connector \"%s\" belongs to the parent process; fork before the first "
                       "connector is made, or exec a new program",
                       connector->name);
    }
    rw_lock(&connector->lock);
    if (connector->closed) {
        rw_unlock(&connector->lock);
        return rw_fail(ROPEWAY_ERR_CLOSED, "the connector \"%s\" is closed", connector->name);
    }
    return ROPEWAY_OK;
}

void rw_connector_leave(ropeway_connector_t *connector) RW_UNCHECKED {
    bool last = connector->references == 0;

    rw_unlock(&connector->lock);
    if (last) {
        free_connector(connector);
    }
}

/* Ends every live operation, and waits until their memory is quiet. To end one may end others:
 * what it sends may show that the connection is broken. */
static void end_operations(ropeway_connector_t *connector) RW_LOCKED {
    for (size_t left = connector->live_count; left > 0 && connector->live_count > 0; left--) {
        rw_link_t *link = rw_list_take(&connector->live);

        rw_list_append(&connector->live, link);
        rw_operation_abort(RW_CONTAINER(link, ropeway_operation_t, live));
    }
    while (!rw_list_is_empty(&connector->live)) {
        ropeway_operation_t *operation =
            RW_CONTAINER(connector->live.next, ropeway_operation_t, live);

        operation->references++;
        rw_progress_wait(operation, RW_NEVER);
        rw_operation_drop(operation);
    }
}

ropeway_error_t ropeway_connector_destroy(ropeway_connector_t *connector) RW_UNCHECKED {
    ropeway_error_t error;

    if (connector == NULL || connector->generation != rw_process_generation()) {
        return ROPEWAY_OK;
    }
    error = rw_connector_enter(connector);
    if (error != ROPEWAY_OK) {
        return error;
    }
    if (rw_callback_is_here(connector)) {
        rw_unlock(&connector->lock);
        return rw_fail(ROPEWAY_ERR_BUSY,
                       "a connector can't be destroyed from one of its own callbacks; do it from "
                       "another thread");
    }
    connector->closed = true;
    rw_talk_close(connector);
    end_operations(connector);
    rw_peer_close_all(connector);
    connector->stopping = true;
    rw_progress_wake(connector);
    pthread_cond_signal(&connector->called);
    rw_unlock(&connector->lock);
    if (connector->has_caller) {
        pthread_join(connector->caller, NULL);
    }
    pthread_join(connector->thread, NULL);

    rw_lock(&connector->lock);
    while (!rw_list_is_empty(&connector->memories)) {
        rw_memory_forget(RW_CONTAINER(connector->memories.next, ropeway_memory_t, link));
    }
    rw_nixl_close(connector);
    rw_queue_close_context(connector);
    rw_ucx_close(connector);
    rw_log_detach(connector);
    rw_process_count(-1);
    connector->references--;
    rw_connector_leave(connector);
    return ROPEWAY_OK;
}

const char *ropeway_connector_name(const ropeway_connector_t *connector) {
    return connector != NULL ? connector->name : "";
}

int ropeway_connector_fd(const ropeway_connector_t *connector) {
    return connector->event_fd;
}

size_t ropeway_connector_drain(ropeway_connector_t *connector, ropeway_operation_t **operations,
                               size_t max) RW_UNCHECKED {
    rw_link_t *link;
    size_t count = 0;
    uint64_t ignored;

    if (operations == NULL || rw_connector_enter(connector) != ROPEWAY_OK) {
        return 0;
    }
    while (count < max && (link = rw_list_take(&connector->events)) != NULL) {
        operations[count++] = RW_CONTAINER(link, ropeway_operation_t, event);
    }
    if (rw_list_is_empty(&connector->events)) {
        (void)!read(connector->event_fd, &ignored, sizeof ignored);
    }
    rw_unlock(&connector->lock);
    return count;
}

ropeway_error_t ropeway_connector_stats(ropeway_connector_t *connector, ropeway_stats_t *stats,
                                        size_t size) RW_UNCHECKED {
    ropeway_stats_t now;
    ropeway_error_t error;

    if (stats == NULL || size < sizeof stats->struct_size) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                       "the place for the statistics is null or too small (%zu bytes)", size);
    }
    error = rw_connector_enter(connector);
    if (error != ROPEWAY_OK) {
        return error;
    }
    now = connector->stats;
    now.operations_live = connector->live_count;
    rw_unlock(&connector->lock);
    memset(stats, 0, size);
    memcpy(stats, &now, size < sizeof now ? size : sizeof now);
    stats->struct_size = size;
    return ROPEWAY_OK;
}
