# SPDX-License-Identifier: Apache-2.0
"""The examples of the API pages of dynamo.nixl_connect (the overview, Connector, Descriptor, Device, RdmaMetadata, and the
four operations), rewritten for this package in the forms of 2025 and 2026: a worker for each role, with the metadata over
a real channel. test_forms.py has the page of ReadOperation as it stands."""

import asyncio
import json

import numpy as np
import pytest
from conftest import LIMIT

import ropeway.nixl_connect
from ropeway.nixl_connect import Descriptor, Device, DeviceKind, OperationKind, OperationStatus, RdmaMetadata


class Channel:
    """The secondary channel: a line over TCP, and a line back when the other worker is through."""

    def __init__(self, ask=None):
        self.ask = ask

    async def tell(self, metadata):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ask)
        writer.write(json.dumps(metadata.model_dump()).encode() + b"\n")
        assert await reader.readline() == b"done\n"
        writer.close()


class Worker2026(Channel):
    """As the pages have it since release 0.8: one connector, made once, and methods that take a tensor and await."""

    def __init__(self, ask=None):
        super().__init__(ask)
        self.connector = ropeway.nixl_connect.Connector()

    # Page ReadableOperation
    async def send_data(self, local_tensor):
        descriptor = Descriptor(local_tensor)
        with await self.connector.create_readable(descriptor) as read_op:
            await self.tell(read_op.metadata())
            await read_op.wait_for_completion()
        return read_op

    # Page WritableOperation
    async def recv_data(self, local_tensor):
        descriptor = Descriptor(local_tensor)
        with await self.connector.create_writable(descriptor) as write_op:
            await self.tell(write_op.metadata())
            await write_op.wait_for_completion()
        return write_op

    # Page ReadOperation
    async def read_from_remote(self, remote_metadata, local_tensor):
        descriptor = Descriptor(local_tensor)
        with await self.connector.begin_read(remote_metadata, descriptor) as read_op:
            await read_op.wait_for_completion()
        return read_op

    # Page WriteOperation
    async def write_to_remote(self, remote_metadata, local_tensor):
        descriptor = Descriptor(local_tensor)
        with await self.connector.begin_write(descriptor, remote_metadata) as write_op:
            await write_op.wait_for_completion()
        return write_op


class Worker2025(Channel):
    """As the pages had it before: a runtime, initialize(), no await, and a read's descriptor first."""

    def __init__(self, ask=None):
        super().__init__(ask)
        self.connector = ropeway.nixl_connect.Connector(runtime=object())

    # Page ReadableOperation
    async def send_data(self, local_tensor):
        await self.connector.initialize()
        descriptor = Descriptor(local_tensor)
        with self.connector.create_readable(descriptor) as read_op:
            await self.tell(read_op.metadata())
            await read_op.wait_for_completion()
        return read_op

    # Page WritableOperation
    async def recv_data(self, local_tensor):
        await self.connector.initialize()
        descriptor = Descriptor(local_tensor)
        with self.connector.create_writable(descriptor) as write_op:
            await self.tell(write_op.metadata())
            await write_op.wait_for_completion()
        return write_op

    # Page ReadOperation
    async def read_from_remote(self, remote_metadata, local_tensor):
        await self.connector.initialize()
        descriptor = Descriptor(local_tensor)
        with self.connector.begin_read(descriptor, remote_metadata) as read_op:
            await read_op.wait_for_completion()
        return read_op

    # Page WriteOperation
    async def write_to_remote(self, remote_metadata, local_tensor):
        await self.connector.initialize()
        descriptor = Descriptor(local_tensor)
        with self.connector.begin_write(descriptor, remote_metadata) as write_op:
            await write_op.wait_for_completion()
        return write_op


both_years = pytest.mark.parametrize("one, other", [(Worker2025, Worker2025), (Worker2026, Worker2026), (Worker2025, Worker2026),
                                                    (Worker2026, Worker2025)])  # fmt: skip


def with_remote(act, run):
    """run(port), while act(metadata) answers each line of metadata that comes in."""

    async def answer(reader, writer):
        await act(RdmaMetadata.model_validate_json(await reader.readline()))
        writer.write(b"done\n")
        writer.close()

    async def main():
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            return await asyncio.wait_for(run(server.sockets[0].getsockname()[1]), LIMIT)

    return asyncio.run(main())


TENSORS = [(np.arange(1000, dtype=np.float32).reshape(10, 100), "cpu"), b"\0bytes\0" * 100, bytearray(b"x" * 5000)]


def room_for(tensor):
    return (np.zeros_like(tensor[0]), Device("cpu")) if isinstance(tensor, tuple) else bytearray(len(tensor))


def content(tensor):
    return tensor[0].tobytes() if isinstance(tensor, tuple) else bytes(tensor)


@both_years
@pytest.mark.parametrize("tensor", TENSORS, ids=lambda tensor: type(tensor).__name__)
def test_the_pages_on_readable_and_read(tensor, one, other):
    remote, room, seen = other(), room_for(tensor), []

    async def act(metadata):
        seen.append(await remote.read_from_remote(metadata, room))

    operation = with_remote(act, lambda port: one(port).send_data(tensor))
    assert content(room) == content(tensor)
    assert operation.status == seen[0].status == OperationStatus.COMPLETE


@both_years
@pytest.mark.parametrize("tensor", TENSORS, ids=lambda tensor: type(tensor).__name__)
def test_the_pages_on_writable_and_write(tensor, one, other):
    remote, room, seen = other(), room_for(tensor), []

    async def act(metadata):
        seen.append(await remote.write_to_remote(metadata, tensor))

    operation = with_remote(act, lambda port: one(port).recv_data(room))
    assert content(room) == content(tensor)
    assert operation.status == seen[0].status == OperationStatus.COMPLETE


@pytest.mark.parametrize("Worker", [Worker2025, Worker2026])
def test_the_pages_with_torch_tensors(Worker):
    torch = pytest.importorskip("torch")
    source, room = torch.randn(64, 64).to(torch.bfloat16), torch.zeros(64, 64, dtype=torch.bfloat16)
    remote = Worker()
    with_remote(lambda metadata: remote.read_from_remote(metadata, room), lambda port: Worker(port).send_data(source))
    assert torch.equal(source, room)


def test_the_page_on_cancelling():
    """'Completed operations cannot be cancelled'; disposal of a live one cancels it."""

    async def main():
        local, remote = Worker2026(), Worker2026()
        with await local.connector.create_readable(Descriptor(b"data")) as readable:
            with await remote.connector.begin_read(readable.metadata(), Descriptor(bytearray(4))) as read:
                await read.wait_for_completion()
                read.cancel()
                assert read.status == OperationStatus.COMPLETE
            await readable.wait_for_completion()
        with await local.connector.create_writable(Descriptor(bytearray(4))) as writable:
            pass
        assert writable.status == OperationStatus.CANCELLED

    asyncio.run(main())


def test_the_connector_page_on_cancelling():
    """The object that controls a passive operation has 'the ability to cancel the operation prior to its completion'."""

    async def main():
        connector = ropeway.nixl_connect.Connector()
        for operation in (connector.create_readable(Descriptor(b"x")), connector.create_writable(Descriptor(bytearray(1)))):
            operation.cancel()
            await operation.wait_for_completion()
            assert operation.status == OperationStatus.CANCELLED

    asyncio.run(main())


def test_the_overview_page():
    """Local lets Remote write: 1 create_writable(), 2 the metadata by a message, 3 begin_write(), 4 the data; and Local
    goes on when it has it."""
    remote, room, order = Worker2026(), bytearray(1000), []

    async def act(metadata):
        order.append(OperationKind(metadata.operation_kind).name)
        await remote.write_to_remote(metadata, b"e" * 1000)
        order.append("written")

    async def local(port):
        await Worker2026(port).recv_data(room)
        order.append(bytes(room[:1]).decode())

    with_remote(act, local)
    assert order == ["WRITE", "written", "e"]


def test_the_page_on_the_connector():
    async def main():
        connector = ropeway.nixl_connect.Connector(worker_id="worker-7")
        await connector.initialize()
        assert (connector.name, connector.is_cuda_available) == ("worker-7", connector.is_cuda_available)
        with await connector.create_readable([Descriptor(b"one"), Descriptor(b"three")]) as operation:
            assert isinstance(operation, ropeway.nixl_connect.ReadableOperation)
            assert operation.operation_kind is OperationKind.READ

    asyncio.run(main())


def test_the_page_on_descriptors():
    """Four ways to create one, and registration."""
    array = np.arange(10, dtype=np.int16)

    async def main():
        connector = ropeway.nixl_connect.Connector()
        connection = await connector._create_connection()
        for data, size in [
            ((array, "cpu"), 20),
            (b"some bytes", 10),
            ((array.ctypes.data, array.nbytes, "cpu", array), 20),
            ((array.ctypes.data, array.nbytes, Device("cpu"), None), 20),
        ]:
            descriptor = Descriptor(data)
            assert (descriptor.size, descriptor.device.kind) == (size, DeviceKind.HOST)
            for _ in range(2):  # "more than once has no effect"
                descriptor.register_with_connector(connection)
                descriptor.register_memory(connector)
            assert descriptor.is_registered

    asyncio.run(main())


def test_the_pages_on_the_enumerations():
    assert OperationStatus(0).name == "UNINITIALIZED" and str(OperationStatus.COMPLETE) == "DONE"
    assert {kind.name for kind in DeviceKind} == {"UNSPECIFIED", "HOST", "CUDA", "XPU"}
    assert {status.name for status in OperationStatus} == {
        "UNINITIALIZED", "INITIALIZED", "IN_PROGRESS", "COMPLETE", "CANCELLED", "ERRORED",
    }  # fmt: skip


def test_the_page_on_devices():
    assert (Device("cuda:1").id, Device("cuda:1").kind) == (1, DeviceKind.CUDA)
    assert (Device("cuda").id, Device("cpu").id, Device("cpu").kind) == (0, 0, DeviceKind.HOST)


def test_the_page_on_rdma_metadata():
    """It is a message of its own, or part of one: JSON, dict or model."""
    import pydantic

    class Request(pydantic.BaseModel):
        prompt: str
        transfer: RdmaMetadata

    async def main():
        local, remote, room = Worker2026(), Worker2026(), bytearray(4)
        with await local.connector.create_readable(Descriptor(b"data")) as readable:
            text = Request(prompt="hello", transfer=readable.metadata()).model_dump_json()
            request = Request.model_validate_json(text)
            assert request.transfer == readable.metadata()
            assert request.transfer.to_descriptors().size == 4
            await remote.read_from_remote(request.transfer, room)
        assert room == b"data"

    asyncio.run(main())
