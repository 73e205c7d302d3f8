# SPDX-License-Identifier: Apache-2.0
"""Operations: what a connector's methods give back."""

from __future__ import annotations

import math
import os
import sys
from _warnings import warn_explicit  # warnings', of which a program that gets none needs no more
from collections import namedtuple
from collections.abc import Generator
from enum import IntEnum
from types import GenericAlias

from . import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Generic, NamedTuple, NoReturn, TypeVar

    from . import _core

    Result = TypeVar("Result")
else:
    Any = Result = object
    NoReturn = None

    class Generic:
        """typing's, as far as programs need it: Operation[T] is one of its aliases."""

        __slots__ = ()
        __class_getitem__ = classmethod(GenericAlias)


OFFER = "ropeway_offer"  # a name in the metadata of every offer(), and in no other


class OperationKind(IntEnum):
    READABLE = 1
    WRITABLE = 2
    READ = 3
    WRITE = 4


class OperationStatus(IntEnum):
    UNINITIALIZED = 0
    INITIALIZED = 1
    IN_PROGRESS = 2
    COMPLETE = 3
    CANCELLED = 4
    ERRORED = 5


if TYPE_CHECKING:

    class Progress(NamedTuple):
        done: int
        total: int

else:
    Progress = namedtuple("Progress", "done total")
    Progress.__annotations__ = {"done": int, "total": int}
    Progress.__doc__ = "Bytes moved so far, and in all."


def seconds_of(what: str, seconds: Any) -> float:
    """A time as Python's own functions take it: any real number. Raises TypeError for what is none, and ValueError for NaN."""
    if not isinstance(seconds, (str, bytes, bytearray)):
        try:
            number = float(seconds)
        except (TypeError, ValueError):
            pass
        except OverflowError:
            return math.inf
        else:
            if math.isnan(number):
                raise ValueError(f"{what} is {seconds} s; it must be a number")
            return number
    raise TypeError(f"{what} is {seconds!r}; it must be a number of seconds")


def timeout_of(timeout: Any) -> float | None:
    """Seconds to wait; None: without end. Raises as seconds_of() does."""
    number = math.inf if timeout is None else seconds_of("the timeout", timeout)
    return None if number == math.inf else number


_PACKAGE = os.path.dirname(__file__) + os.sep


def _caller() -> tuple[str, int]:
    """The line outside of this package that made an operation."""
    frame = sys._getframe(2)
    while frame.f_code.co_filename.startswith(_PACKAGE) and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


class Operation(Generic[Result]):
    """One transfer, or the offer of one. It begins by itself; nothing needs to be polled.

    `await op` and `op.wait()` return the operation's result (the memory that was given, or the tensors of a
    fetch), and raise when it did not complete. Leaving a `with` or `async with` block cancels the operation if
    it is live, and ends when its memory is quiet. An operation that is dropped without that is cancelled too,
    with a ResourceWarning of the line that made it; its memory is kept alive as long as bytes may land in it.
    """

    __slots__ = ("_core", "_result", "_made", "__weakref__")

    def __init__(self, core: _core.Operation, result: Result) -> None:
        self._core = core
        self._result = result
        self._made = _caller()

    def __del__(self) -> None:
        # In a cycle of garbage the collector may have come upon the inner one first, and ended it.
        if not sys.is_finalizing() and (self._core.status < OperationStatus.COMPLETE or self._core.let_go):
            sentence = f"{self!r} was let go of while it was live, and is cancelled; keep it until it ends, or leave its block"
            # Without a source: who records warnings would keep the operation alive.
            warn_explicit(sentence, ResourceWarning, *self._made)

    @property
    def kind(self) -> OperationKind:
        return OperationKind(self._core.kind)

    @property
    def status(self) -> OperationStatus:
        return OperationStatus(self._core.status)

    @property
    def is_done(self) -> bool:
        return self._core.status >= OperationStatus.COMPLETE

    @property
    def error(self) -> errors.RopewayError | None:
        """Why it ended, when it did not complete."""
        code = self._core.error
        return errors.make(code, self._core.error_text) if code else None

    @property
    def progress(self) -> Progress:
        return Progress(*self._core.progress)

    @property
    def peer(self) -> str:
        """The peer's connector name; "" for a passive operation that no peer has begun."""
        return self._core.peer

    @property
    def trace(self) -> str:
        """What ties this to a request of the users on both sides: `trace` of begin_read() or begin_write(); "" if there is
        none, or no peer has begun. A peer's is no more to be believed than its name."""
        return self._core.trace

    @property
    def path(self) -> str:
        """The transports to the peer, e.g. "tcp/lo cma/memory"; "" while no peer is known."""
        return self._core.path

    @property
    def metadata(self) -> str:
        """What the peer needs, once, to begin its side (passive operations). A capability: send it only to
        who may read or write the memory."""
        return self._core.metadata()

    def result(self) -> Result:
        """What `await` returns, when it is complete; raises when it is not."""
        code = self._core.error
        if code:
            raise errors.make(code, self._core.error_text)
        if not self.is_done:
            raise errors.make(errors.ErrorCode.BUSY, f"the operation is {self.status.name}; wait for its end first")
        return self._result

    def wait(self, timeout: float | None = None) -> Result:
        """Blocks this thread until the end, at most timeout seconds (None, inf: without end); then raises
        OperationTimeout, and the operation goes on."""
        code = self._core.wait(timeout_of(timeout))
        if code == errors.ErrorCode.TIMEOUT:
            raise errors.make(code, f"the operation is not finished after {timeout} s; it goes on")
        if code:
            raise errors.make(code, self._core.error_text)
        return self._result

    async def ended(self, timeout: float | None = None) -> bool:
        """Waits until the end, whatever the outcome, at most timeout seconds (None, inf: without end). Whether it has ended.
        Cancelling the task leaves the operation as it is."""
        limit = timeout_of(timeout)
        if not self.is_done:
            from ._loops import ended

            await ended(self._core, limit)
        return self.is_done

    async def _ended(self) -> Result:
        if not self.is_done:
            from ._loops import ended

            await ended(self._core)
        return self.result()

    def __await__(self) -> Generator[Any, None, Result]:
        return self._ended().__await__()

    def cancel(self) -> bool:
        """Asks it to stop, and does not wait. False: it had ended, and stays as it was. The outcome is
        CANCELLED, or COMPLETE when the data won the race."""
        code = self._core.cancel()
        if code not in (0, errors.ErrorCode.FINISHED):
            raise errors.make(code, "")
        return code == 0

    def release(self) -> None:
        """Gives the operation back: cancels it if it is live, and returns when its memory is quiet."""
        self._core.release()

    def __enter__(self) -> Operation[Result]:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    async def __aenter__(self) -> Operation[Result]:
        return self

    async def __aexit__(self, *exception: object) -> None:
        """As __exit__, and lets asyncio's or uvloop's loop go on meanwhile; in another library's, and in a coroutine
        that is closed, it blocks."""
        if self._core.status < OperationStatus.COMPLETE:
            from ._loops import ended, may_await

            if may_await(exception):
                self._core.cancel()
                await ended(self._core)
        self._core.release()

    def __reduce__(self) -> NoReturn:
        raise TypeError("an operation belongs to its process; it can't be pickled or copied. Send its metadata")

    def __repr__(self) -> str:
        done, total = self._core.progress
        return f"<ropeway {self.kind.name} {self.status.name}, {done} of {total} bytes, peer '{self.peer}'>"
