# SPDX-License-Identifier: Apache-2.0
"""python -m ropeway.dropin PROGRAM.py [ARGUMENT...], or -m MODULE: runs a program that imports
dynamo.nixl_connect on Ropeway."""

import os
import runpy
import sys

from .nixl_connect import install

_USAGE = "usage: python -m ropeway.dropin PROGRAM.py [ARGUMENT...]\n       python -m ropeway.dropin -m MODULE [ARGUMENT...]"


def main(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help") or arguments == ["-m"]:
        print(_USAGE, file=sys.stderr)
        raise SystemExit(2)
    install()
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        sys.path.insert(0, os.getcwd())
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path.insert(0, os.path.dirname(os.path.abspath(arguments[0])))
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
