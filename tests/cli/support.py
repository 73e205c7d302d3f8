# SPDX-License-Identifier: Apache-2.0
"""What the tests of the command share: servers, clients, raw requests, a proxy that interferes.

ROPEWAY_CHANNEL says what carries the requests, http or nats. The tests speak of requests as HTTP
writes them, and here they become NATS messages when that is the channel.
"""
import contextlib
import http.client
import http.server
import itertools
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse

import nats_support

ROPEWAY = os.environ["ROPEWAY"]
CHANNEL = os.environ.get("ROPEWAY_CHANNEL", "http")
PATIENCE = 60  # seconds; only a test that fails waits this long
MIB = 1 << 20
GIB = 1 << 30
ROOT = nats_support.ROOT
# What a line of the log on a transfer or a refusal has in it.
OUTCOME = re.compile(r" (complete|failed|refused)[ ,(]|\"outcome\"")


def wait_for(condition, what):
    """Polls until condition() is true and returns its value."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.002)
    raise AssertionError("waited in vain for " + what)


def command(*arguments):
    return [ROPEWAY, *map(os.fspath, arguments)]


def run(*arguments, **options):
    """Runs ropeway to its end; its output is text."""
    options.setdefault("encoding", "utf-8")
    options.setdefault("timeout", PATIENCE)
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          check=False, **options)


def is_sanitized():
    with open(ROPEWAY, "rb") as program:
        return re.search(rb"__(asan|tsan|msan)_", program.read()) is not None


def bounded_memory(size):
    """What makes a process, as preexec_fn, end rather than hold more than so many bytes. None where a
    sanitizer takes terabytes of addresses for itself."""
    return None if is_sanitized() else lambda: resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def start(*arguments, **options):
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    return subprocess.Popen(command(*arguments), stdin=subprocess.DEVNULL, **options)


http_only = unittest.skipIf(CHANNEL != "http", "about HTTP itself")
_prefixes = itertools.count(1)


def new_prefix():
    """A prefix of subjects that no other server has."""
    return f"test{os.getpid()}.p{next(_prefixes)}"


class Server:
    """A `ropeway serve` on a port of its own choice; over NATS with HTTP beside it, for metrics."""

    def __init__(self, *arguments, listen="127.0.0.1:0", nats=None, prefix=None, **options_of_process):
        self.channel = "nats" if nats else CHANNEL
        options = ["--listen", listen]
        if self.channel == "nats":
            self.nats = nats or nats_support.shared_server()[0]
            self.prefix = prefix or new_prefix()
            options += ["--nats", self.nats.url, "--subject", self.prefix]
        self.process = start("serve", *options, *arguments, encoding="utf-8",
                             **options_of_process)
        line = self._next_line()
        if not line.startswith("ropeway: serving on http://"):
            self.process.kill()
            _, errors = self.process.communicate()
            raise AssertionError(f"the server did not start: {line!r} {errors!r}")
        self.line = line
        self.url = line.split()[-1]
        host, port = self.url[len("http://"):-1].rsplit(":", 1)
        self.address = (host.strip("[]"), int(port))
        self.log = []
        self.id = ""  # known from its answers
        if self.channel == "nats":
            self.line = self._next_line()
            assert self.line == f"ropeway: serving on {self.nats.base}/{self.prefix}/\n", self.line
            self.url = f"{self.nats.url}/{self.prefix}/"

    def _next_line(self):
        # Not select(): both lines may be in the buffer already.
        found = []
        reader = threading.Thread(target=lambda: found.append(self.process.stdout.readline()),
                                  daemon=True)
        reader.start()
        reader.join(PATIENCE)
        return found[0] if found else ""

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        running = self.process.poll() is None
        if running:
            # The last signal ends it at once. LeakSanitizer stops the process at its end by SIGSTOP, and waits
            # for ever when SIGCONT comes in between.
            for number in (signal.SIGCONT, signal.SIGTERM, signal.SIGINT):
                self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=PATIENCE)
        if running and kind is None and self.process.returncode != 0:
            raise AssertionError(f"the server ended with {self.process.returncode}: {errors}")

    def end(self, number=signal.SIGTERM):
        """Sends a signal; returns the exit code and stderr, but for the lines on transfers and
        refusals, which are in self.log then."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=PATIENCE)
        lines = errors.splitlines(keepends=True)
        self.log = [line for line in lines if OUTCOME.search(line)]
        return self.process.returncode, "".join(line for line in lines if line not in self.log)

    def request(self, method, target, body=None, headers=None, source="127.0.0.1"):
        """Sends a target exactly as it is given, over HTTP from the address `source`. Returns status, headers,
        body."""
        if self.channel == "nats" and target not in ("/metrics", "/healthz"):
            return self._message(method, target, body, headers)
        connection = http.client.HTTPConnection(
            *self.address, timeout=PATIENCE,
            source_address=None if source == "127.0.0.1" else (source, 0))
        with contextlib.closing(connection):
            head = [f"{method} ".encode() + (target.encode() if isinstance(target, str) else target)
                    + b" HTTP/1.1", b"Host: localhost", b"Connection: close"]
            for name, value in (headers or {}).items():
                head.append(f"{name}: {value}".encode())
            if body is not None:
                head.append(b"Content-Length: %d" % len(body))
            connection.connect()
            connection.sock.sendall(b"\r\n".join(head) + b"\r\n\r\n" + (body or b""))
            response = http.client.HTTPResponse(connection.sock, method=method)
            response.begin()
            return response.status, response.headers, response.read()

    def _message(self, method, target, body, headers):
        action, body = as_message(method, target, body)
        if action == "transfer":
            action += "." + self.id
        answer = nats_support.shared_server()[1].request(f"{self.prefix}.{action}", body, headers)
        if answer.no_responders:
            return 503, answer.headers, b"{}"
        found = re.search(rb'"server":"([0-9a-f]{16})"', answer.body)
        self.id = found.group(1).decode() if found else self.id
        return answer.status, answer.headers, answer.body

    def json(self, method, target, body=None, **options):
        status, _, text = self.request(method, target,
                                       None if body is None else json.dumps(body).encode(),
                                       **options)
        return status, json.loads(text)

    def metrics(self):
        """The samples of /metrics by name and labels."""
        status, _, text = self.request("GET", "/metrics")
        assert status == 200, status
        samples = [line.rsplit(" ", 1) for line in text.decode().splitlines()
                   if not line.startswith("#")]
        return {name: float(value) for name, value in samples}

    def wait_for_metric(self, name, least=1):
        return wait_for(lambda: self.metrics()[name] >= least, f"{name} >= {least}")


def as_message(method, target, body):
    """The action and body of a NATS request that asks what an HTTP request would."""
    if method == "GET" and target.partition("?")[0] == "/v1/objects":
        query = dict(urllib.parse.parse_qsl(target.partition("?")[2]))
        if "limit" in query:
            query["limit"] = int(query["limit"])
        return "list", json.dumps(query).encode() if query else body or b""
    found = re.fullmatch(r"/v1/transfers/(\w+)(?:\?wait=(\d+))?", target)
    if found:
        return "transfer", json.dumps({"transfer": found.group(1),
                                       "wait": int(found.group(2) or 0)}).encode()
    found = re.fullmatch(r"/v1/objects/(.*)/(read|write)", target, re.S)
    name = urllib.parse.unquote(found.group(1), errors="surrogateescape")
    name = json.dumps(name, ensure_ascii=False).encode(errors="surrogateescape")
    body = body or b"{}"
    if body[:1] == b"{" and body[-1:] == b"}":
        comma = b"," if body[1:-1].strip() else b""
        body = b'{"name":' + name + comma + body[1:]
    return found.group(2), body


class NatsProxy:
    """As Proxy, between two prefixes of one nats-server. What breaks a connection there is silence
    here."""

    def __init__(self, server, interfere):
        self.prefix = new_prefix()
        self.server, self.interfere = server, interfere
        self.url = f"{server.nats.url}/{self.prefix}/"
        self.client = nats_support.NatsClient(server.nats)
        self.client.subscribe(self.prefix + ".>", lambda message: threading.Thread(
            target=self._pass_on, args=(message,), daemon=True).start())

    def _pass_on(self, message):
        subject = message.subject[len(self.prefix) + 1:]
        answer = self.client.request(f"{self.server.prefix}.{subject}", message.body,
                                     message.headers)
        action, body = subject.split(".")[0], json.loads(message.body or b"{}")
        method, target = {
            "list": ("GET", "/v1/objects"),
            "transfer": ("GET", "/v1/transfers/" + body.get("transfer", ""))}.get(
                action, ("POST", f"/v1/objects/{urllib.parse.quote(body.get('name', ''))}/{action}"))
        changed = self.interfere(method, target, answer.status, json.loads(answer.body))
        if changed is not None:
            text = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
            self.client.publish(message.reply, text, headers=answer.headers)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()


class HttpProxy:
    """Passes requests on to a server and lets a function change what comes back.

    interfere(method, path, status, answer) gets the parsed JSON and returns the answer to send:
    another object, bytes, or None to break the connection.
    """

    def __init__(self, server, interfere):
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_request(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, answer = server.json(self.command, self.path,
                                             json.loads(body) if body else None)
                answer = proxy.interfere(self.command, self.path, status, answer)
                if answer is None:
                    self.close_connection = True
                    return
                text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = handle_request

            def log_message(self, *_):
                pass

        self.interfere = interfere
        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d/" % self.httpd.server_address[1]
        threading.Thread(target=self.httpd.serve_forever, args=(0.01,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.httpd.shutdown()
        self.httpd.server_close()


Proxy = NatsProxy if CHANNEL == "nats" else HttpProxy


class TestCase(unittest.TestCase):
    """Has a directory of its own with `offered`, `uploads` and `here`."""

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="ropeway-test-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        for name in ("offered", "uploads", "here"):
            path = os.path.join(self.directory, name)
            os.mkdir(path)
            setattr(self, name, path)

    def write(self, name, data):
        """Makes a file among the offered ones, of these bytes or of this size in random bytes."""
        path = os.path.join(self.offered, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(os.urandom(data) if isinstance(data, int) else data)
        return path

    def write_token(self, name, data):
        """As write(), a file that others can't read."""
        path = self.write(name, data)
        os.chmod(path, 0o600)
        return path

    def write_sparse(self, name, size):
        path = self.write(name, b"")
        os.truncate(path, size)
        return path

    def get(self, *arguments, **options):
        return run("get", *arguments, cwd=self.here, **options)

    def start_get(self, *arguments, **options):
        return start("get", *arguments, cwd=self.here, **options)

    def assert_same(self, left, right):
        compared = subprocess.run(["cmp", "--", left, right], capture_output=True, check=False)
        self.assertEqual(compared.returncode, 0, compared)

    def assert_empty(self, directory):
        self.assertEqual(os.listdir(directory), [])

    def assert_one_sentence(self, errors):
        if isinstance(errors, bytes):
            errors = errors.decode()
        self.assertRegex(errors, r"\Aropeway: [^\n]{20,}\n\Z")

    def assert_failed(self, result, code=1, says=""):
        self.assertEqual(result.returncode, code, result)
        self.assert_one_sentence(result.stderr)
        self.assertIn(says, result.stderr)

    def assert_done(self, result):
        self.assertEqual((result.returncode, result.stderr), (0, ""), result)

    def finish(self, process):
        """The exit code and stderr of a process that was started."""
        _, errors = process.communicate(timeout=PATIENCE)
        return process.returncode, errors.decode()


def free_port_is_refused():
    """An address at which nobody listens: bound, but without listen()."""
    reserved = socket.socket()
    reserved.bind(("127.0.0.1", 0))
    return reserved, "http://127.0.0.1:%d/" % reserved.getsockname()[1]


def main():
    """As unittest.main(), with 77 when every test was skipped."""
    if CHANNEL == "nats" and not nats_support.find_server():
        print("skipped: there is no nats-server; tools/nats-server fetches one")
        sys.exit(77)
    try:
        program = unittest.main(module="__main__", exit=False, verbosity=2)
    finally:
        nats_support.close_shared()
    result = program.result
    if result.testsRun == 0 or not result.wasSuccessful():
        sys.exit(1)
    sys.exit(77 if len(result.skipped) == result.testsRun else 0)
