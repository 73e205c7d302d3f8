/* SPDX-License-Identifier: Apache-2.0 */
/* A server as a child process, for measurements on one machine. */
#include "perf.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/text.h"

#define START_TIMEOUT_MS 30000
#define STOP_TIMEOUT_MS 5000

static const char greeting[] = "ropeway: perf server on ";

/* Becomes the server. It dies with the thread that started it, so that no server is left over. */
static void become_server(int out, pid_t parent) {
    char *arguments[] = {"ropeway", "perf", "--server", "--listen", "127.0.0.1:0", NULL};
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() == parent && dup2(out, STDOUT_FILENO) >= 0) {
        execv("/proc/self/exe", arguments);
    }
    _exit(127);
}

/* Reads the line that names the server's address. */
static bool read_greeting(int fd, char *line, size_t size) {
    size_t length = 0;
    while (length + 1 < size) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        int ready = poll(&wait, 1, START_TIMEOUT_MS);
        if (ready < 0 && errno == EINTR) {
            continue;
        }
        ssize_t n = ready > 0 ? read(fd, line + length, 1) : 0;
        if (n <= 0) {
            return false;
        }
        if (line[length] == '\n') {
            line[length] = '\0';
            return true;
        }
        length++;
    }
    return false;
}

bool cli_perf_child_start(struct cli_perf_child *child, char error[CLI_SENTENCE_SIZE]) {
    pid_t parent = getpid();
    char line[sizeof greeting - 1 + sizeof child->address];
    int pipes[2];
    child->pid = -1;
    if (pipe2(pipes, O_CLOEXEC) != 0) {
        cli_sentence(error, "can't make a pipe: %s", cli_errno_text(errno));
        return false;
    }
    child->pid = fork();
    if (child->pid == 0) {
        become_server(pipes[1], parent);
    }
    close(pipes[1]);
    bool started = child->pid > 0 && read_greeting(pipes[0], line, sizeof line);
    close(pipes[0]);
    if (!started || strncmp(line, greeting, sizeof greeting - 1) != 0) {
        cli_sentence(
            error, "can't start 'ropeway perf --server' as a second process; run it by hand to see "
                   "why, and connect to it");
        cli_perf_child_stop(child);
        return false;
    }
    snprintf(child->address, sizeof child->address, "%s", line + sizeof greeting - 1);
    return true;
}

void cli_perf_child_stop(struct cli_perf_child *child) {
    struct timespec tick = {.tv_nsec = 5000000};
    int left = STOP_TIMEOUT_MS / 5;
    if (child->pid <= 0) {
        return;
    }
    kill(child->pid, SIGTERM);
    while (waitpid(child->pid, NULL, WNOHANG) == 0) {
        nanosleep(&tick, NULL);
        if (--left == 0) {
            kill(child->pid, SIGKILL);
        }
    }
    child->pid = -1;
}
