# SPDX-License-Identifier: Apache-2.0
"""Turns texts into embeddings, and lets whoever asked fetch them straight out of this process's memory.

    python encoder.py [--port PORT]        prints the port that it listens on
    curl -d 'some text' http://127.0.0.1:PORT/encode

The answer of POST /encode is the metadata of an offer; decoder.py fetches it.
"""

import argparse
import asyncio
import zlib

import numpy as np
from aiohttp import web

import ropeway

try:
    import torch
except ImportError:
    torch = None

WIDTH = 1024


def embed(text):
    """One row for each word. A model would stand here."""
    rows = [np.random.default_rng(zlib.crc32(word.encode())).standard_normal(WIDTH) for word in text.split()]
    array = np.array(rows, np.float32).reshape(-1, WIDTH)
    return array if torch is None else torch.from_numpy(array).to(torch.bfloat16)


async def encode(request):
    connector, waiting = request.app["connector"], request.app["waiting"]
    offer = connector.offer(embed(await request.text()), deadline=30)
    task = asyncio.create_task(finish(offer))
    waiting.add(task)
    task.add_done_callback(waiting.discard)
    return web.Response(text=offer.metadata, content_type="application/json")


async def finish(offer):
    """The embeddings live until they were fetched, or nobody came within the deadline."""
    try:
        await offer
        print(f"fetched by {offer.peer} through {offer.path}", flush=True)
    except ropeway.RopewayError as error:
        print(f"not fetched: {error}", flush=True)


async def main():
    options = argparse.ArgumentParser(description="serves embeddings")
    options.add_argument("--port", type=int, default=0)
    port = options.parse_args().port
    async with ropeway.Connector() as connector:
        app = web.Application()
        app.update(connector=connector, waiting=set())
        app.router.add_post("/encode", encode)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        print(site._server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
