# SPDX-License-Identifier: Apache-2.0
"""What travels between workers; the same JSON as upstream's."""

from __future__ import annotations

import base64
import zlib
from typing import TYPE_CHECKING, List, Union

from pydantic import BaseModel, ConfigDict, field_validator

if TYPE_CHECKING:
    from ._descriptor import Descriptor

_MAGIC = b"nixlSerDes|"
_MAX_AGENT = 64 << 20


class SerializedDescriptor(BaseModel):
    """One descriptor of a passive operation."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    device: str = "cpu"
    ptr: int = 0
    size: int = 0

    def to_descriptor(self) -> Descriptor:
        from ._descriptor import Descriptor

        return Descriptor(data=(self.ptr, self.size, self.device, None))

    @field_validator("device")
    @classmethod
    def validate_device(cls, v: str) -> str:
        name = v.strip().lower()
        if name != "cpu" and not name.startswith(("cuda", "xpu")):
            raise ValueError(f"Argument `device` must be one of 'cpu', 'cuda:<device_id>', or 'xpu:<device_id>'; it is '{v}'.")
        return name

    @field_validator("ptr")
    @classmethod
    def validate_ptr(cls, v: int) -> int:
        if v == 0:
            raise ValueError("Argument `ptr` cannot be zero (aka `null` or `None`).")
        return v

    @field_validator("size")
    @classmethod
    def validate_size(cls, v: int) -> int:
        if v < 0:
            raise ValueError(f"Argument `size` must be greater than or equal to zero; it is {v}.")
        return v


class RdmaMetadata(BaseModel):
    """The passive side of a transfer: send it to the peer, for one read or one write."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    descriptors: List[SerializedDescriptor] = []
    nixl_metadata: str = ""
    notification_key: str = ""
    operation_kind: int = 0

    def to_descriptors(self) -> Union[Descriptor, list[Descriptor]]:
        if not self.descriptors:
            raise ValueError("Request descriptor must contain at least one serialized descriptor.")
        found = [item.to_descriptor() for item in self.descriptors]
        return found[0] if len(found) == 1 else found

    @field_validator("operation_kind")
    @classmethod
    def validate_operation_kind(cls, v: int) -> int:
        if v < 1 or v > 3:
            raise TypeError(f"Argument `operation_kind` must be an integer value of `OperationKind`; it is {v}.")
        return v


def unpack_agent(nixl_metadata: Union[bytes, str]) -> bytes:
    """The agent's metadata, out of the string that travels ("b64:" and base64, or hexadecimal, as older peers
    send it)."""
    if isinstance(nixl_metadata, bytes):
        return nixl_metadata
    if nixl_metadata.startswith("b64:"):
        packed = base64.b64decode(nixl_metadata[4:], validate=True)
    else:
        packed = bytes.fromhex(nixl_metadata)
    inflate = zlib.decompressobj()
    agent = inflate.decompress(packed, _MAX_AGENT)
    if not inflate.eof:
        raise ValueError(f"Argument `nixl_metadata` is cut short, or longer than {_MAX_AGENT} bytes unpacked.")
    return agent


def agent_name(agent: bytes) -> str:
    """The first record of the agent's metadata."""
    start = len(_MAGIC) + len(b"Agent") + 8
    if not agent.startswith(_MAGIC + b"Agent") or len(agent) < start:
        raise ValueError("Argument `nixl_metadata` is not the metadata of an agent.")
    length = int.from_bytes(agent[start - 8 : start], "little")
    if agent[start + length : start + length + 1] != b"|":
        raise ValueError("Argument `nixl_metadata` is not the metadata of an agent.")
    return agent[start : start + length].decode()
