/* SPDX-License-Identifier: Apache-2.0 */
/* The real environment: the system's clock, random generator, threads and processes. */
#include "base/env.h"

#include "base/error.h"

#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

uint64_t rw_now(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void rw_random(void *bytes, size_t size) {
    randombytes_buf(bytes, size);
}

void rw_signals_block(sigset_t *before) {
    static const int of_faults[] = {SIGBUS, SIGFPE, SIGILL, SIGSEGV};
    sigset_t others;

    sigfillset(&others);
    for (size_t i = 0; i < sizeof of_faults / sizeof *of_faults; i++) {
        sigdelset(&others, of_faults[i]);
    }
    pthread_sigmask(SIG_SETMASK, &others, before);
}

void rw_signals_restore(const sigset_t *before) {
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

ropeway_error_t rw_spawn(pthread_t *thread, void *(*run)(void *), void *argument,
                         const char *what) {
    sigset_t before;
    int problem;

    rw_signals_block(&before);
    problem = pthread_create(thread, NULL, run, argument);
    rw_signals_restore(&before);
    return problem == 0
               ? ROPEWAY_OK
               : rw_fail(ROPEWAY_ERR_SYSTEM, "%s can't be started: %s", what, strerror(problem));
}

int rw_process_open(pid_t process) {
    return (int)syscall(SYS_pidfd_open, process, 0u);
}

bool rw_process_has_ended(int process) {
    struct pollfd now = {.fd = process, .events = POLLIN};

    return poll(&now, 1, 0) != 0;
}
