/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP connections of UCX whose peers take nothing any more. UCX gives no way to the socket of an
 * endpoint, so they are found by what the kernel tells of the worker's epoll descriptors: UCX waits
 * for room in exactly those sockets for which it has bytes left. Without /proc none is found.
 */
#include "link/ucx_stuck.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* The worker's descriptor holds those of its interfaces, and they hold sockets. */
#define NESTING_MAX 3

/* Whether nothing could be sent for so long. */
static bool is_stuck(int fd, uint32_t ms) {
    struct tcp_info info;
    socklen_t size = sizeof info;

    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
           info.tcpi_state != TCP_SYN_SENT && info.tcpi_state != TCP_SYN_RECV &&
           (info.tcpi_last_data_sent >= ms ||
            (info.tcpi_retransmits > 0 && info.tcpi_last_ack_recv >= ms));
}

static unsigned cut_in(int epoll_fd, uint32_t ms, unsigned nesting) {
    char path[64], *line = NULL;
    size_t size = 0;
    unsigned count = 0;
    FILE *file;

    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", epoll_fd);
    file = fopen(path, "re");
    while (file != NULL && getline(&line, &size, file) > 0) {
        struct stat status;
        uint32_t events;
        int fd;

        if (sscanf(line, "tfd: %d events: %" SCNx32, &fd, &events) != 2 ||
            fstat(fd, &status) != 0) {
            continue;
        }
        if (!S_ISSOCK(status.st_mode)) {
            count += nesting > 1 ? cut_in(fd, ms, nesting - 1) : 0;
        } else if ((events & EPOLLOUT) != 0 && is_stuck(fd, ms) && shutdown(fd, SHUT_RDWR) == 0) {
            count++;
        }
    }
    free(line);
    if (file != NULL) {
        fclose(file);
    }
    return count;
}

unsigned rw_stuck_cut(int worker_fd, uint32_t ms) {
    return cut_in(worker_fd, ms, NESTING_MAX);
}
