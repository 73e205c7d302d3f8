# SPDX-License-Identifier: Apache-2.0
"""How a case is measured with a pair of workers: warmed up, checked byte by byte, then timed in one batch."""

import contextlib
import json
import statistics
import time

from session import Failure

MOST = 4096  # operations of a batch
FIRST_CONTACTS = 8


def quantiles(samples):
    """Microseconds; the nearest rank, never a value that was not measured."""
    ordered = sorted(samples)

    def at(share):
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1e3

    return {"min": at(0), "p10": at(0.1), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": ordered[-1] / 1e3}


def part_of(offer, index, count):
    """What one of several readers gets: of an offer of single-use operations its own, else the same as all."""
    return offer[index * count : (index + 1) * count] if isinstance(offer, list) else offer


def batch(source, target, layout, count, deadline):
    """Runs count operations that target begins on what source offers."""
    offer = source.call("offer", deadline, count=count, **layout)["offer"]
    target.call("take", deadline, count=count, offer=offer, **layout)
    used = target.cpu(), source.cpu()
    answer = target.call("go", deadline)
    active, passive = target.cpu() - used[0], source.cpu() - used[1]
    return {
        **quantiles(answer["ns"]),
        "operations": count,
        "each_us": answer["wall_ns"] / count / 1e3,
        "active_cpu_us": active / count * 1e6,
        "passive_cpu_us": passive / count * 1e6,
        "offer_bytes": len(json.dumps(offer)) // (count if isinstance(offer, list) else 1),
    }


def check(source, target, layout):
    if layout["write"]:
        source.call("check", offered=True)
    else:
        target.call("check")


def drop(*processes):
    for process in processes:
        process.call("drop")


class Warm:
    """Remembers how long an operation takes, so that later rounds need not find out again."""

    def __init__(self):
        self.each_us = {}

    def count(self, case, seconds):
        least = max(3, 2 * case.slots)
        return max(least, min(MOST, int(seconds * 1e6 / self.each_us[case.name])))

    def up(self, pair, case, deadline):
        """Also after the first time: the processes stood still."""
        first = case.name not in self.each_us
        found = batch(pair.passive, pair.active, case.layout, case.slots if case.slots > 1 else 2, deadline)
        if first:
            check(pair.passive, pair.active, case.layout)
            found = batch(pair.passive, pair.active, case.layout, max(3, case.slots), deadline)
            self.each_us[case.name] = found["each_us"]
            found = batch(pair.passive, pair.active, case.layout, self.count(case, 0.02), deadline)
            self.each_us[case.name] = found["each_us"]


def alternate(pair, case, seconds, warm, deadline):
    """sizes, asleep, concurrency, descriptors."""
    warm.up(pair, case, deadline)
    for process in pair.processes:
        process.peak_memory()
    found = batch(pair.passive, pair.active, case.layout, warm.count(case, seconds), deadline)
    found["active_memory"], found["passive_memory"] = pair.active.peak_memory(), pair.passive.peak_memory()
    drop(*pair.processes)
    return found


def first(pair, case, seconds, warm, deadline):
    """First operations to peers that were never met, between processes that did the same before."""
    layout, samples = {**case.layout, "cold": True}, []
    until = time.monotonic() + seconds * 3
    while len(samples) < 3 or (len(samples) < FIRST_CONTACTS and time.monotonic() < until):
        pair.passive.call("renew", deadline)
        offer = pair.passive.call("offer", deadline, count=1, **layout)["offer"]
        pair.active.call("take", deadline, count=1, offer=offer, **layout)
        samples += pair.active.call("go", deadline)["ns"]
    pair.active.call("check")
    drop(*pair.processes)
    return {**quantiles(samples), "operations": len(samples)}


def both(pair, case, seconds, warm, deadline):
    """Both directions at once."""
    if case.name not in warm.each_us:
        warm.up(pair, case, deadline)
    layout, count = case.layout, warm.count(case, seconds / 2)
    here, there = pair.active, pair.passive
    for source, target in ((there, here), (here, there)):
        offer = source.call("offer", deadline, count=count, **layout)["offer"]
        target.call("take", deadline, count=count, offer=offer, **layout)
    used = [process.cpu() for process in (here, there)]
    here.send("go")
    there.send("go")
    answers = [process.receive(deadline) for process in (here, there)]
    used = [process.cpu() - before for process, before in zip((here, there), used)]
    for process in (here, there):
        process.call("check")
    drop(*pair.processes)
    wall = max(answer["wall_ns"] for answer in answers) / 1e3
    return {
        **quantiles(answers[0]["ns"] + answers[1]["ns"]),
        "operations": 2 * count,
        "each_us": wall / count / 2,
        "active_cpu_us": used[0] / count / 2 * 1e6,
        "passive_cpu_us": used[1] / count / 2 * 1e6,
    }


def idle(pair, case, seconds, warm, deadline):
    """CPU time of two connected processes that have nothing to do."""
    batch(pair.passive, pair.active, case.layout, 1, deadline)
    if case.pending:
        pair.passive.call("pend", deadline, count=case.pending)
    time.sleep(0.5)
    used, begun = [process.cpu() for process in pair.processes], time.monotonic()
    time.sleep(max(1, seconds * 8))
    lasted = time.monotonic() - begun
    passive, active = (100 * (process.cpu() - before) / lasted for process, before in zip(pair.processes, used))
    found = {
        "active_percent": active,
        "passive_percent": passive,
        "seconds": lasted,
        "active_memory": pair.active.memory(),
        "passive_memory": pair.passive.memory(),
    }
    drop(*pair.processes)
    return found


def readers(owner, others, case, seconds, left):
    """One owner, and case.readers processes that read from it at once. left() is how many seconds all may still take."""
    layout = case.layout

    def run(count):
        offer = owner.call("offer", left(), count=count * len(others), **layout)["offer"]
        for index, other in enumerate(others):
            other.call("take", left(), count=count, offer=part_of(offer, index, count), **layout)
        used, begun = owner.cpu(), time.monotonic()
        spent = [other.cpu() for other in others]
        for other in others:
            other.send("go")
        samples, failed = [], []
        for other in others:
            try:
                samples += other.receive(left())["ns"]
            except Failure as error:
                failed.append(str(error))
        wall = time.monotonic() - begun
        done = count * len(others)
        found = {
            **(quantiles(samples) if samples else {}),
            "operations": len(samples),
            "each_us": wall / done * 1e6,
            "passive_cpu_us": (owner.cpu() - used) / done * 1e6,
            "failures": len(failed),
        }
        if failed:
            found["failure"] = failed[0]
        else:
            found["active_cpu_us"] = sum(other.cpu() - before for other, before in zip(others, spent)) / done * 1e6
        return found

    found = run(1)
    if not found["failures"]:
        for other in others:
            other.call("check", left())
        each = found["each_us"] * len(others) / 1e6
        found = run(max(2, min(64, int(seconds * 4 / each))))
    found["owner_memory"] = owner.memory()
    found["reader_memory"] = statistics.median(other.memory() for other in others) if not found["failures"] else None
    with contextlib.suppress(Failure):
        drop(owner, *others)
    return found


BY_GROUP = {
    "sizes": alternate,
    "asleep": alternate,
    "concurrency": alternate,
    "descriptors": alternate,
    "first": first,
    "both": both,
    "idle": idle,
}
