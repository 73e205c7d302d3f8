/* SPDX-License-Identifier: Apache-2.0 */
/* Processes: they make a connector, let users work with it, and end in order or not. */
#include "workload.h"

#include "base/error.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>

void __real_rw_log_attach(ropeway_connector_t *connector);
void __real_rw_log_detach(ropeway_connector_t *connector);
void __wrap_rw_log_attach(ropeway_connector_t *connector);
void __wrap_rw_log_detach(ropeway_connector_t *connector);

/* The list of connectors with a log is the real process's: dead ones must be taken out. */
void __wrap_rw_log_attach(ropeway_connector_t *connector) {
    sim_here()->attached = connector;
    __real_rw_log_attach(connector);
}

void __wrap_rw_log_detach(ropeway_connector_t *connector) {
    sim_here()->attached = NULL;
    __real_rw_log_detach(connector);
}

static void log_line(void *argument, ropeway_log_level_t level, const char *text) {
    (void)argument, (void)level;
    sim_note("log: %s", text);
}

static void choose_options(sim_process_t *process) {
    ropeway_connector_options_t *options = &process->options;
    static const uint32_t spins[] = {0, 0, 0, 1, 1, 3, 3, 10, 20, 50};

    ropeway_connector_options_init(options, sizeof *options);
    options->name = process->name;
    options->transports = sim.carriers == SIM_PRIVATE ? "private" : "shared";
    options->log = log_line;
    options->log_level = ROPEWAY_LOG_DEBUG;
    options->stall_ms = sim_chance(&sim.setup, 100) ? 0
                        : sim_chance(&sim.setup, 400)
                            ? (uint32_t)sim_between(&sim.setup, 60, 200)
                            : (uint32_t)sim_between(&sim.setup, 300, 1500);
    options->quiet_ms = (uint32_t)sim_between(&sim.setup, 60, 300);
    options->spin_us = spins[sim_below(&sim.setup, 10)];
    options->window = (uint32_t)sim_between(&sim.setup, 1, 5);
    options->chunk_size = (size_t)64 << 10 << sim_below(&sim.setup, 7);
    if (sim_chance(&sim.setup, 250)) {
        options->max_inflight = options->chunk_size;
    }
    if (sim_may(SIM_LIMITS) && sim_chance(&sim.setup, 400)) {
        process->is_small = true;
        options->max_operations = (uint32_t)sim_between(&sim.setup, 1, 5);
        options->max_peers = (uint32_t)sim_between(&sim.setup, 1, 3);
        options->max_descriptors = (uint32_t)sim_between(&sim.setup, 2, 6);
        options->max_metadata = 1024;
    }
    if (sim.carriers == SIM_BOTH) {
        sim_carriers_choose(process);
    }
    if (sim_chance(&sim.paces, 100)) {
        options->min_rate = (size_t)1 << sim_between(&sim.paces, 8, 20);
    }
}

static void destroy(sim_process_t *process) {
    uint64_t began = sim.now;
    uint64_t limit = (4 * (uint64_t)process->options.quiet_ms + 100) * SIM_MS;
    ropeway_error_t error;

    sim_note("the connector is destroyed");
    process->closing = true;
    process->last_closed = sim.now + 1;
    for (unsigned i = 0; i < sim_operation_count; i++) {
        sim_operation_t *one = sim_operations[i];

        if (one->process == process && !one->ended && one->handle != NULL && !one->released) {
            one->cancel_asked = true;
            one->let_go = sim.now + 1;
        }
    }
    error = ropeway_connector_destroy(process->connector);
    if (error != ROPEWAY_OK) {
        sim_fail("the connector can't be destroyed: %s", ropeway_error_name(error));
    }
    if (sim.now - began > limit && process->last[SIM_STOPS] < began &&
        process->last[SIM_JUMPS] < began) {
        sim_fail("the connector took %llu ms to be destroyed",
                 (unsigned long long)((sim.now - began) / SIM_MS));
    }
    for (unsigned i = 0; i < sim_operation_count; i++) {
        const sim_operation_t *one = sim_operations[i];

        if (one->process == process && one->handle != NULL && !one->released && !one->ended) {
            sim_fail("%u lives on when its connector is destroyed", one->number);
        }
    }
    process->connector = NULL;
    memset(process->memories, 0, sizeof process->memories); /* freed with it */
}

static bool has_no_calls(const void *process) {
    return ((const sim_process_t *)process)->calls == 0;
}

static bool has_no_users(const void *process) {
    return ((const sim_process_t *)process)->users == 0;
}

static bool is_calm(const void *ignored) {
    (void)ignored;
    return sim.is_calm;
}

static bool create(sim_process_t *process) {
    for (int i = 0; i < 50 && !process->has_ended; i++) {
        ropeway_error_t error = ropeway_connector_create(&process->options, &process->connector);

        if (error == ROPEWAY_OK) {
            return true;
        }
        if (process->last[SIM_SHORTAGES] == 0) {
            sim_fail("no connector can be made: %s", ropeway_last_error());
        }
        sim_sleep(10 * SIM_MS);
    }
    return false;
}

static void *wait_for_one(void *argument) {
    sim_operation_t *one = argument;

    ropeway_operation_wait(one->handle, -1);
    if (!one->ended) {
        sim_fail("a waiter for %u is woken before it has ended", one->number);
    }
    one->users--;
    return NULL;
}

/* Somebody waits for an operation when its connector is destroyed. */
static void leave_a_waiter(sim_process_t *process) {
    for (unsigned i = 0; i < sim_operation_count; i++) {
        sim_operation_t *one = sim_operations[i];

        if (one->process == process && one->handle != NULL && !one->released && !one->releasing &&
            sim_chance(&sim.setup, 300)) {
            one->users++;
            sim_spawn(process, wait_for_one, one, "a waiter");
            return;
        }
    }
}

/* One connector's life. */
static void live_once(sim_process_t *process) {
    unsigned users = (unsigned)sim_between(&sim.setup, 1, 2);

    process->closing = process->leaving = process->is_done = false;
    if (!create(process)) {
        process->budget = 0;
        return;
    }
    sim_note("the connector is made");
    for (unsigned i = 0; i < users; i++) {
        process->users++;
        sim_spawn(process, sim_user, process, "a user");
    }
    sim_wait(has_no_users, process, RW_NEVER);
    if (!process->leaving) {
        sim_wait(is_calm, NULL, RW_NEVER);
        sim_users_finish(process);
        sim_sleep(sim_network_moves_at() - sim.now + 2000 * SIM_MS);
        sim_check_quiet(process);
    }
    if (sim_chance(&sim.setup, 500)) {
        leave_a_waiter(process);
        sim_pause();
    }
    process->closing = true;
    sim_wait(has_no_calls, process, RW_NEVER);
    destroy(process);
    sim_users_finish(process);
}

static void *live(void *argument) {
    sim_process_t *process = argument;

    do {
        live_once(process);
    } while (process->leaving && !sim.is_calm);
    if (process->blocks > 0) {
        sim_fail("%zu blocks of memory are left when the process has ended", process->blocks);
    }
    process->has_ended = true;
    return NULL;
}

bool sim_process_rests(const sim_process_t *process) {
    return process->has_ended ||
           (process->users == 0 && !process->leaving && process->connector != NULL);
}

void sim_process_start(unsigned slot) {
    sim_process_t *process = &sim.lives[sim.life_count];
    const sim_process_t *before = sim.slots[slot];

    if (sim.life_count == SIM_LIVES) {
        return;
    }
    *process = (sim_process_t){.number = sim.life_count++,
                               .slot = slot,
                               .host = sim.one_host ? 0 : slot % 2,
                               .alive = true,
                               .budget = before != NULL ? before->budget : sim.budget};
    process->pid = (pid_t)(1000 + process->number);
    process->offset = sim_below(&sim.setup, 1000000 * SIM_MS);
    snprintf(process->name, sizeof process->name, "w%u", slot);
    choose_options(process);
    sim.slots[slot] = process;
    sim_spawn(process, live, process, "its first thread");
}

void sim_process_kill(sim_process_t *process) {
    sim_note("%s is killed", process->name);
    sim_fibers_kill(process);
    sim_network_kill(process);
    process->alive = false;
    sim_befall(process, SIM_DEATHS, sim.now + 1);
    if (process->attached != NULL) {
        __real_rw_log_detach(process->attached);
        process->attached = NULL;
    }
    for (unsigned i = 0; i < sim_operation_count; i++) {
        sim_operation_t *one = sim_operations[i];

        if (one->process == process && !one->released) {
            one->dead = true;
            one->handle = NULL;
            if (one->region != NULL) {
                sim_region_give(one->region);
                one->region = NULL;
            }
        }
    }
    sim_descriptors_kill(process);
    sim_memory_kill(process);
    process->connector = NULL;
}
