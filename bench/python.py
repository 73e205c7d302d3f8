# SPDX-License-Identifier: Apache-2.0
"""Measures whole operations (create, metadata, begin, both sides done) through the API of dynamo.nixl_connect,
between two processes, with the metadata over a socket pair.

    python bench/python.py [--module NAME] [--seconds S] [--cases LIST]

NAME: ropeway.nixl_connect (default), or dynamo.nixl_connect for the stock module. LIST: some of CASES below, by
number, and "idle". One JSON line a case. CPU is processor time of the process that reads or writes (active) and of
the one whose memory is used (passive), in microseconds for each operation. bench/python-compare runs this for both
modules in turn.
"""

import argparse
import asyncio
import importlib
import json
import multiprocessing
import os
import resource
import socket
import statistics
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

    def expect(self, number):
        """The next answer of that number."""
        answer = self.answers[number] = asyncio.get_running_loop().create_future()
        return answer

    def call(self, number, *message):
        self.send(number, *message)
        return self.expect(number)

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

    async def create(self, number, kind, size):
        """Answers twice: with the metadata, and when it is over."""
        free = self.memory.setdefault((kind, size), [])
        memory = free.pop() if free else bytearray(b"\5" * size if kind == "read" else size)
        create = self.connector.create_readable if kind == "read" else self.connector.create_writable
        with await create(self.module.Descriptor(memory)) as operation:
            self.channel.send(number, operation.metadata().model_dump())
            await operation.wait_for_completion()
        assert memory[0] == memory[-1] == 5
        free.append(memory)

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
        number = self.number
        metadata = self.module.RdmaMetadata.model_validate(await self.channel.call(number, "create", kind, size))
        over = self.channel.expect(number)
        descriptor = self.module.Descriptor(memory)
        if kind == "read":
            operation = await self.connector.begin_read(metadata, descriptor)
        else:
            operation = await self.connector.begin_write(descriptor, metadata)
        with operation:
            await operation.wait_for_completion()
        await over

    async def ask(self, *message):
        self.number += 1
        return await self.channel.call(self.number, *message)

    async def case(self, kind, size, at_a_time):
        rooms = [bytearray(size if kind == "read" else b"\5" * size) for _ in range(at_a_time)]
        await asyncio.gather(*(self.one(kind, size, room) for room in rooms))
        passive, active, start, taken = await self.ask("cpu"), cpu_seconds(), time.monotonic(), []

        async def repeat(room):
            while (begun := time.monotonic()) - start < self.seconds:
                await self.one(kind, size, room)
                taken.append(time.monotonic() - begun)

        await asyncio.gather(*map(repeat, rooms))
        took, count = time.monotonic() - start, len(taken)
        active, passive = cpu_seconds() - active, await self.ask("cpu") - passive
        assert all(room == b"\5" * size for room in rooms)
        return {
            "case": [kind, size, at_a_time],
            "operations": count,
            "operations_per_s": round(count / took, 1),
            "GB_per_s": round(count * size / took / 1e9, 3),
            "p50_us": round(statistics.median(taken) * 1e6, 1),
            "p99_us": round(sorted(taken)[count * 99 // 100] * 1e6, 1),
            "cpu_active_us": round(active / count * 1e6, 1),
            "cpu_passive_us": round(passive / count * 1e6, 1),
        }

    async def run(self, cases):
        await self.channel.open()
        dispatching = asyncio.create_task(self.channel.dispatch())
        for case in cases:
            if case == "idle":
                found = {"case": ["idle", IDLE], "cpu_share": round(await self.ask("idle", IDLE), 4)}
            else:
                found = await self.case(*CASES[int(case)])
            print(json.dumps({"module": self.module.__name__, **found}), flush=True)
        dispatching.cancel()
        self.channel.writer.close()


def serve(name, end, other):
    other.close()  # else the end of the process that has it would not show
    asyncio.run(Passive(importlib.import_module(name), Channel(end)).serve())
    os._exit(0)


async def measure(options, end):
    await Active(importlib.import_module(options.module), Channel(end), options.seconds).run(options.cases.split(","))


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--module", default="ropeway.nixl_connect")
    options.add_argument("--seconds", type=float, default=2)
    options.add_argument("--cases", default=",".join(map(str, range(len(CASES)))) + ",idle")
    options = options.parse_args()
    here, there = socket.socketpair()
    child = multiprocessing.get_context("fork").Process(target=serve, args=(options.module, there, here))
    child.start()
    there.close()
    asyncio.run(measure(options, here))
    child.join(10)
    child.kill()


if __name__ == "__main__":
    main()
