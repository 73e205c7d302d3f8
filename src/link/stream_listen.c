/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a connector listens, and whom it lets in. Until a stranger has asked for something that is
 * offered here it is one of at most STRANGERS_MAX; when there are more, the oldest of those that
 * come from the network with the most of them goes.
 */
#include "link/stream.h"

#include "base/error.h"
#include "base/log.h"
#include "link/stream_local.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define STRANGERS_MAX 128
#define ACCEPTS_MAX 8     /* per turn */
#define RETRY 20000000u   /* nanoseconds, until there may be descriptors again */
#define ANY_PORT_TRIES 16 /* to get one port on several addresses */

/* ---- strangers ---- */

/* Whether both come from the same network: this host, /24, or /48 of IPv6. */
static bool are_neighbours(const rw_place_t *one, const rw_place_t *other) {
    if (one->any.sa_family != other->any.sa_family) {
        return false;
    }
    if (rw_place_is_local(one)) {
        return true;
    }
    return one->any.sa_family == AF_INET6 ? memcmp(&one->v6.sin6_addr, &other->v6.sin6_addr, 6) == 0
                                          : memcmp(&one->v4.sin_addr, &other->v4.sin_addr, 3) == 0;
}

static void dismiss_one(rw_stream_t *stream) RW_LOCKED {
    rw_stream_link_t *chosen = NULL;
    size_t most = 0;

    for (rw_node_t *node = stream->pending.next; node != &stream->pending; node = node->next) {
        rw_stream_link_t *link = RW_CONTAINER(node, rw_stream_link_t, pending);
        size_t count = 0;

        for (rw_node_t *other = node; other != &stream->pending; other = other->next) {
            count += are_neighbours(&link->place,
                                    &RW_CONTAINER(other, rw_stream_link_t, pending)->place);
        }
        if (count > most) { /* the first of a network counts all of it */
            most = count;
            chosen = link;
        }
    }
    if (chosen != NULL) {
        rw_list_remove(&chosen->pending);
        stream->pending_count--;
        rw_stream_dismiss(chosen);
    }
}

/* ---- the door ---- */

/* Whether knocking is heard: not while there are no descriptors to let anybody in. Then we look
 * again after a while. */
static void turn_away(rw_stream_t *stream, bool away) RW_LOCKED {
    ropeway_connector_t *connector = stream->connector;

    if (stream->turns_away != away) {
        for (size_t i = 0; i < stream->listener_count; i++) {
            rw_events_watch(&stream->events, &stream->listeners[i].watcher, away ? 0 : EPOLLIN);
        }
        stream->turns_away = away;
    }
    rw_timer_set(&connector->timers, &stream->retry, away ? rw_now() + RETRY : RW_NEVER);
}

static void on_retry(rw_timer_t *timer, uint64_t now) RW_LOCKED {
    (void)now;
    turn_away(RW_CONTAINER(timer, rw_stream_t, retry), false);
}

static void let_in(rw_stream_t *stream, int fd, rw_place_t *from) RW_LOCKED {
    if (!rw_process_own(fd)) {
        rw_process_close(fd);
        return;
    }
    rw_place_unmap(from);
    if (stream->pending_count >= STRANGERS_MAX) {
        dismiss_one(stream);
    }
    rw_stream_accept(stream, fd, from);
}

static void on_knock(rw_watcher_t *listener) RW_LOCKED {
    rw_stream_t *stream = RW_CONTAINER(listener, rw_listener_t, watcher)->stream;

    for (int i = 0; i < ACCEPTS_MAX; i++) {
        rw_place_t from = {.any.sa_family = AF_UNSPEC};
        socklen_t size = sizeof from;
        int fd = accept4(listener->fd, &from.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                rw_log(stream->connector, ROPEWAY_LOG_WARN,
                       "a connection can't be accepted now: %s; raise the limit on open files "
                       "(ulimit -n)",
                       strerror(errno));
                turn_away(stream, true);
            }
            return;
        }
        stream->moved = true;
        let_in(stream, fd, &from);
    }
}

/* ---- sockets that listen ---- */

static void close_listeners(rw_stream_t *stream) RW_LOCKED {
    while (stream->listener_count > 0) {
        rw_watcher_t *watcher = &stream->listeners[--stream->listener_count].watcher;

        rw_events_forget(&stream->events, watcher);
        rw_process_close(watcher->fd);
    }
}

/* Listens there too, and says by which port. false, with errno. */
static bool listen_at(rw_stream_t *stream, const rw_place_t *place, uint16_t *port) RW_LOCKED {
    rw_listener_t *listener = &stream->listeners[stream->listener_count];
    int fd = socket(place->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1, zero = 0, error;
    rw_place_t bound = *place;
    socklen_t size = sizeof bound;

    if (fd < 0) {
        return false;
    }
    rw_place_set_port(&bound, *port);
    *listener = (rw_listener_t){.watcher = {.fd = fd, .on_event = on_knock}, .stream = stream};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (place->any.sa_family == AF_INET6) { /* the unspecified address stands for IPv4, too */
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    }
    if (rw_process_own(fd) && bind(fd, &bound.any, rw_place_length(&bound)) == 0 &&
        listen(fd, SOMAXCONN) == 0 && getsockname(fd, &bound.any, &size) == 0 &&
        rw_events_watch(&stream->events, &listener->watcher, EPOLLIN)) {
        *port = rw_place_port(&bound);
        stream->listener_count++;
        return true;
    }
    error = errno;
    rw_process_close(fd);
    errno = error;
    return false;
}

/* Listens at all of these places by one port, 0: any. false, with errno. */
static bool listen_at_all(rw_stream_t *stream, const rw_stream_address_t *places,
                          uint16_t *port) RW_LOCKED {
    for (size_t i = 0; i < places->count; i++) {
        if (!listen_at(stream, &places->places[i], port)) {
            int error = errno;

            close_listeners(stream);
            errno = error;
            return false;
        }
    }
    return true;
}

static ropeway_error_t fail_to_listen(const rw_listen_wish_t *wish,
                                      const rw_stream_address_t *places) {
    char place[RW_PLACE_TEXT], why[64];

    snprintf(why, sizeof why, "%s", strerror(errno));
    rw_place_write(&places->places[0], place);
    *strrchr(place, ':') = '\0';
    if (wish->last > wish->first) {
        return rw_fail(ROPEWAY_ERR_SYSTEM,
                       "no port of %u-%u (the connector option listen) can be listened to on %s: "
                       "%s; name more ports, or end what uses these",
                       wish->first, wish->last, place, why);
    }
    return rw_fail(ROPEWAY_ERR_SYSTEM,
                   wish->first > 0 ? "port %u (the connector option listen) can't be listened to "
                                     "on %s: %s; name another one"
                                   : "no port (%u: any) can be listened to on %s: %s",
                   wish->first, place, why);
}

static ropeway_error_t open_listeners(rw_stream_t *stream, const rw_listen_wish_t *wish,
                                      const rw_stream_address_t *places, uint16_t *port) RW_LOCKED {
    unsigned tries = wish->first > 0 ? wish->last - wish->first + 1u : ANY_PORT_TRIES;

    for (unsigned i = 0; i < tries; i++) {
        *port = (uint16_t)(wish->first > 0 ? wish->first + i : 0);
        if (listen_at_all(stream, places, port)) {
            return ROPEWAY_OK;
        }
        if (errno != EADDRINUSE) {
            break;
        }
    }
    return fail_to_listen(wish, places);
}

/* At the unspecified address of both families, or of IPv4 where there is no other. */
static ropeway_error_t listen_everywhere(rw_stream_t *stream, const rw_listen_wish_t *wish,
                                         uint16_t *port) RW_LOCKED {
    rw_stream_address_t at = {.count = 1, .places = {{.v6 = {.sin6_family = AF_INET6}}}};
    ropeway_error_t error;

    if (wish->has_place) {
        at.places[0] = wish->place;
        return open_listeners(stream, wish, &at, port);
    }
    error = open_listeners(stream, wish, &at, port);
    if (error != ROPEWAY_OK) {
        at.places[0] = (rw_place_t){.v4 = {.sin_family = AF_INET}};
        error = open_listeners(stream, wish, &at, port);
    }
    return error;
}

static bool hears_v6(const rw_stream_t *stream) RW_LOCKED {
    rw_place_t bound = {.any.sa_family = AF_UNSPEC};
    socklen_t size = sizeof bound;

    return getsockname(stream->listeners[0].watcher.fd, &bound.any, &size) == 0 &&
           bound.any.sa_family == AF_INET6;
}

static ropeway_error_t open_door(rw_stream_t *stream, uint16_t *port) RW_LOCKED {
    const ropeway_connector_options_t *options = &stream->connector->options;
    rw_listen_wish_t wish;
    bool everywhere;
    ropeway_error_t error = rw_places_read_listen(options->listen, &wish);

    if (error == ROPEWAY_OK) {
        error = rw_places_choose(&wish, options->net_devices, &stream->address, &everywhere);
    }
    if (error == ROPEWAY_OK) {
        error = everywhere ? listen_everywhere(stream, &wish, port)
                           : open_listeners(stream, &wish, &stream->address, port);
    }
    if (error == ROPEWAY_OK && everywhere && !hears_v6(stream)) {
        rw_places_drop_v6(&stream->address);
    }
    return error;
}

/* Opens the Unix socket, for peers on this host. */
static ropeway_error_t open_side_door(rw_stream_t *stream) RW_LOCKED {
    rw_place_t place;
    uint16_t none = 0;

    rw_local_place(stream->identity.fingerprint, stream->connector->instance, &place);
    stream->address.local = listen_at(stream, &place, &none);
    if (!stream->address.local && stream->listener_count == 0) {
        return rw_fail(ROPEWAY_ERR_SYSTEM, "no Unix socket can be listened to: %m");
    }
    if (!stream->address.local) {
        rw_log(stream->connector, ROPEWAY_LOG_WARN,
               "no Unix socket can be listened to: %m; peers on this host come by TCP");
    }
    return ROPEWAY_OK;
}

/* Whether the user has said anything of networks; a host may have none. */
static bool needs_network(const rw_stream_t *stream) {
    const ropeway_connector_options_t *options = &stream->connector->options;

    return stream->is_named || options->listen != NULL || options->advertise != NULL ||
           options->net_devices != NULL || stream->encryption == RW_ENCRYPT_REQUIRED;
}

/* Opens what the options ask for, and says where peers shall come. */
static ropeway_error_t open_doors(rw_stream_t *stream) RW_LOCKED {
    const char *advertised = stream->connector->options.advertise;
    uint16_t port = 0;
    ropeway_error_t error = stream->ways.tcp ? open_door(stream, &port) : ROPEWAY_OK;

    if (error != ROPEWAY_OK && !needs_network(stream)) {
        rw_log(stream->connector, ROPEWAY_LOG_WARN, "only peers on this host can come: %s",
               ropeway_last_error());
        close_listeners(stream);
        stream->address.count = 0;
        error = ROPEWAY_OK;
    }

    for (size_t i = 0; i < stream->address.count; i++) {
        rw_place_set_port(&stream->address.places[i], port);
    }
    if (error == ROPEWAY_OK && advertised != NULL && stream->ways.tcp) {
        error = rw_places_read_advertised(advertised, port, &stream->address);
    }
    if (error == ROPEWAY_OK && stream->ways.local && stream->encryption != RW_ENCRYPT_REQUIRED) {
        error = open_side_door(stream);
    }
    if (error == ROPEWAY_OK && stream->listener_count == 0) {
        error = rw_fail(ROPEWAY_ERR_INVALID_ARGUMENT,
                        "the connector option encryption is \"required\", which the transport "
                        "\"local\" does not have; name \"stream\" beside it");
    }
    return error;
}

ropeway_error_t rw_stream_listen(rw_stream_t *stream) {
    ropeway_connector_t *connector = stream->connector;
    char place[RW_PLACE_TEXT];
    ropeway_error_t error;

    if (!rw_timer_promise(&connector->timers)) {
        return rw_fail(ROPEWAY_ERR_NO_MEMORY, "out of memory");
    }
    stream->retry.run = on_retry;
    error = open_doors(stream);
    if (error != ROPEWAY_OK) {
        return error;
    }
    stream->address.encryption = stream->encryption;
    memcpy(stream->address.fingerprint, stream->identity.fingerprint, RW_FINGERPRINT_BYTES);
    for (size_t i = 0; i < stream->address.count; i++) {
        rw_place_write(&stream->address.places[i], place);
        rw_log(connector, ROPEWAY_LOG_INFO, "peers are told to connect to %s", place);
    }
    return ROPEWAY_OK;
}

void rw_stream_unlisten(rw_stream_t *stream) {
    close_listeners(stream);
    if (stream->retry.run != NULL) {
        rw_timer_return(&stream->connector->timers, &stream->retry);
        stream->retry.run = NULL;
    }
    for (rw_node_t *node = stream->pending.next, *next; node != &stream->pending; node = next) {
        rw_stream_link_t *link = RW_CONTAINER(node, rw_stream_link_t, pending);

        next = node->next;
        if (link->base.peer == NULL) {
            rw_stream_dismiss(link);
        }
    }
}
