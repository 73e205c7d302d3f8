/* SPDX-License-Identifier: Apache-2.0 */
/* Tells a forked child from its parent, without a system call per check, and closes in it what it
 * should not have. */
#include "base/env.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_uint generation = 1;
static atomic_uint connectors;
static atomic_bool inherited; /* the parent had a connector when this process was forked */
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* By number: whether it is to be closed in children. Locked for the time of a fork, too. */
static pthread_mutex_t owned_lock = PTHREAD_MUTEX_INITIALIZER;
static bool *owned;
static size_t owned_size;

static void before_fork(void) {
    pthread_mutex_lock(&owned_lock);
}

static void in_parent(void) {
    pthread_mutex_unlock(&owned_lock);
}

static void in_child(void) {
    for (size_t i = 0; i < owned_size; i++) {
        if (owned[i]) {
            close((int)i);
            owned[i] = false;
        }
    }
    pthread_mutex_unlock(&owned_lock);
    atomic_fetch_add(&generation, 1);
    if (atomic_exchange(&connectors, 0) > 0) {
        atomic_store(&inherited, true);
    }
}

static void watch(void) {
    pthread_atfork(before_fork, in_parent, in_child);
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

/* Makes room for this number. */
static bool reach(size_t number) {
    size_t size = (number + 1) * 2;
    bool *larger;

    if (number < owned_size) {
        return true;
    }
    larger = realloc(owned, size * sizeof *larger);
    if (larger == NULL) {
        return false;
    }
    memset(larger + owned_size, 0, (size - owned_size) * sizeof *larger);
    owned = larger;
    owned_size = size;
    return true;
}

bool rw_process_own(int descriptor) {
    bool known;

    pthread_mutex_lock(&owned_lock);
    known = reach((size_t)descriptor);
    if (known) {
        owned[descriptor] = true;
    }
    pthread_mutex_unlock(&owned_lock);
    return known;
}

void rw_process_close(int descriptor) {
    pthread_mutex_lock(&owned_lock);
    if ((size_t)descriptor < owned_size) {
        owned[descriptor] = false;
    }
    close(descriptor);
    pthread_mutex_unlock(&owned_lock);
}
