# SPDX-License-Identifier: Apache-2.0
"""The cases of the benchmark, by part. A part is measured in one go, with one set of worker processes."""

import dataclasses

KIB, MIB = 1 << 10, 1 << 20

# How long a part may take, in shares of the whole; and the network that its workers are in.
PARTS = {
    "shm": 22,
    "tcp": 22,
    "delay": 7,
    "rate": 7,
    "readers": 18,
    "start": 6,
    "python": 18,
}
NETWORK_PARTS = ("delay", "rate")
FEW_SIZES = [1, 4 * KIB, 64 * KIB, MIB, 64 * MIB]


@dataclasses.dataclass(frozen=True)
class Case:
    part: str
    group: str  # what is varied, or done: sizes, asleep, concurrency, descriptors, first, both, idle, readers, start
    size: int = 4 * KIB
    write: bool = False
    descriptors: int = 1
    slots: int = 1  # operations at a time
    readers: int = 1
    pause_us: int = 0
    pending: int = 0

    @property
    def name(self):
        words = [self.part, self.group, "write" if self.write else "read", text_of(self.size)]
        words += [
            f"{value}{word}"
            for value, word, plain in (
                (self.descriptors, "desc", 1),
                (self.slots, "atonce", 1),
                (self.readers, "readers", 1),
                (self.pending, "pending", 0),
            )
            if value != plain
        ]
        return "-".join(words)

    @property
    def layout(self):
        layout = {"size": self.size, "write": self.write, "descriptors": self.descriptors, "slots": self.slots}
        return {**layout, "pause_us": self.pause_us} if self.pause_us else layout

    @property
    def bytes(self):
        return self.size * self.descriptors


def text_of(size):
    for unit, name in ((MIB, "MiB"), (KIB, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit}{name}"
    return f"{size}B"


def local_cases(part, quick):
    """Over shared memory or loopback."""
    sizes = FEW_SIZES if quick else sorted({*FEW_SIZES, 64, KIB, 16 * KIB, 256 * KIB, 4 * MIB, 16 * MIB, 256 * MIB})
    yield from (Case(part, "sizes", size) for size in sizes)
    yield from (
        Case(part, "sizes", size, write=True)
        for size in ([4 * KIB, 64 * MIB] if quick else [4 * KIB, 64 * KIB, MIB, 64 * MIB])
    )
    yield Case(part, "asleep", 4 * KIB, pause_us=2000)
    yield from (
        Case(part, "concurrency", 64 * KIB, slots=slots)
        for slots in ([16, 256] if quick else [1, 4, 16, 64, 256, 1024])
    )
    yield from (
        Case(part, "descriptors", 4 * KIB, descriptors=count)
        for count in ([256, 4096] if quick else [1, 16, 256, 1024, 4096, 16384])
    )
    yield Case(part, "first", 4 * KIB)
    yield from (Case(part, "both", size, slots=slots) for size, slots in ((64 * KIB, 16), (64 * MIB, 1)))
    yield Case(part, "idle")
    yield Case(part, "idle", pending=1000)


def network_cases(part, quick):
    """Between two network namespaces."""
    sizes = [4 * KIB, 16 * MIB] if quick else [1, 4 * KIB, 64 * KIB, MIB, 16 * MIB, 64 * MIB]
    yield from (Case(part, "sizes", size) for size in sizes)
    yield Case(part, "concurrency", 64 * KIB, slots=16)
    yield Case(part, "descriptors", 4 * KIB, descriptors=256 if quick else 1024)
    yield Case(part, "first", 4 * KIB)


def all_cases(quick):
    for part in ("shm", "tcp"):
        yield from local_cases(part, quick)
    for part in NETWORK_PARTS:
        yield from network_cases(part, quick)
    yield from (Case("readers", "readers", MIB, readers=count) for count in (1, 4, 16, 64, 256))
    yield Case("start", "start")
    yield Case("python", "python")
