# SPDX-License-Identifier: Apache-2.0
"""Timed operations, and plain copies of the same size and kind beside them; run in a worker. Every run is checked:
the target has other bytes before it, and the right ones behind it.

An operation is timed on the side that begins it, from just before it begins until its end is known, with
metadata that was made before. A copy is timed by the clock, until the device is synchronized, and by CUDA's events.
"""

import time

LEAST = 3  # runs, however long they take
MOST = 200


def summary(seconds, size, **more):
    """Of runs: best, quartiles and worst in microseconds; GB/s (10^9 bytes) at the median."""
    ordered = sorted(seconds)

    def at(share):
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    micro = {name: round(value * 1e6, 2) for name, value in (("min", ordered[0]), ("p25", at(0.25)), ("median", at(0.5)), ("p75", at(0.75)), ("max", ordered[-1]))}  # fmt: skip
    return {"runs": len(ordered), "us": micro, "gb_per_s": round(size / at(0.5) / 1e9, 3), **more}


def _pair(worker, source, target, size):
    one = worker._memory({"place": source, "sizes": [size]}, 21, is_source=True)
    other = worker._memory({"place": target, "sizes": [size]}, 21, is_source=False)
    return one, other


def local(worker, source, target, size, budget, options=None):
    """READs between two connectors of this process, for budget seconds."""
    owner, reader = worker.side("native", "one", options or {}), worker.side("native", "other", options or {})
    one, other = _pair(worker, source, target, size)
    runs, until, path = [], time.monotonic() + budget, ""
    while len(runs) <= MOST and (len(runs) <= LEAST or time.monotonic() < until):
        offered, text = owner.offer("READ", one.objects(), 30)
        room = other.objects()
        began = time.perf_counter()
        operation = reader.take("READ", text, room, 30)
        reader.wait(operation, 30)
        runs.append(time.perf_counter() - began)
        owner.wait(offered, 30)
        path = reader.path(operation)
        other.check()
        other.reset(is_source=False)
    return summary(runs[1:], size, first_us=round(runs[0] * 1e6, 1), path=path)


def take(worker, metadata, place, size, options=None):
    """READs of what the other process offers, one after the other. Seconds of each, and the path."""
    reader = worker.side("native", "other", options or {})
    memory = worker._memory({"place": place, "sizes": [size]}, 21, is_source=False)
    runs, path = [], ""
    for text in metadata:
        room = memory.objects()
        began = time.perf_counter()
        operation = reader.take("READ", text, room, 30)
        reader.wait(operation, 30)
        runs.append(time.perf_counter() - began)
        path = reader.path(operation)
        memory.check()
        memory.reset(is_source=False)
    return {"seconds": runs, "path": path}


def copies(worker, source, target, size, budget):
    """torch's copy_(), which is cudaMemcpyAsync, to memory of the same kinds."""
    libraries = worker.libraries
    torch = libraries.torch
    one, other = _pair(worker, source, target, size)
    begin, end = None, None
    if not libraries.dry:
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    runs, events, until = [], [], time.monotonic() + budget
    while len(runs) <= MOST and (len(runs) <= LEAST or time.monotonic() < until):
        began = time.perf_counter()
        if begin is not None:
            begin.record()
        other._backing.copy_(one._backing, non_blocking=True)
        if end is not None:
            end.record()
        libraries.synchronize()
        runs.append(time.perf_counter() - began)
        if begin is not None:
            events.append(begin.elapsed_time(end) / 1e3)
        other.check()
        other.reset(is_source=False)
    more = {"events_median_us": round(sorted(events[1:])[len(events[1:]) // 2] * 1e6, 2)} if events else {}
    return summary(runs[1:], size, **more)


# ---- the floor between two processes: CUDA's own handles ----


def ipc_give(worker, size):
    memory = worker._memory({"place": "raw", "sizes": [size]}, 21, is_source=True)
    worker.ipc = memory
    handle = worker.libraries.cupy.cuda.runtime.ipcGetMemHandle(memory._backing.data_ptr())
    return {"handle": handle.hex()}


def ipc_take(worker, given, size, budget):
    """cudaMemcpy from memory of the other process, opened once. The first run has the opening in it."""
    runtime = worker.libraries.cupy.cuda.runtime
    memory = worker._memory({"place": "cuda", "sizes": [size]}, 21, is_source=False)
    began = time.perf_counter()
    remote = runtime.ipcOpenMemHandle(bytes.fromhex(given["handle"]))
    opened = time.perf_counter() - began
    runs, until = [], time.monotonic() + budget
    try:
        while len(runs) <= MOST and (len(runs) <= LEAST or time.monotonic() < until):
            began = time.perf_counter()
            runtime.memcpyAsync(memory._backing.data_ptr(), remote, size, runtime.memcpyDeviceToDevice, 0)
            runtime.deviceSynchronize()
            runs.append(time.perf_counter() - began)
            memory.check()
            memory.reset(is_source=False)
    finally:
        runtime.ipcCloseMemHandle(remote)
    return summary(runs[1:], size, open_us=round(opened * 1e6, 1))


def ipc_end(worker):
    worker.ipc = None
    return {}
