/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include "process.h"
#include "transport.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *find(const char *text, const char *key) {
    size_t length = strlen(key);
    for (const char *at = text; at != NULL && *at != '\0'; at++) {
        bool starts = at == text || isspace((unsigned char)at[-1]);
        if (starts && strncmp(at, key, length) == 0 && at[length] == '=') {
            return at + length + 1;
        }
    }
    return NULL;
}

uint64_t ts_option(const char *text, const char *key, uint64_t fallback) {
    const char *value = find(text, key);
    return value != NULL ? strtoull(value, NULL, 0) : fallback;
}

static void log_line(void *arg, ropeway_log_level_t level, const char *text) {
    FILE *file = fopen(arg, "ae");
    if (file != NULL) {
        fprintf(file, "%.6f %d %d %s\n", ts_now(), (int)getpid(), (int)level, text);
        fclose(file);
    }
}

void ts_connector_options(const char *text, char name[256], ropeway_connector_options_t *options) {
    ropeway_connector_options_init(options, sizeof *options);
    options->transports = ts_transport_tls();
    options->net_devices = ts_transport_devices();
    if (ts_transport_is("private")) {
        options->queue_after = 1;
    }
    char *log = getenv("ROPEWAY_TEST_LOG");
    if (log != NULL) {
        options->log = log_line;
        options->log_arg = log;
        options->log_level = ROPEWAY_LOG_DEBUG;
    }
    const char *given = find(text, "name");
    if (given != NULL) {
        size_t length = strcspn(given, " \n");
        snprintf(name, 256, "%.*s", (int)length, given);
        options->name = name;
    }
#define FIELD(type, field) options->field = (type)ts_option(text, #field, options->field)
    FIELD(uint32_t, stall_ms);
    FIELD(uint32_t, deadline_ms);
    FIELD(uint32_t, quiet_ms);
    FIELD(uint32_t, keepalive_ms);
    FIELD(uint32_t, spin_us);
    FIELD(uint32_t, window);
    FIELD(size_t, chunk_size);
    FIELD(size_t, max_inflight);
    FIELD(size_t, max_metadata);
    FIELD(uint32_t, max_descriptors);
    FIELD(uint32_t, max_operations);
    FIELD(uint32_t, max_peers);
    FIELD(uint32_t, max_queues);
    FIELD(uint32_t, queue_after);
#undef FIELD
}

void ts_operation_options(const char *text, ropeway_operation_options_t *options) {
    ropeway_operation_options_init(options, sizeof *options);
    options->flags = (uint32_t)ts_option(text, "flags", options->flags);
    options->deadline_ms = (uint32_t)ts_option(text, "deadline_ms", options->deadline_ms);
    options->stall_ms = (uint32_t)ts_option(text, "stall_ms", options->stall_ms);
}
