/* SPDX-License-Identifier: Apache-2.0 */
/* Holds an object's exported memory. The buffer protocol joined the limited API in CPython 3.11;
 * the functions and the structure are the same in 3.10, so they are looked up by name. */
#include "core.h"

#include <dlfcn.h>

#define FULL_RO 0x011c /* PyBUF_FULL_RO: indirect, strided, with format */

typedef struct buffer_view { /* Py_buffer */
    void *buf;
    PyObject *obj;
    Py_ssize_t len, itemsize;
    int readonly, ndim;
    char *format;
    Py_ssize_t *shape, *strides, *suboffsets;
    void *internal;
} buffer_view_t;

typedef struct buffer {
    PyObject_HEAD buffer_view_t view;
} buffer_t;

static int (*get_buffer)(PyObject *object, buffer_view_t *view, int flags);
static void (*release_buffer)(buffer_view_t *view);

static bool has_suboffsets(const buffer_view_t *view) {
    for (int i = 0; view->suboffsets != NULL && i < view->ndim; i++) {
        if (view->suboffsets[i] >= 0) {
            return true;
        }
    }
    return false;
}

static PyObject *buffer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *object;
    buffer_t *self;

    if (!PyArg_ParseTuple(args, "O:Buffer", &object) || kwargs != NULL) {
        return NULL;
    }
    self = (buffer_t *)PyType_GenericAlloc(type, 0);
    if (self != NULL && get_buffer(object, &self->view, FULL_RO) < 0) {
        Py_CLEAR(self);
    }
    if (self != NULL && has_suboffsets(&self->view)) {
        PyErr_SetString(PyExc_ValueError,
                        "the buffer is made of pointers to other memory; copy it into one piece");
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

/* There is no tp_clear: the memory stays exported until its last user is gone. CPython without the
 * fix of its issue 77894, of 2024, clears a memoryview in a cycle of garbage although it is
 * exported, and crashes when the export ends. So the collector does not hear that it is held from
 * here, and leaves it for the reference count; the price is that a cycle through the memory of a
 * memoryview is not collected. */
static int buffer_traverse(PyObject *object, visitproc visit, void *arg) {
    PyObject *exporter = ((buffer_t *)object)->view.obj;

    Py_VISIT(Py_TYPE(object));
    if (exporter != NULL && !PyMemoryView_Check(exporter)) {
        Py_VISIT(exporter);
    }
    return 0;
}

static void buffer_dealloc(PyObject *object) {
    buffer_t *self = (buffer_t *)object;

    PyObject_GC_UnTrack(object);
    if (self->view.obj != NULL) {
        release_buffer(&self->view);
    }
    rw_py_free(object);
}

static PyObject *tuple_of(const Py_ssize_t *values, int count) {
    PyObject *tuple = PyTuple_New(count);

    for (int i = 0; tuple != NULL && i < count; i++) {
        PyObject *value = PyLong_FromSsize_t(values[i]);

        if (value == NULL || PyTuple_SetItem(tuple, i, value) < 0) {
            Py_CLEAR(tuple);
        }
    }
    return tuple;
}

static const buffer_view_t *view_of(PyObject *self) {
    return &((buffer_t *)self)->view;
}

static PyObject *get_ptr(PyObject *self, void *unused) {
    (void)unused;
    return PyLong_FromVoidPtr(view_of(self)->buf);
}

/* Whether all elements are plain numbers: no pointer to an object in the format, where names of
 * fields stand between colons. */
static bool is_plain(const char *format) {
    bool in_name = false;

    for (; format != NULL && *format != '\0'; format++) {
        in_name ^= *format == ':';
        if (*format == 'O' && !in_name) {
            return false;
        }
    }
    return true;
}

static bool is_dense(int dims, const Py_ssize_t *shape, const Py_ssize_t *strides,
                     Py_ssize_t expected) {
    for (int i = dims - 1; i >= 0; i--) {
        if (shape[i] != 1 && strides[i] != expected) {
            return false;
        }
        expected *= shape[i];
    }
    return true;
}

PyObject *rw_py_layout(void *ptr, Py_ssize_t size, int dims, const Py_ssize_t *shape,
                       const Py_ssize_t *strides, Py_ssize_t itemsize, bool readonly, bool plain) {
    bool dense = size == 0 || strides == NULL || is_dense(dims, shape, strides, itemsize);

    return Py_BuildValue("NnNNnNN", PyLong_FromVoidPtr(ptr), size, tuple_of(shape, dims),
                         dense ? Py_NewRef(Py_None) : tuple_of(strides, dims), itemsize,
                         PyBool_FromLong(readonly), PyBool_FromLong(plain));
}

static PyObject *get_layout(PyObject *self, void *unused) {
    const buffer_view_t *view = view_of(self);
    Py_ssize_t count = view->itemsize > 0 ? view->len / view->itemsize : view->len;
    /* An exporter may leave out the shape of one dimension, and the strides of dense elements, as
     * those of ctypes do, whatever it is asked for. */
    bool flat = view->shape == NULL && view->ndim > 0;

    (void)unused;
    return rw_py_layout(view->buf, view->len, flat ? 1 : view->ndim, flat ? &count : view->shape,
                        view->strides, view->itemsize, view->readonly != 0, is_plain(view->format));
}

static PyGetSetDef properties[] = {{"ptr", get_ptr, NULL, NULL, NULL},
                                   {"layout", get_layout, NULL, NULL, NULL},
                                   {NULL, NULL, NULL, NULL, NULL}};

int rw_py_buffer_type(PyObject *module) {
    static PyType_Slot slots[] = {{Py_tp_new, buffer_new},
                                  {Py_tp_dealloc, buffer_dealloc},
                                  {Py_tp_traverse, buffer_traverse},
                                  {Py_tp_getset, properties},
                                  {0, NULL}};
    static PyType_Spec spec = {"ropeway._core.Buffer", sizeof(buffer_t), 0,
                               Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, slots};

    *(void **)&get_buffer = dlsym(RTLD_DEFAULT, "PyObject_GetBuffer");
    *(void **)&release_buffer = dlsym(RTLD_DEFAULT, "PyBuffer_Release");
    if (get_buffer == NULL || release_buffer == NULL) {
        PyErr_SetString(PyExc_ImportError, "this Python has no PyObject_GetBuffer()");
        return -1;
    }
    return rw_py_type(module, &spec, "Buffer") == NULL ? -1 : 0;
}
