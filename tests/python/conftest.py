# SPDX-License-Identifier: Apache-2.0
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ropeway

HERE = Path(__file__).parent
LIMIT = 30  # seconds for what takes milliseconds; no test depends on it

# UCX patches the C library's mmap and its like when it is loaded, and takes 0.4 s for it. This process lets it; the
# many that tests start don't need it.
ropeway.Connector().close()
os.environ["UCX_MEM_MMAP_HOOK_MODE"] = "none"


@pytest.fixture
def pair():
    with ropeway.Connector() as one, ropeway.Connector() as other:
        yield one, other


class Peer:
    """peer.py in a process of its own: call(command, argument...) gives its answer."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "peer.py"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, *command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        assert line, f"the peer ended with {self.process.wait(LIMIT)}"
        return json.loads(line)

    def call(self, *command):
        self.tell(*command)
        return self.answer()

    def kill(self):
        self.process.kill()
        self.process.wait(LIMIT)


@pytest.fixture
def peers():
    """Starts peers, and ends them."""
    started = []

    def start(*arguments):
        started.append(Peer(*arguments))
        return started[-1]

    yield start
    for peer in started:
        peer.kill()
        peer.process.stdin.close()
        peer.process.stdout.close()


@pytest.fixture
def peer(peers):
    return peers()


def until_none_is_live(stats):
    """Spins until the library is through with operations that were let go of, which it cancels on its own thread."""
    end = time.monotonic() + LIMIT
    while (found := stats())["operations_live"]:
        assert time.monotonic() < end, found
    return found


def run_program(text, *arguments, **options):
    """Runs Python code in a fresh process; what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments, "-c", text], capture_output=True, text=True, timeout=4 * LIMIT, **options
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout
