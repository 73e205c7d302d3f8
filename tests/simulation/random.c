/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers from the seed, and the trace of what happened. */
#include "simulation.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

uint64_t sim_draw(sim_random_t *random) {
    uint64_t z = random->state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t sim_below(sim_random_t *random, uint64_t below) {
    return below > 0 ? sim_draw(random) % below : 0;
}

uint64_t sim_between(sim_random_t *random, uint64_t least, uint64_t most) {
    return least + sim_below(random, most - least + 1);
}

bool sim_chance(sim_random_t *random, unsigned permille) {
    return sim_below(random, 1000) < permille;
}

sim_random_t sim_random_for(uint64_t seed, uint64_t purpose) {
    sim_random_t random = {.state = seed * 0xd1342543de82ef95u + purpose};

    random.state = sim_draw(&random) ^ purpose << 32;
    return random;
}

/* FNV-1a, over the text of each note. */
static void add(const char *text) {
    for (; *text != '\0'; text++) {
        sim.hash = (sim.hash ^ (uint8_t)*text) * 0x100000001b3u;
    }
}

void sim_note(const char *format, ...) {
    char text[512];
    va_list arguments;
    const sim_process_t *process = sim_here();

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    add(text);
    sim.hash = (sim.hash ^ sim.now) * 0x100000001b3u;
    if (sim.verbose) {
        printf("%12.6f ms  %-6s %s\n", (double)sim.now / 1e6,
               process != NULL ? process->name : "world", text);
    }
}

void sim_fail(const char *format, ...) {
    char text[1024];
    va_list arguments;
    const sim_process_t *process = sim_here();

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    printf("seed %llu: at %.6f ms, %s: %s\n", (unsigned long long)sim.seed, (double)sim.now / 1e6,
           process != NULL ? process->name : "world", text);
    fflush(stdout);
    _exit(3);
}
