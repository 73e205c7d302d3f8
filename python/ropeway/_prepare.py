# SPDX-License-Identifier: Apache-2.0
"""What an operation does with views: checks of targets, runs that are moved in place, and dense copies of others."""

from __future__ import annotations

import math
from typing import Any, Optional

from ._load import core as _core
from ._views import HOST, View, bounds, refuse

RUN_MIN = 1024  # bytes of a run; from here on moving runs is no slower than a dense copy, and mostly faster
_RUNS_COMPARED = 65536

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
    filled = sorted((view.kind, view.device, *bounds(view.ptr, view.nbytes, view.shape, view.strides, view.itemsize), index) for index, view in enumerate(views) if view.nbytes)
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
