/* SPDX-License-Identifier: Apache-2.0 */
/* The Python type of connectors. */
#include "core.h"

#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static connector_t *connectors; /* the open ones; guarded by the GIL */

/* ---- options ---- */

typedef struct option {
    const char *name;
    size_t offset;
    size_t size; /* 0: text */
} option_t;

#define RW_PY_FIELD(name) offsetof(ropeway_connector_options_t, name)
#define RW_PY_TEXT(type, name, ...) {#name, RW_PY_FIELD(name), 0},
#define RW_PY_NUMBER(type, name, ...) {#name, RW_PY_FIELD(name), sizeof(type)},
#define RW_PY_OTHER(...)
static const option_t options_known[] = {
    ROPEWAY_CONNECTOR_OPTION_MAP(RW_PY_TEXT, RW_PY_NUMBER, RW_PY_OTHER)};
#undef RW_PY_TEXT
#undef RW_PY_NUMBER
#define OPTIONS (sizeof options_known / sizeof options_known[0])

static bool take_number(const option_t *option, PyObject *value, void *field) {
    size_t number = PyLong_AsSize_t(value);
    uint32_t small = (uint32_t)number;

    if (PyErr_Occurred()) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "%s is %R; it must be from 0 up to %zu", option->name, value,
                     option->size == sizeof number ? SIZE_MAX : (size_t)UINT32_MAX - 1);
        return false;
    }
    if (option->size == sizeof number) {
        memcpy(field, &number, sizeof number);
    } else if (number < UINT32_MAX) {
        memcpy(field, &small, sizeof small);
    } else {
        PyErr_Format(PyExc_ValueError, "%s is %zu; it must be below %u", option->name, number,
                     UINT32_MAX);
        return false;
    }
    return true;
}

static bool take_text(const option_t *option, PyObject *value, PyObject *texts, void *field) {
    PyObject *bytes = PyUnicode_AsUTF8String(value);
    const char *text;
    bool ok;

    if (bytes == NULL) {
        return false;
    }
    text = PyBytes_AsString(bytes);
    ok = strlen(text) == (size_t)PyBytes_Size(bytes);
    if (!ok) {
        PyErr_Format(PyExc_ValueError, "%s must not have a NUL character in it", option->name);
    } else {
        memcpy(field, &text, sizeof text);
        ok = PyList_Append(texts, bytes) == 0;
    }
    Py_DECREF(bytes);
    return ok;
}

/* texts keeps what the options point to. */
static bool take_options(PyObject *dict, PyObject *texts, ropeway_connector_options_t *options) {
    ropeway_connector_options_init(options, sizeof *options);
    for (size_t i = 0; i < OPTIONS; i++) {
        const option_t *option = &options_known[i];
        PyObject *value = PyDict_GetItemString(dict, option->name);
        char *field = (char *)options + option->offset;

        if (value == NULL || value == Py_None) {
            continue;
        }
        if (!(option->size == 0 ? PyUnicode_Check(value) : PyLong_Check(value))) {
            PyErr_Format(PyExc_TypeError, "%s is %R; it must be %s", option->name, value,
                         option->size == 0 ? "a str" : "an int");
            return false;
        }
        if (!(option->size == 0 ? take_text(option, value, texts, field)
                                : take_number(option, value, field))) {
            return false;
        }
    }
    return true;
}

/* Takes value over; NULL: an exception is set. */
static bool put(PyObject *dict, const char *name, PyObject *value) {
    bool ok = value != NULL && PyDict_SetItemString(dict, name, value) == 0;

    Py_XDECREF(value);
    return ok;
}

PyObject *rw_py_options(void) {
    PyObject *dict = PyDict_New();
    ropeway_connector_options_t defaults;
    bool ok = dict != NULL;

    ropeway_connector_options_init(&defaults, sizeof defaults);
#define RW_PY_TEXT(type, name, ...) ok = ok && put(dict, #name, Py_NewRef(Py_None));
#define RW_PY_NUMBER(type, name, ...)                                                              \
    ok = ok && put(dict, #name, PyLong_FromSize_t((size_t)defaults.name));
    ROPEWAY_CONNECTOR_OPTION_MAP(RW_PY_TEXT, RW_PY_NUMBER, RW_PY_OTHER)
#undef RW_PY_TEXT
#undef RW_PY_NUMBER
    if (!ok) {
        Py_CLEAR(dict);
    }
    return dict;
}

/* ---- life ---- */

static void enlist(connector_t *self) {
    self->next = connectors;
    self->previous = NULL;
    if (connectors != NULL) {
        connectors->previous = self;
    }
    connectors = self;
}

static void delist(connector_t *self) {
    if (self->previous != NULL) {
        self->previous->next = self->next;
    } else {
        connectors = self->next;
    }
    if (self->next != NULL) {
        self->next->previous = self->previous;
    }
    self->next = self->previous = NULL;
}

static PyObject *connector_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    ropeway_connector_options_t options;
    PyObject *dict, *texts;
    connector_t *self = NULL;

    if (!PyArg_ParseTuple(args, "O!:Connector", &PyDict_Type, &dict) || kwargs != NULL) {
        return NULL;
    }
    texts = PyList_New(0);
    if (texts != NULL && take_options(dict, texts, &options)) {
        self = (connector_t *)PyType_GenericAlloc(type, 0);
    }
    if (self != NULL) {
        ropeway_error_t error;

        options.log = rw_py_log;
        Py_BEGIN_ALLOW_THREADS;
        error = ropeway_connector_create(&options, &self->handle);
        Py_END_ALLOW_THREADS;
        if (error != ROPEWAY_OK) {
            rw_py_raise((int)error, ropeway_last_error());
            Py_CLEAR(self);
        } else {
            enlist(self);
        }
    }
    Py_XDECREF(texts);
    return (PyObject *)self;
}

static void connector_close(connector_t *self) {
    if (!rw_py_gate_shut(&self->gate) || self->handle == NULL) {
        return;
    }
    delist(self);
    Py_BEGIN_ALLOW_THREADS;
    rw_py_gate_wait(&self->gate);
    ropeway_connector_destroy(self->handle);
    Py_END_ALLOW_THREADS;
    self->handle = NULL;
    rw_py_record_sweep();
}

static void connector_dealloc(PyObject *object) {
    connector_close((connector_t *)object);
    rw_py_free(object);
}

static PyObject *connector_close_method(PyObject *self, PyObject *unused) {
    (void)unused;
    connector_close((connector_t *)self);
    Py_RETURN_NONE;
}

PyObject *rw_py_shutdown(PyObject *module, PyObject *unused) {
    (void)module;
    (void)unused;
    while (connectors != NULL) {
        connector_t *self = connectors;

        Py_INCREF(self);
        connector_close(self);
        Py_DECREF(self);
    }
    Py_RETURN_NONE;
}

/* ---- operations ---- */

/* The list that the library gets. */
typedef struct pieces {
    ropeway_descriptor_t *list;
    size_t count, capacity;
    size_t *groups; /* how many of them each descriptor has */
    bool grouped;   /* some descriptor has more than one */
} pieces_t;

static bool reserve(pieces_t *pieces, size_t more) {
    size_t capacity = pieces->capacity;
    ropeway_descriptor_t *list;

    if (more <= capacity - pieces->count) {
        return true;
    }
    capacity = capacity * 2 > pieces->count + more ? capacity * 2 : pieces->count + more;
    list = realloc(pieces->list, capacity * sizeof *list);
    if (list == NULL) {
        PyErr_NoMemory();
        return false;
    }
    pieces->list = list;
    pieces->capacity = capacity;
    return true;
}

/* A View of dense memory, or a strided view whose runs are moved where they lie. Returns the number
 * of pieces; 0: an exception is set. */
static size_t parse_entry(PyObject *entry, pieces_t *pieces) {
    strided_t strided;
    size_t runs;

    if (rw_py_is_view(entry)) {
        return reserve(pieces, 1) && rw_py_view_descriptor(entry, &pieces->list[pieces->count]);
    }
    if (!rw_py_strided_parse(entry, &strided)) {
        return 0;
    }
    runs = rw_py_runs(&strided);
    if (!reserve(pieces, runs)) {
        return 0;
    }
    rw_py_runs_fill(&strided, pieces->list + pieces->count);
    return runs;
}

/* What it leaves is freed by the caller, also after an error. */
static bool parse_pieces(PyObject *list, pieces_t *pieces) {
    Py_ssize_t length = PyList_Size(list);

    if (length < 0) {
        return false;
    }
    pieces->groups = calloc((size_t)length + 1, sizeof *pieces->groups);
    if (pieces->groups == NULL) {
        PyErr_NoMemory();
        return false;
    }
    if (!reserve(pieces, (size_t)length + 1)) {
        return false;
    }
    for (Py_ssize_t i = 0; i < length; i++) {
        size_t number = parse_entry(PyList_GetItem(list, i), pieces);

        if (number == 0) {
            return false;
        }
        pieces->groups[i] = number;
        pieces->count += number;
        pieces->grouped |= number > 1;
    }
    return true;
}

typedef struct request {
    int kind;
    pieces_t pieces;
    const char *metadata;
    Py_ssize_t metadata_length;
    ropeway_operation_options_t options;
} request_t;

static ropeway_error_t start(ropeway_connector_t *connector, const request_t *request,
                             ropeway_operation_t **handle) {
    switch ((ropeway_operation_kind_t)request->kind) {
    case ROPEWAY_OPERATION_READABLE:
        return ropeway_create_readable(connector, request->pieces.list, request->pieces.count,
                                       &request->options, handle);
    case ROPEWAY_OPERATION_WRITABLE:
        return ropeway_create_writable(connector, request->pieces.list, request->pieces.count,
                                       &request->options, handle);
    case ROPEWAY_OPERATION_READ:
        return ropeway_begin_read(connector, request->metadata, (size_t)request->metadata_length,
                                  request->pieces.list, request->pieces.count, &request->options,
                                  handle);
    case ROPEWAY_OPERATION_WRITE:
        return ropeway_begin_write(connector, request->metadata, (size_t)request->metadata_length,
                                   request->pieces.list, request->pieces.count, &request->options,
                                   handle);
    }
    return ROPEWAY_ERR_INVALID_ARGUMENT;
}

static PyObject *start_without_gil(connector_t *self, const request_t *request, record_t *record) {
    ropeway_error_t error;

    if (!rw_py_gate_enter(&self->gate)) {
        rw_py_record_free(record);
        return rw_py_closed("connector");
    }
    Py_BEGIN_ALLOW_THREADS;
    error = start(self->handle, request, &record->handle);
    rw_py_gate_leave(&self->gate);
    Py_END_ALLOW_THREADS;
    if (error != ROPEWAY_OK) {
        rw_py_raise((int)error, ropeway_last_error());
        rw_py_record_free(record);
        return NULL;
    }
    return rw_py_operation_new((PyObject *)self, record);
}

static uint32_t milliseconds(long long value) {
    return value < 0 ? ROPEWAY_INHERIT : value < UINT32_MAX ? (uint32_t)value : UINT32_MAX - 1;
}

static PyObject *connector_start(PyObject *object, PyObject *args) {
    connector_t *self = (connector_t *)object;
    request_t request = {0};
    PyObject *list, *owners, *back, *keep, *result = NULL;
    long long deadline, stall;
    unsigned flags;
    const char *trace;
    record_t *record = NULL;

    if (!PyArg_ParseTuple(args, "iO!OOz#LLIz:start", &request.kind, &PyList_Type, &list, &owners,
                          &back, &request.metadata, &request.metadata_length, &deadline, &stall,
                          &flags, &trace)) {
        return NULL;
    }
    rw_py_record_sweep();
    if (parse_pieces(list, &request.pieces)) {
        keep = PyTuple_Pack(2, object, owners);
        record = keep == NULL ? NULL : rw_py_record_new(keep, back);
        Py_XDECREF(keep);
    }
    if (record != NULL) {
        ropeway_operation_options_init(&request.options, sizeof request.options);
        request.options.flags = flags;
        request.options.trace = trace;
        request.options.deadline_ms = milliseconds(deadline);
        request.options.stall_ms = milliseconds(stall);
        request.options.callback = rw_py_record_on_end;
        request.options.callback_arg = record;
        if (request.pieces.grouped) {
            request.options.group_sizes = request.pieces.groups;
            request.options.group_count = (size_t)PyList_Size(list);
        }
        result = start_without_gil(self, &request, record);
    }
    free(request.pieces.list);
    free(request.pieces.groups);
    return result;
}

/* ---- registered memory ---- */

static const char MEMORY[] = "ropeway._core.memory";

static PyObject *connector_register(PyObject *object, PyObject *view) {
    connector_t *self = (connector_t *)object;
    ropeway_descriptor_t descriptor;
    ropeway_memory_t *memory = NULL;
    ropeway_error_t error;

    if (!rw_py_view_descriptor(view, &descriptor)) {
        return NULL;
    }
    if (!rw_py_gate_enter(&self->gate)) {
        return rw_py_closed("connector");
    }
    Py_BEGIN_ALLOW_THREADS;
    error = ropeway_memory_register(self->handle, descriptor.ptr, descriptor.size,
                                    descriptor.device, &memory);
    rw_py_gate_leave(&self->gate);
    Py_END_ALLOW_THREADS;
    if (error != ROPEWAY_OK) {
        return rw_py_raise((int)error, ropeway_last_error());
    }
    return PyCapsule_New(memory, MEMORY, NULL);
}

/* A closed connector has freed its registrations itself. */
static PyObject *connector_deregister(PyObject *object, PyObject *capsule) {
    connector_t *self = (connector_t *)object;
    ropeway_memory_t *memory = PyCapsule_GetPointer(capsule, MEMORY);

    if (memory == NULL || PyCapsule_SetName(capsule, "released") < 0) {
        return NULL;
    }
    if (rw_py_gate_enter(&self->gate)) {
        Py_BEGIN_ALLOW_THREADS;
        ropeway_memory_release(memory);
        rw_py_gate_leave(&self->gate);
        Py_END_ALLOW_THREADS;
    }
    Py_RETURN_NONE;
}

/* ---- what it answers ---- */

static PyObject *stats_dict(const ropeway_stats_t *stats) {
    PyObject *dict = PyDict_New();
    bool ok = dict != NULL;

#define RW_PY_COUNTER(name, ...)                                                                   \
    ok = ok && put(dict, #name, PyLong_FromUnsignedLongLong(stats->name));
    ROPEWAY_STATS_MAP(RW_PY_COUNTER, RW_PY_COUNTER)
#undef RW_PY_COUNTER
    if (!ok) {
        Py_CLEAR(dict);
    }
    return dict;
}

static PyObject *connector_stats(PyObject *object, PyObject *unused) {
    connector_t *self = (connector_t *)object;
    ropeway_stats_t stats;
    ropeway_error_t error;

    (void)unused;
    if (!rw_py_gate_enter(&self->gate)) {
        return rw_py_closed("connector");
    }
    Py_BEGIN_ALLOW_THREADS;
    error = ropeway_connector_stats(self->handle, &stats, sizeof stats);
    rw_py_gate_leave(&self->gate);
    Py_END_ALLOW_THREADS;
    return error == ROPEWAY_OK ? stats_dict(&stats) : rw_py_raise((int)error, ropeway_last_error());
}

static PyObject *connector_route(PyObject *object, PyObject *args) {
    connector_t *self = (connector_t *)object;
    ropeway_device_t device;
    const char *metadata;
    char *json = NULL;
    ropeway_error_t error;

    if (!PyArg_ParseTuple(args, "sii:route", &metadata, &device.kind, &device.id)) {
        return NULL;
    }
    if (!rw_py_gate_enter(&self->gate)) {
        return rw_py_closed("connector");
    }
    Py_BEGIN_ALLOW_THREADS;
    error = ropeway_connector_route(self->handle, metadata, strlen(metadata), device, &json);
    rw_py_gate_leave(&self->gate);
    Py_END_ALLOW_THREADS;
    return rw_py_take_text(error, json);
}

static PyObject *connector_name(PyObject *object, void *unused) {
    connector_t *self = (connector_t *)object;
    PyObject *name;

    (void)unused;
    if (!rw_py_gate_enter(&self->gate)) {
        return rw_py_closed("connector");
    }
    name = PyUnicode_FromString(ropeway_connector_name(self->handle));
    rw_py_gate_leave(&self->gate);
    return name;
}

static PyObject *connector_closed(PyObject *object, void *unused) {
    (void)unused;
    return PyBool_FromLong(((connector_t *)object)->gate.closing);
}

static PyMethodDef methods[] = {
    {"start", connector_start, METH_VARARGS,
     "start(kind, descriptors, owners, back, metadata, deadline_ms, stall_ms, flags, trace)"},
    {"register", connector_register, METH_O, "Registers the memory of a dense View."},
    {"deregister", connector_deregister, METH_O, "Ends a registration."},
    {"stats", connector_stats, METH_NOARGS, "Counters and gauges."},
    {"route", connector_route, METH_VARARGS, "route(metadata, kind, id) -> JSON"},
    {"close", connector_close_method, METH_NOARGS, "Cancels what is live and waits for quiet."},
    {NULL, NULL, 0, NULL}};

static PyGetSetDef properties[] = {{"name", connector_name, NULL, NULL, NULL},
                                   {"closed", connector_closed, NULL, NULL, NULL},
                                   {NULL, NULL, NULL, NULL, NULL}};

int rw_py_connector_type(PyObject *module) {
    static PyType_Slot slots[] = {{Py_tp_new, connector_new},
                                  {Py_tp_dealloc, connector_dealloc},
                                  {Py_tp_methods, methods},
                                  {Py_tp_getset, properties},
                                  {0, NULL}};
    static PyType_Spec spec = {"ropeway._core.Connector", sizeof(connector_t), 0,
                               Py_TPFLAGS_DEFAULT, slots};

    return rw_py_type(module, &spec, "Connector") == NULL ? -1 : 0;
}
