# SPDX-License-Identifier: Apache-2.0
"""Completion in event loops and threads."""

import asyncio
import gc
import os
import random
import signal
import threading
import time

import pytest
from conftest import LIMIT

import ropeway

try:
    import uvloop
except ImportError:
    uvloop = None


def test_a_thousand_tasks_at_a_time(pair):
    async def one(number):
        source, target = number.to_bytes(4, "little") * 100, bytearray(400)
        async with pair[0].create_readable(source) as passive:
            async with pair[1].begin_read(passive.metadata, target) as active:
                await asyncio.gather(passive, active)
        assert target == source

    async def main():
        await asyncio.gather(*map(one, range(1000)))

    asyncio.run(main())
    assert pair[0].stats()["operations_completed"] == 1000
    assert pair[0].stats()["operations_live"] == 0


async def ping(pair, rounds):
    for number in range(rounds):
        target = bytearray(8)
        passive = pair[0].create_readable(number.to_bytes(8, "little"))
        assert await pair[1].begin_read(passive.metadata, target) is target
        await passive
        assert int.from_bytes(target, "little") == number


@pytest.mark.parametrize("loops", [1, 2, 4])
def test_loops_in_threads_share_connectors(pair, loops):
    failures = []

    def run():
        try:
            asyncio.run(ping(pair, 200))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(loops)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_one_loop_after_another_leaves_no_descriptors_behind(pair):
    asyncio.run(ping(pair, 5))
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        asyncio.run(ping(pair, 5))
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_operation_is_waited_for_with_asyncios_own_timeouts(pair):
    async def main():
        passive = pair[0].create_readable(b"x")
        with pytest.raises((TimeoutError, asyncio.TimeoutError)):
            await asyncio.wait_for(passive, 0.01)
        assert passive.status is ropeway.OperationStatus.INITIALIZED
        done, pending = await asyncio.wait([asyncio.ensure_future(passive)], timeout=0.01)
        assert not done and len(pending) == 1
        await pair[1].begin_read(passive.metadata, bytearray(1))
        assert await asyncio.gather(passive, *pending) == [b"x", b"x"]

    asyncio.run(main())


def test_connectors_in_blocks(pair):
    async def main():
        async with ropeway.Connector() as connector:
            passive = connector.create_readable(b"x")
            async with pair[0].begin_read(passive.metadata, bytearray(1)) as active:
                assert await active == b"x"
            live = connector.create_readable(b"y")
        assert connector.is_closed and live.status is ropeway.OperationStatus.CANCELLED
        with ropeway.Connector() as connector, connector.create_readable(b"x") as live:
            pass
        assert connector.is_closed and live.status is ropeway.OperationStatus.CANCELLED

    asyncio.run(main())


@pytest.mark.skipif(uvloop is None, reason="uvloop is not installed")
def test_uvloop(pair):
    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(ping(pair, 200))
    finally:
        loop.close()


def test_one_operation_awaited_by_many_tasks_in_two_loops(pair):
    passive = pair[0].create_readable(b"x")
    all_wait = threading.Barrier(3)

    async def wait():
        tasks = [asyncio.create_task(passive._ended()) for _ in range(50)]
        await asyncio.sleep(0)
        await asyncio.to_thread(all_wait.wait, LIMIT)
        assert await asyncio.gather(*tasks) == [b"x"] * 50
        done.append(True)

    done = []
    threads = [threading.Thread(target=lambda: asyncio.run(wait())) for _ in range(2)]
    for thread in threads:
        thread.start()
    all_wait.wait(LIMIT)
    pair[1].begin_read(passive.metadata, bytearray(1)).wait(LIMIT)
    for thread in threads:
        thread.join()
    assert done == [True, True]


def test_tasks_cancelled_at_random_moments_leave_consistent_operations(pair):
    choose = random.Random(7)

    async def one():
        target = bytearray(200_000)
        passive = pair[0].create_readable(b"\1" * len(target))
        active = pair[1].begin_read(passive.metadata, target)
        task = asyncio.gather(active._ended(), passive._ended())
        for _ in range(choose.randrange(6)):
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
        # The operations know nothing of the task: both complete.
        await asyncio.gather(active, passive)
        assert target == b"\1" * len(target)

    async def main():
        for _ in range(100):
            await one()
        await asyncio.gather(*(one() for _ in range(50)))

    asyncio.run(main())


def test_cancel_races_with_the_data_and_ends_alike_on_both_sides(pair):
    choose = random.Random(3)

    async def one():
        target = bytearray(1_000_000)
        passive = pair[0].create_writable(target)
        active = pair[1].begin_write(b"\1" * len(target), passive.metadata)
        for _ in range(choose.randrange(4)):
            await asyncio.sleep(0)
        choose.choice([active, passive]).cancel()
        results = await asyncio.gather(active, passive, return_exceptions=True)
        if active.status is ropeway.OperationStatus.ERRORED:
            # The passive side was cancelled before the peer's request came.
            assert passive.status is ropeway.OperationStatus.CANCELLED
            assert active.error.code in (ropeway.ErrorCode.KEY_UNKNOWN, ropeway.ErrorCode.KEY_FINISHED)
            return
        assert active.status == passive.status
        if active.status is ropeway.OperationStatus.COMPLETE:
            assert target == b"\1" * len(target)
        else:
            assert all(isinstance(result, ropeway.OperationCancelled) for result in results)

    async def main():
        for _ in range(60):
            await one()

    asyncio.run(main())


def test_threads_wait_without_the_interpreter_lock(pair):
    """A thread that waits lets others run: this one does the peer's side meanwhile."""
    passive = pair[0].create_readable(b"x")
    results = []
    thread = threading.Thread(target=lambda: results.append(passive.wait(LIMIT)))
    thread.start()
    assert pair[1].begin_read(passive.metadata, bytearray(1)).wait(LIMIT) == b"x"
    thread.join()
    assert results == [b"x"]


def test_a_wait_that_times_out_leaves_the_operation_live(pair):
    passive = pair[0].create_readable(b"x")
    for timeout in (0, 0.001, 0.05):
        with pytest.raises(TimeoutError) as caught:
            passive.wait(timeout)
        assert caught.value.code is ropeway.ErrorCode.TIMEOUT
    assert passive.status is ropeway.OperationStatus.INITIALIZED
    pair[1].begin_read(passive.metadata, bytearray(1)).wait(LIMIT)
    assert passive.wait(LIMIT) == b"x"


def test_a_signal_interrupts_a_wait(pair):
    class Interrupted(Exception):
        pass

    def handler(*_):
        raise Interrupted

    old = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Interrupted):
            pair[0].create_readable(b"x").wait()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def test_release_in_one_thread_wakes_the_wait_of_another(pair):
    passive = pair[0].create_readable(b"x")
    results = []

    def wait():
        try:
            passive.wait()
        except ropeway.RopewayError as error:
            results.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    passive.release()
    thread.join()
    assert isinstance(results[0], ropeway.OperationCancelled)


def test_closing_a_connector_ends_awaits_and_later_calls_say_so(pair):
    connector = ropeway.Connector()
    passive = connector.create_readable(b"x")

    async def main():
        task = asyncio.create_task(passive._ended())
        await asyncio.sleep(0)
        await asyncio.to_thread(connector.close)
        with pytest.raises(ropeway.OperationCancelled):
            await task

    asyncio.run(main())
    connector.close()
    for call in (connector.stats, lambda: connector.create_readable(b"x")):
        with pytest.raises(ropeway.RopewayError) as caught:
            call()
        assert caught.value.code is ropeway.ErrorCode.CLOSED


def test_a_deadline_ends_an_operation_that_nobody_comes_for(pair):
    async def main():
        operation = pair[0].create_readable(b"x", deadline=0.05)
        with pytest.raises(ropeway.OperationTimeout) as caught:
            await operation
        assert caught.value.code is ropeway.ErrorCode.DEADLINE
        assert operation.error.code is ropeway.ErrorCode.DEADLINE
        assert str(operation.error)

    asyncio.run(main())


def test_a_thousand_awaits_cost_nothing_while_nothing_happens(pair, capsys):
    async def main():
        operations = [pair[0].create_readable(b"x") for _ in range(1000)]
        tasks = [asyncio.create_task(operation._ended()) for operation in operations]
        await asyncio.sleep(0.2)
        before = time.process_time()
        await asyncio.sleep(2)
        used = time.process_time() - before
        for operation in operations:
            operation.cancel()
        assert len(await asyncio.gather(*tasks, return_exceptions=True)) == 1000
        return used

    used = asyncio.run(main())
    with capsys.disabled():
        print(f"\n1,000 awaited operations took {used * 50:.2f} % of a core")
    assert used < 0.1  # polling takes more than 2 s


def test_progress_and_paths(pair):
    passive = pair[0].create_readable(bytes(1000), integrity=True)
    assert passive.progress == (0, 1000) and passive.peer == "" and passive.path == ""
    active = pair[1].begin_read(passive.metadata, bytearray(1000))
    active.wait(LIMIT)
    passive.wait(LIMIT)
    assert active.progress == (1000, 1000) and active.progress.total == 1000
    assert active.peer == pair[0].name and passive.peer == pair[1].name
    path = active.path
    assert path
    for operation in (active, passive):
        operation.release()
        operation.release()
        assert operation.status is ropeway.OperationStatus.COMPLETE
        assert operation.progress == (1000, 1000)
    assert active.path == path and active.result()
    with pytest.raises(ropeway.RopewayError):
        passive.metadata
    assert not active.cancel()
