# SPDX-License-Identifier: Apache-2.0
"""Memory: kinds of devices, descriptors of what lies here, and what travels to describe it, RdmaMetadata.

Values, string forms, JSON and checks are those of release 1.6.1 of ai-dynamo-runtime; docs/wire.md has the format.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from typing import Any, List, NoReturn, Optional, Union

from pydantic import BaseModel, ConfigDict, field_validator

from .. import memory
from ._connection import Connection, Worker, connection_of

_DATA = (
    "Argument `data` must be `torch.Tensor`, `tuple[ndarray, Device|str]`, an object with the buffer protocol such as "
    "`bytes`, or `tuple[int, int, Device|str, Any]`"
)


class DeviceKind(IntEnum):
    """Where memory lies: HOST ("cpu"), CUDA ("cuda") or XPU ("xpu")."""

    UNSPECIFIED = 0
    HOST = 1
    CUDA = 2
    XPU = 3

    def __str__(self) -> str:
        return {1: "cpu", 2: "cuda", 3: "xpu"}.get(int(self), "<invalid>")

    @property
    def nixl_mem_type(self) -> str:
        """NIXL's name of the memory: "DRAM" or "VRAM"."""
        return "DRAM" if self is DeviceKind.HOST else "VRAM"


class OperationKind(IntEnum):
    """Whether bytes go from the passive side to the active one (READ), or back (WRITE)."""

    UNSPECIFIED = 0
    READ = 1
    WRITE = 2

    def __str__(self) -> str:
        return self.name if self else "<invalid>"


class OperationStatus(IntEnum):
    """How far an operation is: INITIALIZED (no peer has come), IN_PROGRESS, and for good COMPLETE, CANCELLED or
    ERRORED."""

    UNINITIALIZED = 0
    INITIALIZED = 1
    IN_PROGRESS = 2
    COMPLETE = 3
    CANCELLED = 4
    ERRORED = 5

    def __str__(self) -> str:
        return ("<invalid>", "INIT", "PROC", "DONE", "STOP", "ERR")[self]


_PREFIXES = (
    ("cuda", DeviceKind.CUDA),
    ("gpu", DeviceKind.CUDA),
    ("xpu", DeviceKind.XPU),
    ("cpu", DeviceKind.HOST),
    ("host", DeviceKind.HOST),
)


class Device:
    """The device that memory lies on."""

    def __init__(self, metadata: Union[str, tuple[DeviceKind, int]]) -> None:
        """metadata: "cpu", "host", "cuda", "cuda:N", "gpu", "gpu:N", "xpu", "xpu:N", or (DeviceKind, number). Raises
        ValueError for another text, and TypeError for another type."""
        if metadata is None:
            raise ValueError("Argument `metadata` cannot be `None`.")
        if isinstance(metadata, str):
            self._kind, self._device_id = _parse(metadata)
        elif (
            isinstance(metadata, tuple)
            and len(metadata) == 2
            and isinstance(metadata[0], DeviceKind)
            and isinstance(metadata[1], int)
        ):
            self._kind, self._device_id = metadata
        else:
            raise TypeError("Argument `metadata` must be `str` or `tuple[DeviceKind, int]`.")

    @property
    def id(self) -> int:
        """The device's number; 0 for the host, and where none was given."""
        return self._device_id

    @property
    def kind(self) -> DeviceKind:
        """What kind of device it is."""
        return self._kind

    def __repr__(self) -> str:
        return f"Device(kind={self._kind}, id={self._device_id})"

    def __str__(self) -> str:
        if self._kind in (DeviceKind.CUDA, DeviceKind.XPU):
            return f"{self._kind}:{self._device_id}"
        return str(self._kind)


@lru_cache(maxsize=64)
def _parse(text: str) -> tuple[DeviceKind, int]:
    name = text.strip().lower()
    for prefix, kind in _PREFIXES:
        if name.startswith(prefix):
            has_number = ":" in name and kind is not DeviceKind.HOST
            return kind, int(name.split(":")[1]) if has_number else 0
    raise ValueError(f"Argument `metadata` must be 'cpu', 'cuda:<device_id>' or 'xpu:<device_id>'; it is '{text}'.")


# ---- what lies here ----


class Descriptor:
    """One piece of memory, and what keeps it alive. Programs keep pools of them, and set `_data_size` lower for a while
    to move only the first bytes; they read `_data_ref`, the object that was given."""

    # Defaults for objects whose constructor failed.
    _connection: Optional[Connection] = None
    _registration: Optional[memory.Registration] = None
    _uses = 0
    _memory: Optional[memory.Descriptor] = None
    _whole: tuple[int, int] = (0, 0)  # its address and bytes
    _data_device = Device("cpu")

    def __init__(self, data: Any) -> None:
        """data: a torch.Tensor; (array, Device or str); bytes, bytearray, or another buffer; or (address, bytes, Device or
        str, what keeps the memory alive). Arrays and tensors may have any shape, and gaps when they lie on the host.
        Raises TypeError for other objects, and ValueError for None."""
        if data is None:
            raise ValueError("Argument `data` cannot be `None`.")
        if isinstance(data, tuple):
            self._from_tuple(data)
        else:
            self._from_object(data)

    def _from_object(self, data: Any, device: Optional[Device] = None) -> None:
        try:
            found = memory.Descriptor(data)
        except TypeError as error:
            raise TypeError(f"{_DATA}; {error}") from None
        kind, number = found.place
        if device is not None and (device.kind, device.id) != (kind, number):
            found = memory.Descriptor(found, str(device))
            self._data_device = device
        elif kind != DeviceKind.HOST:
            self._data_device = Device((DeviceKind(kind), number))
        self._memory = found
        self._data_ptr, self._data_size = self._whole = found.ptr, found.size
        self._data_ref = data

    def _from_tuple(self, data: tuple[Any, ...]) -> None:
        is_raw = len(data) >= 2 and isinstance(data[0], int) and isinstance(data[1], int)
        device = data[2] if is_raw and len(data) > 2 else "cpu" if is_raw else data[1] if len(data) == 2 else None
        if not isinstance(device, (Device, str)):
            raise TypeError(f"{_DATA}.")
        place = device if isinstance(device, Device) else Device(device)
        if is_raw:
            self._data_ptr, self._data_size, self._data_device = data[0], data[1], place
            self._data_ref = data[3] if len(data) > 3 else None
            return
        if not (hasattr(data[0], "__array_interface__") or hasattr(data[0], "__cuda_array_interface__")):
            raise TypeError(f"{_DATA}; `data[0]` is a `{type(data[0]).__name__}` without an array interface.")
        self._from_object(data[0], place)

    @property
    def device(self) -> Device:
        """Where the memory lies."""
        return self._data_device

    @property
    def ptr(self) -> int:
        """The memory's address."""
        return self._data_ptr

    @property
    def size(self) -> int:
        """Bytes that an operation moves."""
        return self._data_size

    @property
    def is_registered(self) -> bool:
        """Whether it belongs to a connection: since register_with_connector(), or while an operation uses it."""
        return self._connection is not None

    @property
    def metadata(self) -> SerializedDescriptor:
        """What a peer learns of it. In 2025 this was a method: calling the result gives itself."""
        return SerializedDescriptor(device=str(self._data_device), ptr=self._data_ptr, size=self._data_size)

    def to_serialized(self) -> SerializedDescriptor:
        """metadata, by its first name of 2025."""
        return self.metadata

    @staticmethod
    def from_serialized(serialized: SerializedDescriptor) -> Descriptor:
        """A descriptor of a peer's memory. Raises TypeError for anything but a SerializedDescriptor."""
        if not isinstance(serialized, SerializedDescriptor):
            raise TypeError("Argument `serialized` must be `SerializedDescriptor`.")
        return serialized.to_descriptor()

    def register_with_connector(self, connection: Connection) -> None:
        """Registers the memory until deregister_with_connector(): operations that come and go leave it so. Again with the
        same connection changes nothing. Raises RuntimeError when it belongs to another connection, or can't be
        registered, and ValueError for a null pointer."""
        connection = self._check(connection)
        if self._registration is None:
            whole = self._memory if self._memory is not None else self._now()
            self._registration = connection.native.register(whole)
            self._connection = connection

    def register_memory(self, connector: Union[Worker, Connection]) -> None:
        """register_with_connector(), as in 2025, which passed connectors."""
        self.register_with_connector(connection_of(connector))

    def deregister_with_connector(self, connection: Connection) -> None:
        """Ends the registration. Operations that use the memory go on. Raises RuntimeError when it does not belong to that
        connection."""
        if self._connection is not connection_of(connection):
            raise RuntimeError(
                "Descriptor can only be deregistered from the connection it was registered with. "
                f"Existing connection: {self._connection.name if self._connection else None}, "
                f"requested connection: {connection.name}."
            )
        registration, self._registration = self._registration, None
        if registration is not None:
            registration.release()
        if self._uses <= 0:
            self._connection = None

    def lend(self, connection: Connection) -> memory.Descriptor:
        """For an operation of that connection, until give_back(): the memory to move, as long as `size` is now. Raises
        ValueError for a null pointer or a size above the memory's, RuntimeError when it belongs to another connection.
        Not in upstream."""
        # For the usual one without a call: there are thousands in some operations.
        if not self._data_ptr or self._connection not in (None, connection):
            self._check(connection)
        found = self._memory
        if found is None or self._whole != (self._data_ptr, self._data_size):
            found = self._now()
        self._connection = connection
        self._uses += 1
        return found

    def give_back(self) -> None:
        """Ends what lend() began. Not in upstream."""
        self._uses -= 1
        if self._uses <= 0 and self._registration is None:
            self._connection = None

    def _now(self) -> memory.Descriptor:
        if self._memory is None or self._memory.ptr != self._data_ptr:
            place = str(self._data_device)
            return memory.Descriptor.from_pointer(self._data_ptr, self._data_size, place, self._data_ref)
        return self._memory.prefix(self._data_size)

    def _check(self, connection: Any) -> Connection:
        found = connection_of(connection)
        if self._data_ptr == 0:
            raise ValueError("Cannot register memory with a null pointer.")
        if self._connection is not None and self._connection is not found:
            raise RuntimeError(
                "Descriptor cannot be registered with more than one connection. "
                f"Existing connection: {self._connection.name}, new connection: {found.name}."
            )
        return found

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Descriptor is an address in this process; it can't be pickled or copied. Send an operation's metadata()"
        )

    def __repr__(self) -> str:
        return f"Descriptor({self})"

    def __str__(self) -> str:
        return f"ptr={hex(self._data_ptr)}, size={self._data_size}, device={self._data_device}"


Descriptors = Union[Descriptor, list[Descriptor]]


def check_list(name: str, descriptors: Any) -> list[Descriptor]:
    """One descriptor or a list of them, as a list. name: the argument, for the errors: TypeError for something else,
    ValueError for an empty list."""
    if isinstance(descriptors, Descriptor):
        return [descriptors]
    if not isinstance(descriptors, list) or [item for item in descriptors if not isinstance(item, Descriptor)]:
        raise TypeError(f"Argument `{name}` must be `Descriptor` or `list[Descriptor]`.")
    if not descriptors:
        raise ValueError(f"Argument `{name}` must not be an empty list.")
    return descriptors


def check_same_kind(name: str, descriptors: list[Descriptor]) -> None:
    """Raises ValueError when they lie on several kinds of devices."""
    if len(descriptors) == 1:
        return
    devices = {id(device): device for device in [item.device for item in descriptors]}  # most are of one object
    if len({device.kind for device in devices.values()}) > 1:
        raise ValueError(f"All descriptors of `{name}` must have the same memory type.")


# ---- what travels ----


class SerializedDescriptor(BaseModel):
    """One descriptor of a passive operation. device: "cpu", "cuda:N" or "xpu:N"; ptr: the address, not 0; size: bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    device: str = "cpu"
    ptr: int = 0
    size: int = 0

    def to_descriptor(self) -> Descriptor:
        """A descriptor of that memory, which lies in the peer."""
        return Descriptor((self.ptr, self.size, self.device, None))

    def __call__(self) -> SerializedDescriptor:
        """Itself: Descriptor.metadata() was a method in 2025."""
        return self

    @field_validator("device")
    @classmethod
    def validate_device(cls, v: str) -> str:
        """Makes it small letters. Raises ValueError for a device of another kind."""
        name = v.strip().lower()
        if name != "cpu" and not name.startswith(("cuda", "xpu")):
            raise ValueError(f"Argument `device` must be one of 'cpu', 'cuda:<device_id>', or 'xpu:<device_id>'; it is '{v}'.")
        return name

    @field_validator("ptr")
    @classmethod
    def validate_ptr(cls, v: int) -> int:
        """Raises ValueError for 0."""
        if v == 0:
            raise ValueError("Argument `ptr` cannot be zero (aka `null` or `None`).")
        return v

    @field_validator("size")
    @classmethod
    def validate_size(cls, v: int) -> int:
        """Raises ValueError below 0."""
        if v < 0:
            raise ValueError(f"Argument `size` must be greater than or equal to zero; it is {v}.")
        return v


_MOST_DESCRIPTORS = 131072  # of an operation, unless its connector says otherwise


def _write_out(item: Any, room: int) -> list[Any]:
    """The descriptors that one element of the list stands for: `count` that are alike, if Ropeway peers made it, which
    number descriptors in `ptr`. Raises ValueError when there are more than `room`."""
    if not isinstance(item, dict) or "count" not in item:
        return [item]
    one = {name: value for name, value in item.items() if name != "count"}
    count, first = item["count"], one.get("ptr")
    if type(count) is not int or type(first) is not int or not 1 <= count <= room or not 0 < first < 2**63:
        raise ValueError(f"`count` must be an integer of 1 to {room}, and `ptr` one of 1 to 2**63 - 1.")
    return [{**one, "ptr": first + number} for number in range(count)]


class RdmaMetadata(BaseModel):
    """The passive side of a transfer, as it travels to the peer, for one read or one write. It is a key to the memory:
    send it only to who may read or write it.

    descriptors: the memory, in order; nixl_metadata: how to reach the worker; notification_key: which operation it is;
    operation_kind: an OperationKind's value, 1 to read and 2 to write."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    descriptors: List[SerializedDescriptor] = []
    nixl_metadata: str = ""
    notification_key: str = ""
    operation_kind: int = 0

    @field_validator("descriptors", mode="before")
    @classmethod
    def write_out_descriptors(cls, v: Any) -> Any:
        """Descriptors that are alike stand as one with a `count` in metadata that is for Ropeway peers only; here each
        stands for itself, as programs of upstream's expect. Raises ValueError for a count that no such metadata has."""
        if not isinstance(v, list) or not [item for item in v if isinstance(item, dict) and "count" in item]:
            return v
        found: list[Any] = []
        for item in v:
            found += _write_out(item, _MOST_DESCRIPTORS - len(found))
        return found

    def to_descriptors(self) -> Descriptors:
        """Descriptors of the peer's memory: one, or a list when there are more. Raises ValueError when there is none."""
        if not self.descriptors:
            raise ValueError("Request descriptor must contain at least one serialized descriptor.")
        found = [item.to_descriptor() for item in self.descriptors]
        return found[0] if len(found) == 1 else found

    @field_validator("operation_kind")
    @classmethod
    def validate_operation_kind(cls, v: int) -> int:
        """Raises TypeError outside of 1 to 3, as upstream does."""
        if v < 1 or v > 3:
            raise TypeError(f"Argument `operation_kind` must be an integer value of `OperationKind`; it is {v}.")
        return v


# The name of 2025's first release.
SerializedRequest = RdmaMetadata
