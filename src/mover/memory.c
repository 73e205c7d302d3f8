/* SPDX-License-Identifier: Apache-2.0 */
/* Registrations of memory, and who uses them. */
#include "mover/memory.h"

#include "base/assert.h"
#include "base/error.h"

#include <stdlib.h>

ropeway_error_t rw_memories_open(ropeway_connector_t *connector) RW_UNCHECKED {
    connector->memories = calloc(1, sizeof *connector->memories);
    if (connector->memories == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    rw_list_init(&connector->memories->list);
    return ROPEWAY_OK;
}

/* The carrier that wants memory registered, or NULL. */
static rw_carrier_t *find_carrier(ropeway_connector_t *connector) RW_LOCKED {
    struct rw_links *links = connector->links;
    rw_carrier_t *carrier =
        links->first.kind->register_memory != NULL ? &links->first : &links->second;

    return carrier->state != NULL && carrier->kind->register_memory != NULL ? carrier : NULL;
}

static ropeway_error_t enroll(ropeway_memory_t *memory) RW_LOCKED {
    rw_carrier_t *carrier = find_carrier(memory->connector);

    if (carrier == NULL || memory->tried) {
        return ROPEWAY_OK;
    }
    memory->tried = true;
    return carrier->kind->register_memory(carrier, &memory->place, &memory->registration);
}

/* A carrier that has started since the memory was registered has not seen it; what it can't have
 * ahead of time it takes as it comes. */
void *rw_memory_registration(const rw_memory_use_t *use, size_t piece, const rw_link_kind_t *kind) {
    ropeway_memory_t *memory = use->of_piece != NULL ? use->of_piece[piece] : NULL;

    if (memory == NULL || kind->register_memory == NULL) {
        return NULL;
    }
    (void)enroll(memory);
    return memory->registration;
}

ropeway_error_t rw_memory_add(ropeway_connector_t *connector, const ropeway_descriptor_t *place,
                              ropeway_memory_t **result) {
    ropeway_memory_t *memory = calloc(1, sizeof *memory);
    ropeway_error_t error;

    if (memory == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    memory->connector = connector;
    memory->place = *place;
    memory->references = 1;
    error = enroll(memory);
    if (error != ROPEWAY_OK) {
        free(memory);
        return error;
    }
    rw_list_append(&connector->memories->list, &memory->node);
    connector->stats.memory_registered += place->size;
    *result = memory;
    return ROPEWAY_OK;
}

static void forget(ropeway_memory_t *memory) RW_LOCKED {
    ropeway_connector_t *connector = memory->connector;

    rw_list_remove(&memory->node);
    connector->stats.memory_registered -= memory->place.size;
    if (memory->registration != NULL) {
        rw_carrier_t *carrier = find_carrier(connector);

        carrier->kind->unregister_memory(carrier, memory->registration);
    }
    free(memory);
}

static void drop(ropeway_memory_t *memory) RW_LOCKED {
    rw_assert(memory->references > 0);
    if (--memory->references == 0) {
        forget(memory);
    }
}

void rw_memory_release(ropeway_memory_t *memory) {
    memory->released = true;
    drop(memory);
}

/* The registration that covers a range, kept once more, or NULL. */
static ropeway_memory_t *find_registration(ropeway_connector_t *connector,
                                           const ropeway_descriptor_t *piece) RW_LOCKED {
    const char *start = piece->ptr;
    rw_node_t *list = &connector->memories->list;

    for (rw_node_t *node = list->next; node != list && piece->size > 0; node = node->next) {
        ropeway_memory_t *memory = RW_CONTAINER(node, ropeway_memory_t, node);
        const char *first = memory->place.ptr;

        if (!memory->released && start >= first && piece->size <= memory->place.size &&
            (size_t)(start - first) <= memory->place.size - piece->size) {
            memory->references++;
            return memory;
        }
    }
    return NULL;
}

ropeway_error_t rw_memory_use(ropeway_connector_t *connector, const ropeway_descriptor_t *pieces,
                              size_t count, rw_memory_use_t *use) {
    if (rw_list_is_empty(&connector->memories->list)) {
        return ROPEWAY_OK;
    }
    use->of_piece = calloc(count, sizeof *use->of_piece);
    if (use->of_piece == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    use->count = count;
    for (size_t i = 0; i < count; i++) {
        use->of_piece[i] = find_registration(connector, &pieces[i]);
    }
    return ROPEWAY_OK;
}

void rw_memory_unuse(rw_memory_use_t *use) {
    for (size_t i = 0; i < use->count; i++) {
        if (use->of_piece[i] != NULL) {
            drop(use->of_piece[i]);
        }
    }
    free(use->of_piece);
    *use = (rw_memory_use_t){0};
}

void rw_memories_end(ropeway_connector_t *connector) {
    rw_node_t *list = &connector->memories->list;

    while (!rw_list_is_empty(list)) {
        forget(RW_CONTAINER(list->next, ropeway_memory_t, node));
    }
}

void rw_memories_free(ropeway_connector_t *connector) {
    free(connector->memories);
    connector->memories = NULL;
}
