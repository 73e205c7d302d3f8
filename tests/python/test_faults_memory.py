# SPDX-License-Identifier: Apache-2.0
"""Objects that show no memory, or memory that is not theirs any more: each is refused with a sentence, or moved rightly."""

import ctypes
import warnings

import numpy as np
import pytest
from conftest import LIMIT
from hypothesis import given, settings
from hypothesis import strategies as st

import ropeway
import ropeway.nixl_connect as connect

try:
    import torch
except ImportError:
    torch = None
needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed")


@pytest.fixture(scope="module")
def two():
    with ropeway.Connector() as one, ropeway.Connector() as other:
        yield one, other


def read(pair, data):
    with pair[0].create_readable(data) as passive:
        room = bytearray(passive.progress.total)
        pair[1].begin_read(passive.metadata, room).wait(LIMIT)
    return bytes(room)


class Shows:
    def __init__(self, **changes):
        self.memory = np.arange(8, dtype=np.uint8)
        given = dict(self.memory.__array_interface__, **changes)
        self.__array_interface__ = {name: value for name, value in given.items() if value is not Ellipsis}


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"data": (True, False)}, "gives a tuple for its memory"),
        ({"data": (0, False)}, "null pointer"),
        ({"data": (-5, False)}, "address space"),
        ({"data": (1 << 70, False)}, "address space"),
        ({"strides": (1 << 62,)}, "address space"),
        ({"strides": (-(1 << 62),)}, "address space"),
        ({"shape": (1 << 62, 1 << 62)}, "address space"),
        ({"shape": (1 << 62, 0, -1)}, "negative length"),
        ({"shape": (-8,)}, "negative length"),
        ({"shape": (2,) * 65, "strides": (8,) * 65}, "65 dimensions"),
        ({"shape": (8.0,)}, "the shape in .* is 8.0; it must be an int"),
        ({"shape": 8}, "the shape in .* is 8; it must be a tuple"),
        ({"shape": ...}, "the shape in .* is None"),
        ({"strides": (1, 2)}, "1 dimensions, shape .*, and 2 strides"),
        ({"strides": "ab"}, "strides in .* is 'ab'"),
        ({"typestr": "x"}, "has the type 'x'"),
        ({"typestr": "<u"}, "has the type '<u'"),
        ({"typestr": "|u-1"}, "has the type"),
        ({"typestr": 5}, "has the type 5"),
        ({"typestr": ...}, "has the type None"),
        ({"typestr": "|t4"}, "no plain numbers"),
        ({"mask": np.zeros(8, bool)}, "has a mask"),
    ],
)
def test_array_interfaces_that_can_not_be_are_refused(pair, changes, sentence):
    for name in ("__array_interface__", "__cuda_array_interface__"):
        data = Shows(**changes)
        setattr(data, name, data.__dict__.pop("__array_interface__"))
        with pytest.raises(ropeway.ArgumentError, match=sentence):
            pair[0].create_readable(data)


def test_an_array_interface_that_is_none(pair):
    data = Shows()
    data.__array_interface__ = [1]
    with pytest.raises(ropeway.ArgumentError, match="is a list; it must be a dict"):
        pair[0].create_readable(data)


def test_array_interfaces_with_other_integers_and_lists(pair):
    data = Shows()
    address = data.__array_interface__["data"][0]
    data.__array_interface__.update(data=(np.int64(address), False), shape=[np.int32(4)], strides=[2])
    assert read(pair, data) == bytes([0, 2, 4, 6])


def test_times_are_plain_numbers(pair):
    times = np.array(["2026-01-01", "NaT"], "datetime64[ns]")
    assert read(pair, times) == times.tobytes()


@pytest.mark.parametrize(
    "ptr, size, sentence",
    [(0, 10, "null pointer"), (16, -10, "negative length"), (1 << 80, 10, "address space"), (-8, 8, "address space"),
     (16, 1 << 80, "address space"), ("x", 10, "ptr is 'x'; it must be an int"), (16, 8.0, "size is 8.0"), (True, 1, "ptr is True")],
)  # fmt: skip
def test_raw_memory_that_can_not_be(ptr, size, sentence):
    with pytest.raises(ropeway.ArgumentError, match=sentence):
        ropeway.Descriptor.from_pointer(ptr, size)


def test_a_scalar_of_numpy_is_read_though_its_interface_names_memory_that_is_gone(pair):
    for value in (np.float64(3.5), np.int8(-1), np.complex64(1 + 2j), np.datetime64("2026-01-01"), np.str_("text")):
        many = [type(value)(value) for _ in range(100)]  # whose arrays take each other's place
        descriptors = [ropeway.Descriptor(one) for one in many]
        assert len({descriptor.ptr for descriptor in descriptors}) == len(many)
        rooms = [bytearray(descriptor.size) for descriptor in descriptors]
        with pair[0].create_readable(descriptors) as passive:
            pair[1].begin_read(passive.metadata, rooms).wait(LIMIT)
        assert {bytes(room) for room in rooms} == {np.array(value).tobytes()}
    with pytest.raises(ropeway.ArgumentError, match="read-only"):
        pair[0].create_writable(np.float64(1))


# ---- exporters that lie, and change their mind ----

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.sampled_from([1 << 62, -(1 << 62), 1 << 70, "|u1", "<f4", "|V3", "|O", "<U1", ">i8"]),
    st.floats(), st.text(max_size=4), st.binary(max_size=9),
)  # fmt: skip
NESTED = st.recursive(VALUES, lambda one: st.one_of(st.lists(one, max_size=3), st.lists(one, max_size=3).map(tuple)), max_leaves=6)
MEMBERS = ["shape", "typestr", "data", "strides", "mask", "version", "descr", "offset"]


class Fickle:
    """Shows other members at each look. An address is its own word; those that it gives are of memory that is there."""

    def __init__(self, looks):
        self.memory = np.zeros(1 << 16, np.uint8)
        self.looks = looks

    def show(self):
        address = self.memory.ctypes.data + (1 << 15)
        shown = {"version": 3, "shape": (64,), "typestr": "|u1", "data": (address, False)}
        shown.update(self.looks.pop(0) if self.looks else {})
        if isinstance(shown["data"], (tuple, list)) and shown["data"] and isinstance(shown["data"][0], int):
            shown["data"] = type(shown["data"])([address, *shown["data"][1:]])
        return shown


class FickleHost(Fickle):
    __array_interface__ = property(Fickle.show)


class FickleDevice(Fickle):
    __cuda_array_interface__ = property(Fickle.show)


@given(kind=st.sampled_from([FickleHost, FickleDevice]), looks=st.lists(st.dictionaries(st.sampled_from(MEMBERS), NESTED), max_size=5))
@settings(max_examples=150, deadline=None)
def test_an_exporter_that_lies_or_changes_its_mind_is_refused_with_a_sentence_or_moved(two, kind, looks):
    data = kind(looks)
    try:
        descriptor = ropeway.Descriptor(data)
        with two[0].create_readable(descriptor) as passive:
            assert 0 <= passive.progress.total
    except ropeway.RopewayError as error:
        assert str(error)


# ---- memory that has moved since a descriptor was made ----


def resized_by_ctypes():
    data = ctypes.create_string_buffer(10)
    return data, lambda: ctypes.resize(data, 1 << 20)


def resized_by_numpy():
    data = np.zeros(10)
    return data, lambda: data.resize(1 << 20, refcheck=False)


def given_other_data():
    data = np.zeros(10)

    def change():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            data.data = np.ones(10).data

    return data, change


def shown_elsewhere():
    data = Shows()
    return data, lambda: data.__array_interface__.update(data=np.zeros(8).__array_interface__["data"])


def emptied_storage():
    data = torch.zeros(10)
    return data, lambda: (data.untyped_storage() if hasattr(data, "untyped_storage") else data.storage()).resize_(0)


@pytest.mark.parametrize(
    "make", [resized_by_ctypes, resized_by_numpy, given_other_data, shown_elsewhere, pytest.param(emptied_storage, marks=needs_torch)]
)
def test_a_descriptor_whose_object_has_other_memory_by_now_is_refused(pair, make):
    for kind, connector in ((ropeway.Descriptor, pair[0]), (connect.Descriptor, connect.Connector())):
        data, change = make()
        descriptor = kind(data)
        with connector.create_writable(descriptor):
            pass
        change()
        with pytest.raises(ropeway.ArgumentError, match="other memory than when that was made"):
            connector.create_writable(descriptor)
    data, change = make()
    descriptor = ropeway.Descriptor(data)
    change()
    for use in (pair[0].register, pair[0].create_readable, lambda found: pair[0].create_readable(found.prefix(8))):
        with pytest.raises(ropeway.ArgumentError, match="other memory than when that was made"):
            use(descriptor)


def test_a_descriptor_whose_object_only_looks_otherwise_is_used(pair):
    data = np.arange(6, dtype=np.uint8)
    descriptor = ropeway.Descriptor(data)
    data.shape = (2, 3)
    assert read(pair, descriptor) == bytes(range(6))


def test_an_array_of_ctypes_that_was_resized_has_all_its_bytes(pair):
    data = ctypes.create_string_buffer(b"0123456789", 10)
    ctypes.resize(data, 100)
    assert read(pair, data) == ctypes.string_at(data, 100)


@needs_torch
def test_a_tensor_that_is_larger_than_its_storage_is_refused(pair):
    data = torch.zeros(100)
    (data.untyped_storage() if hasattr(data, "untyped_storage") else data.storage()).resize_(10)
    with pytest.raises(ropeway.ArgumentError, match="storage was resized to"):
        pair[0].create_readable(data)


def wrapper():
    class Wrapper(torch.Tensor):
        @classmethod
        def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
            raise NotImplementedError(function)

    return torch.Tensor._make_wrapper_subclass(Wrapper, (4,))


@needs_torch
@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]) if hasattr(torch, "nested") else torch.zeros(2).to_sparse(),
        lambda: torch.zeros(2, device="meta"),
        lambda: torch.zeros(2, 2).to_sparse(),
        wrapper,
    ],
)
def test_a_tensor_without_dense_memory_of_its_own_is_refused(pair, make):
    with pytest.raises(ropeway.ArgumentError, match="tensor|null pointer"):
        pair[0].create_readable(make())
