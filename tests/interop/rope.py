# SPDX-License-Identifier: Apache-2.0
"""Ropeway's C library by ctypes: just what these tests need."""
import ctypes
import os
import pathlib
import sys
from ctypes import POINTER, byref, c_char_p, c_int, c_int32, c_size_t, c_uint32, c_uint64, c_void_p

from memory import Memory

sys.path.append(str(pathlib.Path(__file__).parents[2] / "tools"))
import header_lists

INIT, PROC, DONE, STOP, ERR = 1, 2, 3, 4, 5
LOG = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_char_p)
# Without these on both sides there are no queues in shared memory between Ropeway and stock peers.
SHARED_MEMORY = {"UCX_POSIX_ERROR_HANDLING": "y", "UCX_SYSV_ERROR_HANDLING": "y"}


def set_environment(transport):
    """For the connectors of this process from now on."""
    for name, value in SHARED_MEMORY.items():
        if transport == "shm":
            os.environ[name] = value
        else:
            os.environ.pop(name, None)


TRANSPORTS = {"shm": b"posix,sysv,cma,self", "tcp": b"tcp,self", "netns": b"tcp,self", "default": None}


TYPES = {
    "const char *": c_char_p, "ropeway_log_fn": LOG, "int32_t": c_int32, "uint32_t": c_uint32, "size_t": c_size_t,
    "void *": c_void_p, "ropeway_operation_fn": c_void_p, "const size_t *": c_void_p,
}  # fmt: skip


class ConnectorOptions(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t)] + [
        (option.name, TYPES[option.type]) for option in header_lists.connector_options()
    ]


class OperationOptions(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t)] + [
        (option.name, TYPES[option.type]) for option in header_lists.operation_options()
    ]


class Device(ctypes.Structure):
    _fields_ = [("kind", c_int32), ("id", c_int32)]


class Descriptor(ctypes.Structure):
    _fields_ = [("ptr", c_void_p), ("size", c_size_t), ("device", Device)]


class Stats(ctypes.Structure):
    _fields_ = [("struct_size", c_size_t)] + [
        (statistic.name, c_uint64) for statistic in header_lists.statistics()
    ]


class Error(Exception):
    def __init__(self, number):
        self.name = lib.ropeway_error_name(number).decode().removeprefix("ROPEWAY_")
        super().__init__(f"{self.name}: {lib.ropeway_last_error().decode()}")


lib = ctypes.CDLL(os.environ["ROPEWAY_LIBRARY"])
for name in (
    "ropeway_error_name ropeway_last_error ropeway_connector_name ropeway_operation_error_text "
    "ropeway_operation_peer ropeway_ucx_version"
).split():
    getattr(lib, name).restype = c_char_p
lib.ropeway_operation_release.restype = None
lib.ropeway_operation_path.restype = c_size_t


def check(number):
    if number != 0:
        raise Error(number)


class Connector:
    def __init__(self, transport="default", **options):
        values = ConnectorOptions()
        lib.ropeway_connector_options_init(byref(values), c_size_t(ctypes.sizeof(values)))
        values.interop = 1
        values.transports = TRANSPORTS[transport]
        if transport == "tcp":
            values.net_devices = b"lo"
        self.log_lines = []
        self.operations = set()  # not released, also when a test forgot them: their memory must stay
        self._log = LOG(lambda _, level, text: self.log_lines.append(text.decode()))
        values.log, values.log_level = self._log, 2
        for key, value in options.items():
            setattr(values, key, value)
        self.handle = c_void_p()
        check(lib.ropeway_connector_create(byref(values), byref(self.handle)))

    def close(self):
        check(lib.ropeway_connector_destroy(self.handle))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def name(self):
        return lib.ropeway_connector_name(self.handle).decode()

    def stats(self):
        stats = Stats()
        check(lib.ropeway_connector_stats(self.handle, byref(stats), c_size_t(ctypes.sizeof(stats))))
        return stats

    def readable(self, sizes, seed, **options):
        return Operation(self, "create_readable", sizes, seed, None, options)

    def writable(self, sizes, **options):
        return Operation(self, "create_writable", sizes, None, None, options)

    def read(self, metadata, sizes, **options):
        return Operation(self, "begin_read", sizes, None, metadata, options)

    def write(self, metadata, sizes, seed, **options):
        return Operation(self, "begin_write", sizes, seed, metadata, options)


class Operation:
    """An operation with memory of its own; a seed fills it with a pattern."""

    def __init__(self, connector, verb, sizes, seed, metadata, options):
        self.memory = Memory(sizes, seed)
        values = OperationOptions()
        lib.ropeway_operation_options_init(byref(values), c_size_t(ctypes.sizeof(values)))
        for key, value in options.items():
            setattr(values, key, value)
        descriptors = (Descriptor * len(sizes))(
            *(Descriptor(ptr, size, Device(1, 0)) for ptr, size in zip(self.memory.pointers(), sizes))
        )
        text = metadata.encode() if metadata is not None else None
        given = () if text is None else (text, c_size_t(len(text)))
        self.handle = c_void_p()
        check(
            getattr(lib, "ropeway_" + verb)(
                connector.handle, *given, descriptors, c_size_t(len(sizes)), byref(values),
                byref(self.handle),
            )
        )  # fmt: skip
        self.connector = connector
        connector.operations.add(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()

    def release(self):
        lib.ropeway_operation_release(self.handle)
        self.handle = None
        self.connector.operations.discard(self)

    def metadata(self):
        text = c_char_p()
        check(lib.ropeway_operation_metadata(self.handle, byref(text)))
        return text.value.decode()

    @property
    def status(self):
        return lib.ropeway_operation_status(self.handle)

    @property
    def error(self):
        return lib.ropeway_error_name(lib.ropeway_operation_error(self.handle)).decode()[8:]

    @property
    def text(self):
        return lib.ropeway_operation_error_text(self.handle).decode()

    @property
    def peer(self):
        return lib.ropeway_operation_peer(self.handle).decode()

    @property
    def path(self):
        buffer = ctypes.create_string_buffer(256)
        lib.ropeway_operation_path(self.handle, buffer, c_size_t(256))
        return buffer.value.decode()

    @property
    def done(self):
        done = c_uint64()
        lib.ropeway_operation_progress(self.handle, byref(done), None)
        return done.value

    def wait(self, seconds=30):
        """The status; None when it goes on."""
        lib.ropeway_operation_wait(self.handle, int(seconds * 1000))
        status = self.status
        return status if status >= DONE else None

    def cancel(self):
        return lib.ropeway_operation_cancel(self.handle)
