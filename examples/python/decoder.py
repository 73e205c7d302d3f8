# SPDX-License-Identifier: Apache-2.0
"""Asks encoder.py for the embeddings of texts, all at once, and fetches them.

    python decoder.py PORT TEXT...
"""

import asyncio
import sys

import aiohttp

import ropeway


async def embeddings(session, connector, url, text):
    async with session.post(url, data=text) as response:
        response.raise_for_status()
        metadata = await response.text()
    return await connector.fetch(metadata, max_bytes=1 << 30)


async def main(port, texts):
    url = f"http://127.0.0.1:{port}/encode"
    async with ropeway.Connector() as connector, aiohttp.ClientSession() as session:
        found = await asyncio.gather(*(embeddings(session, connector, url, text) for text in texts))
    for text, tensor in zip(texts, found):
        print(f"{text}: {tuple(tensor.shape)} {tensor.dtype}, first {float(tensor[0, 0]):.4f}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
