/* SPDX-License-Identifier: Apache-2.0 */
/* Two ways to hear of a signal: a handler, for a client that may be killed by the second one, and a
 * descriptor, for a server. */
#include "interrupt.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "event.h"
#include "message.h"
#include "text.h"

static volatile sig_atomic_t received;
static int event = -1;

static void on_signal(int number) {
    received = number;
    cli_event_signal(event);
}

static sigset_t both(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    return set;
}

int cli_interrupt_watch(void) {
    sigset_t set = both();
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    int fd = signalfd(-1, &set, SFD_CLOEXEC);
    if (fd < 0) {
        cli_fail("can't watch for signals: %s", cli_errno_text(errno));
    }
    return fd;
}

bool cli_interrupt_install(void) {
    /* No SA_RESTART: a write to a full pipe ends. SA_RESETHAND: a second signal kills. */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    event = cli_event_create();
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

bool cli_interrupted(void) {
    return received != 0;
}

int cli_interrupt_signal(void) {
    return received;
}

int cli_interrupt_fd(void) {
    return event;
}
