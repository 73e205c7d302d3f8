# SPDX-License-Identifier: Apache-2.0
"""Connector, and the Connection that it makes when it is first needed."""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
import sys
import threading
import uuid
from functools import cached_property
from typing import Any, Callable, Optional, TypeVar, overload

from ._active import ReadOperation, WriteOperation
from ._connection import Connection
from ._descriptor import Descriptors, check_list
from ._device import OperationKind
from ._metadata import RdmaMetadata
from ._passive import ReadableOperation, WritableOperation

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _coroutine_function(function: _Function) -> _Function:
    """For who asks: what these methods give is awaited as the result of upstream's `async def` is. The inspect
    module can be told since 3.12, asyncio before."""
    mark = getattr(inspect, "markcoroutinefunction", None)
    if mark is not None:
        mark(function)
    else:
        setattr(function, "_is_coroutine", getattr(asyncio.coroutines, "_is_coroutine"))
    return function


class Connector:
    """worker_id: the worker's name; by default a new UUID.

    Beyond dynamo.nixl_connect:
    interop: whether stock peers may read and write what this connector offers. None: yes, unless the environment
    has ROPEWAY_INTEROP=0.
    deadline: seconds that an operation may live; 0 or None: no limit.
    stall: seconds without a byte after which a transfer fails; 0: never; None: 30.
    enable_progress_thread: for programs written for later releases; there always is one, and it sleeps when idle.
    """

    def __init__(
        self,
        worker_id: Optional[str] = None,
        *,
        interop: Optional[bool] = None,
        deadline: Optional[float] = None,
        stall: Optional[float] = None,
        enable_progress_thread: bool = True,
    ) -> None:
        if worker_id is None:
            worker_id = uuid.uuid4().hex
        if not isinstance(worker_id, str) or not worker_id:
            raise TypeError("Argument `worker_id` must be a non-empty `str` or `None`.")
        if interop is None:
            # On by default: this stands in for something with exactly that exposure.
            interop = os.environ.get("ROPEWAY_INTEROP") != "0"
        self._options: dict[str, Any] = {"interop": interop, "deadline": deadline, "stall": stall}
        self._worker_id = worker_id
        self._hostname = socket.gethostname()
        self._connection_count = 0
        self._shared_connection: Optional[Connection] = None
        # Several event loops may ask for the connection at once: no lock of asyncio's.
        self._lock = threading.Lock()

    @property
    def hostname(self) -> str:
        return self._hostname

    @property
    def name(self) -> str:
        return self._worker_id

    @cached_property
    def is_cuda_available(self) -> bool:
        """Asks cupy or torch when the program has loaded one, else whether a device file of the driver is there."""
        for module in ("cupy", "torch"):
            if module in sys.modules:
                try:
                    return bool(sys.modules[module].cuda.is_available())
                except Exception:  # cupy raises the driver's own errors
                    return False
        return os.path.exists("/dev/nvidiactl")

    @overload
    def begin_read(self, remote_metadata: RdmaMetadata, local_descriptors: Descriptors) -> ReadOperation: ...
    @overload
    def begin_read(self, remote_metadata: Descriptors, local_descriptors: RdmaMetadata) -> ReadOperation: ...
    @_coroutine_function
    def begin_read(self, remote_metadata: Any, local_descriptors: Any) -> ReadOperation:
        """Begins to read a remote readable operation into local_descriptors. The arguments may change places."""
        metadata, descriptors = _told_apart("begin_read", remote_metadata, local_descriptors)
        if metadata.operation_kind != OperationKind.READ:
            raise RuntimeError("Cannot create a `ReadOperation` to read from a remote `WritableOperation`.")
        return ReadOperation(self._connect(), metadata, descriptors)

    @overload
    def begin_write(self, local_descriptors: Descriptors, remote_metadata: RdmaMetadata) -> WriteOperation: ...
    @overload
    def begin_write(self, local_descriptors: RdmaMetadata, remote_metadata: Descriptors) -> WriteOperation: ...
    @_coroutine_function
    def begin_write(self, local_descriptors: Any, remote_metadata: Any) -> WriteOperation:
        """Begins to write local_descriptors into a remote writable operation. The arguments may change places."""
        metadata, descriptors = _told_apart("begin_write", remote_metadata, local_descriptors)
        if metadata.operation_kind != OperationKind.WRITE:
            raise RuntimeError("Cannot create a `WriteOperation` to write to a remote `ReadableOperation`.")
        return WriteOperation(self._connect(), descriptors, metadata)

    @_coroutine_function
    def create_readable(self, local_descriptors: Descriptors) -> ReadableOperation:
        """Lets one peer read local_descriptors, once."""
        return ReadableOperation(self._connect(), local_descriptors)

    @_coroutine_function
    def create_writable(self, local_descriptors: Descriptors) -> WritableOperation:
        """Lets one peer write local_descriptors, once."""
        return WritableOperation(self._connect(), local_descriptors)

    async def initialize(self) -> None:
        """Deprecated, and does nothing."""

    async def _create_connection(self) -> Connection:
        """The one connection of this connector; real programs ask for it by this name."""
        return self._connect()

    def _connect(self) -> Connection:
        """The one connection of this connector; a new one in the child of a fork."""
        connection = self._shared_connection
        if connection is not None and connection._process == os.getpid():
            return connection
        with self._lock:
            connection = self._shared_connection
            if connection is None or connection._process != os.getpid():
                self._connection_count += 1
                connection = Connection(self, self._connection_count)
                connection._is_initialized = True
                self._shared_connection = connection
        return connection

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Connector) and self._worker_id == other._worker_id

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Connector(worker_id='{self._worker_id}', hostname={self._hostname})"

    def __str__(self) -> str:
        return self._worker_id


def _told_apart(call: str, one: Any, other: Any) -> tuple[RdmaMetadata, Descriptors]:
    """The metadata and the descriptors, in whatever order they were given."""
    metadata, descriptors = (one, other) if isinstance(one, RdmaMetadata) else (other, one)
    if not isinstance(metadata, RdmaMetadata):
        raise TypeError(
            f"{call}() takes the peer's `RdmaMetadata` and a `Descriptor` or list of them, in either order; it got "
            f"`{type(one).__name__}` and `{type(other).__name__}`. RdmaMetadata.model_validate() makes one of a dict."
        )
    check_list("local_descriptors", descriptors)
    return metadata, descriptors
