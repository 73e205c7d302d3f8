#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads and writes what `ropeway serve --interop` offers, with nothing but HTTP and stock NIXL.

    client.py get http://HOST:PORT/ NAME FILE
    client.py put http://HOST:PORT/ NAME FILE
"""
import asyncio
import json
import sys
import urllib.parse
import urllib.request

import dynamo.nixl_connect as nixl_connect
import numpy


def ask(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def end(base, offer):
    """Waits until the server says how it ended on its side."""
    state = "live"
    while state not in ("complete", "failed"):
        outcome = ask(f"{base}v1/transfers/{offer['transfer']}?wait=10")
        state = outcome["state"]
    if state == "failed":
        sys.exit(f"the server says: {outcome.get('error')}")


async def get(connector, base, name, path):
    offer = ask(f"{base}v1/objects/{urllib.parse.quote(name)}/read", {})
    buffer = numpy.empty(offer["length"], dtype=numpy.uint8)
    metadata = nixl_connect.RdmaMetadata.model_validate(offer["metadata"])
    with await connector.begin_read(metadata, nixl_connect.Descriptor((buffer, "cpu"))) as read:
        await read.wait_for_completion()
    end(base, offer)
    buffer.tofile(path)


async def put(connector, base, name, path):
    buffer = numpy.fromfile(path, dtype=numpy.uint8)
    offer = ask(f"{base}v1/objects/{urllib.parse.quote(name)}/write", {"size": buffer.nbytes})
    metadata = nixl_connect.RdmaMetadata.model_validate(offer["metadata"])
    with await connector.begin_write(nixl_connect.Descriptor((buffer, "cpu")), metadata) as write:
        await write.wait_for_completion()
    end(base, offer)


async def main():
    if len(sys.argv) != 5 or sys.argv[1] not in ("get", "put"):
        sys.exit(__doc__)
    verb, base, name, path = sys.argv[1:]
    await {"get": get, "put": put}[verb](nixl_connect.Connector(), base.rstrip("/") + "/", name, path)


asyncio.run(main())
