# SPDX-License-Identifier: Apache-2.0
"""A worker's name and presence: Worker (what a Connector is besides its methods for transfers), the Connection that
carries its operations, and Remote, another worker as its metadata names it.

The format of the metadata is docs/wire.md's; release 1.6.1 of ai-dynamo-runtime is where names and checks are from.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import socket
import threading
import uuid
import zlib
from typing import Any, NoReturn, Optional, Union

from .. import connector as _ropeway

logger = logging.getLogger("ropeway.nixl_connect")

_MAGIC = b"nixlSerDes|"
_MAX_AGENT = 64 << 20  # bytes of an agent's metadata; the agent of 1,000 registrations needs 200 kB


# Held while a worker makes its connection. Several event loops may ask for that at once, so it is none of asyncio's;
# and a signal's handler may, amid its own thread's call.
_lock = threading.RLock()


def _renew_lock() -> None:
    """In the child of a fork, where the thread that held it is not."""
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_lock)


class Worker:
    """A worker's name, and its connection, which is made when it is first needed."""

    def __init__(self, worker_id: Optional[str], options: dict[str, Any]) -> None:
        """worker_id: its name; None: a new UUID. options: for ropeway.Connector."""
        if worker_id is None:
            worker_id = uuid.uuid4().hex
        if not isinstance(worker_id, str) or not worker_id:
            raise TypeError("Argument `worker_id` must be a non-empty `str` or `None`.")
        self._worker_id = worker_id
        self._options = options
        self._hostname = socket.gethostname()
        self._connection_count = 0
        self._shared_connection: Optional[Connection] = None

    @property
    def name(self) -> str:
        """The worker's name, as it was given or made. Two connectors of one name are equal."""
        return self._worker_id

    @property
    def hostname(self) -> str:
        """This host's name."""
        return self._hostname

    @property
    def options(self) -> dict[str, Any]:
        """What the ropeway.Connector of its connection is made with. Not in upstream."""
        return dict(self._options)

    @property
    def connection(self) -> Connection:
        """The worker's one connection, made when it is first asked for. In the child of a fork it is another one, if no
        connector had been made before the fork. Raises RopewayError when there can be none, as otherwise in such a child.
        Not in upstream, where it is awaited from `_create_connection()`."""
        connection = self._shared_connection
        if connection is not None and connection.process == os.getpid():
            return connection
        with _lock:
            connection = self._shared_connection
            if connection is None or connection.process != os.getpid():
                self._connection_count += 1
                connection = self._shared_connection = Connection(self, self._connection_count)
        return connection

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Worker) and self._worker_id == other.name

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> NoReturn:
        raise TypeError("a connector belongs to its process; it can't be pickled or copied. Make one in each that needs it")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(worker_id='{self._worker_id}', hostname={self._hostname})"

    def __str__(self) -> str:
        return self._worker_id


class Connection:
    """A worker's presence in this process, for all of its operations."""

    def __init__(self, connector: Worker, number: int) -> None:
        """number: makes the name unique, 1 or more. Raises TypeError and ValueError for other arguments, and
        RopewayError when the operating system has no room for a connection."""
        if not isinstance(connector, Worker):
            raise TypeError("Argument `connector` must be `Connector`.")
        if not isinstance(number, int):
            raise TypeError("Argument `number` must be of type `int`.")
        if number <= 0:
            raise ValueError(f"Argument `number` must be greater than 0; it is {number}.")
        self._connector = connector
        self._name = f"{connector.name}-{number}"
        self._process = os.getpid()
        self._native = _ropeway.Connector(name=self._name, **connector.options)
        self._remote_refs: dict[str, int] = {}
        logger.debug("Created %r", self)

    @property
    def connector(self) -> Worker:
        """The Connector that it belongs to."""
        return self._connector

    @property
    def name(self) -> str:
        """The connector's name and the number, as in "worker-1". Peers see it as the agent's name."""
        return self._name

    @property
    def metadata(self) -> bytes:
        """How to reach this agent, in NIXL's format, with no memory in it. Upstream's holds all registered memory."""
        with self._native.create_readable(b"") as offer:
            return unpack_agent(json.loads(offer.metadata)["nixl_metadata"])

    @property
    def native(self) -> _ropeway.Connector:
        """The connector of the package ropeway that does the work. Not in upstream."""
        return self._native

    @property
    def process(self) -> int:
        """The number of the process that made it: in another one, such as a fork's child, it can't be used. Not in
        upstream."""
        return self._process

    async def initialize(self) -> None:
        """Does nothing: a connection is ready when it is made."""

    def stats(self) -> dict[str, int]:
        """Counters since the connection was made, and gauges, by the names of ropeway_stats_t in <ropeway.h>. Not in
        upstream."""
        return self._native.stats()

    def acquire_remote_ref(self, name: str) -> None:
        """Counts one more user of the remote agent of that name. For programs that count on it: here connections to
        agents are shared and kept whatever the count."""
        self._remote_refs[name] = self._remote_refs.get(name, 0) + 1

    def release_remote_ref(self, name: str) -> bool:
        """Counts one user less; whether that was the last one."""
        left = self._remote_refs.pop(name, 0) - 1
        if left > 0:
            self._remote_refs[name] = left
        return left == 0

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Connection belongs to its process; it can't be pickled or copied. Send an operation's metadata()")

    def __repr__(self) -> str:
        return f"Connection(is_initialized=True, name='{self._name}')"

    def __str__(self) -> str:
        return self._name


class Remote:
    """Another worker, as its metadata names it."""

    def __init__(self, connection: Union[Connection, Worker], nixl_metadata: Union[bytes, str]) -> None:
        """nixl_metadata: an agent's metadata, as it is (bytes) or as RdmaMetadata carries it (str). Raises ValueError
        when it is not that."""
        self._connection = connection_of(connection)
        if not isinstance(nixl_metadata, (bytes, str)):
            raise TypeError("Argument `nixl_metadata` must be `bytes` or `str`.")
        if not nixl_metadata:
            raise ValueError("Argument `nixl_metadata` cannot be empty.")
        self._name = agent_name(unpack_agent(nixl_metadata))
        self._nixl_metadata = nixl_metadata

    @property
    def connection(self) -> Connection:
        """The local connection that reaches it."""
        return self._connection

    @property
    def connector(self) -> Worker:
        """The local connector, as in 2025."""
        return self._connection.connector

    @property
    def name(self) -> str:
        """The name of the agent that made the metadata."""
        return self._name

    @property
    def nixl_metadata(self) -> str:
        """The agent's metadata, as RdmaMetadata carries it. Not in upstream."""
        metadata = self._nixl_metadata
        return metadata if isinstance(metadata, str) else "b64:" + base64.b64encode(zlib.compress(metadata)).decode()

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is given back: connections to workers are shared and kept."""

    def __repr__(self) -> str:
        return f"Remote(name={self._name}, connection={self._connection.name})"

    def __str__(self) -> str:
        return self._name


def connection_of(connection: Any) -> Connection:
    """A connection, or the one of a connector: programs of 2025 pass connectors."""
    if isinstance(connection, Worker):
        return connection.connection
    if not isinstance(connection, Connection):
        raise TypeError("Argument `connection` must be `Connection`.")
    return connection


# ---- an agent's metadata ----


def unpack_agent(nixl_metadata: Union[bytes, str]) -> bytes:
    """The agent's metadata, out of the string that travels ("b64:" and base64, or hexadecimal, as peers of 2025 send
    it). Raises ValueError, or zlib.error, when it is something else."""
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
    """The first record of the agent's metadata. Raises ValueError when it is not that."""
    start = len(_MAGIC) + len(b"Agent") + 8
    if not agent.startswith(_MAGIC + b"Agent") or len(agent) < start:
        raise ValueError("Argument `nixl_metadata` is not the metadata of an agent.")
    length = int.from_bytes(agent[start - 8 : start], "little")
    if agent[start + length : start + length + 1] != b"|":
        raise ValueError("Argument `nixl_metadata` is not the metadata of an agent.")
    return agent[start : start + length].decode()
