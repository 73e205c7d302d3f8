# SPDX-License-Identifier: Apache-2.0
"""How long a fresh process takes until it is ready, and until its first bytes are there."""

import contextlib
import statistics
import subprocess
import time

LAYOUT = {"size": 4096, "write": False, "descriptors": 1, "slots": 1, "count": 1}
TIMES = 3


def import_seconds(command, environment):
    """The median of a Python's import of the peer, less that of importing nothing."""
    taken = {}
    for words in (command, [command[0], "-c", "pass"]) * TIMES:
        begun = time.monotonic()
        subprocess.run(
            list(map(str, words)),
            env=environment,
            check=True,
            timeout=60,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        taken.setdefault(words[2], []).append(time.monotonic() - begun)
    whole, nothing = (statistics.median(taken[words]) for words in (command[2], "pass"))
    return whole - nothing


def measure(peer, build, places, start):
    """first_byte: from the start of the reading process until it has its first 4 KiB; the owner runs already."""
    found = {"ready_s": [], "first_byte_s": []}
    with contextlib.closing(start(peer, places[0])) as owner:
        for _ in range(TIMES):
            offer = owner.call("offer", **LAYOUT)["offer"]
            with contextlib.closing(start(peer, places[1])) as reader:
                reader.call("take", offer=offer, **LAYOUT)
                reader.call("go")
                found["first_byte_s"].append(time.monotonic() - reader.started)
                found["ready_s"].append(reader.ready_after)
                found["memory"] = reader.memory()
    found = {key: statistics.median(value) if isinstance(value, list) else value for key, value in found.items()}
    if command := peer.import_command(build):
        found["import_s"] = import_seconds(command, peer.environment(places[1]))
    return found
