# SPDX-License-Identifier: Apache-2.0
"""The four operations, and what they share. Each stands on an operation of the package ropeway, which begins when it is
made; here it gets the names, checks and string forms of release 1.6.1 of ai-dynamo-runtime."""

from __future__ import annotations

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any, Callable, Generator, NoReturn, Optional, Sequence, TypeVar, Union

from .. import connector as ropeway
from .. import errors, memory
from ..operation import Operation, Progress
from ._connection import Connection, Remote, Worker, connection_of
from ._memory import (
    Descriptor,
    Descriptors,
    OperationKind,
    OperationStatus,
    RdmaMetadata,
    SerializedDescriptor,
    check_list,
    check_same_kind,
)

_Self = TypeVar("_Self", bound="AbstractOperation")
_Place = Union[Connection, Worker]
_Begin = Callable[[ropeway.Connector, list[memory.Descriptor]], Operation[Any]]
_STATUSES = tuple(OperationStatus)

# cancel() answers with the outcome when that comes at once, as programs expect; a peer may take longer.
_CANCEL_GRACE = 0.02  # seconds


class AbstractOperation(ABC):
    """What all operations share.

    The methods of a connector give an operation that has begun. Programs of 2025 use it as it is, those of 2026 await
    it first, or hand it to asyncio as the coroutine that the method's result was for them. So each operation is a
    coroutine too, one that has its result at once: itself. It may be awaited any number of times.

    Leaving its block, `with` or `async with`, cancels it when it is live, and ends when its memory is quiet. So does
    dropping it, except that nobody waits: its memory is kept alive as long as bytes may land in it.
    """

    # Defaults for objects whose constructor failed.
    _native: Optional[Operation[Any]] = None
    _lent: Sequence[Descriptor] = ()

    def __init__(
        self,
        connection: _Place,
        operation_kind: OperationKind,
        local_descriptors: Descriptors,
        remote_descriptors: Optional[Descriptors],
        notification_key: Optional[str],
    ) -> None:
        """Checks the arguments; a derived class begins the operation."""
        _check_kind(operation_kind)
        if remote_descriptors is not None:
            check_same_kind("remote_descriptors", check_list("remote_descriptors", remote_descriptors))
        if notification_key is not None:
            _check_key(notification_key)
        self._local = check_list("local_descriptors", local_descriptors)
        check_same_kind("local_descriptors", self._local)
        self._connection = connection_of(connection)
        self._operation_kind = operation_kind
        self._local_desc_list = local_descriptors
        self._remote_desc_list = remote_descriptors
        self._key = notification_key

    def _start(self, begin: _Begin) -> None:
        """begin: of the connection's connector and the memory that it moves."""
        found: list[memory.Descriptor] = []
        self._lent = lent = []
        try:
            for descriptor in self._local:
                found.append(descriptor.lend(self._connection))
                lent.append(descriptor)
            self._native = begin(self._connection.native, found)
        except BaseException:
            self._give_back()
            raise

    @property
    def connection(self) -> Connection:
        """The connection that carries it."""
        return self._connection

    @property
    def connector(self) -> Worker:
        """The Connector that made it, as in 2025."""
        return self._connection.connector

    @property
    def operation_kind(self) -> OperationKind:
        """READ or WRITE, as the active side sees it."""
        return self._operation_kind

    @property
    def status(self) -> OperationStatus:
        """How far it is; asking moves nothing."""
        return OperationStatus.UNINITIALIZED if self._native is None else _STATUSES[self._native.status]

    @property
    def error(self) -> Optional[errors.RopewayError]:
        """Why it ended, when it was cancelled or failed. Not in upstream."""
        return None if self._native is None else self._native.error

    @property
    def progress(self) -> Progress:
        """Bytes moved so far, and in all. Not in upstream."""
        return Progress(0, 0) if self._native is None else self._native.progress

    @property
    def _notification_key(self) -> str:
        return self._key or ""

    @abstractmethod
    async def wait_for_completion(self, timeout: Optional[float] = None) -> None:
        """Returns when the operation is COMPLETE or CANCELLED, and raises its error when it is ERRORED. timeout: seconds,
        after which OperationTimeout is raised and the operation goes on. Any task in any event loop may await this;
        cancelling that task leaves the operation as it is."""
        await self._wait(timeout)

    async def _wait(self, timeout: Optional[float]) -> None:
        if self._native is None:
            raise RuntimeError("The operation was not started.")
        if timeout is not None and not await self._native.ended(timeout):
            raise errors.make(errors.ErrorCode.TIMEOUT, f"the operation is not finished after {timeout} s; it goes on")
        try:
            await self._native
        except errors.OperationCancelled:
            return

    def cancel(self) -> None:
        """Asks the operation to stop, on both sides. Changes nothing when it has ended. The outcome is CANCELLED, or
        COMPLETE when the data won the race; `status` may have it a moment later only."""
        if self._native is not None and self._native.cancel():
            try:
                self._native.wait(_CANCEL_GRACE)
            except errors.RopewayError:
                pass

    def _release(self) -> None:
        if self._native is not None:
            self._native.release()
        self._give_back()

    def _give_back(self) -> None:
        lent, self._lent = self._lent, ()
        for descriptor in lent:
            descriptor.give_back()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._release()

    async def __aenter__(self: _Self) -> _Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        """As __exit__, and lets the event loop go on meanwhile."""
        if self._native is not None:
            await self._native.__aexit__(*exception)
        self._give_back()

    def __del__(self) -> None:
        # The native operation cancels itself, when it is live.
        self._give_back()

    def __reduce__(self) -> NoReturn:
        raise TypeError("an operation belongs to its process; it can't be pickled or copied. Send its metadata()")

    # ---- the coroutine ----

    def __await__(self: _Self) -> Generator[Any, Any, _Self]:
        """The operation itself, at once."""
        return self
        yield

    def send(self, value: Any, /) -> NoReturn:
        """As a coroutine's; what it returns is the operation."""
        raise StopIteration(self)

    def throw(self, kind: Any, value: Any = None, traceback: Any = None, /) -> NoReturn:
        """As a coroutine's: raises it. The operation goes on; it is cancelled when nobody holds it any more."""
        if not isinstance(kind, BaseException):
            kind = value if isinstance(value, BaseException) else kind() if value is None else kind(value)
        try:
            raise kind if traceback is None else kind.with_traceback(traceback)
        finally:
            del self, kind, value, traceback  # which the traceback would keep alive, the exception itself among them

    def close(self) -> None:
        """As leaving its block: cancels it when it is live, and waits until its memory is quiet."""
        self._release()


def _check_kind(kind: Any) -> None:
    if kind is not OperationKind.READ and kind is not OperationKind.WRITE:
        raise ValueError("Argument `operation_kind` must be either `READ` or `WRITE`.")


def _check_key(key: Any) -> None:
    if not isinstance(key, str):
        raise TypeError("Argument `notification_key` must be `str`.")
    if not key:
        raise ValueError("Argument `notification_key` must not be an empty string.")


# ---- operations that this side begins ----


class ActiveOperation(AbstractOperation):
    """An operation that this side begins, with the metadata of the peer's passive one."""

    _remote: Optional[Remote] = None
    _remote_metadata: Optional[RdmaMetadata] = None

    def __init__(
        self,
        remote: Remote,
        operation_kind: OperationKind,
        local_descriptors: Descriptors,
        remote_descriptors: Descriptors,
        notification_key: str,
    ) -> None:
        """Begins it with the parts of a peer's metadata. Raises ValueError when counts or sizes differ."""
        if not isinstance(remote, Remote):
            raise TypeError("Argument `remote` must be valid `Remote`.")
        if not isinstance(operation_kind, OperationKind):
            raise TypeError("Argument `operation_kind` must be `OperationKind`.")
        _check_key(notification_key)
        super().__init__(
            remote.connection, operation_kind, local_descriptors, remote_descriptors, notification_key
        )
        far = check_list("remote_descriptors", remote_descriptors)
        _check_sizes(self._local, far)
        self._remote = remote
        self._begin(
            json.dumps(
                {
                    "descriptors": [item.metadata.model_dump() for item in far],
                    "nixl_metadata": remote.nixl_metadata,
                    "notification_key": notification_key,
                    "operation_kind": int(operation_kind),
                }
            )
        )

    def _with_metadata(
        self, connection: _Place, remote_metadata: RdmaMetadata, local_descriptors: Descriptors, kind: OperationKind
    ) -> None:
        """As __init__ does, without making descriptors of the remote ones: their sizes suffice."""
        if not isinstance(remote_metadata, RdmaMetadata):
            raise TypeError("Argument `remote_metadata` must be `RdmaMetadata`.")
        if remote_metadata.operation_kind != kind:
            raise ValueError(f"Argument `remote_metadata` must be of kind `{kind}`.")
        far = remote_metadata.descriptors
        if not far:
            raise ValueError("Request descriptor must contain at least one serialized descriptor.")
        if not remote_metadata.nixl_metadata:
            raise ValueError("Argument `nixl_metadata` cannot be empty.")
        _check_key(remote_metadata.notification_key)
        AbstractOperation.__init__(
            self, connection, kind, local_descriptors, None, remote_metadata.notification_key
        )
        _check_sizes(self._local, far)
        devices = {item.device for item in far}
        if len(devices) > 1 and len({device.partition(":")[0] for device in devices}) > 1:
            raise ValueError("All descriptors of `remote_metadata` must have the same memory type.")
        self._remote_metadata = remote_metadata
        self._begin(remote_metadata.model_dump_json())

    def _begin(self, text: str) -> None:
        if self._operation_kind is OperationKind.READ:
            self._start(lambda native, local: native.begin_read(text, local, prefix=True))
        else:
            self._start(lambda native, local: native.begin_write(local, text, prefix=True))

    @property
    def remote(self) -> Remote:
        """The worker on the other side."""
        if self._remote is None:
            assert self._remote_metadata is not None
            self._remote = Remote(self._connection, self._remote_metadata.nixl_metadata)
        return self._remote

    def __repr__(self) -> str:
        far = self._remote_metadata.to_descriptors() if self._remote_metadata else self._remote_desc_list
        return (
            f"{type(self).__name__}(operation_kind={self._operation_kind}, local_descriptors={self._local_desc_list}, "
            f"remote_descriptors={far}, notification_key='{self._notification_key}', "
            f"remote='{self.remote.name}', status='{self.status}')"
        )


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


class ReadOperation(ActiveOperation, Coroutine[Any, Any, "ReadOperation"]):
    """Reads what a peer's ReadableOperation offers into local memory."""

    def __init__(self, connection: _Place, remote_metadata: RdmaMetadata, local_descriptors: Descriptors) -> None:
        """Begins it. Connector.begin_read() does so too, and says more of the errors."""
        self._with_metadata(connection, remote_metadata, local_descriptors, OperationKind.READ)

    def results(self) -> list[Descriptor]:
        """The local descriptors, filled. Raises RuntimeError while it is not COMPLETE."""
        if self.status != OperationStatus.COMPLETE:
            raise RuntimeError(f"Operation has not completed yet, cannot get results; it is {self.status.name}.")
        return self._local

    async def wait_for_completion(self, timeout: Optional[float] = None) -> None:
        """Returns when all bytes are in local memory, or the operation is CANCELLED; raises its error when it is ERRORED.
        timeout: seconds, after which OperationTimeout is raised and the operation goes on."""
        await self._wait(timeout)


class WriteOperation(ActiveOperation, Coroutine[Any, Any, "WriteOperation"]):
    """Writes local memory into what a peer's WritableOperation offers."""

    def __init__(self, connection: _Place, local_descriptors: Descriptors, remote_metadata: RdmaMetadata) -> None:
        """Begins it. Connector.begin_write() does so too, and says more of the errors."""
        self._with_metadata(connection, remote_metadata, local_descriptors, OperationKind.WRITE)

    async def wait_for_completion(self, timeout: Optional[float] = None) -> None:
        """Returns when all bytes are in the peer's memory, or the operation is CANCELLED; raises its error when it is
        ERRORED. timeout: seconds, after which OperationTimeout is raised and the operation goes on."""
        await self._wait(timeout)


# ---- operations that wait for a peer ----


class PassiveOperation(AbstractOperation):
    """An operation that waits for a peer, who needs its metadata()."""

    def __init__(self, connection: _Place, operation_kind: OperationKind, local_descriptors: Descriptors) -> None:
        """Begins it: from now on a peer that has its metadata can use the memory."""
        super().__init__(connection, operation_kind, local_descriptors, None, None)
        self._serialized: dict[bool, RdmaMetadata] = {}
        if operation_kind is OperationKind.READ:
            self._start(lambda native, local: native.create_readable(local))
        else:
            self._start(lambda native, local: native.create_writable(local))

    def metadata(self, hex_encode: bool = False) -> RdmaMetadata:
        """What the peer needs to begin its side, once. It is a key to the memory: send it only to who may use that.
        hex_encode: as peers of 2025 read it. Raises RuntimeError when the operation was given back before the first call."""
        hex_encode = bool(hex_encode)
        found = self._serialized.get(hex_encode)
        if found is None:
            found = self._serialized[hex_encode] = self._make_metadata(hex_encode)
        return found

    def _make_metadata(self, hex_encode: bool) -> RdmaMetadata:
        if self._native is None:
            raise RuntimeError("The operation was not started.")
        made = RdmaMetadata.model_validate_json(self._native.metadata)
        if hex_encode:
            packed = base64.b64decode(made.nixl_metadata.removeprefix("b64:")).hex()
            return made.model_copy(update={"nixl_metadata": packed})
        return made

    def to_serialized(self) -> RdmaMetadata:
        """metadata(), by its first name of 2025."""
        return self.metadata()

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
    """Lets one peer read local memory, once."""

    def __init__(self, connection: _Place, local_descriptors: Descriptors) -> None:
        """Begins it, as Connector.create_readable() does."""
        super().__init__(connection, OperationKind.READ, local_descriptors)

    async def wait_for_completion(self, timeout: Optional[float] = None) -> None:
        """Returns when a peer has read all bytes, or the operation is CANCELLED; raises its error when it is ERRORED.
        timeout: seconds, after which OperationTimeout is raised and the operation goes on."""
        await self._wait(timeout)


class WritableOperation(PassiveOperation, Coroutine[Any, Any, "WritableOperation"]):
    """Lets one peer write local memory, once."""

    def __init__(self, connection: _Place, local_descriptors: Descriptors) -> None:
        """Begins it, as Connector.create_writable() does."""
        super().__init__(connection, OperationKind.WRITE, local_descriptors)

    async def wait_for_completion(self, timeout: Optional[float] = None) -> None:
        """Returns when a peer has written all bytes, or the operation is CANCELLED; raises its error when it is ERRORED.
        timeout: seconds, after which OperationTimeout is raised and the operation goes on."""
        await self._wait(timeout)
