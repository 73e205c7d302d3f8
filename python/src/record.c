/* SPDX-License-Identifier: Apache-2.0 */
/* Records: what Python holds of an operation, and how it waits for one. */
#include "core.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>

/* How long a wait stays in the library, which spins a little and wakes fast, before it moves to
 * poll(), which a signal interrupts. */
#define UNINTERRUPTED_MS 20

static record_t *ended_records; /* abandoned and ended; guarded by rw_py_lock() */
static atomic_bool sweep_due;

static bool parse_backs(record_t *record, PyObject *back) {
    Py_ssize_t count = back == NULL || back == Py_None ? 0 : PyList_Size(back);

    if (count < 0) {
        return false;
    }
    if (count == 0) {
        return true;
    }
    record->back = calloc((size_t)count, sizeof *record->back);
    if (record->back == NULL) {
        PyErr_NoMemory();
        return false;
    }
    record->backs = (size_t)count;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (!rw_py_strided_parse(PyList_GetItem(back, i), &record->back[i])) {
            return false;
        }
    }
    return true;
}

record_t *rw_py_record_new(PyObject *keep, PyObject *back) {
    record_t *record = calloc(1, sizeof *record);

    if (record == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    atomic_init(&record->ended, false);
    record->keep = Py_NewRef(keep);
    if (!parse_backs(record, back)) {
        rw_py_record_free(record);
        return NULL;
    }
    return record;
}

static int sweep_later(void *unused) {
    (void)unused;
    rw_py_record_sweep();
    return 0;
}

/* Runs on the library's thread for callbacks, without the GIL. */
void rw_py_record_on_end(ropeway_operation_t *operation, void *argument) {
    record_t *record = argument;
    waiter_t *waiter, **kept = &record->waiters;
    bool abandoned;

    if (ropeway_operation_status(operation) == ROPEWAY_STATUS_COMPLETE) {
        for (size_t i = 0; i < record->backs; i++) {
            rw_py_scatter(&record->back[i]);
        }
    }
    rw_py_lock();
    atomic_store(&record->ended, true);
    while ((waiter = *kept) != NULL) {
        waiter_t *next = waiter->next;

        if (rw_py_port_put_locked(waiter->port, waiter)) {
            *kept = next;
        } else {
            kept = &waiter->next;
        }
    }
    abandoned = record->abandoned;
    if (abandoned) {
        record->next = ended_records;
        ended_records = record;
        atomic_store(&sweep_due, true);
    }
    rw_py_unlock();
    if (abandoned) {
        /* A full queue is no harm: the next call into this module sweeps as well. */
        (void)Py_AddPendingCall(sweep_later, NULL);
    }
}

/* A strided target is complete when its elements are in place. */
ropeway_status_t rw_py_record_status(const record_t *record) {
    ropeway_status_t status = ropeway_operation_status(record->handle);

    if (status == ROPEWAY_STATUS_COMPLETE && record->backs > 0 && !atomic_load(&record->ended)) {
        return ROPEWAY_STATUS_IN_PROGRESS;
    }
    return status;
}

bool rw_py_record_add(record_t *record, waiter_t *waiter) {
    bool live;

    rw_py_lock();
    live = !atomic_load(&record->ended);
    if (live) {
        waiter->next = record->waiters;
        record->waiters = waiter;
    }
    rw_py_unlock();
    return live;
}

bool rw_py_record_remove(record_t *record, const port_t *port, const PyObject *what) {
    waiter_t *removed = NULL, *waiter;
    bool found;

    rw_py_lock();
    for (waiter_t **at = &record->waiters; (waiter = *at) != NULL;) {
        if (waiter->port == port && waiter->what == what) {
            *at = waiter->next;
            waiter->next = removed;
            removed = waiter;
        } else {
            at = &waiter->next;
        }
    }
    rw_py_unlock();
    found = removed != NULL;
    rw_py_waiters_free(removed);
    return found;
}

/* ---- waiting in a thread ---- */

static double seconds(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int left_ms(double due) {
    double left = due < 0 ? INT_MAX : (due - seconds()) * 1e3;

    return left >= INT_MAX ? -1 : left <= 0 ? 0 : (int)left + 1;
}

/* Until the port has something, or this process is the child of a fork that a signal's handler
 * made; -1 when the handler raised. */
static int poll_port(const port_t *port, double due) {
    unsigned generation = rw_py_generation();

    for (;;) {
        struct pollfd entry = {.fd = rw_py_port_fd(port), .events = POLLIN};
        int timeout = left_ms(due);
        int ready, number;

        Py_BEGIN_ALLOW_THREADS;
        ready = poll(&entry, 1, timeout);
        number = errno;
        Py_END_ALLOW_THREADS;
        if (ready < 0 && number == EINTR) {
            if (PyErr_CheckSignals() < 0) {
                return -1;
            }
            if (rw_py_generation() != generation) {
                return 0;
            }
            continue;
        }
        if (ready != 0 || timeout == 0) {
            return 0;
        }
    }
}

static int wait_interruptibly(record_t *record, double due) {
    port_t *port = rw_py_port_new();
    waiter_t *waiter = port == NULL ? NULL : calloc(1, sizeof *waiter);
    int result;

    if (waiter == NULL) {
        if (port != NULL) {
            rw_py_port_drop(port);
            PyErr_NoMemory();
        }
        return -1;
    }
    rw_py_port_hold(port);
    waiter->port = port;
    if (!rw_py_record_add(record, waiter)) {
        rw_py_waiters_free(waiter);
        rw_py_port_drop(port);
        return 0;
    }
    result = poll_port(port, due);
    if (!rw_py_record_remove(record, port, NULL)) {
        rw_py_waiters_free(waiter); /* it was moved to the port's queue */
    }
    rw_py_port_drop(port);
    return result;
}

int rw_py_record_wait(record_t *record, double timeout) {
    double due = timeout < 0 ? -1 : seconds() + timeout;
    int first = left_ms(due);
    int error;

    first = first < 0 || first > UNINTERRUPTED_MS ? UNINTERRUPTED_MS : first;
    Py_BEGIN_ALLOW_THREADS;
    error = (int)ropeway_operation_wait(record->handle, first);
    Py_END_ALLOW_THREADS;
    if (error == ROPEWAY_ERR_FORKED) {
        return error;
    }
    if ((error == ROPEWAY_ERR_TIMEOUT || record->backs > 0) && !atomic_load(&record->ended) &&
        wait_interruptibly(record, due) < 0) {
        return -1;
    }
    if (rw_py_record_status(record) < ROPEWAY_STATUS_COMPLETE) {
        error = (int)ropeway_operation_wait(record->handle, 0);
        return error == ROPEWAY_ERR_FORKED ? error : ROPEWAY_ERR_TIMEOUT;
    }
    return (int)ropeway_operation_error(record->handle);
}

/* ---- the end of a record ---- */

void rw_py_record_free(record_t *record) {
    PyObject *keep = record->keep;

    rw_py_waiters_free(record->waiters);
    free(record->back);
    free(record);
    Py_DECREF(keep);
}

/* The release waits for on_end(), and so for those of other operations before it. */
static void give_back(record_t *record) {
    ropeway_operation_t *handle = record->handle;

    record->handle = NULL;
    Py_BEGIN_ALLOW_THREADS;
    ropeway_operation_release(handle);
    Py_END_ALLOW_THREADS;
    rw_py_record_free(record);
}

void rw_py_record_abandon(record_t *record) {
    bool ended;

    /* One that has its outcome gives its memory back now, also if on_end() is still to run. */
    if ((!atomic_load(&record->ended) &&
         ropeway_operation_cancel(record->handle) == ROPEWAY_ERR_FORKED) ||
        ropeway_operation_status(record->handle) >= ROPEWAY_STATUS_COMPLETE) {
        give_back(record);
        return;
    }
    rw_py_lock();
    ended = atomic_load(&record->ended);
    record->abandoned = !ended;
    rw_py_unlock();
    if (ended) {
        give_back(record);
    }
}

void rw_py_record_sweep(void) {
    record_t *records;

    rw_py_log_deliver();
    if (!atomic_load(&sweep_due)) {
        return;
    }
    rw_py_lock();
    records = ended_records;
    ended_records = NULL;
    atomic_store(&sweep_due, false);
    rw_py_unlock();
    while (records != NULL) {
        record_t *next = records->next;

        give_back(records);
        records = next;
    }
}
