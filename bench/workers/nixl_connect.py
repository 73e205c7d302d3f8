# SPDX-License-Identifier: Apache-2.0
"""The benchmark's worker for the API of dynamo.nixl_connect. The variant is the module: ropeway.nixl_connect, or
dynamo.nixl_connect for the stock one. An offer is the list of the operations' metadata."""

import asyncio
import importlib
import time
from importlib import metadata

import common


class Connect(common.Worker):
    def __init__(self, options):
        super().__init__(options)
        # Imported before this process has children.
        self.module = importlib.import_module(options.variant)
        self.version = metadata.version("ropeway" if options.variant.startswith("ropeway") else "ai-dynamo-runtime")
        self.connector = None
        self.waits = []

    def opened(self):
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.connector = self.module.Connector()

    def descriptors(self, memory, slot):
        made = [
            self.module.Descriptor((address, memory.size, "cpu", memory.bytes)) for address in memory.addresses(slot)
        ]
        return made if len(made) > 1 else made[0]

    async def wait(self, operation):
        with operation:
            await operation.wait_for_completion()

    async def offer_all(self, case):
        create = self.connector.create_writable if case["write"] else self.connector.create_readable
        offers = []
        for number in range(case["count"]):
            operation = await create(self.descriptors(self.ours, number % case["slots"]))
            offers.append(operation.metadata().model_dump())
            self.waits.append(asyncio.create_task(self.wait(operation)))
        return offers

    def offer(self, case):
        self.waits = [task for task in self.waits if not task.done() or task.result()]
        return self.loop.run_until_complete(self.offer_all(case))

    def take(self, case, offer):
        self.offers = [self.module.RdmaMetadata.model_validate(one) for one in offer]

    async def one(self, case, number):
        memory = self.descriptors(self.theirs, number % case["slots"])
        if case["write"]:
            operation = await self.connector.begin_write(memory, self.offers[number])
        else:
            operation = await self.connector.begin_read(self.offers[number], memory)
        await self.wait(operation)

    async def run(self, case):
        samples, numbers = [0] * case["count"], iter(range(case["count"]))

        async def turn():
            for number in numbers:
                begun = time.perf_counter_ns()
                await self.one(case, number)
                samples[number] = time.perf_counter_ns() - begun

        await asyncio.gather(*(turn() for _ in range(case["slots"])))
        return samples

    def go(self, case):
        return self.loop.run_until_complete(self.run(case))

    async def pend_all(self, count):
        for _ in range(count):
            operation = await self.connector.create_readable(self.module.Descriptor(bytearray(8)))
            self.waits.append(asyncio.create_task(operation.wait_for_completion()))

    def pend(self, count):
        self.loop.run_until_complete(self.pend_all(count))

    def renew(self):
        self.drop()
        self.connector = self.module.Connector()

    def drop(self):
        for task in self.waits:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*self.waits, return_exceptions=True))
        self.waits = []
        super().drop()

    def next_line(self, stream):
        """Passive operations need a running loop until the driver has its next word."""
        return self.loop.run_until_complete(self.loop.run_in_executor(None, stream.readline))


common.serve(Connect)
