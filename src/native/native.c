/* SPDX-License-Identifier: Apache-2.0 */
/* The protocol as a whole: its part of connectors and operations, and who waits for room. */
#include "native/native.h"

#include "base/assert.h"
#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- an operation's part ---- */

static void free_side(void *side) {
    free(side);
}

static void release(ropeway_operation_t *operation) RW_LOCKED {
    rw_side_t *side = rw_side(operation);

    rw_native_tell_asked(operation);
    if (!operation->is_sender) {
        rw_extents_free(&side->in.claimed);
    }
    rw_sums_free(side->sums);
    side->sums = NULL;
}

static bool may_decide(const ropeway_operation_t *operation) RW_LOCKED {
    const rw_side_t *side = rw_side(operation);

    if (!operation->is_sender) {
        return side->in.state != RW_RECEIVER_CONFIRMING;
    }
    return (side->out.state != RW_SENDER_INLINE && side->out.state != RW_SENDER_SENT) ||
           side->pulled;
}

const rw_protocol_t rw_native_protocol = {.pump = rw_send_pump,
                                          .tell = rw_native_tell_end,
                                          .may_decide = may_decide,
                                          .release = release,
                                          .free = free_side};

ropeway_error_t rw_native_adopt(ropeway_operation_t *operation) {
    operation->side = rw_side_new(operation);
    operation->protocol = &rw_native_protocol;
    return operation->side != NULL ? ROPEWAY_OK : rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
}

/* Memory of a device is reached by what moves it; everything else by the connector's first carrier.
 */
static rw_carrier_t *carrier_of(const ropeway_operation_t *operation) {
    rw_carrier_t *for_devices = rw_links_for_devices(operation->connector);

    return operation->layout.any_device && for_devices != NULL
               ? for_devices
               : &operation->connector->links->first;
}

ropeway_error_t rw_native_connection(const ropeway_operation_t *operation,
                                     rw_connection_t *connection) {
    rw_carrier_t *carrier = carrier_of(operation);
    ropeway_error_t error = rw_native_need(carrier);

    *connection = (rw_connection_t){
        .backend = RW_BACKEND_NATIVE, .blob = carrier->hello, .length = carrier->hello_length};
    return error;
}

ropeway_error_t rw_native_encode_metadata(ropeway_operation_t *operation) {
    const ropeway_connector_t *connector = operation->connector;
    const rw_layout_t *layout = &operation->layout;
    rw_connection_t connection;
    ropeway_error_t error = rw_native_connection(operation, &connection);
    char key[RW_KEY_TEXT];
    size_t length;

    if (error != ROPEWAY_OK) {
        return error;
    }
    rw_key_to_text(operation->node.id, key);
    return rw_metadata_encode(operation->kind, layout->descriptors, layout->count, connector->name,
                              &connection, 1, NULL, 0, key, connector->options.max_metadata,
                              &operation->json, &length);
}

const rw_link_user_t rw_native_link_user = {
    .on_frame = rw_native_on_frame, .on_room = rw_operations_feed, .on_leave = rw_native_leave};

/* ---- a connector's part ---- */

static ropeway_error_t make_hello(rw_carrier_t *carrier) RW_LOCKED {
    ropeway_connector_t *connector = carrier->connector;
    rw_hello_t hello = {.version = RW_PROTOCOL_VERSION, .process = (uint32_t)getpid()};
    uint8_t *address;
    ropeway_error_t error = carrier->kind->address(carrier, &address, &hello.address_length);

    if (error != ROPEWAY_OK) {
        return error;
    }
    memcpy(hello.instance, connector->instance, sizeof hello.instance);
    memcpy(hello.scope, connector->peers->scope, sizeof hello.scope);
    snprintf(hello.name, sizeof hello.name, "%s", connector->name);
    if (!carrier->kind->host_only) {
        snprintf(hello.ucx, sizeof hello.ucx, "%s", ropeway_ucx_version());
    }
    hello.address = address;
    carrier->hello = rw_hello_encode(&hello, &carrier->hello_length);
    free(address);
    if (carrier->hello == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    rw_hello_id(carrier->hello, carrier->hello_length, carrier->id);
    return ROPEWAY_OK;
}

ropeway_error_t rw_native_need(rw_carrier_t *carrier) {
    ropeway_error_t error = rw_links_need(carrier);

    return error == ROPEWAY_OK && carrier->hello == NULL && !carrier->dials_only
               ? make_hello(carrier)
               : error;
}

ropeway_error_t rw_native_open(ropeway_connector_t *connector) RW_UNCHECKED {
    connector->native = calloc(1, sizeof *connector->native);
    if (connector->native == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    return rw_native_need(&connector->links->first);
}

void rw_native_free(ropeway_connector_t *connector) {
    free(connector->native);
    connector->native = NULL;
}
