/* SPDX-License-Identifier: Apache-2.0 */
#include "perf.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

int cli_perf_memory_resize(struct cli_perf_memory *memory, size_t size, size_t slots) {
    size_t wanted = size * slots > 0 ? size * slots : 1;
    if (wanted > memory->mapped) {
        void *base = mmap(NULL, wanted, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (base == MAP_FAILED) {
            return -1;
        }
        cli_perf_memory_free(memory);
        memory->base = base;
        memory->mapped = wanted;
    }
    memory->size = size;
    memory->slots = slots;
    return 0;
}

void cli_perf_memory_free(struct cli_perf_memory *memory) {
    if (memory->base != NULL) {
        munmap(memory->base, memory->mapped);
    }
    memset(memory, 0, sizeof *memory);
}

uint8_t *cli_perf_slot(const struct cli_perf_memory *memory, size_t slot) {
    return memory->base + slot * memory->size;
}

/* splitmix64: every offset has a value of its own, so that swapped or shifted pieces show. */
static uint64_t pattern(uint64_t seed, uint64_t index) {
    uint64_t z = seed + (index + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void cli_perf_memory_fill(struct cli_perf_memory *memory, uint64_t seed) {
    size_t total = memory->size * memory->slots;
    for (size_t offset = 0; offset < total; offset += sizeof(uint64_t)) {
        uint64_t value = pattern(seed, offset / sizeof value);
        size_t left = total - offset;
        memcpy(memory->base + offset, &value, left < sizeof value ? left : sizeof value);
    }
}

void cli_perf_memory_clear(struct cli_perf_memory *memory) {
    memset(memory->base, 0, memory->size * memory->slots);
}

bool cli_perf_memory_check(const struct cli_perf_memory *memory, uint64_t seed, char *error,
                           size_t error_size) {
    size_t total = memory->size * memory->slots;
    for (size_t offset = 0; offset < total; offset += sizeof(uint64_t)) {
        uint64_t value = pattern(seed, offset / sizeof value);
        size_t left = total - offset;
        if (memcmp(memory->base + offset, &value, left < sizeof value ? left : sizeof value) != 0) {
            snprintf(error, error_size,
                     "wrong data arrived: operation slot %zu differs near byte %zu of %zu; please "
                     "report this as a bug",
                     offset / memory->size, offset % memory->size, memory->size);
            return false;
        }
    }
    return true;
}

static uint64_t clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t cli_perf_now_ns(void) {
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t cli_perf_cpu_ns(void) {
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

const char *cli_perf_transports(const char *name, char *buffer, size_t size) {

    if (strcmp(name, "any") == 0) {
        return NULL;
    }
    if (strcmp(name, "shm") == 0) {
        name = "tcp,sm,self";
    }
    snprintf(buffer, size, "%s", name);
    for (char *each = buffer; *each != '\0'; each++) {
        *each = *each == '+' ? ',' : *each;
    }
    return buffer;
}

void cli_perf_usage_of_idling(ropeway_connector_t *connector, double seconds,
                              struct cli_perf_usage *usage) {
    struct timespec left = {.tv_sec = (time_t)seconds,
                            .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    ropeway_stats_t stats = {0};
    uint64_t cpu, start;
    ropeway_connector_stats(connector, &stats, sizeof stats);
    usage->wakeups = stats.wakeups;
    start = cli_perf_now_ns();
    cpu = cli_perf_cpu_ns();
    while (nanosleep(&left, &left) != 0) {
    }
    cpu = cli_perf_cpu_ns() - cpu;
    start = cli_perf_now_ns() - start;
    ropeway_connector_stats(connector, &stats, sizeof stats);
    usage->wakeups = stats.wakeups - usage->wakeups;
    usage->cpu_percent = 100.0 * (double)cpu / (double)start;
}
