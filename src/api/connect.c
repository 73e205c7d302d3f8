/* SPDX-License-Identifier: Apache-2.0 */
/* A connector's life: its layers are made and ended in order; its event queue and statistics. */
#include "api/options.h"
#include "base/assert.h"
#include "base/error.h"
#include "base/log.h"
#include "base/rdma.h"
#include "link/progress.h"
#include "link/stream.h"
#include "link/stream_route.h"
#include "link/ucx_kind.h"
#include "mover/memory.h"
#include "native/native.h"
#include "nixl/nixl.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static void choose_name(ropeway_connector_t *connector) {
    char host[200] = "host";

    rw_random(connector->instance, sizeof connector->instance);
    if (connector->options.name != NULL) {
        snprintf(connector->name, sizeof connector->name, "%s", connector->options.name);
    } else {
        gethostname(host, sizeof host - 1);
        snprintf(connector->name, sizeof connector->name, "%s-%ld-%02x%02x%02x%02x", host,
                 (long)getpid(), connector->instance[0], connector->instance[1],
                 connector->instance[2], connector->instance[3]);
    }
}

/* Frees everything that was made so far; its threads are gone or were never started. */
static void free_connector(ropeway_connector_t *connector) RW_UNCHECKED {
    rw_native_free(connector);
    rw_links_free(connector);
    rw_memories_free(connector);
    rw_operations_free(connector);
    rw_peers_free(connector);
    rw_progress_free(connector);
    rw_events_close(&connector->events);
    rw_timers_free(&connector->timers);
    if (connector->agents != NULL) {
        rw_agents_free(connector->agents);
        free(connector->agents);
    }
    rw_options_free(connector);
    rw_lock_destroy(&connector->lock);
    free(connector);
}

static ropeway_error_t open_events(ropeway_connector_t *connector) {
    return rw_events_open(&connector->events)
               ? ROPEWAY_OK
               : rw_fail(ROPEWAY_ERR_SYSTEM, "the connector's event descriptors can't be made: %m; "
                                             "raise the limit on open files (ulimit -n)");
}

static ropeway_error_t open_agents(ropeway_connector_t *connector) {
    connector->agents = calloc(1, sizeof *connector->agents);
    if (connector->agents == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    rw_agents_init(connector->agents);
    return ROPEWAY_OK;
}

/* Streams of our own carry what they can. UCX carries memory of devices, and whatever goes over
 * RDMA networks; it starts when one of them is needed. Who wants everything encrypted has none of
 * it. */
static ropeway_error_t open_links(ropeway_connector_t *connector) RW_UNCHECKED {
    const char *transports = connector->options.transports;
    const rw_link_kind_t *added = rw_links_find_kind(transports);
    rw_carrier_t stream = {.kind = &rw_stream_kind}, ucx = {.kind = &rw_ucx_kind}, none = {0};

    if (transports == NULL) {
        bool must_encrypt = rw_stream_must_encrypt(&connector->options);

        ucx.is_preferred = rw_rdma_is_up(RW_RDMA_FOLDER, connector->options.net_devices);
        return rw_links_open(connector, &stream, must_encrypt ? &none : &ucx, &rw_native_link_user);
    }
    if (added != NULL || rw_ways_are_named(transports)) {
        stream.is_named = true;
        stream.kind = added != NULL ? added : stream.kind;
        return rw_links_open(connector, &stream, &none, &rw_native_link_user);
    }
    ucx.is_named = stream.dials_only = true;
    return rw_links_open(connector, &ucx, &stream, &rw_native_link_user);
}

/* From below to above; each layer finds those below it ready. */
static ropeway_error_t open_layers(ropeway_connector_t *connector) {
    static ropeway_error_t (*const layers[])(ropeway_connector_t * connector) = {
        open_events,      open_agents,        rw_progress_open, rw_peers_open,    open_links,
        rw_memories_open, rw_operations_open, rw_native_open,   rw_progress_start};
    ropeway_error_t error = ROPEWAY_OK;

    for (size_t i = 0; i < sizeof layers / sizeof *layers && error == ROPEWAY_OK; i++) {
        error = layers[i](connector);
    }
    return error;
}

static void init_fields(ropeway_connector_t *connector) RW_UNCHECKED {
    connector->free = free_connector;
    connector->references = 1;
    connector->events.epoll = -1;
    connector->generation = rw_process_generation();
    rw_list_init(&connector->logging);
    rw_lock_init(&connector->lock);
}

static ropeway_error_t check_process(void) {
    return rw_process_is_fit()
               ? ROPEWAY_OK
               : rw_fail(
                     ROPEWAY_ERR_FORKED,
                     "a connector can't be made in a child that was forked while its parent had "
                     "one, or made it: locks and threads of UCX and OpenSSL are the parent's; fork "
                     "before the first one is made, or exec a new program");
}

static ropeway_error_t make(ropeway_connector_t *connector,
                            const ropeway_connector_options_t *options) {
    ropeway_error_t error;

    init_fields(connector);
    if (sodium_init() < 0) {
        return rw_fail(ROPEWAY_ERR_SYSTEM, "the system's random generator is not available");
    }
    error = rw_options_take(connector, options);
    if (error != ROPEWAY_OK) {
        return error;
    }
    choose_name(connector);
    rw_ucx_log_to(rw_log_to_all);
    rw_log_attach(connector);
    return open_layers(connector);
}

ropeway_error_t ropeway_connector_create(const ropeway_connector_options_t *options,
                                         ropeway_connector_t **result) {
    ropeway_connector_t *connector;
    ropeway_error_t error;

    if (result == NULL) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT, "the place for the connector is null");
    }
    *result = NULL;
    error = check_process();
    if (error != ROPEWAY_OK) {
        return error;
    }
    connector = calloc(1, sizeof *connector);
    if (connector == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    /* First: what is half made at a fork holds locks in the child, which is to be refused. */
    rw_process_count(1);
    error = make(connector, options);
    if (error == ROPEWAY_OK) {
        *result = connector;
        return ROPEWAY_OK;
    }
    rw_log_detach(connector);
    free_connector(connector);
    rw_process_count(-1);
    return error;
}

static ropeway_error_t refuse_in_callback(const ropeway_connector_t *connector) RW_LOCKED {
    return rw_callback_is_here(connector)
               ? rw_fail(ROPEWAY_ERR_BUSY,
                         "a connector can't be destroyed from one of its own callbacks; do it from "
                         "another thread")
               : ROPEWAY_OK;
}

ropeway_error_t ropeway_connector_destroy(ropeway_connector_t *connector) RW_UNCHECKED {
    ropeway_error_t error;
    uint64_t due;

    if (connector == NULL || connector->generation != rw_process_generation()) {
        return ROPEWAY_OK;
    }
    error = rw_connector_enter(connector);
    if (error != ROPEWAY_OK) {
        return error;
    }
    error = refuse_in_callback(connector);
    if (error != ROPEWAY_OK) {
        rw_unlock(&connector->lock);
        return error;
    }
    connector->closed = true;
    rw_operations_end(connector);
    due = rw_now() + (uint64_t)connector->options.quiet_ms * RW_NANOSECONDS_PER_MS;
    rw_peers_close(connector);
    rw_nixl_close(connector, due);
    rw_progress_stop(connector);
    rw_callback_stop(connector);
    rw_unlock(&connector->lock);
    rw_callback_join(connector);
    rw_progress_join(connector);

    rw_lock(&connector->lock);
    rw_memories_end(connector);
    rw_native_free(connector);
    rw_links_free(connector);
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
    return connector != NULL ? connector->operations->event_fd : -1;
}

size_t ropeway_connector_drain(ropeway_connector_t *connector, ropeway_operation_t **operations,
                               size_t max) RW_UNCHECKED {
    rw_node_t *link;
    size_t count = 0;
    uint64_t ignored;

    if (operations == NULL || rw_connector_enter(connector) != ROPEWAY_OK) {
        return 0;
    }
    while (count < max && (link = rw_list_take(&connector->operations->events)) != NULL) {
        operations[count++] = RW_CONTAINER(link, ropeway_operation_t, event);
    }
    if (rw_list_is_empty(&connector->operations->events)) {
        (void)!read(connector->operations->event_fd, &ignored, sizeof ignored);
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
    rw_unlock(&connector->lock);
    memset(stats, 0, size);
    memcpy(stats, &now, size < sizeof now ? size : sizeof now);
    stats->struct_size = size;
    return ROPEWAY_OK;
}
