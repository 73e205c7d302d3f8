# SPDX-License-Identifier: Apache-2.0
"""Ropeway: move memory between workers.

    import ropeway

    with ropeway.Connector() as connector:
        op = connector.create_readable(array)      # one worker: send op.metadata to the other
        await op                                   # ... and wait until it has read

    with ropeway.Connector() as connector:
        await connector.begin_read(metadata, array)    # the other worker

Programs written for dynamo.nixl_connect: see ropeway.nixl_connect.
"""

from ._load import core as _core
from .connector import Connector
from .errors import (
    ArgumentError,
    ErrorCode,
    OperationCancelled,
    OperationTimeout,
    PeerError,
    RopewayError,
)
from .memory import Descriptor, Device, DeviceKind, Registration
from .operation import Operation, OperationKind, OperationStatus, Progress

__all__ = [
    "ArgumentError",
    "Connector",
    "Descriptor",
    "Device",
    "DeviceKind",
    "ErrorCode",
    "Operation",
    "OperationCancelled",
    "OperationKind",
    "OperationStatus",
    "OperationTimeout",
    "PeerError",
    "Progress",
    "Registration",
    "RopewayError",
    "describe",
]


def __getattr__(name: str) -> str:
    if name == "__version__":
        return _core.version
    raise AttributeError(f"module 'ropeway' has no attribute '{name}'")


def describe(transports: "str | None" = None, net_devices: "str | None" = None) -> "dict[str, object]":
    """What this process can use: versions, UCX's configuration, memory types, transports and devices."""
    import json

    found: "dict[str, object]" = json.loads(_core.describe(transports, net_devices))
    return found
