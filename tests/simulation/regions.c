/* SPDX-License-Identifier: Apache-2.0 */
/* The memory that operations use, in regions, and what it holds. */
#include "simulation.h"

#include <string.h>
#include <sys/mman.h>

#define SMALL ((size_t)160 << 10)
#define LARGE ((size_t)3 << 20)
#define LARGE_ONES 2
#define STEP 0x9e3779b97f4a7c15u

static uint64_t contents; /* so far */
static uint64_t frees;

uint64_t sim_content(void) {
    return ++contents;
}

static uint64_t base_of(uint64_t content) {
    sim_random_t random = {.state = content * 0xbf58476d1ce4e5b9u + 1};

    return sim_draw(&random);
}

static uint8_t byte_at(uint64_t base, uint64_t offset) {
    return (uint8_t)((base + offset / 8 * STEP) >> offset % 8 * 8);
}

void sim_fill(uint8_t *memory, size_t length, uint64_t content, uint64_t offset) {
    uint64_t base = base_of(content);
    size_t i = 0;

    for (; i < length && (offset + i) % 8 != 0; i++) {
        memory[i] = byte_at(base, offset + i);
    }
    for (base += (offset + i) / 8 * STEP; i + 64 <= length; i += 64, base += 8 * STEP) {
        uint64_t words[8];

        for (unsigned j = 0; j < 8; j++) {
            words[j] = base + j * STEP;
        }
        memcpy(memory + i, words, sizeof words);
    }
    for (; i + 8 <= length; i += 8, base += STEP) {
        memcpy(memory + i, &base, 8);
    }
    for (size_t left = 0; i < length; i++, left++) {
        memory[i] = (uint8_t)(base >> left * 8);
    }
}

bool sim_holds(const uint8_t *memory, size_t length, uint64_t content, uint64_t offset) {
    uint64_t base = base_of(content), word, wrong = 0;
    size_t i = 0;

    for (; i < length && (offset + i) % 8 != 0; i++) {
        wrong |= memory[i] ^ byte_at(base, offset + i);
    }
    for (base += (offset + i) / 8 * STEP; i + 64 <= length; i += 64, base += 8 * STEP) {
        uint64_t words[8];

        memcpy(words, memory + i, sizeof words);
        for (unsigned j = 0; j < 8; j++) {
            wrong |= words[j] ^ (base + j * STEP);
        }
    }
    for (; i + 8 <= length; i += 8, base += STEP) {
        memcpy(&word, memory + i, 8);
        wrong |= word ^ base;
    }
    for (size_t left = 0; i < length; i++, left++) {
        wrong |= memory[i] ^ (uint8_t)(base >> left * 8);
    }
    return wrong == 0;
}

bool sim_holds_either(const uint8_t *memory, size_t length, uint64_t one, uint64_t at_one,
                      uint64_t other, uint64_t at_other) {
    uint64_t first = base_of(one), second = base_of(other);

    if (sim_holds(memory, length, other, at_other)) {
        return true;
    }
    for (size_t i = 0; i < length; i++) {
        if (memory[i] != byte_at(first, at_one + i) && memory[i] != byte_at(second, at_other + i)) {
            return false;
        }
    }
    return true;
}

static void map(sim_region_t *region, size_t size) {
    region->memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region->memory == MAP_FAILED) {
        sim_fail("out of memory for a region");
    }
    region->size = size;
}

static void check_free(const sim_region_t *region) {
    if (!sim_holds(region->memory, region->used, region->background, 0)) {
        sim_fail("memory was written that no live operation has");
    }
}

sim_region_t *sim_region_take(sim_process_t *process, size_t size) {
    sim_region_t *chosen = NULL;

    for (unsigned i = 0; i < SIM_REGIONS; i++) {
        sim_region_t *region = &sim.regions[process->slot][i];
        size_t most = i < LARGE_ONES ? LARGE : SMALL;

        if (!region->taken && most >= size && (size > SMALL || i >= LARGE_ONES) &&
            (chosen == NULL || region->freed > chosen->freed)) {
            chosen = region;
            if (region->memory == NULL) {
                map(region, most);
            }
            if (region->background == 0) {
                region->background = sim_content();
            }
        }
    }
    if (chosen != NULL) {
        check_free(chosen);
        chosen->taken = true;
        if (size > chosen->used) {
            sim_fill(chosen->memory + chosen->used, size - chosen->used, chosen->background,
                     chosen->used);
        }
        chosen->used = size;
    }
    return chosen;
}

void sim_region_give(sim_region_t *region) {
    region->taken = false;
    region->freed = ++frees;
    region->background = sim_content();
    sim_fill(region->memory, region->used, region->background, 0);
}

void sim_regions_check(void) {
    for (unsigned i = 0; i < SIM_PROCESSES; i++) {
        for (unsigned j = 0; j < SIM_REGIONS; j++) {
            if (!sim.regions[i][j].taken) {
                check_free(&sim.regions[i][j]);
            }
        }
    }
}

void sim_regions_reset(void) {
    for (unsigned i = 0; i < SIM_PROCESSES; i++) {
        for (unsigned j = 0; j < SIM_REGIONS; j++) {
            sim.regions[i][j].taken = false;
            sim.regions[i][j].used = 0;
            sim.regions[i][j].background = 0;
            sim.regions[i][j].freed = 0;
        }
    }
    contents = frees = 0;
}
