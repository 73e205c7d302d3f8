# SPDX-License-Identifier: Apache-2.0
"""Names, values, string forms, JSON and checks of the drop-in, as programs know them."""

import asyncio
import base64
import inspect
import json
import uuid
import zlib

import numpy as np
import pydantic
import pytest
from conftest import LIMIT

import ropeway
import ropeway.nixl_connect as connect
from ropeway.nixl_connect import Descriptor, Device, DeviceKind, OperationKind, OperationStatus, RdmaMetadata

CLASSES = """AbstractOperation ActiveOperation Connection Connector Descriptor Device DeviceKind OperationKind
    OperationStatus PassiveOperation RdmaMetadata ReadOperation ReadableOperation Remote SerializedDescriptor
    WritableOperation WriteOperation""".split()


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_of_the_module_exists(name):
    assert isinstance(getattr(connect, name), type)
    assert getattr(connect, name).__module__ == "ropeway.nixl_connect"


@pytest.mark.parametrize(
    "method, parameters",
    [
        (connect.Connector.__init__, ["worker_id", "interop", "deadline", "stall", "enable_progress_thread", "namespace", "runtime"]),
        (connect.Connector.begin_read, ["remote_metadata", "local_descriptors"]),
        (connect.Connector.begin_write, ["local_descriptors", "remote_metadata"]),
        (connect.Connector.create_readable, ["local_descriptors"]),
        (connect.Connector.create_writable, ["local_descriptors"]),
        (connect.Connection.__init__, ["connector", "number"]),
        (connect.Descriptor.__init__, ["data"]),
        (connect.Descriptor.register_with_connector, ["connection"]),
        (connect.Descriptor.deregister_with_connector, ["connection"]),
        (connect.Device.__init__, ["metadata"]),
        (connect.ReadOperation.__init__, ["connection", "remote_metadata", "local_descriptors"]),
        (connect.WriteOperation.__init__, ["connection", "local_descriptors", "remote_metadata"]),
        (connect.ReadableOperation.__init__, ["connection", "local_descriptors"]),
        (connect.WritableOperation.__init__, ["connection", "local_descriptors"]),
        (connect.ReadableOperation.metadata, ["hex_encode"]),
        (connect.Remote.__init__, ["connection", "nixl_metadata"]),
    ],
)
def test_parameters_have_their_names(method, parameters):
    assert list(inspect.signature(method).parameters)[1:] == parameters


def agent_of(connector):
    async def main():
        with await connector.create_readable(Descriptor(b"x")) as operation:
            return zlib.decompress(base64.b64decode(operation.metadata().nixl_metadata.removeprefix("b64:")))

    return asyncio.run(main())


@pytest.mark.parametrize(
    "environment, option, invited",
    [(None, None, True), ("0", None, False), ("1", None, True), (None, False, False), ("0", True, True)],
)
def test_stock_peers_are_invited_unless_told_not_to(monkeypatch, environment, option, invited):
    monkeypatch.delenv("ROPEWAY_INTEROP", raising=False)
    if environment is not None:
        monkeypatch.setenv("ROPEWAY_INTEROP", environment)
    agent = agent_of(connect.Connector("worker", interop=option))
    # The connection record of NIXL's UCX backend.
    assert (b"t" + (3).to_bytes(8, "little") + b"UCX|" in agent) is invited


def test_an_agents_name_does_not_depend_on_the_option(monkeypatch):
    for option in (True, False):
        assert agent_of(connect.Connector("worker", interop=option)).startswith(b"nixlSerDes|Agent\x08\0\0\0\0\0\0\0worker-1|")


def test_values_and_string_forms_of_the_enumerations():
    assert [(s.name, s.value, str(s)) for s in OperationStatus] == [
        ("UNINITIALIZED", 0, "<invalid>"),
        ("INITIALIZED", 1, "INIT"),
        ("IN_PROGRESS", 2, "PROC"),
        ("COMPLETE", 3, "DONE"),
        ("CANCELLED", 4, "STOP"),
        ("ERRORED", 5, "ERR"),
    ]
    assert [(k.name, k.value, str(k)) for k in OperationKind] == [
        ("UNSPECIFIED", 0, "<invalid>"),
        ("READ", 1, "READ"),
        ("WRITE", 2, "WRITE"),
    ]
    assert [(k.name, k.value, str(k), k.nixl_mem_type) for k in DeviceKind] == [
        ("UNSPECIFIED", 0, "<invalid>", "VRAM"),
        ("HOST", 1, "cpu", "DRAM"),
        ("CUDA", 2, "cuda", "VRAM"),
        ("XPU", 3, "xpu", "VRAM"),
    ]


@pytest.mark.parametrize(
    "given, kind, number, text",
    [
        ("cpu", DeviceKind.HOST, 0, "cpu"),
        ("host", DeviceKind.HOST, 0, "cpu"),
        (" CUDA:3 ", DeviceKind.CUDA, 3, "cuda:3"),
        ("cuda", DeviceKind.CUDA, 0, "cuda:0"),
        ("gpu", DeviceKind.CUDA, 0, "cuda:0"),
        ("gpu:2", DeviceKind.CUDA, 2, "cuda:2"),
        ("xpu:1", DeviceKind.XPU, 1, "xpu:1"),
        ((DeviceKind.CUDA, 5), DeviceKind.CUDA, 5, "cuda:5"),
    ],
)
def test_devices(given, kind, number, text):
    device = Device(given)
    assert (device.kind, device.id, str(device)) == (kind, number, text)


@pytest.mark.parametrize("given, error", [(None, ValueError), ("disk", ValueError), (7, TypeError), ("cuda:x", ValueError)])
def test_devices_that_are_refused(given, error):
    with pytest.raises(error):
        Device(given)


@pytest.mark.parametrize("given, error", [(None, ValueError), (3, TypeError), ("text", TypeError), ((1,), TypeError),
                                          ((b"", 5), TypeError), ((1, 2, 3, 4), TypeError)])  # fmt: skip
def test_descriptors_that_are_refused(given, error):
    with pytest.raises(error):
        Descriptor(given)


def test_a_descriptor_of_a_raw_pointer():
    owner = object()
    descriptor = Descriptor((4096, 10, "cuda:1", owner))
    assert (descriptor.ptr, descriptor.size, str(descriptor.device)) == (4096, 10, "cuda:1")
    assert descriptor._data_ref is owner
    assert str(descriptor) == "ptr=0x1000, size=10, device=cuda:1"
    assert repr(descriptor) == "Descriptor(ptr=0x1000, size=10, device=cuda:1)"
    serialized = descriptor.metadata
    assert serialized.model_dump() == {"device": "cuda:1", "ptr": 4096, "size": 10}
    back = Descriptor.from_serialized(serialized)
    assert (back.ptr, back.size, str(back.device)) == (4096, 10, "cuda:1")
    with pytest.raises(TypeError):
        Descriptor.from_serialized({"ptr": 1})


def test_a_connector_is_its_worker_id():
    assert connect.Connector("a") == connect.Connector("a") != connect.Connector("b")
    assert connect.Connector("a") != "a"
    assert str(connect.Connector("a")) == connect.Connector("a").name == "a"
    assert len(connect.Connector().name) == 32
    assert connect.Connector("a").hostname
    assert isinstance(connect.Connector("a").is_cuda_available, bool)
    for bad in ("", 5):
        with pytest.raises(TypeError):
            connect.Connector(bad)


def test_a_connection_is_made_once_and_named_after_its_connector():
    async def main():
        connector = connect.Connector("worker")
        await connector.initialize()
        one, two = await asyncio.gather(connector._create_connection(), connector._create_connection())
        assert one is two
        await one.initialize()
        assert (one.name, str(one), one.connector) == ("worker-1", "worker-1", connector)
        remote = connect.Remote(one, one.metadata)
        assert (remote.name, str(remote), remote.connection) == ("worker-1", "worker-1", one)
        for arguments, error in [(("x", 1), TypeError), ((connector, "1"), TypeError), ((connector, 0), ValueError)]:
            with pytest.raises(error):
                connect.Connection(*arguments)
        for arguments, error in [((one, 5), TypeError), ((one, b""), ValueError), (("x", b"y"), TypeError)]:
            with pytest.raises(error):
                connect.Remote(*arguments)

    asyncio.run(main())


def test_metadata_is_the_json_that_stock_peers_read():
    async def main():
        connector = connect.Connector("json")
        with await connector.create_writable([Descriptor(bytearray(5)), Descriptor(bytearray(6))]) as operation:
            metadata = operation.metadata()
            assert operation.metadata() is metadata
            parts = json.loads(metadata.model_dump_json())
            assert list(parts) == ["descriptors", "nixl_metadata", "notification_key", "operation_kind"]
            assert [(d["device"], d["size"]) for d in parts["descriptors"]] == [("cpu", 5), ("cpu", 6)]
            assert all(d["ptr"] > 0 for d in parts["descriptors"])
            assert parts["operation_kind"] == 2
            assert uuid.UUID(parts["notification_key"]).version == 4
            agent = zlib.decompress(base64.b64decode(parts["nixl_metadata"].removeprefix("b64:")))
            assert agent.startswith(b"nixlSerDes|Agent" + (6).to_bytes(8, "little") + b"json-1|")
            assert zlib.decompress(bytes.fromhex(operation.metadata(hex_encode=True).nixl_metadata)) == agent
            assert RdmaMetadata.model_validate(metadata.model_dump()) == metadata
            assert [d.size for d in metadata.to_descriptors()] == [5, 6]

    asyncio.run(main())


def test_metadata_is_frozen_and_forbids_what_it_does_not_know():
    good = {"descriptors": [{"ptr": 1, "size": 2}], "nixl_metadata": "b64:", "notification_key": "k", "operation_kind": 1}
    metadata = RdmaMetadata(**good)
    with pytest.raises(pydantic.ValidationError):
        metadata.operation_kind = 2
    with pytest.raises(pydantic.ValidationError):
        RdmaMetadata(**good, extra=1)
    for kind in (0, 4):
        with pytest.raises(TypeError):
            RdmaMetadata(**{**good, "operation_kind": kind})
    for descriptor in ({"ptr": 0}, {"ptr": 1, "size": -1}, {"ptr": 1, "device": "disk"}, {"ptr": 1, "x": 1}):
        with pytest.raises(pydantic.ValidationError):
            connect.SerializedDescriptor(**descriptor)
    with pytest.raises(ValueError):
        RdmaMetadata(operation_kind=1).to_descriptors()


def test_descriptors_that_are_alike_are_written_out():
    run = {"device": "cpu", "ptr": 2, "size": 7, "count": 3}
    rest = {"nixl_metadata": "b64:", "notification_key": "k", "operation_kind": 1}
    metadata = RdmaMetadata.model_validate({"descriptors": [{"ptr": 1, "size": 5}, run], **rest})
    assert [(d.ptr, d.size) for d in metadata.descriptors] == [(1, 5), (2, 7), (3, 7), (4, 7)]
    assert "count" not in metadata.model_dump_json()
    for wrong in (0, -1, 10**9, True, "3", None, 1.0):
        with pytest.raises(pydantic.ValidationError):
            RdmaMetadata.model_validate({"descriptors": [{**run, "count": wrong}], **rest})
    with pytest.raises(pydantic.ValidationError):
        RdmaMetadata.model_validate({"descriptors": [{"size": 7, "count": 3}], **rest})


def test_alike_descriptors_take_few_bytes_between_ropeway_peers():
    async def main():
        blocks = np.arange(4096 * 64, dtype=np.uint32).reshape(4096, 64)
        room = np.zeros_like(blocks)
        other = connect.Connector(interop=False)
        with ropeway.Connector() as one:
            with one.create_readable(list(blocks)) as offer:
                assert len(offer.metadata) < 1024
                metadata = RdmaMetadata.model_validate_json(offer.metadata)
                assert len(metadata.descriptors) == 4096
                with await other.begin_read(metadata, [Descriptor((row, "cpu")) for row in room]) as read:
                    await read.wait_for_completion()
        assert (blocks == room).all()

    asyncio.run(asyncio.wait_for(main(), LIMIT))


@pytest.fixture
def two():
    return connect.Connector(), connect.Connector()


def expect(error, awaitable_of):
    async def main():
        with pytest.raises(error):
            await awaitable_of()

    asyncio.run(main())


@pytest.mark.parametrize("bad, error", [("x", TypeError), ([], ValueError), (["x"], TypeError), ((), TypeError),
                                        ([Descriptor(b"a"), Descriptor((1, 1, "cuda", None))], ValueError),
                                        (Descriptor((0, 5, "cpu", None)), ValueError)])  # fmt: skip
def test_bad_descriptors_of_passive_operations(two, bad, error):
    expect(error, lambda: two[0].create_readable(bad))
    expect(error, lambda: two[0].create_writable(bad))


def test_checks_of_active_operations(two):
    async def main():
        one, other = two
        room = Descriptor(bytearray(8))
        with await one.create_readable(Descriptor(b"12345678")) as source, await one.create_writable(
            [Descriptor(bytearray(8)), Descriptor(bytearray(8))]
        ) as sink:
            readable, writable = source.metadata(), sink.metadata()
            for error, begin in [
                (TypeError, lambda: other.begin_read(None, room)),
                (TypeError, lambda: other.begin_read({}, room)),
                (TypeError, lambda: other.begin_read(readable, "x")),
                (ValueError, lambda: other.begin_read(readable, [])),
                (RuntimeError, lambda: other.begin_read(writable, room)),
                (RuntimeError, lambda: other.begin_write(room, readable)),
                (TypeError, lambda: other.begin_write("x", writable)),
                (ValueError, lambda: other.begin_read(readable, Descriptor(bytearray(7)))),
                (ValueError, lambda: other.begin_read(readable, [room, Descriptor(bytearray(8))])),
                (ValueError, lambda: other.begin_write(room, writable)),
                (ValueError, lambda: other.begin_write([room, Descriptor(b"1234567")], writable)),
            ]:
                with pytest.raises(error):
                    await begin()
            assert not room.is_registered
            assert source.status == OperationStatus.INITIALIZED
            connection = await other._create_connection()
            with pytest.raises(ValueError):
                connect.ReadOperation(connection, writable, room)
            with pytest.raises(TypeError):
                connect.WriteOperation("x", room, writable)

    asyncio.run(main())


def test_a_descriptor_belongs_to_one_connection(two):
    async def main():
        one, other = [await connector._create_connection() for connector in two]
        descriptor = Descriptor(bytearray(100))
        with pytest.raises(RuntimeError):
            descriptor.deregister_with_connector(one)
        descriptor.register_with_connector(one)
        descriptor.register_with_connector(one)
        assert descriptor.is_registered
        with pytest.raises(RuntimeError):
            descriptor.register_with_connector(other)
        with pytest.raises(RuntimeError):
            await two[1].create_readable(descriptor)
        with pytest.raises(TypeError):
            descriptor.register_with_connector("x")
        descriptor.deregister_with_connector(one)
        assert not descriptor.is_registered
        descriptor.register_with_connector(other)

    asyncio.run(main())


def test_the_objects_of_a_read(two):
    async def main():
        source, room = Descriptor(b"x" * 64), Descriptor(bytearray(64))
        with await two[0].create_readable(source) as passive:
            assert source.is_registered
            assert "status='INIT'" in repr(passive)
            assert passive.operation_kind is OperationKind.READ
            assert passive.status is OperationStatus.INITIALIZED
            with await two[1].begin_read(passive.metadata(), room) as active:
                assert isinstance(active, connect.ActiveOperation) and isinstance(passive, connect.PassiveOperation)
                assert active.remote.name == passive.connection.name
                assert active.connection.name == two[1].name + "-1"
                await active.wait_for_completion()
                assert active.results() == [room]
                assert active.status is OperationStatus.COMPLETE
            await passive.wait_for_completion()
            assert passive.status is OperationStatus.COMPLETE
        assert not source.is_registered and not room.is_registered
        assert active.status is passive.status is OperationStatus.COMPLETE

    asyncio.run(main())


def test_deadlines_progress_and_statistics():
    """What upstream lacks."""

    async def main():
        connector = connect.Connector(deadline=0.05, stall=10)
        with await connector.create_readable(Descriptor(b"x" * 100)) as passive:
            assert passive.progress == (0, 100)
            with pytest.raises(ropeway.OperationTimeout) as caught:
                await passive.wait_for_completion()
            assert caught.value.code is ropeway.ErrorCode.DEADLINE
            assert passive.status is OperationStatus.ERRORED
            assert passive.error.code is ropeway.ErrorCode.DEADLINE and str(passive.error) == str(caught.value)
        stats = (await connector._create_connection()).stats()
        assert (stats["operations_created"], stats["operations_errored"], stats["operations_live"]) == (1, 1, 0)

    asyncio.run(main())


def test_a_wait_that_times_out_leaves_the_operation_live(two):
    async def main():
        with await two[0].create_readable(Descriptor(b"x")) as passive:
            with pytest.raises(ropeway.OperationTimeout):
                await passive.wait_for_completion(timeout=0.01)
            with pytest.raises((TimeoutError, asyncio.TimeoutError)):
                await asyncio.wait_for(passive.wait_for_completion(), 0.01)
            assert passive.status is OperationStatus.INITIALIZED
            with await two[1].begin_read(passive.metadata(), Descriptor(bytearray(1))) as active:
                await active.wait_for_completion(timeout=30)
                assert active.progress == (1, 1)
            await passive.wait_for_completion(timeout=30)

    asyncio.run(main())


def test_results_of_a_read_that_is_not_complete_are_refused(two):
    async def main():
        with await two[0].create_readable(Descriptor(b"x")) as passive:
            metadata = passive.metadata()
            with await two[1].begin_read(metadata, Descriptor(bytearray(1))) as first:
                await first.wait_for_completion()
            with await two[1].begin_read(metadata, Descriptor(bytearray(1))) as second:
                with pytest.raises(RuntimeError):
                    await second.wait_for_completion()
                assert second.status is OperationStatus.ERRORED
                with pytest.raises(RuntimeError):
                    second.results()

    asyncio.run(main())
