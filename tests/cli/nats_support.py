# SPDX-License-Identifier: Apache-2.0
"""A real nats-server for the tests, and a client of its protocol that is not the one they test."""
import contextlib
import itertools
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse

PATIENCE = 60  # seconds; only a test that fails waits this long
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def find_server():
    """The path of nats-server; None: there is none."""
    unpacked = os.path.join(ROOT, "build/nats/usr/sbin/nats-server")
    return shutil.which("nats-server", path=os.environ["PATH"] + ":/usr/sbin") or \
        shutil.which(unpacked)


class NatsServer:
    """A nats-server on a port of its own choice, which it keeps when it is started again.

    config: lines of its configuration file. login: "USER:PASSWORD@" or "TOKEN@" for `url`.
    """

    def __init__(self, config="", login="", scheme="nats", host="127.0.0.1"):
        self.directory = tempfile.mkdtemp(prefix="ropeway-nats-")
        self.config = config
        self.login, self.scheme, self.host = login, scheme, host
        self.port = -1
        self.process = None
        self.start()

    def start(self):
        path = os.path.join(self.directory, "config")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f'listen: "{self.host}:{self.port}"\n'
                       f'ports_file_dir: "{self.directory}"\n{self.config}\n')
        self.log = open(os.path.join(self.directory, "log"), "ab")
        self.process = subprocess.Popen([find_server(), "-c", path], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log)
        ports = os.path.join(self.directory, f"nats-server_{self.process.pid}.ports")
        end = time.monotonic() + PATIENCE
        found = None
        while not found:
            if time.monotonic() > end or self.process.poll() is not None:
                with open(self.log.name, encoding="utf-8") as file:
                    raise AssertionError("nats-server did not start: " + file.read())
            try:
                with open(ports, encoding="utf-8") as file:
                    found = json.load(file)["nats"][0]
            except (OSError, ValueError):
                time.sleep(0.01)
        self.port = urllib.parse.urlsplit(found).port

    @property
    def base(self):
        """The URL as messages show it."""
        return f"{self.scheme}://{self.host}:{self.port}"

    @property
    def url(self):
        return f"{self.scheme}://{self.login}{self.host}:{self.port}"

    def stop(self):
        """Kills it; start() brings it back at the same port."""
        self.process.kill()
        self.process.wait()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


class Message:
    def __init__(self, subject, reply, head, body):
        self.subject, self.reply, self.body = subject, reply, body
        lines = head.decode().split("\r\n")
        self.no_responders = lines[0].startswith("NATS/1.0 503")
        self.headers = dict(line.split(": ", 1) for line in lines[1:] if line)

    @property
    def status(self):
        return int(self.headers.get("Nats-Service-Error-Code", 200))


class NatsClient:
    """One connection. Callbacks run on its thread and must not wait for an answer on it."""

    def __init__(self, server, **options):
        self.socket = socket.create_connection((server.host, server.port), timeout=PATIENCE)
        self.file = self.socket.makefile("rb")
        self.info = json.loads(self.file.readline().split(b" ", 1)[1])
        connect = {"verbose": False, "headers": True, "no_responders": True, **options}
        self.lock = threading.Lock()
        self.callbacks = {}
        self.numbers = itertools.count(1)
        self.send(b"CONNECT " + json.dumps(connect).encode() + b"\r\nPING\r\n")
        answer = self.file.readline()
        if answer != b"PONG\r\n":
            raise ConnectionError(answer)
        self.socket.settimeout(None)
        self.inbox = "_INBOX." + os.urandom(8).hex()
        self.waiting = {}
        self.subscribe(self.inbox + ".*", self._take)
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.file.close()
        self.socket.close()

    def send(self, data):
        with self.lock:
            self.socket.sendall(data)

    def _read(self):
        try:
            while True:
                words = self.file.readline().split()
                if not words:
                    return
                if words[0] == b"PING":
                    self.send(b"PONG\r\n")
                elif words[0] in (b"MSG", b"HMSG"):
                    self._message(words)
        except (OSError, ValueError):
            pass

    def _message(self, words):
        sizes = 2 if words[0] == b"HMSG" else 1
        reply = words[3].decode() if len(words) - sizes == 4 else None
        head_size = int(words[-2]) if sizes == 2 else 0
        data = self.file.read(int(words[-1]) + 2)[:-2]
        self.callbacks[int(words[2])](Message(words[1].decode(), reply, data[:head_size],
                                              data[head_size:]))

    def _take(self, message):
        answers = self.waiting.get(message.subject)
        if answers:
            answers.put(message)

    def subscribe(self, subject, callback, group=""):
        """Returns a number for unsubscribe()."""
        number = next(self.numbers)
        self.callbacks[number] = callback
        self.send(f"SUB {subject} {group} {number}\r\nPING\r\n".encode())
        return number

    def publish(self, subject, body=b"", reply="", headers=None):
        head = b""
        if headers:
            pairs = headers.items() if isinstance(headers, dict) else headers
            lines = "".join(f"{name}: {value}\r\n" for name, value in pairs)
            head = f"NATS/1.0\r\n{lines}\r\n".encode()
            verb = f"HPUB {subject} {reply} {len(head)} {len(head) + len(body)}\r\n"
        else:
            verb = f"PUB {subject} {reply} {len(body)}\r\n"
        self.send(verb.encode() + head + body + b"\r\n")

    def ask(self, subject, body=b"", headers=None):
        """Sends a request; the function that comes back waits for its answer."""
        inbox = f"{self.inbox}.{next(self.numbers)}"
        answers = self.waiting[inbox] = queue.Queue()
        self.publish(subject, body, inbox, headers)

        def answer():
            message = answers.get(timeout=PATIENCE)
            del self.waiting[inbox]
            return message
        return answer

    def request(self, subject, body=b"", headers=None):
        return self.ask(subject, body, headers)()


class HostileServer:
    """What speaks as much of the protocol as makes others trust it, and then does what it likes.

    hello: replaces members of its INFO. on_request(connection, reply, number) is called when a request has come, and
    on_server(connection, subscriptions) when a server has subscribed: numbers by subject. Both are called on the
    connection's thread, and may send.
    """

    def __init__(self, hello=None, on_request=None, on_server=None):
        self.hello = {"server_id": "x", "version": "2.9.10", "proto": 1, "headers": True, "max_payload": 1 << 20,
                      **(hello or {})}
        self.on_request, self.on_server = on_request, on_server
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = self.base = "nats://127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client):
        subscriptions = {}
        with client, client.makefile("rb") as lines, contextlib.suppress(OSError):
            client.sendall(b"INFO " + json.dumps(self.hello).encode() + b"\r\n")
            for line in lines:
                words = line.split()
                if words[:1] == [b"PING"]:
                    client.sendall(b"PONG\r\n")
                    if len(subscriptions) > 1 and self.on_server:
                        self.on_server(client, subscriptions)
                elif words[:1] == [b"SUB"]:
                    subscriptions[words[1]] = words[-1]
                elif words[:1] in ([b"PUB"], [b"HPUB"]) and self.on_request:
                    self.on_request(client, words[2], list(subscriptions.values())[0])


_shared = []


def shared_server():
    """The nats-server of this process: started at the first call, stopped by close_shared()."""
    if not _shared:
        server = NatsServer()
        _shared[:] = [server, NatsClient(server)]
    return _shared


def close_shared():
    while _shared:
        _shared.pop().__exit__()
