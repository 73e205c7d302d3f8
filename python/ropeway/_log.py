# SPDX-License-Identifier: Apache-2.0
"""The library's log, UCX's in it, as Python's logging has it: the logger "ropeway"."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from logging import Logger

# logging's, by ropeway_log_level_t.
_LEVELS = (40, 30, 20, 10)
_WARNING = 1


def _logger() -> Logger | None:
    """None as long as the program has not imported logging, and so can't have set it up; its import takes longer than that
    of all of this package, and a line may come at any time, amid another import even."""
    logging = sys.modules.get("logging")
    if logging is None or not hasattr(logging, "NullHandler"):
        return None
    logger: Logger = logging.getLogger("ropeway")
    if not logger.handlers:
        # A library prints nothing by itself, as long as the program sets up no logging.
        logger.addHandler(logging.NullHandler())
    return logger


def level() -> int:
    """The most talkative level of the library whose lines the logger takes now."""
    logger = _logger()
    if logger is None:
        return _WARNING  # as it is where nothing is set up, for those who do so later
    return max((number for number, name in enumerate(_LEVELS) if logger.isEnabledFor(name)), default=0)


def receive(number: int, text: str) -> None:
    """One line of the library; number: of ropeway_log_level_t."""
    if (logger := _logger()) is not None:
        logger.log(_LEVELS[number if 0 <= number < len(_LEVELS) else _WARNING], "%s", text)


_logger()  # from now on it is known to what sets up all loggers that there are
