# SPDX-License-Identifier: Apache-2.0
"""What connectors, peers and operations of Ropeway cost in memory (bench/memory.c), and what a small operation takes in
a crowd (bench/crowd.c)."""

import json
import subprocess

from peers import measured_environment

OPERATIONS, PEERS = "20000", "32"
IDLE, PENDING, SECONDS = "2000", "100000", "5"
WAYS = (
    ("one host", "any", "auto"),
    ("TCP", "stream", "off"),
    ("TCP with TLS", "stream", "required"),
    ("TCP by UCX, as version 1", "tcp,self", "auto"),
)


def run(command, way):
    try:
        done = subprocess.run(
            command, env=measured_environment(UCX_NET_DEVICES="lo"), capture_output=True, text=True, timeout=180
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"over": way, "failed": str(error)}
    if done.returncode != 0:
        return {"over": way, "failed": done.stderr.strip()[-200:]}
    return {"over": way, **json.loads(done.stdout)}


def measure(build, progress, program, ways, arguments):
    """One entry for each way, or a reason."""
    found = []
    for way, transports, encryption in ways:
        progress.say(f"{program} over {way}")
        found.append(run([build / "bench" / program, transports, encryption, *arguments], way))
    return found


def measure_memory(build, progress):
    return measure(build, progress, "memory", WAYS, (OPERATIONS, PEERS))


def measure_crowd(build, progress):
    return measure(build, progress, "crowd", WAYS[:3], (IDLE, PENDING, SECONDS))
