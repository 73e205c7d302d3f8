# SPDX-License-Identifier: Apache-2.0
"""Objects that hold memory, seen as a pointer with a shape; and what an operation does with them."""

from __future__ import annotations

import math
import sys
from typing import Any, NamedTuple, Optional

from ._load import core as _core
from .errors import ArgumentError, ErrorCode

HOST, CUDA, XPU = 1, 2, 3
RUN_MIN = 1024  # bytes of a run; from here on moving runs is no slower than a dense copy, and mostly faster
_RUNS_COMPARED = 65536
_BUFFERS = (bytearray, bytes, memoryview)


def refuse(sentence: str) -> ArgumentError:
    return ArgumentError(ErrorCode.INVALID_ARGUMENT, sentence)


class View(NamedTuple):
    """Memory, as its owner describes it. strides: in bytes; None when its elements lie in order without gaps."""

    ptr: int
    nbytes: int
    shape: tuple[int, ...]
    strides: Optional[tuple[int, ...]]
    itemsize: int
    readonly: bool
    kind: int
    device: int
    owner: Any


def is_dense(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> bool:
    expected = itemsize
    if 0 in shape:
        return True
    for length, stride in zip(reversed(shape), reversed(strides)):
        if length != 1 and stride != expected:
            return False
        expected *= length
    return True


def _make(ptr: int, shape: tuple[int, ...], strides: Optional[tuple[int, ...]], itemsize: int, readonly: bool,
          kind: int, device: int, owner: Any) -> View:  # fmt: skip
    nbytes = math.prod(shape) * itemsize
    if strides is not None and is_dense(shape, strides, itemsize):
        strides = None
    # Empty memory may have no pointer; the library wants one all the same.
    return View(ptr if nbytes else ptr or _core.NOWHERE, nbytes, shape, strides, itemsize, readonly, kind, device, owner)


def _torch_view(tensor: Any, torch: Any) -> View:
    if tensor.layout != torch.strided:
        raise refuse(f"the tensor's layout is {tensor.layout}; only strided (dense) tensors can be moved")
    kind = {"cpu": HOST, "cuda": CUDA, "xpu": XPU}.get(tensor.device.type)
    if kind is None:
        raise refuse(f"the tensor lies on {tensor.device}; only cpu, cuda and xpu memory can be moved")
    if tensor.is_conj() or tensor.is_neg():
        raise refuse("the tensor is a lazy conjugate or negation; call resolve_conj() or resolve_neg() on it first")
    itemsize = tensor.element_size()
    device = 0 if kind == HOST else tensor.get_device()
    strides = None if tensor.is_contiguous() else tuple(n * itemsize for n in tensor.stride())
    # The storage: a tensor can be given another one while bytes move.
    owner = tensor.untyped_storage() if hasattr(tensor, "untyped_storage") else tensor.storage()
    return _make(tensor.data_ptr(), tuple(tensor.shape), strides, itemsize, False, kind, device, owner)


def check_in_place(view: View, source: Any) -> None:
    """Raises ArgumentError when the tensor that the view was made of has other memory by now."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(source, torch.Tensor) or view.nbytes == 0:
        return
    ptr, size = source.data_ptr(), source.numel() * source.element_size()
    if ptr != view.ptr or size < view.nbytes:
        raise refuse(
            f"the tensor of a descriptor has other memory than when that was made ({size} bytes at {ptr:#x}, then "
            f"{view.nbytes} at {view.ptr:#x}); make a new Descriptor of it"
        )


def _interface_view(interface: dict[str, Any], kind: int, device: int, owner: Any) -> View:
    place = interface.get("data")
    if not isinstance(place, tuple) or len(place) != 2 or not isinstance(place[0], int):
        # It may also be a buffer, or be left out where the object itself is one.
        given = "nothing" if place is None else f"a {type(place).__name__}"
        raise refuse(f"the array interface of a {type(owner).__name__} gives {given} for its memory, and not an address; pass the buffer itself")
    ptr, readonly = place
    typestr = interface["typestr"]
    if typestr[1] in "Ot" or "|O" in str(interface.get("descr")):
        raise refuse(f"an array of type {typestr} holds no plain numbers; it can't be moved")
    itemsize = int(typestr[2:]) * (4 if typestr[1] == "U" else 1)
    return _make(ptr, tuple(interface["shape"]), interface.get("strides"), itemsize, bool(readonly), kind, device, owner)


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
    ptr, nbytes, shape, strides, itemsize, readonly, _ = lent.layout
    ptr = ptr if nbytes else ptr or _core.NOWHERE
    return View(ptr, nbytes, shape, strides, itemsize, readonly, kind, 0 if kind == HOST else number, (owner, lent))


def _buffer_view(data: Any) -> View:
    buffer = _core.Buffer(data)
    ptr, nbytes, shape, strides, itemsize, readonly, is_plain = buffer.layout
    if not is_plain:
        raise refuse("the buffer holds references to objects, and no plain numbers; it can't be moved")
    return View(ptr if nbytes else ptr or _core.NOWHERE, nbytes, shape, strides, itemsize, readonly, HOST, 0, (data, buffer))


def view_of(data: Any) -> View:
    """Any object that shows its memory. Imports nothing that the object's owner has not imported."""
    if type(data) in _BUFFERS:
        return _buffer_view(data)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(data, torch.Tensor):
        return _torch_view(data, torch)
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


def _bounds(view: View) -> tuple[int, int]:
    low = high = view.ptr
    for length, stride in zip(view.shape, view.strides or ()):
        low, high = low + min(0, stride * (length - 1)), high + max(0, stride * (length - 1))
    return (low, high + view.itemsize) if view.strides else (low, low + view.nbytes)


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
    filled = sorted((view.kind, view.device, *_bounds(view), index) for index, view in enumerate(views) if view.nbytes)
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


# Descriptors, what owns their memory, and what is to be written back.
Prepared = tuple[list["_core._Piece"], list[Any], Optional[list["_core._Strided"]]]


def prepare(views: list[View], is_target: bool, max_pieces: int, is_offer: bool) -> Prepared:
    """What an operation moves. Strided views whose elements lie in runs of RUN_MIN bytes or more are moved
    where they lie, as long as the operation has no more than max_pieces pieces. Others go through a dense
    copy: gathered now from a source, written back to a target when the operation completes. A peer may write
    only a prefix of an offer, so the copy of such a target holds what the target holds, too."""
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
        descriptors.append((view.ptr, view.nbytes, view.kind, view.device))
        owners.append(view.owner)
    return descriptors, owners, back or None
