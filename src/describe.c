/* SPDX-License-Identifier: Apache-2.0 */
/* What this process can use: ropeway_describe(). */
#include "error.h"
#include "internal.h"

#include <dlfcn.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <uct/api/uct.h>

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

static void add_domain(json_t *transports, uct_component_h component, const char *name) {
    uct_tl_resource_desc_t *resources;
    uct_md_config_t *config;
    unsigned count;
    uct_md_h domain;

    if (uct_md_config_read(component, NULL, NULL, &config) != UCS_OK) {
        return;
    }
    if (uct_md_open(component, name, config, &domain) == UCS_OK) {
        if (uct_md_query_tl_resources(domain, &resources, &count) == UCS_OK) {
            for (unsigned i = 0; i < count; i++) {
                add_device(transports, resources[i].tl_name, resources[i].dev_name);
            }
            uct_release_tl_resource_list(resources);
        }
        uct_md_close(domain);
    }
    uct_config_release(config);
}

static void add_component(json_t *transports, uct_component_h component) {
    uct_component_attr_t attributes = {.field_mask = UCT_COMPONENT_ATTR_FIELD_MD_RESOURCE_COUNT};
    uct_md_resource_desc_t *domains;

    if (uct_component_query(component, &attributes) != UCS_OK ||
        attributes.md_resource_count == 0) {
        return;
    }
    domains = calloc(attributes.md_resource_count, sizeof *domains);
    attributes.field_mask |= UCT_COMPONENT_ATTR_FIELD_MD_RESOURCES;
    attributes.md_resources = domains;
    if (domains != NULL && uct_component_query(component, &attributes) == UCS_OK) {
        for (unsigned i = 0; i < attributes.md_resource_count; i++) {
            add_domain(transports, component, domains[i].md_name);
        }
    }
    free(domains);
}

static json_t *list_transports(void) {
    json_t *transports = json_array();
    uct_component_h *components;
    unsigned count;

    if (uct_query_components(&components, &count) == UCS_OK) {
        for (unsigned i = 0; i < count; i++) {
            add_component(transports, components[i]);
        }
        uct_release_component_list(components);
    }
    return transports;
}

static json_t *list_memory_types(ucp_context_h context) {
    ucp_context_attr_t attributes = {.field_mask = UCP_ATTR_FIELD_MEMORY_TYPES};
    json_t *types = json_array();

    if (ucp_context_query(context, &attributes) == UCS_OK) {
        for (unsigned i = 0; i < UCS_MEMORY_TYPE_LAST; i++) {
            if ((attributes.memory_types & UCS_BIT(i)) != 0) {
                json_array_append_new(types, json_string(ucs_memory_type_names[i]));
            }
        }
    }
    return types;
}

static const char *ucx_library(void) {
    Dl_info info;

    return dladdr((void *)ucp_get_version_string, &info) != 0 && info.dli_fname != NULL
               ? info.dli_fname
               : "";
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

static ropeway_error_t open_context(const char *transports, const char *net_devices,
                                    json_t **settings, ucp_context_h *context) {
    ucp_params_t params = {.field_mask = UCP_PARAM_FIELD_FEATURES,
                           .features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP};
    ucp_config_t *config;
    ucs_status_t status;
    ropeway_error_t error = rw_ucx_config(transports, net_devices, 1000, &config);

    if (error != ROPEWAY_OK) {
        return error;
    }
    *settings = list_settings(config);
    status = ucp_init(&params, config, context);
    ucp_config_release(config);
    if (status == UCS_OK) {
        return ROPEWAY_OK;
    }
    json_decref(*settings);
    return rw_fail(ROPEWAY_ERR_TRANSPORT, "UCX can't start: %s", ucs_status_string(status));
}

ropeway_error_t ropeway_describe(const char *transports, const char *net_devices, char **json) {
    ropeway_connector_t quiet = {.options = {.log_level = ROPEWAY_LOG_ERROR}};
    ucp_context_h context;
    json_t *settings, *root;
    ropeway_error_t error;

    if (json == NULL) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT, "the place for the text is null");
    }
    *json = NULL;
    rw_log_attach(&quiet); /* without a callback: UCX's lines go nowhere */
    error = open_context(transports, net_devices, &settings, &context);
    if (error == ROPEWAY_OK) {
        root = json_pack("{s:s, s:{s:s, s:s, s:o}, s:o, s:o}", "ropeway", ropeway_version(), "ucx",
                         "version", ropeway_ucx_version(), "library", ucx_library(), "settings",
                         settings, "memory_types", list_memory_types(context), "transports",
                         list_transports());
        ucp_cleanup(context);
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
