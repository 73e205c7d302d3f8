/* SPDX-License-Identifier: Apache-2.0 */
/* Frames that arrive: each is handed to the operation that it names. */
#include "native/native.h"

#include "base/utf8.h"

#include <sodium.h>
#include <string.h>

static bool is_known_error(uint64_t error) {
    return error != ROPEWAY_OK && error <= INT32_MAX &&
           strcmp(ropeway_error_name((ropeway_error_t)error), "ROPEWAY_ERR_?") != 0;
}

static void on_accept(ropeway_operation_t *operation, const rw_message_t *message) RW_LOCKED {
    rw_side_t *side = rw_side(operation);

    if (!operation->is_sender || side->out.state > RW_SENDER_INLINE) {
        rw_operation_violate(operation, "an ACCEPT that nobody waits for");
        return;
    }
    side->out.state = RW_SENDER_READY; /* bytes that went with the request were not taken */
    side->out.remote_grain = message->accept.grain;
    side->out.remote_device = (message->flags & RW_FLAG_DEVICE) != 0;
    side->integrity |= (message->flags & RW_FLAG_INTEGRITY) != 0;
    if (operation->cancel_asked) {
        rw_operation_end(operation, ROPEWAY_STATUS_CANCELLED, ROPEWAY_ERR_CANCELLED, true,
                         "cancelled on this side before a byte moved; peer: \"%s\"",
                         operation->peer->name);
    } else if (side->integrity && operation->layout.any_device) {
        rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_UNSUPPORTED, true,
                         "the peer \"%s\" asks for an integrity check, which works on host memory "
                         "only",
                         operation->peer->name);
    } else {
        rw_send_pump(operation);
    }
}

static void on_done_message(ropeway_operation_t *operation, const rw_message_t *message) RW_LOCKED {
    const rw_side_t *side = rw_side(operation);

    if (!operation->is_sender ||
        (side->out.state != RW_SENDER_INLINE && side->out.state != RW_SENDER_SENT)) {
        rw_operation_violate(operation, "DONE before the last byte was sent");
        return;
    }
    if ((message->flags & RW_FLAG_DAMAGED) != 0) {
        rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, ROPEWAY_ERR_INTEGRITY, true,
                         "the peer \"%s\" got bytes with other checksums than those of what was "
                         "sent: this memory changed during the transfer, or the bytes were damaged "
                         "on the way",
                         operation->peer->name);
        return;
    }
    operation->connector->stats.bytes_sent += /* inline */
        operation->layout.total - side->out.cursor.offset;
    atomic_store(&operation->done, operation->layout.total);
    rw_operation_complete(operation, side->pulled);
}

/* Whether the sender was asked about checksums that are not its own. */
static bool is_damaged(const ropeway_operation_t *operation) RW_LOCKED {
    return !operation->is_sender && rw_side(operation)->in.damaged;
}

static void on_fin(ropeway_operation_t *operation, const rw_message_t *message, const void *payload,
                   size_t length) RW_LOCKED {
    const char *peer = operation->peer->name;
    char text[RW_TEXT_MAX + 1];

    rw_printable(payload, length, text, sizeof text);
    if (message->fin.status == ROPEWAY_STATUS_COMPLETE) {
        if (is_damaged(operation)) {
            rw_receive_damaged(operation, true);
        } else if (!operation->is_sender &&
                   rw_side(operation)->in.state == RW_RECEIVER_CONFIRMING) {
            rw_operation_complete(operation, false);
        } else {
            rw_operation_violate(operation, "it says COMPLETE before all bytes have arrived");
        }
    } else if (message->fin.status == ROPEWAY_STATUS_CANCELLED || operation->cancel_asked) {
        rw_operation_end(operation, ROPEWAY_STATUS_CANCELLED, ROPEWAY_ERR_CANCELLED, false,
                         "the peer \"%s\" cancelled it: %s", peer, text);
    } else if (is_damaged(operation) && message->fin.error == ROPEWAY_ERR_INTEGRITY) {
        rw_receive_damaged(operation, false);
    } else if (is_known_error(message->fin.error)) {
        rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, (ropeway_error_t)message->fin.error,
                         false, "the peer \"%s\" ended it: %s", peer, text);
    } else {
        rw_operation_violate(operation, "an error code that does not exist");
    }
}

static void deliver(ropeway_operation_t *operation, const rw_message_t *message,
                    const uint8_t *payload, size_t length) RW_LOCKED {
    switch (message->type) {
    case RW_ACCEPT:
        on_accept(operation, message);
        break;
    case RW_SUMS:
        rw_receive_sums(operation, message, payload, length);
        break;
    case RW_WAY:
        rw_native_on_way(operation, payload, length);
        break;
    case RW_DONE:
        on_done_message(operation, message);
        break;
    default:
        on_fin(operation, message, payload, length);
        break;
    }
}

/* Whether it tells by the link that the operation has asked by that there is nothing to come for.
 */
static bool is_end_of_asked(const ropeway_operation_t *operation, const rw_frame_t *frame,
                            const rw_message_t *message) RW_LOCKED {
    return frame->link != NULL && frame->link == rw_side(operation)->asked_by &&
           message->type == RW_FIN;
}

/* Whether the frame came by the operation's link, as far as that can be told. */
static bool came_by(const ropeway_operation_t *operation, const rw_frame_t *frame) RW_LOCKED {
    return frame->link != NULL ? operation->link == frame->link
                               : !operation->link->kind->is_private;
}

/* The live operation that the message is for, or NULL. */
static ropeway_operation_t *recipient(ropeway_connector_t *connector, const rw_frame_t *frame,
                                      const rw_message_t *message) RW_LOCKED {
    ropeway_operation_t *operation = rw_operation_find(connector, message->to);
    rw_peer_t *peer;

    if (operation == NULL || operation->phase != RW_PHASE_MOVING ||
        operation->protocol != &rw_native_protocol ||
        memcmp(rw_side(operation)->remote, message->from, RW_ID_BYTES) != 0 ||
        (!came_by(operation, frame) && !is_end_of_asked(operation, frame, message))) {
        return NULL;
    }
    operation->last_moved = rw_now();
    peer = came_by(operation, frame) ? operation->peer : frame->link->peer;
    if (peer != operation->peer || message->type != RW_FIN) { /* a refusal ends nothing there */
        rw_native_leave_asked(rw_side(operation));
    }
    peer->heard = true;
    peer->last_heard = operation->last_moved;
    if (!sodium_is_zero(message->token, RW_ID_BYTES)) { /* a refusal comes without */
        memcpy(peer->their_token, message->token, RW_ID_BYTES);
    }
    return operation;
}

/* Who says goodbye; NULL: nobody knows. */
static rw_peer_t *who_leaves(ropeway_connector_t *connector, const rw_frame_t *frame,
                             const rw_message_t *message) RW_LOCKED {
    rw_peer_t *peer;

    if (frame->link != NULL) {
        return frame->link->peer;
    }
    peer = rw_peer_find(connector, message->from);
    return peer != NULL && !sodium_is_zero(message->token, RW_ID_BYTES) &&
                   sodium_memcmp(peer->their_token, message->token, RW_ID_BYTES) == 0
               ? peer
               : NULL;
}

static void on_bye(ropeway_connector_t *connector, const rw_frame_t *frame,
                   const rw_message_t *message) RW_LOCKED {
    rw_peer_t *peer = who_leaves(connector, frame, message);

    if (peer == NULL) {
        return;
    }
    if ((message->flags & RW_FLAG_GONE) != 0 && !peer->accepted) {
        rw_peer_remember_closed(peer);
    }
    rw_peer_fail(peer, RW_CLOSE_LATER, ROPEWAY_ERR_PEER_CLOSED, "it closed the connection");
}

/* Who was connected to begins nothing. */
static bool may_come(const rw_link_t *link, uint8_t type) RW_LOCKED {
    return type != RW_REQUEST || link->peer->accepted;
}

/* Of an operation that is under way. */
static rw_verdict_t on_operation_frame(ropeway_connector_t *connector, rw_frame_t *frame,
                                       const rw_message_t *message) RW_LOCKED {
    ropeway_operation_t *operation = recipient(connector, frame, message);

    if (operation == NULL) {
        connector->stats.messages_dropped++;
        return RW_FRAME_TAKEN;
    }
    if (rw_side(operation)->asking && message->type != RW_WAY && message->type != RW_FIN) {
        /* The link that it asks by may not be able to move its memory. */
        rw_operation_violate(operation, "bytes, or a word on them, before their way is known");
        return RW_FRAME_TAKEN;
    }
    if (message->type == RW_DATA) {
        return rw_receive_data(operation, frame, message);
    }
    deliver(operation, message, frame->payload, frame->length);
    return RW_FRAME_TAKEN;
}

rw_verdict_t rw_native_on_frame(ropeway_connector_t *connector, rw_frame_t *frame) {
    rw_message_t message;
    ropeway_error_t error =
        rw_message_decode(frame->header, frame->header_length, frame->length, &message);

    if (error == ROPEWAY_ERR_VERSION && message.type == RW_REQUEST) {
        rw_native_reject(connector, frame, &message, error,
                         "protocol version %u is not spoken here, but %u", message.version,
                         RW_PROTOCOL_VERSION);
    } else if (error != ROPEWAY_OK ||
               (frame->payload == NULL && message.type != RW_DATA &&
                (frame->lent || frame->length > 0)) ||
               (frame->link != NULL && !may_come(frame->link, message.type))) {
        connector->stats.messages_dropped++;
    } else if (message.type == RW_REQUEST) {
        rw_native_on_request(connector, frame, &message);
    } else if (message.type == RW_BYE) {
        on_bye(connector, frame, &message);
    } else {
        return on_operation_frame(connector, frame, &message);
    }
    return RW_FRAME_TAKEN;
}
