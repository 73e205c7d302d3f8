# SPDX-License-Identifier: Apache-2.0
"""Imported for its effect: puts the built Python package before others, here and in processes that are started from here;
skips the test where tools/interop-site did not make it. ON_ROPEWAY runs a program on the drop-in."""
import os
import sys
from pathlib import Path

SITE = Path(__file__).resolve().parents[2] / "build/interop-site"
if not (SITE / "ropeway").is_dir():
    print(f"skipped: there is no {SITE}; tools/interop-site makes it", file=sys.stderr)
    sys.exit(77)
sys.path.insert(0, str(SITE))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(SITE), os.environ.get("PYTHONPATH")]))

ON_ROPEWAY = ["sh", "-c", 'exec "$1" -m ropeway.dropin "$2"', "sh"]


def modules():
    """The stock module and the drop-in, side by side in this process."""
    import dynamo.nixl_connect as stock

    import ropeway.nixl_connect as ours

    return stock, ours
