# SPDX-License-Identifier: Apache-2.0
"""Operations that wait for a peer."""

from __future__ import annotations

import base64
from collections.abc import Coroutine
from typing import Any, Optional

from .. import errors
from ..operation import OperationKind as NativeKind
from ._connection import Connection
from ._descriptor import Descriptors
from ._device import OperationKind
from ._metadata import RdmaMetadata
from ._operation import AbstractOperation, check_kind


class PassiveOperation(AbstractOperation):
    """An operation that waits for a peer, who needs its metadata()."""

    def __init__(self, connection: Connection, operation_kind: OperationKind, local_descriptors: Descriptors) -> None:
        check_kind(operation_kind)
        super().__init__(connection, operation_kind, local_descriptors, None, None)
        self._serialized: dict[bool, RdmaMetadata] = {}
        self._start(NativeKind.READABLE if operation_kind is OperationKind.READ else NativeKind.WRITABLE, None)

    def metadata(self, hex_encode: bool = False) -> RdmaMetadata:
        """What the peer needs to begin its side, once. hex_encode: as older peers read it."""
        hex_encode = bool(hex_encode)
        found = self._serialized.get(hex_encode)
        if found is None:
            found = self._serialized[hex_encode] = self._make_metadata(hex_encode)
        return found

    def _make_metadata(self, hex_encode: bool) -> RdmaMetadata:
        if self._core is None:
            raise RuntimeError("The operation was not started.")
        made = RdmaMetadata.model_validate_json(self._core.metadata())
        if hex_encode:
            packed = base64.b64decode(made.nixl_metadata.removeprefix("b64:")).hex()
            return made.model_copy(update={"nixl_metadata": packed})
        return made

    @property
    def _notification_key(self) -> str:
        try:
            return self.metadata().notification_key
        except errors.RopewayError:
            return ""

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(operation_kind={self._operation_kind}, local_descriptors={self._local_desc_list}, "
            f"notification_key='{self._notification_key}', status='{self.status}')"
        )


class ReadableOperation(PassiveOperation, Coroutine[Any, Any, "ReadableOperation"]):
    """Lets one peer read local_descriptors, once."""

    def __init__(self, connection: Connection, local_descriptors: Descriptors) -> None:
        super().__init__(connection, OperationKind.READ, local_descriptors)

    async def wait_for_completion(self, timeout: Optional[float] = None) -> None:
        await self._wait(timeout)


class WritableOperation(PassiveOperation, Coroutine[Any, Any, "WritableOperation"]):
    """Lets one peer write local_descriptors, once."""

    def __init__(self, connection: Connection, local_descriptors: Descriptors) -> None:
        super().__init__(connection, OperationKind.WRITE, local_descriptors)

    async def wait_for_completion(self, timeout: Optional[float] = None) -> None:
        await self._wait(timeout)
