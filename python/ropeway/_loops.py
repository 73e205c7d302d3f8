# SPDX-License-Identifier: Apache-2.0
"""How an event loop hears that an operation ended.

Each loop watches one eventfd of its own, through add_reader. When an operation ends, the library's progress
thread puts a token of each await of it on the queues of exactly the loops that wait, and wakes those. The
connector's own event descriptor has one queue that one reader must drain: with several loops all of them would
wake for every operation, and hand futures to each other.

Only the loop holds its queue and its futures, by the reader that it calls. So a loop that is closed with awaits
pending lets go of both, and of the eventfd, even if the operations live on.

It is imported where something is awaited, as asyncio alone takes longer than all else.
"""

from __future__ import annotations

import asyncio
import weakref

from ._load import core as _core


class _Awaits:
    """Those of one loop: its port, and the futures by the tokens that the port knows."""

    __slots__ = ("port", "futures", "__weakref__")

    def __init__(self) -> None:
        self.port = _core.Port()
        self.futures: dict[object, asyncio.Future[None]] = {}

    def wake(self) -> None:
        for token in self.port.drain():
            future = self.futures.pop(token, None)
            if future is not None and not future.done():
                future.set_result(None)


_known: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[_Awaits]] = weakref.WeakKeyDictionary()


def _awaits_of(loop: asyncio.AbstractEventLoop) -> _Awaits:
    known = _known.get(loop)
    awaits = None if known is None else known()
    if awaits is None:
        awaits = _Awaits()
        loop.add_reader(awaits.port.fileno(), awaits.wake)
        _known[loop] = weakref.ref(awaits)
    return awaits


def running_loop() -> asyncio.AbstractEventLoop | None:
    """asyncio's or uvloop's; None in a thread where none of those runs, though another library's may."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def may_await(exception: tuple[object, ...]) -> bool:
    """Whether a block that is left with that exception (of __aexit__) can wait in this thread's loop: if one runs that
    knows how, and the coroutine is not being closed, as those of a loop that was closed are, maybe while another one runs."""
    return running_loop() is not None and GeneratorExit not in exception


def _give_up(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def ended(operation: _core.Operation, timeout: float | None = None) -> None:
    """Returns when the operation is terminal, or after timeout seconds (None: never). Any number of tasks, in any loops,
    may await this. Cancelling the task leaves the operation as it is. Raises RuntimeError outside of asyncio's and
    uvloop's loops.

    asyncio.wait_for() is no way to wait with a timeout: up to Python 3.11 its frame holds the task that waits, whose
    exception holds the frame, and so the operation and its memory stay until the next collection of garbage."""
    loop = running_loop()
    if loop is None:
        raise RuntimeError(
            "an operation can be awaited in the event loops of asyncio and uvloop, and none runs in this thread; "
            "with another one, such as trio's, use op.wait() in a thread"
        )
    awaits = _awaits_of(loop)
    token = object()
    if not operation.arm(awaits.port, token):
        return
    future = awaits.futures[token] = loop.create_future()
    timer = None if timeout is None else loop.call_later(timeout, _give_up, future)
    try:
        await future
    finally:
        if timer is not None:
            timer.cancel()
        if awaits.futures.pop(token, None) is not None:
            operation.disarm(awaits.port, token)
