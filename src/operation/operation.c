/* SPDX-License-Identifier: Apache-2.0 */
/* Operations as objects: options, creation, their places in tables and lists, their end as such. */
#include "operation/operation.h"

#include "base/assert.h"
#include "base/error.h"
#include "text/descriptor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define ENDED_KEPT 4096 /* keys of ended operations that are remembered */

/* ---- options ---- */

#define DEFAULT(type, name, value, ...) .name = (value),
static const ropeway_operation_options_t defaults = {
    .struct_size = sizeof(ropeway_operation_options_t),
    ROPEWAY_OPERATION_OPTION_MAP(DEFAULT, DEFAULT)};
#undef DEFAULT

void ropeway_operation_options_init(ropeway_operation_options_t *options, size_t size) {
    if (options == NULL) {
        return;
    }
    memset(options, 0, size);
    memcpy(options, &defaults, size < sizeof defaults ? size : sizeof defaults);
    options->struct_size = size;
}

static ropeway_error_t check_numbers(const ropeway_operation_options_t *options) {
    const struct {
        const char *name;
        uint64_t value, least, most;
    } ranges[] = {
#define NUMBER(type, name, value, least, most, text) {#name, options->name, (least), (most)},
#define OTHER(...)
        ROPEWAY_OPERATION_OPTION_MAP(NUMBER, OTHER)
#undef NUMBER
#undef OTHER
    };

    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        if (ranges[i].value < ranges[i].least || ranges[i].value > ranges[i].most) {
            return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                           "the operation option %s is %llu; it must be from %llu to %llu",
                           ranges[i].name, (unsigned long long)ranges[i].value,
                           (unsigned long long)ranges[i].least, (unsigned long long)ranges[i].most);
        }
    }
    return ROPEWAY_OK;
}

static ropeway_error_t take_trace(ropeway_operation_t *operation, const char *trace) RW_UNCHECKED {
    size_t length = strnlen(trace, RW_TRACE_MAX + 1);

    for (size_t i = 0; i < length; i++) {
        if (trace[i] < ' ' || trace[i] > '~') {
            length = 0;
        }
    }
    if (length == 0 || length > RW_TRACE_MAX) {
        return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                       "the operation option trace must have 1 to %d printable ASCII characters",
                       RW_TRACE_MAX);
    }
    operation->trace = strdup(trace);
    return operation->trace != NULL ? ROPEWAY_OK : rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
}

/* *options: the given ones and the defaults of the others. */
static ropeway_error_t take_options(ropeway_operation_t *operation,
                                    const ropeway_operation_options_t *given,
                                    ropeway_operation_options_t *options) {
    const ropeway_connector_options_t *general = &operation->connector->options;
    ropeway_error_t error;
    uint32_t deadline, stall;

    *options = defaults;
    if (given != NULL) {
        if (given->struct_size < sizeof given->struct_size) {
            return rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                           "the operation options' struct_size is %zu; fill them with "
                           "ropeway_operation_options_init() first",
                           given->struct_size);
        }
        memcpy(options, given,
               given->struct_size < sizeof *options ? given->struct_size : sizeof *options);
    }
    error = check_numbers(options);
    if (error != ROPEWAY_OK) {
        return error;
    }
    deadline =
        options->deadline_ms == ROPEWAY_INHERIT ? general->deadline_ms : options->deadline_ms;
    stall = options->stall_ms == ROPEWAY_INHERIT ? general->stall_ms : options->stall_ms;
    operation->flags = options->flags;
    operation->callback = options->callback;
    operation->callback_arg = options->callback_arg;
    operation->user_data = options->user_data;
    operation->created = rw_now();
    operation->deadline =
        deadline == 0 ? RW_NEVER : operation->created + (uint64_t)deadline * RW_NANOSECONDS_PER_MS;
    operation->stall = stall == 0 ? RW_NEVER : (uint64_t)stall * RW_NANOSECONDS_PER_MS;
    return options->trace != NULL && rw_operation_is_active(operation)
               ? take_trace(operation, options->trace)
               : ROPEWAY_OK;
}

/* ---- checks ---- */

ropeway_error_t rw_device_foresee(const ropeway_connector_t *connector, ropeway_device_t device) {
    char text[32];

    if (device.kind == ROPEWAY_DEVICE_HOST) {
        return ROPEWAY_OK;
    }
    ropeway_device_format(device, text, sizeof text);
    if (device.kind != ROPEWAY_DEVICE_CUDA) {
        return rw_fail(ROPEWAY_ERR_DEVICE, "memory on %s can't be used: only cpu and cuda can",
                       text);
    }
    if (rw_links_for_devices(connector) == NULL) {
        return rw_fail(ROPEWAY_ERR_DEVICE,
                       "memory on %s can't be used by a connector whose %s; leave the option out "
                       "for it",
                       text,
                       connector->links->first.is_named
                           ? "option transports names only what moves host memory"
                           : "option encryption is \"required\"");
    }
    return ROPEWAY_OK;
}

ropeway_error_t rw_device_check(ropeway_connector_t *connector, ropeway_device_t device) {
    ropeway_error_t error = rw_device_foresee(connector, device);
    char text[32];

    if (error != ROPEWAY_OK || device.kind == ROPEWAY_DEVICE_HOST) {
        return error;
    }
    error = rw_links_need(rw_links_for_devices(connector));
    if (error != ROPEWAY_OK || connector->links->has_cuda) {
        return error;
    }
    ropeway_device_format(device, text, sizeof text);
    return rw_fail(ROPEWAY_ERR_DEVICE,
                   "memory on %s can't be used: UCX %s was loaded without support for it (its CUDA "
                   "modules or the NVIDIA driver are missing); `ropeway info` shows what it has",
                   text, ropeway_ucx_version());
}

static ropeway_error_t check_device_pieces(const ropeway_operation_t *operation) RW_UNCHECKED {
    const rw_layout_t *layout = &operation->layout;
    ropeway_error_t error = ROPEWAY_OK;

    rw_lock(&operation->connector->lock);
    for (size_t i = 0; i < layout->piece_count && error == ROPEWAY_OK; i++) {
        error = rw_device_check(operation->connector, layout->pieces[i].device);
    }
    rw_unlock(&operation->connector->lock);
    return error;
}

/* Whether the devices can be used by this connector, and what the options ask of them. */
static ropeway_error_t check_devices(const ropeway_operation_t *operation) {
    const rw_layout_t *layout = &operation->layout;
    ropeway_error_t error = layout->any_device ? check_device_pieces(operation) : ROPEWAY_OK;

    if (error != ROPEWAY_OK) {
        return error;
    }
    if (layout->any_device && (operation->flags & ROPEWAY_OPERATION_INTEGRITY) != 0) {
        return rw_fail(ROPEWAY_ERR_UNSUPPORTED,
                       "the integrity check works on host memory only; leave "
                       "ROPEWAY_OPERATION_INTEGRITY out for device memory");
    }
    if (layout->any_device && rw_layout_is_grouped(layout)) {
        return rw_fail(ROPEWAY_ERR_UNSUPPORTED,
                       "descriptors in groups can only be of host memory; leave group_sizes out "
                       "for device memory");
    }
    return ROPEWAY_OK;
}

/* ---- life ---- */

/* The connection has ended. */
static void on_down(rw_peer_user_t *user, ropeway_error_t cause, const char *why) RW_LOCKED {
    ropeway_operation_t *operation = RW_CONTAINER(user, ropeway_operation_t, of_peer);

    if (operation->cancel_asked) {
        rw_operation_end(operation, ROPEWAY_STATUS_CANCELLED, ROPEWAY_ERR_CANCELLED, false,
                         "cancelled on this side; the peer \"%s\" did not confirm it: %s",
                         operation->peer->name, why);
    } else {
        rw_operation_end(operation, ROPEWAY_STATUS_ERRORED, cause, false,
                         "the connection to the peer \"%s\" ended after %llu of %llu bytes: %s",
                         operation->peer->name, (unsigned long long)atomic_load(&operation->done),
                         (unsigned long long)operation->layout.total, why);
    }
}

ropeway_operation_t *rw_operation_of_user(rw_peer_user_t *user) {
    return user->on_down == on_down ? RW_CONTAINER(user, ropeway_operation_t, of_peer) : NULL;
}

static void init_fields(ropeway_operation_t *operation) RW_UNCHECKED {
    rw_node_t *nodes[] = {&operation->live, &operation->starved, &operation->of_peer.node,
                          &operation->calling, &operation->event};

    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
        rw_list_init(nodes[i]);
    }
    rw_condition_init(&operation->changed);
    operation->timer.run = rw_operation_on_timer;
    operation->of_peer.on_down = on_down;
    rw_random(operation->node.id, sizeof operation->node.id);
    operation->quiet_due = RW_NEVER;
    operation->later = ROPEWAY_ERR_KEY_FINISHED;
    operation->references = 1;
    atomic_init(&operation->status, ROPEWAY_STATUS_UNINITIALIZED);
    atomic_init(&operation->done, 0);
    atomic_init(&operation->total, 0);
}

ropeway_error_t rw_operation_new(ropeway_connector_t *connector, ropeway_operation_kind_t kind,
                                 const ropeway_descriptor_t *descriptors, size_t count,
                                 const ropeway_operation_options_t *options,
                                 ropeway_operation_t **result) {
    ropeway_operation_t *operation = calloc(1, sizeof *operation);
    ropeway_operation_options_t full;
    ropeway_error_t error;

    if (operation == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    init_fields(operation);
    operation->connector = connector;
    operation->kind = kind;
    operation->is_sender = kind == ROPEWAY_OPERATION_READABLE || kind == ROPEWAY_OPERATION_WRITE;
    error = take_options(operation, options, &full);
    if (error == ROPEWAY_OK) {
        error = rw_layout_make(&operation->layout, descriptors, count,
                               connector->options.max_descriptors, &full);
    }
    if (error == ROPEWAY_OK) {
        error = check_devices(operation);
    }
    if (error == ROPEWAY_OK && !operation->is_sender) {
        error = rw_descriptors_check_apart(operation->layout.pieces, operation->layout.piece_count);
    }
    if (error != ROPEWAY_OK) {
        rw_operation_discard(operation);
        return error;
    }
    atomic_store(&operation->total, operation->layout.total);
    *result = operation;
    return ROPEWAY_OK;
}

void rw_operation_discard(ropeway_operation_t *operation) RW_UNCHECKED {
    if (operation->side != NULL) {
        operation->protocol->free(operation->side);
    }
    free(operation->memories.of_piece);
    rw_layout_free(&operation->layout);
    free(operation->stock_peer);
    free(operation->trace);
    free(operation->json);
    free(operation->text);
    if (operation->connector->generation == rw_process_generation()) {
        /* A forked child must not: it would wait for the parent's waiters. */
        pthread_cond_destroy(&operation->changed);
    }
    free(operation);
}

ropeway_error_t rw_operation_start(ropeway_operation_t *operation) {
    ropeway_connector_t *connector = operation->connector;
    ropeway_error_t error = ROPEWAY_OK;

    rw_assert(operation->protocol != NULL && operation->phase == RW_PHASE_IDLE);
    if (connector->stats.operations_live >= connector->options.max_operations) {
        return rw_fail(ROPEWAY_ERR_LIMIT,
                       "the connector has %llu live operations, its limit (max_operations); "
                       "release some or raise it",
                       (unsigned long long)connector->stats.operations_live);
    }
    if (operation->callback != NULL) {
        error = rw_callback_prepare(connector);
    }
    if (error == ROPEWAY_OK) {
        error = rw_memory_use(connector, operation->layout.pieces, operation->layout.piece_count,
                              &operation->memories);
    }
    if (error == ROPEWAY_OK && !rw_timer_promise(&connector->timers)) {
        rw_memory_unuse(&operation->memories);
        error = rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    if (error != ROPEWAY_OK) {
        return error;
    }
    operation->references = 2; /* the user's and the engine's */
    connector->references++;
    connector->stats.operations_live++;
    connector->stats.operations_created++;
    rw_table_add(&connector->operations->table, &operation->node);
    rw_list_append(&connector->operations->live, &operation->live);
    operation->last_moved = rw_now();
    atomic_store(&operation->status, rw_operation_is_active(operation)
                                         ? ROPEWAY_STATUS_IN_PROGRESS
                                         : ROPEWAY_STATUS_INITIALIZED);
    rw_operation_set_timer(operation);
    return ROPEWAY_OK;
}

void rw_operation_bind(ropeway_operation_t *operation, rw_peer_t *peer, rw_link_t *link) {
    rw_assert(operation->phase == RW_PHASE_IDLE && operation->peer == NULL && link != NULL);
    operation->peer = peer;
    peer->references++;
    operation->link = link;
    link->references++;
    rw_list_append(&peer->users, &operation->of_peer.node);
    operation->phase = RW_PHASE_MOVING;
    operation->later = ROPEWAY_ERR_KEY_USED;
    atomic_store(&operation->status, ROPEWAY_STATUS_IN_PROGRESS);
    operation->last_moved = operation->paced_at = rw_now();
    rw_operation_set_timer(operation);
}

void rw_operation_rebind(ropeway_operation_t *operation, rw_peer_t *peer, rw_link_t *link) {
    rw_peer_t *former_peer = operation->peer;
    rw_link_t *former_link = operation->link;

    rw_assert(operation->phase == RW_PHASE_MOVING && operation->inflight == 0);
    rw_assert(rw_list_is_empty(&operation->starved));
    rw_list_remove(&operation->of_peer.node);
    operation->phase = RW_PHASE_IDLE;
    operation->peer = NULL;
    rw_operation_bind(operation, peer, link);
    rw_link_drop(former_link);
    if (operation->former == NULL) {
        operation->former = former_peer;
    } else {
        rw_peer_drop(former_peer);
    }
}

void rw_operation_cut(ropeway_operation_t *operation, const uint64_t *sizes, size_t count) {
    rw_assert(operation->phase <= RW_PHASE_MOVING && operation->inflight == 0);
    rw_layout_cut(&operation->layout, sizes, count);
    atomic_store(&operation->total, operation->layout.total);
}

ropeway_operation_t *rw_operation_find(ropeway_connector_t *connector,
                                       const uint8_t id[RW_ID_BYTES]) {
    rw_table_node_t *node = rw_table_find(&connector->operations->table, id);

    return node != NULL ? RW_CONTAINER(node, ropeway_operation_t, node) : NULL;
}

void rw_operation_drop(ropeway_operation_t *operation) {
    ropeway_connector_t *connector = operation->connector;

    rw_assert(operation->references > 0);
    if (--operation->references > 0) {
        return;
    }
    rw_assert(operation->phase == RW_PHASE_TERMINAL && operation->inflight == 0);
    if (operation->link != NULL) {
        rw_link_drop(operation->link);
    }
    if (operation->peer != NULL) {
        rw_peer_drop(operation->peer);
    }
    if (operation->former != NULL) {
        rw_peer_drop(operation->former);
    }
    rw_operation_discard(operation);
    connector->references--;
}

const char *rw_operation_peer_name(const ropeway_operation_t *operation) {
    return operation->peer != NULL ? operation->peer->name : "";
}

const char *rw_operation_tell_peer(const ropeway_operation_t *operation, rw_tell_t text) {
    if (operation->peer == NULL) {
        return "no peer had begun it";
    }
    snprintf(text, sizeof(rw_tell_t), "its peer was \"%s\"", operation->peer->name);
    return text;
}

void rw_operation_count(ropeway_operation_t *operation, uint64_t bytes) {
    ropeway_stats_t *stats = &operation->connector->stats;

    atomic_fetch_add(&operation->done, bytes);
    *(operation->is_sender ? &stats->bytes_sent : &stats->bytes_received) += bytes;
    operation->last_moved = rw_now();
}

/* ---- a connector's ---- */

ropeway_error_t rw_operations_open(ropeway_connector_t *connector) RW_UNCHECKED {
    struct rw_operations *operations = calloc(1, sizeof *operations);

    if (operations == NULL) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    connector->operations = operations;
    rw_list_init(&operations->live);
    rw_list_init(&operations->starved);
    rw_list_init(&operations->callbacks);
    rw_list_init(&operations->events);
    rw_condition_init(&operations->called);
    operations->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!rw_table_init(&operations->table) || !rw_recent_init(&operations->ended, ENDED_KEPT)) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    return operations->event_fd >= 0
               ? ROPEWAY_OK
               : rw_fail(ROPEWAY_ERR_SYSTEM, "the connector's event descriptor can't be made: %m; "
                                             "raise the limit on open files (ulimit -n)");
}

/* To end one may end others: what it sends may show that the connection is broken. */
void rw_operations_end(ropeway_connector_t *connector) {
    rw_node_t *live = &connector->operations->live;

    for (size_t left = connector->stats.operations_live; left > 0 && !rw_list_is_empty(live);
         left--) {
        rw_node_t *node = rw_list_take(live);

        rw_list_append(live, node);
        rw_operation_abort(RW_CONTAINER(node, ropeway_operation_t, live));
    }
    while (!rw_list_is_empty(live)) {
        ropeway_operation_t *operation = RW_CONTAINER(live->next, ropeway_operation_t, live);

        operation->references++;
        rw_operation_await(operation, RW_NEVER);
        rw_operation_drop(operation);
    }
}

void rw_operations_free(ropeway_connector_t *connector) RW_UNCHECKED {
    struct rw_operations *operations = connector->operations;

    if (operations == NULL) {
        return;
    }
    if (operations->event_fd >= 0) {
        close(operations->event_fd);
    }
    rw_table_free(&operations->table);
    rw_recent_free(&operations->ended);
    pthread_cond_destroy(&operations->called);
    free(operations);
    connector->operations = NULL;
}
