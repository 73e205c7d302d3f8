# SPDX-License-Identifier: Apache-2.0
"""The benchmark's worker for raw nixl. Variants: none, an operation makes its transfer handle, as operations that
differ must; "prepared", the handles are made ahead and posted again and again."""

import base64
import os
from importlib import metadata

import common
from nixl._api import nixl_agent


class Nixl(common.Worker):
    def __init__(self, options):
        super().__init__(options)
        self.version = metadata.version("nixl")
        self.prepared = options.variant == "prepared"
        self.number = 0
        self.remote = self.registered = self.taking = self.taken_from = None
        self.handles = []

    def opened(self):
        self.renew()

    def renew(self):
        self.number += 1
        self.drop()
        self.agent = nixl_agent(f"bench-{os.getpid()}-{self.number}")

    def drop(self):
        self.forget()
        for registered in (self.registered, self.taking):
            if registered is not None:
                self.agent.deregister_memory(registered[1])
        self.registered = self.taking = None
        super().drop()

    def register(self, memory, old):
        if old is not None and old[0] is memory:
            return old
        if old is not None:
            self.agent.deregister_memory(old[1])
        return memory, self.agent.register_memory([(memory.base, memory.bytes.size, 0, "")], "DRAM")

    def offer(self, case):
        self.registered = self.register(self.ours, self.registered)
        self.agent.get_new_notifs()
        return {"metadata": base64.b64encode(self.agent.get_agent_metadata()).decode(), "base": self.ours.base}

    def descriptors(self, base, slot):
        memory = self.theirs
        return self.agent.get_xfer_descs(
            [(place - memory.base + base, memory.size, 0) for place in memory.addresses(slot)], "DRAM"
        )

    def take(self, case, offer):
        cold = case.get("cold")
        if not cold and self.remote is not None and self.taken_from == (self.theirs, offer["base"]):
            return
        self.forget()
        self.taking = self.register(self.theirs, self.taking)
        self.kind, self.taken_from = "WRITE" if case["write"] else "READ", (self.theirs, offer["base"])
        self.metadata = base64.b64decode(offer["metadata"])
        self.here = [self.descriptors(self.theirs.base, slot) for slot in range(case["slots"])]
        self.there = [self.descriptors(offer["base"], slot) for slot in range(case["slots"])]
        if not cold:
            self.first()
            if self.prepared:
                self.handles = [self.make(slot) for slot in range(case["slots"])]

    def forget(self):
        for handle in self.handles:
            self.agent.release_xfer_handle(handle)
        self.handles = []
        if self.remote is not None:
            self.agent.remove_remote_agent(self.remote)
            self.remote = None

    def first(self):
        self.remote = self.agent.add_remote_agent(self.metadata)

    def make(self, slot):
        return self.agent.initialize_xfer(self.kind, self.here[slot], self.there[slot], self.remote, b"x")

    def begin(self, slot):
        handle = self.handles[slot] if self.prepared else self.make(slot)
        return handle, self.agent.transfer(handle)

    def finish(self, token):
        handle, state = token
        while state == "PROC":
            state = self.agent.check_xfer_state(handle)
        if state != "DONE":
            raise RuntimeError(f"the transfer's state is {state}")
        if not self.prepared:
            self.agent.release_xfer_handle(handle)


common.serve(Nixl)
