# SPDX-License-Identifier: Apache-2.0
"""Loads the extension when it is first used: UCX takes up to half a second to start on some machines.

UCX is the libucx wheel's, or the one that ROPEWAY_UCX names.
"""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import os
import sys
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["core"]

_LIBRARIES = ("libucs.so.0", "libuct.so.0", "libucp.so.0")


def _preload(directory: str) -> None:
    """Once these are loaded, the extension's own search for them ends at once."""
    import ctypes

    for name in _LIBRARIES:
        ctypes.CDLL(os.path.join(directory, name), ctypes.RTLD_LOCAL)


def _wheel_directory() -> str:
    spec = importlib.util.find_spec("libucx")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("ropeway needs UCX: pip install libucx-cu12, or set ROPEWAY_UCX to the prefix of a UCX")
    return os.path.join(spec.submodule_search_locations[0], "lib")


def _import() -> ModuleType:
    """The extension's own search path covers a libucx that is installed beside this package; this also covers
    one that lies elsewhere (another directory of sys.path, a build directory)."""
    if not sys.platform.startswith("linux"):
        raise ImportError(f"ropeway works on Linux only, and this is {sys.platform}")
    if "t" in sys.abiflags:
        raise ImportError("ropeway needs a Python with a GIL, and this is a free-threaded build")
    prefix = os.environ.get("ROPEWAY_UCX")
    if prefix:
        _preload(os.path.join(prefix, "lib"))
    try:
        return importlib.import_module("ropeway._core")
    except ImportError as error:
        if "libuc" not in str(error):
            raise
    _preload(_wheel_directory())
    return importlib.import_module("ropeway._core")


class _Core:
    """Stands for ropeway._core, and has its names from the first use on."""

    # A signal's handler may come upon its own thread in here, and use this, too.
    _lock = threading.RLock()

    def renew_lock(self) -> None:
        """In the child of a fork, where the thread that held it is not."""
        type(self)._lock = threading.RLock()

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
