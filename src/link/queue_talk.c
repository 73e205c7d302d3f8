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
#include "internal.h"

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

/* Message: "RWQ1" type:1 zero:3 id:16 token:16 address */
enum { AT_TYPE = 4, AT_ID = 8, AT_TOKEN = 24, AT_ADDRESS = 40 };
enum { ASK = 1, GRANT = 2, BUSY = 3, REFUSE = 4, TAKEN = 5 };

typedef struct rw_talk {
    rw_link_t link; /* in connector->talks */
    ropeway_connector_t *connector;
    rw_timer_t timer; /* when our patience ends */
    int fd;
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

static bool watch(ropeway_connector_t *connector, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    return epoll_ctl(connector->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

void rw_talk_listen(ropeway_connector_t *connector) {
    struct sockaddr_un address;
    socklen_t length = name_socket(connector->instance, &address);
    int fd;

    if (connector->options.max_queues == 0 ||
        !rw_ucx_can_queue(connector->options.transports, NULL)) {
        return;
    }
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, length) == 0 &&
        listen(fd, SOMAXCONN) == 0 && watch(connector, fd)) {
        connector->listen_fd = fd;
        return;
    }
    rw_log(connector, ROPEWAY_LOG_INFO,
           "no queues in shared memory: the socket to agree on them can't be made: %m");
    if (fd >= 0) {
        close(fd);
    }
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
    ropeway_connector_t *connector = talk->connector;

    epoll_ctl(connector->epoll_fd, EPOLL_CTL_DEL, talk->fd, NULL);
    close(talk->fd);
    rw_timer_set(&connector->timers, &talk->timer, RW_NEVER);
    rw_list_remove(&talk->link);
    connector->talk_count--;
    if (talk->peer != NULL) {
        rw_peer_drop(talk->peer);
    }
    free(talk);
}

/* A queue that was granted may have ended with its connection. */
static void give_up(rw_talk_t *talk) RW_LOCKED {
    if (talk->queue != NULL && (talk->asks || talk->queue == talk->peer->queue)) {
        rw_queue_free(talk->queue);
    }
    end_talk(talk);
}

/* The next time to ask comes later each time. */
static void ask_later(rw_peer_t *peer) RW_LOCKED {
    peer->completed = 0;
    peer->put_off += peer->put_off < PUT_OFF_MAX;
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
static rw_talk_t *begin_talk(ropeway_connector_t *connector, int fd, pid_t pid) RW_LOCKED {
    rw_talk_t *talk = NULL;

    if (connector->talk_count < TALKS_MAX && rw_progress_reserve_timer(connector) &&
        watch(connector, fd)) {
        talk = calloc(1, sizeof *talk);
    }
    if (talk == NULL) {
        close(fd);
        return NULL;
    }
    talk->connector = connector;
    talk->fd = fd;
    talk->pid = pid;
    talk->timer.run = on_late;
    connector->talk_count++;
    rw_list_append(&connector->talks, &talk->link);
    rw_timer_set(&connector->timers, &talk->timer, rw_now() + PATIENCE);
    return talk;
}

static bool say(const rw_talk_t *talk, uint8_t type, const uint8_t token[RW_ID_BYTES],
                const uint8_t *address, size_t length) RW_LOCKED {
    uint8_t bytes[AT_ADDRESS + ADDRESS_MAX] = "RWQ1";

    if (length > ADDRESS_MAX) {
        return false;
    }
    bytes[AT_TYPE] = type;
    memcpy(bytes + AT_ID, talk->connector->id, RW_ID_BYTES);
    if (token != NULL) {
        memcpy(bytes + AT_TOKEN, token, RW_ID_BYTES);
    }
    if (length > 0) {
        memcpy(bytes + AT_ADDRESS, address, length);
    }
    return send(talk->fd, bytes, AT_ADDRESS + length, MSG_NOSIGNAL) ==
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
    rw_talk_t *talk = fd >= 0 ? begin_talk(connector, fd, peer->pid) : NULL;
    uint8_t *address = NULL;
    size_t length = 0;

    if (talk == NULL) {
        peer->queue_refused = fd < 0 && !again;
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
    rw_link_t *talks = &peer->connector->talks;

    for (rw_link_t *link = talks->next; link != talks; link = link->next) {
        rw_talk_t *talk = RW_CONTAINER(link, rw_talk_t, link);

        if (talk->asks && talk->peer == peer) {
            return talk;
        }
    }
    return NULL;
}

static bool may_have(const rw_peer_t *peer) RW_LOCKED {
    const ropeway_connector_t *connector = peer->connector;

    return connector->listen_fd >= 0 && peer->pid != 0 && !peer->failed && peer->queue == NULL &&
           !peer->queue_refused;
}

/* besides: a talk that has room already, or NULL. */
static bool has_room(const ropeway_connector_t *connector, const rw_talk_t *besides) RW_LOCKED {
    size_t queues = connector->stats.queues;

    for (rw_link_t *link = connector->talks.next; link != &connector->talks; link = link->next) {
        const rw_talk_t *talk = RW_CONTAINER(link, rw_talk_t, link);

        queues += talk->asks && talk != besides;
    }
    return queues < connector->options.max_queues;
}

void rw_talk_count(rw_peer_t *peer) {
    uint64_t wanted = (uint64_t)peer->connector->options.queue_after << peer->put_off;

    if (++peer->completed >= wanted && may_have(peer) && find_own(peer) == NULL &&
        rw_list_is_empty(&peer->asking)) {
        rw_list_append(&peer->connector->asking, &peer->asking);
    }
}

/* ---- being asked ---- */

/* Who asks, or NULL. */
static rw_peer_t *identify(const rw_talk_t *talk, const uint8_t *bytes) RW_LOCKED {
    rw_peer_t *peer = rw_peer_find(talk->connector, bytes + AT_ID);

    return peer != NULL && !peer->stock && peer->pid == talk->pid &&
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
        rw_log(talk->connector, ROPEWAY_LOG_INFO, "no queue in shared memory with \"%s\": %s",
               peer->name, ropeway_last_error());
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
    } else if (!has_room(talk->connector, own) ||
               (own != NULL && memcmp(talk->connector->id, peer->node.id, RW_ID_BYTES) < 0)) {
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
        talk->queue->usable = true;
        rw_log(peer->connector, ROPEWAY_LOG_INFO, "a queue in shared memory serves \"%s\" now",
               peer->name);
        end_talk(talk);
        return;
    }
    peer->queue_refused = length >= AT_ADDRESS && bytes[AT_TYPE] == REFUSE;
    ask_later(peer);
    give_up(talk);
}

/* ---- both ---- */

/* Takes a message from the socket, if there is one. */
static void listen_to(rw_talk_t *talk) RW_LOCKED {
    uint8_t bytes[AT_ADDRESS + ADDRESS_MAX];
    ssize_t length = recv(talk->fd, bytes, sizeof bytes, MSG_DONTWAIT | MSG_TRUNC);
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
 */
static void hear(ropeway_connector_t *connector, bool hears) RW_LOCKED {
    struct epoll_event event = {.events = hears ? EPOLLIN : 0, .data.fd = connector->listen_fd};

    if (connector->deaf == hears) {
        epoll_ctl(connector->epoll_fd, EPOLL_CTL_MOD, connector->listen_fd, &event);
        connector->deaf = !hears;
    }
}

static void accept_some(ropeway_connector_t *connector) RW_LOCKED {
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        int fd = accept4(connector->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        pid_t pid = fd >= 0 ? other_end(fd) : 0;

        if (fd < 0) {
            hear(connector, errno != EMFILE && errno != ENFILE);
            return;
        }
        if (pid == 0) {
            close(fd);
        } else {
            begin_talk(connector, fd, pid);
        }
    }
}

bool rw_talk_owns(const ropeway_connector_t *connector, int fd) {
    if (fd == connector->listen_fd) {
        return true;
    }
    for (rw_link_t *link = connector->talks.next; link != &connector->talks; link = link->next) {
        if (RW_CONTAINER(link, rw_talk_t, link)->fd == fd) {
            return true;
        }
    }
    return false;
}

void rw_talk_look(ropeway_connector_t *connector) {
    rw_link_t *link;

    if (connector->listen_fd < 0) {
        return;
    }
    accept_some(connector);
    for (size_t left = connector->talk_count; left > 0; left--) {
        link = rw_list_take(&connector->talks);
        if (link == NULL) {
            break; /* one has ended another */
        }
        rw_list_append(&connector->talks, link);
        listen_to(RW_CONTAINER(link, rw_talk_t, link));
    }
    while ((link = rw_list_take(&connector->asking)) != NULL) {
        rw_peer_t *peer = RW_CONTAINER(link, rw_peer_t, asking);

        if (may_have(peer) && find_own(peer) == NULL && has_room(connector, NULL)) {
            ask(peer);
        } else {
            ask_later(peer);
        }
    }
}

void rw_talk_close(ropeway_connector_t *connector) {
    while (!rw_list_is_empty(&connector->talks)) {
        give_up(RW_CONTAINER(connector->talks.next, rw_talk_t, link));
    }
    if (connector->listen_fd >= 0) {
        epoll_ctl(connector->epoll_fd, EPOLL_CTL_DEL, connector->listen_fd, NULL);
        close(connector->listen_fd);
        connector->listen_fd = -1;
    }
}
