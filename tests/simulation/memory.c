/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The allocator as the library sees it: each block belongs to the process whose fiber took it. What
 * a process has left when it has ended is a leak; what a killed one has goes with it.
 */
#include "simulation.h"

#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void __real_free(void *block);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
void __wrap_free(void *block);
char *__wrap_strdup(const char *text);

/* Open addressing; a block that is not here is none of the library's in a simulated process. */
typedef struct sim_block {
    void *at;
    sim_process_t *owner;
} sim_block_t;

static sim_block_t *blocks;
static size_t capacity, count;

static size_t place_of(const void *at) {
    return ((uintptr_t)at >> 4) * 0x9e3779b97f4a7c15u >> 20 & (capacity - 1);
}

static size_t look_up(const void *at) {
    size_t place = place_of(at);

    while (blocks[place].at != NULL && blocks[place].at != at) {
        place = (place + 1) & (capacity - 1);
    }
    return place;
}

static void grow(void) {
    sim_block_t *old = blocks;
    size_t old_capacity = capacity;

    capacity = capacity > 0 ? capacity * 2 : 4096;
    blocks = __real_calloc(capacity, sizeof *blocks);
    if (blocks == NULL) {
        abort();
    }
    for (size_t i = 0; i < old_capacity; i++) {
        if (old[i].at != NULL) {
            blocks[look_up(old[i].at)] = old[i];
        }
    }
    __real_free(old);
}

static void *enter(void *at) {
    sim_process_t *owner = sim_here();

    if (at == NULL || owner == NULL) {
        return at;
    }
    if (count * 2 >= capacity) {
        grow();
    }
    blocks[look_up(at)] = (sim_block_t){.at = at, .owner = owner};
    count++;
    owner->blocks++;
    return at;
}

/* false: it is not ours. */
static bool leave(const void *at) {
    size_t hole = capacity > 0 ? look_up(at) : 0, next = hole;

    if (capacity == 0 || blocks[hole].at == NULL) {
        return false;
    }
    if (sim_here() != NULL && blocks[hole].owner != sim_here()) {
        sim_fail("memory of %s is freed by another process", blocks[hole].owner->name);
    }
    blocks[hole].owner->blocks--;
    count--;
    for (;;) {
        size_t wanted;

        blocks[hole].at = NULL;
        do {
            next = (next + 1) & (capacity - 1);
            if (blocks[next].at == NULL) {
                return true;
            }
            wanted = place_of(blocks[next].at);
        } while (((next - wanted) & (capacity - 1)) < ((next - hole) & (capacity - 1)));
        blocks[hole] = blocks[next];
        hole = next;
    }
}

bool sim_is_short(sim_process_t *process) {
    if (process == NULL || process->shortage == 0 || !sim_chance(&sim.faults, process->shortage)) {
        return false;
    }
    sim_befall(process, SIM_SHORTAGES, sim.now + 1);
    return true;
}

void *__wrap_malloc(size_t size) {
    void *block = sim_is_short(sim_here()) ? NULL : __real_malloc(size);

    if (block != NULL && sim_here() != NULL) {
        memset(block, 0xa5, size); /* what is read before it is written is the same each time */
    }
    return enter(block);
}

void *__wrap_calloc(size_t number, size_t size) {
    return enter(sim_is_short(sim_here()) ? NULL : __real_calloc(number, size));
}

void *__wrap_realloc(void *block, size_t size) {
    void *larger;

    if (sim_is_short(sim_here())) {
        return NULL;
    }
    if (block == NULL) {
        return enter(__real_malloc(size));
    }
    if (!leave(block)) {
        return __real_realloc(block, size);
    }
    larger = __real_realloc(block, size);
    return enter(larger != NULL ? larger : block) == block && larger == NULL ? NULL : larger;
}

void __wrap_free(void *block) {
    if (block != NULL) {
        leave(block);
        __real_free(block);
    }
}

char *__wrap_strdup(const char *text) {
    size_t size = strlen(text) + 1;
    char *copy = __wrap_malloc(size);

    return copy != NULL ? memcpy(copy, text, size) : NULL;
}

void *sim_take(size_t size) {
    void *block = __real_calloc(1, size);

    if (block == NULL) {
        abort();
    }
    return block;
}

void sim_give(void *block) {
    __real_free(block);
}

void sim_memory_kill(sim_process_t *process) {
    void **doomed = sim_take((process->blocks + 1) * sizeof *doomed);
    size_t number = 0;

    for (size_t i = 0; i < capacity; i++) {
        if (blocks[i].at != NULL && blocks[i].owner == process) {
            doomed[number++] = blocks[i].at;
        }
    }
    for (size_t i = 0; i < number; i++) {
        leave(doomed[i]);
        __real_free(doomed[i]);
    }
    sim_give(doomed);
}

void sim_memory_reset(void) {
    if (count > 0) {
        sim_fail("%zu blocks of memory are left at the end", count);
    }
}
