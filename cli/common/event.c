/* SPDX-License-Identifier: Apache-2.0 */
/* Eventfds that never block: a full counter polls readable as well. */
#include "event.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int cli_event_create(void) {
    return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

void cli_event_signal(int fd) {
    int saved = errno;
    uint64_t one = 1;
    ssize_t written = write(fd, &one, sizeof one);
    (void)written;
    errno = saved;
}

void cli_event_clear(int fd) {
    uint64_t count;
    ssize_t got = read(fd, &count, sizeof count);
    (void)got;
}
