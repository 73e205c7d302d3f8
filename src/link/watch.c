/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Notices when a peer's process on this host ends. UCX finds a dead peer over shared memory only by
 * its keep-alive, and not at all before the first answer; a process file descriptor tells at once,
 * and costs nothing until then. Peers on other hosts, or in other PID namespaces, are UCX's
 * business.
 */
#include "base/error.h"
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sodium.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LAST_STEPS 64

/* Adds what a file or a link says to the hash. false: it can't be read. */
static bool add(crypto_generichash_state *state, const char *path, bool is_link) {
    char text[128];
    ssize_t length;
    int file;

    if (is_link) {
        length = readlink(path, text, sizeof text);
    } else {
        file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0) {
            return false;
        }
        length = read(file, text, sizeof text);
        close(file);
    }
    if (length <= 0) {
        return false;
    }
    crypto_generichash_update(state, (const unsigned char *)text, (size_t)length);
    return true;
}

void rw_watch_scope(uint8_t scope[RW_ID_BYTES]) {
    crypto_generichash_state state;

    crypto_generichash_init(&state, NULL, 0, RW_ID_BYTES);
    if (!add(&state, "/proc/sys/kernel/random/boot_id", false) ||
        !add(&state, "/proc/self/ns/pid", true)) {
        memset(scope, 0, RW_ID_BYTES);
        return;
    }
    crypto_generichash_final(&state, scope, RW_ID_BYTES);
}

ropeway_error_t rw_watch_start(rw_peer_t *peer, const rw_hello_t *hello) {
    ropeway_connector_t *connector = peer->connector;
    struct epoll_event event = {.events = EPOLLIN};

    peer->process = -1;
    if (hello->process == 0 || hello->process == (uint32_t)getpid() ||
        sodium_is_zero(hello->scope, RW_ID_BYTES) ||
        memcmp(hello->scope, connector->scope, RW_ID_BYTES) != 0) {
        return ROPEWAY_OK;
    }
    peer->process = (int)syscall(SYS_pidfd_open, (pid_t)hello->process, 0u);
    if (peer->process < 0 && errno == ESRCH) {
        return rw_fail(ROPEWAY_ERR_UNREACHABLE,
                       "the process of the peer \"%s\" (PID %u on this host) has ended",
                       hello->name, hello->process);
    }
    if (peer->process >= 0) {
        event.data.fd = peer->process;
        if (epoll_ctl(connector->epoll_fd, EPOLL_CTL_ADD, peer->process, &event) != 0) {
            rw_watch_stop(peer);
        } else {
            peer->pid = (pid_t)hello->process;
        }
    }
    return ROPEWAY_OK;
}

void rw_watch_stop(rw_peer_t *peer) {
    if (peer->process >= 0) {
        epoll_ctl(peer->connector->epoll_fd, EPOLL_CTL_DEL, peer->process, NULL);
        close(peer->process);
        peer->process = -1;
    }
}

static rw_peer_t *find(ropeway_connector_t *connector, int process) RW_LOCKED {
    for (rw_link_t *link = connector->peers.next; link != &connector->peers; link = link->next) {
        rw_peer_t *peer = RW_CONTAINER(link, rw_peer_t, link);

        if (peer->process == process) {
            return peer;
        }
    }
    return NULL;
}

void rw_watch_event(ropeway_connector_t *connector, int process) {
    struct pollfd now = {.fd = process, .events = POLLIN};
    rw_peer_t *peer;

    /* The number may be another peer's by now. */
    if (poll(&now, 1, 0) != 1) {
        return;
    }
    /* What the process sent before its end is still to be read; others may send for ever. */
    for (int i = 0; i < LAST_STEPS && rw_progress_step(connector); i++) {
    }
    peer = find(connector, process);
    if (peer != NULL) {
        rw_peer_fail(peer, peer->heard ? ROPEWAY_ERR_PEER_LOST : ROPEWAY_ERR_UNREACHABLE,
                     "its process has ended");
    }
}
