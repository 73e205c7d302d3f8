# SPDX-License-Identifier: Apache-2.0
"""The library's log, UCX's in it, as Python's logging has it: the logger "ropeway"."""

from __future__ import annotations

import logging

logger = logging.getLogger("ropeway")
# A library prints nothing by itself, as long as the program sets up no logging.
logger.addHandler(logging.NullHandler())

# By ropeway_log_level_t.
_LEVELS = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)


def level() -> int:
    """The most talkative level of the library whose lines the logger takes now."""
    return max((number for number, name in enumerate(_LEVELS) if logger.isEnabledFor(name)), default=0)


def receive(number: int, text: str) -> None:
    """One line of the library; number: of ropeway_log_level_t."""
    logger.log(_LEVELS[number] if 0 <= number < len(_LEVELS) else logging.WARNING, "%s", text)
