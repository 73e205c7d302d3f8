# SPDX-License-Identifier: Apache-2.0
"""The log of a server: a line for each transfer and refusal, whatever comes, and whoever reads it."""
import json
import os
import re
import signal

from support import CHANNEL, MIB, Server, TestCase, main, run, wait_for

READ = "/v1/objects/%s/read"


class Log(TestCase):
    def test_each_transfer_and_refusal_has_a_line(self):
        source = self.write("file", 3 * MIB)
        for form in ("text", "json"):
            with self.subTest(form=form), \
                    Server("--log-format", form, "--writable", self.uploads, self.offered) as server:
                self.assert_done(self.get(server.url + "file"))
                self.assert_done(run("put", source, server.url + "new"))
                self.assert_failed(self.get(server.url + "missing"))
                self.assertEqual(server.end(), (0, ""))
                self.assertEqual(len(server.log), 3, server.log)
                if form == "json":
                    self.check_json([json.loads(line) for line in server.log])
                else:
                    peer = r"ropeway: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z %s: \S+: "
                    read, write, refused = server.log
                    self.assertRegex(read, peer % "info" + r"read of 'file' complete, 3\.0 MiB in ")
                    self.assertRegex(write, peer % "info" + r"write of 'new' complete, 3\.0 MiB in ")
                    self.assertRegex(refused, peer % "warning" + r".* refused \(404\): no object ")

    def check_json(self, lines):
        read, write, refused = lines
        for line, kind, name in ((read, "read", "file"), (write, "write", "new")):
            self.assertEqual((line["level"], line["outcome"], line["kind"], line["object"], line["bytes"]),
                             ("info", "complete", kind, name, 3 * MIB))
            self.assertGreater(line["seconds"], 0)
            self.assertTrue(line["path"])
        self.assertEqual((refused["level"], refused["outcome"], refused["status"]),
                         ("warning", "refused", 404))
        for line in lines:
            self.assertRegex(line["time"], r"\A\d{4}-\d\d-\d\dT[\d:.]{12}Z\Z")
            self.assertTrue(line["peer"].startswith("127.0.0.1" if CHANNEL == "http" else "_INBOX."))

    @staticmethod
    def stopped_amid_a_range(server, getting):
        getting.send_signal(signal.SIGSTOP)
        if all(server.metrics()["ropeway_operations_live"] > 0 for _ in range(20)):
            return True
        getting.send_signal(signal.SIGCONT)
        return False

    def test_a_client_that_dies_leaves_a_line_with_the_error(self):
        self.write_sparse("big", 4096 * MIB)
        with Server("--log-format", "json", "--begin-limit", "1", self.offered) as server:
            getting = self.start_get("-o", "/dev/null", server.url + "big")
            wait_for(lambda: self.stopped_amid_a_range(server, getting), "a range on its way")
            getting.kill()
            getting.communicate()
            wait_for(lambda: server.metrics()["ropeway_operations_live"] == 0, "the end")
            self.assertEqual(server.end(), (0, ""))
            failed = [line for line in map(json.loads, server.log) if line["outcome"] == "failed"]
            self.assertTrue(failed)
            self.assertRegex(failed[0]["error"], r"\A(ROPEWAY_)?ERR_|CANCEL")

    def test_lines_that_repeat_are_joined(self):
        with Server(self.offered) as server:
            for _ in range(500):
                server.request("POST", READ % "missing")
            server.request("POST", READ % "other")
            self.assertEqual(server.end(), (0, ""))
            first = [line for line in server.log if "'missing'" in line]
            self.assertEqual(len(first), 2, first)
            self.assertIn(" 499 more times: ", first[1])

    def test_a_flood_of_different_lines_is_bounded_and_counted(self):
        with Server(self.offered) as server:
            for i in range(1000):
                server.request("POST", READ % f"missing{i}")
            _, rest = server.end()
            shown = len(server.log)
            self.assertLess(shown, 900)
            hidden = sum(map(int, re.findall(r"(\d+) more lines are not shown", rest)))
            self.assertEqual(shown + hidden, 1000)

    def test_nobody_who_leaves_the_log_unread_stops_the_server(self):
        # The pipe that Server makes of stderr is never read while it runs, and holds 64 KiB.
        self.write("file", b"ten bytes\n")
        with Server(self.offered) as server:
            for i in range(250):
                server.request("POST", READ % f"{i:0250}")
            for _ in range(3):
                self.assert_done(self.get("-o", "-", server.url + "file"))
            server.end()
            self.assertLess(len(server.log), 200)

    def test_names_do_not_forge_lines(self):
        with Server("--log-format", "text", self.offered) as server:
            server.request("POST", READ % "a%0Aropeway:%20forged%1B%5B2J%E2%80%AE")
            server.end()
            self.assertEqual(len(server.log), 1, server.log)
            self.assertTrue(server.log[0][:-1].isprintable())

    def test_a_lost_terminal_does_not_end_the_server(self):
        self.write("file", 10)
        with Server(self.offered) as server:
            server.process.send_signal(signal.SIGHUP)
            self.assert_done(self.get(server.url + "file"))
            self.assertEqual(server.end(), (0, ""))
        self.assertEqual(os.listdir(self.here), ["file"])


if __name__ == "__main__":
    main()
