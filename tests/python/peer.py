# SPDX-License-Identifier: Apache-2.0
"""The other process of a test. One JSON list a line: a command and its arguments; one JSON answer a line."""

import asyncio
import json
import sys

import ropeway.nixl_connect as connect


def pattern(size, seed):
    period = bytes((index * 7 + seed) % 251 for index in range(251))
    return bytearray(period * (size // 251 + 1))[:size]


class Server:
    def __init__(self):
        self.connector = connect.Connector()
        self.operations = []
        self.buffers = []

    def keep(self, operation, *buffers):
        self.operations.append(operation)
        self.buffers.append(buffers)

    async def readable(self, *sizes):
        buffers = [pattern(size, number) for number, size in enumerate(sizes)]
        operation = await self.connector.create_readable([connect.Descriptor(b) for b in buffers])
        self.keep(operation, *buffers)
        return operation.metadata().model_dump()

    async def writable(self, *sizes):
        buffers = [bytearray(size) for size in sizes]
        operation = await self.connector.create_writable([connect.Descriptor(b) for b in buffers])
        self.keep(operation, *buffers)
        return operation.metadata().model_dump()

    async def wait(self):
        try:
            await self.operations[-1].wait_for_completion()
        except RuntimeError as error:
            return ["raised", type(error).__name__, str(error)]
        return [str(self.operations[-1].status), [list(buffer[:64]) for buffer in self.buffers[-1]]]

    async def read(self, metadata):
        metadata = connect.RdmaMetadata.model_validate(metadata)
        buffers = [bytearray(item.size) for item in metadata.descriptors]
        operation = await self.connector.begin_read(metadata, [connect.Descriptor(b) for b in buffers])
        self.keep(operation, *buffers)
        await operation.wait_for_completion()
        return [buffer == pattern(len(buffer), number) for number, buffer in enumerate(buffers)]

    async def write(self, metadata):
        metadata = connect.RdmaMetadata.model_validate(metadata)
        buffers = [pattern(item.size, number) for number, item in enumerate(metadata.descriptors)]
        operation = await self.connector.begin_write([connect.Descriptor(b) for b in buffers], metadata)
        self.keep(operation, *buffers)
        await operation.wait_for_completion()
        return str(operation.status)

    async def name(self):
        return (await self.connector._create_connection()).name


async def main():
    server = Server()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command, *arguments = json.loads(line)
        try:
            answer = await getattr(server, command)(*arguments)
        except Exception as error:
            answer = ["raised", type(error).__name__, str(error)]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
