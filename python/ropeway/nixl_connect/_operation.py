# SPDX-License-Identifier: Apache-2.0
"""What the four operations share."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generator, NoReturn, Optional, TypeVar

from .. import errors
from .._loops import ended
from ..operation import OperationKind as NativeKind
from ..operation import Progress
from ._connection import Connection, check_connection
from ._descriptor import Descriptor, Descriptors, check_list, check_same_kind
from ._device import OperationKind, OperationStatus

if TYPE_CHECKING:
    from .._load import core as _core

_Self = TypeVar("_Self")
_STATUSES = tuple(OperationStatus)
_COMPLETE, _ERRORED = int(OperationStatus.COMPLETE), int(OperationStatus.ERRORED)


def check_kind(kind: Any) -> None:
    if kind is not OperationKind.READ and kind is not OperationKind.WRITE:
        raise ValueError("Argument `operation_kind` must be either `READ` or `WRITE`.")


def check_key(key: Any) -> None:
    if not isinstance(key, str):
        raise TypeError("Argument `notification_key` must be `str`.")
    if not key:
        raise ValueError("Argument `notification_key` must not be an empty string.")


class AbstractOperation(ABC):
    """What all operations share.

    The methods of a connector give an operation that has begun. Programs of 2025 use it as it is, those of 2026
    await it first, or hand it to asyncio as the coroutine that the method was for them. So each operation is a
    coroutine too, one that has its result at once: itself. It may be awaited any number of times.
    """

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
        check_connection(connection)
        check_kind(operation_kind)
        if remote_descriptors is not None:
            check_same_kind("remote_descriptors", check_list("remote_descriptors", remote_descriptors))
        if notification_key is not None:
            check_key(notification_key)
        self._remote_desc_list = remote_descriptors
        self._key = notification_key
        self._take(connection, operation_kind, check_list("local_descriptors", local_descriptors), local_descriptors)

    def _take(self, connection: Connection, kind: OperationKind, local: list[Descriptor], given: Descriptors) -> None:
        """local: given as a list."""
        if len(local) > 1:
            check_same_kind("local_descriptors", local)
        self._connection = connection
        self._operation_kind = kind
        self._local_desc_list = given
        for descriptor in local:
            descriptor._lend(connection)
            self._lent += (descriptor,)

    def _start(self, kind: NativeKind, metadata: Optional[str]) -> None:
        views = [descriptor._as_view() for descriptor in self._lent]
        self._core = self._connection._native._start(kind, views, metadata, (-1, -1), False)

    @property
    def connection(self) -> Connection:
        return self._connection

    @property
    def operation_kind(self) -> OperationKind:
        return self._operation_kind

    @property
    def status(self) -> OperationStatus:
        """How far it is; asking moves nothing."""
        return OperationStatus.UNINITIALIZED if self._core is None else _STATUSES[self._core.status]

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
        if operation.status < _COMPLETE:
            if timeout is None:
                await ended(operation)
            else:
                await _ended_within(operation, timeout)
        if operation.status == _ERRORED:
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
        del self  # which the traceback would keep alive
        raise kind if traceback is None else kind.with_traceback(traceback)

    def close(self) -> None:
        """As leaving its block: cancels it when it is live, and waits until its memory is quiet."""
        self._release()

    def __del__(self) -> None:
        # The extension cancels what is live, and keeps its memory until it is quiet.
        self._return_descriptors()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._release()

    async def __aenter__(self: _Self) -> _Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        """As __exit__, and lets the event loop go on meanwhile."""
        if self._core is not None and self._core.status < _COMPLETE:
            self._core.cancel()
            await ended(self._core)
        self._release()


async def _ended_within(operation: _core.Operation, timeout: float) -> None:
    try:
        await asyncio.wait_for(ended(operation), timeout)
    except (asyncio.TimeoutError, TimeoutError):
        if operation.status < _COMPLETE:
            sentence = f"the operation is not finished after {timeout} s; it goes on"
            raise errors.make(errors.ErrorCode.TIMEOUT, sentence) from None
