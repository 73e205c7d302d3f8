# SPDX-License-Identifier: Apache-2.0
"""No request leaves the offered trees, whatever its name looks like."""
import os
import urllib.parse

from support import CHANNEL, Server, TestCase, main, run

SECRET = b"not offered"


class Names(TestCase):
    def setUp(self):
        super().setUp()
        self.secret = os.path.join(self.directory, "secret")
        with open(self.secret, "wb") as file:
            file.write(SECRET)
        os.mkdir(os.path.join(self.directory, "outside"))
        self.write("dir/file", b"offered")

    def escapes(self):
        """Targets that must be refused."""
        absolute = urllib.parse.quote(self.secret, safe="")
        names = (
            "..", ".", "", "/", "//", "../secret", "dir/../../secret", "dir/../dir/file", "./dir/file",
            "dir/./file", "dir//file", "/dir/file", "dir/file/", "dir/", "..%2fsecret",
            "%2e%2e/secret", "%2E%2E%2Fsecret", ".%2e/secret", "dir/%2e%2e/%2e%2e/secret",
            "%c0%ae%c0%ae/secret", "%c0%ae%c0%ae%c0%afsecret", "%e0%80%ae%e0%80%ae/secret",
            "%f0%80%80%ae./secret", "..%c0%afsecret", "%u002e%u002e/secret", "..%00/secret",
            "dir/file%00", "dir/file%00.txt", "dir/file%", "dir/file%2", "dir/file%zz", "%",
            "%ff%fe", "dir%2f..%2f..%2fsecret", "/proc/self/environ", self.secret, "/" + self.secret,
            absolute, "%2f" + absolute, "%2fproc%2fself%2fcwd", "x" * 4000, "x" * 256,
            "a/" * 128 + "b")
        # What is wrong with an encoding only is a good name in a message.
        return [name for name in names
                if CHANNEL == "http" or b"%" not in urllib.parse.unquote_to_bytes(name)]

    def odd_names(self):
        """Targets that name nothing outside, however they look."""
        yield from (
            "%252e%252e%252fsecret", "%252e%252e/secret", "..%252fsecret", "..%5c..%5csecret",
            "..\\secret", "..%3b/secret", "....//secret".replace("//", "/"),
            "dir/file%0a", "~", "~root", "proc/self/root" + self.secret)

    def test_reads_stay_inside(self):
        with Server(self.offered) as server:
            for name in self.escapes():
                with self.subTest(name=name[:80]):
                    status, _, text = server.request("POST", f"/v1/objects/{name}/read")
                    self.assertIn(status, (400, 404), text)
            for name in self.odd_names():
                with self.subTest(name=name[:80]):
                    status, _, text = server.request("POST", f"/v1/objects/{name}/read")
                    self.assertEqual(status, 404, text)
            raw_targets = (b"/v1/objects/\xc0\xae\xc0\xae/secret/read", b"/v1/objects/\xff/read",
                           b"/v1/objects/../../secret/read", b"/../secret",
                           b"/v1/objects/..\x01/read", b"../secret",
                           b"http://localhost/v1/objects/%2e%2e/secret/read")
            for raw in raw_targets if CHANNEL == "http" else ():
                with self.subTest(raw=raw):
                    status, _, text = server.request("POST", raw)
                    self.assertIn(status, (400, 404, 405), text)
            # The same way of asking works for what is offered.
            for name in ("dir/file", "dir%2Ffile", "dir%2ffile", "%64ir/file"):
                self.assertEqual(server.request("POST", f"/v1/objects/{name}/read")[0], 200, name)

    def test_writes_stay_inside(self):
        with Server("--writable", self.uploads) as server:
            for name in self.escapes():
                with self.subTest(name=name[:80]):
                    status, _, text = server.request("POST", f"/v1/objects/{name}/write",
                                                     b'{"size":1}')
                    self.assertIn(status, (400, 404), text)
            source = self.write("source", b"")
            for name in self.odd_names():
                with self.subTest(name=name[:80]):
                    self.assert_done(run("put", source, server.url + name))
        self.assertNotIn("secret", os.listdir(self.uploads))
        stored = [name for _, _, names in os.walk(self.uploads) for name in names]
        self.assertEqual(len(stored), len(list(self.odd_names())))
        with open(self.secret, "rb") as file:
            self.assertEqual(file.read(), SECRET)

    def test_symbolic_links_lead_nowhere_else(self):
        for link, target in (("file-out", "../secret"), ("absolute", self.secret),
                             ("dir-out", "../outside"), ("loop", "loop"), ("gone", "missing"),
                             ("dir/up", "../../secret"), ("magic", "/proc/self/cwd"),
                             ("dir/inside", "file"), ("inside-dir", "dir")):
            os.symlink(target, os.path.join(self.offered, link))
        with open(os.path.join(self.directory, "outside", "file"), "wb") as file:
            file.write(SECRET)
        with Server(self.offered) as server:
            for name in ("file-out", "absolute", "dir-out/file", "loop", "gone", "dir/up",
                         "magic/secret", "dir-out", "inside-dir"):
                with self.subTest(name=name):
                    status, _, text = server.request("POST", f"/v1/objects/{name}/read")
                    self.assertEqual(status, 404, text)
            self.assert_done(self.get(server.url + "dir/inside"))
            names = {entry["name"] for entry in server.json("GET", "/v1/objects")[1]["objects"]}
            self.assertEqual(names, {"dir/file", "dir/inside"})

    def test_uploads_follow_no_symbolic_links(self):
        os.symlink("../outside", os.path.join(self.uploads, "link"))
        os.symlink("../secret", os.path.join(self.uploads, "file-link"))
        source = self.write("new", b"new")
        with Server("--writable", self.uploads) as server:
            self.assert_failed(run("put", source, server.url + "link/new"), says="not a directory")
            self.assert_failed(run("put", source, server.url + "link/deep/new"))
            # A link at the final name is replaced, not followed.
            self.assert_done(run("put", source, server.url + "file-link"))
        self.assert_empty(os.path.join(self.directory, "outside"))
        with open(self.secret, "rb") as file:
            self.assertEqual(file.read(), SECRET)
        self.assertFalse(os.path.islink(os.path.join(self.uploads, "file-link")))

    def test_only_files_are_offered(self):
        os.mkfifo(os.path.join(self.offered, "fifo"))
        os.mkdir(os.path.join(self.offered, "empty"))
        self.write("closed", b"x")
        self.write(".dir/.closed.ropeway-0123abcd", b"unfinished")
        with Server(self.offered) as server:
            for name in ("fifo", "empty", ".dir/.closed.ropeway-0123abcd"):
                self.assertEqual(server.request("POST", f"/v1/objects/{name}/read")[0], 404, name)
            names = {entry["name"] for entry in server.json("GET", "/v1/objects")[1]["objects"]}
            self.assertEqual(names, {"dir/file", "closed"})

    def test_without_writable_nothing_is_taken(self):
        with Server(self.offered) as server:
            self.assert_failed(run("put", self.secret, server.url + "dir/new"), says="--writable")
        self.assertEqual(os.listdir(os.path.join(self.offered, "dir")), ["file"])

    def test_a_file_that_is_offered_alone_brings_no_neighbours(self):
        with Server(os.path.join(self.offered, "dir", "file")) as server:
            for name in ("dir", "dir/file", "other", "./file", "file/..", "file/file"):
                self.assertIn(server.request("POST", f"/v1/objects/{name}/read")[0], (400, 404), name)
            self.assert_done(self.get(server.url + "file"))


if __name__ == "__main__":
    main()
