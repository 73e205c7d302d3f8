/* SPDX-License-Identifier: Apache-2.0 */
/* What stock NIXL peers need to read or write what this connector offers. */
#include "base/error.h"
#include "native/native.h"
#include "nixl/nixl.h"

#include <stdlib.h>

/* operation->exposure: a grant per descriptor, NULL behind the last one that was made. */

static void conceal(ropeway_operation_t *operation) RW_LOCKED {
    rw_grant_t **grants = operation->exposure;

    for (size_t i = 0; grants != NULL && grants[i] != NULL; i++) {
        rw_rma.withdraw(&operation->connector->nixl->port, grants[i]);
    }
    free(grants);
    operation->exposure = NULL;
}

/* Grants a descriptor. */
static ropeway_error_t expose(ropeway_operation_t *operation, size_t index,
                              rw_region_t *region) RW_LOCKED {
    const ropeway_descriptor_t *descriptor = &operation->layout.descriptors[index];
    rw_grant_t **grants = operation->exposure;
    ropeway_error_t error = rw_rma.grant(&operation->connector->nixl->port, descriptor,
                                         &grants[index], &region->key, &region->key_length);

    region->address = (uint64_t)(uintptr_t)descriptor->ptr;
    region->length = descriptor->size;
    region->device = (uint64_t)descriptor->device.id;
    region->memory =
        descriptor->device.kind == ROPEWAY_DEVICE_HOST ? RW_MEMORY_DRAM : RW_MEMORY_VRAM;
    return error;
}

static ropeway_error_t encode(ropeway_operation_t *operation,
                              const rw_region_t *regions) RW_LOCKED {
    const ropeway_connector_t *connector = operation->connector;
    const rw_layout_t *layout = &operation->layout;
    rw_connection_t connections[2] = {[1] = {.backend = RW_BACKEND_UCX,
                                             .blob = connector->nixl->address,
                                             .length = connector->nixl->address_length}};
    ropeway_error_t error = rw_native_connection(operation, &connections[0]);
    char key[RW_KEY_TEXT];
    size_t length;

    if (error != ROPEWAY_OK) {
        return error;
    }
    rw_key_to_text(operation->node.id, key);
    return rw_metadata_encode(operation->kind, layout->descriptors, layout->count, connector->name,
                              connections, 2, regions, layout->count, key,
                              connector->options.max_metadata, &operation->json, &length);
}

ropeway_error_t rw_nixl_expose(ropeway_operation_t *operation) {
    size_t count = operation->layout.count;
    rw_region_t *regions = calloc(count, sizeof *regions);
    ropeway_error_t error = rw_nixl_open(operation->connector);

    if (error == ROPEWAY_OK) {
        operation->exposure = calloc(count + 1, sizeof(rw_grant_t *));
        operation->conceal = conceal;
        if (regions == NULL || operation->exposure == NULL) {
            error = rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
        }
    }
    for (size_t i = 0; error == ROPEWAY_OK && i < count; i++) {
        error = expose(operation, i, &regions[i]);
    }
    if (error == ROPEWAY_OK) {
        error = encode(operation, regions);
    }
    free(regions);
    if (error != ROPEWAY_OK) {
        conceal(operation);
    }
    return error;
}
