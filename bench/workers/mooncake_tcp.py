# SPDX-License-Identifier: Apache-2.0
"""The benchmark's worker for Mooncake's transfer engine over TCP."""

from importlib import metadata

import common
from mooncake.engine import TransferEngine


class Mooncake(common.Worker):
    def __init__(self, options):
        super().__init__(options)
        self.version = metadata.version("mooncake-transfer-engine-non-cuda")
        self.registered = []
        self.engine = None

    def opened(self):
        self.renew()

    def renew(self):
        self.drop()
        self.engine = TransferEngine()
        if self.engine.initialize(self.options.address, "P2PHANDSHAKE", "tcp", "") != 0:
            raise RuntimeError("the engine can't start")

    def drop(self):
        for memory in self.registered:
            self.engine.unregister_memory(memory.base)
        self.registered = []
        super().drop()

    def register(self, memory):
        if all(memory is not one for one in self.registered):
            if self.engine.register_memory(memory.base, memory.bytes.size) != 0:
                raise RuntimeError("the memory can't be registered")
            self.registered.append(memory)

    def offer(self, case):
        self.register(self.ours)
        return {"segment": f"{self.options.address}:{self.engine.get_rpc_port()}", "base": self.ours.base}

    def take(self, case, offer):
        self.register(self.theirs)
        memory, self.segment = self.theirs, offer["segment"]
        self.here = [memory.addresses(slot) for slot in range(memory.slots)]
        self.there = [[place - memory.base + offer["base"] for place in list_] for list_ in self.here]
        self.lengths = [memory.size] * memory.descriptors
        kind = "write" if case["write"] else "read"
        self.single = getattr(self.engine, f"transfer_sync_{kind}")
        self.batch = getattr(self.engine, f"batch_transfer_sync_{kind}")
        self.start = getattr(self.engine, f"batch_transfer_async_{kind}")

    def begin(self, slot):
        if self.theirs.slots == 1:
            return slot
        return self.start(self.segment, self.here[slot], self.there[slot], self.lengths)

    def finish(self, token):
        if self.theirs.slots > 1:
            failed = token == 0 or self.engine.get_batch_transfer_status([token]) != 0
        elif self.theirs.descriptors == 1:
            failed = self.single(self.segment, self.here[token][0], self.there[token][0], self.theirs.size) != 0
        else:
            failed = self.batch(self.segment, self.here[token], self.there[token], self.lengths) != 0
        if failed:
            raise RuntimeError("the transfer failed")


common.serve(Mooncake)
