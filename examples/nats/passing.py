# SPDX-License-Identifier: Apache-2.0
"""Passes metadata over NATS, with request and reply; speaks with passing.c, too.

    python passing.py offer URL SUBJECT FILE    offers the bytes of FILE to the first who asks
    python passing.py fetch URL SUBJECT         asks, reads them, and writes them to standard output

Needs the packages ropeway and nats-py.
"""

import asyncio
import json
import sys
from pathlib import Path

import nats

import ropeway

LIMIT = 30  # seconds
MAX_BYTES = 1 << 30


async def offer(connector, nc, subject, path):
    data = Path(path).read_bytes()
    subscription = await nc.subscribe(subject, max_msgs=1)
    await nc.flush()
    print("offering", flush=True)
    request = await subscription.next_msg(timeout=LIMIT)
    # The deadline is for the case that whoever asked is gone.
    readable = connector.create_readable(data, deadline=LIMIT)
    await request.respond(readable.metadata.encode())
    await readable  # until the memory is ours again


async def fetch(connector, nc, subject):
    reply = await nc.request(subject, timeout=LIMIT)
    metadata = reply.data.decode()
    size = sum(descriptor["size"] for descriptor in json.loads(metadata)["descriptors"])
    if size > MAX_BYTES:
        sys.exit(f"{size} bytes are too many")
    room = bytearray(size)
    await connector.begin_read(metadata, room, deadline=LIMIT)
    sys.stdout.buffer.write(room)


async def main(role, url, subject, *rest):
    nc = await nats.connect(url)
    async with ropeway.Connector() as connector:
        await {"offer": offer, "fetch": fetch}[role](connector, nc, subject, *rest)
    await nc.close()


if __name__ == "__main__":
    if len(sys.argv) < 4 or len(sys.argv) != {"offer": 5, "fetch": 4}.get(sys.argv[1]):
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
