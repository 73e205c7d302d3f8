/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The functions that make operations. All take the same way: the connector is entered and held, the
 * operation is made and prepared without the lock, and started under it.
 */
#include "base/error.h"
#include "base/log.h"
#include "link/progress.h"
#include "native/native.h"
#include "nixl/nixl.h"
#include "text/agent.h"
#include "ucx/load.h"

#include <string.h>

#define INTEROP_IF_THERE 2 /* of the option interop */

/* What an operation is made of. */
typedef struct rw_order {
    ropeway_connector_t *connector;
    ropeway_operation_kind_t kind;
    const ropeway_descriptor_t *descriptors;
    size_t count;
    const ropeway_operation_options_t *options;
    /* Of active ones: */
    const char *text; /* the metadata */
    size_t length;
    ropeway_metadata_t *metadata;
    rw_speech_t speech;
    rw_hello_t hello;
} rw_order_t;

/* ---- offers ---- */

/* Turns the random id into a UUID4, which the notification key is. */
static void make_key(uint8_t id[RW_ID_BYTES]) {
    id[6] = (uint8_t)((id[6] & 0x0f) | 0x40);
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
}

/* Stock peers check no sums and know no pieces: such an offer is none for them. */
static bool is_for_stock(const ropeway_operation_t *operation) {
    return operation->connector->options.interop != 0 &&
           !atomic_load(&operation->connector->without_stock) &&
           (operation->flags & ROPEWAY_OPERATION_INTEGRITY) == 0 &&
           !rw_layout_is_grouped(&operation->layout);
}

/* Loads what stock peers need. Where they may come only if that is there, the first answer stays.
 */
static ropeway_error_t prepare_for_stock(ropeway_connector_t *connector) {
    ropeway_error_t error = rw_ucx_load();

    if (error == ROPEWAY_OK || connector->options.interop != INTEROP_IF_THERE) {
        return error;
    }
    if (!atomic_exchange(&connector->without_stock, true)) {
        rw_log(connector, ROPEWAY_LOG_WARN, "stock NIXL peers can't reach this connector: %s",
               ropeway_last_error());
    }
    return ROPEWAY_OK;
}

static ropeway_error_t prepare_offer(ropeway_operation_t *operation) {
    ropeway_error_t error =
        is_for_stock(operation) ? prepare_for_stock(operation->connector) : ROPEWAY_OK;

    make_key(operation->node.id);
    return error == ROPEWAY_OK ? rw_native_adopt(operation) : error;
}

static ropeway_error_t start_offer(ropeway_operation_t *operation) RW_LOCKED {
    ropeway_error_t error = is_for_stock(operation) ? rw_nixl_expose(operation) : ROPEWAY_OK;

    if (error == ROPEWAY_OK) {
        error = rw_operation_start(operation);
        if (error != ROPEWAY_OK && operation->conceal != NULL) {
            operation->conceal(operation);
        }
    }
    return error;
}

/* ---- reads and writes ---- */

static const char *passive_name(ropeway_operation_kind_t kind) {
    return kind == ROPEWAY_OPERATION_READABLE ? "readable" : "writable";
}

/* The same, where the local descriptors may be fewer and smaller. */
static ropeway_error_t compare_prefix(const ropeway_operation_t *operation,
                                      const ropeway_metadata_t *metadata) {
    const rw_layout_t *layout = &operation->layout;

    if (layout->count > metadata->count) {
        return rw_fail(ROPEWAY_ERR_COUNT_MISMATCH,
                       "the number of descriptors on the remote side is %zu, and %zu here is more",
                       metadata->count, layout->count);
    }
    for (size_t i = 0; i < layout->count; i++) {
        if (layout->descriptors[i].size > metadata->descriptors[i].size) {
            return rw_fail(ROPEWAY_ERR_SIZE_MISMATCH,
                           "descriptor %zu has %zu bytes on the remote side, and %zu here are more",
                           i, metadata->descriptors[i].size, layout->descriptors[i].size);
        }
    }
    return ROPEWAY_OK;
}

/* The metadata against the local descriptors. */
static ropeway_error_t compare(const ropeway_operation_t *operation,
                               const ropeway_metadata_t *metadata) {
    ropeway_operation_kind_t wanted = operation->kind == ROPEWAY_OPERATION_READ
                                          ? ROPEWAY_OPERATION_READABLE
                                          : ROPEWAY_OPERATION_WRITABLE;

    if (metadata->kind != wanted) {
        return rw_fail(
            ROPEWAY_ERR_KIND_MISMATCH, "the remote operation is %s, but a %s needs a %s one",
            passive_name(metadata->kind),
            operation->kind == ROPEWAY_OPERATION_READ ? "read" : "write", passive_name(wanted));
    }
    if ((operation->flags & ROPEWAY_OPERATION_PREFIX) != 0) {
        return compare_prefix(operation, metadata);
    }
    if (metadata->count != operation->layout.count) {
        return rw_fail(ROPEWAY_ERR_COUNT_MISMATCH,
                       "the number of descriptors is %zu on the remote side, but %zu here",
                       metadata->count, operation->layout.count);
    }
    for (size_t i = 0; i < operation->layout.count; i++) {
        if (metadata->descriptors[i].size != operation->layout.descriptors[i].size) {
            return rw_fail(ROPEWAY_ERR_SIZE_MISMATCH,
                           "descriptor %zu has %zu bytes on the remote side, but %zu here", i,
                           metadata->descriptors[i].size, operation->layout.descriptors[i].size);
        }
    }
    return ROPEWAY_OK;
}

static ropeway_error_t prepare_active(rw_order_t *order, ropeway_operation_t *operation) {
    ropeway_connector_t *connector = order->connector;
    ropeway_error_t error =
        rw_metadata_parse(order->text, order->length, connector->options.max_metadata,
                          connector->agents, &order->metadata);

    if (error == ROPEWAY_OK) {
        error = compare(operation, order->metadata);
    }
    if (error == ROPEWAY_OK) {
        error = rw_metadata_choose(order->metadata, &order->speech);
    }
    if (error != ROPEWAY_OK) {
        return error;
    }
    return order->speech == RW_SPEECH_NATIVE
               ? rw_native_prepare(operation, order->metadata, &order->hello)
               : rw_nixl_prepare(operation, order->metadata);
}

static ropeway_error_t start_active(const rw_order_t *order,
                                    ropeway_operation_t *operation) RW_LOCKED {
    return order->speech == RW_SPEECH_NATIVE
               ? rw_native_begin(operation, order->metadata, &order->hello)
               : rw_nixl_begin(operation, order->metadata);
}

/* ---- both ---- */

static ropeway_error_t start(const rw_order_t *order, ropeway_operation_t *operation) RW_LOCKED {
    ropeway_connector_t *connector = order->connector;

    if (connector->closed) {
        return rw_fail(ROPEWAY_ERR_CLOSED, "the connector \"%s\" is closed", connector->name);
    }
    return order->text != NULL ? start_active(order, operation) : start_offer(operation);
}

static ropeway_error_t create(rw_order_t *order, ropeway_operation_t **result) RW_UNCHECKED {
    ropeway_connector_t *connector = order->connector;
    ropeway_operation_t *operation = NULL;
    ropeway_error_t error = rw_connector_enter(connector);

    if (error != ROPEWAY_OK) {
        return error;
    }
    connector->references++; /* it stays while we prepare without its lock */
    rw_unlock(&connector->lock);
    error = rw_operation_new(connector, order->kind, order->descriptors, order->count,
                             order->options, &operation);
    if (error == ROPEWAY_OK) {
        error = order->text != NULL ? prepare_active(order, operation) : prepare_offer(operation);
    }
    rw_lock(&connector->lock);
    if (error == ROPEWAY_OK) {
        error = start(order, operation);
    }
    if (error == ROPEWAY_OK) {
        *result = operation;
        rw_progress_kick(connector);
    } else if (operation != NULL) {
        rw_operation_discard(operation);
    }
    connector->references--;
    rw_connector_leave(connector);
    ropeway_metadata_release(order->metadata);
    return error;
}

static ropeway_error_t offer(ropeway_connector_t *connector, ropeway_operation_kind_t kind,
                             const ropeway_descriptor_t *descriptors, size_t count,
                             const ropeway_operation_options_t *options,
                             ropeway_operation_t **operation) {
    rw_order_t order = {.connector = connector,
                        .kind = kind,
                        .descriptors = descriptors,
                        .count = count,
                        .options = options};

    if (operation == NULL) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT, "the place for the operation is null");
    }
    *operation = NULL;
    return create(&order, operation);
}

static ropeway_error_t begin(ropeway_connector_t *connector, ropeway_operation_kind_t kind,
                             const char *text, size_t length,
                             const ropeway_descriptor_t *descriptors, size_t count,
                             const ropeway_operation_options_t *options,
                             ropeway_operation_t **operation) {
    rw_order_t order = {.connector = connector,
                        .kind = kind,
                        .descriptors = descriptors,
                        .count = count,
                        .options = options,
                        .text = text,
                        .length = length};

    if (operation == NULL || text == NULL) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                       "the metadata and the place for the operation must not be null");
    }
    *operation = NULL;
    return create(&order, operation);
}

ropeway_error_t ropeway_create_readable(ropeway_connector_t *connector,
                                        const ropeway_descriptor_t *descriptors, size_t count,
                                        const ropeway_operation_options_t *options,
                                        ropeway_operation_t **operation) {
    return offer(connector, ROPEWAY_OPERATION_READABLE, descriptors, count, options, operation);
}

ropeway_error_t ropeway_create_writable(ropeway_connector_t *connector,
                                        const ropeway_descriptor_t *descriptors, size_t count,
                                        const ropeway_operation_options_t *options,
                                        ropeway_operation_t **operation) {
    return offer(connector, ROPEWAY_OPERATION_WRITABLE, descriptors, count, options, operation);
}

ropeway_error_t ropeway_begin_read(ropeway_connector_t *connector, const char *metadata,
                                   size_t length, const ropeway_descriptor_t *descriptors,
                                   size_t count, const ropeway_operation_options_t *options,
                                   ropeway_operation_t **operation) {
    return begin(connector, ROPEWAY_OPERATION_READ, metadata, length, descriptors, count, options,
                 operation);
}

ropeway_error_t ropeway_begin_write(ropeway_connector_t *connector, const char *metadata,
                                    size_t length, const ropeway_descriptor_t *descriptors,
                                    size_t count, const ropeway_operation_options_t *options,
                                    ropeway_operation_t **operation) {
    return begin(connector, ROPEWAY_OPERATION_WRITE, metadata, length, descriptors, count, options,
                 operation);
}
