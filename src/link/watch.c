/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Notices when a peer's process on this host ends. UCX finds a dead peer over shared memory only by
 * its keep-alive, and not at all before the first answer; a process file descriptor tells at once,
 * and costs nothing until then. Peers on other hosts, or in other PID namespaces, no
 * business: the link finds out.
 */
#include "base/error.h"
#include "link/peer.h"
#include "link/progress.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/epoll.h>
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

bool rw_watch_is_near(const ropeway_connector_t *connector, const rw_hello_t *hello) {
    return !sodium_is_zero(hello->scope, RW_ID_BYTES) &&
           memcmp(hello->scope, connector->peers->scope, RW_ID_BYTES) == 0;
}

/* What the process sent before its end is still to be read; others may send for ever. */
static void on_end(rw_watcher_t *watcher) RW_LOCKED {
    rw_peer_t *peer = RW_CONTAINER(watcher, rw_peer_t, process);
    bool heard;

    peer->references++;
    for (int i = 0, vain = 0; i < LAST_STEPS && vain < RW_LOOK_EVERY; i++) {
        vain = rw_progress_step(peer->connector) ? 0 : vain + 1;
    }
    heard = peer->heard;
    rw_peer_fail(peer, RW_CLOSE_NOW, heard ? ROPEWAY_ERR_PEER_LOST : ROPEWAY_ERR_UNREACHABLE,
                 "its process has ended");
    rw_peer_drop(peer);
}

ropeway_error_t rw_watch_open(const ropeway_connector_t *connector, const rw_hello_t *hello,
                              int *process) {
    *process = -1;
    if (hello->process == 0 || hello->process == (uint32_t)getpid() ||
        !rw_watch_is_near(connector, hello)) {
        return ROPEWAY_OK;
    }
    *process = rw_process_open((pid_t)hello->process);
    return *process < 0 && errno == ESRCH
               ? rw_fail(ROPEWAY_ERR_UNREACHABLE,
                         "the process of the peer \"%s\" (PID %u on this host) has ended",
                         hello->name, hello->process)
               : ROPEWAY_OK;
}

ropeway_error_t rw_watch_start(rw_peer_t *peer, const rw_hello_t *hello) {
    ropeway_error_t error;

    peer->process.on_event = on_end;
    error = rw_watch_open(peer->connector, hello, &peer->process.fd);
    if (peer->process.fd >= 0 &&
        !rw_events_watch(&peer->connector->events, &peer->process, EPOLLIN)) {
        rw_watch_stop(peer);
    }
    return error;
}

void rw_watch_stop(rw_peer_t *peer) {
    if (peer->process.fd >= 0) {
        rw_events_forget(&peer->connector->events, &peer->process);
        close(peer->process.fd);
        peer->process.fd = -1;
    }
}
