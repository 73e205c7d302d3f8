# SPDX-License-Identifier: Apache-2.0
"""Loops that are closed early, forks and signals at a bad moment, and event loops of other libraries."""

import asyncio
import gc
import os
import warnings
import weakref

import pytest
from conftest import LIMIT, run_program, until_none_is_live

import ropeway
import ropeway.nixl_connect as connect

try:
    import uvloop
except ImportError:
    uvloop = None
needs_uvloop = pytest.mark.skipif(uvloop is None, reason="uvloop is not installed")
LOOPS = [asyncio.new_event_loop, pytest.param(getattr(uvloop, "new_event_loop", None), marks=needs_uvloop)]


def eventfds():
    def target(number):
        try:
            return os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:  # the directory's own
            return ""

    return sum("eventfd" in target(number) for number in os.listdir("/proc/self/fd"))


def close_amid(new_loop, coroutine):
    """Runs the coroutine up to its first await, and closes the loop."""
    loop = new_loop()
    task = loop.create_task(coroutine)
    task._log_destroy_pending = False
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert not task.done()


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_loop_that_is_closed_amid_an_await_leaves_no_descriptor(pair, new_loop):
    async def use(operation):
        await operation

    with pair[0].create_readable(b"x") as operation:
        gc.collect()
        before = eventfds()
        for _ in range(5):
            close_amid(new_loop, use(operation))
        gc.collect()
        assert eventfds() == before
        # The operation goes on, and those awaits of it are nobody's.
        room = bytearray(1)
        pair[1].begin_read(operation.metadata, room).wait(LIMIT)
        operation.wait(LIMIT)
        assert room == b"x"


@pytest.mark.parametrize("new_loop", LOOPS)
def test_nor_the_operation_that_only_that_await_holds(pair, new_loop):
    class Memory(bytearray):
        pass

    async def use(memory):
        await pair[0].create_writable(memory)

    memory = Memory(100)
    gone = weakref.ref(memory)
    gc.collect()
    before = eventfds()
    close_amid(new_loop, use(memory))
    del memory
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
        gc.collect()
    until_none_is_live(pair[0].stats)
    pair[0].create_readable(b"x").release()  # gives back what has ended
    assert gone() is None
    assert eventfds() == before


def test_an_await_that_only_the_operation_knows_of_is_not_collected(pair):
    """asyncio holds tasks weakly."""

    async def main():
        done = asyncio.Event()
        operation = pair[0].create_readable(b"x")
        metadata = operation.metadata

        async def use(operation):
            await operation
            done.set()

        asyncio.create_task(use(operation))
        del operation
        await asyncio.sleep(0)
        gc.collect()
        await pair[1].begin_read(metadata, bytearray(1))
        await asyncio.wait_for(done.wait(), LIMIT)

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["operation", "connector", "drop-in"])
def test_a_block_ends_in_a_coroutine_that_is_closed_while_a_loop_runs(pair, kind):
    """As the collector does with the tasks of a loop that was closed, while the next loop runs; and any program may."""

    async def main():
        drop_in = connect.Connector(interop=False)
        block = {
            "operation": lambda: pair[0].create_readable(b"x"),
            "connector": ropeway.Connector,
            "drop-in": lambda: drop_in.create_readable(connect.Descriptor(b"x")),
        }[kind]()

        async def use():
            async with block:
                await asyncio.sleep(LIMIT)

        coroutine = use()
        coroutine.send(None)
        coroutine.close()
        assert block.is_closed if kind == "connector" else block.status == ropeway.OperationStatus.CANCELLED
        if kind == "operation":
            with pytest.raises(ropeway.RopewayError, match="was released"):
                block.metadata

    asyncio.run(main())


# ---- forks ----


def test_a_child_takes_no_news_from_its_parents_loop():
    """The news has come, and the loop has not looked yet, when the fork happens."""
    out = run_program(
        """
import asyncio, os, sys, ropeway
one, other = ropeway.Connector(), ropeway.Connector()

async def main():
    passive = one.create_readable(b"x")
    async def use():
        await passive
        print("heard")
    task = asyncio.create_task(use())
    await asyncio.sleep(0)
    other.begin_read(passive.metadata, bytearray(1)).wait(30)
    passive.wait(30)
    child = os.fork()
    if child == 0:
        raise SystemExit(0)
    print(os.waitpid(child, 0)[1])
    await asyncio.wait_for(task, 30)

try:
    asyncio.run(main())
except SystemExit:
    import gc
    gc.collect()
    os._exit(0)
"""
    )
    assert out == "0\nheard\n"


def test_a_child_that_a_signals_handler_makes_amid_a_wait_is_told():
    out = run_program(
        """
import os, signal, ropeway
one = ropeway.Connector()
op = one.create_readable(b"x")
def handler(*_):
    global child
    child = os.fork()
    if child:
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        op.cancel()
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.2)
try:
    op.wait(60)
except ropeway.OperationCancelled:
    print("cancelled")
except ropeway.RopewayError as error:
    os._exit(7 if error.code == ropeway.ErrorCode.FORKED else 8)
"""
    )
    assert out == "7\ncancelled\n"


CONNECTS = """
import os, signal, sys, threading, ropeway
import ropeway.nixl_connect as connect
import ropeway.nixl_connect._connection as module

worker = connect.Connector()
inside, go_on = threading.Event(), threading.Event()
plain = module.Connection.__init__
def slow(self, *arguments):
    inside.set()
    amid()
    plain(self, *arguments)
module.Connection.__init__ = slow
"""


def test_a_fork_while_a_thread_connects_leaves_the_child_able_to():
    out = run_program(
        CONNECTS
        + """
def amid():
    if threading.current_thread() is not threading.main_thread():
        go_on.wait(60)
thread = threading.Thread(target=lambda: worker.connection)
thread.start()
inside.wait(60)
child = os.fork()
if child == 0:
    worker.connection
    os._exit(5)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
go_on.set()
thread.join()
"""
    )
    assert out == "5\n"


def test_a_signals_handler_may_connect_while_its_thread_does():
    out = run_program(
        CONNECTS
        + """
def amid():
    if not go_on.is_set():
        go_on.set()
        signal.raise_signal(signal.SIGALRM)
signal.signal(signal.SIGALRM, lambda *_: print(worker.connection.name == worker.name + "-2"))
worker.connection
"""
    )
    assert out == "True\n"


def test_a_fork_while_a_thread_loads_the_extension_leaves_the_child_able_to():
    out = run_program(
        """
import os, threading, ropeway
import ropeway._load as load
inside, go_on = threading.Event(), threading.Event()
plain = load._import
def slow():
    if threading.current_thread() is not threading.main_thread():
        inside.set()
        go_on.wait(60)
    return plain()
load._import = slow
thread = threading.Thread(target=lambda: ropeway.__version__)
thread.start()
inside.wait(60)
child = os.fork()
if child == 0:
    os._exit(5 if ropeway.__version__ else 6)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
go_on.set()
thread.join()
"""
    )
    assert out == "5\n"


def test_a_child_does_not_hand_over_its_parents_log():
    """Lines wait for a call of this package's while the main thread sleeps."""
    out = run_program(
        """
import logging, os, threading, ropeway
lines = []
class Handler(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())
logging.getLogger("ropeway").addHandler(Handler())
logging.getLogger("ropeway").setLevel(logging.DEBUG)
one, other = ropeway.Connector(), ropeway.Connector()

def work():
    passive = one.create_readable(b"x")
    metadata = passive.metadata
    passive.release()
    refused = other.begin_read(metadata, bytearray(1))
    try:
        refused.wait(30)
    except ropeway.PeerError:
        pass
    before = len(lines)
    child = os.fork()
    try:
        one.create_readable(b"y").release()
    except ropeway.RopewayError:
        os._exit(len(lines) - before)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(lines) > before)

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""
    )
    assert out == "0 True\n"


# ---- other libraries' loops ----


def drive(coroutine):
    """As a loop that is none of asyncio's does."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits for something")


def test_blocks_end_in_the_loops_of_other_libraries():
    async def main():
        async with ropeway.Connector() as connector:
            async with connector.create_readable(b"x") as operation:
                assert not operation.is_done
            assert operation.status is ropeway.OperationStatus.CANCELLED
        assert connector.is_closed

    drive(main())
