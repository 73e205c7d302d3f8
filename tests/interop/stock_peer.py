# SPDX-License-Identifier: Apache-2.0
"""A stock peer: dynamo.nixl_connect and plain nixl agents, as published, in a process of their own.

One JSON list a line on stdin: a command and its arguments; one JSON answer a line on stdout's first
descriptor. What NIXL itself prints goes to stderr.
"""
import asyncio
import base64
import json
import logging
import os
import sys
import time
import zlib

logging.disable(logging.CRITICAL)
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import dynamo.nixl_connect as connect
import torch
from nixl._api import nixl_agent

from memory import Memory


def tensors(memory):
    return [torch.from_numpy(piece) for piece in memory.pieces]


class Peer:
    def __init__(self):
        self.connector = None
        self.operations = {}
        self.memories = {}
        self.agents = {}

    # ---- dynamo.nixl_connect ----

    async def open(self, name):
        self.connector = connect.Connector(name)
        return (await self.connector._create_connection()).name

    def descriptors(self, number, sizes, seed):
        memory = self.memories[number] = Memory(sizes, seed)
        found = [connect.Descriptor(tensor) for tensor in tensors(memory)]
        return found if len(found) > 1 else found[0]

    async def readable(self, number, sizes, seed, hexadecimal=False):
        operation = await self.connector.create_readable(self.descriptors(number, sizes, seed))
        self.operations[number] = operation
        return self.text(operation, hexadecimal)

    async def writable(self, number, sizes, hexadecimal=False):
        operation = await self.connector.create_writable(self.descriptors(number, sizes, None))
        self.operations[number] = operation
        return self.text(operation, hexadecimal)

    @staticmethod
    def text(operation, hexadecimal):
        """Older releases know of no other form than theirs."""
        return (operation.metadata(hex_encode=True) if hexadecimal else operation.metadata()).model_dump_json()

    async def read(self, number, metadata, sizes):
        metadata = connect.RdmaMetadata.model_validate_json(metadata)
        descriptors = self.descriptors(number, sizes, None)
        self.operations[number] = await self.connector.begin_read(metadata, descriptors)

    async def write(self, number, metadata, sizes, seed):
        metadata = connect.RdmaMetadata.model_validate_json(metadata)
        descriptors = self.descriptors(number, sizes, seed)
        self.operations[number] = await self.connector.begin_write(descriptors, metadata)

    async def wait(self, numbers, limit=120):
        async def one(number):
            operation = self.operations[number]
            await asyncio.wait_for(operation.wait_for_completion(), limit)
            return operation.status.name

        return await asyncio.gather(*map(one, numbers))

    async def holds(self, number, seed):
        return self.memories[number].holds(seed) and self.memories[number].guarded()

    async def fill(self, number, byte):
        self.memories[number].fill(byte)

    async def release(self, numbers):
        for number in numbers:
            self.operations.pop(number).__exit__(None, None, None)
            del self.memories[number]

    # ---- plain nixl agents ----

    async def agent(self, name):
        self.agents[name] = nixl_agent(name)

    async def register(self, name, number, sizes, seed=None):
        """Each piece is a registration of its own; their addresses."""
        memory = self.memories[number] = Memory(sizes, seed)
        memory.handles = [self.agents[name].register_memory(tensor) for tensor in tensors(memory)]
        return memory.pointers()

    async def register_again(self, name, number):
        """Gives the registrations of a number back, and makes them anew."""
        agent, memory = self.agents[name], self.memories[number]
        for handle in memory.handles:
            agent.deregister_memory(handle)
        memory.handles = [agent.register_memory(tensor) for tensor in tensors(memory)]

    async def agent_metadata(self, name):
        return base64.b64encode(self.agents[name].get_agent_metadata()).decode()

    async def notifications(self, name, count, limit=120):
        """Waits for that many, as [sender, text] pairs."""
        found = []
        end = time.monotonic() + limit
        while len(found) < count and time.monotonic() < end:
            for sender, texts in self.agents[name].get_new_notifs().items():
                found += [[sender, text.decode()] for text in texts]
            await asyncio.sleep(0.001)
        return found

    async def transfer(self, name, verb, metadata, number):
        """Moves all of an offer, from or into pieces that were registered, and notifies."""
        agent = self.agents[name]
        metadata = json.loads(metadata)
        blob = zlib.decompress(base64.b64decode(metadata["nixl_metadata"].removeprefix("b64:")))
        remote = agent.add_remote_agent(blob)
        memory = self.memories[number]
        theirs = [(item["ptr"], item["size"], 0) for item in metadata["descriptors"]]
        ours = [(ptr, size, 0) for ptr, size in zip(memory.pointers(), memory.sizes)]
        handle = agent.initialize_xfer(
            verb, agent.get_xfer_descs(ours, "DRAM"), agent.get_xfer_descs(theirs, "DRAM"),
            remote, metadata["notification_key"].encode(),
        )  # fmt: skip
        state = agent.transfer(handle)
        while state == "PROC":
            state = agent.check_xfer_state(handle)
            await asyncio.sleep(0)
        agent.release_xfer_handle(handle)
        return state

    async def transfers(self, name, verb, metadata, number):
        """One after the other, with many offers."""
        for one in metadata:
            assert await self.transfer(name, verb, one, number) == "DONE"

    async def notify(self, name, metadata, texts):
        """Sends notifications to whoever made the metadata."""
        agent = self.agents[name]
        metadata = json.loads(metadata)
        blob = zlib.decompress(base64.b64decode(metadata["nixl_metadata"].removeprefix("b64:")))
        remote = agent.add_remote_agent(blob)
        for text in texts:
            agent.send_notif(remote, text.encode())

    async def ping(self):
        return "pong"

    # ---- Ropeway in this very process ----

    async def load_ropeway(self, transport):
        import rope

        self.rope = rope.Connector(transport)

    async def ropeway_ucx(self):
        """The release of the UCX that Ropeway has loaded here; with "default" it needs none before
        it meets a stock peer."""
        import rope

        return rope.lib.ropeway_ucx_version().decode()

    async def both_read(self, size):
        """Stock reads from Ropeway, and Ropeway from stock, here."""
        with self.rope.readable([size], 5) as offer:
            await self.read(9001, offer.metadata(), [size])
            first = await self.wait([9001])
            one = self.memories[9001].holds(5) and offer.wait() == 3
        metadata = await self.readable(9002, [size], 6)
        with self.rope.read(metadata, [size]) as read:
            second = await self.wait([9002])
            two = read.wait() == 3 and read.memory.holds(6)
        await self.release([9001, 9002])
        return [first[0], one, second[0], two]

    async def both_write(self, size):
        with self.rope.writable([size]) as offer:
            await self.write(9003, offer.metadata(), [size], 7)
            first = await self.wait([9003])
            one = offer.wait() == 3 and offer.memory.holds(7)
        metadata = await self.writable(9004, [size])
        with self.rope.write(metadata, [size], 8) as write:
            second = await self.wait([9004])
            two = write.wait() == 3 and self.memories[9004].holds(8)
        await self.release([9003, 9004])
        return [first[0], one, second[0], two]

    async def unload_ropeway(self):
        self.rope.close()


async def main():
    peer = Peer()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command, *arguments = json.loads(line)
        try:
            answer = {"answer": await getattr(peer, command)(*arguments)}
        except Exception as error:
            answer = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
    os._exit(0)


asyncio.run(main())
