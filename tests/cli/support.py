# SPDX-License-Identifier: Apache-2.0
"""What the tests of the command share: servers, clients, raw HTTP, a proxy that interferes."""
import contextlib
import http.client
import http.server
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROPEWAY = os.environ["ROPEWAY"]
PATIENCE = 60  # seconds; only a test that fails waits this long
MIB = 1 << 20


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


def start(*arguments, **options):
    options.setdefault("stdout", subprocess.PIPE)
    return subprocess.Popen(command(*arguments), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                            **options)


class Server:
    """A `ropeway serve` on a port of its own choice."""

    def __init__(self, *arguments, listen="127.0.0.1:0"):
        self.process = start("serve", "--listen", listen, *arguments, encoding="utf-8")
        line = self._first_line()
        if not line.startswith("ropeway: serving on http://"):
            self.process.kill()
            _, errors = self.process.communicate()
            raise AssertionError(f"the server did not start: {line!r} {errors!r}")
        self.line = line
        self.url = line.split()[-1]
        host, port = self.url[len("http://"):-1].rsplit(":", 1)
        self.address = (host.strip("[]"), int(port))

    def _first_line(self):
        readable, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        return self.process.stdout.readline() if readable else ""

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        running = self.process.poll() is None
        if running:
            # The second signal ends it at once.
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
                self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=PATIENCE)
        if running and kind is None and self.process.returncode != 0:
            raise AssertionError(f"the server ended with {self.process.returncode}: {errors}")

    def end(self, number=signal.SIGTERM):
        """Sends a signal; returns the exit code and stderr."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, errors

    def request(self, method, target, body=None, headers=None):
        """Sends a target exactly as it is given. Returns status, headers, body."""
        connection = http.client.HTTPConnection(*self.address, timeout=PATIENCE)
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


class Proxy:
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
    program = unittest.main(module="__main__", exit=False, verbosity=2)
    result = program.result
    if result.testsRun == 0 or not result.wasSuccessful():
        sys.exit(1)
    sys.exit(77 if len(result.skipped) == result.testsRun else 0)
