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


SMALL = (("kind", "read"), ("bytes", 4096), ("at_a_time", 1))
MANY = (("kind", "read"), ("bytes", 65536), ("at_a_time", 256))

ASKS_TCP = (
    "Both take one message each way, and a get does without the owner's check, acknowledgement and outcome. nixl's "
    "figure is that of an owner that polls all the time; an idle Ropeway owner sleeps"
)
ONE_COPY = (
    "UCX copies between processes with one system call after another, which pins the pages and copies them in one "
    "thread; memcpy within one process has nothing to pin"
)
BUSY = (
    "All processors are busy on both sides. Most of Ropeway's time goes to the interpreter, in tasks, JSON and "
    "pydantic, and a good part of it to the measuring program itself; the ratio varies with the machine's other load"
)
COPIES = (("shm-sizes-read-64MiB", "vm"), ("shm-sizes-write-64MiB", "vm"), ("shm-sizes-read-64MiB", "ucx-get"))

GOALS = [
    Goal("READ 4 KiB, shared memory", "shm-sizes-read-4KiB", "nixl", 1.5),
    Goal(
        "READ 4 KiB, TCP",
        "tcp-sizes-read-4KiB",
        "nixl",
        1.5,
        why=ASKS_TCP,
        limits=(("tcp-sizes-read-4KiB", "sockets"), ("tcp-sizes-read-4KiB", "ucx-am"), ("tcp-sizes-read-4KiB", "ucx-get")),
    ),
    Goal("READ 64 MiB, TCP", "tcp-sizes-read-64MiB", "nixl", 3),
    Goal("READ 64 MiB, TCP", "tcp-sizes-read-64MiB", "mooncake", 1.7),
    Goal("READ 64 MiB, TCP", "tcp-sizes-read-64MiB", "sockets", 0.6),
    Goal("READ 64 MiB, shared memory", "shm-sizes-read-64MiB", "nixl", 1.2),
    Goal("READ 64 MiB, shared memory", "shm-sizes-read-64MiB", "memcpy", 0.6, why=ONE_COPY, limits=COPIES),
    Goal("WRITE 64 MiB, shared memory", "shm-sizes-write-64MiB", "nixl", 1.2),
    Goal(
        "WRITE 64 MiB, shared memory",
        "shm-sizes-write-64MiB",
        "memcpy",
        0.6,
        their_case="shm-sizes-read-64MiB",
        why=ONE_COPY,
        limits=COPIES,
    ),
    Goal("READ 4,096 times 4 KiB, shared memory", "shm-descriptors-read-4KiB-4096desc", "nixl", 1.5),
    Goal("READ 4,096 times 4 KiB, TCP", "tcp-descriptors-read-4KiB-4096desc", "nixl", 1.5),
    Goal(
        "first operation to a new peer, shared memory, Python",
        "shm-first-read-4KiB",
        "nixl-connect",
        3,
        ours="ropeway-python",
    ),
    Goal("first operation to a new peer, TCP, Python", "tcp-first-read-4KiB", "nixl-connect", 3, ours="ropeway-python"),
    PythonGoal(
        "whole operation in Python, READ 4 KiB", "", "nixl-connect", 30, ours="ropeway-python", key="us", match=SMALL
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
