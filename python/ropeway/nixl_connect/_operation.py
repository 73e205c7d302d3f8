# SPDX-License-Identifier: Apache-2.0
"""Operations of this API."""

from __future__ import annotations

import asyncio
import base64
import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Optional, TypeVar, Union

from .. import errors
from .._loops import ended
from .._views import prepare
from ..operation import OperationKind as _NativeKind
from ..operation import Progress
from ._descriptor import Descriptor, Descriptors, check_list, check_same_kind
from ._device import OperationKind, OperationStatus
from ._metadata import RdmaMetadata, agent_name, unpack_agent

if TYPE_CHECKING:
    from .._load import core as _core
    from ._connector import Connection

_Self = TypeVar("_Self")

# cancel() answers with the outcome when that comes at once, as programs expect; a peer may take longer.
_CANCEL_GRACE = 0.02


def _check_connection(connection: Any) -> None:
    from ._connector import Connection

    if not isinstance(connection, Connection):
        raise TypeError("Argument `connection` must be `Connection`.")


def _check_kind(kind: Any) -> None:
    if kind is not OperationKind.READ and kind is not OperationKind.WRITE:
        raise ValueError("Argument `operation_kind` must be either `READ` or `WRITE`.")


def _check_key(key: Any) -> None:
    if not isinstance(key, str):
        raise TypeError("Argument `notification_key` must be `str`.")
    if not key:
        raise ValueError("Argument `notification_key` must not be an empty string.")


class Remote:
    """A remote worker, as its metadata names it."""

    _released = True

    def __init__(self, connection: Connection, nixl_metadata: Union[bytes, str]) -> None:
        _check_connection(connection)
        if not isinstance(nixl_metadata, (bytes, str)):
            raise TypeError("Argument `nixl_metadata` must be `bytes` or `str`.")
        if not nixl_metadata:
            raise ValueError("Argument `nixl_metadata` cannot be empty.")
        self._connection = connection
        self._nixl_metadata = nixl_metadata
        self._name = agent_name(unpack_agent(nixl_metadata))
        connection.acquire_remote_ref(self._name)
        self._released = False

    @property
    def connection(self) -> Connection:
        return self._connection

    @property
    def name(self) -> str:
        return self._name

    def _release(self) -> None:
        if not self._released:
            self._released = True
            self._connection.release_remote_ref(self._name)

    def __del__(self) -> None:
        self._release()

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *exception: object) -> None:
        self._release()

    def __repr__(self) -> str:
        return f"Remote(name={self._name}, connection={self._connection.name})"

    def __str__(self) -> str:
        return self._name


class AbstractOperation(ABC):
    """What all operations share."""

    # Defaults for objects whose constructor failed.
    _core: Optional[_core.Operation] = None
    _lent: tuple[Descriptor, ...] = ()

    def __init__(
        self,
        connection: Connection,
        operation_kind: OperationKind,
        local_descriptors: Descriptors,
        remote_descriptors: Optional[Descriptors],
        notification_key: Optional[str],
    ) -> None:
        _check_connection(connection)
        _check_kind(operation_kind)
        local = check_list("local_descriptors", local_descriptors)
        check_same_kind("local_descriptors", local)
        if remote_descriptors is not None:
            check_same_kind("remote_descriptors", check_list("remote_descriptors", remote_descriptors))
        if notification_key is not None:
            _check_key(notification_key)
        self._connection = connection
        self._operation_kind = operation_kind
        self._local_desc_list = local_descriptors
        self._remote_desc_list = remote_descriptors
        self._key = notification_key
        for descriptor in local:
            descriptor._lend(connection)
            self._lent += (descriptor,)

    def _start(self, kind: _NativeKind, metadata: Optional[str]) -> None:
        is_target = kind in (_NativeKind.WRITABLE, _NativeKind.READ)
        prepared = prepare([descriptor._as_view() for descriptor in self._lent], is_target)
        self._core = self._connection._native._start(kind, prepared, metadata, (-1, -1), False)

    @property
    def connection(self) -> Connection:
        return self._connection

    @property
    def operation_kind(self) -> OperationKind:
        return self._operation_kind

    @property
    def status(self) -> OperationStatus:
        """How far it is; asking moves nothing."""
        return OperationStatus.UNINITIALIZED if self._core is None else OperationStatus(self._core.status)

    @property
    def error(self) -> Optional[errors.RopewayError]:
        """Why it ended, when it was cancelled or failed."""
        code = 0 if self._core is None else self._core.error
        return errors.make(code, self._core.error_text) if code and self._core else None

    @property
    def progress(self) -> Progress:
        """Bytes moved so far, and in all."""
        return Progress(0, 0) if self._core is None else Progress(*self._core.progress)

    @property
    def _notification_key(self) -> str:
        return self._key or ""

    @abstractmethod
    async def wait_for_completion(self, timeout: Optional[float] = None) -> None:
        """Returns when the operation is COMPLETE or CANCELLED, and raises when it is ERRORED. timeout: seconds,
        after which OperationTimeout is raised and the operation goes on. Any task in any event loop may await
        this; cancelling that task leaves the operation as it is."""
        await self._wait(timeout)

    async def _wait(self, timeout: Optional[float]) -> None:
        operation = self._core
        if operation is None:
            raise RuntimeError("The operation was not started.")
        if operation.status < OperationStatus.COMPLETE:
            await _ended_within(operation, timeout)
        if operation.status == OperationStatus.ERRORED:
            raise errors.make(operation.error, operation.error_text)

    def _release(self) -> None:
        """Cancels a live operation, waits until its memory is quiet, and gives the descriptors back."""
        if self._core is not None:
            self._core.release()
        self._return_descriptors()

    def _return_descriptors(self) -> None:
        lent, self._lent = self._lent, ()
        for descriptor in lent:
            descriptor._return()

    def __del__(self) -> None:
        # The extension cancels what is live, and keeps its memory until it is quiet.
        self._return_descriptors()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._release()


async def _ended_within(operation: _core.Operation, timeout: Optional[float]) -> None:
    if timeout is None:
        await ended(operation)
        return
    try:
        await asyncio.wait_for(ended(operation), timeout)
    except (asyncio.TimeoutError, TimeoutError):
        if operation.status < OperationStatus.COMPLETE:
            sentence = f"the operation is not finished after {timeout} s; it goes on"
            raise errors.make(errors.ErrorCode.TIMEOUT, sentence) from None


class ActiveOperation(AbstractOperation):
    """An operation that this side begins, with the metadata of the peer's passive one."""

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
        _check_kind(operation_kind)
        local = check_list("local_descriptors", local_descriptors)
        far = check_list("remote_descriptors", remote_descriptors)
        _check_sizes(local, far)
        _check_key(notification_key)
        self._remote = remote
        super().__init__(remote.connection, operation_kind, local_descriptors, remote_descriptors, notification_key)
        kind = _NativeKind.READ if operation_kind is OperationKind.READ else _NativeKind.WRITE
        self._start(kind, _metadata_json(remote, operation_kind, far, notification_key))

    @property
    def remote(self) -> Remote:
        return self._remote

    @abstractmethod
    def cancel(self) -> None:
        """Asks the operation to stop. Changes nothing when it has ended. The outcome is CANCELLED, or COMPLETE
        when the data won the race."""
        if self._core is not None and self._core.cancel() == 0:
            self._core.wait(_CANCEL_GRACE)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(operation_kind={self._operation_kind}, local_descriptors={self._local_desc_list}, "
            f"remote_descriptors={self._remote_desc_list}, notification_key='{self._notification_key}', "
            f"remote='{self._remote.name}', status='{self.status}')"
        )


def _check_sizes(local: list[Descriptor], far: list[Descriptor]) -> None:
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
        import zlib

        packed = "b64:" + base64.b64encode(zlib.compress(packed)).decode()
    descriptors = [{"device": str(d.device), "ptr": d.ptr, "size": d.size} for d in far]
    return json.dumps(
        {"descriptors": descriptors, "nixl_metadata": packed, "notification_key": key, "operation_kind": int(kind)}
    )


class PassiveOperation(AbstractOperation):
    """An operation that waits for a peer, who needs its metadata()."""

    def __init__(self, connection: Connection, operation_kind: OperationKind, local_descriptors: Descriptors) -> None:
        _check_kind(operation_kind)
        super().__init__(connection, operation_kind, local_descriptors, None, None)
        self._serialized: dict[bool, RdmaMetadata] = {}
        self._start(_NativeKind.READABLE if operation_kind is OperationKind.READ else _NativeKind.WRITABLE, None)

    def metadata(self, hex_encode: bool = False) -> RdmaMetadata:
        """What the peer needs to begin its side, once. hex_encode: as older peers read it."""
        hex_encode = bool(hex_encode)
        if hex_encode not in self._serialized:
            self._serialized[hex_encode] = self._make_metadata(hex_encode)
        return self._serialized[hex_encode]

    def _make_metadata(self, hex_encode: bool) -> RdmaMetadata:
        if self._core is None:
            raise RuntimeError("The operation was not started.")
        parts = json.loads(self._core.metadata())
        if hex_encode:
            parts["nixl_metadata"] = base64.b64decode(parts["nixl_metadata"].removeprefix("b64:")).hex()
        return RdmaMetadata(**parts)

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


def _check_begin(connection: Any, remote_metadata: Any, kind: OperationKind) -> None:
    _check_connection(connection)
    if not isinstance(remote_metadata, RdmaMetadata):
        raise TypeError("Argument `remote_metadata` must be `RdmaMetadata`.")
    if remote_metadata.operation_kind != kind:
        raise ValueError(f"Argument `remote_metadata` must be of kind `{kind}`.")


class ReadOperation(ActiveOperation):
    """Reads a remote readable operation into local_descriptors."""

    def __init__(
        self, connection: Connection, remote_metadata: RdmaMetadata, local_descriptors: Descriptors
    ) -> None:
        _check_begin(connection, remote_metadata, OperationKind.READ)
        super().__init__(
            Remote(connection, remote_metadata.nixl_metadata),
            OperationKind.READ,
            local_descriptors,
            remote_metadata.to_descriptors(),
            remote_metadata.notification_key,
        )

    def cancel(self) -> None:
        super().cancel()

    def results(self) -> list[Descriptor]:
        """The local descriptors, filled."""
        if self.status != OperationStatus.COMPLETE:
            raise RuntimeError(f"Operation has not completed yet, cannot get results; it is {self.status.name}.")
        return check_list("local_descriptors", self._local_desc_list)

    async def wait_for_completion(self, timeout: Optional[float] = None) -> None:
        await super().wait_for_completion(timeout)


class WriteOperation(ActiveOperation):
    """Writes local_descriptors into a remote writable operation."""

    def __init__(
        self, connection: Connection, local_descriptors: Descriptors, remote_metadata: RdmaMetadata
    ) -> None:
        _check_begin(connection, remote_metadata, OperationKind.WRITE)
        super().__init__(
            Remote(connection, remote_metadata.nixl_metadata),
            OperationKind.WRITE,
            local_descriptors,
            remote_metadata.to_descriptors(),
            remote_metadata.notification_key,
        )

    def cancel(self) -> None:
        super().cancel()

    async def wait_for_completion(self, timeout: Optional[float] = None) -> None:
        await super().wait_for_completion(timeout)


class ReadableOperation(PassiveOperation):
    """Lets one peer read local_descriptors, once."""

    def __init__(self, connection: Connection, local_descriptors: Descriptors) -> None:
        super().__init__(connection, OperationKind.READ, local_descriptors)

    async def wait_for_completion(self, timeout: Optional[float] = None) -> None:
        await super().wait_for_completion(timeout)


class WritableOperation(PassiveOperation):
    """Lets one peer write local_descriptors, once."""

    def __init__(self, connection: Connection, local_descriptors: Descriptors) -> None:
        super().__init__(connection, OperationKind.WRITE, local_descriptors)

    async def wait_for_completion(self, timeout: Optional[float] = None) -> None:
        await super().wait_for_completion(timeout)
