/* SPDX-License-Identifier: Apache-2.0 */
/* A link that is a UCX endpoint: made, broken, left and closed. */
#include "base/assert.h"
#include "base/error.h"
#include "link/ucx_port.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEAVE_MAX ((uint64_t)60000 * RW_NANOSECONDS_PER_MS)

/* ---- the end ---- */

/* Once UCX has closed the endpoint and given its requests back. */
static void free_when_closed(rw_ucx_link_t *link) RW_LOCKED {
    rw_peer_t *peer = link->base.peer;

    if (link->state == RW_UCX_CLOSING && link->requests == 0) {
        rw_assert(rw_list_is_empty(&link->node));
        rw_timer_return(&link->port->connector->timers, &link->timer);
        peer->link = NULL;
        rw_peer_forget_keys(peer);
        rw_link_drop(&link->base);
    }
}

static void on_closed(void *request, ucs_status_t status, void *argument) RW_UNCHECKED {
    rw_ucx_link_t *link = argument;

    (void)status;
    ucp_request_free(request);
    link->port->closing--;
    link->requests--;
    free_when_closed(link);
}

static void close_endpoint(rw_ucx_link_t *link, uint32_t flags) RW_LOCKED {
    ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS |
                                                 UCP_OP_ATTR_FIELD_CALLBACK |
                                                 UCP_OP_ATTR_FIELD_USER_DATA,
                                 .flags = flags,
                                 .cb.send = on_closed,
                                 .user_data = link};
    ucp_ep_h endpoint = link->endpoint;

    rw_assert(endpoint != NULL);
    link->state = RW_UCX_CLOSING;
    link->endpoint = NULL;
    link->port->closing++;
    link->requests++;
    if (!UCS_PTR_IS_PTR(ucp_ep_close_nbx(endpoint, &param))) {
        link->port->closing--;
        link->requests--;
        free_when_closed(link);
    }
}

/* Its endpoint shall be closed at the next step. */
static void end_leaving(rw_ucx_link_t *link) RW_LOCKED {
    rw_assert(link->state == RW_UCX_LEAVING);
    link->state = RW_UCX_ENDED;
    link->how = RW_CLOSE_NOW;
    rw_timer_set(&link->port->connector->timers, &link->timer, RW_NEVER);
    rw_list_remove(&link->node);
    rw_list_append(&link->port->ended, &link->node);
}

/* Ends it, or says when to look again. */
static void look_at_leaving(rw_ucx_link_t *link, uint64_t now) RW_LOCKED {
    ropeway_connector_t *connector = link->port->connector;
    uint64_t quiet = (uint64_t)connector->options.quiet_ms * RW_NANOSECONDS_PER_MS;
    uint64_t first = link->left + (link->how == RW_CLOSE_LATER ? quiet : 0);
    uint64_t last = link->left + (link->how == RW_CLOSE_LATER ? LEAVE_MAX + quiet : quiet);

    if (link->state != RW_UCX_LEAVING) {
        return;
    }
    if ((!link->flushing && now >= first) || now >= last) {
        end_leaving(link);
    } else {
        rw_timer_set(&connector->timers, &link->timer, now < first ? first : last);
    }
}

static void on_leave_due(rw_timer_t *timer, uint64_t now) RW_LOCKED {
    look_at_leaving(RW_CONTAINER(timer, rw_ucx_link_t, timer), now);
}

static void on_flushed(void *request, ucs_status_t status, void *argument) RW_UNCHECKED {
    rw_ucx_link_t *link = argument;

    (void)status;
    ucp_request_free(request);
    link->flushing = false;
    link->requests--;
    look_at_leaving(link, rw_now());
    free_when_closed(link);
}

static void begin_leaving(rw_ucx_link_t *link) RW_LOCKED {
    ucp_request_param_t param = {.op_attr_mask =
                                     UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
                                 .cb.send = on_flushed,
                                 .user_data = link};

    link->flushing = UCS_PTR_IS_PTR(ucp_ep_flush_nbx(link->endpoint, &param));
    link->requests += link->flushing;
    link->state = RW_UCX_LEAVING;
    link->left = rw_now();
    rw_list_append(&link->port->leaving, &link->node);
    look_at_leaving(link, link->left);
}

void rw_ucx_link_go(rw_ucx_link_t *link) {
    rw_assert(link->state == RW_UCX_ENDED);
    if (link->how == RW_CLOSE_NOW) {
        close_endpoint(link, UCP_EP_CLOSE_FLAG_FORCE);
    } else {
        begin_leaving(link);
    }
}

void rw_ucx_link_close(rw_link_t *base, rw_close_t how) {
    rw_ucx_link_t *link = rw_ucx_link(base);

    if (link->state == RW_UCX_OPEN && how == RW_CLOSE_GRACEFUL) {
        close_endpoint(link, 0);
    } else if (link->state == RW_UCX_OPEN) {
        link->state = RW_UCX_ENDED;
        link->how = link->reported ? RW_CLOSE_NOW : how;
        rw_list_append(&link->port->ended, &link->node);
    } else if (link->state == RW_UCX_LEAVING && how == RW_CLOSE_NOW) {
        end_leaving(link);
    } else if (how == RW_CLOSE_NOW) {
        link->how = how;
    }
}

/* ---- the beginning ---- */

/* UCX's words are the same whoever is to blame; whether the process lives can be known on this
 * host. */
static bool lives(const rw_peer_t *peer) RW_LOCKED {
    return peer->process.fd >= 0 && !rw_process_has_ended(peer->process.fd);
}

static void on_error(void *argument, ucp_ep_h endpoint, ucs_status_t status) RW_UNCHECKED {
    rw_ucx_link_t *link = argument;
    rw_peer_t *peer = link->base.peer;

    (void)endpoint;
    link->reported = true;
    if (link->state == RW_UCX_LEAVING) {
        end_leaving(link);
    } else if (peer->heard) {
        rw_peer_fail(peer, RW_CLOSE_NOW, ROPEWAY_ERR_PEER_LOST, "UCX says \"%s\"; %s",
                     ucs_status_string(status),
                     lives(peer) ? "its process lives, so one side's memory may be at fault, which "
                                   "the other side or the kernel could not read or write"
                                 : "has its process or its host gone?");
    } else {
        rw_peer_fail(peer, RW_CLOSE_NOW, ROPEWAY_ERR_UNREACHABLE,
                     "UCX says \"%s\" (UCX %s there, %s here); %s", ucs_status_string(status),
                     link->release, ropeway_ucx_version(),
                     lives(peer)
                         ? "its process lives: is its address reachable from here, and was it "
                           "ever out of descriptors?"
                         : "is its process alive, and its address reachable from here?");
    }
}

static ropeway_error_t no_path(const char *release, const rw_hello_t *hello) {
    char why[64];

    snprintf(why, sizeof why, "%s", ropeway_last_error());
    return rw_fail(
        ROPEWAY_ERR_NO_PATH,
        "no transport connects to the peer \"%s\" (UCX %s there, %s here): %s; it may have "
        "ended, or share no transport with us: compare `ropeway info` on both hosts, and "
        "UCX_TLS and UCX_NET_DEVICES",
        hello->name, release, ropeway_ucx_version(), why);
}

/* The peer's release of UCX: where it does not say so, its address tells. Errors: ERR_NO_PATH. */
static ropeway_error_t read_address(const rw_hello_t *hello, char release[RW_UCX_RELEASE_MAX]) {
    char packed[RW_UCX_RELEASE];
    const char *wrong;
    bool fits = rw_ucx_address_check(hello->address, hello->address_length, packed, &wrong);

    snprintf(release, RW_UCX_RELEASE_MAX, "%s", hello->ucx[0] != '\0' ? hello->ucx : packed);
    return fits ? ROPEWAY_OK : rw_fail(ROPEWAY_ERR_NO_PATH, "%s", wrong);
}

ropeway_error_t rw_ucx_link_check(const rw_hello_t *hello) {
    char release[RW_UCX_RELEASE_MAX];

    return read_address(hello, release) == ROPEWAY_OK ? ROPEWAY_OK : no_path(release, hello);
}

ropeway_error_t rw_ucx_link_open(rw_ucx_port_t *port, const rw_link_kind_t *kind, rw_peer_t *peer,
                                 const rw_hello_t *hello, rw_link_t **result) {
    rw_ucx_link_t *link = calloc(1, sizeof *link);
    ropeway_error_t error;

    if (link == NULL || !rw_timer_promise(&port->connector->timers)) {
        free(link);
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    link->port = port;
    link->timer.run = on_leave_due;
    rw_list_init(&link->node);
    link->base.peer = peer; /* for on_error() */
    error = read_address(hello, link->release);
    if (error == ROPEWAY_OK) {
        error = rw_ucx_connect(port->worker, hello->address, hello->address_length, on_error, link,
                               &link->endpoint);
    }
    if (error != ROPEWAY_OK) {
        error = error == ROPEWAY_ERR_NO_PATH ? no_path(link->release, hello) : error;
        rw_timer_return(&port->connector->timers, &link->timer);
        free(link);
        return error;
    }
    rw_link_init(&link->base, kind, peer);
    *result = &link->base;
    return ROPEWAY_OK;
}

void rw_ucx_link_path(rw_link_t *base) {
    rw_ucx_link_t *link = rw_ucx_link(base);

    if (link->state == RW_UCX_OPEN) {
        rw_ucx_write_path(link->endpoint, base->path, sizeof base->path);
    }
}
