/* SPDX-License-Identifier: Apache-2.0 */
#include "worker.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PERIOD 251u /* of the bytes that are moved */

static struct bench_memory ours, theirs; /* what is offered; what operations begin with */
static struct bench_case taken;

static void answer(json_t *message) {
    if (json_dumpf(message, stdout, JSON_COMPACT) != 0 || putchar('\n') == EOF ||
        fflush(stdout) != 0) {
        _exit(1);
    }
    json_decref(message);
}

void bench_fail(const char *format, ...) {
    char text[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    answer(json_pack("{s:s}", "error", text));
    _exit(1);
}

uint64_t bench_now(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- Memory --------------------------------------------------------------- */

char *bench_at(const struct bench_memory *memory, size_t slot, size_t descriptor) {
    return memory->base + (slot * memory->descriptors + descriptor) * memory->stride;
}

static size_t length(const struct bench_memory *memory) {
    return memory->slots * memory->descriptors * memory->stride;
}

static void unmap(struct bench_memory *memory) {
    if (memory->base != NULL) {
        munmap(memory->base, length(memory));
    }
    *memory = (struct bench_memory){0};
}

/* Lays the memory out as the case asks, and returns whether it is new. Neighbours are kept apart,
 * or several descriptors could be moved as one. */
static bool map(struct bench_memory *memory, const struct bench_case *one) {
    struct bench_memory wanted = {.size = one->size,
                                  .stride = one->descriptors > 1 ? 2 * one->size : one->size,
                                  .descriptors = one->descriptors,
                                  .slots = one->slots};

    if (memory->base != NULL && memory->size == wanted.size && memory->slots == wanted.slots &&
        memory->descriptors == wanted.descriptors) {
        return false;
    }
    unmap(memory);
    wanted.base = mmap(NULL, length(&wanted), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (wanted.base == MAP_FAILED) {
        bench_fail("no memory for %zu bytes", length(&wanted));
    }
    *memory = wanted;
    return true;
}

static void fill(struct bench_memory *memory) {
    size_t total = length(memory), i;

    for (i = 0; i < total; i++) {
        memory->base[i] = (char)(i % PERIOD);
    }
}

static void check(const struct bench_memory *memory) {
    size_t slot, descriptor, i;

    for (slot = 0; slot < memory->slots; slot++) {
        for (descriptor = 0; descriptor < memory->descriptors; descriptor++) {
            const char *piece = bench_at(memory, slot, descriptor);
            size_t place = (size_t)(piece - memory->base);

            for (i = 0; i < memory->size; i++) {
                if (piece[i] != (char)((place + i) % PERIOD)) {
                    bench_fail("wrong byte %zu in descriptor %zu of slot %zu", i, descriptor, slot);
                }
            }
        }
    }
}

/* ---- Commands ------------------------------------------------------------- */

static struct bench_case read_case(const json_t *command) {
    struct bench_case one;
    json_int_t size, descriptors, slots, count, pause = 0;
    int write;

    if (json_unpack((json_t *)command, "{s:b,s:I,s:I,s:I,s:I,s?I}", "write", &write, "size", &size,
                    "descriptors", &descriptors, "slots", &slots, "count", &count, "pause_us",
                    &pause) != 0 ||
        size < 1 || descriptors < 1 || slots < 1 || count < 1) {
        bench_fail("this is no case");
    }
    one = (struct bench_case){.write = write != 0,
                              .size = (size_t)size,
                              .descriptors = (size_t)descriptors,
                              .slots = (size_t)slots,
                              .count = (size_t)count,
                              .pause_us = (unsigned)pause};
    return one;
}

static json_t *offer(const struct bench_worker *worker, const json_t *command) {
    struct bench_case one = read_case(command);

    if (map(&ours, &one) && !one.write) {
        fill(&ours);
    }
    return json_pack("{s:o}", "offer", worker->offer(&one, &ours));
}

static json_t *take(const struct bench_worker *worker, const json_t *command) {
    taken = read_case(command);
    if (map(&theirs, &taken) && taken.write) {
        fill(&theirs);
    }
    worker->take(&taken, &theirs, json_object_get(command, "offer"));
    return json_object();
}

static json_t *go(const struct bench_worker *worker) {
    uint64_t *samples = calloc(taken.count, sizeof *samples);
    json_t *list = json_array();
    uint64_t begun = bench_now(), wall;
    size_t i;

    if (samples == NULL) {
        bench_fail("no memory for %zu samples", taken.count);
    }
    worker->go(&taken, &theirs, samples);
    wall = bench_now() - begun;
    for (i = 0; i < taken.count; i++) {
        json_array_append_new(list, json_integer((json_int_t)samples[i]));
    }
    free(samples);
    return json_pack("{s:o,s:I}", "ns", list, "wall_ns", (json_int_t)wall);
}

static json_t *perform(const struct bench_worker *worker, const json_t *command) {
    const char *what = json_string_value(json_object_get(command, "do"));

    if (what == NULL) {
        bench_fail("a command needs a name");
    } else if (strcmp(what, "offer") == 0) {
        return offer(worker, command);
    } else if (strcmp(what, "take") == 0) {
        return take(worker, command);
    } else if (strcmp(what, "go") == 0) {
        return go(worker);
    } else if (strcmp(what, "check") == 0) {
        check(json_is_true(json_object_get(command, "offered")) ? &ours : &theirs);
    } else if (strcmp(what, "drop") == 0) {
        worker->drop();
        unmap(&ours);
        unmap(&theirs);
    } else if (strcmp(what, "renew") == 0 && worker->renew != NULL) {
        worker->renew();
    } else if (strcmp(what, "pend") == 0 && worker->pend != NULL) {
        worker->pend((size_t)json_integer_value(json_object_get(command, "count")));
    } else {
        bench_fail("'%s' is not among what this worker does", what);
    }
    return json_object();
}

static struct bench_options read_options(int argc, char **argv) {
    static const struct option known[] = {{"transport", required_argument, NULL, 't'},
                                          {"address", required_argument, NULL, 'a'},
                                          {"device", required_argument, NULL, 'd'},
                                          {"variant", required_argument, NULL, 'v'},
                                          {NULL, 0, NULL, 0}};
    struct bench_options options = {.transport = "shm", .address = "127.0.0.1"};
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case 't':
            options.transport = optarg;
            break;
        case 'a':
            options.address = optarg;
            break;
        case 'd':
            options.device = optarg;
            break;
        case 'v':
            options.variant = optarg;
            break;
        default:
            exit(2);
        }
    }
    return options;
}

int bench_main(int argc, char **argv, const struct bench_worker *worker) {
    struct bench_options options = read_options(argc, argv);
    json_t *ready = json_pack("{s:i}", "pid", getpid());
    char *line = NULL;
    size_t size = 0;

    worker->open(&options, ready);
    answer(json_pack("{s:o}", "ready", ready));
    while (getline(&line, &size, stdin) >= 0) {
        json_error_t error;
        json_t *command = json_loads(line, 0, &error);

        if (command == NULL) {
            bench_fail("this is no JSON: %s", error.text);
        }
        answer(perform(worker, command));
        json_decref(command);
    }
    free(line);
    return 0;
}
