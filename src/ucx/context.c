/* SPDX-License-Identifier: Apache-2.0 */
/* Contexts, workers, endpoints and registrations of UCX. */
#include "base/env.h"
#include "base/error.h"
#include "text/hello.h"
#include "ucx/ucx.h"
#include "ucx/verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool rw_ucx_has_cuda(ucp_context_h context) {
    ucp_context_attr_t attributes = {.field_mask = UCP_ATTR_FIELD_MEMORY_TYPES};

    return ucp_context_query(context, &attributes) == UCS_OK &&
           (attributes.memory_types & UCS_BIT(UCS_MEMORY_TYPE_CUDA)) != 0;
}

/* A setting, and who chose it. */
typedef char chosen_t[192];

static const char *tell(chosen_t text, const char *option, const char *variable) {
    const char *value = option != NULL ? option : getenv(variable);

    snprintf(text, sizeof(chosen_t), "\"%s\"%s%s", value != NULL ? value : "all",
             option != NULL  ? " of the connector"
             : value != NULL ? " of the environment's "
                             : "",
             option == NULL && value != NULL ? variable : "");
    return text;
}

/* why: what UCX said meanwhile, or "". */
static ropeway_error_t cannot_start(const rw_ucx_wish_t *wish, ucs_status_t status,
                                    const char *why) {
    static const char *const aims[] = {"", " for NIXL peers"};
    chosen_t transports, devices;

    return rw_fail(
        ROPEWAY_ERR_TRANSPORT,
        "UCX can't start%s: %s%s%s (transports %s, devices %s); name others, or none for all that "
        "this machine has, which `ropeway info` lists",
        aims[wish->purpose], ucs_status_string(status), why[0] != '\0' ? ": " : "", why,
        tell(transports, wish->transports, "UCX_TLS"),
        tell(devices, wish->net_devices, "UCX_NET_DEVICES"));
}

/* Whether the list has one of the devices that UCX says are here. */
static bool names_one_of(const char *devices, const char *those_here) {
    char text[512], quoted[72], *rest = text, *name;

    snprintf(text, sizeof text, "%s", devices != NULL ? devices : "");
    while ((name = strsep(&rest, ",")) != NULL) {
        snprintf(quoted, sizeof quoted, "'%s'(", name);
        if (strstr(those_here, quoted) != NULL) {
            return true;
        }
    }
    return false;
}

/* UCX starts without a device that was asked for, which is well if another one is here: the port
 * may be down, or the list be that of a cluster. But it starts with none at all, too, and then
 * nobody could come for what is offered. why: what it said meanwhile. */
static ropeway_error_t check_devices(const rw_ucx_wish_t *wish, const char *why) {
    const char *missing = strstr(why, "network device '");
    chosen_t devices;

    if (missing == NULL ||
        names_one_of(wish->net_devices != NULL ? wish->net_devices : getenv("UCX_NET_DEVICES"),
                     missing)) {
        return ROPEWAY_OK;
    }
    return rw_fail(ROPEWAY_ERR_TRANSPORT, "UCX says: %s (devices %s)", missing,
                   tell(devices, wish->net_devices, "UCX_NET_DEVICES"));
}

ropeway_error_t rw_ucx_open_context(const rw_ucx_wish_t *wish, ucp_context_h *context) {
    static const struct {
        const char *name;
        uint64_t fields, features;
    } purposes[] = {[RW_UCX_MESSAGES] = {"ropeway", 0, UCP_FEATURE_AM | UCP_FEATURE_WAKEUP},
                    [RW_UCX_STOCK] = {"ropeway-nixl", UCP_PARAM_FIELD_MT_WORKERS_SHARED,
                                      UCP_FEATURE_RMA | UCP_FEATURE_AMO32 | UCP_FEATURE_AMO64 |
                                          UCP_FEATURE_AM | UCP_FEATURE_WAKEUP}};
    ucp_params_t params = {.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_NAME |
                                         purposes[wish->purpose].fields,
                           .features = purposes[wish->purpose].features,
                           .mt_workers_shared = 1,
                           .name = purposes[wish->purpose].name};
    ucp_config_t *config;
    ucs_status_t status;
    sigset_t before;
    char why[512];
    ropeway_error_t error = rw_ucx_check_start();

    if (error == ROPEWAY_OK) {
        error = rw_ucx_read_config(wish, &config);
    }
    if (error != ROPEWAY_OK) {
        return error;
    }
    rw_signals_block(&before);
    rw_ucx_overhear(why, sizeof why);
    status = ucp_init(&params, config, context);
    rw_ucx_overhear(NULL, 0);
    rw_signals_restore(&before);
    ucp_config_release(config);
    if (status != UCS_OK) {
        *context = NULL;
        return cannot_start(wish, status, why);
    }
    rw_ucx_verbs_done(); /* it has loaded its modules */
    error = check_devices(wish, why);
    if (error != ROPEWAY_OK) {
        ucp_cleanup(*context);
        *context = NULL;
    }
    return error;
}

ropeway_error_t rw_ucx_open_worker(ucp_context_h context, const rw_ucx_wish_t *wish,
                                   ucp_worker_h *worker, int *fd) {
    ucp_worker_params_t params = {.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE,
                                  .thread_mode = UCS_THREAD_MODE_SERIALIZED};
    ucs_status_t status;
    sigset_t before;
    char why[256];
    ropeway_error_t error = rw_ucx_check_networks(wish);

    *worker = NULL;
    if (error != ROPEWAY_OK) {
        return error;
    }
    rw_signals_block(&before); /* of threads that UCX may start */
    rw_ucx_overhear(why, sizeof why);
    status = ucp_worker_create(context, &params, worker);
    rw_ucx_overhear(NULL, 0);
    rw_signals_restore(&before);
    if (status == UCS_OK) {
        status = ucp_worker_get_efd(*worker, fd);
        if (status == UCS_OK) {
            return ROPEWAY_OK;
        }
        ucp_worker_destroy(*worker);
    }
    *worker = NULL;
    return rw_fail(ROPEWAY_ERR_TRANSPORT, "UCX can't make a worker: %s%s%s",
                   ucs_status_string(status), why[0] != '\0' ? ": " : "", why);
}

ropeway_error_t rw_ucx_copy_address(ucp_worker_h worker, uint8_t **copy, size_t *length) {
    ucp_address_t *address;
    ucs_status_t status = ucp_worker_get_address(worker, &address, length);

    if (status != UCS_OK) {
        return rw_fail(ROPEWAY_ERR_TRANSPORT, "UCX gives the worker no address: %s",
                       ucs_status_string(status));
    }
    *copy = malloc(*length);
    if (*copy != NULL) {
        memcpy(*copy, address, *length);
    }
    ucp_worker_release_address(worker, address);
    return *copy != NULL ? ROPEWAY_OK : rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
}

ropeway_error_t rw_ucx_connect(ucp_worker_h worker, const uint8_t *address, size_t length,
                               ucp_err_handler_cb_t on_error, void *argument, ucp_ep_h *endpoint) {
    ucp_ep_params_t params = {.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS |
                                            UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                                            UCP_EP_PARAM_FIELD_ERR_HANDLER,
                              .err_mode = UCP_ERR_HANDLING_MODE_PEER,
                              .err_handler = {.cb = on_error, .arg = argument}};
    char release[RW_UCX_RELEASE];
    const char *wrong;
    uint8_t *padded;
    ucs_status_t status;

    if (!rw_ucx_address_check(address, length, release, &wrong)) {
        return rw_fail(ROPEWAY_ERR_NO_PATH, "%s", wrong);
    }
    /* UCX reads an address without knowing its length; a damaged one shall end in zeroes. */
    padded = calloc(1, length + RW_ADDRESS_PAD);
    if (padded == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    memcpy(padded, address, length);
    params.address = (const ucp_address_t *)padded;
    status = ucp_ep_create(worker, &params, endpoint);
    free(padded);
    return status == UCS_OK ? ROPEWAY_OK
                            : rw_fail(ROPEWAY_ERR_NO_PATH, "%s", ucs_status_string(status));
}

void rw_ucx_write_path(ucp_ep_h endpoint, char *path, size_t size) {
    ucp_transport_entry_t entries[16];
    ucp_ep_attr_t attributes = {
        .field_mask = UCP_EP_ATTR_FIELD_TRANSPORTS,
        .transports = {.entries = entries, .num_entries = 16, .entry_size = sizeof entries[0]}};
    size_t used = 0;

    if (ucp_ep_query(endpoint, &attributes) != UCS_OK) {
        return;
    }
    for (unsigned i = 0; i < attributes.transports.num_entries; i++) {
        char entry[96];
        int length = snprintf(entry, sizeof entry, "%s/%s", entries[i].transport_name,
                              entries[i].device_name);

        if (length <= 0 || strstr(path, entry) != NULL || used + (size_t)length + 2 > size) {
            continue;
        }
        used += (size_t)snprintf(path + used, size - used, "%s%s", used > 0 ? " " : "", entry);
    }
}

static bool is_of_file(const void *memory) {
    int pagemap = rw_ucx_open_pagemap();
    bool is = rw_ucx_is_of_file(pagemap, memory);

    if (pagemap >= 0) {
        close(pagemap);
    }
    return is;
}

ropeway_error_t rw_ucx_map(ucp_context_h context, const ropeway_descriptor_t *memory,
                           void **registration) {
    ucp_mem_map_params_t params = {.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS |
                                                 UCP_MEM_MAP_PARAM_FIELD_LENGTH |
                                                 UCP_MEM_MAP_PARAM_FIELD_MEMORY_TYPE,
                                   .address = memory->ptr,
                                   .length = memory->size > 0 ? memory->size : 1,
                                   .memory_type = rw_ucx_memory_type(memory->device)};
    ucp_mem_h handle;
    ucs_status_t status = ucp_mem_map(context, &params, &handle);

    if (status != UCS_OK && memory->device.kind == ROPEWAY_DEVICE_HOST &&
        rw_ucx_is_read_only(memory->ptr, memory->size)) {
        return rw_fail(ROPEWAY_ERR_TRANSPORT,
                       "UCX can't register %zu bytes, which may be read and not written: RDMA "
                       "devices take no such memory; offer a copy of them",
                       memory->size);
    }
    if (status != UCS_OK && memory->device.kind == ROPEWAY_DEVICE_HOST && is_of_file(memory->ptr) &&
        !rw_ucx_can_map(context, memory->ptr)) { /* else the limit is too small for all of it */
        return rw_fail(ROPEWAY_ERR_TRANSPORT,
                       "UCX can't register %zu bytes of a file: since Linux 6.5 RDMA devices take "
                       "those of files in memory only, as under /dev/shm; offer a copy of them",
                       memory->size);
    }
    if (status != UCS_OK) {
        return rw_fail(ROPEWAY_ERR_TRANSPORT,
                       "UCX can't register %zu bytes: %s; check the limit on locked memory "
                       "(ulimit -l)",
                       memory->size, ucs_status_string(status));
    }
    *registration = handle;
    return ROPEWAY_OK;
}

bool rw_ucx_can_map(ucp_context_h context, const void *memory) {
    ucp_mem_map_params_t params = {.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS |
                                                 UCP_MEM_MAP_PARAM_FIELD_LENGTH |
                                                 UCP_MEM_MAP_PARAM_FIELD_MEMORY_TYPE,
                                   .address = (void *)memory,
                                   .length = 1,
                                   .memory_type = UCS_MEMORY_TYPE_HOST};
    ucp_mem_h handle;
    ucs_status_t status;

    rw_ucx_hush(true);
    status = ucp_mem_map(context, &params, &handle);
    rw_ucx_hush(false);
    if (status == UCS_OK) {
        ucp_mem_unmap(context, handle);
    }
    return status == UCS_OK;
}

void rw_ucx_unmap(ucp_context_h context, void *registration) {
    ucp_mem_unmap(context, registration);
}

ucs_memory_type_t rw_ucx_memory_type(ropeway_device_t device) {
    return device.kind == ROPEWAY_DEVICE_CUDA ? UCS_MEMORY_TYPE_CUDA : UCS_MEMORY_TYPE_HOST;
}
