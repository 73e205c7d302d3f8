# SPDX-License-Identifier: Apache-2.0
"""Connector, and the Connection that it makes when it is first needed."""

from __future__ import annotations

import os
import socket
import sys
import threading
import uuid
from functools import cached_property
from typing import Any, Optional

from ._active import ReadOperation, WriteOperation
from ._connection import Connection
from ._descriptor import Descriptors, check_list
from ._device import OperationKind
from ._metadata import RdmaMetadata
from ._passive import ReadableOperation, WritableOperation

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

    async def begin_read(self, remote_metadata: RdmaMetadata, local_descriptors: Descriptors) -> ReadOperation:
        """Begins to read a remote readable operation into local_descriptors."""
        _check_metadata(remote_metadata)
        check_list("local_descriptors", local_descriptors)
        if remote_metadata.operation_kind != OperationKind.READ:
            raise RuntimeError("Cannot create a `ReadOperation` to read from a remote `WritableOperation`.")
        return ReadOperation(await self._create_connection(), remote_metadata, local_descriptors)

    async def begin_write(self, local_descriptors: Descriptors, remote_metadata: RdmaMetadata) -> WriteOperation:
        """Begins to write local_descriptors into a remote writable operation."""
        _check_metadata(remote_metadata)
        check_list("local_descriptors", local_descriptors)
        if remote_metadata.operation_kind != OperationKind.WRITE:
            raise RuntimeError("Cannot create a `WriteOperation` to write to a remote `ReadableOperation`.")
        return WriteOperation(await self._create_connection(), local_descriptors, remote_metadata)

    async def create_readable(self, local_descriptors: Descriptors) -> ReadableOperation:
        return ReadableOperation(await self._create_connection(), local_descriptors)

    async def create_writable(self, local_descriptors: Descriptors) -> WritableOperation:
        return WritableOperation(await self._create_connection(), local_descriptors)

    async def initialize(self) -> None:
        """Deprecated, and does nothing."""

    async def _create_connection(self) -> Connection:
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


def _check_metadata(remote_metadata: Any) -> None:
    if not isinstance(remote_metadata, RdmaMetadata):
        raise TypeError("Argument `remote_metadata` must be `RdmaMetadata`.")
