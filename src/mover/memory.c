/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that the user registered ahead of its use. */
#include "base/error.h"
#include "internal.h"
#include "text/descriptor.h"

#include <stdlib.h>

static ropeway_error_t map(ropeway_memory_t *memory) RW_LOCKED {
    ucp_mem_map_params_t params = {.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS |
                                                 UCP_MEM_MAP_PARAM_FIELD_LENGTH |
                                                 UCP_MEM_MAP_PARAM_FIELD_MEMORY_TYPE,
                                   .address = memory->ptr,
                                   .length = memory->size,
                                   .memory_type = rw_ucx_memory_type(memory->device)};
    ucs_status_t status = ucp_mem_map(memory->connector->context, &params, &memory->handle);

    if (status == UCS_OK) {
        return ROPEWAY_OK;
    }
    return rw_fail(ROPEWAY_ERR_TRANSPORT,
                   "UCX can't register %zu bytes: %s; check the limit on locked memory (ulimit -l)",
                   memory->size, ucs_status_string(status));
}

ropeway_error_t ropeway_memory_register(ropeway_connector_t *connector, void *ptr, size_t size,
                                        ropeway_device_t device,
                                        ropeway_memory_t **result) RW_UNCHECKED {
    ropeway_descriptor_t descriptor = {.ptr = ptr, .size = size, .device = device};
    ropeway_memory_t *memory;
    ropeway_error_t error;

    if (result == NULL || size == 0) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                       "memory of %zu bytes can't be registered, and the place for the "
                       "registration must not be null",
                       size);
    }
    *result = NULL;
    error = rw_descriptors_check(&descriptor, 1, 1, NULL);
    if (error != ROPEWAY_OK) {
        return error;
    }
    memory = calloc(1, sizeof *memory);
    if (memory == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    error = rw_connector_enter(connector);
    if (error != ROPEWAY_OK) {
        free(memory);
        return error;
    }
    *memory = (ropeway_memory_t){
        .connector = connector, .ptr = ptr, .size = size, .device = device, .references = 1};
    error = rw_device_check(connector, device);
    if (error == ROPEWAY_OK) {
        error = map(memory);
    }
    if (error == ROPEWAY_OK) {
        rw_list_append(&connector->memories, &memory->link);
        connector->stats.memory_registered += size;
        *result = memory;
    }
    rw_unlock(&connector->lock);
    if (error != ROPEWAY_OK) {
        free(memory);
    }
    return error;
}

ropeway_memory_t *rw_memory_find(ropeway_connector_t *connector, const void *ptr, size_t size) {
    const char *start = ptr;

    for (rw_link_t *link = connector->memories.next; link != &connector->memories;
         link = link->next) {
        ropeway_memory_t *memory = RW_CONTAINER(link, ropeway_memory_t, link);

        if (!memory->released && size > 0 && start >= memory->ptr && size <= memory->size &&
            (size_t)(start - memory->ptr) <= memory->size - size) {
            memory->references++;
            return memory;
        }
    }
    return NULL;
}

void rw_memory_forget(ropeway_memory_t *memory) {
    ropeway_connector_t *connector = memory->connector;

    rw_list_remove(&memory->link);
    connector->stats.memory_registered -= memory->size;
    ucp_mem_unmap(connector->context, memory->handle);
    free(memory);
}

void rw_memory_drop(ropeway_memory_t *memory) {
    if (--memory->references == 0) {
        rw_memory_forget(memory);
    }
}

void ropeway_memory_release(ropeway_memory_t *memory) RW_UNCHECKED {
    if (memory == NULL || memory->connector->generation != rw_process_generation()) {
        return;
    }
    ropeway_connector_t *connector = memory->connector;

    rw_lock(&connector->lock);
    memory->released = true;
    rw_memory_drop(memory);
    rw_unlock(&connector->lock);
}
