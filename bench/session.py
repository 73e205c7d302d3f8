# SPDX-License-Identifier: Apache-2.0
"""A peer's worker processes, as the driver sees them: one JSON object a line there and back, each answer with a
deadline, CPU time and memory as the kernel counts them."""

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import time


class Failure(Exception):
    """A worker said no, died, or did not answer in time."""


class Worker:
    """One worker, and the two files by which it is spoken to."""

    def __init__(self, to, answers, deadline):
        self.to, self.answers = to, answers
        self.buffer = bytearray()
        self.waiting = selectors.DefaultSelector()
        self.waiting.register(answers, selectors.EVENT_READ)
        self.ready = self.receive(deadline)["ready"]
        self.pid = self.ready["pid"]

    def send(self, do, **more):
        try:
            self.to.write(json.dumps({"do": do, **more}).encode() + b"\n")
            self.to.flush()
        except OSError as error:
            raise Failure(f"the worker is gone: {error}") from error

    def receive(self, deadline):
        until = time.monotonic() + deadline
        searched = 0
        while (end := self.buffer.find(b"\n", searched)) < 0:
            searched = len(self.buffer)
            if not self.waiting.select(max(0, until - time.monotonic())):
                raise Failure(f"no answer within {deadline:g} s")
            piece = os.read(self.answers.fileno(), 1 << 20)
            if not piece:
                raise Failure(f"the worker ended{self.ending()}")
            self.buffer += piece
        line, self.buffer = self.buffer[:end], self.buffer[end + 1 :]
        answer = json.loads(line)
        if "error" in answer:
            raise Failure(answer["error"])
        return answer

    def ending(self):
        return ""

    def call(self, do, deadline=60, **more):
        self.send(do, **more)
        return self.receive(deadline)

    def cpu(self):
        """Seconds of CPU time of all its threads so far."""
        return time.clock_gettime(~self.pid << 3 | 2)

    def peak_memory(self):
        """Bytes of the largest resident set since the last call."""
        with open(f"/proc/{self.pid}/status") as lines:
            peak = next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
        with contextlib.suppress(OSError), open(f"/proc/{self.pid}/clear_refs", "w") as file:
            file.write("5")
        return peak

    def memory(self):
        with open(f"/proc/{self.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def close(self):
        self.waiting.close()
        for stream in (self.to, self.answers):
            with contextlib.suppress(OSError):
                stream.close()


class Process(Worker):
    """A worker that is a process of its own, and leads a process group: what it starts ends with it."""

    def __init__(self, command, environment, log, deadline):
        self.started = time.monotonic()
        self.child = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        )
        try:
            super().__init__(self.child.stdin, self.child.stdout, deadline)
        except BaseException:
            self.close()
            raise
        self.ready_after = time.monotonic() - self.started

    def ending(self):
        code = self.child.wait()
        return f" with {code if code >= 0 else signal.Signals(-code).name}"

    def signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, number)

    def close(self):
        self.signal(signal.SIGKILL)
        self.child.wait()
        super().close()


class Fork(Worker):
    """A child of a worker that was started with --socket: all that it needs is loaded."""

    def __init__(self, path, deadline):
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.settimeout(deadline)
        self.connection.connect(path)
        self.connection.settimeout(None)
        super().__init__(self.connection.makefile("wb"), self.connection, deadline)

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        super().close()


class Pair:
    """A passive and an active worker of one peer. Stopped while others are measured: some poll all the time."""

    def __init__(self, passive, active):
        """Both make a Process."""
        self.processes = []
        try:
            self.passive = self.keep(passive)
            self.active = self.keep(active)
        except BaseException:
            self.close()
            raise

    def keep(self, make):
        self.processes.append(make())
        return self.processes[-1]

    def pause(self):
        for process in self.processes:
            process.signal(signal.SIGSTOP)

    def resume(self):
        for process in self.processes:
            process.signal(signal.SIGCONT)

    def close(self):
        for process in self.processes:
            process.close()
        self.processes = []
