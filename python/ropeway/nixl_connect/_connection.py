# SPDX-License-Identifier: Apache-2.0
"""Connection: a connector's presence in this process."""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING, Any

from .._load import core as _core
from ..connector import Connector as _Native
from ..operation import OperationKind as _NativeKind
from ._device import Device
from ._metadata import unpack_agent

if TYPE_CHECKING:
    from ._connector import Connector

logger = logging.getLogger("ropeway.nixl_connect")
_NOTHING = object()


class Connection:
    """A connector's presence in this process. `number` makes its name unique."""

    def __init__(self, connector: Connector, number: int) -> None:
        from ._connector import Connector

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
        place: list[_core._Piece] = [(_core.NOWHERE, 0, 1, 0)]
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


def check_connection(connection: Any) -> None:
    if not isinstance(connection, Connection):
        raise TypeError("Argument `connection` must be `Connection`.")
