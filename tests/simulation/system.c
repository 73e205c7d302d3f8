/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system as the library sees it, apart from threads and memory: the clock, randomness, event
 * descriptors and waiting for them, processes and their ends. These functions are replaced when the
 * library is linked; descriptors that are none of ours are the real system's.
 */
#include "simulation.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define FIRST (1 << 24) /* descriptors from here on are ours */
#define DESCRIPTORS 1024
#define WATCHED 16 /* by one epoll */

typedef enum sim_kind { SIM_FREE, SIM_EVENT, SIM_EPOLL, SIM_END, SIM_PORT, SIM_ALARM } sim_kind_t;

typedef struct sim_descriptor {
    sim_kind_t kind;
    const sim_process_t *owner;
    uint64_t count;              /* of an event */
    const sim_process_t *target; /* whose end it tells */
    sim_port_t *port;
    uint64_t at;      /* when an alarm goes off, by its owner's clock */
    unsigned watched; /* of an epoll */
    struct {
        int descriptor;
        struct epoll_event event;
    } watches[WATCHED];
} sim_descriptor_t;

static sim_descriptor_t descriptors[DESCRIPTORS];
static unsigned top; /* those from here on are free */

void sim_poll(int epoll, uint64_t due);

/* ---- descriptors ---- */

static sim_descriptor_t *find(int descriptor) {
    unsigned index = (unsigned)descriptor - FIRST;

    return descriptor >= FIRST && index < DESCRIPTORS && descriptors[index].kind != SIM_FREE
               ? &descriptors[index]
               : NULL;
}

static int open_one(sim_kind_t kind) {
    unsigned index = 0;

    if (sim_is_short(sim_here())) {
        errno = EMFILE;
        return -1;
    }
    while (index < DESCRIPTORS && descriptors[index].kind != SIM_FREE) {
        index++;
    }
    if (index == DESCRIPTORS) {
        sim_fail("more than %d descriptors", DESCRIPTORS);
    }
    descriptors[index] = (sim_descriptor_t){.kind = kind, .owner = sim_here()};
    top = index >= top ? index + 1 : top;
    return FIRST + (int)index;
}

static bool is_readable(const sim_descriptor_t *one) {
    return one->kind == SIM_EVENT   ? one->count > 0
           : one->kind == SIM_END   ? !one->target->alive
           : one->kind == SIM_PORT  ? sim_port_event(one->port) <= sim.now
           : one->kind == SIM_ALARM ? one->at <= sim_clock(one->owner)
                                    : false;
}

int sim_descriptor_of_port(sim_port_t *port) {
    int descriptor = open_one(SIM_PORT);

    if (descriptor >= 0) {
        find(descriptor)->port = port;
    }
    return descriptor;
}

void sim_descriptor_close(int descriptor) {
    sim_descriptor_t *one = find(descriptor);

    if (one == NULL) {
        sim_fail("a descriptor is closed that is not open");
    }
    for (unsigned i = 0; i < top; i++) {
        sim_descriptor_t *epoll = &descriptors[i];

        for (unsigned j = 0; epoll->kind == SIM_EPOLL && j < epoll->watched; j++) {
            if (epoll->watches[j].descriptor == descriptor) {
                sim_fail("a descriptor is closed that is waited for");
            }
        }
    }
    one->kind = SIM_FREE;
}

bool sim_epoll_is_ready(int epoll) {
    const sim_descriptor_t *one = find(epoll);

    for (unsigned i = 0; i < one->watched; i++) {
        if (is_readable(find(one->watches[i].descriptor))) {
            return true;
        }
    }
    return false;
}

uint64_t sim_epoll_due(int epoll) {
    const sim_descriptor_t *one = find(epoll);
    uint64_t first = RW_NEVER;

    for (unsigned i = 0; i < one->watched; i++) {
        const sim_descriptor_t *watched = find(one->watches[i].descriptor);
        uint64_t due = watched->kind == SIM_PORT ? sim_port_event(watched->port) : RW_NEVER;

        if (watched->kind == SIM_ALARM && watched->at != RW_NEVER) {
            due = watched->at > watched->owner->offset ? watched->at - watched->owner->offset : 0;
        }
        first = due < first ? due : first;
    }
    return first;
}

unsigned sim_epoll_watched(int epoll) {
    return find(epoll)->watched;
}

void sim_descriptors_kill(const sim_process_t *process) {
    for (unsigned i = 0; i < top; i++) {
        if (descriptors[i].owner == process) {
            descriptors[i].kind = SIM_FREE;
        }
    }
}

unsigned sim_descriptors_open(void) {
    unsigned open = 0;

    for (unsigned i = 0; i < top; i++) {
        open += descriptors[i].kind != SIM_FREE;
    }
    return open;
}

void sim_descriptors_reset(void) {
    memset(descriptors, 0, top * sizeof *descriptors);
    top = 0;
}

/* ---- what the library calls ---- */

int __real_close(int descriptor);
ssize_t __real_read(int descriptor, void *bytes, size_t size);
ssize_t __real_write(int descriptor, const void *bytes, size_t size);
int __real_clock_gettime(clockid_t clock, struct timespec *now);
pid_t __real_getpid(void);
int __wrap_eventfd(unsigned count, int flags);
int __wrap_timerfd_create(int clock, int flags);
int __wrap_timerfd_settime(int descriptor, int flags, const struct itimerspec *new,
                           struct itimerspec *old);
int __wrap_close(int descriptor);
ssize_t __wrap_read(int descriptor, void *bytes, size_t size);
ssize_t __wrap_write(int descriptor, const void *bytes, size_t size);
int __wrap_epoll_create1(int flags);
int __wrap_epoll_ctl(int epoll, int command, int descriptor, struct epoll_event *event);
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
void __wrap_randombytes_buf(void *bytes, size_t size);
pid_t __wrap_getpid(void);
long __wrap_syscall(long number, ...);
void __wrap_rw_watch_scope(uint8_t scope[RW_ID_BYTES]);

int __wrap_eventfd(unsigned count, int flags) {
    int descriptor = open_one(SIM_EVENT);

    (void)flags;
    if (descriptor >= 0) {
        find(descriptor)->count = count;
    }
    return descriptor;
}

int __wrap_close(int descriptor) {
    if (descriptor < FIRST) {
        return __real_close(descriptor);
    }
    sim_descriptor_close(descriptor);
    return 0;
}

int __wrap_timerfd_create(int clock, int flags) {
    int descriptor = open_one(SIM_ALARM);

    (void)clock;
    (void)flags;
    if (descriptor >= 0) {
        find(descriptor)->at = RW_NEVER;
    }
    return descriptor;
}

int __wrap_timerfd_settime(int descriptor, int flags, const struct itimerspec *new,
                           struct itimerspec *old) {
    uint64_t at = (uint64_t) new->it_value.tv_sec * 1000000000u + (uint64_t) new->it_value.tv_nsec;

    (void)flags;
    (void)old;
    find(descriptor)->at = at;
    return 0;
}

ssize_t __wrap_read(int descriptor, void *bytes, size_t size) {
    sim_descriptor_t *one = find(descriptor);

    if (one == NULL) {
        return __real_read(descriptor, bytes, size);
    }
    if (one->kind == SIM_ALARM && is_readable(one)) {
        one->at = RW_NEVER;
        one->count = 1;
    }
    if (one->count == 0) {
        errno = EAGAIN;
        return -1;
    }
    memcpy(bytes, &one->count, sizeof one->count);
    one->count = 0;
    return sizeof one->count;
}

ssize_t __wrap_write(int descriptor, const void *bytes, size_t size) {
    sim_descriptor_t *one = find(descriptor);
    uint64_t add;

    if (one == NULL) {
        return __real_write(descriptor, bytes, size);
    }
    memcpy(&add, bytes, sizeof add);
    one->count += add;
    return sizeof add;
}

int __wrap_epoll_create1(int flags) {
    (void)flags;
    return open_one(SIM_EPOLL);
}

int __wrap_epoll_ctl(int epoll, int command, int descriptor, struct epoll_event *event) {
    sim_descriptor_t *one = find(epoll);
    unsigned i = 0;

    if (one == NULL || find(descriptor) == NULL) {
        sim_fail("a descriptor is waited for that is not open");
    }
    while (i < one->watched && one->watches[i].descriptor != descriptor) {
        i++;
    }
    if ((command == EPOLL_CTL_ADD) != (i == one->watched)) {
        sim_fail("a descriptor is waited for twice, or forgotten twice");
    }
    if (command == EPOLL_CTL_DEL) {
        one->watches[i] = one->watches[--one->watched];
        return 0;
    }
    if (command == EPOLL_CTL_ADD && (one->watched == WATCHED || sim_is_short(sim_here()))) {
        errno = ENOSPC;
        return -1;
    }
    one->watches[i].descriptor = descriptor;
    one->watches[i].event = *event;
    one->watched += command == EPOLL_CTL_ADD;
    return 0;
}

int __wrap_epoll_wait(int epoll, struct epoll_event *events, int most, int timeout) {
    const sim_descriptor_t *one = find(epoll);
    bool told_end = false;
    int count = 0;

    if (timeout != 0) {
        sim_poll(epoll,
                 timeout < 0 ? RW_NEVER : sim_clock(sim_here()) + (uint64_t)timeout * SIM_MS);
    }
    for (unsigned i = 0; i < one->watched && count < most; i++) {
        const sim_descriptor_t *watched = find(one->watches[i].descriptor);

        if ((one->watches[i].event.events & EPOLLIN) != 0 && is_readable(watched)) {
            events[count++] = one->watches[i].event;
            told_end |= watched->kind == SIM_END;
        }
    }
    if (timeout != 0 && told_end && sim_chance(&sim.schedule, 300)) {
        sim_sleep(
            sim_below(&sim.schedule, 4 * SIM_MS)); /* much may happen before the lock is taken */
    } else if (timeout != 0) {
        sim_maybe_pause();
    }
    return count;
}

uint64_t sim_clock(const sim_process_t *process) {
    return sim.now + process->offset;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *now) {
    const sim_process_t *process = sim_here();
    uint64_t time;

    if (process == NULL) {
        return __real_clock_gettime(clock, now);
    }
    sim.now += 50 + sim_below(&sim.schedule, 200);
    time = sim_clock(process);
    now->tv_sec = (time_t)(time / 1000000000u);
    now->tv_nsec = (long)(time % 1000000000u);
    return 0;
}

void __wrap_randombytes_buf(void *bytes, size_t size) {
    uint8_t *at = bytes;

    for (size_t i = 0; i < size; i++) {
        at[i] = (uint8_t)sim_draw(&sim.secrets);
    }
}

pid_t __wrap_getpid(void) {
    const sim_process_t *process = sim_here();

    return process != NULL ? process->pid : __real_getpid();
}

/* Of the system calls that have no function of their own the library makes one: pidfd_open(). */
long __wrap_syscall(long number, ...) {
    const sim_process_t *target = NULL;
    va_list arguments;
    pid_t pid;
    int descriptor;

    if (number != SYS_pidfd_open) {
        sim_fail("the system call %ld is not simulated", number);
    }
    va_start(arguments, number);
    pid = va_arg(arguments, pid_t);
    va_end(arguments);
    for (unsigned i = 0; i < sim.life_count; i++) {
        if (sim.lives[i].pid == pid && sim.lives[i].alive) {
            target = &sim.lives[i];
        }
    }
    if (target == NULL) {
        errno = ESRCH;
        return -1;
    }
    descriptor = open_one(SIM_END);
    if (descriptor >= 0) {
        find(descriptor)->target = target;
    }
    return descriptor;
}

/* Two simulated hosts. */
void __wrap_rw_watch_scope(uint8_t scope[RW_ID_BYTES]) {
    memset(scope, 0, RW_ID_BYTES);
    scope[0] = (uint8_t)(1 + sim_here()->host);
}
