# SPDX-License-Identifier: Apache-2.0
"""A worker process: does what the harness writes on its standard input, one JSON object a line, and answers each
with one line. Signal USR1 writes the stacks of its threads to standard error."""

import faulthandler
import json
import os
import signal
import sys
import time
import traceback


class Worker:
    def __init__(self):
        self.libraries = None
        self._sides = {}
        self._offers = {}
        self._number = 0

    # ---- start ----

    def start(self, dry, early=False):
        """early: the connectors are there before CUDA starts in this process."""
        began = time.monotonic()
        import ropeway

        if early:
            self.side("native", "one", {})
            self.side("native", "other", {})
        from memory import Libraries

        self.libraries = Libraries(dry)
        torch = self.libraries.torch
        torch.zeros(1, device=self.libraries.device)
        self.libraries.synchronize()
        cupy = self.libraries.cupy
        return {
            "pid": os.getpid(),
            "seconds": round(time.monotonic() - began, 2),
            "torch": torch.__version__,
            "torch_cuda": torch.version.cuda,
            "cupy": None if cupy is None else f"numpy {cupy.__version__}" if dry else cupy.__version__,
            "device": "none (dry run)" if dry else torch.cuda.get_device_name(0),
            "device_memory": 0 if dry else torch.cuda.mem_get_info()[1],
            "ropeway": ropeway.__version__,
        }

    def describe(self):
        import ropeway

        return ropeway.describe()

    def side(self, api, role, options):
        """The connector of this role: made when it is first asked for."""
        import sides

        key = json.dumps([api, role, options], sort_keys=True)
        if key not in self._sides:
            self._sides[key] = sides.make(api, options)
        return self._sides[key]

    def close_sides(self):
        for side in self._sides.values():
            side.close()
        self._sides.clear()
        self._offers.clear()

    def _memory(self, spec, seed, is_source):
        from memory import Memory

        return Memory(self.libraries, spec, seed, is_source)

    # ---- transfers ----

    def offer(self, kind, memory, seed, api="native", options=None, limit=15.0, integrity=False, times=1):
        """Offers memory, times times over. The metadata's texts, and the number for finish()."""
        side = self.side(api, "one", options or {})
        held = self._memory(memory, seed, is_source=kind == "READ")
        objects = held.objects()
        made = [side.offer(kind, objects, limit, integrity) for _ in range(times)]
        self._number += 1
        self._offers[self._number] = (side, held, [operation for operation, _ in made])
        return {"number": self._number, "metadata": [text for _, text in made]}

    def finish(self, number, limit=15.0, check=True):
        """Waits until the offer was taken, and looks at its memory: filled, or as it was."""
        side, held, operations = self._offers.pop(number)
        for operation in operations:
            side.wait(operation, limit)
        if check:
            held.check()
        return {}

    def drop(self, number):
        side, _, operations = self._offers.pop(number, (None, None, []))
        for operation in operations:
            side.release(operation)
        return {}

    def take(self, kind, metadata, memory, seed, api="native", options=None, limit=15.0, integrity=False):
        side = self.side(api, "other", options or {})
        held = self._memory(memory, seed, is_source=kind == "WRITE")
        objects = held.objects()
        began = time.perf_counter()
        operations = [side.take(kind, text, objects, limit, integrity) for text in metadata]
        for operation in operations:
            side.wait(operation, limit)
        seconds = time.perf_counter() - began
        held.check()
        return {"seconds": seconds, "path": side.path(operations[0]), "bytes": held.total}

    def burst(self, count, size, seed, metadata, limit=15.0):
        """Takes many offers at once, each into its own memory."""
        side = self.side("native", "other", {})
        held = [self._memory({"place": "cuda", "sizes": [size]}, seed, is_source=False) for _ in range(count)]
        operations = [side.take("READ", text, memory.objects(), limit) for text, memory in zip(metadata, held)]
        for operation, memory in zip(operations, held):
            side.wait(operation, limit)
            memory.check()
        return {"path": side.path(operations[0])}

    def interrupted(self, metadata, size, seed, end, moving=False, limit=15.0):
        """Begins to read, then cancels (end "cancel") or says so, so that the owner can be killed ("death").
        moving: once the first bytes are here."""
        side = self.side("native", "other", {})
        held = self._memory({"place": "cuda", "sizes": [size]}, seed, is_source=False)
        operation = side.take("READ", metadata, held.objects(), limit)
        while moving and operation.progress.done == 0 and not operation.is_done:
            pass  # to sleep would be too long
        if end == "cancel":
            side.cancel(operation)
            return self._outcome(side, operation, held, limit)
        self._number += 1
        self._offers[self._number] = (side, held, [operation])
        return {"number": self._number}

    def outcome(self, number, limit=15.0):
        side, held, operations = self._offers.pop(number)
        return self._outcome(side, operations[0], held, limit)

    def _outcome(self, side, operation, held, limit):
        import ropeway

        began, moved = time.monotonic(), operation.progress.done
        try:
            side.wait(operation, limit)
            held.check()
            ended = "complete"
        except ropeway.RopewayError as error:
            ended = f"{type(error).__name__} {error.code.name}: {error}"
        side.release(operation)
        held.reset(is_source=True)  # the device still works, and the memory is ours alone
        held.check()
        return {"ended": ended, "after": round(time.monotonic() - began, 3), "moved": moved}

    # ---- the rest, in files of their own ----

    def other(self, module, function, arguments):
        """Calls function(worker, **arguments) of a module beside this one."""
        import importlib

        return getattr(importlib.import_module(module), function)(self, **arguments)


def main():
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    # UCX and others print on standard output; the answers have a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        command = json.loads(line)
        try:
            result = {"ok": getattr(worker, command["do"])(**command["with"])}
        except Exception as error:
            code = getattr(getattr(error, "code", None), "name", None)
            result = {"error": {"type": type(error).__name__, "code": code, "text": str(error), "stack": traceback.format_exc()[-3000:]}}
        answers.write(json.dumps(result, default=str) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
