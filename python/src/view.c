/* SPDX-License-Identifier: Apache-2.0 */
/* What an operation asks of all its Views (of ropeway/_views.py) at once. The answers are yes for
 * the usual ones; for the others Python looks at each, and says what is wrong with it. */
#include "core.h"

#include <limits.h>
#include <stdlib.h>

bool rw_py_is_view(PyObject *object) {
    return PyTuple_Check(object) && PyTuple_Size(object) == RW_PY_VIEW_FIELDS;
}

static bool check(PyObject *object) {
    if (!rw_py_is_view(object)) {
        PyErr_SetString(PyExc_TypeError, "a piece of memory is described by a View");
        return false;
    }
    return true;
}

static PyObject *field(PyObject *view, int number) {
    return PyTuple_GetItem(view, number);
}

/* ---- what the library gets ---- */

static int small_number(PyObject *view, int number) {
    long value = PyLong_AsLong(field(view, number));

    if ((value < INT_MIN || value > INT_MAX) && !PyErr_Occurred()) {
        PyErr_Format(PyExc_OverflowError, "a device's number is %ld; it must fit 32 bits", value);
    }
    return (int)value;
}

bool rw_py_view_descriptor(PyObject *view, ropeway_descriptor_t *descriptor) {
    Py_ssize_t size;

    if (!check(view)) {
        return false;
    }
    size = PyLong_AsSsize_t(field(view, RW_PY_VIEW_BYTES));
    *descriptor = (ropeway_descriptor_t){.ptr = PyLong_AsVoidPtr(field(view, RW_PY_VIEW_PTR)),
                                         .size = (size_t)size,
                                         .device = {.kind = small_number(view, RW_PY_VIEW_KIND),
                                                    .id = small_number(view, RW_PY_VIEW_DEVICE)}};
    if (PyErr_Occurred()) {
        return false;
    }
    if (size < 0) {
        PyErr_Format(PyExc_ValueError, "a descriptor's size is %zd; it must not be negative", size);
        return false;
    }
    return true;
}

/* ---- whether memory is where it was ---- */

/* What a method without arguments answers; -1: an exception is set, unless it is that. */
static Py_ssize_t ask(PyObject *object, const char *method) {
    PyObject *answer = PyObject_CallMethod(object, method, NULL);
    Py_ssize_t number = answer == NULL ? -1 : PyLong_AsSsize_t(answer);

    Py_XDECREF(answer);
    return number;
}

static bool tensor_place(PyObject *tensor, void **ptr, Py_ssize_t *size) {
    Py_ssize_t address = ask(tensor, "data_ptr");
    Py_ssize_t count = PyErr_Occurred() ? 0 : ask(tensor, "numel");
    Py_ssize_t itemsize = PyErr_Occurred() ? 0 : ask(tensor, "element_size");

    *ptr = (void *)(uintptr_t)address;
    *size = count > 0 && itemsize > 0 && count <= PY_SSIZE_T_MAX / itemsize ? count * itemsize : 0;
    return !PyErr_Occurred();
}

/* Whether the buffer protocol showed the view's memory; its owner is then (source, Buffer). */
static bool is_of_buffer(PyObject *view) {
    PyObject *owner = field(view, RW_PY_VIEW_OWNER);

    return PyTuple_Check(owner) && PyTuple_Size(owner) == 2 &&
           rw_py_is_buffer(PyTuple_GetItem(owner, 1));
}

/* False, also with an exception set: Python has to look. */
static bool is_in_place(PyObject *view, PyObject *array, PyObject *tensor) {
    PyObject *source = field(view, RW_PY_VIEW_SOURCE);
    Py_ssize_t bytes = PyLong_AsSsize_t(field(view, RW_PY_VIEW_BYTES));
    Py_ssize_t size = 0;
    void *ptr = NULL;
    bool found;

    if (source == Py_None || bytes == 0) {
        return true;
    }
    if ((PyObject *)Py_TYPE(source) == array || is_of_buffer(view)) {
        found = rw_py_buffer_place(source, &ptr, &size);
    } else {
        found = PyType_Check(tensor) && PyType_IsSubtype(Py_TYPE(source), (PyTypeObject *)tensor) &&
                tensor_place(source, &ptr, &size);
    }
    return found && ptr == PyLong_AsVoidPtr(field(view, RW_PY_VIEW_PTR)) && size >= bytes;
}

/* array, tensor: numpy's and torch's types, or None. */
PyObject *rw_py_unsure_method(PyObject *module, PyObject *args) {
    PyObject *views, *array, *tensor;
    Py_ssize_t index;

    (void)module;
    if (!PyArg_ParseTuple(args, "O!nOO:unsure", &PyList_Type, &views, &index, &array, &tensor)) {
        return NULL;
    }
    for (; index < PyList_Size(views); index++) {
        PyObject *view = PyList_GetItem(views, index);
        bool found;

        if (!check(view)) {
            return NULL;
        }
        Py_INCREF(view); /* what is asked may be any code */
        found = is_in_place(view, array, tensor);
        Py_DECREF(view);
        if (PyErr_Occurred()) {
            if (!PyErr_ExceptionMatches(PyExc_Exception)) {
                return NULL;
            }
            PyErr_Clear(); /* Python meets it again */
        }
        if (!found) {
            return PyLong_FromSsize_t(index);
        }
    }
    return PyLong_FromLong(-1);
}

/* ---- whether there is anything to be said of them ---- */

static int compare(const void *left, const void *right) {
    const ropeway_descriptor_t *one = left, *other = right;

    if (one->device.kind != other->device.kind) {
        return one->device.kind < other->device.kind ? -1 : 1;
    }
    if (one->device.id != other->device.id) {
        return one->device.id < other->device.id ? -1 : 1;
    }
    return ((uintptr_t)one->ptr > (uintptr_t)other->ptr) -
           ((uintptr_t)one->ptr < (uintptr_t)other->ptr);
}

/* Sorts them. None of them is empty, so each reaches beyond its neighbour before it. */
static bool are_apart(ropeway_descriptor_t *targets, size_t count) {
    qsort(targets, count, sizeof *targets, compare);
    for (size_t i = 1; i < count; i++) {
        const ropeway_descriptor_t *one = &targets[i - 1], *next = &targets[i];

        if (one->device.kind == next->device.kind && one->device.id == next->device.id &&
            (uintptr_t)next->ptr - (uintptr_t)one->ptr < one->size) {
            return false;
        }
    }
    return true;
}

/* Whether each is dense, and a target is writable; gathers the targets that are not empty. False,
 * also with an exception set, if not. */
static bool are_dense(PyObject *views, ropeway_descriptor_t *targets, size_t *count) {
    Py_ssize_t length = PyList_Size(views);

    for (Py_ssize_t i = 0; i < length; i++) {
        PyObject *view = PyList_GetItem(views, i);

        if (!check(view) || field(view, RW_PY_VIEW_STRIDES) != Py_None) {
            return false;
        }
        if (targets == NULL) {
            continue;
        }
        if (!rw_py_view_descriptor(view, &targets[*count])) {
            return false;
        }
        if (targets[*count].size > 0) {
            if (field(view, RW_PY_VIEW_READONLY) != Py_False) {
                return false;
            }
            (*count)++;
        }
    }
    return true;
}

PyObject *rw_py_plain_method(PyObject *module, PyObject *args) {
    PyObject *views;
    ropeway_descriptor_t *targets = NULL;
    size_t count = 0;
    int is_target;
    bool plain;

    (void)module;
    if (!PyArg_ParseTuple(args, "O!p:plain", &PyList_Type, &views, &is_target)) {
        return NULL;
    }
    if (is_target) {
        targets = calloc((size_t)PyList_Size(views) + 1, sizeof *targets);
        if (targets == NULL) {
            return PyErr_NoMemory();
        }
    }
    plain = are_dense(views, targets, &count) && (count < 2 || are_apart(targets, count));
    free(targets);
    return PyErr_Occurred() ? NULL : PyBool_FromLong(plain);
}
