/* SPDX-License-Identifier: Apache-2.0 */
/* Holds an object's exported memory, and looks at it. The buffer protocol joined the limited API in
 * CPython 3.11; the functions and the structure are the same in 3.10, so they are looked up by
 * name. */
#include "core.h"

#include <dlfcn.h>

#define FULL_RO 0x011c    /* PyBUF_FULL_RO: indirect, strided, with format */
#define STRIDED_RO 0x0018 /* PyBUF_STRIDED_RO */

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

static PyTypeObject *buffer_type;
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

static buffer_t *hold(PyObject *object) {
    buffer_t *self = (buffer_t *)PyType_GenericAlloc(buffer_type, 0);

    if (self != NULL && get_buffer(object, &self->view, FULL_RO) < 0) {
        Py_CLEAR(self);
    }
    if (self != NULL && has_suboffsets(&self->view)) {
        PyErr_SetString(PyExc_ValueError,
                        "the buffer is made of pointers to other memory; copy it into one piece");
        Py_CLEAR(self);
    }
    return self;
}

static PyObject *buffer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *object;

    (void)type;
    if (!PyArg_ParseTuple(args, "O:Buffer", &object) || kwargs != NULL) {
        return NULL;
    }
    return (PyObject *)hold(object);
}

bool rw_py_is_buffer(PyObject *object) {
    return Py_TYPE(object) == buffer_type;
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

/* ---- a View of memory that needs no second thought ---- */

/* Dense elements of plain numbers, and at least one, in the shape that says how many bytes. */
static bool is_ordinary(const buffer_view_t *view) {
    Py_ssize_t size = view->itemsize;

    if (view->buf == NULL || view->len <= 0 || view->ndim > RW_PY_DIMS ||
        (view->shape == NULL && view->ndim > 0) || has_suboffsets(view) ||
        !is_plain(view->format) || (uintptr_t)view->buf > (uintptr_t)(PY_SSIZE_T_MAX - view->len)) {
        return false;
    }
    for (int i = 0; i < view->ndim; i++) {
        if (__builtin_mul_overflow(size, view->shape[i], &size)) {
            return false;
        }
    }
    return size == view->len && (view->strides == NULL ||
                                 is_dense(view->ndim, view->shape, view->strides, view->itemsize));
}

/* type: View. It is a tuple, whose own constructor is spared the way through Python. */
static PyObject *view_new(PyObject *type, const buffer_view_t *view, PyObject *owner,
                          PyObject *source) {
    newfunc make = (newfunc)PyType_GetSlot(&PyTuple_Type, Py_tp_new);
    PyObject *fields = Py_BuildValue("(NnNOnNiiOO)", PyLong_FromVoidPtr(view->buf), view->len,
                                     tuple_of(view->shape, view->ndim), Py_None, view->itemsize,
                                     PyBool_FromLong(view->readonly != 0), (int)ROPEWAY_DEVICE_HOST,
                                     0, owner, source);
    PyObject *args = fields == NULL ? NULL : PyTuple_Pack(1, fields);
    PyObject *result = args == NULL ? NULL : make((PyTypeObject *)type, args, NULL);

    Py_XDECREF(fields);
    Py_XDECREF(args);
    return result;
}

static PyObject *view_held(PyObject *type, PyObject *data) {
    buffer_t *buffer = hold(data);
    PyObject *owner, *result = NULL;

    if (buffer == NULL) {
        return NULL;
    }
    if (!is_ordinary(&buffer->view)) {
        Py_DECREF(buffer);
        Py_RETURN_NONE;
    }
    owner = PyTuple_Pack(2, data, (PyObject *)buffer);
    if (owner != NULL) {
        result = view_new(type, &buffer->view, owner, Py_None);
    }
    Py_XDECREF(owner);
    Py_DECREF(buffer);
    return result;
}

static PyObject *view_lent(PyObject *type, PyObject *data) {
    buffer_view_t view = {0};
    PyObject *result;

    if (get_buffer(data, &view, FULL_RO) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_Exception)) {
            return NULL;
        }
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    result = is_ordinary(&view) ? view_new(type, &view, data, data) : Py_NewRef(Py_None);
    release_buffer(&view);
    return result;
}

PyObject *rw_py_buffer_view_method(PyObject *module, PyObject *args) {
    PyObject *type, *data;
    int held;

    (void)module;
    if (!PyArg_ParseTuple(args, "OOp:buffer_view", &type, &data, &held)) {
        return NULL;
    }
    if (!PyType_Check(type) || !PyType_IsSubtype((PyTypeObject *)type, &PyTuple_Type)) {
        PyErr_SetString(PyExc_TypeError, "a view's type is a tuple's");
        return NULL;
    }
    return held ? view_held(type, data) : view_lent(type, data);
}

bool rw_py_buffer_place(PyObject *object, void **ptr, Py_ssize_t *size) {
    buffer_view_t view = {0};

    if (get_buffer(object, &view, STRIDED_RO) < 0) {
        return false;
    }
    *ptr = view.buf;
    *size = view.len;
    release_buffer(&view);
    return true;
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
    buffer_type = rw_py_type(module, &spec, "Buffer");
    return buffer_type == NULL ? -1 : 0;
}
