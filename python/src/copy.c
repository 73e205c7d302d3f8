/* SPDX-License-Identifier: Apache-2.0 */
/* Strided views to and from a dense copy of their elements. */
#include "core.h"

#include <string.h>

/* Merges neighbouring dimensions that lie behind each other, so that the innermost run is long. */
static void merge(strided_t *strided) {
    int dims = 0;

    for (int i = 0; i < strided->dims; i++) {
        size_t shape = strided->shape[i];
        Py_ssize_t stride = strided->strides[i];

        if (shape == 1) {
            continue;
        }
        if (dims > 0 && strided->strides[dims - 1] == stride * (Py_ssize_t)shape) {
            strided->shape[dims - 1] *= shape;
            strided->strides[dims - 1] = stride;
            continue;
        }
        strided->shape[dims] = shape;
        strided->strides[dims] = stride;
        dims++;
    }
    strided->dims = dims;
    if (dims > 0 && strided->strides[dims - 1] == (Py_ssize_t)strided->itemsize) {
        strided->itemsize *= strided->shape[dims - 1];
        strided->dims = dims - 1;
    }
}

static bool parse_dims(PyObject *shape, PyObject *strides, strided_t *strided) {
    Py_ssize_t dims = PyTuple_Size(shape);

    if (dims < 0 || PyTuple_Size(strides) != dims || dims > RW_PY_DIMS) {
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_ValueError, "a view has %zd dimensions and %zd strides; at most %d",
                         dims, PyTuple_Size(strides), RW_PY_DIMS);
        }
        return false;
    }
    strided->dims = (int)dims;
    for (Py_ssize_t i = 0; i < dims; i++) {
        strided->shape[i] = PyLong_AsSize_t(PyTuple_GetItem(shape, i));
        strided->strides[i] = PyLong_AsSsize_t(PyTuple_GetItem(strides, i));
    }
    return !PyErr_Occurred();
}

bool rw_py_strided_parse(PyObject *tuple, strided_t *strided) {
    PyObject *shape, *strides;
    unsigned long long base, dense;
    Py_ssize_t itemsize;

    if (!PyTuple_Check(tuple)) {
        PyErr_SetString(PyExc_TypeError, "a strided view is described by a tuple");
        return false;
    }
    if (!PyArg_ParseTuple(tuple, "KO!O!nK", &base, &PyTuple_Type, &shape, &PyTuple_Type, &strides,
                          &itemsize, &dense) ||
        !parse_dims(shape, strides, strided)) {
        return false;
    }
    strided->base = (char *)(uintptr_t)base;
    strided->dense = (char *)(uintptr_t)dense;
    strided->itemsize = (size_t)itemsize;
    for (int i = 0; i < strided->dims; i++) {
        if (strided->shape[i] == 0) {
            strided->itemsize = 0;
            strided->dims = 0;
        }
    }
    merge(strided);
    return true;
}

size_t rw_py_runs(const strided_t *strided) {
    size_t count = 1;

    for (int i = 0; i < strided->dims; i++) {
        count *= strided->shape[i];
    }
    return count;
}

/* Moves on in the first dims dimensions. false: that was the last place. */
static inline bool step(const strided_t *strided, int dims, size_t *index, char **view) {
    for (int dim = dims - 1; dim >= 0; dim--) {
        *view += strided->strides[dim];
        if (++index[dim] < strided->shape[dim]) {
            return true;
        }
        *view -= strided->strides[dim] * (Py_ssize_t)strided->shape[dim];
        index[dim] = 0;
    }
    return false;
}

void rw_py_runs_fill(const strided_t *strided, ropeway_descriptor_t *runs) {
    size_t index[RW_PY_DIMS] = {0};
    char *view = strided->base;

    do {
        *runs++ = (ropeway_descriptor_t){
            .ptr = view, .size = strided->itemsize, .device.kind = ROPEWAY_DEVICE_HOST};
    } while (step(strided, strided->dims, index, &view));
}

PyObject *rw_py_runs_method(PyObject *module, PyObject *view) {
    strided_t strided;

    (void)module;
    if (!rw_py_strided_parse(view, &strided)) {
        return NULL;
    }
    return Py_BuildValue("nn", (Py_ssize_t)strided.itemsize, (Py_ssize_t)rw_py_runs(&strided));
}

typedef void (*run_fn)(char *view, char *dense, size_t size);

static void run_gather(char *view, char *dense, size_t size) {
    memcpy(dense, view, size);
}

static void run_scatter(char *view, char *dense, size_t size) {
    memcpy(view, dense, size);
}

/* The innermost dimension, with the copy's size known to the compiler for the usual items. */
static char *row(const strided_t *strided, char *view, char *dense, run_fn run) {
    size_t count = strided->shape[strided->dims - 1];
    Py_ssize_t stride = strided->strides[strided->dims - 1];

#define RW_PY_ROW(size)                                                                            \
    for (size_t i = 0; i < count; i++, view += stride, dense += (size)) {                          \
        run(view, dense, (size));                                                                  \
    }                                                                                              \
    return dense
    switch (strided->itemsize) {
    case 1:
        RW_PY_ROW(1);
    case 2:
        RW_PY_ROW(2);
    case 4:
        RW_PY_ROW(4);
    case 8:
        RW_PY_ROW(8);
    default:
        RW_PY_ROW(strided->itemsize);
    }
#undef RW_PY_ROW
}

static inline void walk(const strided_t *strided, run_fn run) {
    size_t index[RW_PY_DIMS] = {0};
    char *view = strided->base;
    char *dense = strided->dense;

    if (strided->dims == 0) {
        run(view, dense, strided->itemsize);
        return;
    }
    do {
        dense = row(strided, view, dense, run);
    } while (step(strided, strided->dims - 1, index, &view));
}

void rw_py_gather(const strided_t *strided) {
    walk(strided, run_gather);
}

void rw_py_scatter(const strided_t *strided) {
    walk(strided, run_scatter);
}

PyObject *rw_py_gather_method(PyObject *module, PyObject *view) {
    strided_t strided;

    (void)module;
    if (!rw_py_strided_parse(view, &strided)) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    rw_py_gather(&strided);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}
