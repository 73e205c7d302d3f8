/* SPDX-License-Identifier: Apache-2.0 */
/* Reads and writes of what a peer offers: the request. */
#include "native/native.h"

#include "base/assert.h"
#include "base/error.h"

#include <stdlib.h>
#include <string.h>

static bool is_whole(const ropeway_operation_t *operation, const ropeway_metadata_t *metadata) {
    const rw_layout_t *layout = &operation->layout;
    bool whole = layout->count == metadata->count;

    for (size_t i = 0; whole && i < layout->count; i++) {
        whole = layout->descriptors[i].size == metadata->descriptors[i].size;
    }
    return whole;
}

ropeway_error_t rw_native_prepare(ropeway_operation_t *operation,
                                  const ropeway_metadata_t *metadata, rw_hello_t *hello) {
    ropeway_error_t error = rw_hello_decode(metadata->native, metadata->native_length, hello);

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
    error = rw_native_adopt(operation);
    if (error == ROPEWAY_OK) {
        rw_side(operation)->is_prefix = !is_whole(operation, metadata);
    }
    return error;
}

/* Room for what follows the hello and the token. */
static size_t longest_rest(const ropeway_operation_t *operation) {
    const rw_layout_t *layout = &operation->layout;
    size_t runs = rw_side(operation)->is_prefix
                      ? rw_message_put_runs(layout->descriptors, layout->count, NULL)
                      : 0;

    return RW_GRAIN_BYTES + runs * RW_RUN_BYTES + RW_INLINE_MAX;
}

/* Writes it. before: bytes that the request has already. Returns its length. */
static size_t write_rest(ropeway_operation_t *operation, rw_message_t *message, uint8_t *rest,
                         size_t before) RW_LOCKED {
    rw_side_t *side = rw_side(operation);
    const rw_layout_t *layout = &operation->layout;
    size_t length = 0, most = operation->link->kind->word_max;

    if (!operation->is_sender && side->in.grain > 0) {
        message->flags |= RW_FLAG_GRAIN;
        rw_message_put_grain(side->in.grain, rest);
        length += RW_GRAIN_BYTES;
    }
    if (side->is_prefix) {
        message->flags |= RW_FLAG_PREFIX;
        message->request.runs =
            rw_message_put_runs(layout->descriptors, layout->count, rest + length);
        length += (size_t)message->request.runs * RW_RUN_BYTES;
    }
    if (operation->is_sender && rw_decide_inline(layout, side->integrity) &&
        (most == 0 || before + length + layout->total <= most)) {
        message->flags |= RW_FLAG_INLINE;
        rw_layout_gather(layout, 0, rest + length, (size_t)layout->total);
        side->out.state = RW_SENDER_INLINE;
        length += (size_t)layout->total;
    }
    return length;
}

/* The request: who we are, what we want, and the bytes of a small write. */
static ropeway_error_t send_request(ropeway_operation_t *operation) RW_LOCKED {
    const struct rw_native *native = operation->connector->native;
    rw_message_t message = rw_native_message(operation, RW_REQUEST);
    size_t hello_length = operation->link->kind->knows_peer ? 0 : native->hello_length;
    size_t length = hello_length + RW_ID_BYTES;
    uint8_t *payload = malloc(length + longest_rest(operation));
    ropeway_error_t error;

    if (payload == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    memcpy(payload, native->hello, hello_length);
    memcpy(payload + hello_length, operation->peer->token, RW_ID_BYTES);
    message.flags |= operation->is_sender ? 0 : RW_FLAG_READ;
    message.request.total = operation->layout.total;
    message.request.digest =
        rw_message_digest(operation->layout.descriptors, operation->layout.count);
    length += write_rest(operation, &message, payload + length, length);
    message.request.count = (uint32_t)operation->layout.count;
    message.request.hello_length = (uint32_t)hello_length;
    error = rw_native_send(operation->link, &message, payload, length);
    free(payload);
    return error;
}

/* A quick link is for host memory on both sides. */
static rw_link_t *choose_link(const ropeway_operation_t *operation, const rw_peer_t *peer,
                              const ropeway_metadata_t *metadata) RW_LOCKED {
    bool by_host = !operation->layout.any_device;

    for (size_t i = 0; by_host && peer->quick != NULL && i < metadata->count; i++) {
        by_host = metadata->descriptors[i].device.kind == ROPEWAY_DEVICE_HOST;
    }
    return by_host && peer->quick != NULL ? peer->quick : peer->link;
}

ropeway_error_t rw_native_begin(ropeway_operation_t *operation, const ropeway_metadata_t *metadata,
                                const rw_hello_t *hello) {
    ropeway_connector_t *connector = operation->connector;
    const rw_link_kind_t *kind;
    uint8_t id[RW_ID_BYTES];
    rw_peer_t *peer;
    ropeway_error_t error = rw_links_choose(connector, hello, &kind);

    if (error == ROPEWAY_OK && kind->host_only && operation->layout.any_device) {
        return rw_fail(ROPEWAY_ERR_DEVICE,
                       "the peer \"%s\" is reached by the transport \"%s\", which moves host "
                       "memory only",
                       hello->name, kind->name);
    }
    rw_hello_id(metadata->native, metadata->native_length, id);
    if (error == ROPEWAY_OK) {
        error = rw_peer_get(connector, id, hello, kind, &peer);
    }
    if (error == ROPEWAY_OK) {
        error = rw_operation_start(operation);
    }
    if (error != ROPEWAY_OK) {
        return error;
    }
    memcpy(rw_side(operation)->remote, metadata->key_bytes, RW_ID_BYTES);
    rw_operation_bind(operation, peer, choose_link(operation, peer, metadata));
    error = send_request(operation);
    if (error != ROPEWAY_OK) {
        rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, error, false, "%s",
                         ropeway_last_error());
    }
    return ROPEWAY_OK;
}
