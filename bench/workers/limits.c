/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The benchmark's worker for what the machine itself can do. Variants: "memcpy" (inside the active
 * process), "vm" (process_vm_readv and process_vm_writev), "socket" (a plain TCP connection: a
 * request there, the bytes back; or the bytes there, one byte back).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "worker.h"

#define MAX_PIECES 1024 /* IOV_MAX */

struct request {
    uint64_t base, stride, size, pieces, write;
};

static const char *variant;
static int listener = -1, wire = -1;
static struct bench_memory source; /* memcpy's other end */
static struct request remote;      /* slot 0 of what is offered */
static pid_t owner;

/* ---- Pieces ---------------------------------------------------------------- */

static size_t gather(struct iovec *list, const struct request *what, size_t from) {
    size_t i;

    for (i = 0; i < MAX_PIECES && from + i < what->pieces; i++) {
        list[i] =
            (struct iovec){(char *)(uintptr_t)what->base + (from + i) * what->stride, what->size};
    }
    return i;
}

static bool stream(int fd, struct iovec *list, size_t count, bool out) {
    while (count > 0) {
        ssize_t n = out ? writev(fd, list, (int)count) : readv(fd, list, (int)count);

        if (n <= 0) {
            return false;
        }
        while (count > 0 && (size_t)n >= list->iov_len) {
            n -= (ssize_t)list->iov_len;
            list++;
            count--;
        }
        if (count > 0) {
            list->iov_base = (char *)list->iov_base + n;
            list->iov_len -= (size_t)n;
        }
    }
    return true;
}

static bool stream_all(int fd, const struct request *what, bool out) {
    struct iovec list[MAX_PIECES];
    size_t from, count;

    for (from = 0; from < what->pieces; from += count) {
        count = gather(list, what, from);
        if (!stream(fd, list, count, out)) {
            return false;
        }
    }
    return true;
}

/* ---- Sockets --------------------------------------------------------------- */

static void *serve(void *arg) {
    int fd = (int)(intptr_t)arg;
    struct request request;
    struct iovec head;

    for (;;) {
        head = (struct iovec){&request, sizeof request};
        if (!stream(fd, &head, 1, false) || !stream_all(fd, &request, !request.write)) {
            break;
        }
        head = (struct iovec){&request, 1};
        if (request.write && !stream(fd, &head, 1, true)) {
            break;
        }
    }
    close(fd);
    return NULL;
}

static void no_delay(int fd) {
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
}

static void *accept_all(void *arg) {
    pthread_t thread;
    int fd;

    (void)arg;
    while ((fd = accept(listener, NULL, NULL)) >= 0) {
        no_delay(fd);
        if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd) != 0) {
            close(fd);
        }
    }
    return NULL;
}

static void open_worker(const struct bench_options *options, json_t *ready) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    pthread_t thread;

    variant = options->variant != NULL ? options->variant : "memcpy";
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (inet_pton(AF_INET, options->address, &address.sin_addr) != 1 ||
        bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 128) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0 ||
        pthread_create(&thread, NULL, accept_all, NULL) != 0) {
        bench_fail("can't listen on %s: %s", options->address, strerror(errno));
    }
    json_object_set_new(ready, "port", json_integer(ntohs(address.sin_port)));
}

static void dial(const char *address, int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

    wire = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    inet_pton(AF_INET, address, &to.sin_addr);
    if (connect(wire, (struct sockaddr *)&to, sizeof to) != 0) {
        bench_fail("can't connect to %s:%d: %s", address, port, strerror(errno));
    }
    no_delay(wire);
}

/* ---- The steps ------------------------------------------------------------- */

static json_t *offer(const struct bench_case *one, struct bench_memory *memory) {
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    char text[INET_ADDRSTRLEN];

    (void)one;
    getsockname(listener, (struct sockaddr *)&address, &size);
    inet_ntop(AF_INET, &address.sin_addr, text, sizeof text);
    return json_pack("{s:i,s:I,s:s,s:i}", "pid", getpid(), "base",
                     (json_int_t)(uintptr_t)memory->base, "address", text, "port",
                     ntohs(address.sin_port));
}

static void drop(void) {
    free(source.base);
    source = (struct bench_memory){0};
    if (wire >= 0) {
        close(wire);
        wire = -1;
    }
}

/* Lives until the case is dropped, as the memory that is copied to or from does. */
static void make_source(const struct bench_memory *memory) {
    size_t total = memory->slots * memory->descriptors * memory->stride, i;

    source = *memory;
    source.base = malloc(total);
    if (source.base == NULL) {
        bench_fail("no memory for %zu bytes", total);
    }
    for (i = 0; i < total; i++) {
        source.base[i] = (char)(i % 251);
    }
}

static void take(const struct bench_case *one, struct bench_memory *memory, const json_t *list) {
    json_int_t base = 0;
    const char *address = "";
    int port = 0;

    if (json_unpack((json_t *)list, "{s:i,s:I,s:s,s:i}", "pid", &owner, "base", &base, "address",
                    &address, "port", &port) != 0) {
        bench_fail("this is no offer");
    }
    remote = (struct request){.base = (uint64_t)base,
                              .stride = memory->stride,
                              .size = memory->size,
                              .pieces = memory->descriptors,
                              .write = one->write};
    if (strcmp(variant, "socket") == 0 && wire < 0) {
        dial(address, port);
    } else if (strcmp(variant, "memcpy") == 0 && source.base == NULL) {
        make_source(memory);
    }
}

static void copy(const struct bench_case *one, struct bench_memory *memory, size_t slot) {
    size_t i;

    for (i = 0; i < one->descriptors; i++) {
        char *here = bench_at(memory, slot, i), *there = bench_at(&source, slot, i);

        memcpy(one->write ? there : here, one->write ? here : there, one->size);
    }
}

static void move_by_vm(const struct bench_case *one, const struct request *local,
                       const struct request *away) {
    struct iovec here[MAX_PIECES], there[MAX_PIECES];
    size_t from, count;

    for (from = 0; from < one->descriptors; from += count) {
        ssize_t moved;

        count = gather(here, local, from);
        gather(there, away, from);
        moved = one->write ? process_vm_writev(owner, here, count, there, count, 0)
                           : process_vm_readv(owner, here, count, there, count, 0);
        if (moved != (ssize_t)(count * one->size)) {
            bench_fail("process_vm_%s: %s", one->write ? "writev" : "readv",
                       moved < 0 ? strerror(errno) : "moved less than asked");
        }
    }
}

static void move_by_socket(const struct request *local, const struct request *away) {
    struct iovec head = {(void *)away, sizeof *away};
    char done;

    if (!stream(wire, &head, 1, true) || !stream_all(wire, local, away->write != 0)) {
        bench_fail("the connection broke: %s", strerror(errno));
    }
    head = (struct iovec){&done, 1};
    if (away->write != 0 && !stream(wire, &head, 1, false)) {
        bench_fail("the connection broke: %s", strerror(errno));
    }
}

static void go(const struct bench_case *one, struct bench_memory *memory, uint64_t *samples) {
    struct timespec pause = {.tv_nsec = (long)one->pause_us * 1000};
    size_t i;

    for (i = 0; i < one->count; i++) {
        size_t slot = i % one->slots;
        struct request local = remote, away = remote;

        local.base = (uint64_t)(uintptr_t)bench_at(memory, slot, 0);
        away.base += slot * memory->descriptors * memory->stride;
        if (one->pause_us > 0) {
            nanosleep(&pause, NULL);
        }
        samples[i] = bench_now();
        if (strcmp(variant, "socket") == 0) {
            move_by_socket(&local, &away);
        } else if (strcmp(variant, "vm") == 0) {
            move_by_vm(one, &local, &away);
        } else {
            copy(one, memory, slot);
        }
        samples[i] = bench_now() - samples[i];
    }
}

int main(int argc, char **argv) {
    static const struct bench_worker worker = {
        .open = open_worker, .offer = offer, .take = take, .go = go, .drop = drop};

    return bench_main(argc, argv, &worker);
}
