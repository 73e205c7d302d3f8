# SPDX-License-Identifier: Apache-2.0
"""What programs do with the drop-in."""

import asyncio
import base64
import concurrent.futures
import gc
import os
import signal
import threading
import typing
import uuid
import zlib

import pydantic
import pytest
from conftest import LIMIT

import ropeway
import ropeway.nixl_connect as connect
from ropeway.nixl_connect import Descriptor, OperationStatus, RdmaMetadata


def test_a_pool_of_registered_descriptors_is_shrunk_for_each_read_and_restored(peer):
    async def main():
        connector = connect.Connector()
        connection = await connector._create_connection()
        buffers = [bytearray(1000) for _ in range(3)]
        pool = [Descriptor(buffer) for buffer in buffers]
        for descriptor in pool:
            descriptor.register_with_connector(connection)
        for size in (10, 1000, 1, 999):
            for buffer, descriptor in zip(buffers, pool):
                metadata = RdmaMetadata.model_validate(peer.call("readable", size))
                full, descriptor._data_size = descriptor._data_size, size
                buffer[:] = bytes(1000)
                try:
                    with await connector.begin_read(metadata, descriptor) as operation:
                        await operation.wait_for_completion()
                finally:
                    descriptor._data_size = full
                assert descriptor._data_ref is buffer
                assert descriptor.is_registered
                assert descriptor.size == 1000
                assert buffer == bytes(index * 7 % 251 for index in range(size)) + bytes(1000 - size)
        assert connection.stats()["memory_registered"] == 3000
        del pool, descriptor, operation
        assert connection.stats()["memory_registered"] == 0

    asyncio.run(main())


def test_a_size_above_the_memory_is_refused():
    async def main():
        descriptor = Descriptor(bytearray(10))
        descriptor._data_size = 11
        with pytest.raises(ValueError, match="11"):
            await connect.Connector().create_writable(descriptor)

    asyncio.run(main())


def test_metadata_travels_as_a_dict_in_a_message_of_their_own(peer):
    async def main():
        message = {"request": "embeddings", "serialized": peer.call("readable", 77)}
        metadata = RdmaMetadata.model_validate(message["serialized"])
        room = bytearray(77)
        operation = await connect.Connector().begin_read(metadata, Descriptor(room))
        await operation.wait_for_completion()
        assert room == bytes(index * 7 % 251 for index in range(77))

    asyncio.run(main())


def test_metadata_made_by_hand_around_an_agent_that_can_not_be_reached_is_refused():
    """Here one whose address is none: there is no path to it, and it must not hang."""

    def record(tag, value):
        return tag + len(value).to_bytes(8, "little") + value + b"|"

    agent = b"nixlSerDes|" + record(b"Agent", b"frontend") + record(b"Conns", (1).to_bytes(8, "little"))
    agent += record(b"t", b"UCX") + record(b"c", b"address") + record(b"", b"MemSection")
    agent += record(b"nixlSecElms", bytes(8))
    metadata = RdmaMetadata(
        descriptors=[connect.SerializedDescriptor(device="cpu", ptr=4096, size=8)],
        nixl_metadata="b64:" + base64.b64encode(zlib.compress(agent)).decode(),
        notification_key=str(uuid.uuid4()),
        operation_kind=1,
    )

    async def main():
        with pytest.raises(RuntimeError) as caught:
            await connect.Connector().begin_read(metadata, Descriptor(bytearray(8)))
        assert caught.value.code is ropeway.ErrorCode.NO_PATH

    asyncio.run(main())


def test_the_waiting_coroutine_is_handed_to_someone_who_awaits_it_later(peer):
    async def create(connector):
        operation = await connector.create_readable(Descriptor(bytearray(b"\0\7\16")))
        return operation.metadata().model_dump(), operation.wait_for_completion()

    async def main():
        metadata, later = await create(connect.Connector())
        assert await asyncio.to_thread(peer.call, "read", metadata) == [True]
        await asyncio.create_task(later)

    asyncio.run(main())


class LoopThread:
    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def submit(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture
def loop_thread():
    thread = LoopThread()
    yield thread
    thread.close()


def test_a_connector_lives_on_a_loop_in_a_thread_of_its_own(loop_thread, peer):
    connector = connect.Connector()
    room = bytearray(100)

    async def read(metadata):
        with await connector.begin_read(RdmaMetadata.model_validate(metadata), Descriptor(room)) as operation:
            await operation.wait_for_completion()
            return operation.status

    for _ in range(5):
        room[:] = bytes(100)
        assert loop_thread.submit(read(peer.call("readable", 100))).result(LIMIT) is OperationStatus.COMPLETE
        assert room == bytes(index * 7 % 251 for index in range(100))


def test_the_connection_is_made_in_a_loop_that_is_gone_when_it_is_used(peer):
    """They create it from synchronous code, in a thread with a loop for that one call."""
    connector = connect.Connector()
    made = []
    thread = threading.Thread(target=lambda: made.append(asyncio.run(connector._create_connection())))
    thread.start()
    thread.join()
    room = Descriptor(bytearray(100))
    room.register_with_connector(made[0])

    async def main():
        metadata = RdmaMetadata.model_validate(peer.call("readable", 100))
        with await connector.begin_read(metadata, room) as operation:
            assert operation.connection is made[0]
            await operation.wait_for_completion()

    asyncio.run(main())
    assert room.is_registered


def test_a_call_into_the_loop_of_another_thread_is_cancelled_on_a_timeout(loop_thread, peer):
    connector = connect.Connector()
    operation = loop_thread.submit(connector.create_readable(Descriptor(bytearray(b"\0\7\16")))).result(LIMIT)
    waiting = loop_thread.submit(operation.wait_for_completion())
    with pytest.raises((TimeoutError, concurrent.futures.TimeoutError)):
        waiting.result(0.05)
    waiting.cancel()
    assert operation.status is OperationStatus.INITIALIZED
    later = loop_thread.submit(operation.wait_for_completion())
    assert peer.call("read", operation.metadata().model_dump()) == [True]
    later.result(LIMIT)
    assert operation.status is OperationStatus.COMPLETE


def test_completions_of_many_offers_are_gathered_after_the_operations_were_dropped(peer):
    async def offer(connector, number):
        operation = await connector.create_readable(Descriptor(bytearray(index * 7 % 251 for index in range(number))))
        return operation.metadata().model_dump(), operation.wait_for_completion()

    async def main():
        connector = connect.Connector()
        found = [await offer(connector, number) for number in range(1, 20)]
        gc.collect()
        for metadata, _ in found:
            assert await asyncio.to_thread(peer.call, "read", metadata) == [True]
        await asyncio.gather(*(completion for _, completion in found))

    asyncio.run(main())


def test_rows_of_one_tensor_are_a_pool(peer):
    async def main():
        connector = connect.Connector()
        connection = await connector._create_connection()
        backing = bytearray(8 * 1000)
        rows = [memoryview(backing)[1000 * number : 1000 * number + 1000] for number in range(8)]
        pool = [Descriptor(row) for row in rows]
        for descriptor in pool:
            descriptor.register_with_connector(connection)

        async def fill(number, descriptor):
            metadata = RdmaMetadata.model_validate(await asyncio.to_thread(peer.call, "readable", 1000))
            with await connector.begin_read(metadata, descriptor) as operation:
                await operation.wait_for_completion()

        for number, descriptor in enumerate(pool):
            await fill(number, descriptor)
        assert backing == bytes(index * 7 % 251 for index in range(1000)) * 8
        for descriptor in pool:
            descriptor.deregister_with_connector(connection)
        assert connection.stats()["memory_registered"] == 0

    asyncio.run(main())


def test_one_registered_descriptor_is_offered_to_several_readers_at_a_time(peer):
    async def main():
        connector = connect.Connector(enable_progress_thread=False)
        connection = await connector._create_connection()
        descriptor = Descriptor(bytearray(index * 7 % 251 for index in range(500)))
        descriptor.register_with_connector(connection)
        offers = [await connector.create_readable(descriptor) for _ in range(5)]
        texts = [offer.metadata().model_dump() for offer in offers]
        offers.pop().__exit__(None, None, None)
        for offer, text in zip(offers, texts):
            assert await asyncio.to_thread(peer.call, "read", text) == [True]
            await offer.wait_for_completion()
            offer.__exit__(None, None, None)
            assert descriptor.is_registered
        descriptor.deregister_with_connector(connection)
        assert not descriptor.is_registered

    asyncio.run(main())


def test_metadata_is_a_field_of_their_own_models(peer):
    class Request(pydantic.BaseModel):
        serialized_request: typing.Optional[RdmaMetadata] = None
        anything: typing.Any = None

    async def main():
        with await connect.Connector().create_readable(Descriptor(bytearray(b"\0\7\16"))) as operation:
            request = Request(serialized_request=operation.metadata(), anything=operation.metadata().model_dump())
            back = Request.model_validate_json(request.model_dump_json())
            assert RdmaMetadata.model_validate(back.anything) == back.serialized_request
            assert await asyncio.to_thread(peer.call, "read", back.serialized_request.model_dump()) == [True]
            await operation.wait_for_completion()

    asyncio.run(main())


def test_an_operation_is_awaited_in_other_loops_than_the_one_that_made_it(loop_thread, peer):
    connector = connect.Connector()
    operation = loop_thread.submit(connector.create_readable(Descriptor(bytearray(b"\0\7\16")))).result(LIMIT)
    waits = [loop_thread.submit(operation.wait_for_completion()) for _ in range(3)]

    async def main():
        task = asyncio.create_task(operation.wait_for_completion())
        await asyncio.sleep(0)
        assert await asyncio.to_thread(peer.call, "read", operation.metadata().model_dump()) == [True]
        await task

    asyncio.run(main())
    for wait in waits:
        wait.result(LIMIT)


def test_cancelling_the_awaiting_task_leaves_the_operation_as_it_is(peer):
    async def main():
        operation = await connect.Connector().create_readable(Descriptor(bytearray(b"\0\7\16")))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(operation.wait_for_completion(), 0.01)
        assert operation.status is OperationStatus.INITIALIZED
        assert await asyncio.to_thread(peer.call, "read", operation.metadata().model_dump()) == [True]
        await operation.wait_for_completion()
        assert operation.status is OperationStatus.COMPLETE

    asyncio.run(main())


def test_wait_for_completion_takes_a_timeout():
    async def main():
        operation = await connect.Connector().create_readable(Descriptor(b"x"))
        with pytest.raises(TimeoutError) as caught:
            await operation.wait_for_completion(timeout=0.01)
        assert isinstance(caught.value, ropeway.OperationTimeout)
        assert operation.status is OperationStatus.INITIALIZED

    asyncio.run(main())


def test_a_connector_is_shared_by_many_tasks(peer):
    async def main():
        connector = connect.Connector()
        metadata = [peer.call("readable", 50) for _ in range(50)]

        async def one(item):
            room = bytearray(50)
            with await connector.begin_read(RdmaMetadata.model_validate(item), Descriptor(room)) as operation:
                await operation.wait_for_completion()
            return room == bytes(index * 7 % 251 for index in range(50))

        assert all(await asyncio.gather(*map(one, metadata)))

    asyncio.run(main())


def test_device_memory_that_can_not_be_registered_raises_and_staging_works(peer):
    if "cuda" in str(ropeway.describe().get("memory_types")):
        pytest.skip("this machine's UCX can use CUDA memory")

    async def main():
        connector = connect.Connector()
        connection = await connector._create_connection()
        descriptor = Descriptor((4096, 16, "cuda:0", None))
        with pytest.raises(RuntimeError):
            descriptor.register_with_connector(connection)
        assert not descriptor.is_registered
        with pytest.raises(RuntimeError):
            await connector.create_readable(descriptor)
        assert not descriptor.is_registered
        staging = Descriptor(bytearray(16))
        staging.register_with_connector(connection)
        metadata = RdmaMetadata.model_validate(peer.call("readable", 16))
        with await connector.begin_read(metadata, staging) as operation:
            await operation.wait_for_completion()

    asyncio.run(main())


def test_leaving_the_block_of_a_live_operation_cancels_it(peer):
    async def main():
        with await connect.Connector().create_writable(Descriptor(bytearray(8))) as operation:
            metadata = operation.metadata().model_dump()
        assert operation.status is OperationStatus.CANCELLED
        answer = await asyncio.to_thread(peer.call, "write", metadata)
        assert answer[:2] == ["raised", "PeerError"]

    asyncio.run(main())


def test_cancel_of_a_finished_operation_changes_nothing(peer):
    async def main():
        metadata = RdmaMetadata.model_validate(peer.call("readable", 8))
        operation = await connect.Connector().begin_read(metadata, Descriptor(bytearray(8)))
        await operation.wait_for_completion()
        operation.cancel()
        assert operation.status is OperationStatus.COMPLETE
        assert len(operation.results()) == 1

    asyncio.run(main())


def test_cancel_of_a_live_operation_ends_both_sides(peer):
    async def main():
        metadata = RdmaMetadata.model_validate(peer.call("readable", 64 << 20))
        operation = await connect.Connector().begin_read(metadata, Descriptor(bytearray(64 << 20)))
        operation.cancel()
        await operation.wait_for_completion()
        here = operation.status
        assert here in (OperationStatus.CANCELLED, OperationStatus.COMPLETE)
        assert (await asyncio.to_thread(peer.call, "wait"))[0] in (["STOP"] if here == OperationStatus.CANCELLED else ["DONE"])

    asyncio.run(main())


def test_the_passive_side_raises_when_its_peer_dies(peers):
    """The whole 256 MiB can't arrive before the kill is noticed only if the peer is killed at once: either
    outcome is an end, and an error raises."""
    peer = peers()

    async def main():
        room = bytearray(256 << 20)
        with await connect.Connector().create_writable(Descriptor(room)) as operation:
            peer.tell("write", operation.metadata().model_dump())
            while operation.status is OperationStatus.INITIALIZED:
                await asyncio.sleep(0)
            peer.kill()
            if operation.status is OperationStatus.IN_PROGRESS:
                try:
                    await operation.wait_for_completion(LIMIT)
                except ropeway.PeerError as error:
                    assert error.code is ropeway.ErrorCode.PEER_LOST
            assert operation.status in (OperationStatus.ERRORED, OperationStatus.COMPLETE)

    asyncio.run(main())


def test_an_await_raises_when_the_peer_is_killed_meanwhile(peers):
    peer = peers()
    metadata = [RdmaMetadata.model_validate(peer.call("readable", 1 << 20)) for _ in range(4)]
    os.kill(peer.process.pid, signal.SIGSTOP)

    async def main():
        connector = connect.Connector()
        reads = [await connector.begin_read(item, Descriptor(bytearray(1 << 20))) for item in metadata]
        tasks = [asyncio.create_task(read.wait_for_completion()) for read in reads]
        await asyncio.sleep(0)
        assert all(read.status is OperationStatus.IN_PROGRESS for read in reads)
        peer.kill()
        for read, result in zip(reads, await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), LIMIT)):
            assert isinstance(result, ropeway.PeerError), result
            assert read.status is OperationStatus.ERRORED and str(read.error) == str(result)

    asyncio.run(main())


def test_a_read_from_a_dead_peer_raises(peers):
    peer = peers()
    metadata = RdmaMetadata.model_validate(peer.call("readable", 1 << 20))
    peer.kill()

    async def main():
        with pytest.raises(ropeway.PeerError):
            with await connect.Connector().begin_read(metadata, Descriptor(bytearray(1 << 20))) as operation:
                await operation.wait_for_completion(LIMIT)

    asyncio.run(main())
