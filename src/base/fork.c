/* SPDX-License-Identifier: Apache-2.0 */
/* Tells a forked child from its parent, without a system call per check. */
#include "base/env.h"

#include <pthread.h>
#include <stdatomic.h>

static atomic_uint generation = 1;
static atomic_uint connectors;
static atomic_bool inherited; /* the parent had a connector when this process was forked */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void in_child(void) {
    atomic_fetch_add(&generation, 1);
    if (atomic_exchange(&connectors, 0) > 0) {
        atomic_store(&inherited, true);
    }
}

static void watch(void) {
    pthread_atfork(NULL, NULL, in_child);
}

void rw_process_count(int change) {
    atomic_fetch_add(&connectors, (unsigned)change);
}

bool rw_process_is_fit(void) {
    return !atomic_load(&inherited);
}

unsigned rw_process_generation(void) {
    pthread_once(&once, watch);
    return atomic_load_explicit(&generation, memory_order_relaxed);
}
