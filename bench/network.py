# SPDX-License-Identifier: Apache-2.0
"""Two network namespaces with a cable between them, slowed down as a part of the benchmark asks. They are named after
this process, and are gone when the part ends."""

import contextlib
import os
import subprocess
import time

from peers import Place

DEVICE = "bench0"
SUBNET = "10.199.7"


class Unavailable(Exception):
    pass


def run(*words):
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    if done.returncode != 0:
        raise Unavailable(f"'{' '.join(words)}': {done.stderr.strip() or done.returncode}")
    return done.stdout


def remove(names):
    for name in names:
        with contextlib.suppress(Exception):
            run("ip", "netns", "del", name)


def cable(names):
    run("ip", "link", "add", DEVICE, "netns", names[0], "type", "veth", "peer", "name", DEVICE, "netns", names[1])


def shape(names, *words):
    for name in names:
        run("ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", DEVICE, "root", *words)


def delayed_cable(names, build, stack):
    """1 ms each way: by tc's netem where the kernel has it, else by a program that passes packets on."""
    try:
        cable(names)
        shape(names, "netem", "delay", "1ms", "limit", "20000")
    except Unavailable:
        run("ip", "-n", names[0], "link", "del", DEVICE)
        program = subprocess.Popen(
            [build / "bench/delay", "1000", *names, DEVICE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        stack.callback(program.wait)
        stack.callback(program.kill)
        if program.stdout.readline() != b"ready\n":
            raise Unavailable("this kernel has neither netem nor TUN devices") from None
        for name in names:
            run("ip", "-n", name, "link", "set", DEVICE, "mtu", "9000")


def wait_for_carrier(name):
    """UCX takes only interfaces that are running when a worker starts, and a link is not at once."""
    deadline = time.monotonic() + 10
    while "LOWER_UP" not in run("ip", "-n", name, "-o", "link", "show", "dev", DEVICE):
        if time.monotonic() > deadline:
            raise Unavailable(f"{DEVICE} in {name} does not come up")
        time.sleep(0.01)


@contextlib.contextmanager
def made_for(part, build):
    """The two places of a part between namespaces; None for a part that needs none."""
    if part not in ("delay", "rate"):
        yield None
        return
    if os.geteuid() != 0:
        raise Unavailable("network namespaces need root")
    names = [f"bench-{os.getpid()}-{side}" for side in "ab"]
    with contextlib.ExitStack() as stack:
        stack.callback(remove, names)
        for name in names:
            run("ip", "netns", "add", name)
        if part == "delay":
            delayed_cable(names, build, stack)
        else:
            cable(names)
            shape(names, "tbf", "rate", "1gbit", "burst", "256kb", "latency", "20ms")
        for number, name in enumerate(names):
            run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "-n", name, "addr", "add", f"{SUBNET}.{number + 1}/24", "dev", DEVICE)
            run("ip", "-n", name, "link", "set", DEVICE, "up")
        for name in names:
            wait_for_carrier(name)
        yield tuple(
            Place(part, f"{SUBNET}.{number + 1}", DEVICE, ("ip", "netns", "exec", name))
            for number, name in enumerate(names)
        )
