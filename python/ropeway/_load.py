# SPDX-License-Identifier: Apache-2.0
"""Loads the extension when it is first used. UCX is loaded later still, when a connector needs it: that takes up to
half a second on some machines. The environment's ROPEWAY_UCX chooses it, else it is the one of the libucx wheel, of the
nixl wheel, or of the system, whichever is there and will do.

Half of what a short program takes until its first bytes are there goes into imports. So this package imports what every
program needs, and the rest where it is used; typing is for checkers only, who take the name TYPE_CHECKING for true.
Whoever evaluates the annotations of what is public finds simpler types: object where typing has Any or a variable.
"""

from __future__ import annotations

import atexit
import os
import sys
from _thread import RLock  # threading's

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

__all__ = ["core"]


def _import() -> ModuleType:
    if not sys.platform.startswith("linux"):
        raise ImportError(f"ropeway works on Linux only, and this is {sys.platform}")
    if "t" in sys.abiflags:
        raise ImportError("ropeway needs a Python with a GIL, and this is a free-threaded build")
    __import__("ropeway._core")  # by `from`, the package would give what stands for it
    module = sys.modules["ropeway._core"]
    # Where the wheels of libucx and nixl may lie.
    module.set_packages([os.fsencode(path) for path in sys.path if os.path.isabs(path) and os.path.isdir(path)])
    return module


class _Core:
    """Stands for ropeway._core, and has its names from the first use on."""

    # A signal's handler may come upon its own thread in here, and use this, too.
    _lock = RLock()

    def renew_lock(self) -> None:
        """In the child of a fork, where the thread that held it is not."""
        type(self)._lock = RLock()

    def __getattr__(self, name: str) -> Any:
        with self._lock:
            if "Connector" not in self.__dict__:
                module = _import()
                from ._log import receive
                from .errors import make

                module.set_make_error(make)
                module.set_log(receive)
                # Before Python takes itself apart: live operations end, the threads stop.
                atexit.register(module.shutdown)
                self.__dict__.update(vars(module))
        try:
            return self.__dict__[name]
        except KeyError:
            raise AttributeError(f"ropeway._core has no '{name}'") from None


if TYPE_CHECKING:
    from . import _core as core
else:
    core = _Core()
    os.register_at_fork(after_in_child=core.renew_lock)
