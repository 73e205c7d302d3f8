# SPDX-License-Identifier: Apache-2.0
"""A full disk is told before a byte moves, and leaves nothing behind."""
import contextlib
import os
import subprocess
import unittest

from support import MIB, Proxy, Server, TestCase, main, run


class FullDisk(TestCase):
    def setUp(self):
        super().setUp()
        self.small = os.path.join(self.directory, "small")
        os.mkdir(self.small)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", self.small],
                                 capture_output=True, encoding="utf-8", check=False)
        if mounted.returncode != 0:
            raise unittest.SkipTest("a small file system can't be mounted here: " + mounted.stderr)
        self.addCleanup(subprocess.run, ["umount", "-l", self.small], check=True)

    def test_get(self):
        self.write("big", 5 * MIB)
        self.write("fits", 3 * MIB)
        with Server(self.offered) as server:
            result = run("get", server.url + "big", cwd=self.small)
            self.assert_failed(result, says=f"{5 * MIB} bytes are needed and about {4 * MIB} ")
            self.assert_empty(self.small)
            self.assert_done(run("get", server.url + "fits", cwd=self.small))
            self.assertEqual(os.listdir(self.small), ["fits"])

    def test_put(self):
        big = self.write("big", 5 * MIB)
        fits = self.write("fits", 3 * MIB)
        with Server("--writable", self.small, self.offered) as server:
            result = run("put", big, server.url)
            self.assert_failed(result, says=f"{5 * MIB} bytes are needed and about {4 * MIB} ")
            self.assertIn("507", result.stderr)
            self.assert_empty(self.small)
            for size in (2 ** 62, 2 ** 63 - 1):
                status, answer = server.json("POST", "/v1/objects/x/write", {"size": size})
                self.assertEqual(status, 507, answer)
            self.assert_done(run("put", fits, server.url))
            self.assertEqual(os.listdir(self.small), ["fits"])

    def free(self):
        room = os.statvfs(self.small)
        return room.f_bavail * room.f_frsize

    def test_bytes_that_do_not_come_fill_no_disk(self):
        fits = self.write("fits", 3 * MIB)
        with Server("--writable", self.small, self.offered) as server:
            before = self.free()
            for i in range(5):
                status, answer = server.json("POST", f"/v1/objects/x{i}/write", {"size": 3 * MIB})
                self.assertEqual(status, 200, answer)
            self.assertGreater(self.free(), before - MIB // 2)
            self.assert_done(run("put", fits, server.url))
            self.assert_same(fits, os.path.join(self.small, "fits"))

    def test_a_disk_that_fills_up_meanwhile(self):
        fits = self.write("fits", 3 * MIB)
        filler = os.path.join(self.small, "filler")

        def fill(method, target, _, answer):
            if target.endswith("/write"):
                with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
                    while file.write(bytes(65536)):
                        pass
            return answer

        with Server("--writable", self.small, self.offered) as server:
            with Proxy(server, fill) as proxy:
                self.assert_failed(run("put", fits, proxy.url))
            self.assertEqual(os.listdir(self.small), ["filler"])
            os.unlink(filler)
            self.assert_done(run("put", "--verify", fits, server.url))
            server.end()
            self.assertTrue([line for line in server.log if "disk is full" in line], server.log)

    def test_output_to_a_stream(self):
        self.write("big", 5 * MIB)
        with Server(self.offered) as server, \
                open(os.path.join(self.small, "out"), "wb") as out:
            result = subprocess.run([os.environ["ROPEWAY"], "get", "-o", "-", server.url + "big"],
                                    stdout=out, stderr=subprocess.PIPE, encoding="utf-8", check=False)
        self.assert_failed(result, says="no space is left")


if __name__ == "__main__":
    main()
