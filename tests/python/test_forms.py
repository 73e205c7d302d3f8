# SPDX-License-Identifier: Apache-2.0
"""The forms in which documented programs call a connector: what its methods give is used at once, awaited, or handed
to asyncio as a coroutine; and metadata and descriptors come in either order."""

import asyncio
import collections.abc
import gc
import inspect
import json
import subprocess
import sys
import textwrap
import threading
import unittest.mock
import warnings

import pytest
from conftest import LIMIT, until_none_is_live
from peer import pattern

import ropeway.nixl_connect as connect
from ropeway.nixl_connect import Descriptor, OperationStatus

# The page of ReadOperation, with a class around its example that has a connector, and with a peer to read from.
PAGE = """
import asyncio, sys
{module}
class torch:
    Tensor = bytearray

class Worker:
    def __init__(self):
        self.connector = {name}.Connector()

    async def read_from_remote(
      self,
      remote_metadata: {name}.RdmaMetadata,
      local_tensor: torch.Tensor
    ) -> None:
      descriptor = {name}.Descriptor(local_tensor)

      with self.connector.begin_read(descriptor, remote_metadata) as read_op:
        # Wait for the operation to complete writing data from the remote worker to local_tensor.
        await read_op.wait_for_completion()

local_tensor = bytearray(1000)
remote_metadata = {name}.RdmaMetadata.model_validate_json(sys.stdin.readline())
asyncio.run(Worker().read_from_remote(remote_metadata, local_tensor))
print(local_tensor.hex())
"""


@pytest.mark.parametrize(
    "arguments, name, module",
    [
        ((), "ropeway.nixl_connect", "import ropeway.nixl_connect"),
        ((), "connect", "import ropeway.nixl_connect as connect"),
        (("-m", "ropeway.dropin"), "dynamo.nixl_connect", "import dynamo.nixl_connect"),
        (("-m", "ropeway.dropin"), "connect", "import dynamo.nixl_connect as connect"),
    ],
)
def test_the_example_of_the_page_of_read_operation(tmp_path, peer, arguments, name, module):
    program = tmp_path / "program.py"
    program.write_text(PAGE.format(name=name, module=module))
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments, str(program)],
        input=json.dumps(peer.call("readable", 1000)) + "\n", capture_output=True, text=True, timeout=4 * LIMIT,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert bytes.fromhex(done.stdout) == pattern(1000, 0)
    assert peer.call("wait")[0] == "DONE"


@pytest.fixture
def two():
    return connect.Connector(), connect.Connector()


@pytest.fixture(autouse=True)
def warned():
    """No form may warn, be it when something is collected, except tests that clear what was caught."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


def run(main):
    return asyncio.run(asyncio.wait_for(main, LIMIT))


# How a program of each year takes what a method gives it.


async def at_once(operation):
    return operation


async def awaited(operation):
    return await operation


async def awaited_twice(operation):
    assert await operation is await operation
    return operation


async def as_a_task(operation):
    return await asyncio.create_task(operation)


async def as_two_tasks(operation):
    one, other = await asyncio.gather(asyncio.create_task(operation), asyncio.create_task(operation))
    assert one is other
    return one


async def gathered(operation):
    return (await asyncio.gather(operation, asyncio.sleep(0)))[0]


async def within_a_time(operation):
    return await asyncio.wait_for(operation, LIMIT)


async def shielded(operation):
    return await asyncio.shield(operation)


async def ensured(operation):
    return await asyncio.ensure_future(operation)


async def as_completed(operation):
    return [await one for one in asyncio.as_completed([operation])][0]


async def in_a_group(operation):
    if not hasattr(asyncio, "TaskGroup"):
        return await operation
    async with asyncio.TaskGroup() as group:
        task = group.create_task(operation)
    return task.result()


async def by_another_thread(operation):
    """The loop of a thread of its own; asyncio.run() of the operation itself."""
    return await asyncio.to_thread(asyncio.run, operation)


async def by_the_loop_of_this_thread(operation):
    loop = asyncio.get_running_loop()
    return await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(operation, loop).result(LIMIT))


async def by_a_coroutine_that_returns_it(operation):
    async def begin():
        return operation

    return await (await begin())


async def if_it_is_awaitable(operation):
    return await operation if inspect.isawaitable(operation) else operation


TAKEN = [at_once, awaited, awaited_twice, as_a_task, as_two_tasks, gathered, within_a_time, shielded, ensured,
         as_completed, in_a_group, by_another_thread, by_the_loop_of_this_thread, by_a_coroutine_that_returns_it,
         if_it_is_awaitable]  # fmt: skip


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("take", TAKEN)
def test_a_read_and_a_write_in_every_form(two, take, swapped):
    def order(*arguments):
        return arguments[::-1] if swapped else arguments

    async def main():
        room = bytearray(5)
        with await take(two[0].create_readable(Descriptor(b"hello"))) as readable:
            assert type(readable) is connect.ReadableOperation
            with await take(two[1].begin_read(*order(readable.metadata(), Descriptor(room)))) as read:
                assert type(read) is connect.ReadOperation
                await asyncio.gather(read.wait_for_completion(), readable.wait_for_completion())
        assert room == b"hello" and read.status is readable.status is OperationStatus.COMPLETE
        with await take(two[0].create_writable([Descriptor(room)])) as writable:
            assert type(writable) is connect.WritableOperation
            with await take(two[1].begin_write(*order([Descriptor(b"HELLO")], writable.metadata()))) as write:
                assert type(write) is connect.WriteOperation
                await asyncio.gather(write.wait_for_completion(), writable.wait_for_completion())
        assert room == b"HELLO"

    run(main())


def test_async_with_and_plain_calls_without_await(two):
    async def main():
        room = bytearray(5)
        async with two[0].create_readable(Descriptor(b"hello")) as readable:
            async with two[1].begin_read(readable.metadata(), Descriptor(room)) as read:
                await read.wait_for_completion()
        assert room == b"hello"

    run(main())


def test_by_keywords_in_the_documented_order_only(two):
    async def main():
        room = bytearray(5)
        with two[0].create_readable(local_descriptors=Descriptor(b"hello")) as readable:
            with two[1].begin_read(local_descriptors=Descriptor(room), remote_metadata=readable.metadata()) as read:
                await read.wait_for_completion()
        assert room == b"hello"

    run(main())


def test_an_operation_has_begun_when_the_call_returns(two, peer):
    """Nothing is awaited, and no loop runs: only the peer's answer tells that the bytes have moved."""
    metadata = connect.RdmaMetadata.model_validate(peer.call("readable", 100))
    room = bytearray(100)
    read = two[1].begin_read(metadata, Descriptor(room))
    assert read.status in (OperationStatus.IN_PROGRESS, OperationStatus.COMPLETE)
    assert peer.call("wait")[0] == "DONE"
    assert room == pattern(100, 0)


def test_it_is_a_coroutine_to_whoever_looks(two):
    operation = two[0].create_readable(Descriptor(b"x"))
    assert asyncio.iscoroutine(operation) and inspect.isawaitable(operation)
    assert isinstance(operation, collections.abc.Coroutine)
    for name in ("begin_read", "begin_write", "create_readable", "create_writable"):
        for function in (getattr(connect.Connector, name), getattr(two[0], name)):
            found = inspect.iscoroutinefunction if sys.version_info >= (3, 12) else asyncio.iscoroutinefunction
            assert found(function)
    operation.close()


def test_a_mock_of_a_connector_has_methods_to_await(two):
    mock = unittest.mock.create_autospec(connect.Connector, instance=True)
    mock.create_readable.return_value = "operation"

    async def main():
        assert await mock.create_readable(Descriptor(b"x")) == "operation"

    run(main())


def test_a_coroutine_that_is_closed_has_given_its_memory_back(two):
    room = Descriptor(bytearray(5))
    operation = two[0].create_writable(room)
    operation.close()
    operation.close()
    assert operation.status is OperationStatus.CANCELLED and not room.is_registered


def test_what_is_thrown_into_it_is_raised_and_the_operation_goes_on(two):
    with two[0].create_readable(Descriptor(b"x")) as operation:
        for arguments, kind, text in [
            ((KeyError,), KeyError, "()"),
            ((KeyError, "why"), KeyError, "('why',)"),
            ((KeyError, KeyError("why"), None), KeyError, "('why',)"),
            ((asyncio.CancelledError(),), asyncio.CancelledError, "()"),
        ]:
            with pytest.raises(kind) as caught:
                operation.throw(*arguments)
            assert str(caught.value.args) == text
        assert operation.status is OperationStatus.INITIALIZED


def test_a_task_that_is_cancelled_before_it_ran_leaves_nothing_behind(two, warned):
    async def main():
        task = asyncio.create_task(two[0].create_writable(Descriptor(bytearray(5))))
        assert "WritableOperation" in repr(task) and task.get_stack() == []
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        await asyncio.sleep(0)  # until the loop, too, has let go of the task
        gc.collect()
        until_none_is_live(two[0].connection.stats)

    run(main())
    assert [warning.category for warning in warned] == [ResourceWarning]
    warned.clear()


def test_an_operation_that_is_dropped_without_await_is_cancelled(two, warned):
    async def main():
        metadata = two[0].create_readable(Descriptor(b"x")).metadata()
        assert until_none_is_live(two[0].connection.stats)["operations_cancelled"] == 1
        assert [warning.category for warning in warned] == [ResourceWarning]
        warned.clear()
        with pytest.raises(RuntimeError):
            with two[1].begin_read(metadata, Descriptor(bytearray(1))) as read:
                await read.wait_for_completion()

    run(main())


def test_many_begun_before_any_is_awaited(two):
    async def main():
        sources = [two[0].create_readable(Descriptor(bytes([number]) * 100)) for number in range(50)]
        rooms = [bytearray(100) for _ in sources]
        reads = [two[1].begin_read(source.metadata(), Descriptor(room)) for source, room in zip(sources, rooms)]
        await asyncio.gather(*(read.wait_for_completion() for read in await asyncio.gather(*reads)))
        assert rooms == [bytes([number]) * 100 for number in range(50)]
        await asyncio.gather(*(source.wait_for_completion() for source in sources))

    run(main())


def test_what_is_neither_metadata_nor_a_descriptor_is_refused_by_a_sentence(two):
    room = Descriptor(bytearray(1))
    with two[0].create_readable(Descriptor(b"x")) as source, two[0].create_writable(Descriptor(bytearray(1))) as sink:
        for method, metadata in (("begin_read", source.metadata()), ("begin_write", sink.metadata())):
            begin = getattr(two[1], method)
            for arguments in [(room, room), (None, room), (room, None), (metadata.model_dump(), room), ("x", 1)]:
                with pytest.raises(TypeError, match=rf"{method}\(\).*either order.*model_validate"):
                    begin(*arguments)
            for arguments in [(metadata, metadata), (metadata, "x"), (["x"], metadata), (bytearray(1), metadata)]:
                with pytest.raises(TypeError, match="local_descriptors"):
                    begin(*arguments)
        assert source.status is sink.status is OperationStatus.INITIALIZED


def test_an_error_is_raised_where_the_method_is_called_awaited_or_not(two):
    async def main():
        with two[0].create_writable(Descriptor(bytearray(1))) as sink:
            with pytest.raises(RuntimeError):
                two[1].begin_read(sink.metadata(), Descriptor(bytearray(1)))
            with pytest.raises(RuntimeError):
                await two[1].begin_read(sink.metadata(), Descriptor(bytearray(1)))
            with pytest.raises(ValueError):
                await asyncio.create_task(two[1].begin_write(Descriptor(b"xx"), sink.metadata()))

    run(main())


def test_methods_are_called_in_a_thread_without_a_loop(two):
    failures = []

    def work():
        try:
            with two[0].create_readable(Descriptor(b"hello")) as readable:
                room = bytearray(5)
                with two[1].begin_read(readable.metadata(), Descriptor(room)) as read:
                    asyncio.run(read.wait_for_completion())
                assert room == b"hello"
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_asyncio_refuses_without_a_loop_as_it_refuses_coroutines(two):
    room = Descriptor(bytearray(1))
    operation = two[0].create_writable(room)
    with pytest.raises(RuntimeError):
        asyncio.create_task(operation)
    assert operation.status is OperationStatus.INITIALIZED and room.is_registered
    operation.close()


def test_loops_in_debug_mode_have_nothing_to_say():
    program = textwrap.dedent("""
        import asyncio
        import ropeway.nixl_connect as connect

        async def main():
            asyncio.get_running_loop().slow_callback_duration = 3600
            one, other, room = connect.Connector(), connect.Connector(), bytearray(5)
            with await asyncio.create_task(one.create_readable(connect.Descriptor(b"hello"))) as source:
                [read] = await asyncio.gather(other.begin_read(source.metadata(), connect.Descriptor(room)))
                with read:
                    await read.wait_for_completion()
            print(room.decode())

        asyncio.run(main(), debug=True)
    """)
    done = subprocess.run([sys.executable, "-X", "dev", "-c", program], capture_output=True, text=True, timeout=4 * LIMIT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")
