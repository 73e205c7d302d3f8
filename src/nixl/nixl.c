/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stock NIXL peers see of us: a second UCX worker, whose context has RMA, so that they may get
 * from and put into registered memory. The native worker has none, which is why there are two. It
 * is made when the connector allows such peers (interop), or when an operation is begun on theirs.
 *
 * A stock peer moves the bytes by itself and then sends a notification with the operation's key.
 * That is all that we learn: until it comes the operation is INITIALIZED, whatever the peer does.
 */
#include "base/error.h"
#include "internal.h"
#include "text/serdes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define NOTIFICATION_ID 0 /* UCX active message id of NIXL's notifications */

static ropeway_operation_t *find(ropeway_connector_t *connector, const char *key) RW_LOCKED {
    uint8_t id[RW_KEY_BYTES];
    rw_table_node_t *node;
    ropeway_operation_t *operation;

    if (!rw_key_from_text(key, id)) {
        return NULL;
    }
    node = rw_table_find(&connector->operations, id);
    operation = node != NULL ? RW_CONTAINER(node, ropeway_operation_t, node) : NULL;
    return operation != NULL && operation->maps != NULL && operation->phase == RW_PHASE_IDLE
               ? operation
               : NULL;
}

static ucs_status_t on_notification(void *argument, const void *header, size_t header_length,
                                    void *data, size_t length,
                                    const ucp_am_recv_param_t *param) RW_UNCHECKED {
    ropeway_connector_t *connector = argument;
    ropeway_operation_t *operation = NULL;
    char name[256], key[256];

    (void)header, (void)header_length;
    if ((param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) == 0 &&
        rw_serdes_read_notification(data, length, name, key)) {
        operation = find(connector, key);
    }
    if (operation == NULL) {
        connector->stats.messages_dropped++;
        return UCS_OK;
    }
    operation->stock_peer = strdup(name);
    atomic_store(&operation->done, operation->total);
    *(operation->is_sender ? &connector->stats.bytes_sent : &connector->stats.bytes_received) +=
        operation->total;
    rw_operation_end(operation, ROPEWAY_STATUS_COMPLETE, ROPEWAY_OK, false, " ");
    return UCS_OK;
}

static ropeway_error_t open_context(ropeway_connector_t *connector, rw_nixl_t *nixl) RW_LOCKED {
    ucp_params_t params = {.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_NAME |
                                         UCP_PARAM_FIELD_MT_WORKERS_SHARED,
                           .features = UCP_FEATURE_RMA | UCP_FEATURE_AMO32 | UCP_FEATURE_AMO64 |
                                       UCP_FEATURE_AM | UCP_FEATURE_WAKEUP,
                           .mt_workers_shared = 1,
                           .name = "ropeway-nixl"};
    const ropeway_connector_options_t *options = &connector->options;
    ucp_config_t *config;
    ucs_status_t status;
    ropeway_error_t error = rw_ucx_config(options->transports, options->net_devices,
                                          options->keepalive_ms, true, &config);

    if (error != ROPEWAY_OK) {
        return error;
    }
    status = ucp_init(&params, config, &nixl->context);
    ucp_config_release(config);
    return status == UCS_OK ? ROPEWAY_OK
                            : rw_fail(ROPEWAY_ERR_TRANSPORT, "UCX can't start for NIXL peers: %s",
                                      ucs_status_string(status));
}

static ropeway_error_t open_worker(ropeway_connector_t *connector, rw_nixl_t *nixl) RW_LOCKED {
    ucp_am_handler_param_t handler = {
        .field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_FLAGS |
                      UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG,
        .id = NOTIFICATION_ID,
        .flags = UCP_AM_FLAG_WHOLE_MSG,
        .cb = on_notification,
        .arg = connector};
    ropeway_error_t error = rw_ucx_open_worker(nixl->context, &nixl->worker, &nixl->fd);
    ucs_status_t status;

    if (error != ROPEWAY_OK) {
        return error;
    }
    status = ucp_worker_set_am_recv_handler(nixl->worker, &handler);
    if (status != UCS_OK) {
        return rw_fail(ROPEWAY_ERR_TRANSPORT, "UCX takes no handler for NIXL's notifications: %s",
                       ucs_status_string(status));
    }
    return rw_ucx_copy_address(nixl->worker, &nixl->address, &nixl->address_length);
}

static void free_nixl(rw_nixl_t *nixl) {
    if (nixl->worker != NULL) {
        ucp_worker_destroy(nixl->worker);
    }
    if (nixl->context != NULL) {
        ucp_cleanup(nixl->context);
    }
    free(nixl->address);
    free(nixl);
}

ropeway_error_t rw_nixl_open(ropeway_connector_t *connector) {
    struct epoll_event event = {.events = EPOLLIN};
    rw_nixl_t *nixl;
    ropeway_error_t error;

    if (connector->nixl != NULL) {
        return ROPEWAY_OK;
    }
    nixl = calloc(1, sizeof *nixl);
    if (nixl == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    error = open_context(connector, nixl);
    if (error == ROPEWAY_OK) {
        error = open_worker(connector, nixl);
    }
    if (error == ROPEWAY_OK) {
        event.data.fd = nixl->fd;
        if (epoll_ctl(connector->epoll_fd, EPOLL_CTL_ADD, nixl->fd, &event) != 0) {
            error = rw_fail(ROPEWAY_ERR_SYSTEM, "the second worker can't be watched: %m");
        }
    }
    if (error != ROPEWAY_OK) {
        free_nixl(nixl);
        return error;
    }
    connector->nixl = nixl;
    rw_progress_wake(connector); /* it must arm the new worker, too */
    return ROPEWAY_OK;
}

void rw_nixl_close(ropeway_connector_t *connector) {
    if (connector->nixl != NULL) {
        free_nixl(connector->nixl);
        connector->nixl = NULL;
    }
}

/* ---- passive operations ---- */

void rw_nixl_conceal(ropeway_operation_t *operation) {
    for (size_t i = 0; operation->maps != NULL && i < operation->count; i++) {
        if (operation->maps[i] != NULL) {
            ucp_mem_unmap(operation->connector->nixl->context, operation->maps[i]);
        }
    }
    free(operation->maps);
    operation->maps = NULL;
}

/* Registers a descriptor and packs its remote key into *buffer. */
static ropeway_error_t expose_one(ropeway_operation_t *operation, size_t index, rw_region_t *region,
                                  void **buffer) RW_LOCKED {
    const ropeway_descriptor_t *descriptor = &operation->descriptors[index];
    ucp_context_h context = operation->connector->nixl->context;
    ucp_mem_map_params_t params = {.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS |
                                                 UCP_MEM_MAP_PARAM_FIELD_LENGTH |
                                                 UCP_MEM_MAP_PARAM_FIELD_MEMORY_TYPE,
                                   .address = descriptor->ptr,
                                   .length = descriptor->size > 0 ? descriptor->size : 1,
                                   .memory_type = rw_ucx_memory_type(descriptor->device)};
    ucs_status_t status = ucp_mem_map(context, &params, &operation->maps[index]);

    if (status == UCS_OK) {
        status = ucp_rkey_pack(context, operation->maps[index], buffer, &region->key_length);
    }
    if (status != UCS_OK) {
        return rw_fail(ROPEWAY_ERR_TRANSPORT,
                       "UCX can't register descriptor %zu (%zu bytes) for NIXL peers: %s", index,
                       descriptor->size, ucs_status_string(status));
    }
    region->address = (uint64_t)(uintptr_t)descriptor->ptr;
    region->length = descriptor->size;
    region->device = (uint64_t)descriptor->device.id;
    region->memory =
        descriptor->device.kind == ROPEWAY_DEVICE_HOST ? RW_MEMORY_DRAM : RW_MEMORY_VRAM;
    region->key = *buffer;
    return ROPEWAY_OK;
}

static ropeway_error_t encode(ropeway_operation_t *operation,
                              const rw_region_t *regions) RW_LOCKED {
    ropeway_connector_t *connector = operation->connector;
    rw_connection_t connections[] = {
        {.backend = RW_BACKEND_NATIVE, .blob = connector->hello, .length = connector->hello_length},
        {.backend = RW_BACKEND_UCX,
         .blob = connector->nixl->address,
         .length = connector->nixl->address_length}};
    char key[RW_KEY_TEXT];
    size_t length;

    rw_key_to_text(operation->node.id, key);
    return rw_metadata_encode(operation->kind, operation->descriptors, operation->count,
                              connector->name, connections, 2, regions, operation->count, key,
                              connector->options.max_metadata, &operation->json, &length);
}

ropeway_error_t rw_nixl_expose(ropeway_operation_t *operation) {
    rw_region_t *regions = calloc(operation->count, sizeof *regions);
    void **buffers = calloc(operation->count, sizeof *buffers);
    ropeway_error_t error = rw_nixl_open(operation->connector);

    operation->maps = calloc(operation->count, sizeof *operation->maps);
    if (regions == NULL || buffers == NULL || operation->maps == NULL) {
        error = rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    for (size_t i = 0; error == ROPEWAY_OK && i < operation->count; i++) {
        error = expose_one(operation, i, &regions[i], &buffers[i]);
    }
    if (error == ROPEWAY_OK) {
        error = encode(operation, regions);
    }
    for (size_t i = 0; buffers != NULL && i < operation->count; i++) {
        if (buffers[i] != NULL) {
            ucp_rkey_buffer_release(buffers[i]);
        }
    }
    free(buffers);
    free(regions);
    if (error != ROPEWAY_OK) {
        rw_nixl_conceal(operation);
    }
    return error;
}
