# SPDX-License-Identifier: Apache-2.0
"""Programs of 2025, written from that year's documentation or beside it: what they call and later ones do not."""

import asyncio
import gc
import subprocess
import sys

import pytest
from conftest import LIMIT

import ropeway
import ropeway.nixl_connect as connect
from ropeway.nixl_connect import Descriptor, OperationStatus


def run(main):
    return asyncio.run(asyncio.wait_for(main, LIMIT))


class Runtime:
    """Stands for dynamo.runtime.DistributedRuntime, which the drop-in only keeps."""


def test_a_connector_keeps_its_runtime_and_namespace():
    runtime = Runtime()
    connector = connect.Connector(runtime=runtime, namespace="encoders")
    assert connector.runtime is runtime and connector.namespace == "encoders"
    run(connector.initialize())
    plain = connect.Connector()
    assert plain.runtime is None and plain.namespace == "dynamo"
    with pytest.raises(TypeError, match="namespace"):
        connect.Connector(namespace=7)


def test_the_worker_of_the_connector_page():
    """A worker whose connector is made by a hook at start, and used by other methods."""

    class Worker:
        async def async_init(self):
            self.connector = connect.Connector(runtime=Runtime())
            await self.connector.initialize()

        def offer(self, data):
            return self.connector.create_readable(Descriptor(data))

    async def main():
        one, other, room = Worker(), Worker(), bytearray(5)
        await asyncio.gather(one.async_init(), other.async_init())
        with one.offer(b"hello") as readable:
            with await other.connector.begin_read(readable.metadata(), Descriptor(room)) as read:
                await read.wait_for_completion()
            await readable.wait_for_completion()
        assert room == b"hello"

    run(main())


def test_every_operation_knows_its_connector():
    async def main():
        one, other = connect.Connector("one"), connect.Connector("other")
        with one.create_readable(Descriptor(b"x")) as readable, one.create_writable(Descriptor(bytearray(1))) as writable:
            with other.begin_read(readable.metadata(), Descriptor(bytearray(1))) as read:
                with other.begin_write(Descriptor(b"y"), writable.metadata()) as write:
                    assert readable.connector is writable.connector is one
                    assert read.connector is write.connector is other
                    assert read.remote.connector is other and read.remote.name == "one-1"

    run(main())


def test_the_first_name_of_the_metadata():
    assert connect.SerializedRequest is connect.RdmaMetadata

    async def main():
        one, other, room = connect.Connector(), connect.Connector(), bytearray(5)
        with one.create_readable(Descriptor(b"hello")) as readable:
            request = connect.SerializedRequest.model_validate_json(readable.to_serialized().model_dump_json())
            with await other.begin_read(request, Descriptor(room)) as read:
                await read.wait_for_completion()
        assert room == b"hello"

    run(main())


def test_a_descriptor_registers_with_a_connector():
    connector, other = connect.Connector(), connect.Connector()
    descriptor = Descriptor(bytearray(100))
    descriptor.register_memory(connector)
    descriptor.register_memory(connector)
    assert descriptor.is_registered and connector.connection.stats()["memory_registered"] == 100
    with pytest.raises(RuntimeError, match="more than one connection"):
        descriptor.register_memory(other)
    with pytest.raises(TypeError, match="connection"):
        descriptor.register_memory("x")
    with connector.create_writable(descriptor):
        pass
    assert descriptor.is_registered
    del descriptor
    gc.collect()
    assert connector.connection.stats()["memory_registered"] == 0


def test_a_descriptors_metadata_is_a_method_and_a_property():
    descriptor = Descriptor((4096, 10, "cuda:1", None))
    assert descriptor.metadata() == descriptor.metadata == descriptor.to_serialized()
    assert descriptor.metadata().model_dump() == {"device": "cuda:1", "ptr": 4096, "size": 10}


def test_the_metadata_of_a_connector_names_it():
    connector, other = connect.Connector("worker"), connect.Connector("other")
    assert connect.Remote(other, connector.metadata).name == "worker-1"


def test_operations_are_made_by_their_classes_with_a_connector():
    async def main():
        one, other, room = connect.Connector(), connect.Connector(), bytearray(5)
        with connect.ReadableOperation(one, Descriptor(b"hello")) as readable:
            with connect.ReadOperation(other, readable.metadata(), Descriptor(room)) as read:
                await read.wait_for_completion()
            await readable.wait_for_completion()
        with connect.WritableOperation(one, Descriptor(room)) as writable:
            with connect.WriteOperation(other, Descriptor(b"HELLO"), writable.metadata()) as write:
                await write.wait_for_completion()
            await writable.wait_for_completion()
        assert room == b"HELLO"
        assert write.connection is other.connection and write.connection.connector is other

    run(main())


@pytest.mark.parametrize("create", ["create_readable", "create_writable"])
def test_a_passive_operation_is_cancelled(create):
    async def main():
        one, other, room = connect.Connector(), connect.Connector(), Descriptor(bytearray(5))
        operation = getattr(one, create)(room)
        metadata = operation.metadata()
        waiting = asyncio.create_task(operation.wait_for_completion())
        await asyncio.sleep(0)
        operation.cancel()
        await waiting
        assert operation.status is OperationStatus.CANCELLED
        assert operation.error.code is ropeway.ErrorCode.CANCELLED
        operation.cancel()
        assert operation.status is OperationStatus.CANCELLED
        begin = other.begin_read if create == "create_readable" else other.begin_write
        with pytest.raises(ropeway.PeerError):
            with begin(metadata, Descriptor(bytearray(5))) as active:
                await active.wait_for_completion()

    run(main())


def test_cancel_of_a_passive_operation_that_is_complete_changes_nothing(peer):
    async def main():
        with connect.Connector().create_readable(Descriptor(bytearray(b"\0\7\16"))) as operation:
            assert await asyncio.to_thread(peer.call, "read", operation.metadata().model_dump()) == [True]
            await operation.wait_for_completion()
            operation.cancel()
            assert operation.status is OperationStatus.COMPLETE

    run(main())


PROGRAM = """
import asyncio, subprocess, sys
import dynamo.connect
import dynamo.nixl_connect

async def main():
    one, other, room = dynamo.connect.Connector(), dynamo.connect.Connector(), bytearray(5)
    await one.initialize()
    with one.create_readable(dynamo.connect.Descriptor(b"hello")) as readable:
        with await other.begin_read(readable.to_serialized(), dynamo.connect.Descriptor(room)) as read:
            await read.wait_for_completion()
    print(room.decode(), dynamo.connect is dynamo.nixl_connect, flush=True)

asyncio.run(main())
if len(sys.argv) < 2:
    subprocess.run([sys.executable, __file__, "child"], check=True)
"""


def test_the_modules_first_name_in_a_program_and_its_children(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "ropeway.dropin", "program.py"], capture_output=True, text=True, cwd=tmp_path, timeout=4 * LIMIT
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello True\n" * 2, "")
