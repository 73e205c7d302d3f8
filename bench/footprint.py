# SPDX-License-Identifier: Apache-2.0
"""What connectors, peers and operations of Ropeway cost in memory: bench/memory.c."""

import json
import subprocess

from peers import measured_environment

OPERATIONS, PEERS = "20000", "32"


def measure(build, progress):
    """One entry for each transport, or a reason."""
    found = []
    for transports in ("sm", "tcp"):
        progress.say(f"memory over {transports}")
        try:
            done = subprocess.run(
                [build / "bench/memory", transports, OPERATIONS, PEERS],
                env=measured_environment(UCX_NET_DEVICES="lo"),
                capture_output=True,
                text=True,
                timeout=120,
            )
            found.append(
                json.loads(done.stdout)
                if done.returncode == 0
                else {"transports": transports, "failed": done.stderr.strip()[-200:]}
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            found.append({"transports": transports, "failed": str(error)})
    return found
