/* SPDX-License-Identifier: Apache-2.0 */
/* The Python type of an operation: what it answers, waits, and the end of it. */
#include "core.h"

#include <stdlib.h>

/* What an operation answers after its handle was given back. */
typedef struct last_words {
    int status, error, kind;
    uint64_t done, total;
    PyObject *text, *peer, *trace, *path;
} last_words_t;

typedef struct operation {
    PyObject_HEAD record_t *record; /* NULL once given back */
    PyObject *connector;
    bool let_go; /* the collector came upon it while it was live */
    last_words_t last;
} operation_t;

static PyTypeObject *type;

PyObject *rw_py_operation_new(PyObject *connector, record_t *record) {
    operation_t *self = (operation_t *)PyType_GenericAlloc(type, 0);

    if (self == NULL) {
        rw_py_record_abandon(record);
        return NULL;
    }
    self->record = record;
    self->connector = Py_NewRef(connector);
    return (PyObject *)self;
}

static record_t *record_of(PyObject *self) {
    return ((operation_t *)self)->record;
}

/* The record with its gate entered, for calls that let the GIL go. NULL: it was given back. */
static record_t *enter(PyObject *self) {
    record_t *record = record_of(self);

    return record != NULL && rw_py_gate_enter(&record->gate) ? record : NULL;
}

static PyObject *path_text(const ropeway_operation_t *handle) {
    char path[512];

    ropeway_operation_path(handle, path, sizeof path);
    return PyUnicode_DecodeUTF8(path, (Py_ssize_t)strlen(path), "replace");
}

/* ---- what it answers ---- */

static void remember(record_t *record, last_words_t *last) {
    last->status = (int)ropeway_operation_status(record->handle);
    last->error = (int)ropeway_operation_error(record->handle);
    last->kind = (int)ropeway_operation_kind(record->handle);
    ropeway_operation_progress(record->handle, &last->done, &last->total);
    last->text = PyUnicode_FromString(ropeway_operation_error_text(record->handle));
    last->peer = PyUnicode_FromString(ropeway_operation_peer(record->handle));
    last->path = path_text(record->handle);
    last->trace = PyUnicode_FromString(ropeway_operation_trace(record->handle));
}

static PyObject *text_or_empty(PyObject *text) {
    return text != NULL ? Py_NewRef(text) : PyUnicode_FromString("");
}

static PyObject *get_status(PyObject *self, void *unused) {
    record_t *record = record_of(self);

    (void)unused;
    return PyLong_FromLong(record != NULL ? (long)rw_py_record_status(record)
                                          : ((operation_t *)self)->last.status);
}

static PyObject *get_let_go(PyObject *self, void *unused) {
    (void)unused;
    return PyBool_FromLong(((operation_t *)self)->let_go);
}

static PyObject *get_error(PyObject *self, void *unused) {
    record_t *record = record_of(self);

    (void)unused;
    return PyLong_FromLong(record != NULL ? (long)ropeway_operation_error(record->handle)
                                          : ((operation_t *)self)->last.error);
}

static PyObject *get_error_text(PyObject *self, void *unused) {
    record_t *record = record_of(self);

    (void)unused;
    return record != NULL ? PyUnicode_FromString(ropeway_operation_error_text(record->handle))
                          : text_or_empty(((operation_t *)self)->last.text);
}

static PyObject *get_kind(PyObject *self, void *unused) {
    record_t *record = record_of(self);

    (void)unused;
    return PyLong_FromLong(record != NULL ? (long)ropeway_operation_kind(record->handle)
                                          : ((operation_t *)self)->last.kind);
}

static PyObject *get_peer(PyObject *self, void *unused) {
    record_t *record = record_of(self);

    (void)unused;
    return record != NULL ? PyUnicode_FromString(ropeway_operation_peer(record->handle))
                          : text_or_empty(((operation_t *)self)->last.peer);
}

static PyObject *get_trace(PyObject *self, void *unused) {
    record_t *record = record_of(self);

    (void)unused;
    return record != NULL ? PyUnicode_FromString(ropeway_operation_trace(record->handle))
                          : text_or_empty(((operation_t *)self)->last.trace);
}

static PyObject *get_path(PyObject *self, void *unused) {
    record_t *record = record_of(self);

    (void)unused;
    return record != NULL ? path_text(record->handle)
                          : text_or_empty(((operation_t *)self)->last.path);
}

static PyObject *get_progress(PyObject *self, void *unused) {
    record_t *record = record_of(self);
    uint64_t done = ((operation_t *)self)->last.done;
    uint64_t total = ((operation_t *)self)->last.total;

    (void)unused;
    if (record != NULL) {
        ropeway_operation_progress(record->handle, &done, &total);
    }
    return Py_BuildValue("(KK)", (unsigned long long)done, (unsigned long long)total);
}

static PyObject *operation_metadata(PyObject *self, PyObject *unused) {
    record_t *record = enter(self);
    const char *json = NULL;
    ropeway_error_t error;
    PyObject *text;

    (void)unused;
    if (record == NULL) {
        return rw_py_closed("operation");
    }
    Py_BEGIN_ALLOW_THREADS;
    error = ropeway_operation_metadata(record->handle, &json);
    Py_END_ALLOW_THREADS;
    text = error == ROPEWAY_OK ? PyUnicode_FromString(json)
                               : rw_py_raise((int)error, ropeway_last_error());
    rw_py_gate_leave(&record->gate);
    return text;
}

/* ---- waiting ---- */

/* The waits of this thread that are under way: a signal's handler runs in the middle of one. */
typedef struct under_way {
    const record_t *record;
    struct under_way *outer;
} under_way_t;

static _Thread_local under_way_t *innermost;

static bool waits_here(const record_t *record) {
    const under_way_t *wait = innermost;

    while (wait != NULL && wait->record != record) {
        wait = wait->outer;
    }
    return wait != NULL;
}

static void give_back(operation_t *self);

static PyObject *operation_wait(PyObject *self, PyObject *argument) {
    double timeout = argument == Py_None ? -1 : PyFloat_AsDouble(argument);
    under_way_t wait = {.outer = innermost};
    record_t *record;
    int error;

    if (PyErr_Occurred()) {
        return NULL;
    }
    record = enter(self);
    if (record == NULL) {
        return get_error(self, NULL);
    }
    wait.record = record;
    innermost = &wait;
    error = rw_py_record_wait(record, argument != Py_None && timeout < 0 ? 0 : timeout);
    innermost = wait.outer;
    rw_py_gate_leave(&record->gate);
    if (record->release_due && !waits_here(record)) {
        give_back((operation_t *)self);
    }
    return error < 0 ? NULL : PyLong_FromLong(error);
}

static PyObject *operation_arm(PyObject *self, PyObject *args) {
    record_t *record = record_of(self);
    PyObject *port, *what;
    waiter_t *waiter;

    if (!PyArg_ParseTuple(args, "OO:arm", &port, &what)) {
        return NULL;
    }
    if (record == NULL || atomic_load(&record->ended)) {
        Py_RETURN_FALSE;
    }
    if (ropeway_operation_wait(record->handle, 0) == ROPEWAY_ERR_FORKED) {
        return rw_py_raise(ROPEWAY_ERR_FORKED, ropeway_last_error());
    }
    waiter = calloc(1, sizeof *waiter);
    if (waiter == NULL) {
        return PyErr_NoMemory();
    }
    waiter->port = rw_py_port_of(port);
    rw_py_port_hold(waiter->port);
    waiter->what = Py_NewRef(what);
    if (rw_py_record_add(record, waiter)) {
        Py_RETURN_TRUE;
    }
    rw_py_waiters_free(waiter);
    Py_RETURN_FALSE;
}

static PyObject *operation_disarm(PyObject *self, PyObject *args) {
    record_t *record = record_of(self);
    PyObject *port, *what;

    if (!PyArg_ParseTuple(args, "OO:disarm", &port, &what)) {
        return NULL;
    }
    if (record != NULL) {
        rw_py_record_remove(record, rw_py_port_of(port), what);
    }
    Py_RETURN_NONE;
}

/* ---- the end ---- */

static PyObject *operation_cancel(PyObject *self, PyObject *unused) {
    record_t *record = enter(self);
    ropeway_error_t error;

    (void)unused;
    if (record == NULL) {
        return PyLong_FromLong(ROPEWAY_ERR_FINISHED);
    }
    Py_BEGIN_ALLOW_THREADS;
    error = ropeway_operation_cancel(record->handle);
    rw_py_gate_leave(&record->gate);
    Py_END_ALLOW_THREADS;
    return PyLong_FromLong((long)error);
}

/* Of an operation whose gate is shut: cancels it if it is live, waits until its memory is quiet,
 * and gives the handle back. */
static void give_back(operation_t *self) {
    record_t *record = self->record;
    ropeway_operation_t *handle = record->handle;
    PyObject *kind, *value, *traceback;
    int status;

    PyErr_Fetch(&kind, &value, &traceback);
    Py_BEGIN_ALLOW_THREADS;
    ropeway_operation_cancel(handle);
    rw_py_gate_wait(&record->gate);
    ropeway_operation_wait(handle, -1);
    Py_END_ALLOW_THREADS;
    remember(record, &self->last);
    status = self->last.status;
    self->last.status = (int)rw_py_record_status(record);
    self->record = NULL;
    Py_BEGIN_ALLOW_THREADS;
    ropeway_operation_release(handle);
    Py_END_ALLOW_THREADS;
    self->last.status = status;
    rw_py_record_free(record);
    Py_CLEAR(self->connector);
    if (kind != NULL) {
        PyErr_Restore(kind, value, traceback);
    }
}

static PyObject *operation_release(PyObject *object, PyObject *unused) {
    operation_t *self = (operation_t *)object;
    record_t *record = self->record;

    (void)unused;
    if (record == NULL || !rw_py_gate_shut(&record->gate)) {
        Py_RETURN_NONE;
    }
    if (waits_here(record)) {
        /* This is a signal's handler. The wait that it came upon ends now, and gives back. */
        record->release_due = true;
        Py_BEGIN_ALLOW_THREADS;
        ropeway_operation_cancel(record->handle);
        ropeway_operation_wait(record->handle, -1);
        Py_END_ALLOW_THREADS;
    } else {
        give_back(self);
    }
    if (PyErr_Occurred()) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- garbage collection: what owns an operation may also be what owns its memory ---- */

static int operation_traverse(PyObject *object, visitproc visit, void *arg) {
    const operation_t *self = (const operation_t *)object;

    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->connector);
    if (self->record != NULL) {
        Py_VISIT(self->record->keep);
    }
    return 0;
}

/* Only the collector calls this, before it takes anything in the cycle apart, the owners of the
 * memory too. So the memory must be quiet on return, which dropping an operation does not wait for.
 */
static void operation_finalize(PyObject *object) {
    operation_t *self = (operation_t *)object;

    if (self->record != NULL && rw_py_gate_shut(&self->record->gate)) {
        self->let_go = rw_py_record_status(self->record) < ROPEWAY_STATUS_COMPLETE;
        give_back(self);
    }
}

static void operation_dealloc(PyObject *object) {
    operation_t *self = (operation_t *)object;

    PyObject_GC_UnTrack(object);
    if (self->record != NULL) {
        rw_py_record_abandon(self->record);
    }
    Py_XDECREF(self->connector);
    Py_XDECREF(self->last.text);
    Py_XDECREF(self->last.peer);
    Py_XDECREF(self->last.trace);
    Py_XDECREF(self->last.path);
    rw_py_free(object);
}

static PyMethodDef methods[] = {
    {"metadata", operation_metadata, METH_NOARGS, "The RDMA metadata of a passive operation."},
    {"wait", operation_wait, METH_O, "wait(seconds or None) -> error number"},
    {"arm", operation_arm, METH_VARARGS,
     "arm(port, what) -> bool: put what on port when this ends; False: it has ended."},
    {"disarm", operation_disarm, METH_VARARGS, "disarm(port, what)"},
    {"cancel", operation_cancel, METH_NOARGS, "cancel() -> error number"},
    {"release", operation_release, METH_NOARGS, "Gives the operation back; its memory is quiet."},
    {NULL, NULL, 0, NULL}};

static PyGetSetDef properties[] = {
    {"status", get_status, NULL, NULL, NULL},     {"let_go", get_let_go, NULL, NULL, NULL},
    {"error", get_error, NULL, NULL, NULL},       {"error_text", get_error_text, NULL, NULL, NULL},
    {"kind", get_kind, NULL, NULL, NULL},         {"peer", get_peer, NULL, NULL, NULL},
    {"trace", get_trace, NULL, NULL, NULL},       {"path", get_path, NULL, NULL, NULL},
    {"progress", get_progress, NULL, NULL, NULL}, {NULL, NULL, NULL, NULL, NULL}};

int rw_py_operation_type(PyObject *module) {
    static PyType_Slot slots[] = {
        {Py_tp_dealloc, operation_dealloc},   {Py_tp_traverse, operation_traverse},
        {Py_tp_finalize, operation_finalize}, {Py_tp_methods, methods},
        {Py_tp_getset, properties},           {0, NULL}};
    static PyType_Spec spec = {
        "ropeway._core.Operation", sizeof(operation_t), 0,
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

    type = rw_py_type(module, &spec, "Operation");
    return type == NULL ? -1 : 0;
}
