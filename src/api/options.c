/* SPDX-License-Identifier: Apache-2.0 */
/* A connector's options. */
#include "api/options.h"

#include "base/error.h"
#include "text/serdes.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT(type, name, value, ...) .name = (value),
static const ropeway_connector_options_t defaults = {
    .struct_size = sizeof(ropeway_connector_options_t),
    ROPEWAY_CONNECTOR_OPTION_MAP(DEFAULT, DEFAULT, DEFAULT)};
#undef DEFAULT

void ropeway_connector_options_init(ropeway_connector_options_t *options, size_t size) {
    if (options == NULL) {
        return;
    }
    memset(options, 0, size);
    memcpy(options, &defaults, size < sizeof defaults ? size : sizeof defaults);
    options->struct_size = size;
}

/* Texts are measured by their length; one that is null has its default. */
static ropeway_error_t check_ranges(const ropeway_connector_options_t *options) {
    const size_t chunk_size = options->chunk_size; /* max_inflight begins there */
    const struct {
        const char *what;
        uint64_t value, least, most;
    } ranges[] = {
#define TEXT(type, name, value, least, most, text)                                                 \
    {"length of the connector option " #name,                                                      \
     options->name != NULL ? strlen(options->name) : (least), (least), (most)},
#define NUMBER(type, name, value, least, most, text)                                               \
    {"connector option " #name, (uint64_t)options->name, (least), (most)},
#define OTHER(...)
        ROPEWAY_CONNECTOR_OPTION_MAP(TEXT, NUMBER, OTHER)
#undef TEXT
#undef NUMBER
#undef OTHER
    };

    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        if (ranges[i].value < ranges[i].least || ranges[i].value > ranges[i].most) {
            return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                           "the %s is %llu; it must be from %llu to %llu", ranges[i].what,
                           (unsigned long long)ranges[i].value, (unsigned long long)ranges[i].least,
                           (unsigned long long)ranges[i].most);
        }
    }
    return ROPEWAY_OK;
}

static ropeway_error_t check_options(const ropeway_connector_options_t *options) {
    ropeway_error_t error = check_ranges(options);

    if (error != ROPEWAY_OK) {
        return error;
    }
    if (options->name != NULL && !rw_agent_name_valid(options->name, strlen(options->name))) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                       "the connector's name must be UTF-8 without control characters");
    }
    return ROPEWAY_OK;
}

static bool copy_text(const char **text) {
    const char *given = *text;

    *text = given != NULL ? strdup(given) : NULL;
    return given == NULL || *text != NULL;
}

/* All of them, also after a failure: the connector's are freed. */
static ropeway_error_t copy_texts(ropeway_connector_options_t *options) {
    bool copied = true;

#define TEXT(type, name, ...) copied &= copy_text(&options->name);
#define OTHER(...)
    ROPEWAY_CONNECTOR_OPTION_MAP(TEXT, OTHER, OTHER)
#undef TEXT
#undef OTHER
    return copied ? ROPEWAY_OK : rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
}

ropeway_error_t rw_options_take(ropeway_connector_t *connector,
                                const ropeway_connector_options_t *options) {
    ropeway_error_t error;

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
    }
    error = copy_texts(&connector->options);
    return error == ROPEWAY_OK ? check_options(&connector->options) : error;
}

void rw_options_free(ropeway_connector_t *connector) {
#define TEXT(type, name, ...) free((char *)connector->options.name);
#define OTHER(...)
    ROPEWAY_CONNECTOR_OPTION_MAP(TEXT, OTHER, OTHER)
#undef TEXT
#undef OTHER
}
