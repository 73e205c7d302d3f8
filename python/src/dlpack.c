/* SPDX-License-Identifier: Apache-2.0 */
/* Holds a tensor that another library lends through DLPack (https://dmlc.github.io/dlpack). */
#include "core.h"

/* dlpack.h, versions 0 and 1. */
typedef struct dl_tensor {
    void *data;
    int32_t device_type, device_id;
    int32_t ndim;
    uint8_t code, bits;
    uint16_t lanes;
    Py_ssize_t *shape, *strides; /* in elements; strides NULL: dense */
    uint64_t byte_offset;
} dl_tensor_t;

typedef struct dl_managed {
    dl_tensor_t tensor;
    void *context;
    void (*deleter)(struct dl_managed *self);
} dl_managed_t;

typedef struct dl_versioned {
    uint32_t major, minor;
    void *context;
    void (*deleter)(struct dl_versioned *self);
    uint64_t flags;
    dl_tensor_t tensor;
} dl_versioned_t;

#define READ_ONLY 1u
#define OPAQUE_CODE 3

typedef struct dlpack {
    PyObject_HEAD dl_managed_t *managed;
    dl_versioned_t *versioned;
} dlpack_t;

static const dl_tensor_t *tensor_of(const dlpack_t *self) {
    return self->versioned != NULL ? &self->versioned->tensor : &self->managed->tensor;
}

static bool take_capsule(dlpack_t *self, PyObject *capsule) {
    if (PyCapsule_IsValid(capsule, "dltensor_versioned")) {
        dl_versioned_t *versioned = PyCapsule_GetPointer(capsule, "dltensor_versioned");

        if (versioned->major != 1) {
            PyErr_Format(PyExc_ValueError, "the tensor's DLPack is of version %u.%u; 1 is known",
                         versioned->major, versioned->minor);
            return false;
        }
        self->versioned = versioned;
        return PyCapsule_SetName(capsule, "used_dltensor_versioned") == 0;
    }
    if (PyCapsule_IsValid(capsule, "dltensor")) {
        self->managed = PyCapsule_GetPointer(capsule, "dltensor");
        return PyCapsule_SetName(capsule, "used_dltensor") == 0;
    }
    PyErr_SetString(PyExc_TypeError, "__dlpack__() gave no fresh DLPack capsule");
    return false;
}

static bool check_type(const dl_tensor_t *tensor) {
    unsigned bits = (unsigned)tensor->bits * tensor->lanes;

    if (bits == 0 || bits % 8 != 0 || tensor->code == OPAQUE_CODE) {
        PyErr_Format(PyExc_ValueError,
                     "the tensor's elements (DLPack type %u, %u bits) are no plain numbers of "
                     "whole bytes; it can't be moved",
                     tensor->code, bits);
        return false;
    }
    return true;
}

static PyObject *dlpack_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *capsule;
    dlpack_t *self;

    if (!PyArg_ParseTuple(args, "O:Dlpack", &capsule) || kwargs != NULL) {
        return NULL;
    }
    self = (dlpack_t *)PyType_GenericAlloc(type, 0);
    if (self != NULL && (!take_capsule(self, capsule) || !check_type(tensor_of(self)))) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static void dlpack_dealloc(PyObject *object) {
    dlpack_t *self = (dlpack_t *)object;

    if (self->versioned != NULL && self->versioned->deleter != NULL) {
        self->versioned->deleter(self->versioned);
    }
    if (self->managed != NULL && self->managed->deleter != NULL) {
        self->managed->deleter(self->managed);
    }
    rw_py_free(object);
}

static PyObject *get_layout(PyObject *object, void *unused) {
    const dlpack_t *self = (const dlpack_t *)object;
    const dl_tensor_t *tensor = tensor_of(self);
    Py_ssize_t itemsize = (Py_ssize_t)tensor->bits * tensor->lanes / 8;
    Py_ssize_t strides[RW_PY_DIMS], total = itemsize;

    (void)unused;
    if (tensor->ndim < 0 || tensor->ndim > RW_PY_DIMS) {
        PyErr_Format(PyExc_ValueError, "the tensor has %d dimensions; at most %d",
                     (int)tensor->ndim, RW_PY_DIMS);
        return NULL;
    }
    for (int i = tensor->ndim - 1; i >= 0; i--) {
        strides[i] = tensor->strides == NULL ? total : tensor->strides[i] * itemsize;
        total *= tensor->shape[i];
    }
    return rw_py_layout((char *)tensor->data + tensor->byte_offset, total, tensor->ndim,
                        tensor->shape, strides, itemsize,
                        self->versioned != NULL && (self->versioned->flags & READ_ONLY) != 0, true);
}

static PyObject *get_device(PyObject *self, void *unused) {
    const dl_tensor_t *tensor = tensor_of((const dlpack_t *)self);

    (void)unused;
    return Py_BuildValue("(ii)", (int)tensor->device_type, (int)tensor->device_id);
}

static PyGetSetDef properties[] = {{"layout", get_layout, NULL, NULL, NULL},
                                   {"device", get_device, NULL, NULL, NULL},
                                   {NULL, NULL, NULL, NULL, NULL}};

int rw_py_dlpack_type(PyObject *module) {
    static PyType_Slot slots[] = {{Py_tp_new, dlpack_new},
                                  {Py_tp_dealloc, dlpack_dealloc},
                                  {Py_tp_getset, properties},
                                  {0, NULL}};
    static PyType_Spec spec = {"ropeway._core.Dlpack", sizeof(dlpack_t), 0, Py_TPFLAGS_DEFAULT,
                               slots};

    return rw_py_type(module, &spec, "Dlpack") == NULL ? -1 : 0;
}
