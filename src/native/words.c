/* SPDX-License-Identifier: Apache-2.0 */
/* Messages without operation memory, outwards. */
#include "base/assert.h"
#include "base/error.h"
#include "native/native.h"

#include <stdlib.h>
#include <string.h>

rw_message_t rw_native_message(const ropeway_operation_t *operation,
                               rw_message_type_t type) RW_UNCHECKED {
    const rw_side_t *side = rw_side(operation);
    rw_message_t message = {.type = (uint8_t)type, .version = RW_PROTOCOL_VERSION};

    memcpy(message.to, side->remote, RW_ID_BYTES);
    memcpy(message.from, operation->node.id, RW_ID_BYTES);
    if (operation->peer != NULL) {
        memcpy(message.token, operation->peer->token, RW_ID_BYTES);
    }
    if (side->integrity) {
        message.flags |= RW_FLAG_INTEGRITY;
    }
    if (operation->layout.any_device) {
        message.flags |= RW_FLAG_DEVICE;
    }
    return message;
}

static void on_message_sent(rw_flight_t *flight, ropeway_error_t error, const char *why) RW_LOCKED {
    (void)error, (void)why; /* a connection that broke tells its operations */
    rw_flight_give(flight);
}

static void on_answered(rw_flight_t *flight, ropeway_error_t error, const char *why) RW_LOCKED {
    rw_link_t *link = flight->tag;

    on_message_sent(flight, error, why);
    link->refusals--;
    rw_link_drop(link);
}

static void on_answered_nobody(rw_flight_t *flight, ropeway_error_t error,
                               const char *why) RW_LOCKED {
    struct rw_native *native = flight->connector->native;

    if (native != NULL) { /* else the links end with the connector */
        native->rejects--;
    }
    on_message_sent(flight, error, why);
}

/* By the link that the frame names. */
static ropeway_error_t answer_by(rw_link_t *link, rw_flight_t *flight) RW_LOCKED {
    flight->done = on_answered;
    flight->tag = link;
    link->references++;
    link->refusals++;
    return link->kind->send(link, flight);
}

static ropeway_error_t answer_nobody(const rw_frame_t *frame, rw_flight_t *flight) RW_LOCKED {
    ropeway_connector_t *connector = flight->connector;

    flight->done = on_answered_nobody;
    connector->native->rejects++;
    return frame->kind->refuse(connector, frame->reply, flight);
}

/* NULL: out of memory. */
static rw_flight_t *pack(ropeway_connector_t *connector, const rw_message_t *message,
                         const void *payload, size_t length) RW_LOCKED {
    rw_flight_t *flight = rw_flight_take(connector);

    _Static_assert(RW_MESSAGE_BYTES <= RW_HEADER_MAX, "a message's header is a frame's");
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
    rw_flight_lend(flight, flight->buffer, length);
    rw_message_encode(message, flight->header);
    flight->header_length = RW_MESSAGE_BYTES;
    flight->done = on_message_sent;
    return flight;
}

ropeway_error_t rw_native_send(rw_link_t *link, const rw_message_t *message, const void *payload,
                               size_t length) {
    rw_flight_t *flight = pack(link->peer->connector, message, payload, length);
    ropeway_error_t error;

    if (flight == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    flight->introduces = message->type == RW_REQUEST;
    error = link->kind->send(link, flight);
    if (error != ROPEWAY_OK) {
        rw_flight_give(flight);
    }
    return error;
}

void rw_native_answer(ropeway_connector_t *connector, const rw_frame_t *frame,
                      const rw_message_t *message, const void *payload, size_t length,
                      bool is_owed) {
    rw_link_t *link = frame->link;
    rw_flight_t *flight;
    ropeway_error_t error;

    if (link != NULL) {
        link->tired = true;
    }
    if (link != NULL ? link->refusals >= RW_LINK_REJECTS_MAX && !is_owed
                     : frame->reply == NULL || connector->native->rejects >= RW_REJECTS_MAX) {
        return;
    }
    flight = pack(connector, message, payload, length);
    if (flight == NULL) {
        return;
    }
    error = link != NULL ? answer_by(link, flight) : answer_nobody(frame, flight);
    if (error != ROPEWAY_OK) {
        flight->done(flight, error, "");
    }
}

static bool can_tell(const ropeway_operation_t *operation) RW_LOCKED {
    return operation->peer != NULL && !operation->peer->failed;
}

void rw_native_tell(ropeway_operation_t *operation, rw_message_type_t type) {
    rw_message_t message = rw_native_message(operation, type);

    if (type == RW_ACCEPT) {
        message.accept.grain = rw_side(operation)->in.grain;
    } else if (type == RW_DONE && rw_side(operation)->in.damaged) {
        message.flags |= RW_FLAG_DAMAGED;
    }
    if (can_tell(operation)) {
        rw_native_send(operation->link, &message, NULL, 0);
    }
}

static void send_end(ropeway_operation_t *operation, rw_link_t *link) RW_LOCKED {
    rw_message_t message = rw_native_message(operation, RW_FIN);
    size_t length = operation->text != NULL ? strlen(operation->text) : 0;

    message.fin.status = operation->end_status;
    message.fin.error = operation->error;
    memcpy(message.token, link->peer->token, RW_ID_BYTES);
    rw_native_send(link, &message, operation->text, length < RW_TEXT_MAX ? length : RW_TEXT_MAX);
}

void rw_native_tell_end(ropeway_operation_t *operation) {
    rw_assert(operation->phase == RW_PHASE_ENDING);
    if (can_tell(operation)) {
        send_end(operation, operation->link);
    }
}

void rw_native_tell_asked(ropeway_operation_t *operation) {
    rw_side_t *side = rw_side(operation);
    rw_link_t *link = side->asked_by;

    if (link != NULL) {
        link->references++;
        rw_native_leave_asked(side);
        send_end(operation, link);
        rw_link_drop(link);
    }
}

static bool wants_end(rw_peer_user_t *user) RW_LOCKED {
    const ropeway_operation_t *operation = rw_operation_of_user(user);

    return operation != NULL && operation->phase == RW_PHASE_MOVING &&
           operation->protocol->tell == rw_native_tell_end;
}

rw_message_t *rw_native_collect_ends(rw_peer_t *former, size_t *count) {
    rw_message_t *ends;
    size_t number = 0;

    for (rw_node_t *node = former->users.next; node != &former->users; node = node->next) {
        number += wants_end(RW_CONTAINER(node, rw_peer_user_t, node));
    }
    *count = number;
    ends = number > 0 ? calloc(number, sizeof *ends) : NULL;
    for (rw_node_t *node = former->users.next; ends != NULL && node != &former->users;
         node = node->next) {
        rw_peer_user_t *user = RW_CONTAINER(node, rw_peer_user_t, node);

        if (wants_end(user)) {
            ends[--number] = rw_native_message(rw_operation_of_user(user), RW_FIN);
            ends[number].fin.status = ROPEWAY_STATUS_ERRORED;
            ends[number].fin.error = ROPEWAY_ERR_PEER_LOST;
        }
    }
    return ends;
}

ropeway_error_t rw_native_tell_ends(rw_peer_t *peer, rw_message_t *ends, size_t count) {
    static const char why[] = "the connection by which it went has ended, and there is a new one";
    bool failed;

    peer->references++;
    for (size_t i = 0; i < count && !peer->failed; i++) {
        memcpy(ends[i].token, peer->token, RW_ID_BYTES);
        rw_native_send(peer->link, &ends[i], why, sizeof why - 1);
    }
    failed = peer->failed;
    rw_peer_drop(peer);
    return failed ? rw_fail(ROPEWAY_ERR_UNREACHABLE, "the connection to the peer has ended")
                  : ROPEWAY_OK;
}

void rw_native_leave(rw_peer_t *peer, bool for_good) {
    ropeway_connector_t *connector = peer->connector;
    rw_message_t message = {
        .type = RW_BYE, .version = RW_PROTOCOL_VERSION, .flags = for_good ? RW_FLAG_GONE : 0};

    if (peer->link == NULL || !rw_links_are_native(connector, peer->link->kind)) {
        return; /* a NIXL agent knows no such word */
    }
    memcpy(message.from, rw_links_carrier(connector, peer->link->kind)->id, RW_ID_BYTES);
    memcpy(message.token, peer->token, RW_ID_BYTES);
    rw_native_send(peer->link, &message, NULL, 0);
}
