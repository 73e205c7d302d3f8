#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A small server on stock NIXL that `ropeway get` and `ropeway put` can use.

    server.py DIRECTORY

It offers the files of a directory as they are when it starts, takes new ones, and prints its URL.
"""
import asyncio
import json
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dynamo.nixl_connect as nixl_connect
import numpy

directory = Path(sys.argv[1])
connector = nixl_connect.Connector()
loop = asyncio.new_event_loop()
waiting = set()


async def offer(name, buffer, done):
    """Offers a buffer; done() is called when a peer has read or written it."""
    descriptor = nixl_connect.Descriptor((buffer, "cpu"))
    create = connector.create_writable if done else connector.create_readable
    operation = await create(descriptor)

    async def wait():
        with operation:
            await operation.wait_for_completion()
        if done:
            done()

    task = asyncio.create_task(wait())
    waiting.add(task)
    task.add_done_callback(waiting.discard)
    return {"name": name, "size": buffer.nbytes, "metadata": operation.metadata().model_dump()}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path, _, action = self.path.rpartition("/")
        name = urllib.parse.unquote(path.removeprefix("/v1/objects/"))
        file = directory / name
        if "/" in name or action not in ("read", "write") or (action == "read" and not file.is_file()):
            self.answer(404, {"error": f"there is no '{name}' here"})
            return
        if action == "read":
            buffer, done = numpy.fromfile(file, dtype=numpy.uint8), None
        else:
            buffer = numpy.empty(json.loads(body)["size"], dtype=numpy.uint8)
            done = lambda: buffer.tofile(file)
        self.answer(200, asyncio.run_coroutine_threadsafe(offer(name, buffer, done), loop).result())

    def answer(self, status, answer):
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


threading.Thread(target=loop.run_forever, daemon=True).start()
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print("serving on http://127.0.0.1:%d/" % server.server_address[1], flush=True)
server.serve_forever()
