# SPDX-License-Identifier: Apache-2.0
"""Operations that this side begins."""

from __future__ import annotations

import base64
import json
import zlib
from abc import abstractmethod
from collections.abc import Coroutine
from typing import Any, Optional, Sequence, Union

from ..operation import OperationKind as NativeKind
from ._connection import Connection, check_connection
from ._descriptor import Descriptor, Descriptors, check_list
from ._device import OperationKind, OperationStatus
from ._metadata import RdmaMetadata, SerializedDescriptor
from ._operation import AbstractOperation, check_key, check_kind
from ._remote import Remote

# cancel() answers with the outcome when that comes at once, as programs expect; a peer may take longer.
_CANCEL_GRACE = 0.02


class ActiveOperation(AbstractOperation):
    """An operation that this side begins, with the metadata of the peer's passive one."""

    _remote_metadata: Optional[RdmaMetadata] = None

    def __init__(
        self,
        remote: Remote,
        operation_kind: OperationKind,
        local_descriptors: Descriptors,
        remote_descriptors: Descriptors,
        notification_key: str,
    ) -> None:
        if not isinstance(remote, Remote):
            raise TypeError("Argument `remote` must be valid `Remote`.")
        if not isinstance(operation_kind, OperationKind):
            raise TypeError("Argument `operation_kind` must be `OperationKind`.")
        check_kind(operation_kind)
        far = check_list("remote_descriptors", remote_descriptors)
        _check_sizes(check_list("local_descriptors", local_descriptors), far)
        check_key(notification_key)
        self._remote = remote
        super().__init__(remote.connection, operation_kind, local_descriptors, remote_descriptors, notification_key)
        self._start(_native_kind(operation_kind), _metadata_json(remote, operation_kind, far, notification_key))

    def _begin(self, connection: Any, remote_metadata: Any, local_descriptors: Any, kind: OperationKind) -> None:
        """As __init__ does, without making descriptors of the remote ones: their sizes suffice."""
        check_connection(connection)
        if not isinstance(remote_metadata, RdmaMetadata):
            raise TypeError("Argument `remote_metadata` must be `RdmaMetadata`.")
        if remote_metadata.operation_kind != kind:
            raise ValueError(f"Argument `remote_metadata` must be of kind `{kind}`.")
        far = remote_metadata.descriptors
        if not far:
            raise ValueError("Request descriptor must contain at least one serialized descriptor.")
        local = check_list("local_descriptors", local_descriptors)
        _check_sizes(local, far)
        if len(far) > 1 and len({item.device.partition(":")[0] for item in far}) > 1:
            raise ValueError("All descriptors of `remote_metadata` must have the same memory type.")
        self._key = remote_metadata.notification_key
        check_key(self._key)
        self._remote_metadata = remote_metadata
        self._remote = Remote._unread(connection, remote_metadata.nixl_metadata)
        self._take(connection, kind, local, local_descriptors)
        self._start(_native_kind(kind), remote_metadata.model_dump_json())

    @property
    def remote(self) -> Remote:
        return self._remote

    @property
    def _far(self) -> Any:
        return self._remote_metadata.to_descriptors() if self._remote_metadata else self._remote_desc_list

    @abstractmethod
    def cancel(self) -> None:
        """Asks the operation to stop. Changes nothing when it has ended. The outcome is CANCELLED, or COMPLETE
        when the data won the race."""
        if self._core is not None and self._core.cancel() == 0:
            self._core.wait(_CANCEL_GRACE)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(operation_kind={self._operation_kind}, local_descriptors={self._local_desc_list}, "
            f"remote_descriptors={self._far}, notification_key='{self._notification_key}', "
            f"remote='{self._remote.name}', status='{self.status}')"
        )


def _native_kind(kind: OperationKind) -> NativeKind:
    return NativeKind.READ if kind is OperationKind.READ else NativeKind.WRITE


def _check_sizes(local: list[Descriptor], far: Sequence[Union[Descriptor, SerializedDescriptor]]) -> None:
    if len(local) != len(far):
        raise ValueError(
            f"`local_descriptors` and `remote_descriptors` must have the same length. {len(local)} != {len(far)}."
        )
    for index, (here, there) in enumerate(zip(local, far)):
        if here.size != there.size:
            raise ValueError(
                f"Local and remote descriptors must be the same size; at {index}: {here.size} != {there.size}."
            )


def _metadata_json(remote: Remote, kind: OperationKind, far: list[Descriptor], key: str) -> str:
    packed = remote._nixl_metadata
    if isinstance(packed, bytes):
        packed = "b64:" + base64.b64encode(zlib.compress(packed)).decode()
    descriptors = [{"device": str(d.device), "ptr": d.ptr, "size": d.size} for d in far]
    return json.dumps(
        {"descriptors": descriptors, "nixl_metadata": packed, "notification_key": key, "operation_kind": int(kind)}
    )


class ReadOperation(ActiveOperation, Coroutine[Any, Any, "ReadOperation"]):
    """Reads a remote readable operation into local_descriptors."""

    def __init__(
        self, connection: Connection, remote_metadata: RdmaMetadata, local_descriptors: Descriptors
    ) -> None:
        self._begin(connection, remote_metadata, local_descriptors, OperationKind.READ)

    def cancel(self) -> None:
        super().cancel()

    def results(self) -> list[Descriptor]:
        """The local descriptors, filled."""
        if self.status != OperationStatus.COMPLETE:
            raise RuntimeError(f"Operation has not completed yet, cannot get results; it is {self.status.name}.")
        return check_list("local_descriptors", self._local_desc_list)

    async def wait_for_completion(self, timeout: Optional[float] = None) -> None:
        await self._wait(timeout)


class WriteOperation(ActiveOperation, Coroutine[Any, Any, "WriteOperation"]):
    """Writes local_descriptors into a remote writable operation."""

    def __init__(
        self, connection: Connection, local_descriptors: Descriptors, remote_metadata: RdmaMetadata
    ) -> None:
        self._begin(connection, remote_metadata, local_descriptors, OperationKind.WRITE)

    def cancel(self) -> None:
        super().cancel()

    async def wait_for_completion(self, timeout: Optional[float] = None) -> None:
        await self._wait(timeout)
