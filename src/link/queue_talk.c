/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How two connectors on one host agree on a queue in shared memory. Every connector listens on a
 * Unix socket, whose abstract name is made of the instance in its hello. A connector that has
 * completed queue_after operations with a peer on this host asks it there for a queue:
 *
 *   ASK    who asks (its hello's id), the peer's token for their connection, a UCX address
 *   GRANT  a UCX address, which is answered by
 *   TAKEN  the queue is connected; without it the other side frees its half; or
 *   BUSY   not now (the peer has asked too, and goes first; or there is no room); or
 *   REFUSE never
 *
 * The kernel says who is at the other end: only processes of our own user are listened to, and both
 * must be the processes that the connection's hellos name. Such a process could read and write our
 * memory anyway. The token is what only the two ends of the connection know. So no queue is shared
 * with anybody on the network, whatever a hello says.
 *
 * The one who asks may use the queue when it is granted; the other one when something has come
 * through it. If both ask at a time, the lesser id goes first. A connector that can't be reached
 * here, as from another network namespace, stays without a queue.
 */
#include "base/error.h"
#include "base/log.h"
#include "link/queue.h"
#include "link/ucx_kind.h"

#include <errno.h>
#include <sodium.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define TALKS_MAX 64         /* at a time; more are turned away */
#define ACCEPTS_MAX 8        /* per look */
#define PUT_OFF_MAX 16       /* doublings of the time until the next ask */
#define ADDRESS_MAX 4096     /* bytes of a UCX address */
#define PATIENCE 5000000000u /* nanoseconds, with one who says nothing */
#define RETRY 20000000u      /* nanoseconds, until there may be descriptors again */

/* Message: "RWQ1" type:1 zero:3 id:16 token:16 address */
enum { AT_TYPE = 4, AT_ID = 8, AT_TOKEN = 24, AT_ADDRESS = 40 };
enum { ASK = 1, GRANT = 2, BUSY = 3, REFUSE = 4, TAKEN = 5 };

typedef struct rw_talk {
    rw_node_t node; /* in queues->talks */
    rw_queues_t *queues;
    rw_timer_t timer; /* when our patience ends */
    rw_watcher_t watcher;
    bool asks;         /* this side does */
    rw_peer_t *peer;   /* with whom, with a reference; NULL: not known yet */
    rw_queue_t *queue; /* asks: what we have made for it; else: what we have granted, if it lives */
    pid_t pid;         /* the process at the other end */
} rw_talk_t;

static socklen_t name_socket(const uint8_t instance[RW_ID_BYTES], struct sockaddr_un *address) {
    char hex[2 * RW_ID_BYTES + 1];
    int length;

    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    sodium_bin2hex(hex, sizeof hex, instance, RW_ID_BYTES);
    length = snprintf(address->sun_path + 1, sizeof address->sun_path - 1, "ropeway-%s", hex);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

static void on_knock(rw_watcher_t *watcher) RW_LOCKED {
    rw_queues_t *queues = RW_CONTAINER(watcher, rw_queues_t, listener);

    rw_poller_call(queues->connector, &queues->talker);
}

static void on_word(rw_watcher_t *watcher) RW_LOCKED {
    rw_queues_t *queues = RW_CONTAINER(watcher, rw_talk_t, watcher)->queues;

    rw_poller_call(queues->connector, &queues->talker);
}

/* The process at the other end; 0: it is another user's. */
static pid_t other_end(int fd) {
    struct ucred who;
    socklen_t size = sizeof who;

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 && who.uid == geteuid()
               ? who.pid
               : 0;
}

/* Without its queue, which is freed or has found its use. */
static void end_talk(rw_talk_t *talk) RW_LOCKED {
    ropeway_connector_t *connector = talk->queues->connector;

    rw_events_forget(&connector->events, &talk->watcher);
    close(talk->watcher.fd);
    rw_timer_return(&connector->timers, &talk->timer);
    rw_list_remove(&talk->node);
    talk->queues->talk_count--;
    if (talk->peer != NULL) {
        rw_peer_drop(talk->peer);
    }
    free(talk);
}

/* A queue that was granted may have ended with its connection. */
static void give_up(rw_talk_t *talk) RW_LOCKED {
    if (talk->queue != NULL && (talk->asks || talk->queue == talk->peer->asker.queue)) {
        rw_queue_free(talk->queue);
    }
    end_talk(talk);
}

/* The next time to ask comes later each time. */
static void ask_later(rw_peer_t *peer) RW_LOCKED {
    peer->asker.completed = 0;
    peer->asker.put_off += peer->asker.put_off < PUT_OFF_MAX;
}

static void on_late(rw_timer_t *timer, uint64_t now) RW_LOCKED {
    rw_talk_t *talk = RW_CONTAINER(timer, rw_talk_t, timer);

    (void)now;
    if (talk->asks) {
        ask_later(talk->peer);
    }
    give_up(talk);
}

/* Takes the socket. NULL: there is no room; it is closed. */
static rw_talk_t *begin_talk(rw_queues_t *queues, int fd, pid_t pid) RW_LOCKED {
    ropeway_connector_t *connector = queues->connector;
    rw_talk_t *talk = queues->talk_count < TALKS_MAX ? calloc(1, sizeof *talk) : NULL;

    if (talk != NULL) {
        talk->queues = queues;
        talk->watcher = (rw_watcher_t){.fd = fd, .on_event = on_word};
        talk->pid = pid;
        talk->timer.run = on_late;
        if (rw_events_watch(&connector->events, &talk->watcher, EPOLLIN) &&
            rw_timer_promise(&connector->timers)) {
            queues->talk_count++;
            rw_list_append(&queues->talks, &talk->node);
            rw_timer_set(&connector->timers, &talk->timer, rw_now() + PATIENCE);
            return talk;
        }
        rw_events_forget(&connector->events, &talk->watcher);
    }
    free(talk);
    close(fd);
    return NULL;
}

static bool say(const rw_talk_t *talk, uint8_t type, const uint8_t token[RW_ID_BYTES],
                const uint8_t *address, size_t length) RW_LOCKED {
    uint8_t bytes[AT_ADDRESS + ADDRESS_MAX] = "RWQ1";

    if (length > ADDRESS_MAX) {
        return false;
    }
    bytes[AT_TYPE] = type;
    memcpy(bytes + AT_ID, rw_links_carrier(talk->queues->connector, &rw_ucx_kind)->id, RW_ID_BYTES);
    if (token != NULL) {
        memcpy(bytes + AT_TOKEN, token, RW_ID_BYTES);
    }
    if (length > 0) {
        memcpy(bytes + AT_ADDRESS, address, length);
    }
    return send(talk->watcher.fd, bytes, AT_ADDRESS + length, MSG_NOSIGNAL) ==
           (ssize_t)(AT_ADDRESS + length);
}

/* ---- asking ---- */

/* The socket to the peer's process, or -1. *again: it may work later. */
static int reach(const rw_peer_t *peer, bool *again) RW_LOCKED {
    struct sockaddr_un address;
    socklen_t length = name_socket(peer->instance, &address);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    errno = fd < 0 ? errno : 0;
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, length) == 0 &&
        other_end(fd) == peer->pid) {
        return fd;
    }
    *again = errno == EAGAIN || errno == EMFILE || errno == ENFILE;
    if (fd >= 0) {
        close(fd);
    }
    return -1;
}

static void ask(rw_peer_t *peer) RW_LOCKED {
    ropeway_connector_t *connector = peer->connector;
    bool again = false;
    int fd = reach(peer, &again);
    rw_talk_t *talk = fd >= 0 ? begin_talk(rw_queues(connector), fd, peer->pid) : NULL;
    uint8_t *address = NULL;
    size_t length = 0;

    if (talk == NULL) {
        peer->asker.refused = fd < 0 && !again;
        ask_later(peer);
        return;
    }
    talk->asks = true;
    talk->peer = peer;
    peer->references++;
    if (rw_queue_new(peer, &talk->queue, &address, &length) != ROPEWAY_OK ||
        !say(talk, ASK, peer->their_token, address, length)) {
        rw_log(connector, ROPEWAY_LOG_INFO, "no queue in shared memory with \"%s\": %s", peer->name,
               ropeway_last_error());
        ask_later(peer);
        give_up(talk);
    }
    free(address);
}

/* The talk in which we ask it, or NULL. */
static rw_talk_t *find_own(rw_peer_t *peer) RW_LOCKED {
    rw_node_t *talks = &rw_queues(peer->connector)->talks;

    for (rw_node_t *node = talks->next; node != talks; node = node->next) {
        rw_talk_t *talk = RW_CONTAINER(node, rw_talk_t, node);

        if (talk->asks && talk->peer == peer) {
            return talk;
        }
    }
    return NULL;
}

/* A queue ends with the peer's first link, so that must be one of UCX's. */
static bool may_have(const rw_peer_t *peer) RW_LOCKED {
    return peer->link != NULL && peer->link->kind == &rw_ucx_kind &&
           rw_queues(peer->connector)->listener.fd >= 0 && peer->pid != 0 && !peer->failed &&
           peer->asker.queue == NULL && !peer->asker.refused;
}

/* besides: a talk that has room already, or NULL. */
static bool has_room(const rw_queues_t *queues, const rw_talk_t *besides) RW_LOCKED {
    size_t count = queues->connector->stats.queues;

    for (rw_node_t *node = queues->talks.next; node != &queues->talks; node = node->next) {
        const rw_talk_t *talk = RW_CONTAINER(node, rw_talk_t, node);

        count += talk->asks && talk != besides;
    }
    return count < queues->connector->options.max_queues;
}

void rw_talk_count(rw_peer_t *peer) {
    rw_queues_t *queues = rw_queues(peer->connector);
    uint64_t wanted = (uint64_t)peer->connector->options.queue_after << peer->asker.put_off;

    if (++peer->asker.completed >= wanted && may_have(peer) && find_own(peer) == NULL &&
        rw_list_is_empty(&peer->asker.node)) {
        rw_list_append(&queues->asking, &peer->asker.node);
        rw_poller_call(peer->connector, &queues->talker);
    }
}

/* ---- being asked ---- */

/* Who asks, or NULL. */
static rw_peer_t *identify(const rw_talk_t *talk, const uint8_t *bytes) RW_LOCKED {
    rw_peer_t *peer = rw_peer_find(talk->queues->connector, bytes + AT_ID);

    return peer != NULL && peer->pid == talk->pid &&
                   sodium_memcmp(peer->token, bytes + AT_TOKEN, RW_ID_BYTES) == 0
               ? peer
               : NULL;
}

/* Returns whether the talk goes on. */
static bool grant(rw_talk_t *talk, rw_peer_t *peer, const uint8_t *theirs,
                  size_t length) RW_LOCKED {
    rw_queue_t *queue = NULL;
    uint8_t *address = NULL;
    size_t own = 0;
    bool granted = rw_queue_new(peer, &queue, &address, &own) == ROPEWAY_OK &&
                   rw_queue_connect(queue, theirs, length) == ROPEWAY_OK;

    if (!granted) {
        rw_log(talk->queues->connector, ROPEWAY_LOG_INFO,
               "no queue in shared memory with \"%s\": %s", peer->name, ropeway_last_error());
        say(talk, REFUSE, NULL, NULL, 0);
    }
    granted = granted && say(talk, GRANT, NULL, address, own);
    if (granted) {
        talk->peer = peer;
        talk->queue = queue;
        peer->references++;
    } else if (queue != NULL) {
        rw_queue_free(queue);
    }
    free(address);
    return granted;
}

static void on_ask(rw_talk_t *talk, const uint8_t *bytes, size_t length) RW_LOCKED {
    rw_peer_t *peer = identify(talk, bytes);
    rw_talk_t *own = peer != NULL ? find_own(peer) : NULL;

    if (peer == NULL || !may_have(peer)) {
        say(talk, REFUSE, NULL, NULL, 0);
    } else if (!has_room(talk->queues, own) ||
               (own != NULL && memcmp(rw_links_carrier(talk->queues->connector, &rw_ucx_kind)->id,
                                      peer->node.id, RW_ID_BYTES) < 0)) {
        say(talk, BUSY, NULL, NULL, 0);
    } else {
        if (own != NULL) {
            give_up(own);
        }
        if (grant(talk, peer, bytes + AT_ADDRESS, length - AT_ADDRESS)) {
            return;
        }
    }
    end_talk(talk);
}

static void on_answer(rw_talk_t *talk, const uint8_t *bytes, size_t length) RW_LOCKED {
    rw_peer_t *peer = talk->peer;

    if (length > AT_ADDRESS && bytes[AT_TYPE] == GRANT && may_have(peer) &&
        rw_queue_connect(talk->queue, bytes + AT_ADDRESS, length - AT_ADDRESS) == ROPEWAY_OK &&
        say(talk, TAKEN, NULL, NULL, 0)) {
        rw_queue_use(talk->queue);
        rw_log(peer->connector, ROPEWAY_LOG_INFO, "a queue in shared memory serves \"%s\" now",
               peer->name);
        end_talk(talk);
        return;
    }
    peer->asker.refused = length >= AT_ADDRESS && bytes[AT_TYPE] == REFUSE;
    ask_later(peer);
    give_up(talk);
}

/* ---- both ---- */

/* Takes a message from the socket, if there is one. */
static void listen_to(rw_talk_t *talk) RW_LOCKED {
    uint8_t bytes[AT_ADDRESS + ADDRESS_MAX];
    ssize_t length = recv(talk->watcher.fd, bytes, sizeof bytes, MSG_DONTWAIT | MSG_TRUNC);
    bool whole =
        length >= AT_ADDRESS && length <= (ssize_t)sizeof bytes && memcmp(bytes, "RWQ1", 4) == 0;

    if (length < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (talk->asks) {
        on_answer(talk, bytes, whole ? (size_t)length : 0);
    } else if (talk->peer == NULL && whole && length > AT_ADDRESS && bytes[AT_TYPE] == ASK) {
        on_ask(talk, bytes, (size_t)length);
    } else if (talk->peer != NULL && (!whole || bytes[AT_TYPE] != TAKEN)) {
        give_up(talk);
    } else { /* a queue is taken, or it is no language of ours */
        end_talk(talk);
    }
}

/* Whether knocking wakes a sleeping thread: not while there are no descriptors to let anybody in.
 * Then we look again after a while. */
static void turn_away(rw_queues_t *queues, bool away) RW_LOCKED {
    ropeway_connector_t *connector = queues->connector;

    if (queues->turns_away != away) {
        rw_events_watch(&connector->events, &queues->listener, away ? 0 : EPOLLIN);
        queues->turns_away = away;
    }
    rw_timer_set(&connector->timers, &queues->retry, away ? rw_now() + RETRY : RW_NEVER);
}

static void on_retry(rw_timer_t *timer, uint64_t now) RW_LOCKED {
    rw_queues_t *queues = RW_CONTAINER(timer, rw_queues_t, retry);

    (void)now;
    rw_poller_call(queues->connector, &queues->talker);
}

static void accept_some(rw_queues_t *queues) RW_LOCKED {
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        int fd = accept4(queues->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        pid_t pid = fd >= 0 ? other_end(fd) : 0;

        if (fd < 0) {
            turn_away(queues, errno == EMFILE || errno == ENFILE);
            return;
        }
        if (pid == 0) {
            close(fd);
        } else {
            begin_talk(queues, fd, pid);
        }
    }
}

/* Goes on with all talks, and begins those that are due. */
static bool look(rw_poller_t *poller) RW_LOCKED {
    rw_queues_t *queues = RW_CONTAINER(poller, rw_queues_t, talker);
    rw_node_t *node;

    if (queues->listener.fd < 0) {
        return false;
    }
    accept_some(queues);
    for (size_t left = queues->talk_count; left > 0; left--) {
        node = rw_list_take(&queues->talks);
        if (node == NULL) {
            break; /* one has ended another */
        }
        rw_list_append(&queues->talks, node);
        listen_to(RW_CONTAINER(node, rw_talk_t, node));
    }
    while ((node = rw_list_take(&queues->asking)) != NULL) {
        rw_peer_t *peer = RW_CONTAINER(node, rw_peer_t, asker.node);

        if (may_have(peer) && find_own(peer) == NULL && has_room(queues, NULL)) {
            ask(peer);
        } else {
            ask_later(peer);
        }
    }
    return true;
}

void rw_talk_listen(rw_queues_t *queues) {
    ropeway_connector_t *connector = queues->connector;
    struct sockaddr_un address;
    socklen_t length = name_socket(connector->instance, &address);
    rw_watcher_t *listener = &queues->listener;

    *listener = (rw_watcher_t){.fd = -1, .on_event = on_knock};
    queues->talker = (rw_poller_t){.poll = look, .apart = true};
    rw_poller_add(connector, &queues->talker);
    queues->retry.run = on_retry;
    if (connector->options.max_queues == 0 ||
        !rw_ucx_can_queue(connector->options.transports, NULL) ||
        !rw_timer_promise(&connector->timers)) {
        return;
    }
    listener->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener->fd >= 0 && bind(listener->fd, (struct sockaddr *)&address, length) == 0 &&
        listen(listener->fd, SOMAXCONN) == 0 &&
        rw_events_watch(&connector->events, listener, EPOLLIN)) {
        return;
    }
    rw_log(connector, ROPEWAY_LOG_INFO,
           "no queues in shared memory: the socket to agree on them can't be made: %m");
    if (listener->fd >= 0) {
        close(listener->fd);
        listener->fd = -1;
    }
    rw_timer_return(&connector->timers, &queues->retry);
}

void rw_talk_close(rw_queues_t *queues) {
    while (!rw_list_is_empty(&queues->talks)) {
        give_up(RW_CONTAINER(queues->talks.next, rw_talk_t, node));
    }
    rw_poller_remove(&queues->talker);
    if (queues->listener.fd >= 0) {
        rw_events_forget(&queues->connector->events, &queues->listener);
        close(queues->listener.fd);
        queues->listener.fd = -1;
        rw_timer_return(&queues->connector->timers, &queues->retry);
    }
}
