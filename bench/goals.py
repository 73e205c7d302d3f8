# SPDX-License-Identifier: Apache-2.0
"""The figures that Ropeway is to reach beside its peers, as ratios of medians within one run."""

import dataclasses
import statistics


@dataclasses.dataclass(frozen=True)
class Goal:
    text: str
    case: str
    theirs: str
    at_least: float
    ours: str = "ropeway"
    key: str = "p50"
    their_case: str = ""
    # What stands in the way where it is missed, and the measurements (case, peer) that show it.
    why: str = ""
    limits: tuple = ()

    def ratio(self, result):
        """How often the peer's figure is Ropeway's; None where one is missing."""
        ours, theirs = result.get(self.case, self.ours), result.get(self.their_case or self.case, self.theirs)
        ours, theirs = (one.median(self.key) if one else None for one in (ours, theirs))
        return ours, theirs, theirs / ours if ours and theirs else None

    def unit(self):
        return "µs"


@dataclasses.dataclass(frozen=True)
class PythonGoal(Goal):
    """On the lines of bench/python.py."""

    match: tuple = ()

    def ratio(self, result):
        ours, theirs = (result.python(peer, **dict(self.match)) for peer in (self.ours, self.theirs))
        ours, theirs = (
            statistics.median(line[self.key] for line in lines) if lines else None for lines in (ours, theirs)
        )
        return ours, theirs, theirs / ours if ours and theirs else None


@dataclasses.dataclass(frozen=True)
class IdleGoal(Goal):
    """Percent of a core, at most; the peer's figure is for comparison."""

    key: str = "passive_percent"

    def unit(self):
        return "%"


@dataclasses.dataclass(frozen=True)
class SteadyGoal(Goal):
    """The least rate of a group's cases beside the best one, both Ropeway's own."""

    part: str = ""
    group: str = ""

    def ratio(self, result):
        entries = result.some(part=self.part, group=self.group, peer=self.ours)
        rates = [rate / 1e6 for entry in entries if (rate := entry.bytes_per_second())]
        return (min(rates), max(rates), min(rates) / max(rates)) if len(rates) > 1 else (None, None, None)

    def unit(self):
        return "MB/s"


SMALL = (("kind", "read"), ("bytes", 4096), ("at_a_time", 1))
MANY = (("kind", "read"), ("bytes", 65536), ("at_a_time", 256))

ASKS = (
    "A socket's two programs send a request and bytes. Ropeway's operation is a request that is checked, bytes, an "
    "acknowledgement and an outcome on both sides, and its connectors have a lock, timers and a thread"
)
RING = (
    "The request and the outcome go through a ring in shared memory, which the other side looks at between its looks at "
    "sockets; version 1 had a queue of UCX's for each peer"
)
ONE_COPY = (
    "Bytes are fetched by process_vm_readv, which pins the pages and copies them in one thread, and never by the side "
    "whose memory is read"
)
STARTING = (
    "The reader dials, both sides greet, and the request goes with the greeting's answer; with TLS there are two more "
    "messages and a signature. Mooncake's first transfer opens a socket and asks nobody"
)
BUSY = (
    "All processors are busy on both sides. Most of Ropeway's time goes to the interpreter, in tasks, JSON and "
    "pydantic, and a good part of it to the measuring program itself; the ratio varies with the machine's other load"
)
CIPHER = (
    "Each side encrypts or decrypts on one core, and the kernel's copies need the same two cores of this machine"
)
PARALLEL = (
    "Both sides copy at the same time, which takes two whole processors. Where a machine shares its own with others, as "
    "the one of these figures does, the ratio moves from run to run, and above and below the goal"
)
GATHERED = "Each small descriptor is copied into a message, and out of it again; a socket's reader has one buffer"
INTERPRETER = (
    "Most of it is the interpreter's, in tasks, JSON and pydantic, and the wake-ups of processes that sleep between "
    "operations; stock nixl_connect polls"
)
STEPS = (
    "One at a time moves nothing while its request and its outcome are on their way. With hundreds the thread that begins "
    "operations and the one that moves bytes wait for each other's lock"
)
SHARED = (
    "Several readers and their owner share two cores, and the rates differ much between the rounds; those of the plain "
    "socket spread more. Why one reader is the best point was not found"
)
LATE = (
    "Most of it is the round trip and TCP's window, which opens from the first byte on for all; what is left differs "
    "less between the peers than between the rounds"
)


def small(text, case, theirs, at_least, **more):
    return Goal(text, case, theirs, at_least, why=ASKS, limits=((case, "sockets"),), **more)


GOALS = [
    Goal("READ 64 MiB, TCP, with TLS", "tcp-sizes-read-64MiB", "nixl", 1.2, ours="ropeway-tls", why=CIPHER),
    Goal("READ 64 MiB, TCP", "tcp-sizes-read-64MiB", "sockets", 1 / 1.1, why=PARALLEL),
    Goal("READ 64 MiB, TCP", "tcp-sizes-read-64MiB", "mooncake", 1.7),
    Goal("READ 64 MiB, TCP", "tcp-sizes-read-64MiB", "nixl", 2.5),
    small("READ 4 KiB, TCP", "tcp-sizes-read-4KiB", "sockets", 1 / 1.35),
    small("READ 4 KiB, TCP, asleep before", "tcp-asleep-read-4KiB", "sockets", 1 / 1.35),
    *(
        Goal(f"READ {text}, 1 ms each way", f"delay-sizes-read-{name}", theirs, at_least, why=LATE)
        for text, name in (("64 KiB", "64KiB"), ("1 MiB", "1MiB"), ("64 MiB", "64MiB"))
        for theirs, at_least in (("sockets", 1 / 1.1), ("mooncake", 1))
    ),
    Goal("first operation to a new peer, TCP", "tcp-first-read-4KiB", "mooncake", 1, why=STARTING),
    Goal(
        "first operation to a new peer, TCP, with TLS",
        "tcp-first-read-4KiB",
        "mooncake",
        0.5,
        ours="ropeway-tls",
        why=STARTING,
    ),
    *(
        Goal(f"READ {text}, one host", f"shm-sizes-read-{name}", theirs, at_least, why=RING if by_ring else ONE_COPY)
        for text, name, faster, by_ring in (
            ("4 KiB", "4KiB", 2, True),
            ("64 KiB", "64KiB", 1, True),
            ("1 MiB", "1MiB", 1, False),
            ("64 MiB", "64MiB", 1, False),
        )
        for theirs, at_least in (("ropeway-ucx", 1 / 1.3), ("nixl", faster))
    ),
    Goal(
        "READ 16,384 times 4 KiB, one host", "shm-descriptors-read-4KiB-16384desc", "vm", 0.85, why=ONE_COPY
    ),
    Goal("READ 16,384 times 4 KiB, TCP", "tcp-descriptors-read-4KiB-16384desc", "sockets", 0.9, why=GATHERED),
    Goal(
        "first operation to a new peer, one host, Python",
        "shm-first-read-4KiB",
        "nixl-connect",
        3,
        ours="ropeway-python",
    ),
    PythonGoal(
        "whole operation in Python, READ 4 KiB",
        "",
        "nixl-connect",
        30,
        ours="ropeway-python",
        key="us",
        match=SMALL,
        why=INTERPRETER,
    ),
    PythonGoal("its CPU time, both sides", "", "nixl-connect", 30, ours="ropeway-python", key="cpu_us", match=SMALL),
    PythonGoal(
        "256 at a time in Python, READ 64 KiB",
        "",
        "nixl-connect",
        10,
        ours="ropeway-python",
        key="us",
        match=MANY,
        why=BUSY,
    ),
    Goal(
        "one owner, 64 readers, 1 MiB each, Python",
        "readers-readers-read-1MiB-64readers",
        "nixl-connect",
        5,
        ours="ropeway-python",
        key="each_us",
    ),
    SteadyGoal(
        "1 to 256 readers of one owner", "", "its best point", 0.8, part="readers", group="readers", why=SHARED
    ),
    *(
        SteadyGoal(
            f"1 to 1,024 operations at a time, {where}",
            "",
            "its best point",
            0.8,
            part=part,
            group="concurrency",
            why=STEPS,
        )
        for part, where in (("tcp", "TCP"), ("shm", "one host"))
    ),
    IdleGoal(
        "idle, 1,000 pending, Python", "shm-idle-read-4KiB-1000pending", "nixl-connect", 0.0, ours="ropeway-python"
    ),
    IdleGoal("idle, 1,000 pending, C", "shm-idle-read-4KiB-1000pending", "nixl-connect", 0.0),
]


def reached(goal, ours, ratio):
    """None where it was not measured. Idle processes may keep their 0.0 %, once rounded."""
    if isinstance(goal, IdleGoal):
        return None if ours is None else round(ours, 1) <= goal.at_least
    return None if ratio is None else ratio >= goal.at_least
