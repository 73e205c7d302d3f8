# SPDX-License-Identifier: Apache-2.0
"""Devices and the enumerations, with upstream's values and string forms."""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from typing import Union


class DeviceKind(IntEnum):
    UNSPECIFIED = 0
    HOST = 1
    CUDA = 2
    XPU = 3

    def __str__(self) -> str:
        return {1: "cpu", 2: "cuda", 3: "xpu"}.get(int(self), "<invalid>")

    @property
    def nixl_mem_type(self) -> str:
        """NIXL's name of the memory."""
        return "DRAM" if self is DeviceKind.HOST else "VRAM"


class OperationKind(IntEnum):
    UNSPECIFIED = 0
    READ = 1
    WRITE = 2

    def __str__(self) -> str:
        return self.name if self else "<invalid>"


class OperationStatus(IntEnum):
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
    """metadata: "cpu", "host", "cuda", "cuda:N", "gpu", "gpu:N", "xpu", "xpu:N", or (DeviceKind, int)."""

    def __init__(self, metadata: Union[str, tuple[DeviceKind, int]]) -> None:
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
        return self._device_id

    @property
    def kind(self) -> DeviceKind:
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
