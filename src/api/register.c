/* SPDX-License-Identifier: Apache-2.0 */
/* Registering memory ahead of its use. */
#include "mover/memory.h"

#include "base/error.h"
#include "operation/operation.h"
#include "text/descriptor.h"

ropeway_error_t ropeway_memory_register(ropeway_connector_t *connector, void *ptr, size_t size,
                                        ropeway_device_t device,
                                        ropeway_memory_t **result) RW_UNCHECKED {
    ropeway_descriptor_t place = {.ptr = ptr, .size = size, .device = rw_device_meant(device)};
    ropeway_error_t error;

    if (result == NULL || size == 0) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                       "memory of %zu bytes can't be registered, and the place for the "
                       "registration must not be null",
                       size);
    }
    *result = NULL;
    error = rw_descriptors_check(&place, 1, 1, NULL);
    if (error == ROPEWAY_OK) {
        error = rw_connector_enter(connector);
    }
    if (error != ROPEWAY_OK) {
        return error;
    }
    error = rw_device_check(connector, place.device);
    if (error == ROPEWAY_OK) {
        error = rw_memory_add(connector, &place, result);
    }
    rw_unlock(&connector->lock);
    return error;
}

void ropeway_memory_release(ropeway_memory_t *memory) RW_UNCHECKED {
    ropeway_connector_t *connector;

    if (memory == NULL || memory->connector->generation != rw_process_generation()) {
        return;
    }
    connector = memory->connector;
    rw_lock(&connector->lock);
    rw_memory_release(memory);
    rw_unlock(&connector->lock);
}
