# SPDX-License-Identifier: Apache-2.0
"""python -m ropeway.dropin PROGRAM.py [ARGUMENT...], or -m MODULE: runs a program that imports
dynamo.nixl_connect on Ropeway. Python processes that the program starts, with multiprocessing or as commands,
get Ropeway as well."""

import os
import runpy
import sys

from .nixl_connect import install

_USAGE = "usage: python -m ropeway.dropin PROGRAM.py [ARGUMENT...]\n       python -m ropeway.dropin -m MODULE [ARGUMENT...]"


def _install_in_children() -> None:
    """dynamo has no __init__.py: its parts are found along the path, in the order of the path."""
    shim = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_shim")
    rest = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = shim + os.pathsep + rest if rest else shim
    # multiprocessing hands this path to the processes that it spawns.
    sys.path.insert(1, shim)


def main(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help") or arguments == ["-m"]:
        print(_USAGE, file=sys.stderr)
        raise SystemExit(2)
    install()
    _install_in_children()
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        return
    if not os.path.exists(arguments[0]):
        print(f"ropeway.dropin: can't open '{arguments[0]}': there is no such file", file=sys.stderr)
        raise SystemExit(2)
    sys.argv = arguments
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))
    runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
