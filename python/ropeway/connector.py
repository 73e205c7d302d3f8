# SPDX-License-Identifier: Apache-2.0
"""Connectors: a worker's presence."""

from __future__ import annotations

from collections.abc import Mapping

from . import _log
from ._load import core as _core
from ._views import View, prepare, refuse
from .memory import Descriptor, Device, Registration, views_of
from .operation import OFFER, Operation, OperationKind, seconds_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn, TypeVar

    Data = TypeVar("Data")
    Metadata = str | bytes | Mapping[str, Any]
else:
    Any = Data = object
    NoReturn = None
    Metadata = str | bytes | Mapping

_INHERIT = -1
_LONGEST = 4_000_000  # seconds; milliseconds in 32 bits


def _ms(seconds: float | None) -> int:
    """For an option of an operation: None takes the connector's."""
    return _INHERIT if seconds is None else _limit_ms(seconds)


def _limit_ms(seconds: float) -> int:
    number = seconds_of("a time limit", seconds)
    if not 0 <= number < _LONGEST:
        raise ValueError(f"a time limit is {seconds} s; it must be from 0 (no limit) up to {_LONGEST} s")
    return max(1, round(number * 1000)) if number else 0


_GIVEN = "pass what the owner's operation.metadata gave"


def metadata_text(metadata: Metadata) -> str:
    """RDMA metadata as the library reads it: JSON text, its bytes, or the object it stands for. Raises ArgumentError for
    anything else."""
    dump = getattr(metadata, "model_dump_json", None)
    try:
        if isinstance(metadata, str):
            text = metadata
        elif isinstance(metadata, (bytes, bytearray, memoryview)):
            text = str(metadata, "utf-8")
        elif dump is not None:
            text = dump()
        elif isinstance(metadata, Mapping):
            import json

            text = json.dumps(dict(metadata))
        else:
            kind = type(metadata).__name__
            raise refuse(f"the metadata is a {kind}; it must be str, bytes, a dict or RdmaMetadata: {_GIVEN}")
        if not text.isascii():
            text.encode()
    except (UnicodeError, TypeError) as error:
        raise refuse(f"the metadata is no text, or does not stand for one ({error}); {_GIVEN}") from None
    return text


def _is_offer(text: str) -> bool:
    """Whether that is what offer() gave."""
    return f'"{OFFER}"' in text


def _is_text(metadata: Any) -> bool:
    """Whether that can be metadata, and can't be memory."""
    return isinstance(metadata, (str, Mapping)) or hasattr(metadata, "model_dump_json")


def _ordered(metadata: Any, data: Any, is_read: bool) -> tuple[str, Any]:
    """The metadata's text and the memory, though they may have changed places. Bytes can be both; they are metadata where
    that belongs, or where they can't be memory to fill."""
    is_certain = _is_text(metadata) or (isinstance(metadata, bytes) and is_read)
    if not is_certain and (_is_text(data) or (isinstance(data, bytes) and is_read)):
        metadata, data = data, metadata
    text = metadata_text(metadata)
    if _is_offer(text):
        raise refuse("this is the metadata of offer(); the peer uses fetch() with it")
    return text, data


class Connector:
    """Offers memory to other workers, and reads and writes theirs. Any thread may use it, and any event loop.

    name: 1 to 255 bytes; by default made of host, process and a random number.
    stall: seconds without a byte after which a transfer fails; 0: never.
    deadline: seconds that an operation may live by default; 0: no limit.
    transports, net_devices: as UCX_TLS and UCX_NET_DEVICES.
    interop: whether stock NIXL peers may use what this connector offers;
    reading and writing what they offer works in any case.
    The library's log goes to logging.getLogger("ropeway"), by the level that it has when the connector is made.
    options: the others of ropeway_connector_options_t, by their names in <ropeway.h>.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        stall: float | None = None,
        deadline: float | None = None,
        transports: str | None = None,
        net_devices: str | None = None,
        interop: bool = False,
        **options: int | str,
    ) -> None:
        known = _core.OPTIONS.keys() - _PARAMETERS
        unknown = options.keys() - known
        if unknown:
            raise TypeError(f"Connector() has no option '{min(unknown)}'; it has {', '.join(sorted(known))}")
        settings: dict[str, Any] = dict(options, name=name, transports=transports, net_devices=net_devices)
        if not isinstance(interop, int):
            raise TypeError(f"interop is {interop!r}; it must be a bool")
        settings["interop"] = int(interop)
        settings["log_level"] = _log.level()
        self._interop = interop
        settings["stall_ms"] = None if stall is None else _limit_ms(stall)
        settings["deadline_ms"] = None if deadline is None else _limit_ms(deadline)
        self._core = _core.Connector(settings)
        self._max_pieces = int(options.get("max_descriptors") or _core.OPTIONS["max_descriptors"])
        self._name = self._core.name

    @property
    def name(self) -> str:
        return self._name

    @property
    def is_closed(self) -> bool:
        return self._core.closed

    # ---- operations ----

    def _start(self, kind: OperationKind, views: list[View], metadata: str | None, limits: tuple[int, int],
               integrity: bool, prefix: bool = False, trace: str | None = None) -> _core.Operation:  # fmt: skip
        """limits: deadline and stall in milliseconds."""
        is_target = kind in (OperationKind.WRITABLE, OperationKind.READ)
        is_offer = kind in (OperationKind.READABLE, OperationKind.WRITABLE)
        # Stock peers know no pieces, so an offer that is for them too has none.
        pieces = 0 if self._interop and is_offer else self._max_pieces
        descriptors, owners, back = prepare(views, is_target, pieces, is_offer)
        flags = (_core.INTEGRITY if integrity else 0) | (_core.PREFIX if prefix else 0)
        return self._core.start(kind, descriptors, owners, back, metadata, *limits, flags, trace)

    def create_readable(self, data: Data, *, deadline: float | None = None, stall: float | None = None,
                        integrity: bool = False) -> Operation[Data]:  # fmt: skip
        """Offers memory for one read by one peer; data: one object or a list of them. Its metadata goes to the
        peer. Memory is read when the peer comes, except that a strided view of short runs is copied now."""
        core = self._start(OperationKind.READABLE, views_of(data), None, (_ms(deadline), _ms(stall)), integrity)
        return Operation(core, data)

    def create_writable(self, data: Data, *, deadline: float | None = None, stall: float | None = None,
                        integrity: bool = False) -> Operation[Data]:  # fmt: skip
        """Offers memory for one write by one peer."""
        core = self._start(OperationKind.WRITABLE, views_of(data), None, (_ms(deadline), _ms(stall)), integrity)
        return Operation(core, data)

    def begin_read(self, metadata: Metadata, data: Data, *, deadline: float | None = None,
                   stall: float | None = None, integrity: bool = False, prefix: bool = False,
                   trace: str | None = None) -> Operation[Data]:  # fmt: skip
        """Fetches a readable operation's bytes into data, which must match it in number and sizes. metadata and data may
        change places. prefix: data may be fewer and smaller than what is offered; the rest is not fetched, and the
        owner's progress tells how many bytes were. Raises ArgumentError past the offer. trace: 1 to 512 printable ASCII
        characters for the owner's `trace`, such as a W3C traceparent."""
        text, data = _ordered(metadata, data, True)
        core = self._start(OperationKind.READ, views_of(data), text, (_ms(deadline), _ms(stall)), integrity, prefix, trace)
        return Operation(core, data)

    def begin_write(self, data: Data, metadata: Metadata, *, deadline: float | None = None,
                    stall: float | None = None, integrity: bool = False, prefix: bool = False,
                    trace: str | None = None) -> Operation[Data]:  # fmt: skip
        """Fills a writable operation's memory from data, which must match it in number and sizes. data and metadata may
        change places, unless both are bytes. prefix, trace: as in begin_read()."""
        text, data = _ordered(metadata, data, False)
        core = self._start(OperationKind.WRITE, views_of(data), text, (_ms(deadline), _ms(stall)), integrity, prefix, trace)
        return Operation(core, data)

    # ---- tensors with their types and shapes ----

    def offer(self, data: Any, *, deadline: float | None = None, integrity: bool = False) -> Operation[Any]:
        """Offers tensors, arrays and buffers for one fetch: types and shapes travel in the metadata. data: one, or a list,
        tuple or dict of them and of None, bool, int, float and str, nested at will; it arrives as it left (an OrderedDict as a
        dict, a named tuple as a tuple). Raises ArgumentError, with its place in data, for what can't be offered."""
        from . import tensors

        form, views = tensors.take_apart(data)
        core = self._start(OperationKind.READABLE, views, None, (_ms(deadline), _INHERIT), integrity)
        return tensors.Offer(core, data, form)

    def fetch(self, metadata: Metadata, *, library: str | None = None, device: str = "cpu",
              max_bytes: int | None = None, deadline: float | None = None) -> Operation[Any]:  # fmt: skip
        """Fetches what offer() offered; `await` gives equal tensors, of the offering side's library when it is
        installed here, or of library ("torch" or "numpy"). max_bytes: refuses an offer of more; without it the
        peer decides how much memory is allocated here."""
        from . import tensors

        plan = tensors.plan(metadata_text(metadata), max_bytes)
        items = tensors.allocate(plan, library, device)
        core = self._start(OperationKind.READ, views_of(items), plan.rdma, (_ms(deadline), _INHERIT), False)
        return Operation(core, tensors.assemble(plan, items))

    # ---- the rest ----

    def register(self, data: Any) -> Registration:
        """Registers memory ahead of the operations that use it, until the result is released or dropped. It pays
        over RDMA, and changes nothing else. data: one object. Raises RopewayError when the memory can't be
        registered, such as memory of a GPU that UCX does not know."""
        return Registration(self._core, data if isinstance(data, Descriptor) else Descriptor(data))

    def stats(self) -> dict[str, int]:
        """ropeway_stats_t by names: counters since the connector was made, and gauges."""
        return self._core.stats()

    def route(self, metadata: Metadata, device: str | Device = "cpu") -> dict[str, Any]:
        """How a transfer with the peer of this metadata, to or from memory on device, would go, and why: the members of
        ropeway_connector_route(3). Nothing is begun, and the metadata can still be used; takes that of offer(), too. Raises
        ArgumentError for what is no metadata; that there is no way is told by "usable" and "error"."""
        import json

        place, text = Device(device), metadata_text(metadata)
        if _is_offer(text):
            from .tensors import plan

            text = plan(text, None).rdma
        found: dict[str, Any] = json.loads(self._core.route(text, place.kind, place.id))
        return found

    def close(self) -> None:
        """Cancels what is live, tells the peers, and waits for quiet."""
        self._core.close()

    def __enter__(self) -> Connector:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    async def __aenter__(self) -> Connector:
        return self

    async def __aexit__(self, *exception: object) -> None:
        """close(), while asyncio's or uvloop's loop goes on; in another library's, and in a coroutine that is closed, it
        blocks."""
        from ._loops import may_await, running_loop

        loop = running_loop() if may_await(exception) else None
        if loop is None:
            self.close()
        else:
            await loop.run_in_executor(None, self.close)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Connector is this process's presence; it can't be pickled or copied. Make one in each process that needs it"
        )

    def __repr__(self) -> str:
        return f"<ropeway Connector '{self._name}'{', closed' if self.is_closed else ''}>"


# The others have parameters, in units of Python's own; logging decides on the level.
_PARAMETERS = {"name", "stall_ms", "deadline_ms", "transports", "net_devices", "interop", "log_level"}
