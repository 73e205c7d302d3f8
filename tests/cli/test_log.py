# SPDX-License-Identifier: Apache-2.0
"""The log of a server: a line for each transfer and refusal, whatever comes, and whoever reads it."""
import contextlib
import json
import os
import re
import signal
import socket
import struct

from support import CHANNEL, MIB, PATIENCE, Server, TestCase, http_only, main, run, wait_for

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

    def test_the_trace_context_of_a_client_is_logged(self):
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        source = self.write("file", 1000)
        for form in ("text", "json"):
            with self.subTest(form=form), \
                    Server("--log-format", form, "--writable", self.uploads, self.offered) as server:
                self.assert_done(run("put", source, server.url + form, env=os.environ | {"TRACEPARENT": trace}))
                self.assert_done(run("get", "-o", "/dev/null", server.url + "file", env=os.environ | {"TRACEPARENT": "x" + trace[1:]}))
                self.assertEqual(server.end(), (0, ""))
                write, read = server.log
                self.assertNotIn("trace", read)
                if form == "json":
                    self.assertEqual(json.loads(write)["trace"], trace)
                else:
                    self.assertRegex(write, f", trace {trace}$")

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

    @http_only
    def test_what_is_no_request_has_a_line_as_well(self):
        self.write("file", 10)
        first, host = b"POST /v1/objects/file/read HTTP/1.1\r\n", b"Host: localhost\r\n"
        chunked = first + host + b"Transfer-Encoding: chunked\r\n\r\n"
        read = r"/v1/objects/file/read refused \(%s\)"
        cases = [(b"hello\r\n\r\n", r"connection refused \(400\)"),
                 (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", r"connection refused \(400\)"),
                 (b"GET /v1/obj", r"connection refused \(400\)"),
                 (first.replace(b"1.1", b"3.1") + host + b"\r\n", "connection refused"),
                 (b"GET /" + b"a" * 60000 + b" HTTP/1.1\r\n" + host + b"\r\n", "connection refused"),
                 (first + b"\r\n", read % "400"),
                 (first + host + b"no colon\r\n\r\n", read % "400"),
                 (first + host + b"Content-Length: x\r\n\r\n", read % "400"),
                 (first + host + b"Content-Length: 1" + b"0" * 30 + b"\r\n\r\n", read % "413"),
                 (first + host + b"X: %s\r\n" % (b"y" * 8000) * 20 + b"\r\n", read % "431"),
                 (chunked + b"zz\r\n", read % "400"),
                 (chunked + (b"10000\r\n" + b" " * 65536 + b"\r\n") * 20, read % "413"),
                 (first + host + b"Content-Length: 100\r\n\r\n{", read % "400" + ": the request broke off"),
                 (first + host + host + b"\r\n", read % "400" + ": the request names two hosts"),
                 (first + host + b"Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}",
                  read % "400" + ": the request names two hosts, or two lengths"),
                 (chunked.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n") + b"2\r\n{}\r\n0\r\n\r\n",
                  read % "400" + ": the request names two hosts, or two lengths"),
                 (chunked.replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\n") + b"0\r\n\r\n",
                  read % "400" + ": the request names two hosts, or two lengths")]
        for data, line in cases:
            with self.subTest(data=data[:40]), Server(self.offered) as server:
                with socket.create_connection(server.address, timeout=PATIENCE) as stranger, \
                        contextlib.suppress(ConnectionError):
                    stranger.sendall(data)
                    stranger.shutdown(socket.SHUT_WR)
                    while stranger.recv(65536):
                        pass
                self.assertEqual(server.end(), (0, ""))
                self.assertEqual(len(server.log), 1, server.log)
                self.assertRegex(server.log[0], line)

    @http_only
    def test_the_rest_of_a_request_that_was_refused_has_no_line_of_its_own(self):
        head = b"POST /v1/objects/%d/read HTTP/1.1\r\nHost: evil.test\r\nContent-Length: 60000\r\n\r\n"
        with Server(self.offered) as server:
            for i in range(10):
                with socket.create_connection(server.address, timeout=PATIENCE) as stranger, \
                        contextlib.suppress(ConnectionError):
                    stranger.sendall(head % i)
                    while True:
                        stranger.sendall(b"xxx")
            self.assertEqual(server.end(), (0, ""))
            self.assertEqual(len(server.log), 10, server.log)

    @http_only
    def test_who_only_looks_whether_somebody_listens_has_none(self):
        with Server(self.offered) as server:
            socket.create_connection(server.address, timeout=PATIENCE).close()
            for target in ("/v1/objects", "/healthz"):
                self.assertEqual(server.request("GET", target)[0], 200)
            self.assertEqual(server.end(), (0, ""))
            self.assertEqual(server.log, [])

    @http_only
    def test_an_answer_that_nobody_takes_has_a_line(self):
        # The answer, of 9 MB, does not fit into the buffers between the two.
        deep = ("d" * 240 + "/") * 8
        for i in range(4000):
            self.write(f"{deep}{i:0240}", b"")
        with Server(self.offered) as server:
            with socket.socket() as client:
                client.settimeout(PATIENCE)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                client.connect(server.address)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.sendall(b"GET /v1/objects HTTP/1.1\r\nHost: localhost\r\n\r\n")
                client.recv(100)
            lines = iter(server.process.stderr.readline, "")
            self.assertRegex(next(lines), r"/v1/objects failed \(200\): the answer broke off")

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
