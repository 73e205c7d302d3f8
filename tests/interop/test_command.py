# SPDX-License-Identifier: Apache-2.0
"""`ropeway serve --interop` and a stock client; a stock server and `ropeway get` and `put`. The stock
programs are those of examples/nixl."""
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from support import wait_for

ROPEWAY = os.environ["ROPEWAY"]
EXAMPLES = Path(__file__).parents[2] / "examples" / "nixl"
SIZES = {"one": 1, "small": 4097, "big": (8 << 20) + 3}


def example(name, *arguments, **options):
    return [sys.executable, str(EXAMPLES / name), *map(str, arguments)]


class Command(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.top = Path(directory.name)
        for name in ("offered", "uploads"):
            (self.top / name).mkdir()
        for name, size in SIZES.items():
            (self.top / "offered" / name).write_bytes(os.urandom(size))

    def offered(self, name):
        return (self.top / "offered" / name).read_bytes()

    def start(self, command):
        """Starts a server; the URL in its first line that has one."""
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8")
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        for line in process.stdout:
            if "serving on http" in line:
                return line.split()[-1]
        self.fail("the server did not start")

    def run_ok(self, command):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done

    def test_a_stock_client_gets_and_puts(self):
        uploads = self.top / "uploads"
        url = self.start([ROPEWAY, "serve", "--interop", "-l", "127.0.0.1:0", "-w", uploads, self.top / "offered"])
        for name in SIZES:
            self.run_ok(example("client.py", "get", url, name, self.top / "got"))
            self.assertEqual((self.top / "got").read_bytes(), self.offered(name))
        self.run_ok(example("client.py", "put", url, "new", self.top / "offered" / "big"))
        self.assertEqual((uploads / "new").read_bytes(), self.offered("big"))
        # And Ropeway's own client beside it.
        self.run_ok([ROPEWAY, "get", "-o", self.top / "own", "--verify", url + "big"])
        self.assertEqual((self.top / "own").read_bytes(), self.offered("big"))

    def test_without_interop_a_stock_client_is_refused(self):
        url = self.start([ROPEWAY, "serve", "-l", "127.0.0.1:0", self.top / "offered"])
        done = subprocess.run(example("client.py", "get", url, "small", self.top / "got"), stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, encoding="utf-8", timeout=120)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("BACKEND", done.stderr.upper())
        self.assertFalse((self.top / "got").exists())

    def test_get_and_put_with_a_stock_server(self):
        url = self.start(example("server.py", self.top / "offered"))
        for name in SIZES:
            self.run_ok([ROPEWAY, "get", "-o", self.top / "got", url + name])
            self.assertEqual((self.top / "got").read_bytes(), self.offered(name))
        self.run_ok([ROPEWAY, "put", self.top / "offered" / "big", url + "copy"])
        wait_for(lambda: (self.top / "offered" / "copy").exists()
                 and self.offered("copy") == self.offered("big"), "the upload")
        done = subprocess.run([ROPEWAY, "get", "-o", self.top / "none", url + "missing"], stderr=subprocess.PIPE,
                              encoding="utf-8", timeout=120)
        self.assertEqual(done.returncode, 1)
        self.assertIn("missing", done.stderr)
        self.assertFalse((self.top / "none").exists())


if __name__ == "__main__":
    unittest.main()
