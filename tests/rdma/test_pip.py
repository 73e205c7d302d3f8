# SPDX-License-Identifier: Apache-2.0
"""RDMA with nothing but the wheels of ropeway and nixl-cu12: no UCX with plain names is here, and what nixl's brings along
finds no driver by itself. In Python, and in the C library and the command with an environment that has the wheel. Runs
in the machine of tools/lab by the Python of tools/interop-env, with ROPEWAY naming the command."""
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import report
import test_files

SITE = Path(__file__).resolve().parents[2] / "build/interop-site"
LIMIT = 100  # seconds
LIBRARY = "nixl_cu12.libs/libucp-"
WHY = "it is in the nixl wheel; it was given this system's libibverbs"

PROGRAM = """
import asyncio, os, sys, ropeway

async def main():
    give, take = bytearray(os.urandom(3_000_001)), bytearray(3_000_001)
    owner = ropeway.Connector(transports="rc,self", net_devices="rxe1:1")
    reader = ropeway.Connector(transports="rc,self", net_devices="rxe0:1")
    with owner, reader, owner.create_readable(give) as offer:
        async with reader.begin_read(offer.metadata, take) as read:
            await read
            print(read.path)
    assert give == take

asyncio.run(main())
assert "torch" not in sys.modules and "nixl" not in sys.modules
for line in open("/proc/self/maps"):
    if line.endswith(".so\\n") or ".so." in line:
        print(line.split()[-1])
"""


class Python(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "temporary").mkdir()
        for name in ("ropeway", "ropeway.libs"):  # and not the libucx beside them
            (self.folder / name).symlink_to(SITE / name)

    def test_python_moves_bytes_and_ends_well(self) -> None:
        done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=LIMIT,
                              env=dict(os.environ, PYTHONPATH=str(self.folder), TMPDIR=str(self.folder / "temporary")))  # fmt: skip
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        path, *mapped = done.stdout.splitlines()
        self.assertIn("rc_verbs/rxe0:1", path)
        mapped = sorted(set(mapped))
        self.assertTrue(any(LIBRARY in name for name in mapped), mapped)
        # One library of verbs, which is the system's: its drivers need that.
        self.assertEqual(len([name for name in mapped if "libibverbs" in name and "rdmav" not in name]), 1, mapped)
        self.assertFalse(any("libibverbs-" in name or "libnl-3-" in name for name in mapped), mapped)
        self.assertEqual(list((self.folder / "temporary").iterdir()), [])
        print("over", path.split()[0])


class Command(test_files.Files):
    """With `ropeway get` and `ropeway put` out of test_files."""

    def test_info_tells_where_its_ucx_is_from(self) -> None:
        done = subprocess.run([os.environ["ROPEWAY"], "info", "--json"], capture_output=True, text=True, timeout=LIMIT)
        ucx = json.loads(done.stdout)["ucx"]
        self.assertIn(LIBRARY, ucx["library"])
        self.assertEqual(ucx["why"], WHY)


if __name__ == "__main__":
    report.main()
