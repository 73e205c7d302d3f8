# SPDX-License-Identifier: Apache-2.0
"""How an event loop hears that an operation ended.

Each loop watches one eventfd of its own, through add_reader. When an operation ends, the library's progress
thread puts the futures that wait for it on the queues of exactly the loops that wait, and wakes those. The
connector's own event descriptor has one queue that one reader must drain: with several loops all of them would
wake for every operation, and hand futures to each other.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from ._load import core as _core

if TYPE_CHECKING:
    import asyncio

_ports: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _core.Port] = weakref.WeakKeyDictionary()


def _wake(port: _core.Port) -> None:
    for future in port.drain():
        if not future.done():
            future.set_result(None)


def _port_of(loop: asyncio.AbstractEventLoop) -> _core.Port:
    port = _ports.get(loop)
    if port is None:
        port = _core.Port()
        loop.add_reader(port.fileno(), _wake, port)
        _ports[loop] = port
    return port


async def ended(operation: _core.Operation) -> None:
    """Returns when the operation is terminal. Any number of tasks, in any loops, may await this. Cancelling
    the task leaves the operation as it is."""
    import asyncio

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "an operation can be awaited in the event loops of asyncio and uvloop, and none runs in this thread; "
            "with another one, such as trio's, use op.wait() in a thread"
        ) from None
    port = _port_of(loop)
    future = loop.create_future()
    if not operation.arm(port, future):
        return
    try:
        await future
    except asyncio.CancelledError:
        operation.disarm(port, future)
        raise
