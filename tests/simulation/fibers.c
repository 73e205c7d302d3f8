/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads, mutexes and conditions as the library sees them, and the scheduler: one fiber runs at a
 * time, until it waits or is interrupted at a point where a real thread could be. The functions of
 * pthread.h that the library calls are replaced when it is linked.
 */
#include "simulation.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__x86_64__) && !defined(SIM_UCONTEXT)
#define BY_HAND 1 /* without a system call for each switch */
#else
#include <ucontext.h>
#endif

#define STACK ((size_t)256 << 10)
#define FIBERS 512 /* in one schedule */

typedef enum sim_state {
    SIM_READY,
    SIM_LOCKING, /* object: the mutex */
    SIM_WAITING, /* object: the condition */
    SIM_POLLING, /* object: the descriptor of an epoll */
    SIM_JOINING, /* object: the fiber */
    SIM_ASKING,  /* until is_over(object) */
    SIM_ENDED
} sim_state_t;

struct sim_fiber {
    sim_process_t *process;
    void *(*run)(void *);
    void *argument;
    const char *what;
    unsigned number;
    sim_state_t state;
    const void *object;
    bool (*is_over)(const void *);
    uint64_t due; /* of the process's clock; RW_NEVER: none */
    bool signalled;
    char *stack;
#ifdef BY_HAND
    void *pointer; /* of the stack */
#else
    ucontext_t context;
#endif
    void *fake; /* of the address sanitizer */
};

static sim_fiber_t fibers[FIBERS];
static unsigned fiber_count;
static char *stacks[FIBERS]; /* unused ones */
static unsigned stack_count;
static const void *main_stack; /* for the address sanitizer */
static size_t main_size;

/* ---- switching ---- */

#ifdef BY_HAND
static void *main_pointer;

void sim_switch(void **save, void *load);
__asm__(".text\n.globl sim_switch\n.type sim_switch, @function\nsim_switch:\n"
        "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
        "movq %rsp, (%rdi)\nmovq %rsi, %rsp\n"
        "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n"
        ".size sim_switch, . - sim_switch\n");
#else
static ucontext_t main_context;
#endif

static void begin_switch(void **fake, const void *stack, size_t size) {
#ifdef WITH_ASAN
    __sanitizer_start_switch_fiber(fake, stack, size);
#else
    (void)fake, (void)stack, (void)size;
#endif
}

static void end_switch(void *fake, const void **stack, size_t *size) {
#ifdef WITH_ASAN
    __sanitizer_finish_switch_fiber(fake, stack, size);
#else
    (void)fake, (void)stack, (void)size;
#endif
}

static void to_scheduler(sim_fiber_t *fiber) {
    begin_switch(fiber->state == SIM_ENDED ? NULL : &fiber->fake, main_stack, main_size);
#ifdef BY_HAND
    sim_switch(&fiber->pointer, main_pointer);
#else
    swapcontext(&fiber->context, &main_context);
#endif
    end_switch(fiber->fake, &main_stack, &main_size);
}

static void to_fiber(sim_fiber_t *fiber) {
    void *fake = NULL;

    sim.current = fiber;
    begin_switch(&fake, fiber->stack, STACK);
#ifdef BY_HAND
    sim_switch(&main_pointer, fiber->pointer);
#else
    swapcontext(&main_context, &fiber->context);
#endif
    end_switch(fake, NULL, NULL);
    sim.current = NULL;
}

static void enter(void) {
    sim_fiber_t *fiber = sim.current;

    end_switch(NULL, &main_stack, &main_size);
    fiber->run(fiber->argument);
    fiber->state = SIM_ENDED;
    to_scheduler(fiber);
    abort();
}

static char *take_stack(void) {
    char *stack;

    if (stack_count > 0) {
        stack = stacks[--stack_count];
    } else {
        stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (stack == MAP_FAILED) {
            sim_fail("out of memory for a stack");
        }
    }
#ifdef WITH_ASAN
    __asan_unpoison_memory_region(stack, STACK);
#endif
    return stack;
}

static void give_stack(sim_fiber_t *fiber) {
    if (fiber->stack != NULL) {
        stacks[stack_count++] = fiber->stack;
        fiber->stack = NULL;
    }
}

static void prepare(sim_fiber_t *fiber) {
#ifdef BY_HAND
    void **top = (void **)(fiber->stack + STACK);

    top[-1] = NULL;
    top[-2] = (void *)enter;
    memset(top - 8, 0, 6 * sizeof *top); /* the registers that a switch restores */
    fiber->pointer = top - 8;
#else
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack;
    fiber->context.uc_stack.ss_size = STACK;
    makecontext(&fiber->context, enter, 0);
#endif
}

sim_fiber_t *sim_spawn(sim_process_t *process, void *(*run)(void *), void *argument,
                       const char *what) {
    sim_fiber_t *fiber = &fibers[fiber_count];

    if (fiber_count == FIBERS) {
        sim_fail("more than %d fibers in one schedule", FIBERS);
    }
    *fiber = (sim_fiber_t){.process = process,
                           .run = run,
                           .argument = argument,
                           .what = what,
                           .number = fiber_count++,
                           .due = RW_NEVER,
                           .stack = take_stack()};
    prepare(fiber);
    return fiber;
}

/* ---- the scheduler ---- */

sim_process_t *sim_here(void) {
    return sim.current != NULL ? sim.current->process : NULL;
}

static sim_fiber_t *owner_of(const pthread_mutex_t *mutex) {
    sim_fiber_t *owner;

    memcpy(&owner, mutex, sizeof(void *));
    return owner;
}

static void set_owner(pthread_mutex_t *mutex, sim_fiber_t *owner) {
    memcpy(mutex, &owner, sizeof(void *));
}

bool sim_mutex_is_free(const pthread_mutex_t *mutex) {
    return owner_of(mutex) == NULL;
}

static bool can_run(const sim_fiber_t *fiber) {
    const sim_process_t *process = fiber->process;

    if (fiber->state == SIM_ENDED || !process->alive || process->stopped) {
        return false;
    }
    if (fiber->due != RW_NEVER && fiber->due <= sim_clock(process)) {
        return true;
    }
    switch (fiber->state) {
    case SIM_LOCKING:
        return owner_of(fiber->object) == NULL;
    case SIM_WAITING:
        return fiber->signalled;
    case SIM_POLLING:
        return sim_epoll_is_ready((int)(intptr_t)fiber->object);
    case SIM_JOINING:
        return ((const sim_fiber_t *)fiber->object)->state == SIM_ENDED;
    case SIM_ASKING:
        return fiber->is_over != NULL && fiber->is_over(fiber->object);
    default:
        return true;
    }
}

bool sim_fibers_turn(void) {
    sim_fiber_t *ready[FIBERS], *chosen;
    unsigned count = 0;

    for (unsigned i = 0; i < fiber_count; i++) {
        if (fibers[i].state != SIM_ENDED && can_run(&fibers[i])) {
            ready[count++] = &fibers[i];
        }
    }
    if (count == 0) {
        return false;
    }
    chosen = ready[sim_below(&sim.schedule, count)];
    chosen->process->touched = true;
    to_fiber(chosen);
    for (unsigned i = 0; i < fiber_count; i++) {
        if (fibers[i].state == SIM_ENDED) {
            give_stack(&fibers[i]);
        }
    }
    return true;
}

uint64_t sim_fibers_due(void) {
    uint64_t first = RW_NEVER;

    for (unsigned i = 0; i < fiber_count; i++) {
        const sim_fiber_t *fiber = &fibers[i];
        uint64_t due = RW_NEVER;

        if (fiber->state == SIM_ENDED || !fiber->process->alive || fiber->process->stopped) {
            continue;
        }
        if (fiber->due != RW_NEVER) {
            due = fiber->due > fiber->process->offset ? fiber->due - fiber->process->offset : 0;
        }
        if (fiber->state == SIM_POLLING) {
            uint64_t event = sim_epoll_due((int)(intptr_t)fiber->object);

            due = event < due ? event : due;
        }
        first = due < first ? due : first;
    }
    return first;
}

bool sim_fibers_any(void) {
    for (unsigned i = 0; i < fiber_count; i++) {
        if (fibers[i].state != SIM_ENDED) {
            return true;
        }
    }
    return false;
}

void sim_fibers_print(void) {
    static const char *const states[] = {"is ready",
                                         "waits for a lock",
                                         "waits for a condition",
                                         "waits for descriptors",
                                         "joins a thread",
                                         "waits for the simulation"};

    for (unsigned i = 0; i < fiber_count; i++) {
        const sim_fiber_t *fiber = &fibers[i];

        if (fiber->state != SIM_ENDED) {
            printf("  %s: %s %s%s\n", fiber->process->name, fiber->what, states[fiber->state],
                   fiber->process->stopped ? " (stopped)" : "");
        }
    }
}

void sim_fibers_kill(const sim_process_t *process) {
    for (unsigned i = 0; i < fiber_count; i++) {
        if (fibers[i].process == process && fibers[i].state != SIM_ENDED) {
            fibers[i].state = SIM_ENDED;
            give_stack(&fibers[i]);
        }
    }
}

void sim_fibers_reset(void) {
    for (unsigned i = 0; i < fiber_count; i++) {
        give_stack(&fibers[i]);
    }
    fiber_count = 0;
}

bool sim_fiber_has_ended(const sim_fiber_t *fiber) {
    return fiber->state == SIM_ENDED;
}

/* ---- waiting ---- */

static void block(sim_state_t state, const void *object, uint64_t due) {
    sim_fiber_t *fiber = sim.current;

    fiber->state = state;
    fiber->object = object;
    fiber->due = due;
    fiber->signalled = false;
    to_scheduler(fiber);
    fiber->state = SIM_READY;
    fiber->due = RW_NEVER;
}

void sim_pause(void) {
    if (sim.current != NULL) {
        block(SIM_READY, NULL, RW_NEVER);
    }
}

void sim_maybe_pause(void) {
    if (sim.current != NULL && sim.turns > 0 && sim_chance(&sim.schedule, sim.turns)) {
        sim_pause();
    }
}

void sim_wait(bool (*is_over)(const void *), const void *argument, uint64_t due) {
    if (is_over != NULL && is_over(argument)) {
        return;
    }
    sim.current->is_over = is_over;
    block(SIM_ASKING, argument, due);
}

void sim_sleep(uint64_t nanoseconds) {
    sim_wait(NULL, NULL, sim_clock(sim.current->process) + nanoseconds);
}

void sim_poll(int epoll, uint64_t due);
void sim_poll(int epoll, uint64_t due) {
    block(SIM_POLLING, (const void *)(intptr_t)epoll, due);
}

/* ---- what the library calls ---- */

int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes);
int __wrap_pthread_mutex_destroy(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attributes);
int __wrap_pthread_cond_destroy(pthread_cond_t *condition);
int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex);
int __wrap_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                                  const struct timespec *until);
int __wrap_pthread_cond_signal(pthread_cond_t *condition);
int __wrap_pthread_cond_broadcast(pthread_cond_t *condition);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *argument);
int __wrap_pthread_join(pthread_t thread, void **result);
pthread_t __wrap_pthread_self(void);
int __wrap_pthread_sigmask(int how, const sigset_t *set, sigset_t *before);
int __wrap_sched_yield(void);

int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes) {
    (void)attributes;
    memset(mutex, 0, sizeof(pthread_mutex_t));
    return 0;
}

int __wrap_pthread_mutex_destroy(pthread_mutex_t *mutex) {
    if (owner_of(mutex) != NULL) {
        sim_fail("a mutex is destroyed that somebody has");
    }
    return 0;
}

static sim_fiber_t nobody; /* has the mutexes that the scheduler takes */

static sim_fiber_t *me(void) {
    return sim.current != NULL ? sim.current : &nobody;
}

int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex) {
    sim_maybe_pause();
    if (owner_of(mutex) != NULL) {
        return EBUSY;
    }
    set_owner(mutex, me());
    return 0;
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex) {
    if (owner_of(mutex) == me()) {
        sim_fail("a mutex is taken twice");
    }
    while (owner_of(mutex) != NULL) {
        block(SIM_LOCKING, mutex, RW_NEVER);
    }
    set_owner(mutex, me());
    return 0;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex) {
    if (owner_of(mutex) != me()) {
        sim_fail("a mutex is given back by one who does not have it");
    }
    set_owner(mutex, NULL);
    sim_maybe_pause();
    return 0;
}

int __wrap_pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attributes) {
    (void)attributes;
    memset(condition, 0, sizeof(pthread_cond_t));
    return 0;
}

static sim_fiber_t *waiter_of(const pthread_cond_t *condition, unsigned from) {
    for (unsigned i = 0; i < fiber_count; i++) {
        sim_fiber_t *fiber = &fibers[(from + i) % fiber_count];

        if (fiber->state == SIM_WAITING && fiber->object == condition && !fiber->signalled) {
            return fiber;
        }
    }
    return NULL;
}

int __wrap_pthread_cond_destroy(pthread_cond_t *condition) {
    if (fiber_count > 0 && waiter_of(condition, 0) != NULL) {
        sim_fail("a condition is destroyed that somebody waits for");
    }
    return 0;
}

int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex) {
    if (owner_of(mutex) != me()) {
        sim_fail("a condition is waited for without the mutex");
    }
    set_owner(mutex, NULL);
    block(SIM_WAITING, condition, RW_NEVER);
    return __wrap_pthread_mutex_lock(mutex);
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                                  const struct timespec *until) {
    uint64_t due = (uint64_t)until->tv_sec * 1000000000u + (uint64_t)until->tv_nsec;

    if (owner_of(mutex) != me()) {
        sim_fail("a condition is waited for without the mutex");
    }
    set_owner(mutex, NULL);
    block(SIM_WAITING, condition, due);
    __wrap_pthread_mutex_lock(mutex);
    return sim_clock(sim.current->process) >= due ? ETIMEDOUT : 0;
}

int __wrap_pthread_cond_signal(pthread_cond_t *condition) {
    sim_fiber_t *waiter =
        fiber_count > 0 ? waiter_of(condition, (unsigned)sim_below(&sim.schedule, fiber_count))
                        : NULL;

    if (waiter != NULL) {
        waiter->signalled = true;
    }
    return 0;
}

int __wrap_pthread_cond_broadcast(pthread_cond_t *condition) {
    sim_fiber_t *waiter;

    while (fiber_count > 0 && (waiter = waiter_of(condition, 0)) != NULL) {
        waiter->signalled = true;
    }
    return 0;
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *argument) {
    sim_process_t *process = sim_here();

    (void)attributes;
    if (sim_is_short(process)) {
        return EAGAIN;
    }
    *thread = (pthread_t)sim_spawn(process, run, argument, "a thread of the library");
    sim_maybe_pause();
    return 0;
}

int __wrap_pthread_join(pthread_t thread, void **result) {
    const sim_fiber_t *fiber = (const sim_fiber_t *)thread;

    (void)result;
    if (fiber->state != SIM_ENDED) {
        block(SIM_JOINING, fiber, RW_NEVER);
    }
    return 0;
}

pthread_t __wrap_pthread_self(void) {
    return (pthread_t)me();
}

int __wrap_pthread_sigmask(int how, const sigset_t *set, sigset_t *before) {
    (void)how, (void)set;
    if (before != NULL) {
        sigemptyset(before);
    }
    return 0;
}

int __wrap_sched_yield(void) {
    sim_pause();
    return 0;
}
