# SPDX-License-Identifier: Apache-2.0
"""The interface of `ropeway serve`, over each channel."""
import contextlib
import json
import os
import re
import socket
import unittest

from support import CHANNEL, MIB, Server, TestCase, http_only, main, run, wait_for

READ = "/v1/objects/%s/read"
WRITE = "/v1/objects/%s/write"


def listening_ports(pid):
    """The TCP addresses, (host, port), that a process listens at; its IPv6 ones as ("::", port)."""
    inodes = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        match = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(f"/proc/{pid}/fd/{name}"))
        if match:
            inodes.add(match[1])
    found = set()
    for table in ("tcp", "tcp6"):
        with open(f"/proc/{pid}/net/{table}", encoding="ascii") as lines:
            for fields in map(str.split, lines.readlines()[1:]):
                if fields[3] == "0A" and fields[9] in inodes:
                    host, port = fields[1].split(":")
                    found.add((socket.inet_ntoa(bytes.fromhex(host)[::-1]) if table == "tcp" else "::",
                               int(port, 16)))
    return found


class Interface(TestCase):
    @http_only
    def test_prints_one_line_and_ends_quietly(self):
        with Server(self.offered) as server:
            self.assertRegex(server.line,
                             r"\Aropeway: serving on http://127\.0\.0\.1:[1-9]\d*/\n\Z")
            server.process.terminate()
            self.assertEqual(server.process.communicate(), ("", ""))
            self.assertEqual(server.process.returncode, 0)

    @http_only
    def test_listens_on_ipv6(self):
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError as error:
            raise unittest.SkipTest(f"no IPv6 here: {error}")
        self.write("file", b"six")
        with Server(self.offered, listen="[::1]:0") as server:
            self.assertRegex(server.url, r"\Ahttp://\[::1\]:\d+/\Z")
            self.assert_done(self.get(server.url + "file"))

    @http_only
    def test_address_in_use(self):
        with Server(self.offered) as server:
            self.assert_failed(run("serve", "--listen", "%s:%d" % server.address, self.offered),
                               says="in use")

    @http_only
    def test_warns_of_an_open_address_without_token(self):
        with Server(self.here, listen="0.0.0.0:0") as server:
            code, errors = server.end()
        self.assertEqual(code, 0)
        self.assert_one_sentence(errors)
        self.assertIn("warning: ", errors)
        token = self.write_token("token", b"secret\n")
        with Server("--token-file", token, self.here, listen="0.0.0.0:0") as server:
            self.assertEqual(server.end(), (0, ""))

    def test_lists_files_by_relative_name(self):
        self.write("a", 5)
        self.write("dir/b c", 0)
        self.write("dir/deep/\u00fc%", 7)
        alone = os.path.join(self.uploads, "alone")
        with open(alone, "wb") as file:
            file.write(b"123")
        os.mkfifo(os.path.join(self.offered, "fifo"))
        with Server(self.offered, alone) as server:
            status, answer = server.json("GET", "/v1/objects")
            self.assertEqual(status, 200)
            sizes = {entry["name"]: entry["size"] for entry in answer["objects"]}
            self.assertEqual(sizes, {"a": 5, "dir/b c": 0, "dir/deep/\u00fc%": 7, "alone": 3})
            self.write("later", 1)
            result = run("ls", server.url)
            self.assert_done(result)
            self.assertEqual([line[12:] for line in result.stdout.splitlines()],
                             ["a", "alone", "dir/b c", "dir/deep/\u00fc%", "later"])
            below = run("ls", server.url + "dir")
            self.assertEqual(len(below.stdout.splitlines()), 2, below)
            self.assert_failed(run("ls", server.url + "di"), says="'di'")

    @http_only
    def test_names_that_collide(self):
        self.write("dir/same", 1)
        other = os.path.join(self.uploads, "dir")
        os.mkdir(other)
        with open(os.path.join(other, "same"), "wb"):
            pass
        result = run("serve", "--listen", "127.0.0.1:0", self.offered, self.uploads)
        self.assert_failed(result, says="'dir/same'")
        self.assertIn(f"'{self.offered}' and '{self.uploads}'", result.stderr)

    def test_read_answers_with_metadata_of_the_range(self):
        self.write("file", 1000)
        with Server(self.offered) as server:
            for body, offset, length in ((None, 0, 1000), ({}, 0, 1000),
                                         ({"offset": 10, "length": 20}, 10, 20),
                                         ({"offset": 990, "length": 20}, 990, 10),
                                         ({"offset": 1000}, 1000, 0)):
                status, answer = server.json("POST", READ % "file", body)
                self.assertEqual(status, 200, answer)
                self.assertEqual([answer[key] for key in ("name", "size", "offset", "length")],
                                 ["file", 1000, offset, length])
                metadata = answer["metadata"]
                self.assertEqual(metadata["operation_kind"], 1)
                self.assertEqual([d["size"] for d in metadata["descriptors"]], [length])
                self.assertEqual(server.json("GET", "/v1/transfers/" + answer["transfer"])[1]["state"],
                                 "waiting")
            self.assertEqual(server.json("POST", READ % "file", {"offset": 1001})[0], 416)

    def test_wrong_requests_get_a_sentence(self):
        self.write("file", 1000)
        os.mkdir(os.path.join(self.uploads, "taken"))
        with Server("--writable", self.uploads, self.offered) as server:
            self.assertEqual(server.json("POST", READ % "file")[0], 200)
            for status, method, target, body in (
                    (404, "GET", "/", None), (404, "GET", "/v1", None), (404, "GET", "/v2/objects", None),
                    (404, "POST", "/v1/objects/file", None), (404, "POST", "/v1/objects/file/erase", None),
                    (404, "POST", READ % "missing", None), (404, "GET", "/v1/transfers/1", None),
                    (404, "GET", "/v1/transfers/" + "0" * 32, None),
                    (400, "GET", "/v1/transfers/" + "0" * 32 + "?wait=99", None),
                    (405, "POST", "/v1/objects", b""), (405, "GET", READ % "file", None),
                    (405, "PUT", READ % "file", b""), (405, "DELETE", "/metrics", None),
                    (400, "POST", READ % "file", b"{"), (400, "POST", READ % "file", b"[]"),
                    (400, "POST", READ % "file", b"\xff"), (400, "POST", READ % "file", b'{"offset":"1"}'),
                    (400, "POST", READ % "file", b'{"offset":-1}'),
                    (400, "POST", READ % "file", b'{"length":1.5}'),
                    (400, "POST", READ % "file", b'{"offset":99999999999999999999}'),
                    (400, "POST", READ % "file", b'{"checksum":1}'),
                    (400, "POST", READ % "file", b'{"offset":1,"offset":2}'),
                    (400, "POST", WRITE % "new", b"{}"), (400, "POST", WRITE % "new", b'{"size":true}'),
                    (400, "POST", WRITE % "new", b'{"size":1,"checksum":"md5"}'),
                    (400, "POST", WRITE % "new", b"[" * 5000),
                    (409, "POST", WRITE % "taken", b'{"size":1}'),
                    (413, "POST", READ % "file", b" " * 70000),
                    (414, "POST", READ % ("x" * 20000), None)):
                if CHANNEL == "nats" and (status in (405, 414) or not re.fullmatch(
                        r"/v1/(objects/.*/(read|write)|transfers/.*)", target)):
                    continue  # no message says this
                with self.subTest(method=method, target=target[:60], body=body and body[:30]):
                    got, headers, text = server.request(method, target, body)
                    self.assertEqual(got, status, text)
                    self.assertRegex(text.decode(), r'\A\{"error":".{10,}"\}\Z')
                    if CHANNEL == "nats":
                        self.assertEqual(headers["Nats-Service-Error-Code"], str(status))
                        self.assertEqual(headers["Nats-Service-Error"], json.loads(text)["error"])
                    else:
                        self.assertEqual(headers["Content-Type"], "application/json")
                        self.assertEqual(status == 405, "Allow" in headers)
            self.assertEqual(server.json("GET", "/healthz")[0], 200)

    @http_only
    def test_a_body_without_length_is_bounded(self):
        self.write("file", 10)
        with Server(self.offered) as server, socket.create_connection(server.address) as client:
            client.sendall(b"POST /v1/objects/file/read HTTP/1.1\r\nHost: x\r\n"
                           b"Transfer-Encoding: chunked\r\n\r\n")
            with self.assertRaises(ConnectionError):
                for _ in range(100000):
                    client.sendall(b"1000\r\n" + b" " * 4096 + b"\r\n")
            self.assertEqual(server.json("GET", "/healthz")[0], 200)

    @http_only
    def test_metrics_are_prometheus_text(self):
        self.write("file", 3 * MIB)
        with Server(self.offered) as server:
            self.assert_done(self.get(server.url + "file"))
            status, headers, text = server.request("GET", "/metrics")
            self.assertEqual(status, 200)
            self.assertTrue(headers["Content-Type"].startswith("text/plain; version=0.0.4"))
            types = {}
            for line in text.decode().splitlines():
                if line.startswith("# TYPE "):
                    name, kind = line.split()[2:]
                    self.assertIn(kind, ("counter", "gauge"))
                    self.assertEqual(kind == "counter", name.endswith("_total"), name)
                    types[name] = kind
                elif line.startswith("# HELP "):
                    self.assertRegex(line, r"^# HELP ropeway_\w+ [A-Z].*\w\.$")
                else:
                    sample = re.fullmatch(r'([a-z_]+)(\{\w+="[^"]*"(,\w+="[^"]*")*\})? (\d+)', line)
                    self.assertIsNotNone(sample, line)
                    self.assertIn(sample.group(1), types)
            units = {"ropeway_peers", "ropeway_inflight_bytes", "ropeway_registered_bytes", "ropeway_wakeups_total"}
            self.assertLessEqual(units, set(types))
            samples = server.metrics()
            self.assertEqual(samples["ropeway_sent_bytes_total"], 3 * MIB)
            self.assertEqual(samples['ropeway_transfers_total{kind="read",outcome="complete"}'], 1)
            self.assertEqual(samples["ropeway_operations_live"], 0)

    def test_token_is_asked_of_every_request(self):
        self.write("file", b"x")
        token = self.write_token("token", b"s3cret-token\n")
        wrong = self.write_token("wrong", b"s3cret-tokem\n")
        with Server("--token-file", token, "--writable", self.uploads, self.offered) as server:
            authorized = {"Authorization": "Bearer s3cret-token"}
            status, _, _ = server.request("POST", READ % "file", headers=authorized)
            self.assertEqual(status, 200)
            targets = [("GET", "/v1/objects"), ("POST", READ % "file"), ("POST", WRITE % "x"),
                       ("GET", "/v1/transfers/" + "0" * 32)]
            if CHANNEL == "http":
                targets += [("GET", "/metrics"), ("GET", "/nothing"), ("GET", "/healthz/")]
            for method, target in targets:
                for header in (None, "Bearer s3cret-toke", "Bearer s3cret-token2", "Bearer ",
                               "Basic s3cret-token", "s3cret-token"):
                    headers = {"Authorization": header} if header else {}
                    status, answered, _ = server.request(method, target, headers=headers)
                    self.assertEqual(status, 401, (target, header))
                    if CHANNEL == "http":
                        self.assertEqual(answered["WWW-Authenticate"], "Bearer")
            self.assertEqual(server.request("GET", "/v1/objects", headers=authorized)[0], 200)
            for arguments in (["get", server.url + "file"], ["ls", server.url],
                              ["put", token, server.url]):
                self.assert_failed(run(*arguments, cwd=self.here), says="401")
                self.assert_failed(run(*arguments, "--token-file", wrong, cwd=self.here), says="401")
                self.assert_done(run(*arguments, "--token-file", token, cwd=self.here))
                self.assert_done(run(*arguments, cwd=self.here,
                                     env=dict(os.environ, ROPEWAY_TOKEN="s3cret-token")))
        self.assertEqual(os.listdir(self.here), ["file"])

    def test_max_clients_bounds_transfers(self):
        self.write("file", 100)
        with Server("--max-clients", "1", "--begin-limit", "3", self.offered) as server:
            status, held = server.json("POST", READ % "file")
            self.assertEqual(status, 200)
            status, headers, text = server.request("POST", READ % "file")
            self.assertEqual((status, headers["Retry-After"]), (503, "1"), text)
            self.assert_failed(self.get("--timeout", "0.2", server.url + "file"), says="limit")
            # The transfer that nobody begins gives its place up, and who was patient gets it.
            self.assert_done(self.get("--timeout", "30", server.url + "file"))
            outcome = server.json("GET", "/v1/transfers/" + held["transfer"])[1]
            self.assertEqual(outcome["state"], "failed")
            self.assertIn("not begun", outcome["error"])
            self.assertGreaterEqual(server.metrics()["ropeway_transfers_refused_total"], 2)

    def test_bytes_go_by_one_port_that_is_chosen(self):
        source = self.write("file", 4 * MIB + 1)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            self.assert_failed(run("serve", "--listen", "127.0.0.1:0", "--data-port", str(port), self.offered),
                               says=f"port {port} ")
            # Of a range the first free one.
            options = ["--writable", self.uploads, "--data-port", f"{port}-{min(port + 50, 65535)}"]
            with Server(*options, self.offered) as server:
                ports = sorted(listening_ports(server.process.pid))
                self.assertEqual(len(ports), 2)  # one for requests, one for bytes
                self.assertIn(("127.0.0.1", server.address[1]), ports)
                ports.remove(("127.0.0.1", server.address[1]))
                self.assertEqual(ports[0][0], "127.0.0.1")
                self.assertTrue(port < ports[0][1] <= port + 50)
                for transports, path in (([], "local pull"),
                                         (["--transports", "stream"], f"tcp/127.0.0.1:{ports[0][1]}")):
                    got = run("get", "--json", *transports, server.url + "file", "-o", "got", cwd=self.here)
                    self.assert_done(got)
                    self.assertEqual(json.loads(got.stdout)["path"], path)
                    self.assert_same(source, os.path.join(self.here, "got"))
                    self.assert_done(run("put", *transports, source, server.url + "sent"))
                    self.assert_same(source, os.path.join(self.uploads, "sent"))
                self.assertEqual(server.end(), (0, ""))

    def test_without_options_bytes_go_to_the_address_of_requests(self):
        source = self.write("file", MIB)
        with Server(self.offered) as server:
            self.assert_done(run("get", "--transports", "stream", server.url + "file", "-o", "got", cwd=self.here))
            self.assert_same(source, os.path.join(self.here, "got"))
            ports = listening_ports(server.process.pid)
            self.assertEqual(len(ports), 2)
            self.assertEqual({host for host, _ in ports}, {"127.0.0.1"})
            with open(f"/proc/{server.process.pid}/maps", encoding="utf-8") as maps:
                self.assertNotIn("libucp", maps.read())

    def test_a_data_port_that_can_not_be(self):
        for options in (["--data-port", "x"], ["--data-port", "2-1"], ["--data-port", "65536"],
                        ["--data-port", "1", "--transports", "tcp"],
                        ["--data-advertise", "10.0.0.1", "--transports", "tcp"]):
            self.assert_failed(run("serve", *options, self.offered), code=2, says="--data-")

    @http_only
    def test_a_data_port_that_can_not_be_reached_is_named(self):
        self.write("file", MIB)
        with socket.create_server(("127.0.0.1", 0), backlog=0) as silent, contextlib.ExitStack() as stack:
            address = silent.getsockname()
            for _ in range(4):  # who comes now gets no answer, as behind a firewall
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(address)
            for place in ("127.0.0.1:1", f"127.0.0.1:{address[1]}"):
                with self.subTest(place=place), Server("--data-advertise", place, self.offered) as server:
                    self.assert_failed(self.get("--transports", "stream", server.url + "file"), says=place)

    def test_many_clients_at_once(self):
        data = [self.write(f"file{i}", 200000 + i) for i in range(8)]
        with Server("--max-clients", "3", self.offered) as server:
            clients = [self.start_get("--verify", server.url + os.path.basename(path))
                       for path in data]
            for client in clients:
                self.assertEqual(self.finish(client), (0, ""))
        for path in data:
            self.assert_same(path, os.path.join(self.here, os.path.basename(path)))

    def test_outcome_waits_for_the_end(self):
        self.write("file", 100)
        with Server("--begin-limit", "0.5", self.offered) as server:
            _, answer = server.json("POST", READ % "file")
            target = "/v1/transfers/%s?wait=20" % answer["transfer"]
            self.assertEqual(server.json("GET", target)[1]["state"], "failed")
            wait_for(lambda: server.metrics()["ropeway_operations_live"] == 0, "quiet")


if __name__ == "__main__":
    main()
