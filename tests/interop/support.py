# SPDX-License-Identifier: Apache-2.0
"""What the tests with stock peers share."""
import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import uuid
import zlib
from pathlib import Path

import rope

HERE = Path(__file__).parent
PATIENCE = 120  # seconds; only a test that fails waits this long


def wait_for(condition, what):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.002)
    raise AssertionError("waited in vain for " + what)


class Failed(Exception):
    """The stock peer raised; the text is what it said."""


class Stock:
    """stock_peer.py, or another script, in a process of its own. stock.read(...) is what its method of that name
    returns."""

    def __init__(self, transport, name=None, prefix=(), script="stock_peer.py", python=sys.executable):
        environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1", UCX_MEM_MMAP_HOOK_MODE="none")
        if rope.TRANSPORTS[transport]:
            environment["UCX_TLS"] = rope.TRANSPORTS[transport].decode()
        if transport == "tcp":
            environment["UCX_NET_DEVICES"] = "lo"
        for variable in rope.SHARED_MEMORY:
            environment.pop(variable, None)
        if transport == "shm":
            environment.update(rope.SHARED_MEMORY)
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [*prefix, python, str(HERE / script)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
            env=environment, encoding="utf-8",
        )  # fmt: skip
        if name is not None:
            self.open(name)

    def tell(self, *command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise AssertionError(f"the stock peer ended: {self.errors.read().decode(errors='replace')}")
        answer = json.loads(line)
        if "failed" in answer:
            raise Failed(answer["failed"])
        return answer["answer"]

    def __getattr__(self, command):
        def call(*arguments):
            self.tell(command, *arguments)
            return self.answer()

        return call

    def stop(self):
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE)
        self.process.stdin.close()
        self.process.stdout.close()
        self.errors.close()


def made_up(blob, descriptors, kind):
    """RdmaMetadata as a program makes it around a plain agent's own (base64); and its key."""
    key = str(uuid.uuid4())
    text = json.dumps({
        "descriptors": [{"device": "cpu", "ptr": ptr, "size": size} for ptr, size in descriptors],
        "nixl_metadata": "b64:" + base64.b64encode(zlib.compress(base64.b64decode(blob))).decode(),
        "notification_key": key,
        "operation_kind": kind,
    })  # fmt: skip
    return text, key


READ, WRITE = 1, 2


class Case(unittest.TestCase):
    """A test with stock peers over one transport."""

    transport = None

    def start(self, name=None, **options):
        stock = Stock(self.transport, name or f"stock-{uuid.uuid4().hex[:8]}", **options)
        self.addCleanup(stock.kill)
        return stock

    @classmethod
    def setUpClass(cls):
        rope.set_environment(cls.transport)

    @classmethod
    def tearDownClass(cls):
        stock = cls.__dict__.get("common")
        if stock is not None:
            stock.kill()
            del cls.common

    def shared(self):
        """The peer that all tests of the class have in common: it takes seconds to start one."""
        if "common" not in type(self).__dict__:
            type(self).common = Stock(self.transport, f"stock-{uuid.uuid4().hex[:8]}")
        return self.common

    def open(self, **options):
        connector = rope.Connector(self.transport, **options)
        self.addCleanup(connector.close)
        return connector

    def complete(self, operation):
        self.assertEqual(operation.wait(PATIENCE), rope.DONE, f"{operation.error} {operation.text}")

    # The four pairings; each moves a pattern and compares both ends.

    def we_read(self, connector, stock, sizes, seed=3, number=1, hexadecimal=False):
        metadata = stock.readable(number, sizes, seed, hexadecimal)
        with connector.read(metadata, sizes) as operation:
            self.assertEqual(stock.wait([number]), ["COMPLETE"])
            self.complete(operation)
            self.assertTrue(operation.memory.holds(seed) and operation.memory.guarded())
            path = operation.path
        stock.release([number])
        return path

    def we_write(self, connector, stock, sizes, seed=4, number=2, hexadecimal=False):
        metadata = stock.writable(number, sizes, hexadecimal)
        with connector.write(metadata, sizes, seed) as operation:
            self.assertEqual(stock.wait([number]), ["COMPLETE"])
            self.complete(operation)
        self.assertTrue(stock.holds(number, seed))
        stock.release([number])

    def they_read(self, connector, stock, sizes, seed=5, number=3):
        with connector.readable(sizes, seed) as operation:
            stock.read(number, operation.metadata(), sizes)
            self.assertEqual(stock.wait([number]), ["COMPLETE"])
            self.complete(operation)
            peer = operation.peer
        self.assertTrue(stock.holds(number, seed))
        stock.release([number])
        return peer

    def they_write(self, connector, stock, sizes, seed=6, number=4):
        with connector.writable(sizes) as operation:
            stock.write(number, operation.metadata(), sizes, seed)
            self.assertEqual(stock.wait([number]), ["COMPLETE"])
            self.complete(operation)
            self.assertTrue(operation.memory.holds(seed) and operation.memory.guarded())
        stock.release([number])

    def all_four(self, connector, stock, sizes):
        self.we_read(connector, stock, sizes)
        self.we_write(connector, stock, sizes)
        self.they_read(connector, stock, sizes)
        self.they_write(connector, stock, sizes)


def both_transports(namespace, base, prefix):
    """Puts a test class per transport into a module."""
    for transport in ("shm", "tcp"):
        name = prefix + transport.capitalize()
        namespace[name] = type(name, (base,), {"transport": transport, "__module__": namespace["__name__"]})
