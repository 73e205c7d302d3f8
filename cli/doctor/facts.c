/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of this machine, and questions about it. */
#include "facts.h"

#include <dirent.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <ropeway.h>

const char *const cli_facts_memory[] = {"posix", "sysv", "xpmem", NULL};
const char *const cli_facts_zero_copy[] = {"cma", "xpmem", "knem", NULL};
const char *const cli_facts_infiniband[] = {"rc_", "dc_", "ud_", "gga_", NULL};
static const char *const cuda[] = {"cuda_", "gdr_copy", NULL};

const char cli_facts_site_ucx[] = "name a UCX that has it, 1.22 or later: ROPEWAY_UCX=PREFIX, the "
                                  "site's UCX, or ROPEWAY_UCX=nixl, "
                                  "the one of the nixl wheel";

json_t *cli_facts_load(const char *transports, const char *net_devices) {
    char *text = NULL;
    if (ropeway_describe(transports, net_devices, &text) != ROPEWAY_OK) {
        return NULL;
    }
    json_t *facts = json_loads(text, 0, NULL);
    ropeway_text_free(text);
    return facts;
}

static const char *text_of_ucx(const json_t *facts, const char *key) {
    const char *text = json_string_value(json_object_get(json_object_get(facts, "ucx"), key));
    return text != NULL ? text : "";
}

bool cli_facts_have_ucx(const json_t *facts) {
    return text_of_ucx(facts, "version")[0] != '\0';
}

const char *cli_facts_why(const json_t *facts) {
    return text_of_ucx(facts, "why");
}

static bool belongs(const char *name, const char *const *family) {
    for (; name != NULL && *family != NULL; family++) {
        if (strncmp(name, *family, strlen(*family)) == 0) {
            return true;
        }
    }
    return false;
}

static const char *name_of(const json_t *transport) {
    return json_string_value(json_object_get(transport, "name"));
}

bool cli_facts_have(const json_t *facts, const char *const *family) {
    json_t *transport;
    size_t i;
    json_array_foreach(json_object_get(facts, "transports"), i, transport) {
        if (belongs(name_of(transport), family)) {
            return true;
        }
    }
    return false;
}

void cli_facts_list(const json_t *facts, const char *const *family, char *text, size_t size) {
    json_t *names = json_array();
    json_t *transport;
    size_t i;
    json_array_foreach(json_object_get(facts, "transports"), i, transport) {
        if (belongs(name_of(transport), family)) {
            json_array_append(names, json_object_get(transport, "name"));
        }
    }
    text[0] = '\0';
    if (json_array_size(names) > 0) {
        cli_facts_join(names, text, size);
    }
    json_decref(names);
}

json_t *cli_facts_devices(const json_t *facts, const char *name) {
    json_t *devices = json_array();
    json_t *transport;
    size_t i;
    json_array_foreach(json_object_get(facts, "transports"), i, transport) {
        if (name_of(transport) != NULL && strcmp(name_of(transport), name) == 0) {
            json_array_extend(devices, json_object_get(transport, "devices"));
        }
    }
    return devices;
}

bool cli_facts_ucx_has_cuda(const json_t *facts) {
    json_t *type;
    size_t i;
    json_array_foreach(json_object_get(facts, "memory_types"), i, type) {
        if (json_is_string(type) && strcmp(json_string_value(type), "cuda") == 0) {
            return true;
        }
    }
    return cli_facts_have(facts, cuda);
}

bool cli_facts_have_cuda_driver(void) {
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (driver != NULL) {
        dlclose(driver);
    }
    /* The library alone may lie in an image that runs on a machine without a GPU. */
    return driver != NULL && (access("/dev/nvidiactl", F_OK) == 0 || access("/dev/dxg", F_OK) == 0);
}

json_t *cli_facts_infiniband_hardware(void) {
    DIR *folder = opendir("/sys/class/infiniband");
    json_t *names = json_array();
    struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] != '.') {
            json_array_append_new(names, json_string(entry->d_name));
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
    return names;
}

void cli_facts_join(const json_t *names, char *text, size_t size) {
    size_t used = 0;
    json_t *name;
    size_t i;
    snprintf(text, size, "none");
    json_array_foreach(names, i, name) {
        if (used < size && json_is_string(name)) {
            used += (size_t)snprintf(text + used, size - used, "%s%s", used > 0 ? ", " : "",
                                     json_string_value(name));
        }
    }
}
