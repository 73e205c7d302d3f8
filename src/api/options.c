/* SPDX-License-Identifier: Apache-2.0 */
/* A connector's options. */
#include "api/options.h"

#include "base/error.h"
#include "text/serdes.h"

#include <stdlib.h>
#include <string.h>

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

ropeway_error_t rw_options_take(ropeway_connector_t *connector,
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

void rw_options_free(ropeway_connector_t *connector) {
    free((char *)connector->options.transports);
    free((char *)connector->options.net_devices);
}
