# SPDX-License-Identifier: Apache-2.0
"""What ropeway raises: RopewayError and four kinds of it, each with a code and a sentence.

    RopewayError (RuntimeError)
        ArgumentError (ValueError)         what was asked for makes no sense, or does not fit the peer's side
        PeerError (ConnectionError)        the peer can't be reached, broke, or refused
        OperationCancelled                 the operation was cancelled, by either side
        OperationTimeout (TimeoutError)    a wait, a deadline or the stall limit ran out
"""

from ._error_list import TEXTS
from ._error_list import ErrorCode as ErrorCode


class RopewayError(RuntimeError):
    """code: an ErrorCode. str() is the sentence."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = ErrorCode(code)

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return type(self), (int(self.code), str(self))


class ArgumentError(RopewayError, ValueError):
    """What was asked for makes no sense, or does not fit the peer's side."""


class PeerError(RopewayError, ConnectionError):
    """The peer can't be reached, broke, or refused."""


class OperationCancelled(RopewayError):
    """The operation was cancelled, by either side."""


class OperationTimeout(RopewayError, TimeoutError):
    """A wait (the operation goes on), a deadline or the stall limit ran out."""


_KINDS: dict[type[RopewayError], str] = {
    ArgumentError: "INVALID_ARGUMENT NULL_POINTER EMPTY_LIST TOO_LARGE KIND_MISMATCH COUNT_MISMATCH SIZE_MISMATCH METADATA",
    PeerError: "NO_PATH KEY_UNKNOWN KEY_USED KEY_FINISHED UNREACHABLE PEER_LOST PEER_CLOSED PROTOCOL VERSION",
    OperationCancelled: "CANCELLED",
    OperationTimeout: "STALLED DEADLINE TIMEOUT",
}
_KIND_OF = {ErrorCode[name]: kind for kind, names in _KINDS.items() for name in names.split()}


def make(code: int, sentence: str) -> RopewayError:
    """The exception for an error of the library."""
    return _KIND_OF.get(ErrorCode(code), RopewayError)(code, sentence or TEXTS[code])
