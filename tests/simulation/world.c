/* SPDX-License-Identifier: Apache-2.0 */
/* One schedule: how the world is made, what befalls it, and how it comes to rest. */
#include "workload.h"

#include <stdlib.h>
#include <string.h>

#define STEPS 3000000 /* more turns than any schedule takes */

sim_world_t sim;

const char *const sim_trouble_names[SIM_TROUBLES] = {
    "resets", "delays",   "stops",   "deaths",   "jumps",     "shortages", "refusals",
    "dials",  "limits",   "cancels", "releases", "deadlines", "misuse",    "restarts",
    "lies",   "spoilers", "large",   "turns",    "starts"};

/* ---- faults ---- */

static sim_process_t *choose_process(void) {
    sim_process_t *process = sim.slots[sim_below(&sim.faults, sim.count)];

    return process->alive && !process->has_ended ? process : NULL;
}

static void stop(sim_process_t *process) {
    uint64_t length = sim_between(&sim.faults, SIM_MS,
                                  sim_chance(&sim.faults, 700) ? 60 * SIM_MS : 1500 * SIM_MS);

    sim_note("%s is stopped for %llu ms", process->name, (unsigned long long)(length / SIM_MS));
    process->stopped = true;
    process->resume = sim.now + length;
    sim_befall(process, SIM_STOPS, process->resume);
}

static void jump(sim_process_t *process) {
    uint64_t length = sim_between(&sim.faults, SIM_MS, 2000 * SIM_MS);

    sim_note("the clock of %s jumps by %llu ms", process->name,
             (unsigned long long)(length / SIM_MS));
    process->offset += length;
    sim_befall(process, SIM_JUMPS, sim.now + 1);
}

static void fall_short(sim_process_t *process) {
    process->shortage = (unsigned)sim_between(&sim.faults, 5, 250);
    process->shortage_end = sim.now + sim_between(&sim.faults, 50 * SIM_US, 5 * SIM_MS);
    sim_note("%s is short of memory: %u of 1000 allocations fail", process->name,
             process->shortage);
}

static void strike(void) {
    sim_process_t *process = choose_process();
    sim_trouble_t trouble = (sim_trouble_t)sim_below(&sim.faults, SIM_SHORTAGES + 1);

    if (!sim_may(trouble) || process == NULL) {
        return;
    }
    switch (trouble) {
    case SIM_RESETS:
        sim_network_break();
        break;
    case SIM_DELAYS:
        sim_network_delay();
        break;
    case SIM_STOPS:
        stop(process);
        break;
    case SIM_DEATHS:
        if (sim_chance(&sim.faults, 500)) {
            sim_process_kill(process);
        }
        break;
    case SIM_JUMPS:
        jump(process);
        break;
    default:
        fall_short(process);
        break;
    }
}

static void look_after(sim_process_t *process) {
    if (process->stopped && (process->resume <= sim.now || sim.is_calm)) {
        process->stopped = false;
        sim_befall(process, SIM_STOPS, sim.now + 1);
        sim_note("%s goes on", process->name);
    }
    if (process->shortage > 0 && (process->shortage_end <= sim.now || sim.is_calm)) {
        process->shortage = 0;
    }
    if (!process->alive && !sim.is_calm && sim_chance(&sim.faults, 2)) {
        sim_process_start(process->slot);
        sim_note("%s is back", process->name);
    }
}

static bool all_rest(void) {
    for (unsigned i = 0; i < sim.count; i++) {
        if (sim.slots[i]->alive && !sim_process_rests(sim.slots[i])) {
            return false;
        }
    }
    return true;
}

/* What befalls the world between two turns. */
static void befall(void) {
    if (!sim.is_calm && (all_rest() || sim.steps > STEPS / 2)) {
        sim.is_calm = true;
        sim.calm = sim.now;
        sim_note("nothing befalls the world any more");
    }
    for (unsigned i = 0; i < sim.count; i++) {
        look_after(sim.slots[i]);
    }
    if (!sim.is_calm && sim.faults_left > 0 && sim.now >= sim.next_fault) {
        sim.faults_left--;
        sim.next_fault = sim.now + sim_below(&sim.faults, 20 * SIM_MS);
        strike();
    }
}

/* ---- time ---- */

/* Nobody can run now: goes to when somebody can. */
static void advance(void) {
    uint64_t next = sim_fibers_due();

    for (unsigned i = 0; i < sim.count; i++) {
        const sim_process_t *process = sim.slots[i];

        if (process->alive && process->stopped && process->resume < next) {
            next = process->resume;
        }
    }
    if (!sim.is_calm && sim.faults_left > 0 && sim.next_fault < next) {
        next = sim.next_fault;
    }
    if (!sim.is_calm && all_rest()) {
        return; /* the last one that worked was killed */
    }
    if (next == RW_NEVER) {
        sim_fibers_print();
        sim_fail("nobody can go on: they wait for what does not come");
    }
    if (next <= sim.now) {
        sim_fibers_print();
        sim_fail("somebody could go on, and does not");
    }
    for (unsigned i = 0; i < sim.count; i++) {
        sim_check_limits(sim.slots[i]);
    }
    sim.now = next;
}

static void take_turn(void) {
    bool moved = false;

    befall();
    if (sim_network_is_busy() && sim_chance(&sim.schedule, 300)) {
        moved = sim_network_turn();
    }
    if (!moved && !sim_fibers_turn() && !sim_network_turn()) {
        advance();
        return;
    }
    sim.steps++;
    sim.now += sim_below(&sim.schedule, 2 * SIM_US);
    sim_check_step();
    if (sim.steps > STEPS) {
        sim_fibers_print();
        sim_fail("%llu turns, and no end", (unsigned long long)sim.steps);
    }
}

/* ---- a schedule ---- */

/* By numbers of their own, so that schedules with one carrier stay what they were without this. */
static void choose_carriers(uint64_t seed, uint32_t enabled) {
    sim.choices = sim_random_for(seed, 7);
    sim.paces = sim_random_for(seed, 8);
    if (!sim_chance(&sim.choices, 350)) {
        return;
    }
    sim.carriers = SIM_BOTH;
    sim.enabled |= (uint32_t)sim_chance(&sim.choices, 300) << SIM_STARTS & enabled;
    sim.one_host = sim_chance(&sim.choices, 300);
    sim.has_local = sim_chance(&sim.choices, 800);
    sim.fabric_latency = sim_chance(&sim.choices, 700) ? 10 * SIM_US : 4 * SIM_MS;
}

static void make_world(uint64_t seed, uint32_t enabled, unsigned budget, bool verbose) {
    sim_region_t regions[SIM_PROCESSES][SIM_REGIONS];

    memcpy(regions, sim.regions, sizeof regions);
    memset(&sim, 0, sizeof sim);
    memcpy(sim.regions, regions, sizeof regions);
    sim.seed = seed;
    sim.verbose = verbose;
    sim.hash = 0xcbf29ce484222325u;
    sim.schedule = sim_random_for(seed, 1);
    sim.network = sim_random_for(seed, 2);
    sim.faults = sim_random_for(seed, 3);
    sim.secrets = sim_random_for(seed, 4);
    sim.setup = sim_random_for(seed, 5);
    for (unsigned i = 0; i < SIM_STARTS; i++) {
        unsigned often = i == SIM_LARGE ? 250 : i < SIM_LIMITS ? 350 : 600;

        sim.enabled |= (uint32_t)sim_chance(&sim.setup, often) << i;
    }
    sim.enabled &= enabled;
    sim.count =
        sim_chance(&sim.setup, 600) ? 2 : (unsigned)sim_between(&sim.setup, 3, SIM_PROCESSES);
    sim.one_host = sim_chance(&sim.setup, 600);
    sim.carriers = sim_chance(&sim.setup, 500) ? SIM_PRIVATE : SIM_SHARED;
    sim.turns = sim_may(SIM_TURNS) ? (unsigned)sim_between(&sim.setup, 20, 400) : 0;
    sim.latency = sim_chance(&sim.setup, 600) ? 50 * SIM_US : 2 * SIM_MS;
    sim.faults_left = (unsigned)sim_between(&sim.setup, 0, 20);
    sim.next_fault = sim_below(&sim.setup, 5 * SIM_MS);
    sim.budget = (unsigned)sim_between(&sim.setup, 5, 60);
    if (budget < sim.budget) {
        sim.budget = budget;
    }
    choose_carriers(seed, enabled);
}

void sim_play(uint64_t seed, uint32_t enabled, unsigned budget, bool verbose) {
    static const char *const carriers[] = {"shared", "private", "of both kinds"};

    make_world(seed, enabled, budget, verbose);
    sim_note("%u processes, links are %s, latency %llu us, %u actions each", sim.count,
             carriers[sim.carriers], (unsigned long long)(sim.latency / SIM_US), sim.budget);
    for (unsigned i = 0; i < SIM_TROUBLES; i++) {
        if (sim_may(i)) {
            sim_note("may happen: %s", sim_trouble_names[i]);
        }
    }
    for (unsigned i = 0; i < sim.count; i++) {
        sim_process_start(i);
    }
    while (sim_fibers_any()) {
        take_turn();
    }
    sim_check_end();
    sim_workload_reset();
    sim_network_reset();
    sim_descriptors_reset();
    sim_fibers_reset();
    sim_memory_reset();
    sim_regions_reset();
}
