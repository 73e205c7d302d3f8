# SPDX-License-Identifier: Apache-2.0
"""The library's log, UCX's in it, as Python's logging has it: the logger "ropeway"."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging

# logging's, by ropeway_log_level_t.
_LEVELS = (40, 30, 20, 10)
_WARNING = 1


def _logger() -> "logging.Logger | None":
    """The logger, once a program has imported logging or there is something to log: that import takes longer than all of this
    package's. None amid that very import, which this thread may be in."""
    import logging

    if not hasattr(logging, "NullHandler"):
        return None
    logger = logging.getLogger("ropeway")
    if not logger.handlers:
        # A library prints nothing by itself, as long as the program sets up no logging.
        logger.addHandler(logging.NullHandler())
    return logger


def level() -> int:
    """The most talkative level of the library whose lines the logger takes now."""
    logger = _logger() if "logging" in sys.modules else None
    if logger is None:
        return _WARNING  # as a program has it that sets up none
    return max((number for number, name in enumerate(_LEVELS) if logger.isEnabledFor(name)), default=0)


def receive(number: int, text: str) -> None:
    """One line of the library; number: of ropeway_log_level_t."""
    if (logger := _logger()) is not None:
        logger.log(_LEVELS[number if 0 <= number < len(_LEVELS) else _WARNING], "%s", text)
