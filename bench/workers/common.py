# SPDX-License-Identifier: Apache-2.0
"""What the benchmark's worker programs in Python share: the protocol with the driver (bench/README.md), and memory
laid out as a case asks. worker.c is the same for those in C."""

import argparse
import json
import os
import signal
import socket
import sys
import time
import traceback

import numpy

PERIOD = 251  # of the bytes that are moved


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--transport", choices=["shm", "tcp"], default="shm")
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--device")
    parser.add_argument("--variant")
    parser.add_argument("--socket", help="serve each connection to this socket in a child, and not stdin")
    return parser.parse_args()


class Memory:
    """Descriptors of one size, for each slot; neighbours are kept apart, or several could be moved as one."""

    def __init__(self, layout, filled):
        self.size, self.descriptors, self.slots = layout
        self.layout = layout
        self.stride = self.size * (2 if self.descriptors > 1 else 1)
        total = self.slots * self.descriptors * self.stride
        self.bytes = (
            numpy.resize(numpy.arange(PERIOD, dtype=numpy.uint8), total)
            if filled
            else numpy.full(total, 255, numpy.uint8)
        )
        self.base = self.bytes.ctypes.data

    def address(self, slot, descriptor=0):
        return self.base + (slot * self.descriptors + descriptor) * self.stride

    def addresses(self, slot):
        return [self.address(slot, i) for i in range(self.descriptors)]

    def view(self, slot, descriptor=0):
        start = (slot * self.descriptors + descriptor) * self.stride
        return self.bytes[start : start + self.size]

    def check(self):
        wanted = numpy.resize(numpy.arange(PERIOD, dtype=numpy.uint8), self.bytes.size)
        rows = (self.slots * self.descriptors, self.stride)
        same = (self.bytes.reshape(rows) == wanted.reshape(rows))[:, : self.size]
        if not same.all():
            raise ValueError(f"{same.size - int(same.sum())} of {same.size} bytes are wrong")


class Worker:
    """A peer. Subclasses give offer(), and take(), begin(slot) and finish(token); where operations can't be begun
    and waited for apart, at_a_time is False and finish() does all of it. pause, when not 0, is in seconds."""

    version = ""

    def __init__(self, options):
        self.options = options
        self.ours = self.theirs = None

    def opened(self):
        """What is not to be done before a fork."""

    def offer(self, case):
        raise NotImplementedError

    def take(self, case, offer):
        raise NotImplementedError

    def begin(self, slot):
        raise NotImplementedError

    def finish(self, token):
        raise NotImplementedError

    def first(self):
        """Done once, timed, before the operation of a batch that meets a new peer."""

    def drop(self):
        self.ours = self.theirs = None

    def memory(self, old, case, filled):
        layout = (case["size"], case["descriptors"], case["slots"])
        return old if old is not None and old.layout == layout else Memory(layout, filled)

    def go(self, case):
        slots, count, begin, finish, now = case["slots"], case["count"], self.begin, self.finish, time.perf_counter_ns
        pause = case.get("pause_us", 0) / 1e6
        started, samples, live, begun = [0] * count, [0] * count, [None] * slots, 0
        for done in range(count):
            while begun < count and begun < done + slots:
                if pause:
                    time.sleep(pause)
                started[begun] = now()
                if case.get("cold"):
                    self.first()
                live[begun % slots] = begin(begun % slots)
                begun += 1
            finish(live[done % slots])
            samples[done] = now() - started[done]
        return samples

    def perform(self, command):
        what = command["do"]
        if what == "offer":
            self.ours = self.memory(self.ours, command, not command["write"])
            return {"offer": self.offer(command)}
        if what == "take":
            self.theirs, self.taken = self.memory(self.theirs, command, command["write"]), command
            self.take(command, command["offer"])
        elif what == "go":
            begun = time.perf_counter_ns()
            samples = self.go(self.taken)
            return {"ns": samples, "wall_ns": time.perf_counter_ns() - begun}
        elif what == "check":
            (self.ours if command.get("offered") else self.theirs).check()
        else:
            getattr(self, what)(**({"count": command["count"]} if "count" in command else {}))
        return {}

    def next_line(self, stream):
        return stream.readline()


def private_stdout():
    """The protocol's stream; what libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def fork_for_each_connection(path, answer):
    """Returns in the children, whose stdin and stdout are the connection."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(128)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    answer({"ready": {"pid": os.getpid()}})
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(connection.fileno(), 0)
            os.dup2(connection.fileno(), 1)
            connection.close()
            return
        connection.close()


def serve(make):
    """Serves the driver until it closes stdin."""
    answers = private_stdout()

    def answer(message):
        print(json.dumps(message, separators=(",", ":")), file=answers, flush=True)

    try:
        options = arguments()
        worker = make(options)
        if options.socket:
            fork_for_each_connection(options.socket, answer)
            answers = private_stdout()
        worker.opened()
        answer({"ready": {"pid": os.getpid(), "version": worker.version or None}})
        while line := worker.next_line(sys.stdin):
            answer(worker.perform(json.loads(line)))
    except Exception as error:
        traceback.print_exc()
        answer({"error": f"{type(error).__name__}: {error}"})
    # Destructors of some peers wait for the other side, or crash.
    os._exit(0)
