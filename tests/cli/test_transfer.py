# SPDX-License-Identifier: Apache-2.0
"""`ropeway get` and `ropeway put` move files whole."""
import json
import os
import pty
import subprocess
import urllib.parse

from support import MIB, PATIENCE, Server, TestCase, command, http_only, main, run, start


class Transfer(TestCase):
    NAMES = {"empty": 0, "one": 1, "page": 4096, "odd": 1234567, "a b/c d.txt": 100,
             "\u00fcnicode/\u6587\u4ef6 \U0001f6a0": 3000, "100%/%41#?&=+;": 50, "-o": 7,
             "dir/.hidden": 9, "new\nline": 3}

    def url_of(self, server, name):
        return server.url + urllib.parse.quote(name)

    def test_put_then_get_back(self):
        with Server("--writable", self.uploads, self.uploads) as server:
            for name, size in self.NAMES.items():
                with self.subTest(name=name):
                    source = self.write(name, size)
                    url = self.url_of(server, name)
                    self.assert_done(run("put", source, url))
                    self.assert_same(source, os.path.join(self.uploads, name))
                    self.assert_done(self.get("-o", "back", url))
                    self.assert_same(source, os.path.join(self.here, "back"))
            listed = json.loads(run("ls", "--json", server.url).stdout)["objects"]
            self.assertEqual({entry["name"]: entry["size"] for entry in listed}, self.NAMES)
            self.assertEqual(server.end(), (0, ""))

    @http_only
    def test_nothing_goes_in_clear_unless_a_side_of_it_says_so(self):
        if os.geteuid() != 0:
            self.skipTest("another PID namespace, which looks like another host, needs root")
        source = self.write("file", MIB)
        with Server("--transports", "tcp,self", self.offered) as server:
            def get(*options):
                return subprocess.run(["unshare", "--pid", "--fork", "--mount-proc",
                                       *command("get", *options, "-o", "got", server.url + "file")],
                                      cwd=self.here, capture_output=True, encoding="utf-8", check=False)

            self.assert_failed(get(), says="encrypts nothing")
            self.assert_done(get("--transports", "tcp,self"))
            self.assert_same(source, os.path.join(self.here, "got"))

    def test_big_files_over_each_transport(self):
        source = self.write("big", 64 * MIB + 12345)
        for transports, expected in (("tcp,cma,self", "cma"), ("tcp,self", "tcp/")):
            with self.subTest(transports=transports), \
                    Server("--transports", transports, "--writable", self.uploads,
                           self.offered) as server:
                options = ["--verify", "--json", "--transports", transports]
                for arguments, result in ((["get", *options, server.url + "big"], "here/big"),
                                          (["put", *options, source, server.url + "x/"],
                                           "uploads/x/big")):
                    done = run(*arguments, cwd=self.here)
                    self.assert_done(done)
                    report = json.loads(done.stdout)
                    self.assertEqual(report["bytes"], 64 * MIB + 12345)
                    self.assertIn(expected, report["path"])
                    self.assertRegex(report["checksum"], r"\Axxh3-128:[0-9a-f]{32}\Z")
                    self.assertGreater(report["rate"], 0)
                    self.assert_same(source, os.path.join(self.directory, result))

    def test_output_to_a_pipe(self):
        for size in (0, 1, 100 * MIB + 1):  # several ranges
            source = self.write("big", size)
            with self.subTest(size=size), Server(self.offered) as server:
                for options in ([], ["--verify"]):
                    getting = start("get", "-o", "-", *options, server.url + "big", cwd=self.here)
                    compared = subprocess.run(["cmp", "-", source], stdin=getting.stdout,
                                              capture_output=True, timeout=PATIENCE, check=False)
                    getting.stdout.close()
                    getting.stdout = None
                    self.assertEqual(self.finish(getting), (0, ""))
                    self.assertEqual(compared.returncode, 0, compared)
                self.assert_empty(self.here)

    def test_output_into_what_is_no_file(self):
        self.write("file", 5000)
        fifo = os.path.join(self.here, "fifo")
        os.mkfifo(fifo)
        with Server(self.offered) as server:
            getting = self.start_get("-o", "fifo", server.url + "file")
            with open(fifo, "rb") as reader:
                self.assertEqual(len(reader.read()), 5000)
            self.assertEqual(self.finish(getting), (0, ""))
            self.assertEqual(os.listdir(self.here), ["fifo"])
            self.assert_failed(self.get("-o", self.here, server.url + "file"), says="directory")
            self.assert_failed(self.get("-o", "new/", server.url + "file"), says="directory")
            self.assert_failed(self.get("-o", "missing/file", server.url + "file"), says="'missing/'")
            self.assert_failed(self.get("-o", "/dev/full", server.url + "file"), says="space")
        self.assertEqual(os.listdir(self.here), ["fifo"])

    def test_nobody_reads_the_pipe(self):
        self.write("file", 100 * MIB)
        with Server(self.offered) as server:
            getting = self.start_get("-o", "-", server.url + "file")
            getting.stdout.read(1)
            getting.stdout.close()
            getting.stdout = None
            code, errors = self.finish(getting)
        self.assertEqual(code, 1)
        self.assert_one_sentence(errors)

    def test_a_get_replaces_a_file_only_at_the_end(self):
        self.write("file", b"new")
        target = os.path.join(self.here, "file")
        with open(target, "wb") as file:
            file.write(b"old and longer")
        with Server(self.offered) as server:
            self.assert_failed(self.get("-o", "file", server.url + "missing"), says="'missing'")
            with open(target, "rb") as file:
                self.assertEqual(file.read(), b"old and longer")
            self.assert_done(self.get(server.url + "file"))
        with open(target, "rb") as file:
            self.assertEqual(file.read(), b"new")
        self.assertEqual(os.listdir(self.here), ["file"])

    def test_a_put_replaces_a_file(self):
        source = self.write("file", b"new")
        with open(os.path.join(self.uploads, "file"), "wb") as file:
            file.write(b"old and longer")
        with Server("--writable", self.uploads, self.offered) as server:
            self.assert_done(run("put", "--verify", source, server.url))
            self.assert_failed(run("put", source, server.url + "file/below"), says="not a directory")
        self.assert_same(source, os.path.join(self.uploads, "file"))
        self.assertEqual(os.listdir(self.uploads), ["file"])

    @http_only
    def test_api_path_is_taken_as_the_name(self):
        self.write("file", b"x")
        with Server(self.offered) as server:
            self.assert_done(self.get(server.url + "v1/objects/file"))

    def test_modes_follow_the_umask(self):
        source = self.write("file", b"x")
        with Server("--writable", self.uploads, self.offered) as server:
            self.assert_done(self.get(server.url + "file", umask=0o027))
            self.assertEqual(os.stat(os.path.join(self.here, "file")).st_mode & 0o777, 0o640)
            self.assert_done(run("put", source, server.url + "new"))

    def test_what_is_replaced_keeps_its_mode_and_owner(self):
        source = self.write("file", b"new")
        kept = os.path.join(self.uploads, "file")
        target = os.path.join(self.here, "file")
        for path in (kept, target):
            with open(path, "wb") as file:
                file.write(b"old")
            os.chmod(path, 0o600)
            if os.geteuid() == 0:
                os.chown(path, 12345, 12346)
        with Server("--writable", self.uploads, self.offered) as server:
            self.assert_done(self.get("-o", target, server.url + "file"))
            self.assert_done(run("put", source, server.url))
        for path in (kept, target):
            self.assert_same(source, path)
            found = os.stat(path)
            self.assertEqual(found.st_mode & 0o7777, 0o600)
            if os.geteuid() == 0:
                self.assertEqual((found.st_uid, found.st_gid), (12345, 12346))

    def test_get_replaces_the_file_that_a_link_names(self):
        self.write("file", b"new")
        os.mkdir(os.path.join(self.here, "below"))
        real, link = os.path.join(self.here, "below", "real"), os.path.join(self.here, "link")
        with open(real, "wb") as file:
            file.write(b"old")
        os.symlink("below/real", link)
        with Server(self.offered) as server:
            self.assert_done(self.get("-o", link, server.url + "file"))
        self.assertTrue(os.path.islink(link))
        self.assert_same(os.path.join(self.offered, "file"), real)
        self.assertEqual(os.listdir(os.path.dirname(real)), ["real"])

    def test_progress_shows_on_a_terminal_only(self):
        self.write_sparse("file", 256 * MIB)
        with Server(self.offered) as server:
            for options, expected in (([], True), (["--quiet"], False)):
                master, slave = pty.openpty()
                getting = subprocess.Popen(
                    command("get", "--verify", *options, server.url + "file"), cwd=self.here,
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave)
                os.close(slave)
                shown = b""
                try:
                    while True:
                        shown += os.read(master, 65536)
                except OSError:
                    pass  # the terminal is closed
                os.close(master)
                getting.communicate(timeout=PATIENCE)
                self.assertEqual(getting.returncode, 0, shown)
                self.assertEqual(b"MiB/s" in shown or b"GiB/s" in shown, expected, shown)
                if expected:
                    self.assertIn(b"256.0 MiB in ", shown)


if __name__ == "__main__":
    main()
