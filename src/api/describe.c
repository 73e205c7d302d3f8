/* SPDX-License-Identifier: Apache-2.0 */
/* What this process can use: ropeway_describe(). */
#include "base/error.h"
#include "base/log.h"
#include "ucx/calls.h"
#include "ucx/ucx.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add_device(json_t *transports, const char *transport, const char *device) {
    json_t *entry, *devices = NULL;
    size_t index;

    json_array_foreach(transports, index, entry) {
        if (strcmp(json_string_value(json_object_get(entry, "name")), transport) == 0) {
            devices = json_object_get(entry, "devices");
            break;
        }
    }
    if (devices == NULL) {
        devices = json_array();
        json_array_append_new(transports,
                              json_pack("{s:s, s:o}", "name", transport, "devices", devices));
    }
    json_array_foreach(devices, index, entry) {
        if (strcmp(json_string_value(entry), device) == 0) {
            return;
        }
    }
    json_array_append_new(devices, json_string(device));
}

/* "rc_mlx5/mlx5_0:1" */
static void add_resource(json_t *transports, char *resource) {
    char *device = strchr(resource, '/');

    if (device != NULL) {
        *device++ = '\0';
        add_device(transports, resource, device);
    }
}

/* What is left after the choice of transports and devices: only UCX's own listing of a context
 * has it. */
static json_t *list_transports(ucp_context_h context) {
    json_t *transports = json_array();
    char *text = NULL, *line, *rest;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);

    if (stream == NULL) {
        return transports;
    }
    ucp_context_print_info(context, stream);
    fclose(stream);
    for (line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        char *last = strrchr(line, ' ');

        if (strstr(line, " resource ") != NULL && last != NULL) {
            add_resource(transports, last + 1);
        }
    }
    free(text);
    return transports;
}

static json_t *list_memory_types(ucp_context_h context) {
    ucp_context_attr_t attributes = {.field_mask = UCP_ATTR_FIELD_MEMORY_TYPES};
    json_t *types = json_array();

    if (ucp_context_query(context, &attributes) == UCS_OK) {
        for (unsigned i = 0; i < UCS_MEMORY_TYPE_LAST; i++) {
            if ((attributes.memory_types & UCS_BIT(i)) != 0) {
                json_array_append_new(types, json_string(rw_ucx_memory_name(i)));
            }
        }
    }
    return types;
}

/* The lines of UCX's configuration that the library or the user changed are few; all of it is long.
 * Only the keys that decide speed and safety are shown, as UCX took them. */
static json_t *list_settings(const ucp_config_t *config) {
    json_t *settings = json_object();
    char *text = NULL, *line, *rest;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);

    if (stream == NULL) {
        return settings;
    }
    ucp_config_print(config, stream, NULL, UCS_CONFIG_PRINT_CONFIG);
    fclose(stream);
    for (line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        char *value = strchr(line, '=');

        if (strncmp(line, "UCX_", 4) != 0 || value == NULL) {
            continue;
        }
        *value++ = '\0';
        if (rw_ucx_is_our_setting(line + 4)) {
            json_object_set_new(settings, line, json_string(value));
        }
    }
    free(text);
    return settings;
}

static json_t *describe_ucx(const char *why, json_t *settings, json_t *memory_types,
                            json_t *transports) {
    return json_pack("{s:s, s:{s:s, s:s, s:s, s:o}, s:o, s:o}", "ropeway", ropeway_version(), "ucx",
                     "version", ropeway_ucx_version(), "library", rw_ucx_library(), "why", why,
                     "settings", settings, "memory_types", memory_types, "transports", transports);
}

/* *root: NULL: out of memory. */
static ropeway_error_t describe_loaded(const rw_ucx_wish_t *wish, json_t **root) {
    ucp_context_h context;
    ucp_config_t *config;
    ropeway_error_t error = rw_ucx_open_context(wish, &context);

    if (error != ROPEWAY_OK) {
        return error;
    }
    error = rw_ucx_read_config(wish, &config);
    if (error == ROPEWAY_OK) {
        *root = describe_ucx(rw_ucx_why(), list_settings(config), list_memory_types(context),
                             list_transports(context));
        ucp_config_release(config);
    }
    ucp_cleanup(context);
    return error;
}

/* Whether somebody has asked for what only UCX has. */
static bool needs_ucx(const rw_ucx_wish_t *wish) {
    const char *choice = getenv("ROPEWAY_UCX");

    return wish->transports != NULL || wish->net_devices != NULL ||
           (choice != NULL && choice[0] != '\0');
}

ropeway_error_t ropeway_describe(const char *transports, const char *net_devices, char **json) {
    ropeway_connector_t quiet = {.options = {.log_level = ROPEWAY_LOG_ERROR}};
    rw_ucx_wish_t wish = {.purpose = RW_UCX_MESSAGES,
                          .transports = transports,
                          .net_devices = net_devices,
                          .keepalive_ms = 1000};
    json_t *root = NULL;
    ropeway_error_t error;

    if (json == NULL) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT, "the place for the text is null");
    }
    *json = NULL;
    rw_ucx_log_to(rw_log_to_all);
    rw_list_init(&quiet.logging);
    rw_log_attach(&quiet); /* without a callback: UCX's lines go nowhere */
    error = rw_ucx_load();
    if (error == ROPEWAY_OK) {
        error = describe_loaded(&wish, &root);
    } else if (error == ROPEWAY_ERR_UNSUPPORTED && !needs_ucx(&wish)) {
        root = describe_ucx(ropeway_last_error(), json_object(), json_pack("[s]", "host"),
                            json_array());
        error = ROPEWAY_OK;
    }
    if (error == ROPEWAY_OK) {
        *json = json_dumps(root, JSON_INDENT(2));
        json_decref(root);
        error = *json != NULL ? ROPEWAY_OK : rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    rw_log_detach(&quiet);
    return error;
}

void ropeway_text_free(char *text) {
    free(text);
}
