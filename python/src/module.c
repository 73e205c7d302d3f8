/* SPDX-License-Identifier: Apache-2.0 */
/* The extension module: its types, errors and constants. */
#include "core.h"
#include "ucx/find.h"

/* ropeway.errors.make(number, sentence); kept for the life of the process. */
static PyObject *make_error;

PyObject *rw_py_raise(int error, const char *sentence) {
    PyObject *exception;

    if (make_error == NULL) {
        PyErr_SetString(PyExc_RuntimeError, sentence);
        return NULL;
    }
    exception = PyObject_CallFunction(make_error, "is", error, sentence);
    if (exception != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
        Py_DECREF(exception);
    }
    return NULL;
}

PyObject *rw_py_take_text(ropeway_error_t error, char *text) {
    PyObject *object;

    if (error != ROPEWAY_OK) {
        return rw_py_raise((int)error, ropeway_last_error());
    }
    object = PyUnicode_FromString(text);
    ropeway_text_free(text);
    return object;
}

PyObject *rw_py_closed(const char *what) {
    return rw_py_raise(ROPEWAY_ERR_CLOSED,
                       what[0] == 'c' ? "the connector is closed" : "the operation was released");
}

PyTypeObject *rw_py_type(PyObject *module, PyType_Spec *spec, const char *name) {
    PyObject *type = PyType_FromSpec(spec);

    if (type != NULL && PyModule_AddObjectRef(module, name, type) < 0) {
        Py_CLEAR(type);
    }
    return (PyTypeObject *)type;
}

void rw_py_free(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

    release(self);
    Py_DECREF(type);
}

static PyObject *set_make_error(PyObject *module, PyObject *callable) {
    PyObject *old = make_error;

    (void)module;
    make_error = Py_NewRef(callable);
    Py_XDECREF(old);
    Py_RETURN_NONE;
}

static PyObject *describe(PyObject *module, PyObject *args) {
    const char *transports, *net_devices;
    char *json = NULL;
    ropeway_error_t error;

    (void)module;
    if (!PyArg_ParseTuple(args, "zz:describe", &transports, &net_devices)) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS;
    error = ropeway_describe(transports, net_devices, &json);
    Py_END_ALLOW_THREADS;
    return rw_py_take_text(error, json);
}

/* A list of bytes: folders of packages. */
static PyObject *set_packages(PyObject *module, PyObject *list) {
    Py_ssize_t count = PyList_Check(list) ? PyList_Size(list) : 0;
    const char **folders = PyMem_Calloc((size_t)count + 1, sizeof *folders);
    bool all = folders != NULL;

    (void)module;
    for (Py_ssize_t i = 0; all && i < count; i++) {
        folders[i] = PyBytes_AsString(PyList_GetItem(list, i));
        all = folders[i] != NULL;
    }
    all = all && rw_ucx_prefer_packages(folders, (size_t)count);
    PyMem_Free(folders);
    if (!all) {
        return PyErr_Occurred() != NULL ? NULL : PyErr_NoMemory();
    }
    Py_RETURN_NONE;
}

/* kind, id of a device's name. */
static PyObject *parse_device(PyObject *module, PyObject *args) {
    const char *text;
    ropeway_device_t device;
    ropeway_error_t error;

    (void)module;
    if (!PyArg_ParseTuple(args, "s:parse_device", &text)) {
        return NULL;
    }
    error = ropeway_device_parse(text, &device);
    return error == ROPEWAY_OK ? Py_BuildValue("(ii)", (int)device.kind, (int)device.id)
                               : rw_py_raise((int)error, ropeway_last_error());
}

/* A place that empty memory without a pointer of its own can name. */
static char nowhere[16];

static int add(PyObject *module, const char *name, PyObject *value) {
    int result = value == NULL ? -1 : PyModule_AddObjectRef(module, name, value);

    Py_XDECREF(value);
    return result;
}

static int add_constants(PyObject *module) {
    return add(module, "OPTIONS", rw_py_options()) < 0 ||
                   add(module, "NOWHERE", PyLong_FromVoidPtr(nowhere)) < 0 ||
                   PyModule_AddIntConstant(module, "INTEGRITY", ROPEWAY_OPERATION_INTEGRITY) < 0 ||
                   PyModule_AddIntConstant(module, "PREFIX", ROPEWAY_OPERATION_PREFIX) < 0 ||
                   PyModule_AddStringConstant(module, "version", ropeway_version()) < 0
               ? -1
               : 0;
}

/* The state above is the process's, and Py_AddPendingCall() serves the main interpreter alone. */
static int refuse_subinterpreter(void) {
    if (PyInterpreterState_GetID(PyInterpreterState_Get()) == 0) {
        return 0;
    }
    PyErr_SetString(PyExc_ImportError,
                    "ropeway works in a process's main interpreter only; use it from there");
    return -1;
}

static int module_exec(PyObject *module) {
    return refuse_subinterpreter() < 0 || rw_py_gate_init() < 0 ||
                   rw_py_connector_type(module) < 0 || rw_py_operation_type(module) < 0 ||
                   rw_py_port_type(module) < 0 || rw_py_buffer_type(module) < 0 ||
                   rw_py_dlpack_type(module) < 0 || add_constants(module) < 0
               ? -1
               : 0;
}

static PyMethodDef methods[] = {
    {"set_make_error", set_make_error, METH_O, "Takes the function that makes exceptions."},
    {"set_log", rw_py_set_log, METH_O, "Takes the function that gets the log: (level, text)."},
    {"set_packages", set_packages, METH_O,
     "Takes the folders that may have a UCX: a list of bytes."},
    {"describe", describe, METH_VARARGS, "describe(transports, net_devices) -> JSON"},
    {"parse_device", parse_device, METH_VARARGS, "parse_device(text) -> (kind, id)"},
    {"buffer_view", rw_py_buffer_view_method, METH_VARARGS,
     "buffer_view(View, data, held): a View of dense, plain memory; None: look more closely"},
    {"unsure", rw_py_unsure_method, METH_VARARGS,
     "unsure(views, first, array, tensor): the first, from there, whose memory may have changed"},
    {"plain", rw_py_plain_method, METH_VARARGS,
     "plain(views, is_target): whether they are dense, and may be filled if they are targets"},
    {"gather", rw_py_gather_method, METH_O,
     "gather((base, shape, strides, itemsize, dense)): copies a view's elements in order"},
    {"runs", rw_py_runs_method, METH_O,
     "runs((base, shape, strides, itemsize, dense)): bytes of a run, and how many there are"},
    {"shutdown", rw_py_shutdown, METH_NOARGS, "Closes every connector."},
    {NULL, NULL, 0, NULL}};

static PyModuleDef_Slot slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};

static PyModuleDef definition = {.m_base = PyModuleDef_HEAD_INIT,
                                 .m_name = "ropeway._core",
                                 .m_doc = "libropeway for Python; see the ropeway package.",
                                 .m_methods = methods,
                                 .m_slots = slots};

PyMODINIT_FUNC PyInit__core(void);

PyMODINIT_FUNC PyInit__core(void) {
    return PyModuleDef_Init(&definition);
}
