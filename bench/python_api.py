# SPDX-License-Identifier: Apache-2.0
"""Whole operations in Python, as an application sees them: bench/python.py in the peer's environment."""

import json
import subprocess

from peers import ROOT, Place
from session import Failure

DEADLINE = 150


def figures(line):
    """Microseconds for an operation: of one at a time the median, of many the wall time of each; CPU time of both sides."""
    kind, size, at_a_time = line["case"]
    return {
        "kind": kind,
        "bytes": size,
        "at_a_time": at_a_time,
        "us": line["p50_us"] if at_a_time == 1 else 1e6 / line["operations_per_s"],
        "cpu_us": line["cpu_active_us"] + line["cpu_passive_us"],
        "p99_us": line["p99_us"],
    }


def measure(peer, seconds):
    command = [
        peer.python(),
        ROOT / "bench/python.py",
        "--module",
        peer.variant,
        "--seconds",
        str(max(0.5, min(2, seconds * 3))),
    ]
    try:
        done = subprocess.run(
            list(map(str, command)),
            env=peer.environment(Place("shm")),
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
    except subprocess.TimeoutExpired as error:
        raise Failure(f"bench/python.py did not end within {DEADLINE} s") from error
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        raise Failure(f"bench/python.py ended with {done.returncode}: {(done.stderr.strip().splitlines() or [''])[-1]}")
    return {
        "cases": [figures(line) for line in lines if line["case"][0] != "idle"],
        "idle": [
            {"pending": line["case"][1], "cpu_share": line["cpu_share"]} for line in lines if line["case"][0] == "idle"
        ],
    }
