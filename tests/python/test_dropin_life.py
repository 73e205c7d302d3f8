# SPDX-License-Identifier: Apache-2.0
"""The drop-in in long use: many tasks, loops and cancellations; memory that comes and goes; what is left behind."""

import asyncio
import ctypes
import gc
import mmap
import os
import random
import signal

import pytest
from conftest import run_program
from peer import pattern

import ropeway.nixl_connect as connect
from ropeway.nixl_connect import Descriptor, OperationStatus, RdmaMetadata

try:
    import uvloop
except ImportError:
    uvloop = None


@pytest.fixture
def two():
    return connect.Connector(), connect.Connector()


async def move(two, number, size=64):
    source, room = number.to_bytes(4, "little") * (size // 4), bytearray(size)
    with await two[0].create_readable(Descriptor(source)) as passive:
        metadata = RdmaMetadata.model_validate(passive.metadata().model_dump())
        with await two[1].begin_read(metadata, Descriptor(room)) as active:
            await asyncio.gather(passive.wait_for_completion(), active.wait_for_completion())
    assert room == source


async def stats(connector):
    return (await connector._create_connection()).stats()


def test_a_thousand_tasks_at_a_time(two):
    async def main():
        await asyncio.gather(*(move(two, number) for number in range(1000)))
        assert (await stats(two[0]))["operations_completed"] == 1000
        assert (await stats(two[0]))["operations_live"] == 0

    asyncio.run(main())


@pytest.mark.skipif(uvloop is None, reason="uvloop is not installed")
def test_uvloop(two):
    async def main():
        await asyncio.gather(*(move(two, number) for number in range(100)))

    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def test_ten_thousand_operations_leave_nothing_behind(two):
    def sizes():
        gc.collect()
        return len(os.listdir("/proc/self/fd")), len(gc.get_objects())

    async def main():
        async def worker(first):
            for number in range(first, first + 500):
                await move(two, number)

        await asyncio.gather(*(worker(0) for _ in range(2)))
        before = sizes()
        await asyncio.gather(*(worker(500 * index) for index in range(10)))
        return before, sizes(), await stats(two[0])

    before, after, found = asyncio.run(main())
    assert after[0] == before[0] and abs(after[1] - before[1]) < 300
    assert (found["operations_live"], found["memory_registered"]) == (0, 0)


def test_tasks_cancelled_at_random_moments_leave_consistent_operations(two):
    choose = random.Random(11)

    async def one(number):
        source, room = Descriptor(b"\1" * 200_000), Descriptor(bytearray(200_000))
        passive = await two[0].create_readable(source)
        active = await two[1].begin_read(passive.metadata(), room)
        tasks = [asyncio.create_task(operation.wait_for_completion()) for operation in (passive, active)]
        for _ in range(choose.randrange(6)):
            await asyncio.sleep(0)
        for task in choose.sample(tasks, choose.randrange(3)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # The operations know nothing of it.
        await asyncio.gather(passive.wait_for_completion(), active.wait_for_completion())
        assert active.status is passive.status is OperationStatus.COMPLETE
        assert room._data_ref == source._data_ref

    async def main():
        for number in range(50):
            await one(number)
        await asyncio.gather(*map(one, range(50)))
        assert (await stats(two[1]))["operations_cancelled"] == 0

    asyncio.run(main())


def test_tasks_cancelled_inside_of_the_block_leave_quiet_memory(two):
    """Leaving the block cancels the operation; whatever is written to the memory afterwards stays."""
    choose = random.Random(5)

    async def read(metadata, room):
        with await two[1].begin_read(metadata, Descriptor(room)) as active:
            await active.wait_for_completion()

    async def one():
        room = bytearray(1 << 20)
        with await two[0].create_readable(Descriptor(b"\1" * (1 << 20))) as passive:
            task = asyncio.create_task(read(passive.metadata(), room))
            for _ in range(choose.randrange(8)):
                await asyncio.sleep(0)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass
            room[:] = b"\2" * len(room)
        assert room == b"\2" * len(room)

    async def main():
        for _ in range(60):
            await one()
        for connector in two:
            assert (await stats(connector))["operations_live"] == 0

    asyncio.run(main())


def test_leaving_an_async_block_cancels_what_is_live(peers):
    peer = peers()
    metadata = RdmaMetadata.model_validate(peer.call("readable", 1 << 20))
    os.kill(peer.process.pid, signal.SIGSTOP)

    async def main():
        connector, room = connect.Connector(), Descriptor(bytearray(1 << 20))
        async with await connector.begin_read(metadata, room) as read:
            assert read.status is OperationStatus.IN_PROGRESS and room.is_registered
        assert read.status is OperationStatus.CANCELLED and not room.is_registered
        async with await connector.create_readable(room) as offer:
            pass
        assert offer.status is OperationStatus.CANCELLED

    asyncio.run(main())


# ---- memory that was freed and used again ----

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
MAP_FIXED = 0x10


def map_at(address, size):
    """Fresh pages, all zero."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | (MAP_FIXED if address else 0)
    found = libc.mmap(address, size, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
    assert found not in (None, ctypes.c_void_p(-1).value)
    return found


@pytest.mark.parametrize("size", [4096, 8 << 20])
@pytest.mark.parametrize("still_registered", [False, True])
def test_memory_freed_and_mapped_again_under_the_same_pointer(peer, size, still_registered):
    async def main():
        connector = connect.Connector()
        connection = await connector._create_connection()

        async def write(pointer):
            """The peer reads these pages, and answers whether they hold its pattern."""
            ctypes.memmove(pointer, bytes(expected), size)
            with await connector.create_readable(Descriptor((pointer, size, "cpu", None))) as passive:
                assert await asyncio.to_thread(peer.call, "read", passive.metadata().model_dump()) == [True]
                await passive.wait_for_completion()

        async def read(pointer):
            metadata = RdmaMetadata.model_validate(await asyncio.to_thread(peer.call, "readable", size))
            with await connector.begin_read(metadata, Descriptor((pointer, size, "cpu", None))) as active:
                await active.wait_for_completion()
            assert ctypes.string_at(pointer, size) == expected

        expected = pattern(size, 0)
        pointer = map_at(None, size)
        registered = Descriptor((pointer, size, "cpu", None))
        registered.register_with_connector(connection)
        for _ in range(3):
            await read(pointer)
            await write(pointer)
            if not still_registered:
                registered.deregister_with_connector(connection)
            libc.munmap(pointer, size)
            assert map_at(pointer, size) == pointer and ctypes.string_at(pointer, 8) == bytes(8)
            if not still_registered:
                registered.register_with_connector(connection)
        registered.deregister_with_connector(connection)
        libc.munmap(pointer, size)

    asyncio.run(main())


def test_buffers_that_come_and_go_under_the_same_pointers(two):
    async def main():
        seen = set()
        for number in range(300):
            size = 70_000 + number % 3
            source, room = bytearray(number.to_bytes(2, "little") * size)[:size], bytearray(size)
            descriptor = Descriptor(room)
            seen.add(descriptor.ptr)
            with await two[0].create_readable(Descriptor(source)) as passive:
                with await two[1].begin_read(passive.metadata(), descriptor) as active:
                    await active.wait_for_completion()
                await passive.wait_for_completion()
            assert room == source
            del source, room, descriptor, passive, active
        assert len(seen) < 300

    asyncio.run(main())


@pytest.mark.parametrize("end", ["", "raise SystemExit(0)", "del one, other", "del passive, active, kept"])
def test_the_interpreter_ends_cleanly_with_live_operations(end):
    run_program(
        """
import asyncio
import ropeway.nixl_connect as connect
one, other = connect.Connector(), connect.Connector()
async def main():
    passive = await one.create_readable(connect.Descriptor(bytes(1 << 20)))
    big = await one.create_readable(connect.Descriptor(bytes(64 << 20)))
    active = await other.begin_read(big.metadata(), connect.Descriptor(bytearray(64 << 20)))
    registered = connect.Descriptor(bytearray(4096))
    registered.register_with_connector(passive.connection)
    return passive, active, (big, registered)
passive, active, kept = asyncio.run(main())
"""
        + end
    )
