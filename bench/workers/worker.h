/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the benchmark's worker programs in C share: the protocol with the driver, one JSON object a
 * line on stdin and stdout (bench/README.md has it), and memory laid out as a case asks.
 */
#ifndef BENCH_WORKER_H
#define BENCH_WORKER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One operation's layout, and how many of them. */
struct bench_case {
    bool write;         /* the active side writes; else it reads */
    size_t size;        /* bytes of a descriptor */
    size_t descriptors; /* of an operation */
    size_t slots;       /* operations at a time, each with memory of its own */
    size_t count;       /* operations of a batch */
    unsigned pause_us;  /* before each operation */
};

struct bench_memory {
    char *base;
    size_t size, stride, descriptors, slots; /* stride: bytes from one descriptor to the next */
};

/* What the driver's command line says. */
struct bench_options {
    const char *transport; /* "shm" or "tcp" */
    const char *address;   /* to listen on */
    const char *device;    /* network device, or NULL */
    const char *variant;   /* which of the things that this program measures, or NULL */
};

/* The steps of a worker. Each that is NULL is refused. Failures call bench_fail(). */
struct bench_worker {
    void (*open)(const struct bench_options *options, json_t *ready);
    json_t *(*offer)(const struct bench_case *one, struct bench_memory *memory);
    void (*take)(const struct bench_case *one, struct bench_memory *memory, const json_t *offer);
    /* Runs the batch that was taken; fills in count samples, nanoseconds. */
    void (*go)(const struct bench_case *one, struct bench_memory *memory, uint64_t *samples);
    void (*drop)(void);
    void (*renew)(void);
    void (*pend)(size_t count);
};

/* Serves the driver until it closes stdin. */
int bench_main(int argc, char **argv, const struct bench_worker *worker);

/* Answers with an error, and exits. */
void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

uint64_t bench_now(void);

/* The place of a descriptor. */
char *bench_at(const struct bench_memory *memory, size_t slot, size_t descriptor);

#endif /* BENCH_WORKER_H */
