# SPDX-License-Identifier: Apache-2.0
"""`ropeway doctor --peer`: which way leads to a peer, and why."""
import json
import os
import signal

from support import Server, TestCase, main, run


class Peer(TestCase):
    def answer(self, server, name="file"):
        """What the server says to who asks for a file; its operation waits to be begun."""
        status, answer = server.json("POST", f"/v1/objects/{name}/read")
        self.assertEqual(status, 200, answer)
        return answer

    def keep(self, name, data):
        path = os.path.join(self.here, name)
        with open(path, "wb") as file:
            file.write(data if isinstance(data, bytes) else json.dumps(data).encode())
        return path

    def ask(self, path, *arguments, code=0, **options):
        result = run("doctor", "--peer", path, "--json", *arguments, **options)
        self.assertEqual((result.returncode, result.stderr), (code, ""), result.stdout)
        report = json.loads(result.stdout)
        self.assertEqual(report["usable"], code == 0)
        return report

    def tell(self, path, *arguments, code=0, **options):
        """The lines of the text by their labels."""
        result = run("doctor", "--peer", path, *arguments, **options)
        self.assertEqual((result.returncode, result.stderr), (code, ""), result.stdout)
        lines = {}
        for line in result.stdout.splitlines():
            lines.setdefault(line[:14].strip(), []).append(line[14:])
        return lines

    def serve(self, *arguments):
        return Server("--begin-limit", "60", *arguments, self.write("file", 300000))

    def test_a_server_on_this_host_is_reached_by_its_unix_socket(self):
        with self.serve() as server:
            answer = self.answer(server)
            lines = self.tell(self.keep("answer", answer))
            self.assertEqual(lines["Protocol"], ["Ropeway's own, version 2"])
            self.assertEqual(lines["Process"], [str(server.process.pid)])
            self.assertEqual(lines["Offer"], ["readable, 1 descriptor, 293.0 KiB in host memory"])
            self.assertEqual((lines["Same host"], lines["Same user"]), (["yes"], ["yes"]))
            self.assertEqual(lines["UCX"], ["not needed"])
            self.assertEqual(lines["Used"],
                             ["link stream (local pull), mover pull: the peer is on this host"])
            self.assertRegex(lines["Else"][0], r"^link stream \(tcp/127\.0\.0\.1:\d+\), mover push: ")
            self.assertEqual(lines["Not used"], ["link ucx (ucx), mover rendezvous: streams move host memory "
                                                 "to and from peers on this host"])
            self.assertNotIn("No way", lines)
            # Nobody has used the key.
            status, outcome = server.json("GET", "/v1/transfers/" + answer["transfer"])
            self.assertEqual((status, outcome["state"]), (200, "waiting"))

    def test_the_metadata_may_come_alone_or_in_an_answer_and_from_stdin(self):
        with self.serve() as server:
            answer = self.answer(server)
            report = self.ask(self.keep("answer", answer))
            self.assertEqual(self.ask(self.keep("metadata", answer["metadata"])), report)
            path = self.keep("input", answer)
            with open(path, "rb") as file:
                self.assertEqual(self.ask("-", stdin=file), report)

    def test_options_change_the_way(self):
        with self.serve() as server:
            path = self.keep("answer", self.answer(server))
            first, second, _ = self.ask(path, "--transports", "stream")["ways"]
            self.assertEqual((first["use"], first["why"]),
                             ("none", "the option transports leaves it out here"))
            self.assertEqual((second["use"], second["link"], second["mover"]), ("first", "stream", "push"))
            ways = self.ask(path, "--transports", "tcp,self")["ways"]
            self.assertEqual([(way["use"], way["link"]) for way in ways],
                             [("first", "ucx"), ("asks", "stream"), ("asks", "stream")])
            self.assertEqual(ways[0]["why"], "the option transports names UCX's")
            lines = self.tell(path, "--device", "cuda:1")
            self.assertEqual(lines["Memory here"], ["of a device"])
            self.assertIn("only UCX moves memory of a device", lines["Used"][0])
            self.assertEqual(len(lines["Asked by"]), 2)

    def test_where_a_ucx_is_needed_and_none_can_be_loaded_there_is_no_way(self):
        with self.serve() as server:
            path = self.keep("answer", self.answer(server))
            environment = dict(os.environ, ROPEWAY_UCX="/nonexistent")
            lines = self.tell(path, "--device", "cuda:0", code=1, env=environment)
            self.assertEqual(lines["UCX"], ["needed, and none can be used"])
            self.assertIn("ROPEWAY_UCX=/nonexistent leads to none", lines["No way"][0])
            self.assertNotIn("Used", lines)
            self.assertIn("Used", self.tell(path, env=environment))

    def test_there_is_no_way_to_a_server_that_is_gone(self):
        with self.serve() as server:
            path = self.keep("answer", self.answer(server))
            server.end(signal.SIGTERM)
            report = self.ask(path, code=1)
            self.assertEqual(report["error"]["name"], "ROPEWAY_ERR_UNREACHABLE")
            self.assertRegex(report["error"]["text"], r"PID \d+ on this host\) has ended")
            self.assertEqual({way["use"] for way in report["ways"]}, {"none"})
            self.assertEqual(report["ways"][0]["why"], "nobody listens there in this network namespace")

    def test_what_is_no_metadata_is_refused(self):
        for data, piece in ((b"", "must be a JSON object"), (b"{}", "descriptors"), (b"\x1b[2J", "?"),
                            (b'{"metadata": 1}', "metadata"), (b" " * (17 << 20), "File too large"),
                            (b"[" * 300000, "")):
            with self.subTest(data=data[:20]):
                result = run("doctor", "--peer", self.keep("wrong", data))
                self.assert_failed(result)
                self.assertIn(piece, result.stderr)
                self.assertNotIn("\x1b", result.stderr)
        result = run("doctor", "--peer", os.path.join(self.here, "missing"))
        self.assert_failed(result)
        self.assertIn("No such file", result.stderr)
        result = run("doctor", "--peer", self.here)
        self.assert_failed(result)
        self.assertIn("Is a directory", result.stderr)

    def test_wrong_command_lines_end_with_2(self):
        for arguments, piece in (
                (["--peer"], "--peer"), (["--peer", "http://127.0.0.1:9/x"], "is a URL"),
                (["--peer", "-", "--listen", "127.0.0.1:0"], "--listen does not go with --peer"),
                (["--transports", "stream"], "go with --peer"), (["--net-devices", "lo"], "go with --peer"),
                (["--device", "cpu"], "go with --peer"), (["--peer", "-", "--device", "tape"], "tape"),
                (["--peer", "-", "x"], "'x'")):
            with self.subTest(arguments=arguments):
                result = run("doctor", *arguments)
                self.assert_failed(result, code=2)
                self.assertIn(piece, result.stderr)


if __name__ == "__main__":
    main()
