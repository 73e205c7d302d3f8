/* SPDX-License-Identifier: Apache-2.0 */
/* What UCX (1.22, 1.23) takes for granted: without a thread and its descriptors it ends the
 * process, without a free port in UCX_TCP_PORT_RANGE it tries for ever, and without /sys it finds
 * no network and goes on with none. So these are looked at just before. */
#include "base/env.h"
#include "base/error.h"
#include "ucx/ucx.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define DESCRIPTORS 16 /* more than its thread and first worker open */
#define NETWORKS "/sys/class/net"
#define PORT_RANGE "UCX_TCP_PORT_RANGE"

static void *return_at_once(void *unused) {
    return unused;
}

static ropeway_error_t check_thread(void) {
    pthread_t thread;
    ropeway_error_t error = rw_spawn(&thread, return_at_once, NULL, "UCX's thread");

    if (error == ROPEWAY_OK) {
        pthread_join(thread, NULL);
    }
    return error;
}

static ropeway_error_t check_descriptors(void) {
    int descriptors[DESCRIPTORS], count = 0;
    ropeway_error_t error = ROPEWAY_OK;

    while (count < DESCRIPTORS && (descriptors[count] = eventfd(0, EFD_CLOEXEC)) >= 0) {
        count++;
    }
    if (count < DESCRIPTORS) {
        error = rw_fail(ROPEWAY_ERR_SYSTEM,
                        "UCX can't have the descriptors that it needs: %m; raise the limit on open "
                        "files (ulimit -n)");
    }
    while (count > 0) {
        close(descriptors[--count]);
    }
    return error;
}

ropeway_error_t rw_ucx_check_start(void) {
    ropeway_error_t error = check_descriptors();

    return error == ROPEWAY_OK ? check_thread() : error;
}

/* What is offered to stock peers is offered to others too, who come by streams. */
static ropeway_error_t check_sys(const rw_ucx_wish_t *wish) {
    if (access(NETWORKS, R_OK) == 0) {
        return ROPEWAY_OK;
    }
    if (wish->purpose == RW_UCX_STOCK) {
        rw_ucx_say(ROPEWAY_LOG_WARN, "stock peers can't come by a network: " NETWORKS
                                     ", where UCX finds those, can't be read; mount /sys");
        return ROPEWAY_OK;
    }
    return rw_fail(ROPEWAY_ERR_SYSTEM,
                   "UCX finds networks in " NETWORKS
                   ", which can't be read (%s): mount /sys, or name transports without tcp",
                   strerror(errno));
}

/* As UCX binds it, which is without SO_REUSEADDR. */
static bool is_free(const struct sockaddr_in *address, unsigned port) {
    struct sockaddr_in with_port = *address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool free;

    with_port.sin_port = htons((uint16_t)port);
    free = fd < 0 || bind(fd, (const struct sockaddr *)&with_port, sizeof with_port) == 0 ||
           errno != EADDRINUSE;
    if (fd >= 0) {
        close(fd);
    }
    return free;
}

static bool is_wanted(const struct ifaddrs *interface, const char *devices) {
    if (interface->ifa_addr == NULL || interface->ifa_addr->sa_family != AF_INET ||
        (interface->ifa_flags & IFF_UP) == 0) {
        return false;
    }
    if (devices == NULL || rw_ucx_lists(devices, "all")) {
        return true;
    }
    return devices[0] == '^' ? !rw_ucx_lists(devices + 1, interface->ifa_name)
                             : rw_ucx_lists(devices, interface->ifa_name);
}

/* A worker listens on a port of each of its interfaces. */
static ropeway_error_t check_interface(const struct ifaddrs *interface, unsigned first,
                                       unsigned last) {
    for (unsigned port = first; port <= last; port++) {
        if (is_free((const struct sockaddr_in *)interface->ifa_addr, port)) {
            return ROPEWAY_OK;
        }
    }
    return rw_fail(ROPEWAY_ERR_SYSTEM,
                   "every port of " PORT_RANGE "=%u-%u is in use on %s; a connector needs one of "
                   "its own: give it more of them, or end who has them",
                   first, last, interface->ifa_name);
}

static ropeway_error_t check_ports(const char *devices) {
    const char *range = getenv(PORT_RANGE);
    struct ifaddrs *interfaces;
    unsigned first, last;
    ropeway_error_t error = ROPEWAY_OK;
    int numbers = range != NULL ? sscanf(range, "%u-%u", &first, &last) : 0;

    if (numbers < 1 || first == 0 || getifaddrs(&interfaces) != 0) {
        return ROPEWAY_OK;
    }
    last = numbers == 2 ? last : first;
    for (const struct ifaddrs *one = interfaces; one != NULL && error == ROPEWAY_OK;
         one = one->ifa_next) {
        if (is_wanted(one, devices != NULL ? devices : getenv("UCX_NET_DEVICES"))) {
            error = check_interface(one, first, last);
        }
    }
    freeifaddrs(interfaces);
    return error;
}

ropeway_error_t rw_ucx_check_networks(const rw_ucx_wish_t *wish) {
    ropeway_error_t error;

    if (!rw_ucx_uses_tcp(wish->transports)) {
        return ROPEWAY_OK;
    }
    error = check_sys(wish);
    return error == ROPEWAY_OK ? check_ports(wish->net_devices) : error;
}
