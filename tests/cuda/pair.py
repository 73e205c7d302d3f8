# SPDX-License-Identifier: Apache-2.0
"""Two worker processes, and what is left of them when they crash or hang."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
deadline = float("inf")  # of the whole run, by time.monotonic(): no answer is awaited longer


class CaseError(Exception):
    """What a worker raised. error: {"type", "code", "text", "stack"}."""

    def __init__(self, error):
        super().__init__(f"{error['type']}{' ' + error['code'] if error.get('code') else ''}: {error['text']}")
        self.error = error


class Lost(Exception):
    """A worker crashed or hangs; it has been killed. facts: what it left."""

    def __init__(self, sentence, facts):
        super().__init__(sentence)
        self.facts = facts


def tail(path, length):
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - length))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def threads_of(pid):
    """Where each thread of a process is in the kernel: name, wait channel, system call."""
    found = []
    for task in sorted(Path(f"/proc/{pid}/task").glob("*")):
        words = []
        for name in ("comm", "wchan", "syscall"):
            try:
                words.append((task / name).read_text().strip())
            except OSError:
                words.append("?")
        found.append(" ".join(words))
    return found


class Process:
    """One worker. call(command, ...) gives its answer, in limit seconds."""

    def __init__(self, name, environment, directory):
        self.name = name
        self.errors = Path(directory) / f"{name}.stderr"
        self._buffer = b""
        with open(self.errors, "wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-u", str(HERE / "worker.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **environment},
            )

    @property
    def pid(self):
        return self._process.pid

    def tell(self, command, **arguments):
        text = json.dumps({"do": command, "with": arguments}) + "\n"
        try:
            self._process.stdin.write(text.encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._crashed(command) from None

    def answer(self, command, within):
        until = min(time.monotonic() + within, max(deadline, time.monotonic() + 1))
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0, until - time.monotonic()))
            if not ready:
                raise self._hangs(command, within)
            piece = os.read(self._process.stdout.fileno(), 1 << 20)
            if not piece:
                raise self._crashed(command)
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer = json.loads(line)
        if "error" in answer:
            raise CaseError(answer["error"])
        return answer["ok"]

    def call(self, command, within=25.0, **arguments):
        self.tell(command, **arguments)
        return self.answer(command, within)

    def _crashed(self, command):
        self._process.stdout.close()
        code = self._process.wait(10)
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return Lost(f"the worker {self.name} ended ({how}) in {command}()", {"stderr": tail(self.errors, 6000)})

    def _hangs(self, command, within):
        facts = {"threads": threads_of(self.pid)}
        size = os.path.getsize(self.errors)
        self._process.send_signal(signal.SIGUSR1)
        until = time.monotonic() + 2
        while os.path.getsize(self.errors) == size and time.monotonic() < until:
            time.sleep(0.05)
        self.kill()
        facts["stderr"] = tail(self.errors, 6000)
        return Lost(f"the worker {self.name} did not answer {command}() in {within:.0f} s", facts)

    def kill(self):
        self._process.kill()
        self._process.wait(10)

    def end(self, within=10.0):
        """Lets it end by itself. Its exit code; raises Lost when it does not end."""
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            raise self._hangs("exit", within) from None


class Pair:
    """Worker a and worker b, in one environment."""

    def __init__(self, dry, environment=None, early=False):
        self.dry = dry
        self.environment = dict(environment or {})
        self.directory = tempfile.mkdtemp(prefix="ropeway-cuda-")
        self.a = Process("a", self.environment, self.directory)
        self.b = Process("b", self.environment, self.directory)
        self._ask = {"dry": dry, "early": early}
        for process in (self.a, self.b):
            process.tell("start", **self._ask)
        self.facts = None

    def ready(self, within=120.0):
        """Waits until both have started."""
        if self.facts is None:
            self.facts = {process.name: process.answer("start", within) for process in (self.a, self.b)}
        return self

    def kill(self):
        for process in (self.a, self.b):
            process.kill()

    def end(self):
        """Exit codes, as {"a": 0, "b": 0}."""
        try:
            return {process.name: process.end() for process in (self.a, self.b)}
        finally:
            self.kill()

    def stderr(self, length=3000):
        return {process.name: tail(process.errors, length) for process in (self.a, self.b)}

    def logs(self):
        """UCX's, of both, when the environment asked for them in UCX_LOG_FILE."""
        pattern = self.environment.get("UCX_LOG_FILE")
        return sorted(Path(pattern).parent.glob("*.log")) if pattern else []
