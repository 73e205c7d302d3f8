# SPDX-License-Identifier: Apache-2.0
"""What the command does over NATS alone; the other files check there what HTTP is checked for."""
import concurrent.futures
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import unittest

import nats_accounts
from nats_support import PATIENCE, HostileServer, NatsClient, NatsServer, shared_server
from support import (GIB, MIB, Server, TestCase, bounded_memory, free_port_is_refused, is_sanitized, main, new_prefix,
                     run, start, wait_for)

SENT = "ropeway_sent_bytes_total"
RECEIVED = "ropeway_received_bytes_total"


def memory_of(process, kind):
    """Bytes, of a line in the kernel's status of a process."""
    with open(f"/proc/{process.pid}/status", encoding="utf-8") as file:
        found = re.search(rf"^{kind}:\s+(\d+) kB", file.read(), re.MULTILINE)
    return int(found.group(1)) * 1024 if found else 0


class Login(TestCase):
    def setUp(self):
        super().setUp()
        self.write("file", 1000)

    def assert_all_done(self, url):
        self.assert_done(run("ls", url))
        self.assert_done(self.get("--verify", url + "file"))
        self.assert_done(run("put", os.path.join(self.here, "file"), url + "new"))

    def assert_all_refused(self, url, says, *options):
        for arguments in (["ls", url], ["get", url + "file"],
                          ["put", os.path.join(self.offered, "file"), url]):
            self.assert_failed(run(*arguments, *options, cwd=self.here), says=says)

    def serve(self, nats, *options):
        return Server("--writable", self.uploads, *options, self.offered, nats=nats)

    def assert_serve_fails(self, nats_url, says, *options):
        result = run("serve", "--nats", nats_url, *options, self.offered)
        self.assert_failed(result, says=says)
        self.assertEqual(result.stdout, "")

    def check_login(self, config, login, wrong_logins):
        with NatsServer(config, login) as nats, self.serve(nats) as server:
            self.assertNotIn(login, server.line)
            self.assert_all_done(server.url)
            for wrong in wrong_logins:
                with self.subTest(wrong=wrong):
                    url = f"nats://{wrong}127.0.0.1:{nats.port}"
                    self.assert_all_refused(f"{url}/{server.prefix}/", "refuses the login")
                    self.assert_serve_fails(url, "refuses the login")
            self.assertEqual(server.end(), (0, ""))

    def test_token(self):
        self.check_login('authorization { token: "t0k:e/n" }', "t0k%3Ae%2Fn@", ("", "t0k@", "a:b@"))

    def test_user_and_password(self):
        self.check_login('authorization { user: rope, password: "s3cr@t" }', "rope:s3cr%40t@",
                         ("", "rope@", "rope:wrong@", "way:s3cr%40t@"))

    def test_creds_file(self):
        config, text = nats_accounts.make()
        creds = self.write("creds", text.encode())
        stranger = self.write("stranger", nats_accounts.make()[1].encode())
        nonsense = self.write("nonsense", b"nonsense\n")
        with NatsServer(config) as nats:
            self.assert_serve_fails(nats.url, "refuses the login")
            self.assert_serve_fails(nats.url, "refuses the login", "--nats-creds", stranger)
            self.assert_serve_fails(nats.url, "'missing'", "--nats-creds", "missing")
            with self.serve(nats, "--nats-creds", creds) as server:
                self.assert_all_refused(server.url, "refuses the login")
                self.assert_all_refused(server.url, "refuses the login", "--nats-creds", stranger)
                self.assert_all_refused(server.url, "", "--nats-creds", nonsense)
                self.assert_done(self.get("--nats-creds", creds, server.url + "file"))

    def test_permissions(self):
        config = """authorization { users: [
            {user: all, password: x},
            {user: list, password: x, permissions: {publish: ["*.*.list"], subscribe: ["_INBOX.>"]}},
            {user: deaf, password: x, permissions: {publish: [">"], subscribe: ["nothing"]}}]}"""
        with NatsServer(config, "all:x@") as nats, self.serve(nats) as server:
            url = server.url.replace("all:x@", "list:x@")
            self.assert_done(run("ls", url))
            self.assert_failed(self.get(url + "file"), says="Permissions Violation for Publish")
            url = server.url.replace("all:x@", "deaf:x@")
            self.assert_failed(run("ls", "--timeout", "20", url), says="Permissions Violation for Subs")
            for user in ("deaf", "list"):
                self.assert_serve_fails(nats.url.replace("all:", user + ":"), "Permissions Violation")

    def test_least_permissions(self):
        prefix = new_prefix()
        config = f"""authorization {{ users: [
            {{user: owner, password: x, permissions: {{subscribe: ["{prefix}.>"], allow_responses: true}}}},
            {{user: user, password: x, permissions: {{publish: ["{prefix}.>"], subscribe: ["_INBOX.>"]}}}}]}}"""
        with NatsServer(config, "owner:x@") as nats, \
                Server("--writable", self.uploads, self.offered, nats=nats, prefix=prefix) as server:
            self.assert_all_done(server.url.replace("owner:", "user:"))
            self.assertEqual(server.end(), (0, ""))

    def test_tls(self):
        def openssl(*arguments):
            subprocess.run(["openssl", *arguments], cwd=self.directory, check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def certificate(name, subject, *options):
            openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", "/CN=" + subject, "-keyout", name + ".key", "-out",
                    name + ".pem", *options)

        certificate("ca", "Ropeway test")
        for name, host in (("right", "IP:127.0.0.1"), ("wrong", "DNS:elsewhere.test")):
            certificate(name, name, "-CA", "ca.pem", "-CAkey", "ca.key", "-addext",
                        "subjectAltName=" + host)
        pem = {name: os.path.join(self.directory, name) for name in ("ca", "right", "wrong")}
        config = 'tls {{ cert_file: "{0}.pem", key_file: "{0}.key", ca_file: "{1}.pem", verify: {2} }}'
        trust = ["--tls-ca", pem["ca"] + ".pem"]
        show = ["--tls-cert", pem["right"] + ".pem", "--tls-key", pem["right"] + ".key"]
        with NatsServer(config.format(pem["right"], pem["ca"], "false"), scheme="tls") as nats, \
                self.serve(nats, *trust) as server:
            self.assert_done(self.get(*trust, server.url + "file"))
            self.assert_all_refused(server.url, "no TLS")
            self.assert_all_refused(server.url.replace("tls:", "nats:"), "no TLS")
            self.assert_serve_fails(nats.url, "no TLS")
            self.assert_all_refused(server.url, "missing.pem", "--tls-ca", "missing.pem")
        with NatsServer(config.format(pem["right"], pem["ca"], "true"), scheme="tls") as nats, \
                self.serve(nats, *trust, *show) as server:
            self.assert_done(self.get(*trust, *show, server.url + "file"))
            self.assert_failed(self.get(*trust, server.url + "file"))
        with NatsServer(config.format(pem["wrong"], pem["ca"], "false"), scheme="tls") as nats:
            self.assert_serve_fails(nats.url, "no TLS", *trust)
        with NatsServer() as nats:
            self.assert_serve_fails(nats.url.replace("nats:", "tls:"), "does not offer TLS")

    def test_login_that_is_taken_away(self):
        with NatsServer('authorization { user: rope, password: way }', "rope:way@") as nats, \
                self.serve(nats) as server:
            nats.stop()
            nats.config = 'authorization { user: rope, password: other }'
            nats.start()
            _, errors = server.process.communicate(timeout=PATIENCE)
            self.assertEqual(server.process.returncode, 1, errors)
            self.assertIn("for good", errors)


class Nobody(TestCase):
    def test_no_nats_server(self):
        reserved, url = free_port_is_refused()
        with reserved:
            url = url.replace("http:", "nats:")[:-1]
            source = self.write("file", b"x")
            for arguments in (["get", url + "/p/x"], ["ls", url + "/p"], ["put", source, url + "/p/"],
                              ["serve", "--nats", url, self.offered]):
                self.assert_failed(run(*arguments, cwd=self.here), says="can't reach " + url)
        self.assert_empty(self.here)

    def test_what_is_no_nats_server(self):
        for greeting in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 5000, b"INFO {}\r\n",
                         b"INFO {" + b'"a":{' * 5000, b"-ERR 'no'\r\n", b"PING\r\n", b""):
            listener = socket.create_server(("127.0.0.1", 0))

            def greet(listener=listener, greeting=greeting):
                with contextlib.suppress(OSError):
                    while True:
                        client, _ = listener.accept()
                        with client:
                            client.sendall(greeting)

            threading.Thread(target=greet, daemon=True).start()
            with self.subTest(greeting=greeting[:20]), listener:
                url = "nats://127.0.0.1:%d" % listener.getsockname()[1]
                self.assert_failed(run("ls", "--timeout", "2", url + "/p"))
                self.assert_failed(run("serve", "--nats", url, self.offered))

    def test_a_nats_server_that_says_nothing(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = "nats://127.0.0.1:%d/p" % silent.getsockname()[1]
            self.assert_failed(run("ls", "--timeout", "0.5", url), says="can't reach")
            silent.accept()[0].close()
            hanging = start("ls", "--timeout", "600", url)
            with silent.accept()[0]:
                hanging.send_signal(signal.SIGINT)
            code, errors = self.finish(hanging)
            self.assertEqual(code, 130, errors)

    def test_a_nats_server_whose_messages_are_larger_than_the_memory(self):
        def answer(client, reply, number):
            client.sendall(b"MSG %s %s %d\r\n" % (reply, number, 3 * GIB))
            for _ in range(3 * GIB // MIB):
                client.sendall(bytes(MIB))

        with HostileServer(on_request=answer) as hostile:
            result = self.get("--timeout", "3", hostile.url + "/p/file", preexec_fn=bounded_memory(512 * MIB))
            self.assert_failed(result)
            self.assert_empty(self.here)

    def test_nobody_answers_the_subject(self):
        nats, _ = shared_server()
        source = self.write("file", b"x")
        with Server(self.offered) as server:
            for prefix in (new_prefix(), server.prefix + ".more", server.prefix[:-1]):
                url = f"{nats.url}/{prefix}/"
                for arguments in (["get", url + "file"], ["ls", url], ["put", source, url]):
                    self.assert_failed(run(*arguments, cwd=self.here), says="nobody answers")
        self.assert_failed(run("ls", server.url), says="nobody answers")
        self.assert_empty(self.here)


class Hostile(TestCase):
    """A NATS server that was taken over, or another in its place. SECURITY.md says what it can do."""

    # Sizes are those of the headers and of the whole message. From 2 GiB less 32 KiB on the NATS library miscounts.
    # The large ones get no memory, which a sanitizer does not let go by in silence.
    LARGE = (b"HMSG %s %s 12 2000000000\r\nNATS/1.0\r\n\r\n", b"MSG %s %s 2000000000\r\n",
             b"MSG %s %s 2147400000\r\nx", b"MSG %s %s 1100000000\r\nx")
    MESSAGES = (b"MSG %s %s 1000000000\r\n", b"MSG %s %s 2147483648\r\n",
                b"MSG %s %s 99999999999999999999\r\n", b"MSG %s %s -1\r\n", b"MSG %s %s\r\n",
                b"HMSG %s %s 1000000000 1000000000\r\nNATS/1.0\r\n", b"HMSG %s %s 12 4\r\nNATS/1.0\r\n\r\n\r\n",
                b"HMSG %s %s 12 1000000000\r\nNATS/1.0\r\n\r\n", b"HMSG %s %s -1 10\r\n",
                b"HMSG %s %s 4 4\r\nNATS\r\n", b"HMSG %s %s 16 16\r\nNATS/1.0\r\nX: 1\r\n\r\n",
                b"HMSG %s %s 1000008 1000008\r\nNATS/1.0\r\n" + b"X: y\r\n" * 166666 + b"\r\n\r\n",
                b"MSG " + b"x" * 100000 + b" %s %s 1\r\n", b"INFO %s %s\r\n") + \
        (() if is_sanitized() else LARGE)
    HELLOS = tuple({"max_payload": size} for size in (0, -1, 1, 2 ** 31, 2 ** 63 - 1, 2 ** 64, 1e300, "x", None, [])) + \
        ({"headers": "x"}, {"proto": -1}, {"connect_urls": ["x" * 60000] * 10}, {"connect_urls": 7},
         {"nonce": "x" * 60000})

    @staticmethod
    def try_each(function, values):
        """Calls it for each value; most of the time each waits."""
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(function, values))

    def test_answers_with_sizes_that_are_none(self):
        def ask(message):
            def answer(client, reply, number):
                client.sendall(message % (reply, number))

            with HostileServer(on_request=answer) as hostile:
                for arguments in (["get", hostile.url + "/p/file"], ["ls", hostile.url + "/p"]):
                    self.assert_failed(run(*arguments, "--timeout", "1", cwd=self.here))

        self.try_each(ask, self.MESSAGES)
        self.assert_empty(self.here)

    def test_greetings_with_numbers_that_are_none(self):
        source = self.write("file", 1000)

        def ask(hello):
            with HostileServer(hello) as hostile:
                self.assert_failed(run("put", "--timeout", "1", source, hostile.url + "/p/file"))

        self.try_each(ask, self.HELLOS)

    @unittest.skipIf(is_sanitized(), "a sanitizer takes terabytes of addresses for itself")
    def test_what_is_announced_takes_no_memory_before_it_comes(self):
        # The NATS library takes the room at once, but nothing is in it.
        def answer(client, reply, number):
            client.sendall(b"MSG %s %s %d\r\nx" % (reply, number, 900 * MIB))

        with HostileServer(on_request=answer) as hostile, \
                start("ls", "--timeout", "600", hostile.url + "/p") as client:
            wait_for(lambda: memory_of(client, "VmSize") > 900 * MIB, "the room")
            self.assertLess(memory_of(client, "VmRSS"), 200 * MIB)
            client.send_signal(signal.SIGINT)
            self.assertEqual(self.finish(client)[0], 130)

    def test_a_server_goes_on_over_http(self):
        self.write("file", 1000)

        def serve(message):
            started, sent = threading.Event(), threading.Event()

            def send(client, subscriptions):
                started.wait(PATIENCE)
                subject, number = next(pair for pair in subscriptions.items() if pair[0].endswith(b".list"))
                with contextlib.suppress(OSError):
                    client.sendall(message % (subject, number))
                    client.sendall(bytes(300 * MIB if message == self.MESSAGES[0] else 0))
                sent.set()

            with HostileServer(on_server=send) as hostile, \
                    Server(self.offered, nats=hostile) as server:
                started.set()
                sent.wait(PATIENCE)
                self.assert_done(run("get", "-o", "/dev/null", "http://%s:%d/file" % server.address))
                self.assertEqual(server.request("GET", "/healthz")[0], 200)

        self.try_each(serve, self.MESSAGES)


class Usage(TestCase):
    def test_wrong_command_lines_end_with_2(self):
        nats = "nats://127.0.0.1:9"
        for arguments in (["serve", "--subject", "p", "."], ["serve", "--nats-creds", "f", "."],
                          ["serve", "--nats", nats], ["serve", "--nats"],
                          ["serve", "--nats", nats, "--tls-cert", "f", "."],
                          ["ls", "--tls-key", "f", nats + "/p"], ["get", nats + "/p"],
                          ["get", nats + "/p/"], ["get", nats + "/p/dir/"]):
            with self.subTest(arguments=arguments):
                self.assert_failed(run(*arguments), code=2)
        for subject in ("", ".a", "a.", "a..b", "a b", "a.*", "a.>", "$SYS", "_INBOX.a", "\u00fc", "x" * 300):
            with self.subTest(subject=subject):
                self.assert_failed(run("serve", "--nats", nats, "--subject", subject, "."), code=2)

    def test_wrong_urls(self):
        for url in ("nats://", "nats:///p/x", "nats://127.0.0.1", "nats://127.0.0.1/", "nats://127.0.0.1//x",
                    "nats://127.0.0.1:99999/p/x", "nats://127.0.0.1/a.*/x", "nats://127.0.0.1/>/x",
                    "nats://127.0.0.1/a%20b/x", "nats://127.0.0.1/p/../x", "nats://127.0.0.1/p/a%00b",
                    "nats://127.0.0.1/p/x?y", "nats://127.0.0.1/p/x#y", "nats://127.0.0.1/$SYS/x"):
            with self.subTest(url=url):
                self.assert_failed(run("get", "-o", os.devnull, url), code=2)
        for url in ("127.0.0.1:4222", "http://127.0.0.1:4222", "nats://127.0.0.1/p", "nats://"):
            with self.subTest(url=url):
                self.assert_failed(run("serve", "--nats", url, self.offered))

    def test_a_password_is_not_repeated(self):
        for arguments in (["ls", "nats://rope:s3cret@127.0.0.1:9/p"],
                          ["ls", "nats://rope:s3cret@127.0.0.1:9/"],
                          ["ls", "nats://s3cret@127.0.0.1:x/p"],
                          ["serve", "--nats", "nats://rope:s3cret@127.0.0.1:9/p", "."]):
            result = run(*arguments)
            self.assertNotEqual(result.returncode, 0)
            self.assertNotIn("s3cret", result.stdout + result.stderr)


class Alone(TestCase):
    def test_serves_without_http(self):
        self.write("file", 1000)
        nats, _ = shared_server()
        prefix = new_prefix()
        serving = start("serve", "--nats", nats.url, "--subject", prefix, self.offered, encoding="utf-8")
        line = serving.stdout.readline()
        self.assertEqual(line, f"ropeway: serving on {nats.base}/{prefix}/\n")
        listening = subprocess.run(["ss", "-Hltnp"], capture_output=True, encoding="utf-8", check=True)
        self.assertNotIn(":8470 ", listening.stdout)
        self.assert_done(self.get("--verify", line.split()[-1] + "file"))
        serving.terminate()
        out, log = serving.communicate(timeout=PATIENCE)
        self.assertEqual((out, log.count("\n")), ("", 1))
        self.assertIn("read of 'file' complete", log)
        self.assertEqual(serving.returncode, 0)

    def test_warns_of_an_open_nats_server(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))  # sends nothing
            except OSError as error:
                self.skipTest(f"this machine has loopback only: {error}")
            host = probe.getsockname()[0]
        token = self.write_token("token", b"secret\n")
        with NatsServer(host=host) as nats:
            with Server(self.here, nats=nats) as server:
                code, errors = server.end()
            self.assertEqual(code, 0)
            self.assert_one_sentence(errors)
            self.assertIn("warning: who can reach nats://", errors)
            with Server("--token-file", token, self.here, nats=nats) as server:
                self.assertEqual(server.end(), (0, ""))

    def test_messages_that_ask_nothing(self):
        nats, _ = shared_server()
        self.write("file", 10)
        with Server(self.offered) as server, NatsClient(nats) as other:
            for action in ("read", "write", "list", "transfer"):
                other.publish(f"{server.prefix}.{action}", b"{}")
            for headers in ({"Authorization": "x" * 3000}, {"Nats-Msg-Id": "1"}):
                answer = other.request(f"{server.prefix}.read", b'{"name":"file"}', headers)
                self.assertEqual(answer.status, 200)
            answer = other.request(f"{server.prefix}.read", b'{"name":"a\\r\\nEvil: yes"}')
            self.assertEqual(answer.status, 404)
            self.assertNotIn("Evil", answer.headers)
            answer = other.request(f"{server.prefix}.read", b'{"name":"\\u001b[2J"}')
            self.assertIn("?[2J", answer.headers["Nats-Service-Error"])
            self.assertEqual(server.end(), (0, ""))
            for action in ("read", "write", "list"):
                self.assertTrue([line for line in server.log if f".{action} refused (400): the message names no"
                                 in line], server.log)


class Payload(TestCase):
    def test_a_text_larger_than_the_limit(self):
        self.write("file", 1000)
        source = self.write("n" * 200, 10)
        with NatsServer("max_payload: 600") as nats, \
                Server("--writable", self.uploads, "--max-clients", "1", "--begin-limit", "3600",
                       self.offered, nats=nats) as server:
            for arguments in (["get", server.url + "file"], ["put", source, server.url + "new"]):
                for _ in range(2):  # the place of the offer is free again
                    result = run(*arguments, cwd=self.here)
                    self.assert_failed(result, says="600")
                    self.assertRegex(result.stderr, r"the answer has \d{3,4} bytes")
                    self.assertIn("raise 'max_payload'", result.stderr)
                    wait_for(lambda: server.metrics()["ropeway_operations_live"] == 0, "the drop")
            result = run("put", source, server.url + "d/" * 100 + "n" * 255 + "/" + "n" * 255)
            self.assert_failed(result, says="the request has")
            self.assertIn("raise 'max_payload'", result.stderr)
            # HTTP is the way out.
            self.assert_done(self.get("http://%s:%d/file" % server.address))

    def test_a_tiny_limit(self):
        self.write("file", 1000)
        with NatsServer("max_payload: 150") as nats, Server(self.offered, nats=nats) as server:
            self.assert_failed(self.get(server.url + "file"), says="500")

    def test_a_long_list_comes_in_pages(self):
        names = {f"{'d' * (number % 7 + 1)}/\u00fc {number}" for number in range(300)}
        for name in names:
            self.write(name, 1)
        with NatsServer("max_payload: 2000") as nats, Server(self.offered, nats=nats) as server, \
                NatsClient(nats) as client:
            first = json.loads(client.request(server.prefix + ".list").body)
            self.assertTrue(first["more"])
            self.assertLess(len(first["objects"]), 40)
            listed = [entry["name"] for entry in json.loads(run("ls", "--json", server.url).stdout)["objects"]]
            self.assertEqual(len(listed), 300)
            self.assertEqual(set(listed), names)
            self.assertEqual(len(run("ls", server.url + "ddd").stdout.splitlines()), 43)

    def test_lists_that_do_not_end(self):
        nats, client = shared_server()
        prefix = new_prefix()
        page = {"objects": [{"name": "same", "size": 1}], "more": True}
        client.subscribe(prefix + ".list",
                         lambda message: client.publish(message.reply, json.dumps(page).encode()))
        self.assert_failed(run("ls", f"{nats.url}/{prefix}"), says="comes to an end")


class Restart(TestCase):
    def test_between_requests(self):
        self.write("file", 1000)
        with NatsServer() as nats, Server(self.offered, nats=nats) as server:
            for _ in range(2):
                nats.stop()
                nats.start()
                done = wait_for(lambda: (result := self.get(server.url + "file")).returncode == 0 and result,
                                "the server's return")
                self.assert_done(done)
            code, errors = server.end()
            self.assertEqual(code, 0)
            self.assertEqual(errors.count("again\n"), 4, errors)

    def stop_in_the_middle(self, client, server, metric):
        self.addCleanup(client.kill)
        server.wait_for_metric(metric)
        client.send_signal(signal.SIGSTOP)

    def test_while_bytes_move(self):
        self.write_sparse("big", GIB // 2)
        source = os.path.join(self.offered, "big")
        options = ["--transports", "tcp,self"]
        with NatsServer() as nats, \
                Server(*options, "--writable", self.uploads, self.offered, nats=nats) as server:
            patience = ["--timeout", "300"]
            getting = self.start_get(*options, *patience, server.url + "big")
            self.stop_in_the_middle(getting, server, SENT)
            putting = start("put", *options, *patience, source, server.url + "new")
            self.stop_in_the_middle(putting, server, RECEIVED)
            nats.stop()
            metrics = server.metrics()
            self.assertLess(max(metrics[SENT], metrics[RECEIVED]), GIB // 2)
            for client in (getting, putting):
                client.send_signal(signal.SIGCONT)
            # Outcomes are asked for while it is away.
            wait_for(lambda: server.metrics()["ropeway_operations_live"] == 0, "the bytes")
            self.assertIsNone(getting.poll())
            self.assertIsNone(putting.poll())
            nats.start()
            self.assertEqual(self.finish(getting), (0, ""))
            self.assertEqual(self.finish(putting), (0, ""))
            self.assertEqual(server.end()[0], 0)
        for path in (os.path.join(self.here, "big"), os.path.join(self.uploads, "new")):
            self.assertEqual(os.path.getsize(path), GIB // 2)
            os.remove(path)

    def test_in_the_middle_of_a_request(self):
        self.write("file", 1000)
        with NatsServer() as nats, Server(self.offered, nats=nats) as server, \
                NatsClient(nats) as observer:
            asked = threading.Event()
            observer.subscribe(server.prefix + ".read", lambda message: asked.set())
            # Nobody answers, because the server stands still.
            server.process.send_signal(signal.SIGSTOP)
            asking = self.start_get("--timeout", "50", server.url + "file")
            self.assertTrue(asked.wait(PATIENCE))
            nats.stop()
            server.process.send_signal(signal.SIGCONT)
            nats.start()
            self.assertEqual(self.finish(asking), (0, ""))
            self.assertEqual(server.end()[0], 0)

    def test_that_lasts_too_long(self):
        self.write("file", 1000)
        with NatsServer() as nats, NatsClient(nats) as client:
            asked = threading.Event()
            prefix = new_prefix()
            client.subscribe(prefix + ".>", lambda message: asked.set())
            asking = self.start_get("--timeout", "5", f"{nats.url}/{prefix}/file")
            self.assertTrue(asked.wait(PATIENCE))
            nats.stop()
            code, errors = self.finish(asking)
            self.assertEqual(code, 1)
            self.assert_one_sentence(errors)
            self.assertIn("did not come back in 5 s", errors)


class QueueGroup(TestCase):
    def setUp(self):
        super().setUp()
        self.write("file", 5000)
        self.prefix = new_prefix()

    def serve(self, *arguments):
        return Server(*arguments, self.offered, prefix=self.prefix)

    def get_many(self, url, count):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda number: self.get("-o", f"got{number}", "--verify", url + "file"),
                                 range(count)))

    def test_servers_share_the_load_and_one_is_killed(self):
        with self.serve() as one, self.serve() as two:
            self.assertNotEqual(one.json("POST", "/v1/objects/file/read")[0], 0)
            for result in self.get_many(one.url, 24):
                self.assert_done(result)
            for server in (one, two):
                metrics = server.metrics()
                self.assertGreater(metrics['ropeway_transfers_total{kind="read",outcome="complete"}'], 0)
                # Each was asked for its own outcomes: a read and its end make two.
                self.assertGreater(metrics["ropeway_nats_requests_total"], 1)
            one.process.kill()
            one.process.wait()
            for result in self.get_many(two.url, 8):
                self.assert_done(result)

    def test_a_server_that_ends_leaves_no_request_unanswered(self):
        _, client = shared_server()
        with self.serve("--max-clients", "4096") as one, self.serve("--max-clients", "4096") as two:
            ended, seen = [], set()
            ends = threading.Thread(target=lambda: ended.append(one.end()))
            for number in range(150):
                if number == 20:
                    ends.start()
                answers = [client.ask(self.prefix + ".read", b'{"name":"file"}') for _ in range(20)]
                seen |= {(answer.status, answer.no_responders) for answer in (get() for get in answers)}
            ends.join()
            self.assertEqual(seen, {(200, False)})
            self.assertEqual(ended, [(0, "")])
            self.assert_done(self.get("--verify", two.url + "file"))

    def test_a_request_that_died_with_its_server(self):
        nats, _ = shared_server()
        with self.serve() as server:
            for _ in range(60):
                # A member of the group that takes one request and is gone.
                with NatsClient(nats) as member:
                    taken = threading.Event()
                    number = member.subscribe(self.prefix + ".read", lambda message: (
                        member.send(b"UNSUB %d\r\n" % number), taken.set()), "ropeway")
                    asking = self.start_get("--timeout", "9", server.url + "file")
                    wait_for(lambda: taken.is_set() or asking.poll() is not None, "the request")
                    self.assertEqual(self.finish(asking), (0, ""))
                if taken.is_set():
                    return
        self.fail("no request came to the other member")

    def test_a_transfer_of_a_server_that_is_killed(self):
        big = self.write_sparse("big", 3 * GIB)
        with self.serve("--transports", "tcp,self") as one, self.serve("--transports", "tcp,self") as two:
            getting = self.start_get("--transports", "tcp,self", one.url + "big")
            busy = wait_for(lambda: next((server for server in (one, two) if server.metrics()[SENT]), None), "the first bytes")
            busy.process.kill()
            code, errors = self.finish(getting)
            self.assertEqual(code, 1, errors)
            self.assert_one_sentence(errors)
            self.assert_empty(self.here)
            os.truncate(big, 1000)
            self.assert_done(self.get("--transports", "tcp,self", one.url + "big"))


class Load(TestCase):
    def test_500_requests_at_a_time(self):
        self.write("file", 100)
        _, client = shared_server()
        with Server("--max-clients", "500", self.offered) as server:
            subject = server.prefix + ".read"
            answers = [client.ask(subject, b'{"name":"file"}') for _ in range(500)]
            offers = [answer() for answer in answers]
            self.assertEqual({offer.status for offer in offers}, {200})
            offers = [json.loads(offer.body) for offer in offers]
            self.assertEqual(len({offer["transfer"] for offer in offers}), 500)
            self.assertEqual(client.request(subject, b'{"name":"file"}').status, 503)
            # 500 that wait for an end hold up nobody, and then all are told.
            outcome = f"{server.prefix}.transfer.{offers[0]['server']}"
            waiting = [client.ask(outcome, json.dumps(
                {"transfer": offer["transfer"], "wait": 20}).encode()) for offer in offers]
            self.assertEqual(len(json.loads(client.request(server.prefix + ".list").body)["objects"]), 1)
            self.assertEqual(server.end(signal.SIGTERM)[0], 0)
            states = [json.loads(answer().body)["state"] for answer in waiting]
            self.assertEqual(set(states), {"failed"})

    def test_a_flood_of_one_client_does_not_silence_another(self):
        little_memory = bounded_memory(GIB)
        self.write("file", 100)
        nats, _ = shared_server()
        with Server("--max-clients", "1", self.offered, preexec_fn=little_memory) as server, \
                NatsClient(nats) as hostile:
            stop = threading.Event()

            def flood():
                inbox = "_INBOX.hostile"
                while not stop.is_set():
                    for body in (b"", b'{"limit":1}', b" " * 60000, b"x" * 900000):
                        for _ in range(20):
                            hostile.publish(server.prefix + ".list", body, reply=inbox)

            flooding = threading.Thread(target=flood, daemon=True)
            flooding.start()
            server.wait_for_metric("ropeway_nats_requests_total", 3000)
            try:
                for _ in range(3):
                    self.assert_done(self.get(server.url + "file"))
            finally:
                stop.set()
                flooding.join()

    def test_headers_that_take_long_to_read_hold_up_nobody(self):
        # The NATS library needs a minute of a processor for each of these.
        self.write("file", 100)
        token = self.write_token("token", b"s3cret\n")
        nats, _ = shared_server()
        with Server("--max-clients", "1", "--token-file", token, self.offered) as server, NatsClient(nats) as hostile:
            answers = [hostile.ask(server.prefix + ".list", b"{}", [("X", "y")] * 150000) for _ in range(40)]
            self.assert_done(self.get("--token-file", token, server.url + "file"))
            self.assertEqual({answer().status for answer in answers}, {431})
            headers = [("Authorization", "Bearer s3cret"), ("X", "y" * 12000)]
            self.assertEqual(hostile.request(server.prefix + ".list", b"{}", headers).status, 200)
            server.end()
            self.assertTrue([line for line in server.log if "(431): the headers have 9000" in line], server.log)

    def test_more_waits_than_transfers_hold_up_nobody(self):
        self.write("file", 100)
        _, client = shared_server()
        with Server("--max-clients", "2", "--begin-limit", "3600", self.offered) as server:
            _, offer = server.json("POST", "/v1/objects/file/read")
            outcome = f"{server.prefix}.transfer.{offer['server']}"
            body = json.dumps({"transfer": offer["transfer"], "wait": 20}).encode()
            answers = [client.ask(outcome, body) for _ in range(100)]
            self.assert_done(self.get(server.url + "file"))
            self.assertEqual(server.end(signal.SIGTERM)[0], 0)
            self.assertEqual({answer().status for answer in answers}, {200})


if __name__ == "__main__":
    main()
