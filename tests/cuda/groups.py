# SPDX-License-Identifier: Apache-2.0
"""The groups of cases, and the environment of the workers of each."""

import itertools
from typing import Any, Callable, NamedTuple, Optional

import cases
from cases import SOURCE, TARGET, memory, transfer


FIRST = 5  # groups that come before the rates


class Group(NamedTuple):
    """seconds: what the group may take. Groups without an environment of their own share their workers."""

    name: str
    cases: list[tuple[str, Callable[[Any], Any]]]
    seconds: float = 20
    environment: Optional[dict[str, str]] = None
    early: bool = False


def some(two=(True,)):
    """A few transfers of each direction."""
    for is_two, (name, (source, target)), kind, size in itertools.product(
        two, cases.DIRECTIONS.items(), ("READ", "WRITE"), (100, 1 << 20, (32 << 20) + 1)
    ):
        yield (
            f"{kind} {name} {size} B, {'two processes' if is_two else 'one process'}",
            lambda pair, s=source, t=target, n=size, k=kind, i=is_two: transfer(
                pair, k, memory(s, side=SOURCE, sizes=[n, 5]), memory(t, side=TARGET, sizes=[n, 5]), two=i
            ),
        )


def _without_cuda(dry):
    if not dry:
        yield "refused: device memory", lambda pair: cases.named(pair, "refused_without_cuda")
    yield "drop-in: program that stages through the host", lambda pair: cases.both(pair, "give_staged", "take_staged")


def make(dry, has_cupy):
    sizes = cases.DRY_SIZES if dry else cases.SIZES
    return [
        Group("two processes", list(cases.plain([n for n in sizes if n <= 100 << 20], True)), 35),
        Group("one process", list(cases.plain([n for n in sizes if n <= 100 << 20], False)), 25),
        Group("drop-in", list(cases.dropin()), 20),
        Group("special", list(cases.specials(has_cupy, dry)), 25),
        Group("kinds of memory", list(cases.kinds_of_memory(has_cupy)), 25),
        Group("256 MiB and 1 GiB, two processes", list(cases.plain([n for n in sizes if n > 100 << 20], True)), 30),
        Group("256 MiB and 1 GiB, one process", list(cases.plain([n for n in sizes if n > 100 << 20], False)), 20),
        Group("many descriptors, two processes", list(cases.many(True)), 25),
        Group("many descriptors, one process", list(cases.many(False)), 15),
        Group("connectors before CUDA", list(some((True, False))), 15, {}, early=True),
        Group("staged through the host, without cuda_ipc", list(some()), 15, {"UCX_TLS": "^cuda_ipc"}),
        Group("TCP and cuda_copy", list(some()), 15, {"UCX_TLS": "tcp,cuda_copy,self"}),
        Group("queues in shared memory", list(some()), 15, {"UCX_TLS": "posix,cma,cuda_copy,cuda_ipc,self"}),
        Group("UCX without CUDA", list(_without_cuda(dry)), 10, {"UCX_TLS": "^cuda"}),
        Group("expandable segments of torch", list(some()), 15, {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}),
        *(
            Group(
                f"owner dies, {source} to cuda",
                [("owner is killed while it is read", lambda pair, s=source: cases.owner_dies(pair, s))],
                30,
                {},
            )
            for source in ("cuda", "host")
        ),
    ]
