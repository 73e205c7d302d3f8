/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The native protocol's traffic: sending control messages, and handing each arriving message to the
 * operation that it names. docs/wire.md tells the conversation. A message is obeyed only if it
 * carries both ids of its operation: the receiver's, which only the two sides know, and the
 * sender's.
 */
#include "base/error.h"
#include "internal.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define SPARE_FLIGHTS_MAX 256

rw_flight_t *rw_flight_take(ropeway_connector_t *connector) {
    rw_link_t *link = rw_list_take(&connector->spare_flights);
    rw_flight_t *flight;

    if (link != NULL) {
        connector->spare_count--;
        return RW_CONTAINER(link, rw_flight_t, link);
    }
    flight = calloc(1, sizeof *flight);
    if (flight != NULL) {
        rw_list_init(&flight->link);
        flight->connector = connector;
    }
    return flight;
}

void rw_flight_give(rw_flight_t *flight) {
    ropeway_connector_t *connector = flight->connector;

    free(flight->buffer);
    flight->buffer = NULL;
    flight->operation = NULL;
    flight->counts_as_reject = false;
    if (connector->spare_count >= SPARE_FLIGHTS_MAX) {
        free(flight);
        return;
    }
    connector->spare_count++;
    rw_list_append(&connector->spare_flights, &flight->link);
}

void rw_flight_depart(rw_flight_t *flight) {
    flight->operation->inflight++;
    flight->connector->stats.bytes_inflight += flight->length;
}

void rw_flight_land(rw_flight_t *flight) {
    flight->operation->inflight--;
    flight->connector->stats.bytes_inflight -= flight->length;
}

rw_message_t rw_native_message(const ropeway_operation_t *operation, rw_message_type_t type) {
    rw_message_t message = {.type = (uint8_t)type, .version = RW_PROTOCOL_VERSION};

    memcpy(message.to, operation->remote, RW_ID_BYTES);
    memcpy(message.from, operation->node.id, RW_ID_BYTES);
    if (operation->peer != NULL) {
        memcpy(message.token, operation->peer->token, RW_ID_BYTES);
    }
    if (operation->integrity) {
        message.flags |= RW_FLAG_INTEGRITY;
    }
    if (operation->any_device) {
        message.flags |= RW_FLAG_DEVICE;
    }
    return message;
}

/* ---- sending ---- */

static void message_gone(rw_flight_t *flight) RW_LOCKED {
    flight->connector->messages_inflight--;
    flight->connector->rejects_inflight -= flight->counts_as_reject;
    rw_flight_give(flight);
}

static void on_message_sent(void *request, ucs_status_t status, void *argument) RW_UNCHECKED {
    (void)status;
    ucp_request_free(request);
    message_gone(argument);
}

static rw_flight_t *pack(ropeway_connector_t *connector, const rw_message_t *message,
                         const void *payload, size_t length) RW_LOCKED {
    rw_flight_t *flight = rw_flight_take(connector);

    if (flight == NULL) {
        return NULL;
    }
    if (length > 0) {
        flight->buffer = malloc(length);
        if (flight->buffer == NULL) {
            rw_flight_give(flight);
            return NULL;
        }
        memcpy(flight->buffer, payload, length);
    }
    rw_message_encode(message, flight->header);
    return flight;
}

static ropeway_error_t post(rw_flight_t *flight, ucp_ep_h endpoint, size_t length,
                            uint32_t more_flags) RW_LOCKED {
    ropeway_connector_t *connector = flight->connector;
    ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK |
                                                 UCP_OP_ATTR_FIELD_USER_DATA |
                                                 UCP_OP_ATTR_FIELD_FLAGS,
                                 .flags = UCP_AM_SEND_FLAG_EAGER | more_flags,
                                 .cb.send = on_message_sent,
                                 .user_data = flight};
    ucs_status_ptr_t request;

    connector->messages_inflight++;
    connector->rejects_inflight += flight->counts_as_reject;
    request = ucp_am_send_nbx(endpoint, RW_AM_HOST, flight->header, RW_MESSAGE_BYTES,
                              flight->buffer, length, &param);
    if (UCS_PTR_IS_PTR(request)) {
        return ROPEWAY_OK;
    }
    message_gone(flight);
    return request == NULL ? ROPEWAY_OK
                           : rw_fail(ROPEWAY_ERR_TRANSPORT, "UCX can't send: %s",
                                     ucs_status_string(UCS_PTR_STATUS(request)));
}

ropeway_error_t rw_native_send(ropeway_connector_t *connector, ucp_ep_h endpoint,
                               const rw_message_t *message, const void *payload, size_t length) {
    rw_flight_t *flight = pack(connector, message, payload, length);

    if (flight == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    /* The answer to a stranger goes where the request came from. */
    return post(flight, endpoint, length,
                message->type == RW_REQUEST && message->request.hello_length > 0
                    ? UCP_AM_SEND_FLAG_REPLY
                    : 0);
}

void rw_native_reject(ropeway_connector_t *connector, ucp_ep_h reply, const rw_message_t *message,
                      const void *payload, size_t length) {
    rw_flight_t *flight;

    connector->stats.requests_rejected++;
    if (reply == NULL || connector->rejects_inflight >= RW_REJECTS_MAX) {
        return;
    }
    flight = pack(connector, message, payload, length);
    if (flight != NULL) {
        flight->counts_as_reject = true;
        post(flight, reply, length, 0);
    }
}

ucp_ep_h rw_native_endpoint(const ropeway_operation_t *operation) {
    return operation->by_queue ? operation->peer->queue->endpoint : operation->peer->endpoint;
}

static bool can_tell(const ropeway_operation_t *operation) RW_LOCKED {
    return operation->peer != NULL && !operation->peer->failed && !operation->peer->stock;
}

void rw_native_tell(ropeway_operation_t *operation, rw_message_type_t type) {
    rw_message_t message = rw_native_message(operation, type);

    if (type == RW_ACCEPT) {
        message.accept.grain = operation->grain;
    }
    if (can_tell(operation)) {
        rw_native_send(operation->connector, rw_native_endpoint(operation), &message, NULL, 0);
    }
}

void rw_native_tell_end(ropeway_operation_t *operation) {
    rw_message_t message = rw_native_message(operation, RW_FIN);
    size_t length = operation->text != NULL ? strlen(operation->text) : 0;

    if (can_tell(operation)) {
        message.fin.status = operation->end_status;
        message.fin.error = operation->error;
        rw_native_send(operation->connector, rw_native_endpoint(operation), &message,
                       operation->text, length < RW_TEXT_MAX ? length : RW_TEXT_MAX);
    }
}

/* ---- arriving ---- */

static bool is_known_error(uint64_t error) {
    return error != ROPEWAY_OK && error <= INT32_MAX &&
           strcmp(ropeway_error_name((ropeway_error_t)error), "ROPEWAY_ERR_?") != 0;
}

static void on_accept(ropeway_operation_t *operation, const rw_message_t *message) RW_LOCKED {
    if (!operation->is_sender || operation->accepted) {
        rw_operation_violate(operation, "an ACCEPT that nobody waits for");
        return;
    }
    operation->accepted = true;
    operation->remote_grain = message->accept.grain;
    operation->integrity |= (message->flags & RW_FLAG_INTEGRITY) != 0;
    operation->remote_device = (message->flags & RW_FLAG_DEVICE) != 0;
    /* Bytes that went with the request were not taken: they go again. */
    operation->all_sent = operation->started = false;
    if (operation->cancel_asked) {
        rw_operation_end(operation, ROPEWAY_STATUS_CANCELLED, ROPEWAY_ERR_CANCELLED, true,
                         "cancelled on this side before a byte moved; peer: \"%s\"",
                         operation->peer->name);
    } else if (operation->integrity && operation->any_device) {
        rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_UNSUPPORTED, true,
                         "the peer \"%s\" asks for an integrity check, which works on host memory "
                         "only",
                         operation->peer->name);
    } else {
        rw_send_pump(operation);
    }
}

static void on_done(ropeway_operation_t *operation) RW_LOCKED {
    if (!operation->is_sender || !operation->all_sent) {
        rw_operation_violate(operation, "DONE before the last byte was sent");
        return;
    }
    operation->connector->stats.bytes_sent += operation->total - operation->posted; /* inline */
    atomic_store(&operation->done, operation->total);
    rw_operation_end(operation, ROPEWAY_STATUS_COMPLETE, ROPEWAY_OK, operation->pulled, " ");
}

static void on_fin(ropeway_operation_t *operation, const rw_message_t *message, const void *payload,
                   size_t length) RW_LOCKED {
    const char *peer = operation->peer->name;
    char text[RW_TEXT_MAX + 1];

    rw_message_text(payload, length, text, sizeof text);
    if (message->fin.status == ROPEWAY_STATUS_COMPLETE) {
        if (operation->done_sent) {
            rw_operation_end(operation, ROPEWAY_STATUS_COMPLETE, ROPEWAY_OK, false, " ");
        } else {
            rw_operation_violate(operation, "it says COMPLETE before all bytes have arrived");
        }
    } else if (message->fin.status == ROPEWAY_STATUS_CANCELLED || operation->cancel_asked) {
        rw_operation_end(operation, ROPEWAY_STATUS_CANCELLED, ROPEWAY_ERR_CANCELLED, false,
                         "the peer \"%s\" cancelled it: %s", peer, text);
    } else if (is_known_error(message->fin.error)) {
        rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, (ropeway_error_t)message->fin.error,
                         false, "the peer \"%s\" ended it: %s", peer, text);
    } else {
        rw_operation_violate(operation, "an error code that does not exist");
    }
}

static void deliver(ropeway_operation_t *operation, const rw_message_t *message,
                    const void *payload, size_t length) RW_LOCKED {
    switch (message->type) {
    case RW_ACCEPT:
        on_accept(operation, message);
        break;
    case RW_SUMS:
        rw_receive_sums(operation, message, payload, length);
        break;
    case RW_DONE:
        on_done(operation);
        break;
    default:
        on_fin(operation, message, payload, length);
        break;
    }
}

/* The live operation that the message is for, or NULL. Through a queue only its peer speaks, and
 * only of operations that use it. */
static ropeway_operation_t *recipient(ropeway_connector_t *connector, const rw_queue_t *queue,
                                      const rw_message_t *message) RW_LOCKED {
    rw_table_node_t *node = rw_table_find(&connector->operations, message->to);
    ropeway_operation_t *operation;

    if (node == NULL) {
        return NULL;
    }
    operation = RW_CONTAINER(node, ropeway_operation_t, node);
    if (operation->phase != RW_PHASE_MOVING || operation->peer == NULL ||
        memcmp(operation->remote, message->from, RW_ID_BYTES) != 0 ||
        queue != (operation->by_queue ? operation->peer->queue : NULL)) {
        return NULL;
    }
    rw_operation_touch(operation);
    operation->peer->heard = true;
    if (!sodium_is_zero(message->token, RW_ID_BYTES)) { /* a refusal comes without */
        memcpy(operation->peer->their_token, message->token, RW_ID_BYTES);
    }
    operation->peer->last_heard = operation->last_moved;
    return operation;
}

static ucs_status_t dispatch(ropeway_connector_t *connector, const rw_queue_t *queue,
                             const rw_message_t *message, void *data, size_t length,
                             const ucp_am_recv_param_t *param) RW_LOCKED {
    ropeway_operation_t *operation = recipient(connector, queue, message);

    if (operation == NULL ||
        ((param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0 && message->type != RW_DATA)) {
        connector->stats.messages_dropped++;
        return UCS_OK;
    }
    if (message->type == RW_DATA) {
        return rw_receive_data(operation, message, data, length, param);
    }
    deliver(operation, message, data, length);
    return UCS_OK;
}

static ucp_ep_h reply_of(const ucp_am_recv_param_t *param) {
    return (param->recv_attr & UCP_AM_RECV_ATTR_FIELD_REPLY_EP) != 0 ? param->reply_ep : NULL;
}

static void on_bye(ropeway_connector_t *connector, const rw_message_t *message) RW_LOCKED {
    rw_peer_t *peer = rw_peer_find(connector, message->from);

    if (peer != NULL && !sodium_is_zero(message->token, RW_ID_BYTES) &&
        sodium_memcmp(peer->their_token, message->token, RW_ID_BYTES) == 0) {
        rw_queue_drain(peer->queue); /* what it has sent there came before */
        if ((message->flags & RW_FLAG_GONE) != 0) {
            rw_grave_dig(connector, peer->node.id, ROPEWAY_ERR_PEER_CLOSED);
        }
        peer->leave = RW_LEAVE_LATER;
        rw_peer_fail(peer, ROPEWAY_ERR_PEER_CLOSED, "it closed the connection");
    }
}

/* queue: the one that it came through, or NULL; reply: where to refuse a request, or NULL. */
static ucs_status_t take(ropeway_connector_t *connector, rw_queue_t *queue, ucp_ep_h reply,
                         const void *header, size_t header_length, void *data, size_t length,
                         const ucp_am_recv_param_t *param) RW_LOCKED {
    bool by_rendezvous = (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0;
    rw_message_t message;
    ropeway_error_t error = rw_message_decode(header, header_length, length, &message);

    if (error == ROPEWAY_ERR_VERSION && message.type == RW_REQUEST) {
        rw_passive_reject(connector, &message, reply, error,
                          "protocol version %u is not spoken here, but %u", message.version,
                          RW_PROTOCOL_VERSION);
        return UCS_OK;
    }
    if (error != ROPEWAY_OK || (by_rendezvous && message.type != RW_DATA) ||
        (queue != NULL && message.type == RW_BYE)) {
        connector->stats.messages_dropped++;
        return UCS_OK;
    }
    if (message.type == RW_REQUEST) {
        rw_passive_request(connector, queue, &message, data, length, reply);
        return UCS_OK;
    }
    if (message.type == RW_BYE) {
        on_bye(connector, &message);
        return UCS_OK;
    }
    return dispatch(connector, queue, &message, data, length, param);
}

static ucs_status_t on_message(void *argument, const void *header, size_t header_length, void *data,
                               size_t length, const ucp_am_recv_param_t *param) RW_UNCHECKED {
    return take(argument, NULL, reply_of(param), header, header_length, data, length, param);
}

static ucs_status_t on_queue_message(void *argument, const void *header, size_t header_length,
                                     void *data, size_t length,
                                     const ucp_am_recv_param_t *param) RW_UNCHECKED {
    rw_queue_t *queue = argument;

    if (queue->peer->queue != queue || queue->peer->failed) {
        return UCS_OK; /* not connected yet, or not any more */
    }
    queue->usable = true;
    return take(queue->peer->connector, queue, queue->endpoint, header, header_length, data, length,
                param);
}

ropeway_error_t rw_native_listen(ropeway_connector_t *connector, rw_queue_t *queue) {
    static const struct {
        unsigned id;
        uint32_t flags;
    } handlers[] = {{RW_AM_HOST, UCP_AM_FLAG_WHOLE_MSG},
                    {RW_AM_DEVICE, UCP_AM_FLAG_WHOLE_MSG | UCP_AM_FLAG_PERSISTENT_DATA}};

    for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++) {
        ucp_am_handler_param_t param = {
            .field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_FLAGS |
                          UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG,
            .id = handlers[i].id,
            .flags = handlers[i].flags,
            .cb = queue != NULL ? on_queue_message : on_message,
            .arg = queue != NULL ? (void *)queue : connector};
        ucs_status_t status = ucp_worker_set_am_recv_handler(
            queue != NULL ? queue->worker : connector->worker, &param);

        if (status != UCS_OK) {
            return rw_fail(ROPEWAY_ERR_TRANSPORT, "UCX takes no message handler: %s",
                           ucs_status_string(status));
        }
    }
    return ROPEWAY_OK;
}
