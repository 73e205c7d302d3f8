# SPDX-License-Identifier: Apache-2.0
"""Any memory is moved element by element as its owner shows it, or refused."""

import asyncio
import json
import math
import mmap
import sys
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ropeway
import ropeway.nixl_connect as connect
from ropeway import _views

try:
    import torch
except ImportError:
    torch = None
needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed")
DTYPES = ["bool", "int8", "uint16", "int32", "float16", "float32", "float64", "complex64", "complex128"]


@pytest.fixture(scope="module")
def two():
    with ropeway.Connector() as one, ropeway.Connector() as other:
        yield one, other


def read(two, source, target):
    with two[0].create_readable(source) as passive, two[1].begin_read(passive.metadata, target) as active:
        active.wait(30)
        passive.wait(30)


def write(two, source, target):
    with two[0].create_writable(target) as passive, two[1].begin_write(source, passive.metadata) as active:
        active.wait(30)
        passive.wait(30)


@st.composite
def views(draw, dtype):
    """A view into a bigger array: sliced with steps of either sign, with its dimensions in any order."""
    dims = draw(st.integers(0, 4))
    whole = [draw(st.integers(0, 7)) for _ in range(dims)]
    slices = []
    for length in whole:
        step = draw(st.sampled_from([1, 1, 2, 3, -1, -2]))
        start = draw(st.integers(0, length))
        slices.append(slice(start, None, step))
    count = math.prod(whole)
    base = (np.arange(count) % 120).astype(dtype).reshape(whole)
    view = base[tuple(slices)] if dims else base
    return base, view.transpose(draw(st.permutations(range(dims))))


NEVER = 1 << 60  # a RUN_MIN with which every strided view goes through a dense copy; with 1, none does
either_way = pytest.mark.parametrize("run_min", [1, NEVER])


def runs_from(size):
    return mock.patch.object(_views, "RUN_MIN", size)


@either_way
@given(data=st.data(), dtype=st.sampled_from(DTYPES), way=st.sampled_from([read, write]))
@settings(max_examples=200, deadline=None)
def test_any_view_is_sent_and_filled_and_nothing_around_it(two, run_min, data, dtype, way):
    with runs_from(run_min):
        check_any_view(two, data, dtype, way)


def check_any_view(two, data, dtype, way):
    _, source = data.draw(views(dtype))
    base, target = data.draw(views(dtype))
    if source.size != target.size:
        source = np.resize(source, target.size) if source.size else np.zeros(target.size, dtype)
    expected = base.copy()
    way(two, source, target)
    assert target.ravel().tobytes() == source.ravel().tobytes()
    inside = np.zeros(base.shape, bool)
    _same_view(base, target, inside)[...] = True
    assert base[~inside].tobytes() == expected[~inside].tobytes()


def _same_view(base, view, other):
    """The view of other that lies in it as view lies in base."""
    if base.size == 0 or view.size == 0:
        return other[:0] if other.ndim else other[None][:0]
    offset = (view.__array_interface__["data"][0] - base.__array_interface__["data"][0]) // base.itemsize
    strides = [s // base.itemsize for s in view.strides]
    first = other.reshape(-1)[offset:]
    return np.lib.stride_tricks.as_strided(first, view.shape, strides)


def is_moved_in_place(view):
    """Rather than through a dense copy."""
    descriptors, _, back = _views.prepare([_views.view_of(view)], True, 1000, False)
    return back is None and len(descriptors[0]) == 5


def test_views_of_long_runs_are_moved_where_they_lie(two):
    whole = np.zeros((40, 3000), np.uint8)
    assert is_moved_in_place(whole[:, :1024]) and is_moved_in_place(whole[::-3, 5:2900])
    assert is_moved_in_place(np.zeros((4, 6, 2000), np.uint8).transpose(1, 0, 2))
    assert not is_moved_in_place(whole[:, :1023]) and not is_moved_in_place(whole[:, ::2])
    assert not is_moved_in_place(np.zeros((1001, 4096), np.uint8)[:, :2048])  # more runs than pieces allowed


@pytest.mark.parametrize("way", [read, write])
@pytest.mark.parametrize("run, rows", [(1024, 2000), (5000, 100), (100_000, 20), (300_000, 15), (5 << 20, 3)])
def test_long_runs_on_one_side_or_both(two, way, run, rows):
    rng = np.random.default_rng(run)
    source, target = rng.integers(0, 256, (rows, run), np.uint8), np.zeros((rows, run + 7), np.uint8)
    way(two, source, target[:, 3:-4])
    assert (target[:, 3:-4] == source).all() and not target[:, :3].any() and not target[:, -4:].any()
    dense = np.zeros((rows, run), np.uint8)
    way(two, target[:, 3:-4], dense)
    assert (dense == source).all()
    wide = np.zeros((rows // 2 + rows % 2, 2, run), np.uint8)  # runs of another order and number
    halves = wide.reshape(-1, run)[:rows]
    way(two, target[:, 3:-4][::-1], halves)
    assert (halves == source[::-1]).all()


def test_long_runs_and_other_memory_in_one_operation_with_integrity(two):
    whole, short = np.zeros((9, 4096), np.uint8), np.zeros((50, 2), np.int16)
    sources = [np.arange(9 * 2000).astype(np.uint8), b"12345", np.arange(50, dtype=np.int16), np.ones(7)]
    targets = [whole[:, 1:2001], bytearray(5), short[:, 1], np.zeros(7)]
    with two[0].create_readable(sources, integrity=True) as passive:
        with two[1].begin_read(passive.metadata, targets) as active:
            active.wait(30)
    assert whole[:, 1:2001].ravel().tobytes() == sources[0].tobytes() and whole.sum() == sources[0].sum(dtype=int)
    assert targets[1] == b"12345" and (short[:, 1] == sources[2]).all() and targets[3].all()


def test_more_runs_than_the_connector_allows_go_through_a_copy():
    target = np.zeros((8, 4096), np.uint8)
    with ropeway.Connector() as owner, ropeway.Connector(max_descriptors=5) as reader:
        read((owner, reader), np.arange(8 * 2048).astype(np.uint8), target[:, :2048])
        assert target[:, :2048].ravel().tobytes() == bytes(range(256)) * 64 and not target[:, 2048:].any()


def test_an_offer_for_stock_peers_has_its_memory_in_one(two):
    target = np.zeros((8, 4096), np.uint8)
    with ropeway.Connector(interop=True) as owner:
        with owner.create_writable(target[:, :2048]) as offer:
            keys = json.loads(offer.metadata)
            assert len(keys["descriptors"]) == 1 and keys["descriptors"][0]["ptr"] > 1 << 20  # an address
            with two[1].begin_write(bytes(range(256)) * 64, offer.metadata) as active:
                active.wait(30)
                offer.wait(30)
    assert target[:, :2048].ravel().tobytes() == bytes(range(256)) * 64 and not target[:, 2048:].any()


def test_several_descriptors_at_once(two):
    base = np.zeros((10, 6), np.float32)
    sources = [np.arange(10, dtype=np.float32), b"12345", np.ones(20, np.int8)[::2], np.empty(0)]
    targets = [base[:, 1], bytearray(5), np.zeros(10, np.int8), np.empty(0)]
    read(two, sources, targets)
    assert (base[:, 1] == sources[0]).all() and base.sum() == sources[0].sum()
    assert targets[1] == b"12345" and targets[2].all()


def test_columns_of_one_matrix_are_targets_of_one_operation(two):
    base = np.zeros((10, 3), np.int64)
    read(two, [np.arange(10), np.arange(10, 20)], [base[:, 0], base[:, 2]])
    assert base.T.tolist() == [list(range(10)), [0] * 10, list(range(10, 20))]


@pytest.mark.parametrize("make", [bytearray, lambda n: memoryview(bytearray(n)), lambda n: mmap.mmap(-1, n),
                                  lambda n: memoryview(bytearray(2 * n))[::2], lambda n: np.zeros(n, np.uint8)])  # fmt: skip
def test_buffers_of_all_sorts(two, make):
    target = make(100)
    read(two, bytes(range(100)), target)
    assert bytes(target[:]) == bytes(range(100))
    back = bytearray(100)
    write(two, target, back)
    assert back == bytes(range(100))


def test_zero_dimensions_and_empty_memory(two):
    scalar = np.array(0.0)
    read(two, np.array(2.5), scalar)
    assert scalar == 2.5
    for empty in (b"", np.zeros((3, 0)), memoryview(b"")):
        read(two, empty, bytearray())


class OnlyInterface:
    def __init__(self, array):
        self.__array_interface__ = array.__array_interface__
        self.array = array


class OnlyDlpack:
    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class OldDlpack(OnlyDlpack):
    def __dlpack__(self, stream=None):
        return self.array.__dlpack__(stream=stream)


@pytest.mark.parametrize("wrap", [OnlyInterface, OnlyDlpack, OldDlpack])
def test_objects_that_show_their_memory_in_other_ways(two, wrap):
    target = np.zeros((9, 2))
    source = np.arange(27.0).reshape(9, 3)
    read(two, wrap(source[:, 1:]), wrap(target))
    assert (target == source[:, 1:]).all()
    read(two, wrap(source[:, 0]), wrap(target[:, 1]))
    assert (target[:, 1] == source[:, 0]).all() and (target[:, 0] == source[:, 1]).all()
    empty = np.empty((0, 3))
    read(two, wrap(empty), wrap(empty))


def test_what_dlpack_lends_is_given_back(two):
    array = np.arange(10.0)
    before = sys.getrefcount(array)
    for _ in range(10):
        read(two, OnlyDlpack(array), np.zeros(10))
        with pytest.raises(ropeway.ArgumentError):
            two[0].begin_read("{}", OnlyDlpack(array))
    assert sys.getrefcount(array) == before
    capsule = array.__dlpack__()
    ropeway._core.Dlpack(capsule)
    with pytest.raises(TypeError, match="fresh"):
        ropeway._core.Dlpack(capsule)


class OnDevice:
    """As cupy's arrays show themselves."""

    def __init__(self, number):
        self.device = type("Device", (), {"id": number})()
        self.__cuda_array_interface__ = {"data": (0x7F0000000000, False), "shape": (4, 2), "typestr": "<f4", "version": 3}


def test_device_memory_is_known_by_its_interface_and_refused_where_there_is_no_device(two):
    descriptor = ropeway.Descriptor(OnDevice(1))
    assert (str(descriptor.device), descriptor.size, descriptor.shape) == ("cuda:1", 32, (4, 2))
    assert str(connect.Descriptor(OnDevice(2)).device) == "cuda:2"
    assert str(connect.Descriptor((OnDevice(0), "cuda:0"))) == "ptr=0x7f0000000000, size=32, device=cuda:0"
    if "cuda" in str(ropeway.describe().get("memory_types")):
        pytest.skip("this machine's UCX can use CUDA memory")
    with pytest.raises(ropeway.RopewayError) as caught:
        two[0].create_readable(descriptor)
    assert caught.value.code is ropeway.ErrorCode.DEVICE


@needs_torch
def test_types_that_numpy_lacks_travel_by_dlpack(two):
    target = torch.zeros(20, dtype=torch.bfloat16)
    read(two, OnlyDlpack(torch.arange(10, dtype=torch.bfloat16)), OnlyDlpack(target[::2]))
    assert target[::2].tolist() == list(range(10)) and target[1::2].sum() == 0


ml_dtypes = pytest.importorskip("ml_dtypes")


@pytest.mark.parametrize("name", "bfloat16 float8_e4m3fn float8_e5m2 float8_e4m3b11fnuz".split())
def test_small_float_types(two, name):
    dtype = np.dtype(getattr(ml_dtypes, name))
    source = np.arange(24).astype(dtype).reshape(4, 6)
    base = np.zeros((6, 8), dtype)
    read(two, source.T, base[:, ::2])
    assert (base[:, ::2] == source.T).all() and not base[:, 1::2].astype(np.float32).any()
    transfer((source, "cpu"), (base[:4, 2:], "cpu"))
    assert (base[:4, 2:] == source).all()
    got = fetched(two, source)
    assert got.dtype == dtype and (got == source).all()


@given(data=st.data(), way=st.sampled_from([read, write]))
@settings(max_examples=100, deadline=None)
def test_any_slice_of_bytes_at_any_offset(two, data, way):
    size, start, step = (data.draw(st.integers(*limits)) for limits in ((0, 3000), (0, 70), (1, 3)))
    source, base = bytes(range(256)) * 12, bytearray(start + size * step + 9)
    first = data.draw(st.integers(0, len(source) - size))
    way(two, memoryview(source)[first : first + size], memoryview(base)[start : start + size * step : step])
    assert base[start : start + size * step : step] == source[first : first + size]
    assert sum(base) == sum(source[first : first + size])


@needs_torch
@either_way
@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_any_torch_view_through_the_drop_in(pair_of_workers, run_min, data):
    """Shapes, strides of either order and storage offsets, of every size of element."""
    with runs_from(run_min):
        check_any_torch_view(pair_of_workers, data)


def check_any_torch_view(pair_of_workers, data):
    dtype = getattr(torch, data.draw(st.sampled_from(["uint8", "bfloat16", "float32", "complex64", "complex128"])))
    shape = data.draw(st.lists(st.integers(0, 5), max_size=4))
    order = data.draw(st.permutations(range(len(shape))))
    strides, step = [0] * len(shape), data.draw(st.integers(1, 3))
    for dim in order:
        strides[dim] = step
        step *= max(1, shape[dim]) + data.draw(st.integers(0, 1))
    offset = data.draw(st.integers(0, 5))
    storage = torch.zeros(offset + step + 5, dtype=dtype)
    target = storage.as_strided(shape, strides, offset)
    source = torch.arange(1, math.prod(shape) + 1).to(dtype).reshape(shape)
    if data.draw(st.booleans()):
        pair_of_workers(source, target)
    else:
        wide = torch.zeros([*shape, 2], dtype=dtype)
        wide[..., 1] = source
        pair_of_workers(wide[..., 1], target)
    assert torch.equal(target, source)
    rest = storage.clone()
    rest.as_strided(shape, strides, offset).zero_()
    assert not (rest != 0).any()


@pytest.mark.parametrize(
    "target, reason",
    [
        (b"12345678", "read-only"),
        (memoryview(b"12345678"), "read-only"),
        (np.frombuffer(b"12345678", np.uint8), "read-only"),
        (np.lib.stride_tricks.as_strided(np.zeros(1), (4,), (0,)), "share memory"),
        (np.lib.stride_tricks.as_strided(np.zeros(8), (2, 3), (8, 8)), "share memory"),
        (np.array([None]), "no plain numbers"),
        (np.zeros(2, [("number", "i4"), ("object", "O")]), "no plain numbers"),
        ([(whole := bytearray(8)), whole], "overlap"),
        ([(array := np.zeros(8))[:5], array[4:]], "overlap"),
        ([(array2 := np.zeros(8))[::2], array2[2:4]], "overlap"),
    ],
)
def test_targets_that_can_not_be_filled_are_refused_with_a_reason(two, target, reason):
    with pytest.raises(ropeway.ArgumentError, match=reason):
        two[0].create_writable(target)


@pytest.mark.parametrize("data", [object(), 5, None, "text"])
def test_objects_without_memory_are_refused(two, data):
    with pytest.raises(TypeError, match="shows no memory"):
        two[0].create_readable(data)


def test_a_strided_target_is_complete_when_its_elements_are_in_place(two):
    target = np.zeros((3_000_000, 2), np.uint8)
    passive = two[0].create_readable(np.ones(3_000_000, np.uint8))
    active = two[1].begin_read(passive.metadata, target[:, 1])
    while active.status is ropeway.OperationStatus.IN_PROGRESS:
        pass
    assert target[-1, 1] == 1
    assert active.wait(30)[-1] == 1


def test_memory_is_kept_alive_whatever_the_program_deletes(two):
    passive = two[0].create_readable(np.arange(100000))
    target = np.zeros(100000, np.int64)
    active = two[1].begin_read(passive.metadata, target)
    active.wait(30)
    assert (target == np.arange(100000)).all()


def test_a_buffer_in_use_can_not_be_resized(two):
    data = bytearray(8)
    with two[0].create_readable(data):
        with pytest.raises(BufferError):
            data.append(1)
    data.append(1)


# ---- the drop-in ----


@pytest.fixture(scope="module")
def pair_of_workers():
    one, other = connect.Connector(), connect.Connector()

    async def main(source, target):
        with await one.create_readable(connect.Descriptor(source)) as passive:
            with await other.begin_read(passive.metadata(), connect.Descriptor(target)) as active:
                await active.wait_for_completion()
            await passive.wait_for_completion()

    return lambda source, target: asyncio.run(main(source, target))


@pytest.mark.parametrize("target, reason", [
    (b"12345678", "read-only"),
    ((np.frombuffer(b"12345678", np.uint8), "cpu"), "read-only"),
    ((np.lib.stride_tricks.as_strided(np.zeros(1), (4,), (0,)), "cpu"), "share memory"),
])  # fmt: skip
def test_targets_that_the_drop_in_refuses(target, reason):
    async def main():
        connector, size = connect.Connector(), connect.Descriptor(target).size
        with pytest.raises(ValueError, match=reason):
            await connector.create_writable(connect.Descriptor(target))
        with await connector.create_readable(connect.Descriptor(bytes(size))) as source:
            with pytest.raises(ValueError, match=reason):
                await connector.begin_read(source.metadata(), connect.Descriptor(target))
            room = bytearray(size)
            with await connector.begin_read(source.metadata(), connect.Descriptor(room)) as read:
                await read.wait_for_completion()
        both = [connect.Descriptor(whole := bytearray(8)), connect.Descriptor(memoryview(whole)[4:])]
        with pytest.raises(ValueError, match="overlap"):
            await connector.create_writable(both)

    asyncio.run(main())


def test_bytes_with_nul_and_empty_ones():
    for source in (b"\0\0a\0", b"", b"\0"):
        target = bytearray(len(source))
        transfer(source, target)
        assert target == source


def transfer(source, target):
    async def main():
        one, other = connect.Connector(), connect.Connector()
        with await one.create_readable(connect.Descriptor(source)) as passive:
            with await other.begin_read(passive.metadata(), connect.Descriptor(target)) as active:
                await active.wait_for_completion()
            await passive.wait_for_completion()

    asyncio.run(main())


@needs_torch
@pytest.mark.parametrize("name", "bool int8 uint8 int64 float16 bfloat16 float32 float64 complex64 float8_e4m3fn float8_e5m2".split())
def test_torch_types(name):
    dtype = getattr(torch, name, None)
    if dtype is None:
        pytest.skip(f"this torch has no {name}")
    source = torch.arange(24).to(dtype).reshape(2, 3, 4)
    target = torch.zeros(2, 3, 4, dtype=dtype)
    transfer(source, target)
    assert torch.equal(source, target)


@needs_torch
def test_torch_views_are_filled_in_place():
    base = torch.zeros(6, 4)
    transfer(torch.arange(6.0), base[:, 1])
    assert base[:, 1].tolist() == [0, 1, 2, 3, 4, 5] and base.sum() == 15
    transposed = torch.zeros(3, 2)
    transfer(torch.arange(6.0).reshape(2, 3), transposed.t())
    assert transposed.t().tolist() == [[0, 1, 2], [3, 4, 5]]


@needs_torch
def test_torch_tensors_without_elements_or_dimensions():
    scalar = torch.tensor(0.0)
    transfer(torch.tensor(1.5), scalar)
    assert scalar.item() == 1.5
    transfer(torch.empty(0, 3), torch.empty(3, 0))


@needs_torch
def test_torch_tensors_that_are_refused():
    async def refuse(target, reason):
        with pytest.raises(ValueError, match=reason):
            await connect.Connector().create_writable(connect.Descriptor(target))

    asyncio.run(refuse(torch.zeros(1).expand(4), "share memory"))
    asyncio.run(refuse(torch.eye(3).to_sparse(), "layout"))
    asyncio.run(refuse(torch.zeros(3, dtype=torch.complex64).conj(), "conjugate"))


def test_arrays_of_the_drop_in_with_their_device():
    base = np.zeros((4, 4), np.int32)
    transfer((np.arange(4, dtype=np.int32), "cpu"), (base[2], connect.Device("cpu")))
    assert base.tolist()[2] == [0, 1, 2, 3]


# ---- offer and fetch ----


def fetched(two, data, **options):
    with two[0].offer(data) as offer, two[1].fetch(offer.metadata, **options) as fetch:
        return fetch.wait(30)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_offered_array_arrives_with_its_type_and_shape(two, dtype):
    array = np.arange(24).astype(dtype).reshape(2, 3, 4)[:, ::2].T
    got = fetched(two, array)
    assert got.dtype == array.dtype and got.shape == array.shape and (got == array).all()


def test_lists_and_dicts_of_tensors_arrive_as_such(two):
    data = {"a": np.arange(3), "b": np.zeros((0, 4)), "c": np.array(7.5)}
    got = fetched(two, data)
    assert list(got) == ["a", "b", "c"] and got["a"].tolist() == [0, 1, 2]
    assert got["b"].shape == (0, 4) and got["c"] == 7.5 and got["c"].shape == ()
    assert [a.tolist() for a in fetched(two, [np.arange(2), np.arange(3)])] == [[0, 1], [0, 1, 2]]
    assert fetched(two, b"bytes") == b"bytes"


def test_an_offer_is_awaited_in_a_loop(two):
    async def main():
        async with two[0].offer(np.arange(5)) as offer:
            got = await two[1].fetch(offer.metadata)
            assert (await offer).tolist() == got.tolist() == [0, 1, 2, 3, 4]

    asyncio.run(main())


@needs_torch
def test_offers_cross_between_torch_and_numpy(two):
    source = torch.arange(6, dtype=torch.int16).reshape(2, 3)
    assert torch.equal(fetched(two, source), source)
    assert (fetched(two, source, library="numpy") == source.numpy()).all()
    half = torch.arange(6, dtype=torch.bfloat16)
    assert torch.equal(fetched(two, half), half)


def test_offers_that_lie_are_refused(two):
    import json

    with two[0].offer(np.arange(6)) as offer:
        good = json.loads(offer.metadata)
        for path, value, reason in [
            (("tensors", 0, "shape"), [7], "can't be"),
            (("tensors", 0, "shape"), [-6], "negative"),
            (("tensors", 0, "shape"), [0], "can't be"),
            (("tensors", 0, "dtype"), "float32", "takes 24"),
            (("tensors", 0, "dtype"), "no_such", "no type"),
            (("tensors",), [], "contradicts"),
            (("form",), "tree", "contradicts"),
            (("rdma",), 5, "not that of an offer"),
        ]:
            bad = json.loads(json.dumps(good))
            place = bad
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value
            with pytest.raises(ropeway.ArgumentError, match=reason):
                two[1].fetch(bad)
        with pytest.raises(ropeway.ArgumentError, match="max_bytes"):
            two[1].fetch(good, max_bytes=47)
        with pytest.raises(ropeway.ArgumentError, match="begin_read"):
            two[1].fetch(good["rdma"])
    with pytest.raises(ropeway.ArgumentError, match="byte order"):
        two[0].offer(np.zeros(3, ">f8"))
