# SPDX-License-Identifier: Apache-2.0
"""Memory of the usual kinds is looked at in C, all descriptors of an operation in one call: with the answers that Python
gives one by one, and without a Python call for each."""

import ctypes
import gc
import mmap
import sys

import numpy as np
import pytest
from conftest import LIMIT
from hypothesis import given
from hypothesis import strategies as st

import ropeway
import ropeway.nixl_connect as connect
from ropeway import _views
from ropeway._load import core

try:
    import torch
except ImportError:
    torch = None
needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed")


# ---- one look ----


def readonly(array):
    array.flags.writeable = False
    return array


def resized(size):
    data = ctypes.create_string_buffer(100)
    ctypes.resize(data, size)
    return data


NUMBERS = np.arange(24, dtype=np.int16)
MEMORY = [
    NUMBERS, NUMBERS.reshape(2, 3, 4), NUMBERS.reshape(4, 6).T, NUMBERS[::2], NUMBERS[::-1], NUMBERS[3:5], NUMBERS[:0],
    np.zeros((3, 0, 2)), np.array(5), np.zeros((1, 4, 1), "F"), readonly(np.arange(3)), np.broadcast_to(np.arange(3), (2, 3)),
    np.broadcast_to(np.arange(3), (1, 3)), NUMBERS.astype(">i2"), np.zeros(3, "c16"), np.zeros(3, "?"), np.zeros(3, "f2"),
    np.array(["a", "bc"]), np.array([b"a", b"bc"]), np.zeros(2, "V3"), np.zeros(3, [("a", "i4"), ("b", "f8", 2)]),
    np.zeros(2, {"names": ["x"], "formats": ["i4"], "itemsize": 12}), np.array(["2026-01-01", "NaT"], "datetime64[ns]"),
    np.zeros(2, "m8[s]"), np.zeros(2, "f8").view(np.ma.MaskedArray).data, np.zeros((1 << 20, 1 << 20, 0)),
    bytearray(10), bytearray(), b"text", b"", memoryview(b"text")[1:], memoryview(bytearray(24)).cast("i"),
    memoryview(bytearray(24)).cast("i", (2, 3)), memoryview(bytearray(8)).cast("d", ()), memoryview(bytearray(8))[::2],
    memoryview(NUMBERS.reshape(4, 6)[:, :3]), memoryview(resized(1000)), memoryview(readonly(np.arange(3))),
]  # fmt: skip


@pytest.mark.parametrize("data", MEMORY, ids=lambda data: f"{type(data).__name__}-{getattr(data, 'dtype', '')}"[:40])
def test_a_view_made_in_c_is_the_one_that_python_makes(data, monkeypatch):
    found = _views.view_of(data)
    monkeypatch.setitem(core.__dict__, "buffer_view", lambda *arguments: None)
    wanted = _views.view_of(data)
    assert found.nbytes == wanted.nbytes and (found.ptr == wanted.ptr or not found.nbytes)
    assert type(found) is type(wanted) and len(found) == len(wanted)
    same = ("shape", "strides", "itemsize", "readonly", "kind", "device", "source")
    assert [getattr(found, name) for name in same[:-1]] == [getattr(wanted, name) for name in same[:-1]]
    assert [type(value) for value in found[:8]] == [type(value) for value in wanted[:8]]
    assert found.source is wanted.source


@pytest.mark.parametrize(
    "data", [np.array([object()]), np.zeros(2, [("a", "i4"), ("b", "O")]), memoryview(np.array([object()]))]
)
def test_objects_are_refused_whoever_looks(data):
    with pytest.raises(ropeway.ArgumentError, match="no plain numbers"):
        ropeway.Descriptor(data)


def test_memory_that_was_lent_stays_lent_while_a_descriptor_holds_it():
    data = bytearray(10)
    descriptor = ropeway.Descriptor(data)
    with pytest.raises(BufferError):
        data.append(1)
    del descriptor
    data.append(1)


def test_a_look_at_an_array_leaves_no_references():
    array = np.zeros(10)
    before = sys.getrefcount(array)
    for _ in range(10):
        view = _views.view_of(array)
        _views.check_in_place([view])
        del view
    assert sys.getrefcount(array) == before


# ---- all views of an operation ----


SOME = st.builds(
    lambda ptr, size, readonly, kind, device, strided: _views.View(
        ptr, size, (size,), (2,) if strided else None, 1, readonly, kind, device, None
    ),
    st.integers(1, 60), st.integers(0, 12), st.sampled_from([False] * 9 + [True]), st.sampled_from([1, 1, 1, 2, 3]),
    st.integers(0, 1), st.sampled_from([False] * 20 + [True]),
)  # fmt: skip


@given(st.lists(SOME, max_size=6), st.booleans())
def test_what_is_plain_needs_no_word_and_what_is_not_gets_one(views, is_target):
    is_dense = all(view.strides is None for view in views)
    try:
        if is_target:
            _views.check_targets(views)
        is_fit = True
    except ropeway.ArgumentError:
        is_fit = False
    assert core.plain(views, is_target) == (is_dense and is_fit)


def test_only_views_are_taken(pair):
    for wrong in ([5], [()], [(1, 2, 3, 4)], [_views.View("x", 1, (1,), None, 1, False, 1, 0, None)],
                  [_views.View(1, -1, (1,), None, 1, False, 1, 0, None)],
                  [_views.View(1, 1, (1,), None, 1, False, 1 << 40, 0, None)]):  # fmt: skip
        with pytest.raises((TypeError, ValueError, OverflowError)):
            pair[0]._core.start(1, wrong, [], None, None, -1, -1, 0, None)
        with pytest.raises((TypeError, ValueError, OverflowError)):
            pair[0]._core.register(wrong[0])
    for wrong in ([5], [()]):
        with pytest.raises(TypeError):
            core.plain(wrong, True)
        with pytest.raises(TypeError):
            core.unsure(wrong, 0, None, None)
    with pytest.raises(TypeError):
        core.buffer_view(int, b"x", True)


# ---- the second look ----


class Sub(np.ndarray):
    """An array that C does not look at."""


def grown(array):
    array.resize(1 << 20, refcheck=False)


def shrunk(array):
    array.resize(array.size - 1, refcheck=False)


def changed_tensor():
    tensor = torch.zeros(10)
    return tensor, lambda: setattr(tensor, "data", torch.zeros(9))


def changed_parameter():
    parameter = torch.nn.Parameter(torch.zeros(10))
    return parameter, lambda: setattr(parameter, "data", torch.zeros(10))


def changed_array(change, kind=np.ndarray):
    array = kind(10)
    return array, lambda: change(array)


@pytest.mark.parametrize(
    "make",
    [lambda: changed_array(grown), lambda: changed_array(shrunk), lambda: changed_array(grown, Sub), lambda: changed_array(shrunk, Sub),
     pytest.param(changed_tensor, marks=needs_torch), pytest.param(changed_parameter, marks=needs_torch)],
)  # fmt: skip
@pytest.mark.parametrize("place", [0, 1, 9])
def test_memory_that_moved_or_shrank_is_found_among_others(pair, make, place):
    for kind, connector in ((ropeway.Descriptor, pair[0]), (connect.Descriptor, connect.Connector(interop=False))):
        data, change = make()
        others = [bytearray(5), np.zeros(5), np.zeros(5).view(Sub), ctypes.create_string_buffer(5), np.zeros(0),
                  np.zeros((4, 4))[:, ::2], np.float64(1), array_of_torch(), mmap.mmap(-1, 5)]  # fmt: skip
        descriptors = list(map(kind, others))
        descriptors.insert(place, kind(data))
        with connector.create_readable(descriptors):
            pass
        change()
        with pytest.raises(ropeway.ArgumentError, match=f"the {type(data).__name__} of a descriptor has other memory"):
            connector.create_readable(descriptors)


def array_of_torch():
    return np.zeros(3) if torch is None else torch.zeros(3)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@needs_torch
def test_what_a_tensor_raises_when_it_is_asked_again_is_not_lost(pair, error):
    class Tensor(torch.Tensor):
        fails = False

        def data_ptr(self):
            if self.fails:
                raise error("asked")
            return super().data_ptr()

    tensor = torch.zeros(3).as_subclass(Tensor)
    descriptor = ropeway.Descriptor(tensor)
    tensor.fails = True
    with pytest.raises(error, match="asked"):
        pair[0].create_readable([bytearray(1), descriptor])


# ---- what it costs ----


def calls(run):
    """Calls of Python's functions, and of C's from Python, that run() makes."""
    counts = {"call": 0, "c_call": 0}

    def count(frame, event, argument):
        if event in counts:
            counts[event] += 1

    sys.setprofile(count)
    try:
        run()
    finally:
        sys.setprofile(None)
    return np.array([counts["call"], counts["c_call"]])


def calls_for_each(run, few=8, many=108):
    """What one descriptor more adds to run(number)."""
    run(few), run(few)
    gc.disable()
    try:
        return (calls(lambda: run(many)) - calls(lambda: run(few))) / (many - few)
    finally:
        gc.enable()


KINDS = {"bytearray": lambda: bytearray(8), "numpy": lambda: np.zeros(8), "ctypes": lambda: ctypes.create_string_buffer(8)}
if torch is not None:
    KINDS["torch"] = lambda: torch.zeros(8)


@pytest.mark.parametrize("name", KINDS)
def test_what_a_descriptor_adds_to_an_operation(pair, name):
    """No call of Python's, and isinstance() alone of C's; and few calls where it is made."""
    objects = [KINDS[name]() for _ in range(108)]
    descriptors = list(map(ropeway.Descriptor, objects))

    def offer(number):
        pair[0].create_writable(descriptors[:number]).release()

    def read(number):
        with pair[0].create_readable(bytearray(8)) as passive, pytest.raises(ropeway.ArgumentError):
            pair[1].begin_read(passive.metadata, descriptors[:number])

    assert list(calls_for_each(offer)) == [0, 1]
    assert list(calls_for_each(read)) == [0, 1]
    if name in ("bytearray", "numpy"):
        python, c = calls_for_each(lambda number: [ropeway.Descriptor(data) for data in objects[:number]])
        assert python <= 2 and c <= 5
        python, c = calls_for_each(lambda number: pair[0].create_writable(objects[:number]).release())
        assert python <= 1 and c <= 6


@pytest.mark.parametrize("name", KINDS)
def test_what_a_descriptor_adds_to_an_operation_of_the_drop_in(name):
    worker = connect.Connector(interop=False)
    descriptors = [connect.Descriptor(KINDS[name]()) for _ in range(108)]

    def offer(number):
        with worker.create_writable(descriptors[:number]):
            pass

    python, c = calls_for_each(offer)
    assert python <= 4 and c <= 6
