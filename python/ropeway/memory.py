# SPDX-License-Identifier: Apache-2.0
"""Devices and descriptors."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Union

from ._load import core as _core
from ._views import View, view_of


class DeviceKind(IntEnum):
    UNSPECIFIED = 0
    HOST = 1
    CUDA = 2
    XPU = 3


class Device:
    """ "cpu", "cuda:N" or "xpu:N"; "host", "gpu" and a missing number are understood."""

    __slots__ = ("kind", "id")
    kind: DeviceKind
    id: int

    def __init__(self, name: Union[str, Device]) -> None:
        if isinstance(name, Device):
            self.kind, self.id = name.kind, name.id
            return
        kind, self.id = _core.parse_device(name)
        self.kind = DeviceKind(kind)

    def __str__(self) -> str:
        return "cpu" if self.kind is DeviceKind.HOST else f"{self.kind.name.lower()}:{self.id}"

    def __repr__(self) -> str:
        return f"Device('{self}')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and (self.kind, self.id) == (other.kind, other.id)

    def __hash__(self) -> int:
        return hash((self.kind, self.id))


class Descriptor:
    """One piece of memory. It keeps the memory's owner alive.

    data: an object with the buffer protocol, __array_interface__, __cuda_array_interface__ or DLPack, or a
    torch tensor. Strided views are fine: their elements travel in order.
    """

    __slots__ = ("_view", "_device")

    def __init__(self, data: Any) -> None:
        if isinstance(data, Descriptor):
            self._view: View = data._view
        else:
            self._view = view_of(data)
        self._device = _device(self._view)

    @classmethod
    def from_pointer(cls, ptr: int, size: int, device: Union[str, Device] = "cpu", owner: Any = None) -> Descriptor:
        """Raw memory; owner is kept alive with it."""
        place = Device(device)
        self = cls.__new__(cls)
        self._view = View(ptr, size, (size,), None, 1, False, int(place.kind), place.id, owner)
        self._device = place
        return self

    @property
    def ptr(self) -> int:
        return self._view.ptr

    @property
    def size(self) -> int:
        """Bytes that travel."""
        return self._view.nbytes

    @property
    def shape(self) -> tuple[int, ...]:
        return self._view.shape

    @property
    def device(self) -> Device:
        return self._device

    @property
    def owner(self) -> Any:
        return self._view.owner

    def __repr__(self) -> str:
        return f"Descriptor(ptr={self.ptr:#x}, size={self.size}, device='{self._device}')"


def _device(view: View) -> Device:
    device = Device.__new__(Device)
    device.kind, device.id = DeviceKind(view.kind), view.device
    return device
