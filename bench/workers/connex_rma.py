# SPDX-License-Identifier: Apache-2.0
"""The benchmark's worker for connex-rs: one-sided transfers of registered memory."""

import os
from importlib import metadata

import common
from connex_rs import Engine


class Connex(common.Worker):
    def __init__(self, options):
        super().__init__(options)
        self.version = metadata.version("connex-rs")
        self.registered, self.number, self.engine = [], 0, None

    def opened(self):
        self.renew()

    def renew(self):
        self.drop()
        if self.engine is not None:
            self.engine.close()
        self.number += 1
        address = self.options.address
        self.engine = Engine("bench", os.getpid(), self.number, listen_ip=address, advertise_ip=address)

    def drop(self):
        for memory in self.registered:
            self.engine.unregister_memory(memory.base)
        self.registered = []
        super().drop()

    def register(self, memory):
        if all(memory is not one for one in self.registered):
            self.engine.register_memory(memory.base, memory.bytes.size)
            self.registered.append(memory)

    def offer(self, case):
        self.register(self.ours)
        return {"url": self.engine.local_url, "base": self.ours.base}

    def take(self, case, offer):
        self.register(self.theirs)
        memory, self.url = self.theirs, offer["url"]
        self.write = case["write"]
        self.here = [memory.addresses(slot) for slot in range(memory.slots)]
        self.there = [[place - memory.base + offer["base"] for place in list_] for list_ in self.here]

    def begin(self, slot):
        if self.theirs.slots == 1 and self.theirs.descriptors == 1:
            return slot
        start = self.engine.put_async if self.write else self.engine.get_async
        return [
            start(self.url, here, there, self.theirs.size) for here, there in zip(self.here[slot], self.there[slot])
        ]

    def finish(self, token):
        if isinstance(token, list):
            for transfer in token:
                if not transfer.wait():
                    raise RuntimeError("a transfer timed out")
            return
        move = self.engine.transfer_sync_write if self.write else self.engine.transfer_sync_read
        if (code := move(self.url, self.here[token][0], self.there[token][0], self.theirs.size)) != 0:
            raise RuntimeError(f"the transfer failed with {code}")


common.serve(Connex)
