# SPDX-License-Identifier: Apache-2.0
"""A program for dynamo.nixl_connect: two workers in one process, a read and a write.

    python -m ropeway.dropin nixl_program.py
"""

import asyncio

import dynamo.nixl_connect as connect


async def reader(connector, message):
    """Reads what another worker offered."""
    metadata = connect.RdmaMetadata.model_validate(message)
    room = bytearray(sum(item.size for item in metadata.descriptors))
    with await connector.begin_read(metadata, connect.Descriptor(room)) as operation:
        await operation.wait_for_completion()
    return bytes(room)


async def writer(connector, message, data):
    """Writes into the memory that another worker offered."""
    metadata = connect.RdmaMetadata.model_validate(message)
    with await connector.begin_write(connect.Descriptor(data), metadata) as operation:
        await operation.wait_for_completion()


async def main():
    one, other = connect.Connector("one"), connect.Connector("other")

    with await one.create_readable(connect.Descriptor(b"from one")) as readable:
        text = await reader(other, readable.metadata().model_dump())
        await readable.wait_for_completion()
        print(text.decode(), readable.status)

    room = bytearray(10)
    with await one.create_writable(connect.Descriptor(room)) as writable:
        await writer(other, writable.metadata().model_dump(), b"from other")
        await writable.wait_for_completion()
        print(room.decode(), writable.status)


asyncio.run(main())
