# SPDX-License-Identifier: Apache-2.0
"""However a wait ends, the operation and its memory go with their last name, and not with a collection of garbage: no
exception, frame, future or timer of the package holds itself."""

import asyncio
import gc
import weakref

import numpy as np
import pytest
from conftest import LIMIT

import ropeway
import ropeway.nixl_connect as connect
from ropeway.nixl_connect import Descriptor

SOON = 0.02  # seconds


class Owner(np.ndarray):
    """An array that a weak reference can watch."""


def is_freed_at_once(use):
    """Whether an array is gone when use(array), a coroutine function, has returned."""
    arrays = [np.zeros(1000, np.uint8).view(Owner)]
    gone = weakref.ref(arrays[0])

    async def main():
        await use(arrays.pop())

    asyncio.run(main())
    return gone() is None


@pytest.fixture(autouse=True)
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def worker():
    return connect.Connector(interop=False)


@pytest.fixture
def short():
    """A worker whose operations end soon, ERRORED."""
    return connect.Connector(interop=False, deadline=SOON)


async def until_it_waits(task):
    """The task has begun to await."""
    await asyncio.sleep(0)
    assert not task.done()


# ---- the drop-in ----


@pytest.mark.parametrize("timeout", [None, LIMIT])
def test_a_wait_that_ends_with_an_error(short, timeout):
    async def use(array):
        with short.create_writable(Descriptor(array)) as operation:
            with pytest.raises(ropeway.RopewayError):
                await operation.wait_for_completion(timeout)

    assert is_freed_at_once(use)


@pytest.mark.parametrize("timeout", [None, LIMIT])
def test_a_wait_that_ends_with_a_cancel(worker, timeout):
    async def use(array):
        with worker.create_writable(Descriptor(array)) as operation:
            task = asyncio.create_task(operation.wait_for_completion(timeout))
            await until_it_waits(task)
            operation.cancel()
            await task

    assert is_freed_at_once(use)


@pytest.mark.parametrize("timeout", [None, LIMIT])
def test_a_wait_that_ends_well(worker, timeout):
    async def use(array):
        with worker.create_writable(Descriptor(array)) as passive:
            with worker.begin_write(Descriptor(b"1" * 1000), passive.metadata()) as active:
                await asyncio.gather(passive.wait_for_completion(timeout), active.wait_for_completion(timeout))

    assert is_freed_at_once(use)


@pytest.mark.parametrize("timeout", [SOON, 0, -1])
def test_a_wait_that_takes_too_long(worker, timeout):
    async def use(array):
        with worker.create_writable(Descriptor(array)) as operation:
            with pytest.raises(ropeway.OperationTimeout, match=f"not finished after {timeout} s"):
                await operation.wait_for_completion(timeout)
            assert operation.status is connect.OperationStatus.INITIALIZED

    assert is_freed_at_once(use)


@pytest.mark.parametrize("timeout", [None, LIMIT])
def test_a_wait_whose_task_is_cancelled(worker, timeout):
    async def use(array):
        with worker.create_writable(Descriptor(array)) as operation:
            task = asyncio.create_task(operation.wait_for_completion(timeout))
            await until_it_waits(task)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    assert is_freed_at_once(use)


def test_a_block_whose_task_is_cancelled(worker):
    async def use(array):
        async def block():
            async with worker.create_writable(Descriptor(array)) as operation:
                await operation.wait_for_completion(LIMIT)

        task = asyncio.create_task(block())
        await until_it_waits(task)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert is_freed_at_once(use)


def test_an_exception_that_is_thrown_into_the_coroutine(worker):
    async def use(array):
        with worker.create_writable(Descriptor(array)) as operation:
            with pytest.raises(ZeroDivisionError):
                operation.throw(ZeroDivisionError())
            with pytest.raises(ZeroDivisionError):
                operation.throw(ZeroDivisionError, None)

    assert is_freed_at_once(use)


def test_memory_that_is_refused(worker):
    async def use(array):
        array.flags.writeable = False
        with pytest.raises(ropeway.ArgumentError, match="read-only"):
            worker.create_writable([Descriptor(array), Descriptor(bytearray(1))])

    assert is_freed_at_once(use)


def test_a_wait_with_a_timeout_that_is_none_is_refused_also_of_one_that_has_ended(worker):
    async def main():
        with worker.create_writable(Descriptor(bytearray(1))) as operation:
            operation.cancel()
            for wrong, error in (("1", TypeError), (float("nan"), ValueError)):
                with pytest.raises(error, match="the timeout is"):
                    await operation.wait_for_completion(wrong)

    asyncio.run(main())


# ---- the package ----


@pytest.mark.parametrize("timeout", [None, LIMIT, float("inf")])
def test_ended_tells_of_any_outcome(pair, timeout):
    async def use(array):
        with pair[0].create_writable(array) as operation:
            waits = [asyncio.create_task(operation.ended(timeout)) for _ in range(3)]
            await until_it_waits(waits[2])
            assert not await operation.ended(0)
            operation.cancel()
            assert await asyncio.gather(*waits) == [True] * 3
            assert await operation.ended(timeout) and operation.status is ropeway.OperationStatus.CANCELLED

    assert is_freed_at_once(use)


async def plain(operation):
    await operation


@pytest.mark.parametrize("begin", ["create_writable", "offer"])
@pytest.mark.parametrize("wait", [ropeway.Operation.ended, plain])
def test_a_task_that_is_cancelled_while_it_waits(pair, begin, wait):
    async def use(array):
        with getattr(pair[0], begin)(array) as operation:
            task = asyncio.create_task(wait(operation))
            await until_it_waits(task)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    assert is_freed_at_once(use)


def test_an_outcome_that_is_raised(pair):
    async def use(array):
        with pair[0].create_writable(array, deadline=SOON) as operation:
            with pytest.raises(ropeway.OperationTimeout):
                await operation
            with pytest.raises(ropeway.OperationTimeout):
                operation.wait()
            with pytest.raises(ropeway.OperationTimeout):
                operation.result()

    assert is_freed_at_once(use)


def test_a_fetch_that_fails_or_takes_too_long(pair):
    async def use(array):
        with pair[0].offer(array) as offer:
            metadata = offer.metadata
            with pytest.raises(ropeway.OperationTimeout):
                offer.wait(0)
        with pytest.raises(ropeway.RopewayError):
            await pair[1].fetch(metadata)
        with pytest.raises(ropeway.ArgumentError):
            pair[0].offer([array, object()])

    assert is_freed_at_once(use)
