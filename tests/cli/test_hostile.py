# SPDX-License-Identifier: Apache-2.0
"""A server whose answers are wrong gets a sentence, never a file, a crash or a hang."""
import json
import os
import socket
import ssl
import subprocess
import threading

from nats_support import NatsClient, shared_server
from support import (CHANNEL, MIB, Proxy, Server, TestCase, bounded_memory, http_only, main,
                     new_prefix, run)


def serve_bytes(text, tls=None):
    """A server that answers every connection with the same bytes. Returns the socket and a URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def loop():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                try:
                    client = tls.wrap_socket(client, server_side=True) if tls else client
                    client.recv(65536)
                    client.sendall(text)
                except OSError:
                    pass

    threading.Thread(target=loop, daemon=True).start()
    return listener, "http%s://127.0.0.1:%d/" % ("s" if tls else "", listener.getsockname()[1])


def answer_with(body, status=b"200 OK", headers=b""):
    return (b"HTTP/1.1 " + status + b"\r\nConnection: close\r\n" + headers + b"Content-Length: %d\r\n\r\n"
            % len(body) + body)


def serve_messages(body, headers=None):
    """As serve_bytes(), over NATS; body None: no answer at all."""
    client, prefix = NatsClient(shared_server()[0]), new_prefix()

    def answer(message):
        if body is not None:
            client.publish(message.reply, body, headers=headers)

    client.subscribe(prefix + ".>", answer)
    return client, f"{shared_server()[0].url}/{prefix}/"


def serve_answer(body, code=200):
    """A server that gives every request this answer. Returns what to close, and a URL."""
    if CHANNEL == "http":
        return serve_bytes(answer_with(body, b"%d Status" % code))
    return serve_messages(body, {"Nats-Service-Error": "a sentence",
                                 "Nats-Service-Error-Code": str(code)} if code != 200 else None)


def serve_nothing():
    """A server that never answers."""
    if CHANNEL == "nats":
        return serve_messages(None)
    silent = socket.create_server(("127.0.0.1", 0))
    return silent, "http://127.0.0.1:%d/" % silent.getsockname()[1]


class Hostile(TestCase):
    def setUp(self):
        super().setUp()
        self.source = self.write("file", 100000)

    def assert_all_fail(self, url, *options):
        for arguments in (["get", *options, url + "file"], ["get", "-o", "-", *options, url + "file"],
                          ["put", *options, self.source, url + "new"]):
            result = run(*arguments, cwd=self.here)
            self.assert_failed(result)
            self.assertEqual(result.stdout, "")
        self.assert_empty(self.here)

    def test_answers_that_are_no_answers(self):
        for code, body in ((200, b""), (200, b"{"), (200, b"[]"), (200, b"null"), (200, b"\xff\xfe"),
                           (200, b"[" * 100000), (200, b'{"a":1,"a":2}'), (500, b"<html>"),
                           (404, b'{"error":"no\\n\\u001b[2Jno"}'), (403, b'{"error":7}')):
            closable, url = serve_answer(body, code)
            with self.subTest(code=code, body=body[:60]), closable:
                self.assert_all_fail(url)
                self.assert_failed(run("ls", url))

    @http_only
    def test_answers_that_are_no_http(self):
        for text in (b"", b"hello\r\n\r\n",
                     answer_with(b"", b"302 Found", b"Location: http://127.0.0.1:9/\r\n"),
                     answer_with(b"", b"204 No Content"),
                     b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort",
                     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"):
            listener, url = serve_bytes(text)
            with self.subTest(text=text[:60]), listener:
                self.assert_all_fail(url)
                self.assert_failed(run("ls", url))

    def test_a_server_that_says_nothing(self):
        silent, url = serve_nothing()
        with silent:
            self.assert_failed(run("ls", "--timeout", "1", url), says="silent for 1 s")

    def test_sentences_can_not_steer_the_terminal(self):
        listener, url = serve_answer(json.dumps({"error": "a\x1b[2J\u009b\u202eb\r\u2028c"}).encode(), 403)
        with listener:
            result = run("get", url + "file", cwd=self.here)
            self.assert_failed(result, says="a?[2J??b??c")

    @http_only
    def test_an_answer_without_end(self):
        endless = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b" " * (48 * MIB)
        listener, url = serve_bytes(endless)
        with listener:
            self.assert_failed(run("get", url + "file", cwd=self.here), says="longer than")
        self.assert_empty(self.here)

    @http_only
    def test_headers_without_end(self):
        for text in (b"HTTP/1.1 200 OK\r\n" + b"X: %s\r\n" % (b"y" * 900) * 200,
                     b"HTTP/1.1 100 Continue\r\n\r\n" * 20000):
            listener, url = serve_bytes(text)
            with listener:
                self.assert_failed(run("get", url + "file", cwd=self.here), says="longer than")

    def test_answers_that_grow_in_memory(self):
        # Nested or repeated, a byte of JSON costs up to forty of memory: what is too long is not read.
        few_bytes = bounded_memory(256 * MIB)
        for body in (b'{"size":0,"a":[' + b"[]," * (10 * MIB) + b"[]]}",
                     b'{"size":0' + b"".join(b',"%d":{}' % i for i in range(MIB)) + b"}"):
            if CHANNEL == "nats":
                body = body[:MIB]  # what the NATS server takes
            closable, url = serve_answer(body)
            with closable:
                for arguments in (["get", url + "file"], ["put", self.source, url + "new"], ["ls", url]):
                    result = run(*arguments, cwd=self.here, preexec_fn=few_bytes)
                    self.assert_failed(result, says=url.split("/")[2].split("@")[-1])
                    self.assertNotIn("memory", result.stderr)

    @http_only
    def test_certificates_that_are_not_trusted(self):
        for name, host in (("self", "127.0.0.1"), ("other", "elsewhere.test")):
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                            "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=" + name,
                            "-addext", "subjectAltName=" + ("IP:" if name == "self" else "DNS:") + host,
                            "-keyout", name + ".key", "-out", name + ".pem"],
                           cwd=self.directory, check=True, capture_output=True)
            pem = os.path.join(self.directory, name + ".pem")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pem, pem[:-3] + "key")
            listener, url = serve_bytes(answer_with(b'{"objects":[]}'), context)
            with listener:
                self.assert_failed(run("ls", url), says="--tls-ca FILE")
                trusted = run("ls", "--tls-ca", pem, url)
                if name == "self":
                    self.assert_done(trusted)
                else:
                    self.assert_failed(trusted, says="is not trusted")
                self.assert_failed(run("ls", "--tls-ca", "missing.pem", url), says="missing.pem")
        plain, url = serve_bytes(answer_with(b"{}"))
        with plain:
            self.assert_failed(run("ls", url.replace("http:", "https:")), says="http:// server")

    def test_offers_that_contradict_themselves(self):
        def change(key, value):
            def apply(answer):
                answer[key] = value
            return apply

        def change_metadata(key, value):
            def apply(answer):
                answer["metadata"][key] = value
            return apply

        def resize(by):
            def apply(answer):
                answer["metadata"]["descriptors"][0]["size"] += by
            return apply

        def twice(answer):
            answer["metadata"]["descriptors"] *= 2

        def all_sizes(value):
            def apply(answer):
                for key in ("size", "length"):
                    answer[key] = value
                answer["metadata"]["descriptors"][0]["size"] = value
            return apply

        changes = [change(key, value) for key in ("size", "transfer", "metadata")
                   for value in (None, -1, 1.5, "x", [], {}, 10 ** 15, 2 ** 63 - 1, 99999, 100001)]
        changes += [change_metadata(key, value)
                    for key in ("descriptors", "nixl_metadata", "notification_key", "operation_kind")
                    for value in (None, 0, 3, -1, "", "b64:AAAA", "x" * 100, [], [{}])]
        changes += [change("transfer", "../" * 10 + "healthz?a"), change("transfer", "0" * 32), twice,
                    resize(1), resize(-1), resize(2 ** 40), all_sizes(2 ** 63 - 1),
                    all_sizes(10 ** 15), change_metadata("operation_kind", 2)]
        with Server("--writable", self.uploads, "--max-clients", "1000", self.offered) as server:
            for number, apply in enumerate(changes):
                def interfere(method, target, _, answer, apply=apply):
                    if method == "POST":
                        apply(answer)
                    return answer

                with self.subTest(number=number), Proxy(server, interfere) as proxy:
                    result = run("get", proxy.url + "file", cwd=self.here)
                    self.assert_failed(result)
                    self.assert_empty(self.here)

    def test_uploads_to_offers_that_contradict_themselves(self):
        def shrink(answer):
            answer["size"] -= 1

        def exchange(answer):
            answer["metadata"]["operation_kind"] = 1

        def resize(answer):
            answer["size"] += 1
            answer["metadata"]["descriptors"][0]["size"] += 1

        with Server("--writable", self.uploads, self.offered) as server:
            for apply in (shrink, exchange, resize):
                def interfere(method, target, _, answer, apply=apply):
                    if method == "POST":
                        apply(answer)
                    return answer

                with self.subTest(apply=apply.__name__), Proxy(server, interfere) as proxy:
                    self.assert_failed(run("put", self.source, proxy.url))
            self.assertEqual(server.end()[0], 0)
        self.assert_empty(self.uploads)

    def test_ranges_that_do_not_belong_together(self):
        self.write("file", 80 * MIB)

        def tag(answer):
            answer["tag"] = "another"

        def offset(answer):
            answer["offset"] -= 1

        def length(answer):
            answer["length"] -= 1

        def size(answer):
            answer["size"] += 1

        with Server(self.offered) as server:
            for apply in (tag, offset, length, size):
                asked = []

                def interfere(method, target, _, answer, apply=apply, asked=asked):
                    if method == "POST":
                        asked.append(target)
                        if len(asked) == 2:
                            apply(answer)
                    return answer

                with self.subTest(apply=apply.__name__), Proxy(server, interfere) as proxy:
                    result = run("get", "-o", "-", proxy.url + "file", encoding="latin-1")
                    self.assert_failed(result)
                    self.assertLess(len(result.stdout), 80 * MIB)

    def test_an_outcome_that_never_comes(self):
        for state in ("running", "waiting", "finishing", "nonsense", None):
            def interfere(method, target, _, answer, state=state):
                if method == "GET":
                    answer["state"] = state
                return answer

            with self.subTest(state=state), Server(self.offered) as server, \
                    Proxy(server, interfere) as proxy:
                self.assert_failed(run("get", "--timeout", "0.5", proxy.url + "file", cwd=self.here))
                self.assert_empty(self.here)

    def test_connection_lost_before_the_outcome(self):
        def interfere(method, target, _, answer):
            return None if method == "GET" else answer

        with Server("--writable", self.uploads, self.offered) as server, \
                Proxy(server, interfere) as proxy:
            self.assert_failed(run("get", "--timeout", "2", proxy.url + "file", cwd=self.here))
            self.assert_empty(self.here)
            self.assert_failed(run("put", "--timeout", "2", self.source, proxy.url))

    def test_lists_that_are_none(self):
        for body in ({}, {"objects": 1}, {"objects": [1]}, {"objects": [{}]},
                     {"objects": [{"name": 1, "size": 1}]}, {"objects": [{"name": "x", "size": -1}]},
                     {"objects": [{"name": "x", "size": "1"}]}):
            listener, url = serve_answer(json.dumps(body).encode())
            with self.subTest(body=body), listener:
                self.assert_failed(run("ls", url), says="list of objects")

    def test_names_can_not_steer_the_terminal(self):
        body = {"objects": [{"name": "a\x1b[2Jb\nc\u009bd\u202ee\u2066\u200ff", "size": 1, "mtime": 0}]}
        listener, url = serve_answer(json.dumps(body).encode())
        with listener:
            result = run("ls", url)
            self.assert_done(result)
            self.assertEqual(result.stdout, "       1 B  a?[2Jb?c?d?e??f\n")


if __name__ == "__main__":
    main()
