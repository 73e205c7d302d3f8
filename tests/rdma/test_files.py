# SPDX-License-Identifier: Apache-2.0
"""`ropeway serve` and its clients where there is an RDMA network. What is offered and what is uploaded is mapped for
reading only, so no device takes it. Runs in the machine of tools/lab, with ROPEWAY naming the command."""
import json
import os
import random
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import Any

import report

LIMIT = 100  # seconds
SIZE = 9_000_001  # some chunks
OURS, THEIRS = dict(UCX_TLS="rc,self", UCX_NET_DEVICES="rxe0:1"), dict(UCX_TLS="rc,self", UCX_NET_DEVICES="rxe1:1")
# A PID namespace of its own makes a process one on another host, to its peers.
ELSEWHERE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


class Files(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.content = random.Random(7).randbytes(SIZE)
        for name in ("offered", "given"):
            (self.folder / name).write_bytes(self.content)
        (self.folder / "taken").mkdir()
        server = subprocess.Popen(
            [*ELSEWHERE, os.environ["ROPEWAY"], "serve", "--listen", "127.0.0.1:0", "--writable", self.folder / "taken",
             self.folder / "offered"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=dict(os.environ, **THEIRS),
        )  # fmt: skip
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        assert server.stdout is not None
        self.addCleanup(server.stdout.close)
        self.url = server.stdout.readline().split()[-1]

    def move(self, *arguments: str | Path) -> Any:
        done = subprocess.run([os.environ["ROPEWAY"], *arguments, "--json", "--quiet"], capture_output=True, text=True,
                              timeout=LIMIT, env=dict(os.environ, **OURS))  # fmt: skip
        self.assertEqual(done.returncode, 0, done)
        told = json.loads(done.stdout)
        self.assertIn("rc_verbs/rxe0:1", told["path"])
        print("over", told["path"].split()[0])
        return told

    def test_a_file_that_is_offered_comes_by_rdma(self) -> None:
        self.move("get", "--output", self.folder / "got", f"{self.url}offered")
        self.assertEqual((self.folder / "got").read_bytes(), self.content)

    def test_a_file_that_is_uploaded_goes_by_rdma(self) -> None:
        self.move("put", self.folder / "given", f"{self.url}put")
        self.assertEqual((self.folder / "taken/put").read_bytes(), self.content)


if __name__ == "__main__":
    report.main()
