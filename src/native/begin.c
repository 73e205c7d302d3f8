/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads and writes of what a peer offers: the request.
 *
 * A stream moves host memory alone, and there may be a faster network. So who is reached by a
 * stream may be asked first, by a request with RW_FLAG_ASK, how it is reached by our second
 * carrier (choose.c says when). It checks the request and answers; then the request goes out again,
 * over that carrier if there is a way, and else over the stream if that will do. What a peer has
 * answered is kept.
 *
 * Who goes over the other carrier stays a user of the link that he asked by until he is answered
 * there: the offer is bound to that link until the request comes, so each side's end is told by it,
 * and it is not closed to make room.
 */
#include "native/native.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

ropeway_error_t rw_native_read_hello(const ropeway_metadata_t *metadata, rw_hello_t *hello) {
    ropeway_error_t error = rw_hello_decode(metadata->native, metadata->native_length, hello);

    if (error == ROPEWAY_ERR_VERSION && hello->version == RW_PROTOCOL_VERSION) {
        return rw_fail(error,
                       "the peer \"%s\" has a part that this library does not know; use releases "
                       "that fit",
                       metadata->agent);
    }
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

ropeway_error_t rw_native_prepare(ropeway_operation_t *operation,
                                  const ropeway_metadata_t *metadata, rw_hello_t *hello) {
    ropeway_error_t error = rw_native_read_hello(metadata, hello);

    return error == ROPEWAY_OK ? rw_native_adopt(operation) : error;
}

/* Whose hello tells who we are, on a link of this kind. */
static const rw_carrier_t *introducer(const ropeway_connector_t *connector,
                                      const rw_link_kind_t *kind) RW_LOCKED {
    const rw_carrier_t *carrier = rw_links_carrier(connector, kind);

    return carrier->dials_only ? &connector->links->first : carrier;
}

/* The sizes that a request for a prefix has, malloc'ed. NULL: there is no room for them beside what
 * it has already, so that it asks for descriptors as they were offered; or, with an error, no
 * memory. */
static uint8_t *make_runs(const ropeway_operation_t *operation, rw_request_t *request,
                          size_t word_max, ropeway_error_t *error) RW_LOCKED {
    const rw_layout_t *layout = &operation->layout;
    size_t count = rw_message_put_runs(layout->descriptors, layout->count, NULL);
    size_t length = rw_request_length(request) + count * RW_RUN_BYTES;
    uint8_t *runs;

    if (length > word_max) {
        return NULL;
    }
    runs = malloc(count * RW_RUN_BYTES);
    if (runs == NULL) {
        *error = rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
        return NULL;
    }
    request->runs = runs;
    request->run_count = rw_message_put_runs(layout->descriptors, layout->count, runs);
    return runs;
}

/* Whether the bytes of a write go along. */
static bool takes_bytes(const ropeway_operation_t *operation, size_t length,
                        size_t word_max) RW_LOCKED {
    const rw_side_t *side = rw_side(operation);

    return operation->is_sender && !side->asking &&
           rw_decide_inline(&operation->layout, side->integrity) &&
           operation->layout.total <= word_max - length;
}

/* Sends what the request says, and the bytes of a small write. */
static ropeway_error_t post_request(ropeway_operation_t *operation, rw_message_t *message,
                                    const rw_request_t *request, size_t word_max) RW_LOCKED {
    size_t length = rw_request_length(request);
    bool with_bytes = length <= word_max && takes_bytes(operation, length, word_max);
    size_t bytes = with_bytes ? (size_t)operation->layout.total : 0;
    uint8_t *payload = malloc(length + bytes);
    ropeway_error_t error;

    if (payload == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    message->request.fields_length = (uint32_t)length;
    rw_request_encode(request, payload);
    if (with_bytes) {
        rw_layout_gather(&operation->layout, 0, payload + length, bytes);
        message->flags |= RW_FLAG_INLINE;
        rw_side(operation)->out.state = RW_SENDER_INLINE;
    }
    error = rw_native_send(operation->link, message, payload, length + bytes);
    free(payload);
    return error;
}

/* The request: who we are, what we want, and the bytes of a small write. */
static ropeway_error_t send_request(ropeway_operation_t *operation) RW_LOCKED {
    const rw_carrier_t *carrier = introducer(operation->connector, operation->link->kind);
    const rw_layout_t *layout = &operation->layout;
    const rw_side_t *side = rw_side(operation);
    size_t most = operation->link->kind->word_max, word_max = most == 0 ? SIZE_MAX : most;
    rw_message_t message = rw_native_message(operation, RW_REQUEST);
    rw_request_t request = {.hello = carrier->hello,
                            .hello_length = carrier->hello_length,
                            .token = operation->peer->token,
                            .grain = operation->is_sender ? 0 : side->in.grain,
                            .is_prefix = (operation->flags & ROPEWAY_OPERATION_PREFIX) != 0,
                            .trace = operation->trace,
                            .trace_length =
                                operation->trace != NULL ? strlen(operation->trace) : 0};
    ropeway_error_t error = ROPEWAY_OK;
    uint8_t *runs = request.is_prefix ? make_runs(operation, &request, word_max, &error) : NULL;

    /* Whatever a peer says: such memory would be touched as the host's. */
    rw_assert(!layout->any_device || side->asking || !operation->link->kind->host_only);
    message.flags |= operation->is_sender ? 0 : RW_FLAG_READ;
    message.flags |= side->asking ? RW_FLAG_ASK : 0;
    message.request.total = layout->total;
    message.request.digest = rw_message_digest(layout->descriptors, layout->count);
    message.request.count = (uint32_t)layout->count;
    if (error == ROPEWAY_OK) {
        error = post_request(operation, &message, &request, word_max);
    }
    free(runs);
    return error;
}

/* ---- the second carrier ---- */

static bool needs_other(const ropeway_operation_t *operation) {
    return rw_native_needs_other(operation->connector, operation->layout.any_device);
}

/* The peer as it is reached by the second carrier, after it has answered. It stays what it is when
 * there is no way, and none is needed. */
static ropeway_error_t switch_peer(ropeway_operation_t *operation, rw_peer_t **peer) RW_LOCKED {
    ropeway_connector_t *connector = operation->connector;
    rw_carrier_t *other = rw_links_for_devices(connector);
    rw_peer_t *first = *peer;
    bool any_device = operation->layout.any_device;
    ropeway_error_t error;
    uint8_t id[RW_ID_BYTES];
    rw_hello_t hello;

    rw_assert(first->other_known && other != NULL);
    if (first->other_length == 0) {
        return needs_other(operation) ? rw_native_refuse_way(first->name, any_device) : ROPEWAY_OK;
    }
    error = rw_hello_decode(first->other, first->other_length, &hello);
    if (error == ROPEWAY_OK && rw_links_choose(connector, &hello) != other) {
        error = ROPEWAY_ERR_PROTOCOL; /* it is of what asked, or of something else */
    }
    if (error != ROPEWAY_OK) {
        return rw_fail(error, "the peer \"%s\" does not say properly how it is reached by UCX",
                       first->name);
    }
    rw_hello_id(first->other, first->other_length, id);
    first->references++; /* it may be closed to make room, if nobody uses it yet */
    error = rw_peer_get(connector, id, &hello, other->kind, peer);
    if (error == ROPEWAY_ERR_NO_PATH && !needs_other(operation)) {
        error = first->failed ? rw_fail(ROPEWAY_ERR_LIMIT,
                                        "the connection to the peer \"%s\" was closed for want of "
                                        "room (max_peers)",
                                        first->name)
                              : ROPEWAY_OK;
    }
    rw_peer_drop(first);
    return error;
}

/* The second carrier is wanted: makes it ready; *wanted becomes false where it can't be, and is not
 * needed. That may take seconds, so it comes before a connection is made: the owner waits two for
 * our greeting. */
static ropeway_error_t need_other(const ropeway_operation_t *operation, const rw_hello_t *hello,
                                  bool *wanted) RW_LOCKED {
    rw_carrier_t *other = rw_links_for_devices(operation->connector);
    ropeway_error_t error;

    if (other == NULL) {
        return rw_native_refuse_way(hello->name, operation->layout.any_device);
    }
    error = rw_native_need(other);
    if (error != ROPEWAY_OK && !needs_other(operation)) {
        rw_log(operation->connector, ROPEWAY_LOG_WARN,
               "RDMA networks are not used, as UCX can't be: %s", ropeway_last_error());
        other->is_preferred = false;
        *wanted = false;
        return ROPEWAY_OK;
    }
    return error;
}

/* Takes the way by the second carrier, if the peer is known to have one, or asks for it. */
static ropeway_error_t use_other(ropeway_operation_t *operation, rw_peer_t **peer) RW_LOCKED {
    if ((*peer)->other_known) {
        return switch_peer(operation, peer);
    }
    rw_side(operation)->asking = true;
    return ROPEWAY_OK;
}

static void keep_way(rw_peer_t *peer, const uint8_t *hello, size_t length) RW_LOCKED {
    if (peer->other_known) {
        return;
    }
    peer->other = length > 0 ? malloc(length) : NULL;
    peer->other_known = length == 0 || peer->other != NULL;
    if (peer->other != NULL) {
        memcpy(peer->other, hello, length);
        peer->other_length = length;
    }
}

static void on_asked_down(rw_peer_user_t *user, ropeway_error_t cause, const char *why) RW_LOCKED {
    (void)cause, (void)why;
    rw_native_leave_asked(RW_CONTAINER(user, rw_side_t, of_asked));
}

static void stay(ropeway_operation_t *operation, rw_link_t *link) RW_LOCKED {
    rw_side_t *side = rw_side(operation);

    rw_assert(side->asked_by == NULL);
    side->asked_by = link;
    link->references++;
    side->of_asked.on_down = on_asked_down;
    rw_list_append(&link->peer->users, &side->of_asked.node);
}

void rw_native_on_way(ropeway_operation_t *operation, const uint8_t *hello, size_t length) {
    rw_peer_t *peer = operation->peer;
    ropeway_error_t error;

    if (!rw_side(operation)->asking || !rw_operation_is_active(operation)) {
        rw_operation_violate(operation, "a WAY that nobody asked for");
        return;
    }
    rw_side(operation)->asking = false;
    keep_way(peer, hello, length);
    if (!peer->other_known) {
        rw_operation_run_out(operation, "the peer's other address");
        return;
    }
    error = switch_peer(operation, &peer);
    if (error == ROPEWAY_OK) {
        if (peer != operation->peer) {
            stay(operation, operation->link);
        }
        rw_operation_rebind(operation, peer, peer->link);
        error = send_request(operation);
    }
    if (error != ROPEWAY_OK) {
        rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, error, true, "%s",
                         ropeway_last_error());
    }
}

/* ---- begin ---- */

/* The peer that this hello is of, by the carrier that shall be used. */
static ropeway_error_t find_peer(ropeway_operation_t *operation, const ropeway_metadata_t *metadata,
                                 const rw_hello_t *hello, rw_peer_t **peer) RW_LOCKED {
    const rw_trip_t trip = {.connector = operation->connector,
                            .hello = hello,
                            .device_here = operation->layout.any_device,
                            .device_there = rw_metadata_any_device(metadata)};
    rw_choice_t choice;
    ropeway_error_t error = rw_native_choose(&trip, &choice);
    uint8_t id[RW_ID_BYTES];

    if (error == ROPEWAY_OK) {
        error = rw_native_need(choice.carrier);
    }
    if (error == ROPEWAY_OK && choice.wants_other) {
        error = need_other(operation, hello, &choice.wants_other);
    }
    rw_hello_id(metadata->native, metadata->native_length, id);
    if (error == ROPEWAY_OK) {
        error = rw_peer_get(operation->connector, id, hello, choice.carrier->kind, peer);
    }
    return error == ROPEWAY_OK && choice.wants_other ? use_other(operation, peer) : error;
}

ropeway_error_t rw_native_begin(ropeway_operation_t *operation, const ropeway_metadata_t *metadata,
                                const rw_hello_t *hello) {
    rw_peer_t *peer;
    ropeway_error_t error = find_peer(operation, metadata, hello, &peer);

    if (error == ROPEWAY_OK) {
        error = rw_operation_start(operation);
    }
    if (error != ROPEWAY_OK) {
        return error;
    }
    memcpy(rw_side(operation)->remote, metadata->key_bytes, RW_ID_BYTES);
    rw_operation_bind(operation, peer, peer->link);
    error = send_request(operation);
    if (error != ROPEWAY_OK) {
        rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, error, false, "%s",
                         ropeway_last_error());
    }
    return ROPEWAY_OK;
}
