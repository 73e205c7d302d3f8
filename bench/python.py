# SPDX-License-Identifier: Apache-2.0
"""Measures whole operations (create, metadata, begin, both sides done) through the API of dynamo.nixl_connect,
between two processes, with the metadata over a socket pair.

    python bench/python.py [--module NAME] [--seconds S]

NAME: ropeway.nixl_connect (default), or dynamo.nixl_connect for the stock module. One JSON line a case. CPU is
that of both processes.
"""

import argparse
import asyncio
import importlib
import json
import multiprocessing
import os
import resource
import socket
import time
import traceback

CASES = [  # kind, bytes, operations at a time
    ("read", 4 << 10, 1),
    ("write", 4 << 10, 1),
    ("read", 64 << 10, 256),
    ("read", 64 << 20, 1),
    ("write", 64 << 20, 1),
]
IDLE = 1000


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Channel:
    """JSON lines, answered by number."""

    def __init__(self, end):
        self.end = end
        self.answers = {}

    async def open(self):
        self.reader, self.writer = await asyncio.open_connection(sock=self.end, limit=1 << 26)

    def send(self, *message):
        self.writer.write(json.dumps(message).encode() + b"\n")

    async def receive(self):
        line = await self.reader.readline()
        return json.loads(line) if line else None

    async def call(self, number, *message):
        self.answers[number] = asyncio.get_running_loop().create_future()
        self.send(number, *message)
        return await self.answers[number]

    async def dispatch(self):
        while (message := await self.receive()) is not None:
            number, answer = message
            self.answers.pop(number).set_result(answer)
        for answer in self.answers.values():
            answer.set_exception(EOFError("the passive process ended"))


class Passive:
    def __init__(self, module, channel):
        self.module = module
        self.channel = channel
        self.connector = module.Connector()
        self.memory = {}
        self.waits = {}

    async def create(self, number, kind, size):
        free = self.memory.setdefault(size, [])
        memory = free.pop() if free else bytearray(b"\5" * size)
        create = self.connector.create_readable if kind == "read" else self.connector.create_writable
        operation = await create(self.module.Descriptor(memory))
        self.waits[number] = asyncio.create_task(self.finish(operation, size, memory))
        return operation.metadata().model_dump()

    async def finish(self, operation, size, memory):
        with operation:
            await operation.wait_for_completion()
        self.memory[size].append(memory)

    async def done(self, number, first):
        await self.waits.pop(first)

    async def idle(self, number, count):
        operations = [await self.connector.create_readable(self.module.Descriptor(bytearray(8))) for _ in range(count)]
        tasks = [asyncio.create_task(operation.wait_for_completion()) for operation in operations]
        await asyncio.sleep(0.5)
        start, used = time.monotonic(), cpu_seconds()
        await asyncio.sleep(2)
        share = (cpu_seconds() - used) / (time.monotonic() - start)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return share

    async def cpu(self, number):
        return cpu_seconds()

    async def serve(self):
        await self.channel.open()
        running = set()
        while (message := await self.channel.receive()) is not None:
            task = asyncio.create_task(self.answer(*message))
            running.add(task)
            task.add_done_callback(running.discard)

    async def answer(self, number, command, *arguments):
        try:
            self.channel.send(number, await getattr(self, command)(number, *arguments))
        except Exception:
            traceback.print_exc()
            os._exit(1)


class Active:
    def __init__(self, module, channel, seconds):
        self.module = module
        self.channel = channel
        self.seconds = seconds
        self.connector = module.Connector()
        self.number = 0

    async def one(self, kind, size, memory):
        self.number += 1
        first = self.number
        metadata = self.module.RdmaMetadata.model_validate(await self.channel.call(first, "create", kind, size))
        descriptor = self.module.Descriptor(memory)
        if kind == "read":
            operation = await self.connector.begin_read(metadata, descriptor)
        else:
            operation = await self.connector.begin_write(descriptor, metadata)
        with operation:
            await operation.wait_for_completion()
        self.number += 1
        await self.channel.call(self.number, "done", first)

    async def total_cpu(self):
        self.number += 1
        return cpu_seconds() + await self.channel.call(self.number, "cpu")

    async def case(self, kind, size, at_a_time):
        rooms = [bytearray(size) for _ in range(at_a_time)]
        await asyncio.gather(*(self.one(kind, size, room) for room in rooms))
        used, start, count = await self.total_cpu(), time.monotonic(), 0

        async def repeat(room):
            nonlocal count
            while time.monotonic() - start < self.seconds:
                await self.one(kind, size, room)
                count += 1

        await asyncio.gather(*map(repeat, rooms))
        took = time.monotonic() - start
        used = await self.total_cpu() - used
        assert kind == "write" or all(room == b"\5" * size for room in rooms)
        return {
            "kind": kind,
            "bytes": size,
            "at_a_time": at_a_time,
            "operations": count,
            "operations_per_s": round(count / took, 1),
            "us_each": round(took / count * at_a_time * 1e6, 1),
            "cpu_us_each": round(used / count * 1e6, 1),
            "GB_per_s": round(count * size / took / 1e9, 3),
        }

    async def run(self):
        await self.channel.open()
        dispatching = asyncio.create_task(self.channel.dispatch())
        for case in CASES:
            print(json.dumps({"module": self.module.__name__, **await self.case(*case)}), flush=True)
        self.number += 1
        share = await self.channel.call(self.number, "idle", IDLE)
        print(json.dumps({"module": self.module.__name__, "idle_operations": IDLE, "cpu_share": round(share, 4)}), flush=True)
        dispatching.cancel()
        self.channel.writer.close()


def serve(name, end):
    asyncio.run(Passive(importlib.import_module(name), Channel(end)).serve())
    os._exit(0)


async def measure(name, end, seconds):
    await Active(importlib.import_module(name), Channel(end), seconds).run()


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--module", default="ropeway.nixl_connect")
    options.add_argument("--seconds", type=float, default=2)
    options = options.parse_args()
    here, there = socket.socketpair()
    child = multiprocessing.get_context("fork").Process(target=serve, args=(options.module, there))
    child.start()
    there.close()
    asyncio.run(measure(options.module, here, options.seconds))
    child.join(10)
    child.kill()


if __name__ == "__main__":
    main()
