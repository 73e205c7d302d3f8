# SPDX-License-Identifier: Apache-2.0
"""The API of dynamo.nixl_connect, on Ropeway.

    import ropeway.nixl_connect as connect

or, with the program unchanged, `python -m ropeway.dropin program.py`, or call install() before the program
imports dynamo.nixl_connect.

What is better here: operations begin at once and end without polling, in any event loop and thread; both sides
learn how one ended, and a passive operation that failed raises; cancel() of a finished operation changes
nothing; wait_for_completion() takes a timeout; strided tensors are filled, and targets that can't be are
refused; the metadata of an operation gives access to that operation alone, once.
"""

import sys as _sys
from types import ModuleType as _ModuleType

from ._connector import Connection, Connector
from ._descriptor import Descriptor
from ._device import Device, DeviceKind, OperationKind, OperationStatus
from ._metadata import RdmaMetadata, SerializedDescriptor
from ._operation import (
    AbstractOperation,
    ActiveOperation,
    PassiveOperation,
    ReadableOperation,
    ReadOperation,
    Remote,
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
    "WritableOperation",
    "WriteOperation",
    "install",
]

def install() -> None:
    """Puts this module in the place of dynamo.nixl_connect, whether or not that is installed. Call it before
    the program imports that."""
    module = _sys.modules[__name__]
    try:
        import dynamo
    except ImportError:
        dynamo = _ModuleType("dynamo", "A stand-in: ropeway.nixl_connect.install() was called.")
        dynamo.__path__ = []
        _sys.modules["dynamo"] = dynamo
    _sys.modules["dynamo.nixl_connect"] = module
    dynamo.nixl_connect = module


for _name in __all__:
    if isinstance(globals()[_name], type):
        globals()[_name].__module__ = __name__
