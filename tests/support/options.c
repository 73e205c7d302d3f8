/* SPDX-License-Identifier: Apache-2.0 */
/* Options of connectors and operations from text. */
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

static const char *take_text(const char *text, const char *key, ts_text_t *place,
                             const char *fallback) {
    const char *given = find(text, key);
    if (given == NULL) {
        return fallback;
    }
    snprintf(place->text, sizeof place->text, "%.*s", (int)strcspn(given, " \n"), given);
    return place->text[0] != '\0' ? place->text : NULL;
}

void ts_connector_options(const char *text, ts_option_texts_t *texts,
                          ropeway_connector_options_t *options) {
    ropeway_connector_options_init(options, sizeof *options);
    options->transports = ts_transport_tls();
    options->net_devices = ts_transport_devices();
    options->encryption = ts_transport_encryption();
    options->listen = ts_transport_listen();
    ts_transport_certificates(options);
    char *log = getenv("ROPEWAY_TEST_LOG");
    if (log != NULL) {
        options->log = log_line;
        options->log_arg = log;
        options->log_level = ROPEWAY_LOG_DEBUG;
    }
#define TEXT(type, name, ...) options->name = take_text(text, #name, &texts->name, options->name);
#define NUMBER(type, name, ...) options->name = (type)ts_option(text, #name, options->name);
#define OTHER(...)
    ROPEWAY_CONNECTOR_OPTION_MAP(TEXT, NUMBER, OTHER)
#undef TEXT
#undef NUMBER
#undef OTHER
}

void ts_operation_options(const char *text, ropeway_operation_options_t *options) {
    ropeway_operation_options_init(options, sizeof *options);
#define NUMBER(type, name, ...) options->name = (type)ts_option(text, #name, options->name);
#define OTHER(...)
    ROPEWAY_OPERATION_OPTION_MAP(NUMBER, OTHER)
#undef NUMBER
#undef OTHER
}
