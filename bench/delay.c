/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cable that delays, for kernels without tc's netem: packets that enter a TUN device in one
 * network namespace leave one in another a while later, and the other way round. Needs root.
 *
 * Usage: delay MICROSECONDS NETNS NETNS DEVICE; prints a line when both devices are there, and runs
 * until its stdin is closed.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define PACKET 65536
#define SLOTS 2048 /* packets on their way, each way; more are dropped, as a router does */

struct packet {
    uint64_t due; /* nanoseconds */
    size_t length;
    char bytes[PACKET];
};

struct direction {
    int from, to;
    struct packet *packets;
    size_t first, count;
};

static void fail(const char *what) {
    fprintf(stderr, "delay: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now(void) {
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int open_device(const char *netns, const char *name) {
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    char path[256];
    int space, device;

    snprintf(path, sizeof path, "/run/netns/%s", netns);
    space = open(path, O_RDONLY | O_CLOEXEC);
    if (space < 0 || setns(space, CLONE_NEWNET) != 0) {
        fail(path);
    }
    close(space);
    device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    if (device < 0 || ioctl(device, TUNSETIFF, &request) != 0) {
        fail("/dev/net/tun");
    }
    return device;
}

/* Takes in what came; false when nothing did. */
static bool take(struct direction *way, uint64_t delay) {
    struct packet *packet = &way->packets[(way->first + way->count) % SLOTS];
    ssize_t length;
    char lost[1];

    if (way->count == SLOTS) {
        return read(way->from, lost, sizeof lost) > 0;
    }
    length = read(way->from, packet->bytes, sizeof packet->bytes);
    if (length <= 0) {
        return false;
    }
    packet->length = (size_t)length;
    packet->due = now() + delay;
    way->count++;
    return true;
}

/* Lets out what is due, and returns when the next packet is; UINT64_MAX: there is none. */
static uint64_t give(struct direction *way) {
    while (way->count > 0) {
        struct packet *packet = &way->packets[way->first];

        if (packet->due > now()) {
            return packet->due;
        }
        /* A device that is not up yet loses it, as a cable would. */
        if (write(way->to, packet->bytes, packet->length) < 0 && errno == EAGAIN) {
            return packet->due + 100000;
        }
        way->first = (way->first + 1) % SLOTS;
        way->count--;
    }
    return UINT64_MAX;
}

static void relay(struct direction *ways, uint64_t delay) {
    struct pollfd files[3] = {{.fd = ways[0].from, .events = POLLIN},
                              {.fd = ways[1].from, .events = POLLIN},
                              {.fd = STDIN_FILENO, .events = POLLIN}};

    for (;;) {
        uint64_t next = UINT64_MAX;
        struct timespec wait;
        size_t i;

        for (i = 0; i < 2; i++) {
            uint64_t due;

            while (take(&ways[i], delay)) {
            }
            due = give(&ways[i]);
            next = due < next ? due : next;
        }
        if (next != UINT64_MAX) {
            uint64_t time = now(), left = next > time ? next - time : 0;

            wait = (struct timespec){.tv_sec = (time_t)(left / 1000000000u),
                                     .tv_nsec = (long)(left % 1000000000u)};
        }
        ppoll(files, 3, next != UINT64_MAX ? &wait : NULL, NULL);
        if (files[2].revents != 0) {
            return;
        }
    }
}

int main(int argc, char **argv) {
    struct direction ways[2] = {0};
    long delay = argc == 5 ? strtol(argv[1], NULL, 10) : -1;

    if (delay < 0) {
        fprintf(stderr, "usage: delay MICROSECONDS NETNS NETNS DEVICE\n");
        return 2;
    }
    ways[0].from = ways[1].to = open_device(argv[2], argv[4]);
    ways[1].from = ways[0].to = open_device(argv[3], argv[4]);
    ways[0].packets = malloc(SLOTS * sizeof *ways[0].packets);
    ways[1].packets = malloc(SLOTS * sizeof *ways[1].packets);
    if (ways[0].packets == NULL || ways[1].packets == NULL) {
        fail("memory");
    }
    prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0);
    puts("ready");
    fflush(stdout);
    relay(ways, (uint64_t)delay * 1000u);
    return 0;
}
