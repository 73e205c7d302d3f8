/* SPDX-License-Identifier: Apache-2.0 */
/* Requests: the check of whoever comes for an offer. */
#include "native/native.h"

#include "base/error.h"
#include "base/log.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long a carrier that could not start is not tried again for peers. */
#define START_AGAIN ((uint64_t)10000 * RW_NANOSECONDS_PER_MS)
/* How often an offer's readers and writers surely hear that there is no other way: they wait for
 * that, and have many offers at a time. */
#define OWED_MAX 16

void rw_native_reject(ropeway_connector_t *connector, const rw_frame_t *frame,
                      const rw_message_t *message, ropeway_error_t error, const char *format, ...) {
    rw_message_t answer = {.type = RW_FIN, .version = message->version};
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
    connector->stats.requests_rejected++;
    rw_native_answer(connector, frame, &answer, text, strlen(text), false);
}

static bool check_integrity(ropeway_operation_t *operation, const rw_frame_t *frame,
                            const rw_message_t *message) RW_LOCKED {
    bool integrity = rw_side(operation)->integrity;

    if ((operation->layout.any_device && (message->flags & RW_FLAG_INTEGRITY) != 0) ||
        (integrity && (message->flags & RW_FLAG_DEVICE) != 0)) {
        rw_native_reject(operation->connector, frame, message, ROPEWAY_ERR_UNSUPPORTED,
                         "the integrity check works on host memory only");
        return false;
    }
    return true;
}

/* Of all descriptors. It takes a while, and whoever has the key can ask for it again and again. */
static uint64_t whole_digest(const ropeway_operation_t *operation) RW_LOCKED {
    rw_side_t *side = rw_side(operation);

    if (!side->has_digest) {
        side->digest = rw_message_digest(operation->layout.descriptors, operation->layout.count);
        side->has_digest = true;
    }
    return side->digest;
}

/* Fills in what a request for a prefix says. false: it says nothing that can be. */
static bool fill_sizes(const ropeway_operation_t *operation, const rw_message_t *message,
                       const rw_request_t *request, uint64_t *sizes) RW_LOCKED {
    const ropeway_descriptor_t *descriptors = operation->layout.descriptors;
    size_t count = message->request.count;

    if (request->run_count > 0) {
        return rw_message_read_runs(request->runs, request->run_count, sizes, count);
    }
    for (size_t i = 0; i < count; i++) {
        sizes[i] = descriptors[i].size;
    }
    return message->request.digest == (count == operation->layout.count
                                           ? whole_digest(operation)
                                           : rw_message_digest(descriptors, count));
}

/* The sizes in a request for a prefix of no more descriptors than there are, malloc'ed; NULL after
 * an answer. */
static uint64_t *read_sizes(ropeway_operation_t *operation, const rw_frame_t *frame,
                            const rw_message_t *message, const rw_request_t *request) RW_LOCKED {
    uint64_t *sizes = malloc(message->request.count * sizeof *sizes);

    if (sizes == NULL) {
        rw_native_reject(operation->connector, frame, message, ROPEWAY_ERR_NO_MEMORY,
                         "out of memory");
    } else if (!fill_sizes(operation, message, request, sizes)) {
        rw_native_reject(operation->connector, frame, message, ROPEWAY_ERR_SIZE_MISMATCH,
                         "the request's sizes are not those of its %u descriptors",
                         message->request.count);
        free(sizes);
        sizes = NULL;
    }
    return sizes;
}

static uint64_t add_up(const uint64_t *sizes, size_t count) {
    uint64_t sum = 0;

    for (size_t i = 0; i < count; i++) {
        sum += sizes[i]; /* each is at most the offer's, which do not overflow */
    }
    return sum;
}

/* Whether the request asks for a prefix of the operation; if not it is answered. */
static bool check_prefix(ropeway_operation_t *operation, const rw_frame_t *frame,
                         const rw_message_t *message, const rw_request_t *request) RW_LOCKED {
    size_t count = message->request.count;
    uint64_t *sizes;
    bool fits;

    if (count > operation->layout.count) {
        rw_native_reject(operation->connector, frame, message, ROPEWAY_ERR_COUNT_MISMATCH,
                         "the operation has %zu descriptors, and the request's %zu are more",
                         operation->layout.count, count);
        return false;
    }
    sizes = read_sizes(operation, frame, message, request);
    if (sizes == NULL) {
        return false;
    }
    fits = rw_layout_has_prefix(&operation->layout, sizes, count) &&
           add_up(sizes, count) == message->request.total;
    free(sizes);
    if (!fits) {
        rw_native_reject(operation->connector, frame, message, ROPEWAY_ERR_SIZE_MISMATCH,
                         "a descriptor of the request is larger than the operation's; a prefix "
                         "goes up to the operation's %llu bytes",
                         (unsigned long long)operation->layout.total);
    }
    return fits && check_integrity(operation, frame, message);
}

/* The request has passed every check: what it does not ask for is not offered any more. */
static bool cut(ropeway_operation_t *operation, const rw_frame_t *frame,
                const rw_message_t *message, const rw_request_t *request) RW_LOCKED {
    uint64_t *sizes = read_sizes(operation, frame, message, request);

    if (sizes == NULL) {
        return false;
    }
    rw_operation_cut(operation, sizes, message->request.count);
    rw_side(operation)->has_digest = false;
    free(sizes);
    return true;
}

/* Whether the request fits the operation that it names; if not it is answered. */
static bool check(ropeway_operation_t *operation, const rw_frame_t *frame,
                  const rw_message_t *message, const rw_request_t *request) RW_LOCKED {
    ropeway_connector_t *connector = operation->connector;
    bool wants_read = (message->flags & RW_FLAG_READ) != 0;

    if (wants_read != operation->is_sender) {
        rw_native_reject(connector, frame, message, ROPEWAY_ERR_KIND_MISMATCH,
                         "the operation is %s, and can't be %s",
                         operation->is_sender ? "readable" : "writable",
                         wants_read ? "read" : "written");
    } else if (request->is_prefix) {
        return check_prefix(operation, frame, message, request);
    } else if (message->request.count != operation->layout.count) {
        rw_native_reject(connector, frame, message, ROPEWAY_ERR_COUNT_MISMATCH,
                         "the operation has %zu descriptors, the request %u",
                         operation->layout.count, message->request.count);
    } else if (message->request.total != operation->layout.total ||
               message->request.digest != whole_digest(operation)) {
        rw_native_reject(connector, frame, message, ROPEWAY_ERR_SIZE_MISMATCH,
                         "the operation's descriptors have %llu bytes in all, the request's %llu; "
                         "each must have the same size",
                         (unsigned long long)operation->layout.total,
                         (unsigned long long)message->request.total);
    } else {
        return check_integrity(operation, frame, message);
    }
    return false;
}

/* Whether it is the request of the one who has asked how to reach us. */
static bool comes_again(const ropeway_operation_t *operation,
                        const rw_message_t *message) RW_LOCKED {
    return operation->phase == RW_PHASE_MOVING && operation->protocol == &rw_native_protocol &&
           rw_side(operation)->asking && (message->flags & RW_FLAG_ASK) == 0 &&
           memcmp(rw_side(operation)->remote, message->from, RW_ID_BYTES) == 0;
}

/* The operation that the request may begin, or NULL after an answer. */
static ropeway_operation_t *admit(ropeway_connector_t *connector, const rw_frame_t *frame,
                                  const rw_message_t *message,
                                  const rw_request_t *request) RW_LOCKED {
    ropeway_operation_t *operation = rw_operation_find(connector, message->to);
    bool is_offer = operation != NULL && !rw_operation_is_active(operation);
    ropeway_error_t error;

    if (is_offer && (operation->phase == RW_PHASE_IDLE || comes_again(operation, message))) {
        return check(operation, frame, message, request) ? operation : NULL;
    }
    error = is_offer ? ROPEWAY_ERR_KEY_USED
                     : rw_recent_find(&connector->operations->ended, message->to);
    if (error == ROPEWAY_OK) {
        error = ROPEWAY_ERR_KEY_UNKNOWN;
    }
    /* Nobody has used it: the usual reason is an owner who dropped the operation too early. */
    rw_native_reject(connector, frame, message, error, "%s%s", ropeway_error_text(error),
                     error == ROPEWAY_ERR_KEY_FINISHED
                         ? ": its owner cancelled it or let go of it, or its deadline has passed"
                         : "");
    return NULL;
}

/* The connection to whoever sent the request. A request by another way than the link that we know
 * tells that the peer has given that up and made a new one; answers on the old one would be lost.
 */
static ropeway_error_t find_peer(ropeway_connector_t *connector, const uint8_t id[RW_ID_BYTES],
                                 const rw_hello_t *hello, const rw_frame_t *frame,
                                 rw_peer_t **peer) RW_LOCKED {
    const rw_link_kind_t *kind = frame->kind;
    rw_peer_t *known = rw_peer_find(connector, id);
    rw_message_t *ends = NULL;
    ropeway_error_t error;
    size_t count;

    if (known != NULL && known->link->kind != kind) {
        return rw_fail(ROPEWAY_ERR_PROTOCOL, "the request comes by another way than its sender");
    }
    if (known != NULL && frame->reply != NULL && kind->came_from != NULL &&
        !kind->came_from(known->link, frame->reply) &&
        memcmp(id, rw_links_carrier(connector, kind)->id, RW_ID_BYTES) != 0) {
        ends = rw_native_collect_ends(known, &count);
        rw_peer_fail(known, RW_CLOSE_FLUSHED, ROPEWAY_ERR_PEER_LOST,
                     "it has made a new connection");
    }
    error = rw_peer_get(connector, id, hello, kind, peer);
    if (error == ROPEWAY_OK && ends != NULL) {
        error = rw_native_tell_ends(*peer, ends, count);
    }
    free(ends);
    return error;
}

/* The peer at the other end of the link that names it, who says in the hello who it is. */
static ropeway_error_t find_accepted(const rw_hello_t *hello, const rw_frame_t *frame,
                                     rw_peer_t **peer) RW_LOCKED {
    *peer = frame->link->peer;
    return rw_peer_introduce(*peer, hello);
}

/* Who sent the request, which is checked and answered if need be. NULL: it can't be served. */
static rw_peer_t *find_sender(ropeway_connector_t *connector, const rw_frame_t *frame,
                              const rw_message_t *message, const rw_request_t *request) RW_LOCKED {
    uint8_t id[RW_ID_BYTES];
    rw_hello_t hello;
    rw_peer_t *peer;
    ropeway_error_t error = rw_hello_decode(request->hello, request->hello_length, &hello);

    if (error != ROPEWAY_OK) {
        rw_native_reject(connector, frame, message, error, "%s",
                         error == ROPEWAY_ERR_VERSION
                             ? "who sent the request has a part that is not known here; use "
                               "releases that fit"
                             : "the request does not say properly who it comes from");
        return NULL;
    }
    rw_hello_id(request->hello, request->hello_length, id);
    error = frame->link != NULL ? find_accepted(&hello, frame, &peer)
                                : find_peer(connector, id, &hello, frame, &peer);
    if (error != ROPEWAY_OK) {
        rw_native_reject(connector, frame, message, error, "%s", ropeway_last_error());
        return NULL;
    }
    return peer;
}

/* Starts, on the peer's behalf. */
static void begin(ropeway_operation_t *operation, const rw_message_t *message,
                  const rw_request_t *request) RW_LOCKED {
    rw_side_t *side = rw_side(operation);

    memcpy(side->remote, message->from, RW_ID_BYTES);
    side->integrity |= (message->flags & RW_FLAG_INTEGRITY) != 0;
    if (operation->is_sender) {
        side->out.state = RW_SENDER_READY;
        side->out.remote_device = (message->flags & RW_FLAG_DEVICE) != 0;
        side->out.remote_grain = request->grain;
        rw_send_pump(operation);
    } else if ((message->flags & RW_FLAG_INLINE) != 0 && !side->integrity &&
               !operation->layout.any_device) {
        rw_receive_inline(operation, request->data, request->length);
    } else {
        rw_native_tell(operation, RW_ACCEPT);
    }
}

/* Whether the second carrier may start for whoever sent this. It opens a port of UCX's, which is
 * not as safe from others as ours are: who comes by the network can't make us open it. */
static bool may_tell(const rw_carrier_t *other, const rw_link_t *link) RW_LOCKED {
    return other->state != NULL || other->is_preferred || link->is_local ||
           rw_native_allows_clear(link->peer->connector);
}

/* Starts it on a peer's behalf; where that has failed, not again for a while. */
static bool can_start(rw_carrier_t *other) RW_LOCKED {
    uint64_t now = rw_now();

    if (other->state == NULL && now < other->retry_at) {
        return false;
    }
    if (rw_native_need(other) == ROPEWAY_OK) {
        return true;
    }
    other->retry_at = now + START_AGAIN;
    rw_log(other->connector, ROPEWAY_LOG_WARN, "a peer asks for UCX, which does not start: %s",
           ropeway_last_error());
    return false;
}

/* Tells how we are reached by our second carrier. If we are, the offer is kept for whoever has
 * asked; else that one may come again as anybody may. */
static void tell_way(ropeway_operation_t *operation, const rw_frame_t *frame,
                     const rw_message_t *message, rw_peer_t *peer) RW_LOCKED {
    rw_carrier_t *other = rw_links_for_devices(operation->connector);
    bool told = other != NULL && may_tell(other, frame->link) && can_start(other) &&
                other->hello_length <= frame->link->kind->word_max;
    rw_message_t answer = rw_native_message(operation, RW_WAY);

    if (!told && (message->flags & RW_FLAG_DEVICE) != 0) {
        rw_native_reject(operation->connector, frame, message, ROPEWAY_ERR_NO_PATH,
                         "memory of a device needs UCX, which is not open here for peers from the "
                         "network: the options transports, interop or encryption (\"off\") can "
                         "say that it shall be, and an RDMA network opens it");
        return;
    }
    memcpy(answer.to, message->from, RW_ID_BYTES);
    memcpy(answer.token, peer->token, RW_ID_BYTES);
    if (!told) { /* the offer is as it was: it can be asked for any number of times */
        bool is_owed = rw_side(operation)->vain < OWED_MAX;

        rw_side(operation)->vain += is_owed;
        rw_native_answer(operation->connector, frame, &answer, NULL, 0, is_owed);
        return;
    }
    peer->heard = true;
    /* First: to send may show that the peer is gone. */
    rw_operation_bind(operation, peer, frame->link);
    memcpy(rw_side(operation)->remote, message->from, RW_ID_BYTES);
    rw_side(operation)->asking = true;
    operation->later = ROPEWAY_ERR_KEY_FINISHED; /* nobody has used it yet */
    rw_native_send(frame->link, &answer, other->hello, other->hello_length);
}

/* Whether what is asked for can come by the link of the request; if not it is answered. Metadata
 * names a way that moves the memory, but whoever has the key may try another. */
static bool fits_link(const ropeway_operation_t *operation, const rw_frame_t *frame,
                      const rw_message_t *message) RW_LOCKED {
    bool host_only = frame->link != NULL && frame->link->kind->host_only;

    if ((message->flags & RW_FLAG_ASK) != 0 && !host_only) {
        rw_native_reject(operation->connector, frame, message, ROPEWAY_ERR_PROTOCOL,
                         "there is no other way than this one");
        return false;
    }
    if ((message->flags & RW_FLAG_ASK) == 0 && host_only && operation->layout.any_device) {
        rw_native_reject(operation->connector, frame, message, ROPEWAY_ERR_NO_PATH,
                         "the operation's memory is a device's, which does not go this way");
        return false;
    }
    return true;
}

/* Without memory for it there is none. */
static void keep_trace(ropeway_operation_t *operation, const rw_request_t *request) RW_LOCKED {
    if (request->trace_length > 0 && operation->trace == NULL) {
        operation->trace = calloc(1, request->trace_length + 1);
        for (size_t i = 0; operation->trace != NULL && i < request->trace_length; i++) {
            char one = request->trace[i];

            operation->trace[i] = one;
            if (one < ' ' || one > '~') {
                operation->trace[i] = '?';
            }
        }
    }
}

static void take_up(ropeway_operation_t *operation, rw_peer_t *peer, rw_link_t *link) RW_LOCKED {
    if (rw_side(operation)->asking) {
        rw_side(operation)->asking = false;
        rw_operation_rebind(operation, peer, link);
    } else {
        rw_operation_bind(operation, peer, link);
    }
}

/* Reads its payload. false: nobody can; it is answered if that helps. */
static bool read_request(ropeway_connector_t *connector, const rw_frame_t *frame,
                         const rw_message_t *message, rw_request_t *request) RW_LOCKED {
    ropeway_error_t error = rw_request_decode(message, frame->payload, frame->length, request);

    if (error == ROPEWAY_ERR_VERSION) {
        rw_native_reject(connector, frame, message, error,
                         "the request needs something that is not known here; use releases that "
                         "fit");
    } else if (error != ROPEWAY_OK) {
        rw_native_reject(connector, frame, message, error, "the request is malformed");
    } else if (request->grain > 0 && request->grain < RW_GRAIN_LEAST) {
        rw_native_reject(connector, frame, message, ROPEWAY_ERR_PROTOCOL,
                         "the request wants messages of %llu bytes, and %d is the least",
                         (unsigned long long)request->grain, RW_GRAIN_LEAST);
    } else {
        return true;
    }
    return false;
}

void rw_native_on_request(ropeway_connector_t *connector, const rw_frame_t *frame,
                          const rw_message_t *message) {
    ropeway_operation_t *operation;
    rw_request_t request;
    rw_peer_t *peer;

    if (!read_request(connector, frame, message, &request)) {
        return;
    }
    operation = admit(connector, frame, message, &request);
    if (operation == NULL || !fits_link(operation, frame, message)) {
        return;
    }
    peer = find_sender(connector, frame, message, &request);
    if (peer == NULL) {
        return;
    }
    memcpy(peer->their_token, request.token, RW_ID_BYTES);
    peer->last_heard = rw_now();
    if ((message->flags & RW_FLAG_ASK) != 0) {
        tell_way(operation, frame, message, peer);
        return;
    }
    if (request.is_prefix && !cut(operation, frame, message, &request)) {
        return;
    }
    peer->heard = true; /* who uses a key up is no stranger */
    keep_trace(operation, &request);
    rw_peer_touch(peer);
    take_up(operation, peer, frame->link != NULL ? frame->link : peer->link);
    begin(operation, message, &request);
}
