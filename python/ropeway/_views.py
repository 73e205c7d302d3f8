# SPDX-License-Identifier: Apache-2.0
"""Objects that hold memory, seen as a pointer with a shape; and what an operation does with them."""

from __future__ import annotations

import math
import operator
import sys
from collections import namedtuple
from functools import lru_cache

from ._load import core as _core
from .errors import ArgumentError, ErrorCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NamedTuple, Optional

    # Pieces, what keeps their memory alive, and what is to be written back.
    Prepared = tuple[Sequence[_core._Piece], list[Any], Optional[list[_core._Strided]]]

HOST, CUDA, XPU = 1, 2, 3
RUN_MIN = 1024  # bytes of a run; from here on moving runs is no slower than a dense copy, and mostly faster
_RUNS_COMPARED = 65536
_DIMS = 64  # RW_PY_DIMS
_BUFFERS = (bytearray, bytes, memoryview)


def refuse(sentence: str) -> ArgumentError:
    return ArgumentError(ErrorCode.INVALID_ARGUMENT, sentence)


# Memory, as its owner describes it. strides: in bytes; None when its elements lie in order without gaps. source: who can give
# its memory another address though owner is held, and is asked again when an operation begins; or None. core.h numbers the
# fields.
if TYPE_CHECKING:

    class View(NamedTuple):
        ptr: int
        nbytes: int
        shape: tuple[int, ...]
        strides: Optional[tuple[int, ...]]
        itemsize: int
        readonly: bool
        kind: int
        device: int
        owner: Any
        source: Any = None

else:
    View = namedtuple("View", "ptr nbytes shape strides itemsize readonly kind device owner source", defaults=(None,))


def is_dense(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> bool:
    expected = itemsize
    if 0 in shape:
        return True
    for length, stride in zip(reversed(shape), reversed(strides)):
        if length != 1 and stride != expected:
            return False
        expected *= length
    return True


def _bounds(ptr: int, nbytes: int, shape: tuple[int, ...], strides: Optional[tuple[int, ...]], itemsize: int) -> tuple[int, int]:
    """The addresses of the first byte, and of the one behind the last."""
    if strides is None:
        return ptr, ptr + nbytes
    low = high = ptr
    for length, stride in zip(shape, strides):
        low, high = low + min(0, stride * (length - 1)), high + max(0, stride * (length - 1))
    return low, high + itemsize


def _number(what: str, value: Any) -> int:
    """Foreign values may be any integers, such as numpy's; True is none."""
    if not isinstance(value, (bool, float, str)):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise refuse(f"{what} is {value!r}; it must be an int")


def _numbers(what: str, owner: Any, values: Any) -> tuple[int, ...]:
    if type(values) is tuple and all(type(value) is int for value in values):
        return values
    what = f"the {what} in {_interface_of(owner)}"
    if not isinstance(values, (tuple, list)):
        raise refuse(f"{what} is {values!r}; it must be a tuple of int")
    return tuple(_number(what, value) for value in values)


def make_view(ptr: int, shape: tuple[int, ...], strides: Optional[tuple[int, ...]], itemsize: int, readonly: bool,
              kind: int, device: int, owner: Any, source: Any = None) -> View:  # fmt: skip
    """Every View is made here, of integers, except for the plain ones of buffer_view(), which would pass. strides: in bytes;
    None: dense. Raises ArgumentError for what can't be memory."""
    nbytes = itemsize
    for length in shape:
        if length < 0 or itemsize < 0:
            raise refuse(f"the memory has a negative length: shape {shape}, {itemsize} bytes an element")
        nbytes *= length
    if len(shape) > _DIMS:
        raise refuse(f"the memory has {len(shape)} dimensions; at most {_DIMS} are possible")
    if strides is not None and len(strides) != len(shape):
        raise refuse(f"the memory has {len(shape)} dimensions, shape {shape}, and {len(strides)} strides, {strides}")
    if strides is not None and is_dense(shape, strides, itemsize):
        strides = None
    if nbytes == 0:  # it may have no pointer; the library wants one all the same
        return View(ptr or _core.NOWHERE, 0, shape, strides, itemsize, readonly, kind, device, owner, source)
    low, high = _bounds(ptr, nbytes, shape, strides, itemsize)
    if ptr == 0:
        raise refuse(f"the memory ({nbytes} bytes) has a null pointer: its owner has none, or can't show it")
    if low <= 0 or max(high, nbytes) > sys.maxsize:
        raise refuse(f"the memory does not fit the address space: {nbytes} bytes from {low:#x} to {high:#x}")
    return View(ptr, nbytes, shape, strides, itemsize, readonly, kind, device, owner, source)


def raw_view(ptr: Any, size: Any, kind: int, device: int, owner: Any) -> View:
    """Memory that the program vouches for: an address, and bytes. owner: is kept alive with it."""
    return make_view(_number("ptr", ptr), (_number("size", size),), None, 1, False, kind, device, owner)


def _torch_view(tensor: Any, torch: Any) -> View:
    if tensor.layout != torch.strided or getattr(tensor, "is_nested", False):
        layout = "nested" if tensor.layout == torch.strided else tensor.layout
        raise refuse(f"the tensor's layout is {layout}; only strided (dense) tensors can be moved")
    kind = {"cpu": HOST, "cuda": CUDA, "xpu": XPU}.get(tensor.device.type)
    if kind is None:
        raise refuse(f"the tensor lies on {tensor.device}; only cpu, cuda and xpu memory can be moved")
    if tensor.is_conj() or tensor.is_neg():
        raise refuse("the tensor is a lazy conjugate or negation; call resolve_conj() or resolve_neg() on it first")
    itemsize = tensor.element_size()
    device = 0 if kind == HOST else tensor.get_device()
    strides = None if tensor.is_contiguous() else tuple(n * itemsize for n in tensor.stride())
    try:
        # The storage: a tensor can be given another one while bytes move.
        owner = tensor.untyped_storage() if hasattr(tensor, "untyped_storage") else tensor.storage()
        ptr, start, size = tensor.data_ptr(), owner.data_ptr(), owner.nbytes()
    except (RuntimeError, NotImplementedError) as error:
        raise refuse(f"the tensor (a {type(tensor).__name__}) shows no memory of its own: {error}") from None
    view = make_view(ptr, tuple(tensor.shape), strides, itemsize, False, kind, device, owner, tensor)
    low, high = _bounds(view.ptr, view.nbytes, view.shape, view.strides, itemsize)
    if view.nbytes and not start <= low <= high <= start + size:
        raise refuse(f"the tensor's elements need {high - low} bytes, and its storage was resized to {size}")
    return view


def check_in_place(views: list[View]) -> None:
    """Raises ArgumentError when an object that a view was made of has other memory by now."""
    # None while they are not imported, or not yet to their ends.
    array = getattr(sys.modules.get("numpy"), "ndarray", None)
    tensor = getattr(sys.modules.get("torch"), "Tensor", None)
    index = _core.unsure(views, 0, array, tensor)
    while index >= 0:
        _check_one_in_place(views[index])
        index = _core.unsure(views, index + 1, array, tensor)


def _check_one_in_place(view: View) -> None:
    source, torch = view.source, sys.modules.get("torch")
    if torch is not None and isinstance(source, torch.Tensor):
        ptr, size = source.data_ptr(), source.numel() * source.element_size()
    else:
        now = view_of(source)
        ptr, size = now.ptr, now.nbytes
    if ptr != view.ptr or size < view.nbytes:
        raise refuse(
            f"the {type(source).__name__} of a descriptor has other memory than when that was made ({size} bytes at {ptr:#x}, then "
            f"{view.nbytes} at {view.ptr:#x}); make a new Descriptor of it"
        )


def _interface_of(owner: Any) -> str:
    return f"the array interface of a {type(owner).__name__}"


@lru_cache(maxsize=64)
def _itemsize(typestr: str) -> tuple[str, int]:
    """The letter of a type, and its bytes; -1: there is no such type."""
    import re

    found = re.fullmatch(r"[<>|=](O|[a-zA-Z](?=[0-9]))([0-9]{,18})(\[.*\])?", typestr)
    if found is None:
        return "", -1
    return found[1], int(found[2] or 0) * (4 if found[1] == "U" else 1)


def _interface_view(interface: Any, kind: int, device: int, owner: Any) -> View:
    if not isinstance(interface, dict):
        raise refuse(f"{_interface_of(owner)} is a {type(interface).__name__}; it must be a dict")
    place = interface.get("data")
    if not isinstance(place, tuple) or len(place) != 2 or isinstance(place[0], bool) or not hasattr(place[0], "__index__"):
        # It may also be a buffer, or be left out where the object itself is one.
        given = "nothing" if place is None else f"a {type(place).__name__}"
        raise refuse(f"{_interface_of(owner)} gives {given} for its memory, and not an address; pass the buffer itself")
    if interface.get("mask") is not None:
        raise refuse(f"{_interface_of(owner)} has a mask, which would be lost; pass its data and its mask")
    typestr = interface.get("typestr")
    letter, itemsize = _itemsize(typestr) if isinstance(typestr, str) else ("", -1)
    if itemsize < 0:
        raise refuse(f"{_interface_of(owner)} has the type {typestr!r}; it must be one such as '<f4'")
    if letter in "Ot" or (letter == "V" and "|O" in str(interface.get("descr"))):
        raise refuse(f"an array of type {typestr} holds no plain numbers; it can't be moved")
    shape, strides = _numbers("shape", owner, interface.get("shape")), interface.get("strides")
    if strides is not None:
        strides = _numbers("tuple of strides", owner, strides)
    return make_view(operator.index(place[0]), shape, strides, itemsize, bool(place[1]), kind, device, (owner, interface), owner)


def _scalar_view(data: Any, numpy: Any) -> View:
    """numpy's scalars show the memory of an array that is gone by then. This is of a copy, so it can't be filled."""
    array = numpy.array(data)
    return _interface_view(array.__array_interface__, HOST, 0, array)._replace(readonly=True, source=None)


def _cuda_device(owner: Any) -> int:
    device = getattr(owner, "device", None)
    number = getattr(device, "id", getattr(device, "index", None))
    return number if isinstance(number, int) else 0


# DLPack's device types: cpu, cuda, host memory of CUDA and of ROCm, managed memory of CUDA, oneAPI.
_DLPACK_KINDS = {1: HOST, 2: CUDA, 3: HOST, 11: HOST, 13: CUDA, 14: XPU}


def _dlpack_view(owner: Any) -> View:
    try:
        capsule = owner.__dlpack__(max_version=(1, 0))
    except TypeError:  # older than that version
        capsule = owner.__dlpack__()
    lent = _core.Dlpack(capsule)
    place, number = lent.device
    kind = _DLPACK_KINDS.get(place)
    if kind is None:
        raise refuse(f"the tensor lies on a device of DLPack's type {place}; only cpu, cuda and xpu memory can be moved")
    ptr, _, shape, strides, itemsize, readonly, _ = lent.layout
    return make_view(ptr, shape, strides, itemsize, readonly, kind, 0 if kind == HOST else number, (owner, lent))


def _buffer_view(data: Any) -> View:
    buffer = _core.Buffer(data)
    ptr, nbytes, shape, strides, itemsize, readonly, is_plain = buffer.layout
    if not is_plain:
        raise refuse("the buffer holds references to objects, and no plain numbers; it can't be moved")
    if strides is None and math.prod(shape) * itemsize != nbytes:  # a resized one of ctypes, which keeps its type
        shape, itemsize = (nbytes,), 1
    # Those of ctypes can be resized though their memory is lent.
    source = None if type(data) in _BUFFERS else data
    return make_view(ptr, shape, strides, itemsize, readonly, HOST, 0, (data, buffer), source)


def view_of(data: Any) -> View:
    """Any object that shows its memory. Imports nothing that the object's owner has not imported."""
    if type(data) in _BUFFERS:
        return _core.buffer_view(View, data, True) or _buffer_view(data)
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if type(data) is getattr(numpy, "ndarray", None):
        view = _core.buffer_view(View, data, False)
        if view is not None:
            return view
    if torch is not None and isinstance(data, torch.Tensor):
        return _torch_view(data, torch)
    if numpy is not None and isinstance(data, numpy.generic):
        return _scalar_view(data, numpy)
    interface = getattr(data, "__cuda_array_interface__", None)
    if interface is not None:
        return _interface_view(interface, CUDA, _cuda_device(data), data)
    interface = getattr(data, "__array_interface__", None)
    if interface is not None:
        return _interface_view(interface, HOST, 0, data)
    try:
        return _buffer_view(data)
    except TypeError:
        if hasattr(data, "__dlpack__"):
            return _dlpack_view(data)
        raise TypeError(
            f"a {type(data).__name__} shows no memory: pass bytes, an array, a tensor, or an object with the buffer "
            "protocol, __array_interface__, __cuda_array_interface__ or DLPack"
        ) from None


# ---- targets ----


def _may_overlap_itself(view: View) -> bool:
    """False is certain; True also for exotic strides that interleave."""
    extent = view.itemsize
    dims = sorted((abs(stride), length) for length, stride in zip(view.shape, view.strides or ()) if length > 1)
    for stride, length in dims:
        if stride < extent:
            return True
        extent = stride * (length - 1) + extent
    return False


def _runs(view: View) -> list[tuple[int, int]]:
    """Every run of bytes, as (start, end)."""
    if not view.strides:
        return [(view.ptr, view.ptr + view.nbytes)]
    starts = [view.ptr]
    for length, stride in zip(view.shape, view.strides):
        starts = [start + index * stride for start in starts for index in range(length)]
    return [(start, start + view.itemsize) for start in starts]


def _intersect(one: View, other: View) -> bool:
    if math.prod(one.shape) + math.prod(other.shape) > _RUNS_COMPARED:
        return True
    runs = sorted(_runs(one) + _runs(other))
    return any(left[1] > right[0] for left, right in zip(runs, runs[1:]))


def _check_apart(views: list[View]) -> None:
    filled = sorted((view.kind, view.device, *_bounds(view.ptr, view.nbytes, view.shape, view.strides, view.itemsize), index) for index, view in enumerate(views) if view.nbytes)
    open_: list[tuple[int, int, int, int, int]] = []
    for entry in filled:
        kind, device, low, _, index = entry
        open_ = [other for other in open_ if other[:2] == (kind, device) and other[3] > low]
        for other in open_:
            one, two = views[other[4]], views[index]
            if (one.strides is None and two.strides is None) or _intersect(one, two):
                raise refuse(
                    f"descriptors {min(other[4], index)} and {max(other[4], index)} overlap, and both would be "
                    "written; give each its own memory"
                )
        open_.append(entry)


def check_targets(views: list[View]) -> None:
    for index, view in enumerate(views):
        if view.nbytes == 0:
            continue
        if view.readonly:
            raise refuse(f"descriptor {index} is read-only memory and would be written; use a writable buffer")
        if view.strides is None:
            continue
        if view.kind != HOST:
            raise refuse(f"descriptor {index} is a strided view of device memory and would be written; use a contiguous tensor and copy")
        if _may_overlap_itself(view):
            raise refuse(f"descriptor {index} has elements that share memory (strides {view.strides}) and would be written; use a contiguous buffer")
    if len(views) > 1:
        _check_apart(views)


# ---- what the library gets ----


def _staged(view: View) -> tuple[View, _core._Strided]:
    room = bytearray(view.nbytes)
    buffer = _core.Buffer(room)
    dense = view._replace(ptr=buffer.ptr, strides=None, owner=(view.owner, buffer))
    return dense, _strided(view, buffer.ptr)


def _strided(view: View, dense: int = 0) -> _core._Strided:
    return (view.ptr, view.shape, view.strides or (), view.itemsize, dense)


def prepare(views: list[View], is_target: bool, max_pieces: int, is_offer: bool) -> Prepared:
    """What an operation moves. Strided views whose elements lie in runs of RUN_MIN bytes or more are moved
    where they lie, as long as the operation has no more than max_pieces pieces. Others go through a dense
    copy: gathered now from a source, written back to a target when the operation completes. A peer may write
    only a prefix of an offer, so the copy of such a target holds what the target holds, too."""
    if _core.plain(views, is_target):
        return views, views, None
    if is_target:
        check_targets(views)
    back: list[_core._Strided] = []
    descriptors: list[_core._Piece] = []
    owners = []
    left = max_pieces - len(views)
    for index, view in enumerate(views):
        if view.strides is not None:
            if view.kind != HOST:
                raise refuse(f"descriptor {index} is a strided view of device memory; pass a contiguous tensor")
            pieces = _strided(view)
            run, count = _core.runs(pieces)
            if run >= RUN_MIN and count - 1 <= left:
                left -= count - 1
                descriptors.append(pieces)
                owners.append(view.owner)
                continue
            view, copy = _staged(view)
            if is_target:
                back.append(copy)
            if not is_target or is_offer:
                _core.gather(copy)
        descriptors.append(view)
        owners.append(view.owner)
    return descriptors, owners, back or None
