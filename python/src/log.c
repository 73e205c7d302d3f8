/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of the library's log on their way to Python's logging. The library's threads, which may
 * hold its locks, only queue them; whoever has the GIL next hands them over. */
#include "core.h"

#include <stdlib.h>
#include <string.h>

#define MOST 256 /* lines that wait; more are counted, and dropped */

typedef struct line {
    struct line *next;
    int level;
    char text[];
} line_t;

/* Guarded by rw_py_lock(). */
static line_t *first, **last = &first;
static unsigned waiting, dropped;
static atomic_bool due;

static PyObject *receiver; /* receiver(level, text); guarded by the GIL */

static int deliver_later(void *unused) {
    (void)unused;
    rw_py_log_deliver();
    return 0;
}

void rw_py_log(void *unused, ropeway_log_level_t level, const char *text) {
    size_t size = strlen(text) + 1;
    line_t *line = malloc(sizeof *line + size);
    bool is_first;

    (void)unused;
    if (line != NULL) {
        line->next = NULL;
        line->level = (int)level;
        memcpy(line->text, text, size);
    }
    rw_py_lock();
    is_first = waiting == 0;
    if (line == NULL || waiting == MOST) {
        dropped++;
        free(line);
    } else {
        *last = line;
        last = &line->next;
        waiting++;
        atomic_store(&due, true);
    }
    rw_py_unlock();
    if (is_first) {
        /* A full queue is no harm: the next call into this module delivers as well. */
        (void)Py_AddPendingCall(deliver_later, NULL);
    }
}

void rw_py_log_forget_locked(void) {
    while (first != NULL) {
        line_t *next = first->next;

        free(first);
        first = next;
    }
    last = &first;
    waiting = dropped = 0;
    atomic_store(&due, false);
}

static void hand_over(int level, const char *text) {
    PyObject *result = PyObject_CallFunction(
        receiver, "(iN)", level, PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace"));

    if (result == NULL) {
        PyErr_WriteUnraisable(receiver);
    }
    Py_XDECREF(result);
}

void rw_py_log_deliver(void) {
    PyObject *kind, *value, *traceback;
    unsigned lost;
    line_t *line;

    if (!atomic_load(&due) || receiver == NULL) {
        return;
    }
    rw_py_lock();
    line = first;
    first = NULL;
    last = &first;
    lost = dropped;
    waiting = dropped = 0;
    atomic_store(&due, false);
    rw_py_unlock();
    PyErr_Fetch(&kind, &value, &traceback);
    while (line != NULL) {
        line_t *next = line->next;

        hand_over(line->level, line->text);
        free(line);
        line = next;
    }
    if (lost > 0) {
        char text[64];

        snprintf(text, sizeof text, "%u more lines of the log were dropped", lost);
        hand_over(ROPEWAY_LOG_WARN, text);
    }
    PyErr_Restore(kind, value, traceback);
}

PyObject *rw_py_set_log(PyObject *module, PyObject *callable) {
    PyObject *old = receiver;

    (void)module;
    receiver = Py_NewRef(callable);
    Py_XDECREF(old);
    Py_RETURN_NONE;
}
