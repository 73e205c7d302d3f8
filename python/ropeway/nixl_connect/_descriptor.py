# SPDX-License-Identifier: Apache-2.0
"""Descriptors of this API: pointer, size, device, and the owner of the memory."""

from __future__ import annotations

import sys
from typing import Any, Optional, Union

from .._views import View, refuse, view_of
from ._connection import Connection, check_connection
from ._device import Device, DeviceKind
from ._metadata import SerializedDescriptor

_DATA = (
    "Argument `data` must be `torch.Tensor`, `tuple[ndarray, Device|str]`, an object with the buffer protocol such as "
    "`bytes`, or `tuple[int, int, Device|str, Any]`"
)


class _Lent:
    """In the place of a registration, while an operation uses a descriptor that nobody registered."""


class Descriptor:
    """data: a torch.Tensor; (ndarray, Device or str); bytes, bytearray, or another buffer; or
    (ptr, size, Device or str, owner)."""

    # Defaults for objects whose constructor failed.
    _connection: Optional[Connection] = None
    _nixl_hndl: Any = None
    _uses = 0
    _view: Optional[View] = None
    _data_device = Device("cpu")

    def __init__(self, data: Any) -> None:
        if data is None:
            raise ValueError("Argument `data` cannot be `None`.")
        if isinstance(data, tuple):
            self._from_tuple(data)
        else:
            self._from_object(data)

    def _from_object(self, data: Any) -> None:
        try:
            self._from_view(view_of(data))
        except TypeError as error:
            raise TypeError(f"{_DATA}; {error}") from None
        self._data_ref = data

    def _from_view(self, view: View) -> None:
        self._view = view
        self._data_ptr = view.ptr
        self._data_size = view.nbytes
        if view.kind != DeviceKind.HOST:
            self._data_device = Device((DeviceKind(view.kind), view.device))

    def _from_tuple(self, data: tuple[Any, ...]) -> None:
        is_raw = len(data) >= 2 and isinstance(data[0], int) and isinstance(data[1], int)
        device = data[2] if is_raw and len(data) > 2 else "cpu" if is_raw else data[1] if len(data) == 2 else None
        if not isinstance(device, (Device, str)):
            raise TypeError(f"{_DATA}.")
        place = device if isinstance(device, Device) else Device(device)
        if is_raw:
            self._data_ptr, self._data_size = data[0], data[1]
            self._data_ref = data[3] if len(data) > 3 else None
        else:
            if not (hasattr(data[0], "__array_interface__") or hasattr(data[0], "__cuda_array_interface__")):
                raise TypeError(f"{_DATA}; `data[0]` is a `{type(data[0]).__name__}` without an array interface.")
            self._from_view(view_of(data[0]))
            self._data_ref = data[0]
        self._data_device = place

    # ---- for operations ----

    def _as_view(self) -> View:
        """What an operation moves: _data_size bytes, which a program may have set lower for a while."""
        size, view, place = self._data_size, self._view, self._data_device
        kind, device = int(place._kind), place._device_id
        if view is None or view.ptr != self._data_ptr:
            return View(self._data_ptr, size, (size,), None, 1, False, kind, device, self._data_ref)
        if size > view.nbytes:
            raise refuse(f"the descriptor's size is {size}, and its memory has {view.nbytes} bytes")
        if size == view.nbytes:
            return view if (kind, device) == (view.kind, view.device) else view._replace(kind=kind, device=device)
        if view.strides is not None:
            raise refuse(f"the descriptor's size is {size} of {view.nbytes} bytes; a strided view travels as a whole")
        return view._replace(nbytes=size, shape=(size,), itemsize=1, kind=kind, device=device)

    def _lend(self, connection: Connection) -> None:
        """For the life of an operation; an unregistered descriptor counts as registered meanwhile."""
        self._check(connection)
        if self._nixl_hndl is None:
            self._connection, self._nixl_hndl = connection, _Lent
        self._uses += 1

    def _return(self) -> None:
        self._uses -= 1
        if self._uses <= 0 and self._nixl_hndl is _Lent:
            self._connection = self._nixl_hndl = None

    def _check(self, connection: Connection) -> None:
        check_connection(connection)
        if self._data_ptr == 0:
            raise ValueError("Cannot register memory with a null pointer.")
        if self._connection is not None and self._connection is not connection:
            raise RuntimeError(
                "Descriptor cannot be registered with more than one connection. "
                f"Existing connection: {self._connection.name}, new connection: {connection.name}."
            )

    # ---- upstream's surface ----

    @property
    def device(self) -> Device:
        return self._data_device

    @property
    def ptr(self) -> int:
        return self._data_ptr

    @property
    def size(self) -> int:
        return self._data_size

    @property
    def is_registered(self) -> bool:
        return self._connection is not None and self._nixl_hndl is not None

    @property
    def metadata(self) -> SerializedDescriptor:
        return SerializedDescriptor(device=str(self._data_device), ptr=self._data_ptr, size=self._data_size)

    @staticmethod
    def from_serialized(serialized: SerializedDescriptor) -> Descriptor:
        if not isinstance(serialized, SerializedDescriptor):
            raise TypeError("Argument `serialized` must be `SerializedDescriptor`.")
        return serialized.to_descriptor()

    def register_with_connector(self, connection: Connection) -> None:
        """Registers the memory until deregister_with_connector(): operations that come and go leave it so."""
        self._check(connection)
        if self._nixl_hndl is not None and self._nixl_hndl is not _Lent:
            return
        size = self._data_size if self._view is None else self._view.nbytes
        whole_view = self._view is None or self._view.strides is None
        self._nixl_hndl = connection._register(self._data_ptr, size if whole_view else 0, self._data_device)
        self._connection = connection

    def deregister_with_connector(self, connection: Connection) -> None:
        check_connection(connection)
        if self._connection is not connection:
            raise RuntimeError(
                "Descriptor can only be deregistered from the connection it was registered with. "
                f"Existing connection: {self._connection.name if self._connection else None}, "
                f"requested connection: {connection.name}."
            )
        handle, self._nixl_hndl, self._connection = self._nixl_hndl, None, None
        if handle is not None and handle is not _Lent:
            connection._deregister(handle)
        if self._uses > 0:
            self._connection, self._nixl_hndl = connection, _Lent

    def __del__(self) -> None:
        handle, connection = self._nixl_hndl, self._connection
        if handle is not None and handle is not _Lent and connection is not None and not sys.is_finalizing():
            connection._deregister(handle)

    def __repr__(self) -> str:
        return f"Descriptor({self})"

    def __str__(self) -> str:
        return f"ptr={hex(self._data_ptr)}, size={self._data_size}, device={self._data_device}"


def check_list(name: str, descriptors: Any) -> list[Descriptor]:
    """One descriptor or a list of them, as a list."""
    if isinstance(descriptors, Descriptor):
        return [descriptors]
    if not isinstance(descriptors, list) or not all(isinstance(item, Descriptor) for item in descriptors):
        raise TypeError(f"Argument `{name}` must be `Descriptor` or `list[Descriptor]`.")
    if not descriptors:
        raise ValueError(f"Argument `{name}` must not be an empty list.")
    return descriptors


def check_same_kind(name: str, descriptors: list[Descriptor]) -> None:
    if len({item.device.kind for item in descriptors}) > 1:
        raise ValueError(f"All descriptors of `{name}` must have the same memory type.")


Descriptors = Union[Descriptor, list[Descriptor]]
