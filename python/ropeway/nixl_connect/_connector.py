# SPDX-License-Identifier: Apache-2.0
"""Connector, and the Connection that it makes when it is first needed."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import threading
import uuid
from functools import cached_property
from typing import Any, Optional

from .._load import core as _core
from ..connector import Connector as _Native
from ..operation import OperationKind as _NativeKind
from ._descriptor import Descriptors, check_list
from ._device import Device, OperationKind
from ._metadata import RdmaMetadata, unpack_agent
from ._operation import ReadableOperation, ReadOperation, WritableOperation, WriteOperation

logger = logging.getLogger("ropeway.nixl_connect")


class Connection:
    """A connector's presence in this process. `number` makes its name unique."""

    def __init__(self, connector: Connector, number: int) -> None:
        if not isinstance(connector, Connector):
            raise TypeError("Argument `connector` must be `Connector`.")
        if not isinstance(number, int):
            raise TypeError("Argument `number` must be of type `int`.")
        if number <= 0:
            raise ValueError(f"Argument `number` must be greater than 0; it is {number}.")
        self._connector = connector
        self._is_initialized = False
        self._name = f"{connector.name}-{number}"
        self._process = os.getpid()
        self._native = _Native(name=self._name, **connector._options)
        self._remote_refs: dict[str, int] = {}
        logger.debug("Created %r", self)

    @property
    def connector(self) -> Connector:
        return self._connector

    @property
    def metadata(self) -> bytes:
        """This agent's metadata: how to reach it, and no memory."""
        place = [(_core.NOWHERE, 0, 1, 0)]
        operation = self._native._core.start(_NativeKind.READABLE, place, None, None, None, -1, -1, False)
        packed = json.loads(operation.metadata())["nixl_metadata"]
        operation.release()
        return unpack_agent(packed)

    @property
    def name(self) -> str:
        return self._name

    async def initialize(self) -> None:
        self._is_initialized = True

    def stats(self) -> dict[str, int]:
        """Counters since the connection was made, and gauges, by the names of ropeway_stats_t."""
        return self._native.stats()

    def acquire_remote_ref(self, name: str) -> None:
        self._remote_refs[name] = self._remote_refs.get(name, 0) + 1

    def release_remote_ref(self, name: str) -> bool:
        """Whether that was the last one."""
        left = self._remote_refs.pop(name, 0) - 1
        if left > 0:
            self._remote_refs[name] = left
        return left == 0

    def _register(self, ptr: int, size: int, device: Device) -> object:
        return self._native._core.register(ptr, size, int(device.kind), device.id) if size else _NOTHING

    def _deregister(self, handle: object) -> None:
        if handle is not _NOTHING:
            self._native._core.deregister(handle)

    def __repr__(self) -> str:
        return f"Connection(is_initialized={self._is_initialized}, name='{self._name}')"

    def __str__(self) -> str:
        return self._name


_NOTHING = object()


class Connector:
    """worker_id: the worker's name; by default a new UUID.

    Beyond dynamo.nixl_connect:
    interop: whether stock peers may read and write what this connector offers. None: yes, unless the environment
    has ROPEWAY_INTEROP=0.
    deadline: seconds that an operation may live; 0 or None: no limit.
    stall: seconds without a byte after which a transfer fails; 0: never; None: 30.
    """

    def __init__(
        self,
        worker_id: Optional[str] = None,
        *,
        interop: Optional[bool] = None,
        deadline: Optional[float] = None,
        stall: Optional[float] = None,
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
