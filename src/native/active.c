/* SPDX-License-Identifier: Apache-2.0 */
/* Active operations: reads and writes of what a peer offers. */
#include "base/error.h"
#include "internal.h"

#include <stdlib.h>
#include <string.h>

static const char *passive_name(ropeway_operation_kind_t kind) {
    return kind == ROPEWAY_OPERATION_READABLE ? "readable" : "writable";
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
    if (metadata->count != operation->count) {
        return rw_fail(ROPEWAY_ERR_COUNT_MISMATCH,
                       "the remote operation has %zu descriptors, but %zu local ones were given",
                       metadata->count, operation->count);
    }
    for (size_t i = 0; i < operation->count; i++) {
        if (metadata->descriptors[i].size != operation->descriptors[i].size) {
            return rw_fail(ROPEWAY_ERR_SIZE_MISMATCH,
                           "descriptor %zu has %zu bytes on the remote side, but %zu here", i,
                           metadata->descriptors[i].size, operation->descriptors[i].size);
        }
    }
    return ROPEWAY_OK;
}

static ropeway_error_t find_path(const ropeway_metadata_t *metadata, rw_hello_t *hello) {
    ropeway_error_t error;

    if (metadata->native == NULL && metadata->ucx != NULL) {
        return ROPEWAY_OK;
    }
    if (metadata->native == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_PATH,
                       "the peer \"%s\" can't be spoken to: its metadata has neither a "
                       "\"" RW_BACKEND_NATIVE "\" nor a \"" RW_BACKEND_UCX "\" connection",
                       metadata->agent);
    }
    error = rw_hello_decode(metadata->native, metadata->native_length, hello);
    if (error == ROPEWAY_ERR_VERSION) {
        return rw_fail(error,
                       "the peer \"%s\" speaks protocol version %u, this library %u; use releases "
                       "that fit",
                       metadata->agent, hello->version, RW_PROTOCOL_VERSION);
    }
    if (error != ROPEWAY_OK || !metadata->key_is_uuid) {
        return rw_fail(ROPEWAY_ERR_METADATA, "the metadata of the peer \"%s\" is damaged: %s",
                       metadata->agent,
                       error != ROPEWAY_OK ? "its native connection can't be read"
                                           : "its notification key is not a UUID");
    }
    return ROPEWAY_OK;
}

static bool goes_inline(const ropeway_operation_t *operation) {
    return operation->is_sender && !operation->any_device && !operation->integrity &&
           operation->total <= RW_INLINE_MAX;
}

/* The request: who we are, what we want, and the bytes of a small write. */
static ropeway_error_t send_request(ropeway_operation_t *operation) RW_LOCKED {
    ropeway_connector_t *connector = operation->connector;
    rw_message_t message = rw_native_message(operation, RW_REQUEST);
    /* Who sends through a queue is known. */
    size_t hello_length = operation->by_queue ? 0 : connector->hello_length;
    size_t length = hello_length;
    uint8_t *payload = malloc(length + RW_ID_BYTES + RW_INLINE_MAX); /* a grain is no longer */
    ropeway_error_t error;

    if (payload == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    memcpy(payload, connector->hello, length);
    memcpy(payload + length, operation->peer->token, RW_ID_BYTES);
    length += RW_ID_BYTES;
    if (goes_inline(operation)) {
        message.flags |= RW_FLAG_INLINE;
        for (size_t i = 0; i < operation->piece_count; i++) {
            memcpy(payload + length, operation->pieces[i].ptr, operation->pieces[i].size);
            length += operation->pieces[i].size;
        }
    }
    if (operation->grain > 0) {
        message.flags |= RW_FLAG_GRAIN;
        rw_message_put_grain(operation->grain, payload + length);
        length += RW_GRAIN_BYTES;
    }
    message.flags |= operation->is_sender ? 0 : RW_FLAG_READ;
    message.request.total = operation->total;
    message.request.digest = rw_message_digest(operation->descriptors, operation->count);
    message.request.count = (uint32_t)operation->count;
    message.request.hello_length = (uint32_t)hello_length;
    error = rw_native_send(connector, rw_native_endpoint(operation), &message, payload, length);
    operation->all_sent = (message.flags & RW_FLAG_INLINE) != 0;
    free(payload);
    return error;
}

/* Enters the operation and posts its first bytes; the peer is a stock NIXL agent. */
static ropeway_error_t start_stock(ropeway_operation_t *operation,
                                   const ropeway_metadata_t *metadata) RW_LOCKED {
    static const uint8_t nobody[RW_ID_BYTES];
    rw_peer_t *peer;
    ropeway_error_t error = rw_nixl_prepare(operation, metadata, &peer);

    operation->remote_name = strdup(metadata->key);
    if (error == ROPEWAY_OK && operation->remote_name == NULL) {
        error = rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    if (error == ROPEWAY_OK) {
        error = rw_operation_start(operation);
    }
    if (error == ROPEWAY_OK) {
        rw_operation_bind(operation, peer, nobody);
        rw_nixl_pump(operation);
    }
    return error;
}

/* Enters the operation and sends its request. */
static ropeway_error_t start(ropeway_operation_t *operation, const ropeway_metadata_t *metadata,
                             const rw_hello_t *hello) RW_LOCKED {
    ropeway_connector_t *connector = operation->connector;
    uint8_t id[RW_ID_BYTES];
    rw_peer_t *peer;
    ropeway_error_t error;

    if (connector->closed) {
        return rw_fail(ROPEWAY_ERR_CLOSED, "the connector \"%s\" is closed", connector->name);
    }
    if (metadata->native == NULL) {
        return start_stock(operation, metadata);
    }
    rw_hello_id(metadata->native, metadata->native_length, id);
    error = rw_peer_get(connector, id, hello, &peer);
    if (error == ROPEWAY_OK) {
        error = rw_operation_start(operation);
    }
    if (error != ROPEWAY_OK) {
        return error;
    }
    rw_operation_bind(operation, peer, metadata->key_bytes);
    operation->by_queue = peer->queue != NULL && peer->queue->usable && !operation->any_device;
    error = send_request(operation);
    if (error != ROPEWAY_OK) {
        rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, error, false, "%s",
                         ropeway_last_error());
    }
    return ROPEWAY_OK;
}

static ropeway_error_t begin(ropeway_connector_t *connector, ropeway_operation_kind_t kind,
                             const char *text, size_t length,
                             const ropeway_descriptor_t *descriptors, size_t count,
                             const ropeway_operation_options_t *options,
                             ropeway_operation_t **result) {
    ropeway_operation_t *operation = NULL;
    ropeway_metadata_t *metadata = NULL;
    rw_hello_t hello;
    ropeway_error_t error =
        rw_operation_new(connector, kind, descriptors, count, options, &operation);

    if (error == ROPEWAY_OK) {
        error = rw_metadata_parse(text, length, connector->options.max_metadata, &connector->agents,
                                  &metadata);
    }
    if (error == ROPEWAY_OK) {
        error = compare(operation, metadata);
    }
    if (error == ROPEWAY_OK) {
        error = find_path(metadata, &hello);
    }
    rw_lock(&connector->lock);
    if (error == ROPEWAY_OK) {
        error = start(operation, metadata, &hello);
    }
    if (error == ROPEWAY_OK) {
        rw_progress_kick(connector);
        *result = operation;
    } else if (operation != NULL) {
        rw_nixl_let_go(operation);
        rw_operation_discard(operation);
    }
    connector->references--;
    rw_connector_leave(connector);
    ropeway_metadata_release(metadata);
    return error;
}

static ropeway_error_t enter_and_begin(ropeway_connector_t *connector,
                                       ropeway_operation_kind_t kind, const char *text,
                                       size_t length, const ropeway_descriptor_t *descriptors,
                                       size_t count, const ropeway_operation_options_t *options,
                                       ropeway_operation_t **result) RW_UNCHECKED {
    ropeway_error_t error;

    if (result == NULL || text == NULL) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                       "the metadata and the place for the operation must not be null");
    }
    *result = NULL;
    error = rw_connector_enter(connector);
    if (error != ROPEWAY_OK) {
        return error;
    }
    connector->references++; /* it stays while we prepare without its lock */
    rw_unlock(&connector->lock);
    return begin(connector, kind, text, length, descriptors, count, options, result);
}

ropeway_error_t ropeway_begin_read(ropeway_connector_t *connector, const char *metadata,
                                   size_t length, const ropeway_descriptor_t *descriptors,
                                   size_t count, const ropeway_operation_options_t *options,
                                   ropeway_operation_t **operation) {
    return enter_and_begin(connector, ROPEWAY_OPERATION_READ, metadata, length, descriptors, count,
                           options, operation);
}

ropeway_error_t ropeway_begin_write(ropeway_connector_t *connector, const char *metadata,
                                    size_t length, const ropeway_descriptor_t *descriptors,
                                    size_t count, const ropeway_operation_options_t *options,
                                    ropeway_operation_t **operation) {
    return enter_and_begin(connector, ROPEWAY_OPERATION_WRITE, metadata, length, descriptors, count,
                           options, operation);
}
