/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ropeway._core: libropeway for Python, limited API of CPython 3.10.
 *
 * Threads. The library's threads never take the GIL: when an operation ends, on_end() in
 * record.c writes strided targets back, and puts the waiters of that operation on the queues of
 * their ports. A port is an eventfd with a queue; each event loop has one. So exactly the loop that
 * awaits is woken, whatever other loops and threads do, and an operation that nobody awaits costs
 * no wake-up. Handles are used without the GIL only between rw_py_gate_enter() and _leave(), and
 * are given back when nobody is in there.
 *
 * Memory. A record outlives the Python object of a live operation: it holds the references to the
 * memory until the library says that no byte can land any more.
 */
#ifndef ROPEWAY_PYTHON_CORE_H
#define ROPEWAY_PYTHON_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <pthread.h>
#include <ropeway.h>
#include <stdatomic.h>
#include <stdbool.h>

/* ---- gate.c: who is inside a handle ---- */

/* One lock for what the library's threads and Python's share; held for a few instructions.
 * Never held while taking the GIL or calling the library. */
void rw_py_lock(void);
void rw_py_unlock(void);
int rw_py_gate_init(void);
/* How many forks lie between this process and the first. */
unsigned rw_py_generation(void);

typedef struct gate {
    unsigned users;
    unsigned generation; /* of processes: users of a parent's gate have no threads in its child */
    bool closing;
} gate_t;

/* False once the gate is closing. */
bool rw_py_gate_enter(gate_t *gate);
void rw_py_gate_leave(gate_t *gate);
/* Lets nobody in any more. False: someone else shut it. */
bool rw_py_gate_shut(gate_t *gate);
/* Waits until all have left. Call it without the GIL. */
void rw_py_gate_wait(gate_t *gate);

/* ---- copy.c: strided memory ---- */

#define RW_PY_DIMS 64

typedef struct strided {
    char *base;  /* the view's first element */
    char *dense; /* its elements in order */
    size_t itemsize;
    int dims;
    size_t shape[RW_PY_DIMS];
    Py_ssize_t strides[RW_PY_DIMS];
} strided_t;

/* Reads (base, shape, strides, itemsize, dense), and makes dimensions that lie behind each other
 * one: itemsize is then the length of a run. False: an exception is set. */
bool rw_py_strided_parse(PyObject *tuple, strided_t *strided);
void rw_py_gather(const strided_t *strided);
void rw_py_scatter(const strided_t *strided);
PyObject *rw_py_gather_method(PyObject *module, PyObject *view);
/* How many runs of strided->itemsize bytes the parsed view consists of. */
size_t rw_py_runs(const strided_t *strided);
/* Writes one descriptor for each run. */
void rw_py_runs_fill(const strided_t *strided, ropeway_descriptor_t *runs);
PyObject *rw_py_runs_method(PyObject *module, PyObject *view);

/* ---- port.c: where an event loop hears of ends ---- */

typedef struct port port_t;

/* One waiter of one operation: what is handed to Python when it ends. */
typedef struct waiter {
    struct waiter *next;
    port_t *port;
    PyObject *what; /* NULL for a thread that waits in C */
} waiter_t;

port_t *rw_py_port_new(void);
int rw_py_port_fd(const port_t *port);
void rw_py_port_hold(port_t *port);
/* Needs rw_py_lock(). */
bool rw_py_port_put_locked(port_t *port, waiter_t *waiter);
void rw_py_port_drop(port_t *port);
/* Needs the GIL. */
void rw_py_waiters_free(waiter_t *waiters);
port_t *rw_py_port_of(PyObject *object);
int rw_py_port_type(PyObject *module);

/* ---- record.c: an operation, apart from its Python object ---- */

typedef struct record {
    ropeway_operation_t *handle; /* NULL once given back */
    gate_t gate;
    atomic_bool ended; /* on_end() has done its work */
    bool abandoned;    /* no Python object any more; guarded by rw_py_lock() */
    bool release_due;  /* released by a signal's handler in the middle of a wait of its thread */
    waiter_t *waiters; /* guarded by rw_py_lock() */
    struct record *next;
    PyObject *keep; /* the connector, and what owns the memory */
    size_t backs;
    strided_t *back; /* written back on COMPLETE, before anyone is told */
} record_t;

/* keep: a new reference is taken. back: NULL, or a sequence of tuples for rw_py_strided_parse(). */
record_t *rw_py_record_new(PyObject *keep, PyObject *back);
void rw_py_record_on_end(ropeway_operation_t *operation, void *record);
ropeway_status_t rw_py_record_status(const record_t *record);
/* Waits without the GIL; returns an error number, or -1 with an exception set by a signal. */
int rw_py_record_wait(record_t *record, double timeout);
/* False: the operation has ended, and nothing was added. */
bool rw_py_record_add(record_t *record, waiter_t *waiter);
/* Whether there was one. */
bool rw_py_record_remove(record_t *record, const port_t *port, const PyObject *what);
/* Frees a record that has no handle any more. */
void rw_py_record_free(record_t *record);
/* Takes a record of an operation that may be live, cancels it, and frees it when it has ended. */
void rw_py_record_abandon(record_t *record);
/* Frees abandoned records that have ended. */
void rw_py_record_sweep(void);

/* ---- buffer.c, view.c: memory ---- */

/* The fields of a View of ropeway/_views.py, which says what they are. */
enum {
    RW_PY_VIEW_PTR,
    RW_PY_VIEW_BYTES,
    RW_PY_VIEW_SHAPE,
    RW_PY_VIEW_STRIDES,
    RW_PY_VIEW_ITEMSIZE,
    RW_PY_VIEW_READONLY,
    RW_PY_VIEW_KIND,
    RW_PY_VIEW_DEVICE,
    RW_PY_VIEW_OWNER,
    RW_PY_VIEW_SOURCE,
    RW_PY_VIEW_FIELDS
};

bool rw_py_is_view(PyObject *object);
/* False: an exception is set. */
bool rw_py_view_descriptor(PyObject *view, ropeway_descriptor_t *descriptor);
PyObject *rw_py_unsure_method(PyObject *module, PyObject *args);
PyObject *rw_py_plain_method(PyObject *module, PyObject *args);

int rw_py_buffer_type(PyObject *module);
/* Whether object is a Buffer. */
bool rw_py_is_buffer(PyObject *object);
/* Where the memory of an object with the buffer protocol is by now. False: an exception is set. */
bool rw_py_buffer_place(PyObject *object, void **ptr, Py_ssize_t *size);
PyObject *rw_py_buffer_view_method(PyObject *module, PyObject *args);

/* ---- log.c: the library's log ---- */

/* A ropeway_log_fn. */
void rw_py_log(void *unused, ropeway_log_level_t level, const char *text);
/* In the child of a fork: what is queued is the parent's to hand over. Needs rw_py_lock(). */
void rw_py_log_forget_locked(void);
/* Hands over what was queued. Needs the GIL. */
void rw_py_log_deliver(void);
/* Takes the function that gets the lines: (level, text). */
PyObject *rw_py_set_log(PyObject *module, PyObject *callable);

/* ---- the types ---- */

typedef struct connector {
    PyObject_HEAD ropeway_connector_t *handle;
    gate_t gate;
    struct connector *next, *previous;
} connector_t;

int rw_py_connector_type(PyObject *module);
/* The options that Connector() takes, with their defaults: numbers, and None for texts. */
PyObject *rw_py_options(void);
/* Closes every connector. */
PyObject *rw_py_shutdown(PyObject *module, PyObject *unused);
int rw_py_operation_type(PyObject *module);
/* Takes the record over. */
PyObject *rw_py_operation_new(PyObject *connector, record_t *record);
int rw_py_dlpack_type(PyObject *module);
/* All that is known of a piece of memory, at once: this is on the way of each operation. (ptr,
 * bytes, shape, strides in bytes or None when dense, itemsize, readonly, plain) */
PyObject *rw_py_layout(void *ptr, Py_ssize_t size, int dims, const Py_ssize_t *shape,
                       const Py_ssize_t *strides, Py_ssize_t itemsize, bool readonly, bool plain);

/* Sets ropeway.errors' exception for error with the library's sentence (of this thread). Returns
 * NULL. */
PyObject *rw_py_raise(int error, const char *sentence);
/* A text of the library's, which is freed, as a str; or the exception for error. */
PyObject *rw_py_take_text(ropeway_error_t error, char *text);
PyObject *rw_py_closed(const char *what);

/* A fresh type from spec, put into module under name. */
PyTypeObject *rw_py_type(PyObject *module, PyType_Spec *spec, const char *name);
void rw_py_free(PyObject *self);

#endif
