/* SPDX-License-Identifier: Apache-2.0 */
/* The memory that measured operations move, and the pattern in it that shows a wrong byte. */
#include "perf.h"

#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "common/text.h"

bool cli_perf_memory_resize(struct cli_perf_memory *memory, size_t size, size_t slots) {
    size_t wanted = size * slots > 0 ? size * slots : 1;
    if (wanted > memory->mapped) {
        void *base = mmap(NULL, wanted, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (base == MAP_FAILED) {
            return false;
        }
        cli_perf_memory_free(memory);
        memory->base = base;
        memory->mapped = wanted;
    }
    memory->size = size;
    memory->slots = slots;
    return true;
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

bool cli_perf_memory_check(const struct cli_perf_memory *memory, uint64_t seed,
                           char error[CLI_SENTENCE_SIZE]) {
    size_t total = memory->size * memory->slots;
    for (size_t offset = 0; offset < total; offset += sizeof(uint64_t)) {
        uint64_t value = pattern(seed, offset / sizeof value);
        size_t left = total - offset;
        if (memcmp(memory->base + offset, &value, left < sizeof value ? left : sizeof value) != 0) {
            cli_sentence(
                error,
                "wrong data arrived: operation slot %zu differs near byte %zu of %zu; please "
                "report this as a bug",
                offset / memory->size, offset % memory->size, memory->size);
            return false;
        }
    }
    return true;
}
