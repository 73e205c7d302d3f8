# SPDX-License-Identifier: Apache-2.0
"""Connector: a worker, and the methods that make its operations."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from functools import cached_property
from typing import Any, Callable, Optional, TypeVar, overload

from ._connection import Connection, Worker
from ._memory import Descriptors, OperationKind, RdmaMetadata, check_list
from ._operations import ReadableOperation, ReadOperation, WritableOperation, WriteOperation

_IF_THERE_IS_A_UCX = 2  # of the option interop of <ropeway.h>

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


class Connector(Worker):
    """A worker: it offers memory to others, and reads and writes theirs. Any thread may use it, and any event loop.

    What its four methods give has begun. It can be used at once, awaited (which gives it back), or handed to asyncio as
    a coroutine; an error in the arguments is raised by the call itself. They raise TypeError for arguments of other
    types, ValueError for an empty list, descriptors of several kinds of memory, a null pointer, and counts or sizes
    that differ from the peer's, and RuntimeError (ropeway.RopewayError) when the operation can't begin.
    """

    def __init__(
        self,
        worker_id: Optional[str] = None,
        *,
        interop: Optional[bool] = None,
        deadline: Optional[float] = None,
        stall: Optional[float] = None,
        enable_progress_thread: bool = True,
        namespace: Optional[str] = None,
        runtime: Any = None,
    ) -> None:
        """worker_id: the worker's name; by default a new UUID.
        runtime, namespace: kept for who asks for them, as in 2025; nothing here uses them.

        Not in upstream:
        interop: whether stock peers may read and write what this connector offers. None: yes, unless the environment
        has ROPEWAY_INTEROP=0; where no UCX can be loaded the log says so in a warning, and peers on Ropeway remain.
        deadline: seconds that an operation may live; 0 or None: no limit.
        stall: seconds without a byte after which a transfer fails; 0: never; None: 30.
        enable_progress_thread: there always is one, and it sleeps when idle.
        """
        if namespace is not None and not isinstance(namespace, str):
            raise TypeError("Argument `namespace` must be `str` or `None`.")
        setting: int = bool(interop)
        if interop is None:
            # On by default: this stands in for something with exactly that exposure.
            # Where there is no UCX it works without, unless the environment asks for it.
            asked = os.environ.get("ROPEWAY_INTEROP")
            setting = _IF_THERE_IS_A_UCX if asked is None else asked != "0"
        super().__init__(worker_id, {"interop": setting, "deadline": deadline, "stall": stall})
        self._namespace = "dynamo" if namespace is None else namespace
        self._runtime = runtime

    @property
    def namespace(self) -> str:
        """The namespace that it was made with, as in 2025; "dynamo" by default."""
        return self._namespace

    @property
    def runtime(self) -> Any:
        """The runtime that it was made with, as in 2025, or None."""
        return self._runtime

    @property
    def metadata(self) -> bytes:
        """How to reach this worker, as in 2025: connection.metadata."""
        return self.connection.metadata

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
        """Begins to read what a peer's ReadableOperation offers into local_descriptors. The arguments may change
        places. Raises RuntimeError for the metadata of a WritableOperation."""
        metadata, descriptors = _told_apart("begin_read", remote_metadata, local_descriptors)
        if metadata.operation_kind != OperationKind.READ:
            raise RuntimeError("Cannot create a `ReadOperation` to read from a remote `WritableOperation`.")
        return ReadOperation(self.connection, metadata, descriptors)

    @overload
    def begin_write(self, local_descriptors: Descriptors, remote_metadata: RdmaMetadata) -> WriteOperation: ...
    @overload
    def begin_write(self, local_descriptors: RdmaMetadata, remote_metadata: Descriptors) -> WriteOperation: ...
    @_coroutine_function
    def begin_write(self, local_descriptors: Any, remote_metadata: Any) -> WriteOperation:
        """Begins to write local_descriptors into what a peer's WritableOperation offers. The arguments may change
        places. Raises RuntimeError for the metadata of a ReadableOperation."""
        metadata, descriptors = _told_apart("begin_write", remote_metadata, local_descriptors)
        if metadata.operation_kind != OperationKind.WRITE:
            raise RuntimeError("Cannot create a `WriteOperation` to write to a remote `ReadableOperation`.")
        return WriteOperation(self.connection, descriptors, metadata)

    @_coroutine_function
    def create_readable(self, local_descriptors: Descriptors) -> ReadableOperation:
        """Lets one peer read local_descriptors, once: who has the metadata() of the result."""
        return ReadableOperation(self.connection, local_descriptors)

    @_coroutine_function
    def create_writable(self, local_descriptors: Descriptors) -> WritableOperation:
        """Lets one peer write local_descriptors, once: who has the metadata() of the result."""
        return WritableOperation(self.connection, local_descriptors)

    async def initialize(self) -> None:
        """Does nothing. Programs of 2025 must call it, and may."""

    async def _create_connection(self) -> Connection:
        """connection; real programs ask for it by this name."""
        return self.connection


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
