/* SPDX-License-Identifier: Apache-2.0 */
/* What users do: they offer memory, begin, wait, cancel and release, at any moment. */
#include "workload.h"

#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GAP ((size_t)24) /* bytes between pieces, at most */

sim_operation_t *sim_operations[SIM_OPERATIONS];
unsigned sim_operation_count;

/* A user: its decisions are its own, so that those of others may be left out. */
typedef struct sim_actor {
    sim_process_t *process;
    sim_random_t random;
} sim_actor_t;

static const size_t small_sizes[] = {0,     1,     2,     7,     64,    100,  1000,
                                     1000,  4096,  8191,  8192,  8193,  4000, 16383,
                                     16384, 16385, 65535, 65536, 65537, 20000};
static const size_t large_sizes[] = {262143, 262144, 262145,  524287,  524288,
                                     524289, 300000, 1048575, 1048577, 700000};

const char *sim_kind_name(ropeway_operation_kind_t kind) {
    static const char *const names[] = {"?", "readable", "writable", "read", "write"};

    return names[kind];
}

/* ---- memory ---- */

static size_t choose_size(sim_random_t *random) {
    if (sim_may(SIM_LARGE) && sim_chance(random, 200)) {
        return large_sizes[sim_below(random, sizeof large_sizes / sizeof *large_sizes)];
    }
    if (sim_chance(random, 400)) {
        return (size_t)sim_below(random, 300);
    }
    return small_sizes[sim_below(random, sizeof small_sizes / sizeof *small_sizes)];
}

static void choose_sizes(sim_random_t *random, sim_operation_t *one) {
    one->count = sim_chance(random, 500) ? 1 : (size_t)sim_between(random, 1, 6);
    for (size_t i = 0; i < one->count; i++) {
        one->sizes[i] = choose_size(random);
    }
}

/* Cuts the descriptors into pieces. Returns the bytes of the region that they need. */
static size_t cut_pieces(sim_random_t *random, sim_operation_t *one) {
    size_t used = 0;

    one->grouped = sim_chance(random, 300) && !one->on_device;
    one->piece_count = 0;
    one->total = 0;
    for (size_t i = 0; i < one->count; i++) {
        size_t left = one->sizes[i], most = one->grouped ? 4 : 1;

        one->total += left;
        one->groups[i] = 0;
        do {
            bool last = ++one->groups[i] == most || sim_chance(random, 300);
            size_t size = last ? left : (size_t)sim_below(random, left + 1);

            if (!last && sim_chance(random, 300)) {
                size = left / (most - one->groups[i] + 1);
            }
            used += (size_t)sim_below(random, GAP);
            one->pieces[one->piece_count].size = size;
            one->pieces[one->piece_count++].ptr = (void *)(uintptr_t)used;
            used += size;
            left -= size;
            if (last) {
                break;
            }
        } while (true);
    }
    return used + GAP;
}

/* false: there is no room. */
static bool place_memory(sim_random_t *random, sim_operation_t *one) {
    const sim_process_t *process = one->process;
    size_t size;
    uint64_t offset = 0;

    one->on_device = sim.carriers == SIM_BOTH &&
                     sim_chance(random, process->has_device && sim_has_fabric(process) ? 250
                                        : sim_may(SIM_MISUSE)                          ? 20
                                                                                       : 0);
    size = cut_pieces(random, one);
    one->region = sim_region_take(one->process, size);
    if (one->region == NULL) {
        return false;
    }
    one->content = one->is_sender ? sim_content() : 0;
    for (size_t i = 0; i < one->piece_count; i++) {
        one->pieces[i].ptr = one->region->memory + (uintptr_t)one->pieces[i].ptr;
        one->pieces[i].device.kind =
            sim_chance(random, 500) ? ROPEWAY_DEVICE_HOST : ROPEWAY_DEVICE_UNSPECIFIED;
        if (one->is_sender) {
            sim_fill(one->pieces[i].ptr, one->pieces[i].size, one->content, offset);
        }
        offset += one->pieces[i].size;
        one->given[i] = one->pieces[i];
        if (one->on_device && (i == 0 || sim_chance(random, 700))) {
            one->given[i].ptr = (char *)one->pieces[i].ptr + SIM_DEVICE;
            one->given[i].device.kind = ROPEWAY_DEVICE_CUDA;
        }
    }
    return true;
}

/* ---- records ---- */

static sim_operation_t *record(sim_process_t *process, ropeway_operation_kind_t kind) {
    sim_operation_t *one;

    if (sim_operation_count == SIM_OPERATIONS) {
        return NULL;
    }
    one = sim_take(sizeof *one);
    one->number = sim_operation_count;
    one->process = process;
    one->connector = process->connector;
    one->kind = kind;
    one->is_sender = kind == ROPEWAY_OPERATION_READABLE || kind == ROPEWAY_OPERATION_WRITE;
    one->created = sim.now;
    sim_operations[sim_operation_count++] = one;
    return one;
}

/* It came to nothing. */
static void discard(sim_operation_t *one) {
    if (one->region != NULL) {
        sim_region_give(one->region);
        one->region = NULL;
    }
    one->released = true;
}

static bool is_usable(const sim_operation_t *one) {
    return one->handle != NULL && !one->releasing && !one->released && !one->dead;
}

/* One of the process's; NULL: there is none. */
static sim_operation_t *choose_own(sim_random_t *random, const sim_process_t *process) {
    sim_operation_t *chosen = NULL;
    unsigned seen = 0;

    for (unsigned i = 0; i < sim_operation_count; i++) {
        sim_operation_t *one = sim_operations[i];

        if (one->process == process && is_usable(one) && sim_below(random, ++seen) == 0) {
            chosen = one;
        }
    }
    return chosen;
}

/* An offer whose metadata is about. */
static sim_operation_t *choose_offer(sim_random_t *random, const sim_process_t *process) {
    sim_operation_t *chosen = NULL;
    bool again = sim_may(SIM_MISUSE) && sim_chance(random, 80);
    bool own = sim_chance(random, 60);
    unsigned seen = 0;

    for (unsigned i = 0; i < sim_operation_count; i++) {
        sim_operation_t *one = sim_operations[i];

        if (one->metadata != NULL && (again || (one->taken == 0 && !one->ended && !one->dead)) &&
            (own || one->process != process) && sim_below(random, ++seen) == 0) {
            chosen = one;
        }
    }
    return chosen;
}

/* ---- releasing, cancelling, waiting ---- */

static void release(sim_operation_t *one) {
    uint64_t began = sim.now;

    one->releasing = true;
    one->process->releases++;
    one->process->at_release++;
    if (!one->ended) {
        one->cancel_asked = true;
        one->let_go = sim.now + 1;
    }
    sim_note("%u is released%s", one->number, one->ended ? "" : " alive");
    sim_check_answers(one);
    ropeway_operation_release(one->handle);
    one->process->at_release--;
    sim_check_released(one, sim.now - began, began);
    one->handle = NULL;
    one->released = true;
}

static void cancel(sim_operation_t *one) {
    ropeway_error_t error;
    bool ended = one->ended;

    one->users++;
    if (!ended) {
        one->cancel_asked = true;
        one->let_go = sim.now + 1;
    }
    sim_note("%u is cancelled", one->number);
    error = ropeway_operation_cancel(one->handle);
    if (ended && error != ROPEWAY_ERR_FINISHED) {
        sim_fail("the cancel of %u, which had ended, says %s", one->number,
                 ropeway_error_name(error));
    }
    if (error == ROPEWAY_ERR_FINISHED && !one->ended) {
        sim_fail("the cancel of %u, which lives, says that it has ended", one->number);
    }
    one->users--;
}

static ropeway_error_t wait_for(sim_operation_t *one, int timeout) {
    ropeway_error_t error;

    one->users++;
    error = ropeway_operation_wait(one->handle, timeout);
    if (error != ROPEWAY_ERR_TIMEOUT && !one->ended) {
        sim_fail("a wait for %u says %s, and it has not ended", one->number,
                 ropeway_error_name(error));
    }
    sim_check_answers(one);
    one->users--;
    return error;
}

/* ---- making ---- */

static void act_in_callback(sim_operation_t *one);

/* More than a thread that waits for the callback looks whether it has returned. */
static void take_time(const sim_operation_t *one) {
    bool released = one->released; /* by the callback itself */

    for (int i = 0; i < 60; i++) {
        sim_pause();
    }
    if (!released && one->released) {
        sim_fail("%u was released while its callback ran", one->number);
    }
}

static void on_end(ropeway_operation_t *operation, void *argument) {
    sim_operation_t *one = argument;

    if (!one->ended || ropeway_operation_status(operation) != one->status) {
        sim_fail("the callback of %u comes before its outcome", one->number);
    }
    if (++one->callbacks > 1 || one->released) {
        sim_fail("the callback of %u comes %u times, or after its release", one->number,
                 one->callbacks);
    }
    sim_note("%u calls back", one->number);
    if (one->handle == NULL) {
        one->handle = operation; /* whoever began it has not heard yet */
    }
    act_in_callback(one);
    if (one->number % 8 == 7) {
        take_time(one);
    }
}

static void fill_options(sim_random_t *random, sim_operation_t *one,
                         ropeway_operation_options_t *options) {
    ropeway_operation_options_init(options, sizeof *options);
    one->integrity = sim_chance(random, 250);
    one->integrity &= !one->on_device || (sim_may(SIM_MISUSE) && sim_chance(random, 100));
    one->notify = sim_chance(random, 250);
    one->with_callback = sim_chance(random, 350);
    options->flags = (one->integrity ? ROPEWAY_OPERATION_INTEGRITY : 0) |
                     (one->notify ? ROPEWAY_OPERATION_NOTIFY : 0) |
                     (one->prefix ? ROPEWAY_OPERATION_PREFIX : 0);
    options->user_data = one;
    if (one->with_callback) {
        options->callback = on_end;
        options->callback_arg = one;
    }
    if (sim_may(SIM_DEADLINES) && sim_chance(random, 200)) {
        one->deadline_ms = (uint32_t)sim_between(random, 1, sim_chance(random, 500) ? 5 : 400);
        options->deadline_ms = one->deadline_ms;
    }
    one->stall_ms = one->process->options.stall_ms;
    if (one->grouped) {
        options->group_sizes = one->groups;
        options->group_count = one->count;
    }
}

/* The call that made it has returned. */
static void made(sim_operation_t *one, ropeway_error_t error, ropeway_operation_t *handle) {
    if (error != ROPEWAY_OK) {
        sim_note("%u comes to nothing: %s", one->number, ropeway_error_name(error));
        sim_check_refused(one, error);
        discard(one);
    } else if (!one->released && !one->releasing) {
        one->handle = handle;
    }
}

static void offer(sim_actor_t *actor) {
    sim_process_t *process = actor->process;
    ropeway_operation_kind_t kind =
        sim_chance(&actor->random, 500) ? ROPEWAY_OPERATION_READABLE : ROPEWAY_OPERATION_WRITABLE;
    sim_operation_t *one = record(process, kind);
    ropeway_operation_options_t options;
    ropeway_operation_t *handle = NULL;
    ropeway_error_t error;
    const char *text;

    if (one == NULL) {
        return;
    }
    choose_sizes(&actor->random, one);
    if (!place_memory(&actor->random, one)) {
        discard(one);
        return;
    }
    fill_options(&actor->random, one, &options);
    sim_note("%u is offered: %s, %zu descriptors in %zu pieces, %llu bytes%s", one->number,
             sim_kind_name(kind), one->count, one->piece_count, (unsigned long long)one->total,
             one->on_device ? ", of a device" : "");
    error =
        (kind == ROPEWAY_OPERATION_READABLE ? ropeway_create_readable : ropeway_create_writable)(
            process->connector, one->given, one->piece_count, &options, &handle);
    made(one, error, handle);
    if (!is_usable(one)) {
        return;
    }
    one->users++;
    error = ropeway_operation_metadata(one->handle, &text);
    if (error == ROPEWAY_OK) {
        size_t size = strlen(text) + 1;

        one->metadata = memcpy(sim_take(size), text, size);
    } else {
        sim_check_refused(one, error);
    }
    one->users--;
}

/* Sizes that go with the offer, or, by mistake, do not. */
static void fit_sizes(sim_random_t *random, sim_operation_t *one, const sim_operation_t *other) {
    one->count = other->count;
    memcpy(one->sizes, other->sizes, sizeof one->sizes);
    one->prefix = sim_chance(random, 150);
    if (one->prefix) {
        one->count = (size_t)sim_between(random, 1, other->count);
        for (size_t i = 0; i < one->count; i++) {
            if (sim_chance(random, 500)) {
                one->sizes[i] = (size_t)sim_below(random, one->sizes[i] + 1);
            }
        }
    }
    if (sim_may(SIM_MISUSE) && sim_chance(random, 30)) {
        one->wrong = true;
        if (sim_chance(random, 500) && other->count < 6) {
            one->count = other->count + 1;
            one->sizes[one->count - 1] = 5;
        } else {
            one->sizes[0] = other->sizes[0] + 1;
        }
    }
}

/* The text; of a forged one the key is nobody's. */
static char *copy_metadata(sim_operation_t *one) {
    size_t size = strlen(one->offer->metadata) + 1;
    char *text = memcpy(sim_take(size), one->offer->metadata, size);
    char *key = strstr(text, "notification_key\":\"");

    if (one->forged && key != NULL) {
        key += strlen("notification_key\":\"");
        *key = *key == '0' ? '1' : '0';
    }
    return text;
}

static void begin(sim_actor_t *actor) {
    sim_process_t *process = actor->process;
    sim_operation_t *other = choose_offer(&actor->random, process), *one;
    ropeway_operation_options_t options;
    ropeway_operation_kind_t kind;
    ropeway_operation_t *handle = NULL;
    ropeway_error_t error;
    char *text;

    if (other == NULL) {
        return;
    }
    kind = other->kind == ROPEWAY_OPERATION_READABLE ? ROPEWAY_OPERATION_READ
                                                     : ROPEWAY_OPERATION_WRITE;
    if (sim_may(SIM_MISUSE) && sim_chance(&actor->random, 20)) {
        kind = kind == ROPEWAY_OPERATION_READ ? ROPEWAY_OPERATION_WRITE : ROPEWAY_OPERATION_READ;
    }
    one = record(process, kind);
    if (one == NULL) {
        return;
    }
    one->offer = other;
    one->wrong = (kind == ROPEWAY_OPERATION_READ) != (other->kind == ROPEWAY_OPERATION_READABLE);
    one->forged = sim_may(SIM_MISUSE) && sim_chance(&actor->random, 20);
    fit_sizes(&actor->random, one, other);
    if (!place_memory(&actor->random, one)) {
        discard(one);
        return;
    }
    if (!one->wrong && !one->forged) {
        other->taken++;
    }
    fill_options(&actor->random, one, &options);
    sim_note("%u is begun on %u of %s: %s%s%s%s%s, %zu pieces, %llu bytes%s", one->number,
             other->number, other->process->name, sim_kind_name(kind),
             one->prefix ? ", a prefix" : "", one->integrity ? ", with integrity" : "",
             one->wrong ? ", which does not fit" : "", one->forged ? ", with a forged key" : "",
             one->piece_count, (unsigned long long)one->total,
             one->on_device ? ", of a device" : "");
    text = copy_metadata(one);
    error = (kind == ROPEWAY_OPERATION_READ ? ropeway_begin_read : ropeway_begin_write)(
        process->connector, text, strlen(text), one->given, one->piece_count, &options, &handle);
    sim_give(text);
    if (one->wrong && error == ROPEWAY_OK) {
        sim_fail("%u was begun, and does not fit", one->number);
    }
    made(one, error, handle);
}

/* ---- acting ---- */

static void ask(sim_operation_t *one) {
    uint64_t done, total;
    char path[64];

    one->users++;
    sim_check_answers(one);
    ropeway_operation_progress(one->handle, &done, &total);
    if (done > total || total > one->total) {
        sim_fail("%u has moved %llu of %llu bytes", one->number, (unsigned long long)done,
                 (unsigned long long)total);
    }
    ropeway_operation_peer(one->handle);
    ropeway_operation_path(one->handle, path, sizeof path);
    one->users--;
}

/* The process's operation with this handle; NULL: it is being released or made. */
static sim_operation_t *find_by_handle(const sim_process_t *process,
                                       const ropeway_operation_t *handle) {
    for (unsigned i = 0; i < sim_operation_count; i++) {
        sim_operation_t *one = sim_operations[i];

        if (one->process == process && is_usable(one) && one->handle == handle) {
            return one;
        }
    }
    return NULL;
}

static void drain(sim_process_t *process) {
    ropeway_operation_t *operations[3];
    unsigned releases = process->releases + process->at_release;
    size_t count = ropeway_connector_drain(process->connector, operations, 3);
    /* When one was released meanwhile another one may be in its place. */
    bool unsure = process->releases != releases;

    process->lost_count |= unsure;
    for (size_t i = 0; i < count && !unsure; i++) {
        sim_operation_t *one = find_by_handle(process, operations[i]);

        process->lost_count |= one == NULL; /* it ended before its begin has returned */
        if (one != NULL && (!one->notify || !one->ended || ++one->drained > 1)) {
            sim_fail("%u is drained %u times, or should not be", one->number, one->drained);
        }
    }
}

/* Registers a region, or releases what is registered. */
static void register_one(sim_actor_t *actor) {
    sim_process_t *process = actor->process;
    ropeway_memory_t **place = &process->memories[sim_below(&actor->random, SIM_MEMORIES)];
    const sim_region_t *region =
        &sim.regions[process->slot][sim_below(&actor->random, SIM_REGIONS)];
    ropeway_memory_t *memory = *place;
    ropeway_error_t error;

    if (memory != NULL) {
        *place = NULL;
        ropeway_memory_release(memory);
    } else if (region->background != 0) { /* used in this schedule */
        error = ropeway_memory_register(process->connector, region->memory, region->size,
                                        (ropeway_device_t){ROPEWAY_DEVICE_HOST, 0}, &memory);
        sim_note("a region is registered: %s", ropeway_error_name(error));
        if (error != ROPEWAY_OK && process->last[SIM_SHORTAGES] == 0) {
            sim_fail("memory can't be registered: %s", ropeway_last_error());
        }
        if (error == ROPEWAY_OK && *place == NULL && !process->is_done) {
            *place = memory;
        } else if (error == ROPEWAY_OK) {
            ropeway_memory_release(memory);
        }
    }
}

/* A user who changes what is being sent, where that is found. */
static void spoil(sim_operation_t *one) {
    if (one->is_sender && one->integrity && !one->ended && one->total > 0 && one->region != NULL &&
        !one->releasing) {
        for (size_t i = 0; i < one->piece_count; i++) {
            if (one->pieces[i].size > 0) {
                *(uint8_t *)one->pieces[i].ptr ^= 0x55;
                break;
            }
        }
        one->spoiled = true;
        sim_note("%u is spoiled", one->number);
    }
}

static void act_on(sim_actor_t *actor, sim_operation_t *one) {
    uint64_t choice = sim_below(&actor->random, 100);

    if (choice < 30 && one->users == 0 && (one->ended || sim_may(SIM_RELEASES)) &&
        (one->ended || sim_chance(&actor->random, 200))) {
        release(one);
    } else if (choice < 45 && (one->ended || sim_may(SIM_CANCELS))) {
        cancel(one);
    } else if (choice < 75) {
        wait_for(one,
                 sim_chance(&actor->random, 300) ? 0 : (int)sim_between(&actor->random, 1, 20));
    } else if (choice < 80 && sim_may(SIM_SPOILERS)) {
        spoil(one);
    } else {
        ask(one);
    }
}

/* Calls that take the connector's handle are over before it is destroyed. */
static void act_with_connector(sim_actor_t *actor, void (*act)(sim_actor_t *)) {
    if (!actor->process->closing) {
        actor->process->calls++;
        act(actor);
        actor->process->calls--;
    }
}

static void drain_own(sim_actor_t *actor) {
    drain(actor->process);
}

static void act(sim_actor_t *actor) {
    uint64_t choice = sim_below(&actor->random, 100);
    sim_operation_t *one;

    if (choice < 22) {
        act_with_connector(actor, offer);
    } else if (choice < 52) {
        act_with_connector(actor, begin);
    } else if (choice < 56) {
        act_with_connector(actor, drain_own);
    } else if (choice < 59) {
        act_with_connector(actor, register_one);
    } else if (choice == 59 && sim_may(SIM_RESTARTS) && sim_chance(&actor->random, 300)) {
        actor->process->leaving = true;
    } else {
        one = choose_own(&actor->random, actor->process);
        if (one != NULL) {
            act_on(actor, one);
        }
    }
}

static void act_in_callback(sim_operation_t *one) {
    sim_actor_t actor = {.process = one->process,
                         .random = sim_random_for(sim.seed, 1000 + one->number)};

    if (sim_chance(&actor.random, 250) && one->users == 0 && !one->releasing) {
        release(one);
    } else if (sim_chance(&actor.random, 300) && !one->process->leaving &&
               one->process->budget > 0) {
        one->process->budget--;
        act(&actor);
    }
}

void *sim_user(void *argument) {
    sim_process_t *process = argument;
    sim_actor_t actor = {.process = process,
                         .random =
                             sim_random_for(sim.seed, 100 + process->number * 10 + process->users)};

    while (!process->leaving && process->budget > 0 && !sim.is_calm) {
        process->budget--;
        act(&actor);
        if (sim_chance(&actor.random, 300)) {
            sim_sleep(
                sim_below(&actor.random, sim_chance(&actor.random, 900) ? SIM_MS : 30 * SIM_MS));
        } else {
            sim_pause();
        }
    }
    process->users--;
    return NULL;
}

/* ---- the end ---- */

static bool is_unused(const void *argument) {
    const sim_operation_t *one = argument;

    return one->users == 0 && (!one->releasing || one->released);
}

/* How long it may take to end by itself, in milliseconds. */
static int patience(const sim_operation_t *one) {
    return (int)(one->stall_ms + one->deadline_ms + 3 * one->process->options.quiet_ms + 12000);
}

/* Each that asked for it is on the event queue, once. */
static void drain_all(sim_process_t *process) {
    ropeway_operation_t *operations[8];
    unsigned releases = process->releases + process->at_release;
    uint64_t began = sim.now;
    size_t count;

    while ((count = ropeway_connector_drain(process->connector, operations, 8)) > 0) {
        for (size_t i = 0; i < count; i++) {
            sim_operation_t *one = find_by_handle(process, operations[i]);

            if (one != NULL) {
                one->drained++;
            }
        }
    }
    /* A handler may have taken some, and not have counted them yet. */
    process->lost_count |= process->releases != releases || process->calls > 0;
    for (unsigned i = 0; i < sim_operation_count && !process->lost_count; i++) {
        const sim_operation_t *one = sim_operations[i];

        if (one->process == process && one->connector == process->connector && is_usable(one) &&
            one->ended && one->ended_at < began && one->drained != (one->notify ? 1 : 0)) {
            sim_fail("%u was drained %u times", one->number, one->drained);
        }
    }
}

void sim_users_finish(sim_process_t *process) {
    if (process->connector != NULL && process->calls == 0 && !process->closing) {
        drain_all(process);
    }
    process->is_done = true;
    for (unsigned i = 0; i < SIM_MEMORIES && process->connector != NULL; i++) {
        ropeway_memory_release(process->memories[i]);
        process->memories[i] = NULL;
    }
    for (unsigned i = 0; i < sim_operation_count; i++) {
        sim_operation_t *one = sim_operations[i];

        if (one->process != process || one->released || one->handle == NULL) {
            continue;
        }
        sim_wait(is_unused, one, RW_NEVER);
        if (one->released) {
            continue;
        }
        if (sim.is_calm && sim_must_end(one) && !one->ended) {
            if (wait_for(one, patience(one)) == ROPEWAY_ERR_TIMEOUT) {
                sim_fail("%u does not end", one->number);
            }
        }
        sim_wait(is_unused, one, RW_NEVER);
        if (!one->released) {
            release(one);
        }
    }
}

void sim_workload_reset(void) {
    for (unsigned i = 0; i < sim_operation_count; i++) {
        if (sim_operations[i]->metadata != NULL) {
            sim_give(sim_operations[i]->metadata);
        }
        sim_give(sim_operations[i]);
    }
    sim_operation_count = 0;
}
