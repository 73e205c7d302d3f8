/* SPDX-License-Identifier: Apache-2.0 */
/* How finished operations reach event loops. */
#include "core.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct port {
    int fd;
    bool closed; /* no Python object any more, and no fd */
    unsigned
        generation; /* of the process that made it: in a fork's child fd is still the parent's */
    unsigned references; /* its Python object, and the waiters that are not queued */
    waiter_t *first, **last;
};

typedef struct port_object {
    PyObject_HEAD port_t *port;
} port_object_t;

port_t *rw_py_port_new(void) {
    port_t *port = calloc(1, sizeof *port);

    if (port == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    port->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (port->fd < 0) {
        free(port);
        PyErr_SetFromErrno(PyExc_OSError);
        return NULL;
    }
    port->generation = rw_py_generation();
    port->references = 1;
    port->last = &port->first;
    return port;
}

int rw_py_port_fd(const port_t *port) {
    return port->fd;
}

void rw_py_port_hold(port_t *port) {
    rw_py_lock();
    port->references++;
    rw_py_unlock();
}

void rw_py_port_drop(port_t *port) {
    bool last;

    rw_py_lock();
    last = --port->references == 0;
    rw_py_unlock();
    if (last) {
        if (!port->closed) {
            close(port->fd);
        }
        free(port);
    }
}

bool rw_py_port_put_locked(port_t *port, waiter_t *waiter) {
    uint64_t one = 1;

    if (port->closed) {
        return false;
    }
    waiter->next = NULL;
    if (port->first == NULL) {
        (void)!write(port->fd, &one, sizeof one);
    }
    *port->last = waiter;
    port->last = &waiter->next;
    return true;
}

static waiter_t *take_locked(port_t *port) {
    waiter_t *waiters = port->first;

    port->first = NULL;
    port->last = &port->first;
    return waiters;
}

static waiter_t *take(port_t *port) {
    waiter_t *waiters;
    uint64_t ignored;

    rw_py_lock();
    waiters = take_locked(port);
    if (waiters != NULL && port->generation == rw_py_generation()) {
        (void)!read(port->fd, &ignored, sizeof ignored);
    }
    rw_py_unlock();
    return waiters;
}

void rw_py_waiters_free(waiter_t *waiters) {
    while (waiters != NULL) {
        waiter_t *next = waiters->next;

        rw_py_port_drop(waiters->port);
        Py_XDECREF(waiters->what);
        free(waiters);
        waiters = next;
    }
}

/* ---- the Python type ---- */

static PyObject *port_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    port_object_t *self;

    if (!PyArg_ParseTuple(args, ":Port") || kwargs != NULL) {
        return NULL;
    }
    self = (port_object_t *)PyType_GenericAlloc(type, 0);
    if (self != NULL) {
        self->port = rw_py_port_new();
        if (self->port == NULL) {
            Py_DECREF(self);
            return NULL;
        }
    }
    return (PyObject *)self;
}

static void port_dealloc(PyObject *object) {
    port_t *port = ((port_object_t *)object)->port;

    if (port != NULL) {
        waiter_t *waiters;

        /* Operations that live on may hold it for long; the fd goes at once. */
        rw_py_lock();
        port->closed = true;
        close(port->fd);
        waiters = take_locked(port);
        rw_py_unlock();
        rw_py_waiters_free(waiters);
        rw_py_port_drop(port);
    }
    rw_py_free(object);
}

port_t *rw_py_port_of(PyObject *object) {
    return ((port_object_t *)object)->port;
}

static PyObject *port_fileno(PyObject *self, PyObject *unused) {
    (void)unused;
    return PyLong_FromLong(rw_py_port_of(self)->fd);
}

static PyObject *port_drain(PyObject *self, PyObject *unused) {
    PyObject *list = PyList_New(0);
    waiter_t *waiters = take(rw_py_port_of(self));

    (void)unused;
    for (waiter_t *waiter = waiters; waiter != NULL && list != NULL; waiter = waiter->next) {
        if (PyList_Append(list, waiter->what) < 0) {
            Py_CLEAR(list);
        }
    }
    rw_py_waiters_free(waiters);
    rw_py_record_sweep();
    return list;
}

static PyMethodDef methods[] = {
    {"fileno", port_fileno, METH_NOARGS, "A descriptor that is readable while drain() has news."},
    {"drain", port_drain, METH_NOARGS, "What was given to Operation.arm(), of ended operations."},
    {NULL, NULL, 0, NULL}};

int rw_py_port_type(PyObject *module) {
    static PyType_Slot slots[] = {
        {Py_tp_new, port_new}, {Py_tp_dealloc, port_dealloc}, {Py_tp_methods, methods}, {0, NULL}};
    static PyType_Spec spec = {"ropeway._core.Port", sizeof(port_object_t), 0, Py_TPFLAGS_DEFAULT,
                               slots};

    return rw_py_type(module, &spec, "Port") == NULL ? -1 : 0;
}
