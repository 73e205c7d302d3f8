/* SPDX-License-Identifier: Apache-2.0 */
#include "interrupt.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "util.h"

static volatile sig_atomic_t received;
static int event = -1;

static void on_signal(int number) {
    int saved = errno;
    uint64_t one = 1;
    received = number;
    ssize_t written = write(event, &one, sizeof one);
    (void)written; /* the flag is set in any case */
    errno = saved;
}

static sigset_t both(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    return set;
}

bool cli_interrupt_install(void) {
    /* No SA_RESTART: a write to a full pipe ends. SA_RESETHAND: a second signal kills. */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event < 0) {
        cli_fail("can't watch for signals: %s", cli_errno_text(errno));
        return false;
    }
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    return true;
}

void cli_interrupt_block(void) {
    sigset_t set = both();
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

void cli_interrupt_unblock(void) {
    sigset_t set = both();
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

int cli_interrupted(void) {
    return received;
}

int cli_interrupt_fd(void) {
    return event;
}
