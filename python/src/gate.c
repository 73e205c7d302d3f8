/* SPDX-License-Identifier: Apache-2.0 */
/* Gates count who is inside of a handle, so that it is given back when nobody is. */
#include "core.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t left = PTHREAD_COND_INITIALIZER;
static atomic_uint generation; /* how many forks lie between this process and the first */

void rw_py_lock(void) {
    pthread_mutex_lock(&mutex);
}

void rw_py_unlock(void) {
    pthread_mutex_unlock(&mutex);
}

/* A thread of the library's in the parent may have been waiting at the moment of the fork. */
static void in_child(void) {
    pthread_cond_init(&left, NULL);
    atomic_fetch_add(&generation, 1);
    rw_py_log_forget_locked();
    pthread_mutex_unlock(&mutex);
}

unsigned rw_py_generation(void) {
    return atomic_load_explicit(&generation, memory_order_relaxed);
}

/* Of the parent's threads that were inside at the fork none goes on here. */
static void forget_the_parents(gate_t *gate) {
    unsigned now = rw_py_generation();

    if (gate->generation != now) {
        gate->generation = now;
        gate->users = 0;
    }
}

int rw_py_gate_init(void) {
    static bool done;

    if (!done && pthread_atfork(rw_py_lock, rw_py_unlock, in_child) != 0) {
        PyErr_NoMemory();
        return -1;
    }
    done = true;
    return 0;
}

bool rw_py_gate_enter(gate_t *gate) {
    bool open;

    rw_py_lock();
    forget_the_parents(gate);
    open = !gate->closing;
    gate->users += open;
    rw_py_unlock();
    return open;
}

void rw_py_gate_leave(gate_t *gate) {
    rw_py_lock();
    forget_the_parents(gate);
    /* A signal's handler may have forked while this thread was inside. */
    gate->users -= gate->users > 0;
    if (gate->closing && gate->users == 0) {
        pthread_cond_broadcast(&left);
    }
    rw_py_unlock();
}

bool rw_py_gate_shut(gate_t *gate) {
    bool first;

    rw_py_lock();
    first = !gate->closing;
    gate->closing = true;
    rw_py_unlock();
    return first;
}

void rw_py_gate_wait(gate_t *gate) {
    rw_py_lock();
    forget_the_parents(gate);
    while (gate->users > 0) {
        pthread_cond_wait(&left, &mutex);
    }
    rw_py_unlock();
}
