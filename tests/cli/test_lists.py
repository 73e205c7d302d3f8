# SPDX-License-Identifier: Apache-2.0
"""Lists of any length: in the order of their names, in pages, and never whole in memory."""
import json
import os
import socket
import urllib.parse

from support import CHANNEL, MIB, Server, TestCase, bounded_memory, http_only, main, run

LIST = "/v1/objects"


# What a list of 50,000 names took as a document in memory, thrice, is more than this.
LITTLE = bounded_memory(768 * MIB)


class Lists(TestCase):
    def names(self, answer):
        return [entry["name"] for entry in answer["objects"]]

    def make_tree(self):
        """Names of which directories and their neighbours differ around the slash."""
        names = ["a", "a!", "a-b", "a.txt", "a/b", "a/b.c", "a/c/d", "a0", "ab", "b/", "\u00e9/\u00fc",
                 "\U0001f600", "z/1/2/3/4", "z/1/2.", "z/1-2"]
        made = []
        for name in names:
            path = os.path.join(self.offered, name if name != "a" else "A")
            if name.endswith("/"):
                os.makedirs(path)  # an empty directory is no object
                continue
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb"):
                made.append(os.path.relpath(path, self.offered))
        for i in range(300):
            made.append(f"many/{i * 7919 % 300:04}")
            self.write(made[-1], 1)
        return sorted(made, key=os.fsencode)

    def test_pages_follow_each_other_in_the_order_of_bytes(self):
        expected = self.make_tree()
        with Server(self.offered) as server:
            for limit in (1, 2, 7, 100, 299, 1000):
                listed, after, more = [], "", True
                while more:
                    query = {"limit": limit} | ({"after": after} if after else {})
                    status, answer = server.json("GET", LIST + "?" + urllib.parse.urlencode(query))
                    self.assertEqual(status, 200, answer)
                    page = self.names(answer)
                    self.assertLessEqual(len(page), limit)
                    listed += page
                    more = answer.get("more", False)
                    self.assertTrue(page)
                    after = page[-1]
                self.assertEqual(listed, expected, limit)
            self.assertEqual(self.names(server.json("GET", LIST)[1]), expected)
            for after in ("many/0007", "many/", "many", "many/00075", "a/b", "a/", "\u00e9", "zz", "~"):
                query = urllib.parse.urlencode({"after": after})
                answer = server.json("GET", f"{LIST}?{query}")[1]
                self.assertEqual(self.names(answer), [name for name in expected
                                                      if os.fsencode(name) > os.fsencode(after)], after)

    def test_several_trees_are_one_list(self):
        expected = self.make_tree()
        other = os.path.join(self.here, "other")
        os.makedirs(os.path.join(other, "many"))
        for name in ("many/0007x", "0", "zzz"):
            with open(os.path.join(other, name), "wb"):
                expected.append(name)
        expected.append("alone")
        alone = os.path.join(self.here, "alone")
        with open(alone, "wb"):
            pass
        expected.sort(key=os.fsencode)
        with Server(self.offered, other, alone) as server:
            self.assertEqual(self.names(server.json("GET", LIST)[1]), expected)
            listed = run("ls", "--json", server.url)
            self.assert_done(listed)
            self.assertEqual(self.names(json.loads(listed.stdout)), expected)
            below = run("ls", server.url + "many")
            self.assertEqual([line[12:] for line in below.stdout.splitlines()],
                             [name for name in expected if name.startswith("many/")])
            self.assertEqual(len(run("ls", server.url + "a/b").stdout.splitlines()), 1)
            self.assert_failed(run("ls", server.url + "a/bb"), says="'a/bb'")

    def test_queries_that_are_none(self):
        with Server(self.offered) as server:
            queries = ["limit=0", "limit=-1", "limit=1.5"]
            if CHANNEL == "http":
                queries += ["limit=", "limit=x", "after", "after=%zz", "after=%ff", "after=%00", "x=1", "&",
                            "limit=99999999999999999999999"]
            for query in queries:
                if CHANNEL == "nats":
                    body = json.dumps({"limit": float(query[6:]) if "." in query else int(query[6:])})
                    status = server.request("GET", LIST, body.encode())[0]
                else:
                    status = server.json("GET", f"{LIST}?{query}")[0]
                self.assertEqual(status, 400, query)

    @http_only
    def test_parts_of_a_query_may_be_as_small_and_large_as_described(self):
        self.write("file", b"x")
        with Server(self.offered) as server:
            for query in ("after=", "limit=1&after=", f"limit={2 ** 63 - 1}", f"after=&limit={2 ** 63 - 1}"):
                status, answer = server.json("GET", f"{LIST}?{query}")
                self.assertEqual((status, len(answer["objects"])), (200, 1), query)
            self.assertEqual(server.json("GET", f"{LIST}?limit={2 ** 63}")[0], 400)

    def test_a_list_that_is_not_read_costs_little(self):
        directory = os.path.join(self.offered, "many-names-of-some-length")
        os.mkdir(directory)
        for i in range(50000):
            os.close(os.open(f"{directory}/{'n' * 60}{i:08}", os.O_CREAT | os.O_WRONLY))
        with Server(self.offered, preexec_fn=LITTLE) as server:
            if CHANNEL == "http":
                for _ in range(100):
                    stuck = socket.socket()
                    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                    stuck.connect(server.address)
                    stuck.sendall(b"GET /v1/objects HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    self.addCleanup(stuck.close)
            listed = run("ls", server.url, preexec_fn=LITTLE)
            self.assertEqual((listed.returncode, listed.stderr), (0, ""))
            self.assertEqual(listed.stdout.count("\n"), 50000)

    @http_only
    def test_a_directory_too_large_to_keep_is_read_again(self):
        # More than 16 MiB of names; below it others that come first, in between and last.
        names = [f"{'n' * 230}{i:08}" for i in range(60000)]
        for name in names:
            os.close(os.open(f"{self.offered}/{name}", os.O_CREAT | os.O_WRONLY))
        for name in ("a/x", f"{names[99]}.d/x", "z/x"):
            self.write(name, 1)
        names = sorted([*names, "a/x", f"{names[99]}.d/x", "z/x"])
        with Server(self.offered, preexec_fn=LITTLE) as server:
            for start in (0, 700, 59980):
                after = names[start - 1] if start else ""
                query = urllib.parse.urlencode({"limit": 500} | ({"after": after} if after else {}))
                answer = server.json("GET", f"{LIST}?{query}")[1]
                self.assertEqual(self.names(answer), names[start:start + 500])
                self.assertEqual(answer.get("more", False), start + 500 < len(names))

    @http_only
    def test_the_whole_list_is_one_document(self):
        for i in range(10000):
            os.close(os.open(f"{self.offered}/{i:08}", os.O_CREAT | os.O_WRONLY))
        with Server(self.offered) as server:
            status, answer = server.json("GET", LIST)
            self.assertEqual((status, list(answer)), (200, ["objects"]))
            self.assertEqual(self.names(answer), [f"{i:08}" for i in range(10000)])
            self.assertEqual(server.request("HEAD", LIST)[0], 200)

    def test_links_and_half_finished_files_are_judged_as_before(self):
        self.write("real", 3)
        os.symlink("real", os.path.join(self.offered, "link"))
        os.symlink("/etc/hostname", os.path.join(self.offered, "outside"))
        os.symlink("missing", os.path.join(self.offered, "dangling"))
        os.symlink(".", os.path.join(self.offered, "loop"))
        self.write(".x.ropeway-01234567", 3)
        with open(os.path.join(os.fsencode(self.offered), b"bad\xff"), "wb"):
            pass
        with Server(self.offered) as server:
            self.assertEqual(self.names(server.json("GET", LIST)[1]), ["link", "real"])


if __name__ == "__main__":
    main()
