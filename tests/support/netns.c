/* SPDX-License-Identifier: Apache-2.0 */
/* Network namespaces and the pair of interfaces between them. */
#include "netns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct request {
    struct nlmsghdr header;
    struct ifinfomsg info;
    char attributes[256];
} request_t;

/* Appends an attribute, and returns it so that nested ones can grow behind it. */
static struct rtattr *add(request_t *request, unsigned short type, const void *data, size_t size) {
    struct rtattr *attribute =
        (struct rtattr *)((char *)request + NLMSG_ALIGN(request->header.nlmsg_len));
    attribute->rta_type = type;
    attribute->rta_len = (unsigned short)RTA_LENGTH(size);
    if (size > 0) {
        memcpy(RTA_DATA(attribute), data, size);
    }
    request->header.nlmsg_len =
        NLMSG_ALIGN(request->header.nlmsg_len) + (unsigned)RTA_ALIGN(attribute->rta_len);
    return attribute;
}

static void close_nest(request_t *request, struct rtattr *attribute) {
    attribute->rta_len =
        (unsigned short)((char *)request + request->header.nlmsg_len - (char *)attribute);
}

static bool talk(request_t *request) {
    struct {
        struct nlmsghdr header;
        struct nlmsgerr error;
        char rest[512];
    } answer;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    bool ok =
        fd >= 0 &&
        send(fd, request, request->header.nlmsg_len, 0) == (ssize_t)request->header.nlmsg_len &&
        recv(fd, &answer, sizeof answer, 0) >= (ssize_t)NLMSG_LENGTH(sizeof answer.error) &&
        answer.header.nlmsg_type == NLMSG_ERROR;
    if (ok) {
        errno = -answer.error.error;
        ok = answer.error.error == 0;
    }
    int saved = errno;
    if (fd >= 0) {
        close(fd);
    }
    errno = saved;
    return ok;
}

/* A veth pair: one end here, the other in the namespace peer. */
static bool make_cable(int peer) {
    request_t request = {
        .header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg)),
                   .nlmsg_type = RTM_NEWLINK,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL},
        .info = {.ifi_family = AF_UNSPEC},
    };
    struct ifinfomsg end = {.ifi_family = AF_UNSPEC};
    add(&request, IFLA_IFNAME, TS_VETH, sizeof TS_VETH);
    struct rtattr *link = add(&request, IFLA_LINKINFO, NULL, 0);
    add(&request, IFLA_INFO_KIND, "veth", 4);
    struct rtattr *data = add(&request, IFLA_INFO_DATA, NULL, 0);
    struct rtattr *other = add(&request, VETH_INFO_PEER, &end, sizeof end);
    add(&request, IFLA_IFNAME, TS_VETH, sizeof TS_VETH);
    add(&request, IFLA_NET_NS_FD, &peer, sizeof peer);
    close_nest(&request, other);
    close_nest(&request, data);
    close_nest(&request, link);
    return talk(&request);
}

static bool set_address(const char *name, const char *text) {
    struct ifreq address = {0}, mask = {0};
    struct sockaddr_in in = {.sin_family = AF_INET};
    snprintf(address.ifr_name, sizeof address.ifr_name, "%s", name);
    snprintf(mask.ifr_name, sizeof mask.ifr_name, "%s", name);
    inet_pton(AF_INET, text, &in.sin_addr);
    memcpy(&address.ifr_addr, &in, sizeof in);
    inet_pton(AF_INET, "255.255.255.0", &in.sin_addr);
    memcpy(&mask.ifr_netmask, &in, sizeof in);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool ok =
        fd >= 0 && ioctl(fd, SIOCSIFADDR, &address) == 0 && ioctl(fd, SIOCSIFNETMASK, &mask) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

bool ts_netns_link(const char *name, bool up) {
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0;
    if (ok) {
        request.ifr_flags = (short)(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
        ok = ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    }
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

bool ts_netns_carrier(void) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool running = false;
    for (int i = 0; i < 5000 && fd >= 0 && !running; i++) {
        struct ifreq request = {.ifr_name = TS_VETH};
        running = ioctl(fd, SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_RUNNING) != 0;
        poll(NULL, 0, running ? 0 : 1);
    }
    if (fd >= 0) {
        close(fd);
    }
    return running;
}

static bool set_up(const char *address) {
    return ts_netns_link("lo", true) && set_address(TS_VETH, address) &&
           ts_netns_link(TS_VETH, true);
}

bool ts_netns_show(void) {
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("sysfs", "/sys", "sysfs", 0, NULL) == 0;
}

const char *ts_netns_enter(int *peer) {
    /* As root, or else as the root of a user namespace of our own. */
    if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
        return "making a network namespace is not permitted here";
    }
    *peer = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (*peer < 0 || unshare(CLONE_NEWNET) != 0) {
        return "making a second network namespace is not permitted here";
    }
    int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    bool ok = own >= 0 && make_cable(*peer) && set_up("10.77.0.1") &&
              setns(*peer, CLONE_NEWNET) == 0 && set_up("10.77.0.2") && ts_netns_carrier() &&
              setns(own, CLONE_NEWNET) == 0 && ts_netns_carrier() && ts_netns_show();
    int saved = errno;
    if (own >= 0) {
        close(own);
    }
    static char why[128];
    snprintf(why, sizeof why, "a veth pair can't be made here: %s", strerror(saved));
    return ok ? NULL : why;
}
