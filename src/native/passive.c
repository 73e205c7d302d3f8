/* SPDX-License-Identifier: Apache-2.0 */
/* Passive operations: memory that is offered, and the check of whoever comes for it. */
#include "base/error.h"
#include "internal.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

/* Turns the random id into a UUID4, which the notification key is. */
static void make_key(uint8_t id[RW_ID_BYTES]) {
    id[6] = (uint8_t)((id[6] & 0x0f) | 0x40);
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
}

static ropeway_error_t offer(ropeway_connector_t *connector, ropeway_operation_kind_t kind,
                             const ropeway_descriptor_t *descriptors, size_t count,
                             const ropeway_operation_options_t *options,
                             ropeway_operation_t **result) RW_UNCHECKED {
    ropeway_operation_t *operation;
    ropeway_error_t error;

    if (result == NULL) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT, "the place for the operation is null");
    }
    *result = NULL;
    error = rw_connector_enter(connector);
    if (error != ROPEWAY_OK) {
        return error;
    }
    connector->references++; /* it stays while we prepare without its lock */
    rw_unlock(&connector->lock);
    error = rw_operation_new(connector, kind, descriptors, count, options, &operation);
    rw_lock(&connector->lock);
    connector->references--;
    if (error == ROPEWAY_OK) {
        make_key(operation->node.id);
        error = connector->closed
                    ? rw_fail(ROPEWAY_ERR_CLOSED, "the connector \"%s\" is closed", connector->name)
                    : ROPEWAY_OK;
        /* Stock peers check no sums and know no pieces: such an offer is none for them. */
        if (error == ROPEWAY_OK && connector->options.interop != 0 &&
            (operation->flags & ROPEWAY_OPERATION_INTEGRITY) == 0 &&
            !rw_layout_is_grouped(operation)) {
            error = rw_nixl_expose(operation);
        }
        if (error == ROPEWAY_OK) {
            error = rw_operation_start(operation);
        }
        if (error == ROPEWAY_OK) {
            *result = operation;
            rw_progress_kick(connector);
        } else {
            rw_nixl_conceal(operation);
            rw_operation_discard(operation);
        }
    }
    rw_connector_leave(connector);
    return error;
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

void rw_passive_reject(ropeway_connector_t *connector, const rw_message_t *message, ucp_ep_h reply,
                       ropeway_error_t error, const char *format, ...) {
    rw_message_t answer = {.type = RW_FIN, .version = RW_PROTOCOL_VERSION};
    char text[RW_TEXT_MAX];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    memcpy(answer.to, message->from, RW_ID_BYTES);
    memcpy(answer.from, message->to, RW_ID_BYTES);
    answer.fin.status = ROPEWAY_STATUS_ERRORED;
    answer.fin.error = error;
    rw_log(connector, ROPEWAY_LOG_INFO, "a request was refused: %s", text);
    rw_native_reject(connector, reply, &answer, text, strlen(text));
}

/* Whether the request fits the operation that it names; if not it is answered. */
static bool check(ropeway_operation_t *operation, const rw_message_t *message,
                  ucp_ep_h reply) RW_LOCKED {
    ropeway_connector_t *connector = operation->connector;
    bool wants_read = (message->flags & RW_FLAG_READ) != 0;

    if (wants_read != operation->is_sender) {
        rw_passive_reject(connector, message, reply, ROPEWAY_ERR_KIND_MISMATCH,
                          "the operation is %s, and can't be %s",
                          operation->is_sender ? "readable" : "writable",
                          wants_read ? "read" : "written");
    } else if (message->request.count != operation->count) {
        rw_passive_reject(connector, message, reply, ROPEWAY_ERR_COUNT_MISMATCH,
                          "the operation has %zu descriptors, the request %u", operation->count,
                          message->request.count);
    } else if (message->request.total != operation->total ||
               message->request.digest !=
                   rw_message_digest(operation->descriptors, operation->count)) {
        rw_passive_reject(connector, message, reply, ROPEWAY_ERR_SIZE_MISMATCH,
                          "the operation's descriptors have %llu bytes in all, the request's %llu; "
                          "each must have the same size",
                          (unsigned long long)operation->total,
                          (unsigned long long)message->request.total);
    } else if ((operation->any_device && (message->flags & RW_FLAG_INTEGRITY) != 0) ||
               (operation->integrity && (message->flags & RW_FLAG_DEVICE) != 0)) {
        rw_passive_reject(connector, message, reply, ROPEWAY_ERR_UNSUPPORTED,
                          "the integrity check works on host memory only");
    } else {
        return true;
    }
    return false;
}

/* The operation that the request may begin, or NULL after an answer. */
static ropeway_operation_t *admit(ropeway_connector_t *connector, const rw_message_t *message,
                                  ucp_ep_h reply) RW_LOCKED {
    rw_table_node_t *node = rw_table_find(&connector->operations, message->to);
    ropeway_operation_t *operation =
        node != NULL ? RW_CONTAINER(node, ropeway_operation_t, node) : NULL;

    if (operation == NULL || rw_operation_is_active(operation) ||
        operation->phase != RW_PHASE_IDLE) {
        ropeway_error_t error = operation != NULL && !rw_operation_is_active(operation)
                                    ? ROPEWAY_ERR_KEY_USED
                                    : rw_grave_read(connector, message->to);

        if (error == ROPEWAY_OK) {
            error = ROPEWAY_ERR_KEY_UNKNOWN;
        }

        rw_passive_reject(connector, message, reply, error, "%s", ropeway_error_text(error));
        return NULL;
    }
    return check(operation, message, reply) ? operation : NULL;
}

/* rest: what is behind the token. */
static void begin(ropeway_operation_t *operation, const rw_message_t *message, const uint8_t *rest,
                  size_t length) RW_LOCKED {
    operation->integrity |= (message->flags & RW_FLAG_INTEGRITY) != 0;
    operation->remote_device = (message->flags & RW_FLAG_DEVICE) != 0;
    if (operation->is_sender) {
        operation->accepted = true;
        rw_send_pump(operation);
    } else if ((message->flags & RW_FLAG_INLINE) != 0 && !operation->integrity &&
               !operation->any_device) {
        rw_receive_inline(operation, rest, length);
    } else {
        rw_native_tell(operation, RW_ACCEPT);
    }
}

/* The connection to whoever sent the request. A request over another endpoint than the one we know
 * tells that the peer has given that up and made a new one; answers on the old one would be lost.
 */
static ropeway_error_t find_peer(ropeway_connector_t *connector, const uint8_t id[RW_ID_BYTES],
                                 const rw_hello_t *hello, ucp_ep_h reply,
                                 rw_peer_t **peer) RW_LOCKED {
    rw_peer_t *known = rw_peer_find(connector, id);

    if (known != NULL && reply != NULL && known->endpoint != reply &&
        memcmp(id, connector->id, RW_ID_BYTES) != 0) {
        rw_queue_drain(known->queue); /* what it has sent there came before */
        known->leave = RW_LEAVE_FLUSHED;
        rw_peer_fail(known, ROPEWAY_ERR_PEER_LOST, "it has made a new connection");
    }
    return rw_peer_get(connector, id, hello, peer);
}

/* Who sent the request, which is checked and answered if need be. NULL: it can't be served. */
static rw_peer_t *find_sender(ropeway_connector_t *connector, const rw_message_t *message,
                              const uint8_t *payload, ucp_ep_h reply) RW_LOCKED {
    size_t hello_length = message->request.hello_length;
    uint8_t id[RW_ID_BYTES];
    rw_hello_t hello;
    rw_peer_t *peer;
    ropeway_error_t error = rw_hello_decode(payload, hello_length, &hello);

    if (error != ROPEWAY_OK) {
        rw_passive_reject(connector, message, reply, error,
                          "the request does not say properly who it comes from");
        return NULL;
    }
    rw_hello_id(payload, hello_length, id);
    error = find_peer(connector, id, &hello, reply, &peer);
    if (error != ROPEWAY_OK) {
        rw_passive_reject(connector, message, reply, error, "%s", ropeway_last_error());
        return NULL;
    }
    return peer;
}

void rw_passive_request(ropeway_connector_t *connector, rw_queue_t *queue,
                        const rw_message_t *message, const uint8_t *payload, size_t length,
                        ucp_ep_h reply) {
    ropeway_operation_t *operation = admit(connector, message, reply);
    size_t hello_length = message->request.hello_length;
    size_t rest = hello_length + RW_ID_BYTES;
    uint64_t grain = (message->flags & RW_FLAG_GRAIN) != 0 ? rw_message_grain(payload + rest) : 0;
    rw_peer_t *peer;

    if (operation == NULL) {
        return;
    }
    if (grain > 0 && grain < RW_GRAIN_LEAST) {
        rw_passive_reject(connector, message, reply, ROPEWAY_ERR_PROTOCOL,
                          "the request wants messages of %llu bytes, and %d is the least",
                          (unsigned long long)grain, RW_GRAIN_LEAST);
        return;
    }
    peer = queue != NULL ? queue->peer : find_sender(connector, message, payload, reply);
    if (peer == NULL || (queue != NULL && sodium_memcmp(peer->their_token, payload + hello_length,
                                                        RW_ID_BYTES) != 0)) {
        return;
    }
    rw_peer_use(peer);
    rw_operation_bind(operation, peer, message->from);
    operation->by_queue = queue != NULL;
    peer->heard = true;
    peer->last_heard = operation->last_moved;
    memcpy(peer->their_token, payload + hello_length, RW_ID_BYTES);
    operation->remote_grain = grain;
    begin(operation, message, payload + rest, length - rest);
}
