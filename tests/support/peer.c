/* SPDX-License-Identifier: Apache-2.0 */
/* Starts peers and speaks with them. */
#include "peer.h"

#include "netns.h"
#include "peer_serve.h"
#include "process.h"
#include "support.h"
#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* In the child, between fork and exec: only what is safe there. */
static void become_peer(int control, int output, int peer_namespace) {
    char *argv[] = {TS_PEER_PATH, (char *)ts_transport_name(), NULL};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (peer_namespace >= 0 && (setns(peer_namespace, CLONE_NEWNET) != 0 || !ts_netns_show())) {
        _exit(125);
    }
    /* Above 3 first, so that no dup2 closes what the next one needs. */
    int high = fcntl(control, F_DUPFD, 10);
    if (dup2(output, 1) < 0 || dup2(output, 2) < 0 || dup2(high, 3) < 0) {
        _exit(126);
    }
    close_range(4, ~0u, 0);
    signal(SIGPIPE, SIG_DFL); /* the tests ignore it, and that would be inherited */
    execv(argv[0], argv);
    _exit(127);
}

static void *serve(void *socket) {
    ts_peer_serve((int)(intptr_t)socket);
    return NULL;
}

void ts_peer_need_processes(void) {
    if (ts_transport_is("memory")) {
        skip();
    }
}

static void start_process(ts_peer_t *peer, int control) {
    setenv("ROPEWAY_TEST_IN_NAMESPACE", "1", 1);
    /* UCX patches the C library's mmap and its like when it is loaded, and takes 0.4 s for it on
     * some machines. The test's own process lets it; the many peers don't need it. */
    setenv("UCX_MEM_MMAP_HOOK_MODE", "none", 1);
    peer->pid = fork();
    if (peer->pid == 0) {
        become_peer(control, peer->output, ts_transport_peer_namespace());
    }
    unsetenv("ROPEWAY_TEST_IN_NAMESPACE");
    unsetenv("UCX_MEM_MMAP_HOOK_MODE");
    close(control);
    if (peer->pid < 0) {
        fail_msg("no peer process: %s", strerror(errno));
    }
}

ts_peer_t *ts_peer_spawn(void) {
    int pair[2];
    ts_peer_t *peer = calloc(1, sizeof *peer);
    if (peer == NULL || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        fail_msg("no socket pair: %s", strerror(errno));
    }
    peer->output = memfd_create("peer-output", MFD_CLOEXEC);
    peer->is_thread = ts_transport_is("memory");
    if (!peer->is_thread) {
        start_process(peer, pair[1]);
    } else if (pthread_create(&peer->thread, NULL, serve, (void *)(intptr_t)pair[1]) != 0) {
        fail_msg("no peer thread");
    }
    struct timeval patience = {.tv_sec = 2 * TS_BOUND_MS / 1000};
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    peer->in = fdopen(pair[0], "r");
    peer->out = fdopen(fcntl(pair[0], F_DUPFD_CLOEXEC, 3), "w");
    return peer;
}

ts_peer_t *ts_peer_start(const char *options) {
    ts_peer_t *peer = ts_peer_spawn();
    ts_peer_ask(peer, "open %s", options);
    return peer;
}

bool ts_peer_free(ts_peer_t *peer) {
    if (peer == NULL) {
        return true;
    }
    if (peer->pid != 0) {
        kill(peer->pid, SIGKILL);
        waitpid(peer->pid, NULL, 0);
    }
    if (peer->is_thread) {
        shutdown(fileno(peer->in), SHUT_RDWR);
        pthread_join(peer->thread, NULL);
    }
    char *text = ts_read_all(peer->output);
    bool silent = text != NULL && *text == '\0';
    if (!silent) {
        print_error("the peer wrote to stdout or stderr:\n%s\n", text);
    }
    free(text);
    fclose(peer->in);
    fclose(peer->out);
    close(peer->output);
    free(peer->line);
    free(peer);
    return silent;
}

/* Fails the test with what the peer wrote and, if it ended, how. */
static void fail_without_peer(ts_peer_t *peer, const char *what) {
    int status = 0;
    char *text = ts_read_all(peer->output);
    print_error("%s\n", text);
    free(text);
    if (peer->pid != 0 && waitpid(peer->pid, &status, WNOHANG) == peer->pid) {
        peer->pid = 0;
        fail_msg("the peer %s: it ended with wait status 0x%x", what, (unsigned)status);
    }
    fail_msg("the peer %s", what);
}

static void flush_to(ts_peer_t *peer) {
    if (fflush(peer->out) != 0) {
        fail_without_peer(peer, "does not listen");
    }
}

static void send_line(ts_peer_t *peer, const char *format, va_list args) {
    vfprintf(peer->out, format, args);
    putc('\n', peer->out);
    flush_to(peer);
}

void ts_peer_send(ts_peer_t *peer, const char *format, ...) {
    va_list args;
    va_start(args, format);
    send_line(peer, format, args);
    va_end(args);
}

static bool take_line(ts_peer_t *peer) {
    ssize_t length = getline(&peer->line, &peer->line_size, peer->in);
    if (length <= 0) {
        return false;
    }
    peer->line[length - 1] = '\0';
    return true;
}

const char *ts_peer_reply(ts_peer_t *peer) {
    if (!take_line(peer)) {
        fail_without_peer(peer, "gives no answer");
    }
    if (strncmp(peer->line, "ok", 2) != 0) {
        fail_msg("the peer says: %s", peer->line);
    }
    return peer->line[2] == ' ' ? peer->line + 3 : "";
}

const char *ts_peer_ask(ts_peer_t *peer, const char *format, ...) {
    va_list args;
    va_start(args, format);
    send_line(peer, format, args);
    va_end(args);
    return ts_peer_reply(peer);
}

long long ts_peer_number(ts_peer_t *peer, const char *format, ...) {
    va_list args;
    va_start(args, format);
    send_line(peer, format, args);
    va_end(args);
    return strtoll(ts_peer_reply(peer), NULL, 10);
}

char *ts_peer_metadata(ts_peer_t *peer, int id, size_t *length) {
    size_t size = (size_t)ts_peer_number(peer, "metadata %d", id);
    char *text = malloc(size + 1);
    if (text == NULL || fread(text, 1, size, peer->in) != size) {
        fail_msg("the peer's metadata was cut short");
    }
    text[size] = '\0';
    if (length != NULL) {
        *length = size;
    }
    return text;
}

ropeway_error_t ts_peer_begin(ts_peer_t *peer, const char *verb, int id, const char *spec,
                              uint64_t seed, const char *options, const char *metadata,
                              size_t length) {
    fprintf(peer->out, "%s %d %s %llu %zu %s\n", verb, id, spec, (unsigned long long)seed, length,
            options);
    fwrite(metadata, 1, length, peer->out);
    flush_to(peer);
    return (ropeway_error_t)strtol(ts_peer_reply(peer), NULL, 10);
}

ts_outcome_t ts_peer_outcome(const char *reply) {
    ts_outcome_t outcome = {0};
    int status, error, at = 0;
    unsigned long long done, total;
    if (sscanf(reply, "%d %d %llu %llu %d %d %n", &status, &error, &done, &total, &outcome.matches,
               &outcome.guarded, &at) != 6) {
        fail_msg("the peer's outcome is malformed: %s", reply);
    }
    outcome.status = (ropeway_status_t)status;
    outcome.error = (ropeway_error_t)error;
    outcome.done = done;
    outcome.total = total;
    snprintf(outcome.text, sizeof outcome.text, "%s", reply + at);
    return outcome;
}

ts_outcome_t ts_peer_wait(ts_peer_t *peer, int id) {
    return ts_peer_wait_for(peer, id, TS_BOUND_MS);
}

ts_outcome_t ts_peer_wait_for(ts_peer_t *peer, int id, int timeout_ms) {
    return ts_peer_outcome(ts_peer_ask(peer, "wait %d %d", id, timeout_ms));
}

void ts_peer_kill(ts_peer_t *peer) {
    ts_peer_need_processes();
    kill(peer->pid, SIGKILL);
    waitpid(peer->pid, NULL, 0);
    peer->pid = 0;
}

void ts_peer_stop(ts_peer_t *peer) {
    ts_peer_need_processes();
    int status = 0;
    kill(peer->pid, SIGSTOP);
    if (waitpid(peer->pid, &status, WUNTRACED) != peer->pid || !WIFSTOPPED(status)) {
        peer->pid = 0;
        fail_msg("the peer ended (wait status 0x%x) instead of stopping", (unsigned)status);
    }
}

void ts_peer_continue(ts_peer_t *peer) {
    kill(peer->pid, SIGCONT);
}

int ts_peer_reap(ts_peer_t *peer) {
    ts_peer_need_processes();
    double end = ts_now() + TS_BOUND_MS / 1000.0;
    int status = 0;
    while (waitpid(peer->pid, &status, WNOHANG) == 0) {
        if (ts_now() > end) {
            fail_msg("the peer does not end");
        }
        poll(NULL, 0, 1);
    }
    peer->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}
