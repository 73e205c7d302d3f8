# SPDX-License-Identifier: Apache-2.0
"""The API of dynamo.nixl_connect, on Ropeway.

    import ropeway.nixl_connect as connect

or, with the program unchanged, `python -m ropeway.dropin program.py`, or call install() before the program
imports dynamo.nixl_connect.

Programs of any release run: those of 2025 use what a method gives at once, those of 2026 await it.

What is better here: operations begin at once and end without polling, in any event loop and thread; both sides
learn how one ended, and a passive operation that failed raises; cancel() of a finished operation changes
nothing; wait_for_completion() takes a timeout; strided tensors are filled, and targets that can't be are
refused; the metadata of an operation gives access to that operation alone, once. docs/nixl_connect.md in the
repository has it class by class.
"""

import importlib as _importlib
import sys as _sys
import warnings as _warnings
from types import ModuleType as _ModuleType

from ._connection import Connection, Remote
from ._connector import Connector
from ._memory import (
    Descriptor,
    Device,
    DeviceKind,
    OperationKind,
    OperationStatus,
    RdmaMetadata,
    SerializedDescriptor,
    SerializedRequest,
)
from ._operations import (
    AbstractOperation,
    ActiveOperation,
    PassiveOperation,
    ReadableOperation,
    ReadOperation,
    WritableOperation,
    WriteOperation,
)

__all__ = [
    "AbstractOperation",
    "ActiveOperation",
    "Connection",
    "Connector",
    "Descriptor",
    "Device",
    "DeviceKind",
    "OperationKind",
    "OperationStatus",
    "PassiveOperation",
    "RdmaMetadata",
    "ReadOperation",
    "ReadableOperation",
    "Remote",
    "SerializedDescriptor",
    "SerializedRequest",
    "WritableOperation",
    "WriteOperation",
    "install",
]


# The module's name, and the one that it had in the first releases of 2025.
_NAMES = ("nixl_connect", "connect")


def install() -> None:
    """Puts this module in the place of dynamo.nixl_connect and dynamo.connect, whether or not those are installed. Call it
    before the program imports them; it warns when it comes too late."""
    module = _sys.modules[__name__]
    if _sys.modules.get("dynamo.nixl_connect") not in (None, module):
        _warnings.warn(
            "dynamo.nixl_connect was imported before install(): what was taken from it stays in use",
            RuntimeWarning,
            stacklevel=2,
        )
    try:
        dynamo = _importlib.import_module("dynamo")
    except ImportError:
        dynamo = _ModuleType("dynamo", "A stand-in: ropeway.nixl_connect.install() was called.")
        dynamo.__path__ = []
        _sys.modules["dynamo"] = dynamo
    for name in _NAMES:
        _sys.modules[f"dynamo.{name}"] = module
        setattr(dynamo, name, module)


for _name in __all__:
    if isinstance(globals()[_name], type):
        globals()[_name].__module__ = __name__
