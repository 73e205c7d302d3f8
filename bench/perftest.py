# SPDX-License-Identifier: Apache-2.0
"""ucx_perftest of the UCX that Ropeway was built with: UCX alone, without requests, checks and outcomes."""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import time

from session import Failure

MIB = 1 << 20
SEGMENTS = {"UCX_TCP_TX_SEG_SIZE": "256k", "UCX_TCP_RX_SEG_SIZE": "256k"}
SETTINGS = {"shm": {"UCX_TLS": "posix,cma"}, "tcp": {"UCX_TLS": "tcp", "UCX_NET_DEVICES": "lo", **SEGMENTS}}


def find(library):
    """The tool beside a UCX library, or in PATH; None where there is none."""
    beside = pathlib.Path(library).parent.parent / "bin/ucx_perftest"
    return str(beside) if beside.exists() else shutil.which("ucx_perftest")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_listener(port, process):
    """Looks at the kernel's list: a connection made to try would be taken for the client's."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            with contextlib.suppress(OSError), open(table) as lines:
                if any(f":{port:04X} " in line and " 0A " in line for line in lines):
                    return
        time.sleep(0.01)
    raise Failure("the server of ucx_perftest does not listen")


def call(program, library, transport, test):
    """The last row of the tool's output, by column."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("UCX_")},
        **SETTINGS[transport],
        "LD_LIBRARY_PATH": str(pathlib.Path(library).parent),
    }
    port = str(free_port())
    server = subprocess.Popen(
        [program, "-p", port], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for_listener(int(port), server)
        done = subprocess.run(
            [program, "-p", port, "127.0.0.1", *test, "-f", "-v"],
            env=environment,
            timeout=60,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        lines = done.stdout.splitlines()
        names = next((line for line in lines if "overall_bw" in line), None)
        if done.returncode != 0 or names is None:
            raise Failure(f"ucx_perftest ended with {done.returncode}: {done.stderr.strip()[-200:]}")
        return dict(zip(names.split(","), map(float, lines[-1].split(","))))
    except subprocess.TimeoutExpired as error:
        raise Failure("ucx_perftest did not end within 60 s") from error
    finally:
        server.kill()
        server.wait()


def measure(program, library, transport, size, variant, seconds):
    """One round. Variant "get": one ucp_get at a time. "am": 64 KiB and more as a stream of active messages, 32
    outstanding; less as half of a ping-pong, doubled, as request and answer are two messages."""
    stream = variant == "am" and size >= 64 << 10
    count = max(10, min(20000, int(seconds / (5e-6 + size / 2e9))))
    common = ["-s", str(size), "-n", str(count), "-w", str(max(2, count // 10))]
    if stream:
        row = call(program, library, transport, ["-t", "ucp_am_bw", *common])
        microseconds = size / (row["overall_bw"] * MIB) * 1e6
    else:
        test = ["-t", "ucp_get", "-O", "1"] if variant == "get" else ["-t", "ucp_am_lat"]
        row = call(program, library, transport, [*test, *common])
        microseconds = row["50.0_percentile_lat"] * (1 if variant == "get" else 2)
    return {"p50": microseconds, "each_us": microseconds, "operations": count}
