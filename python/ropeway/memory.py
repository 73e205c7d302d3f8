# SPDX-License-Identifier: Apache-2.0
"""Devices, descriptors, and memory that is registered ahead of operations."""

from __future__ import annotations

import sys
from enum import IntEnum

from ._load import core as _core
from ._views import View, check_in_place, raw_view, refuse, view_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn
else:
    Any = object
    NoReturn = None


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

    def __init__(self, name: str | Device) -> None:
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
    device: where the memory lies, when the object does not know; by default what the object says.
    """

    __slots__ = ("_view",)

    def __init__(self, data: Any, device: str | Device | None = None) -> None:
        self._view: View = data._view if isinstance(data, Descriptor) else view_of(data)
        if device is not None:
            place = Device(device)
            self._view = self._view._replace(kind=int(place.kind), device=place.id)

    @classmethod
    def from_pointer(cls, ptr: int, size: int, device: str | Device = "cpu", owner: Any = None) -> Descriptor:
        """Raw memory: size bytes at the address ptr; owner is kept alive with it. Raises ArgumentError for what is no address."""
        place = Device(device)
        self = cls.__new__(cls)
        self._view = raw_view(ptr, size, int(place.kind), place.id, owner)
        return self

    @property
    def view(self) -> View:
        """What an operation needs of it. Raises ArgumentError when the object that it was made of has other memory by now:
        torch's `tensor.data = other` and `tensor.set_()`, numpy's `array.resize(refcheck=False)` and ctypes.resize() do
        that."""
        check_in_place([self._view])
        return self._view

    def prefix(self, size: int) -> Descriptor:
        """The first size bytes of the same memory. Raises ArgumentError when it has fewer, and when it is a strided
        view, which travels as a whole."""
        view = self._view
        if size == view.nbytes:
            return self
        if not 0 <= size < view.nbytes:
            raise refuse(f"the descriptor's size is {size}, and its memory has {view.nbytes} bytes")
        if view.strides is not None:
            raise refuse(f"the descriptor's size is {size} of {view.nbytes} bytes; a strided view travels as a whole")
        found = Descriptor.__new__(Descriptor)
        found._view = view._replace(nbytes=size, shape=(size,), itemsize=1)
        return found

    @property
    def ptr(self) -> int:
        """The address of the first element."""
        return self._view.ptr

    @property
    def size(self) -> int:
        """Bytes that travel."""
        return self._view.nbytes

    @property
    def shape(self) -> tuple[int, ...]:
        """The elements' shape, as the object has it; of raw memory, its bytes."""
        return self._view.shape

    @property
    def is_dense(self) -> bool:
        """Whether the elements lie behind each other, without gaps."""
        return self._view.strides is None

    @property
    def device(self) -> Device:
        """Where the memory lies."""
        place = Device.__new__(Device)
        place.kind, place.id = DeviceKind(self._view.kind), self._view.device
        return place

    @property
    def owner(self) -> Any:
        """What keeps the memory alive."""
        return self._view.owner

    @property
    def place(self) -> tuple[int, int]:
        """device as numbers: a DeviceKind's, and which."""
        return self._view.kind, self._view.device

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Descriptor is an address in this process; it can't be pickled or copied. Send an operation's metadata"
        )

    def __repr__(self) -> str:
        return f"Descriptor(ptr={self.ptr:#x}, size={self.size}, device='{self.device}')"


def views_of(data: Any) -> list[View]:
    """What an operation needs of a descriptor, or of another object that holds memory, or of a list of them. Raises as
    Descriptor() and its `view` do."""
    items = data if isinstance(data, (list, tuple)) else (data,)
    held = [item._view for item in items if isinstance(item, Descriptor)]
    if held:
        check_in_place(held)
    if len(held) == len(items):
        return held
    return [item._view if isinstance(item, Descriptor) else view_of(item) for item in items]


class Registration:
    """Memory that was registered ahead of the operations that use it: what Connector.register() gives. It stays so
    until release(), or until nobody holds this object; meanwhile the memory is kept alive."""

    __slots__ = ("_connector", "_handle", "_memory")

    def __init__(self, connector: _core.Connector, memory: Descriptor) -> None:
        self._connector = connector
        self._memory: Descriptor | None = memory
        self._handle: object | None = None
        # Nothing is to be registered of no bytes, and of elements with gaps, which travel by way of a copy.
        view = memory.view
        if view.nbytes and view.strides is None:
            self._handle = connector.register(view)

    def release(self) -> None:
        """Ends it. Operations that are live keep what they need. Calling it again changes nothing."""
        handle, self._handle, self._memory = self._handle, None, None
        if handle is not None:
            self._connector.deregister(handle)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Registration belongs to its connector; it can't be pickled or copied. Register the memory again")

    def __enter__(self) -> Registration:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None and not sys.is_finalizing():
            self.release()
