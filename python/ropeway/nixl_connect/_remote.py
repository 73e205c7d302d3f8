# SPDX-License-Identifier: Apache-2.0
"""Remote: the other worker, as its metadata names it."""

from __future__ import annotations

from typing import Optional, Union

from ._connection import Connection, check_connection
from ._metadata import agent_name, unpack_agent


class Remote:
    """A remote worker, as its metadata names it."""

    def __init__(self, connection: Connection, nixl_metadata: Union[bytes, str]) -> None:
        check_connection(connection)
        if not isinstance(nixl_metadata, (bytes, str)):
            raise TypeError("Argument `nixl_metadata` must be `bytes` or `str`.")
        if not nixl_metadata:
            raise ValueError("Argument `nixl_metadata` cannot be empty.")
        self._connection = connection
        self._nixl_metadata = nixl_metadata
        self._name: Optional[str] = agent_name(unpack_agent(nixl_metadata))

    @classmethod
    def _unread(cls, connection: Connection, nixl_metadata: str) -> Remote:
        """For an operation, whose begin reads the metadata itself."""
        if not nixl_metadata:
            raise ValueError("Argument `nixl_metadata` cannot be empty.")
        self = cls.__new__(cls)
        self._connection = connection
        self._nixl_metadata = nixl_metadata
        self._name = None
        return self

    @property
    def connection(self) -> Connection:
        return self._connection

    @property
    def name(self) -> str:
        if self._name is None:
            self._name = agent_name(unpack_agent(self._nixl_metadata))
        return self._name

    def _release(self) -> None:
        """Connections to workers are shared and kept: there is nothing to give back."""

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *exception: object) -> None:
        self._release()

    def __repr__(self) -> str:
        return f"Remote(name={self.name}, connection={self._connection.name})"

    def __str__(self) -> str:
        return self.name
