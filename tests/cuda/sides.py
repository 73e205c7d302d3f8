# SPDX-License-Identifier: Apache-2.0
"""Ropeway's two Python interfaces behind one: offer, take, wait."""

import asyncio

import ropeway


class Native:
    """ropeway.Connector. options: its keyword arguments."""

    def __init__(self, options):
        self._connector = ropeway.Connector(**options)

    def offer(self, kind, objects, limit, integrity=False):
        """kind: READ or WRITE, what the peer will do. Gives the operation and its metadata."""
        create = self._connector.create_readable if kind == "READ" else self._connector.create_writable
        operation = create(objects, deadline=limit, integrity=integrity)
        return operation, operation.metadata

    def take(self, kind, metadata, objects, limit, integrity=False):
        if kind == "READ":
            return self._connector.begin_read(metadata, objects, deadline=limit, integrity=integrity)
        return self._connector.begin_write(objects, metadata, deadline=limit, integrity=integrity)

    def wait(self, operation, limit):
        operation.wait(limit)

    def path(self, operation):
        return operation.path

    def cancel(self, operation):
        operation.cancel()

    def release(self, operation):
        operation.release()

    def close(self):
        self._connector.close()


class Dropin:
    """ropeway.nixl_connect. options: register (register descriptors ahead), device (given with arrays), and the
    connector's keyword arguments."""

    def __init__(self, options):
        import ropeway.nixl_connect as connect

        options = dict(options)
        self._connect = connect
        self._register = options.pop("register", False)
        self._device = options.pop("device", None)
        self._connector = connect.Connector(**options)
        self._loop = asyncio.new_event_loop()

    def _run(self, coroutine):
        return self._loop.run_until_complete(coroutine)

    def _descriptors(self, objects):
        made = []
        for item in objects:
            if isinstance(item, ropeway.Descriptor):
                item = (item.ptr, item.size, str(item.device), item.owner)
            elif self._device is not None and not type(item).__module__.startswith("torch"):
                item = (item, self._connect.Device(self._device))
            made.append(self._connect.Descriptor(item))
        if self._register:
            connection = self._run(self._connector._create_connection())
            for descriptor in made:
                descriptor.register_with_connector(connection)
        return made

    def describe(self, objects):
        """Of each: device, kind, size, its metadata's device; and whether the connector finds CUDA."""
        found = []
        for item in self._descriptors(objects):
            found.append([str(item.device), str(item.device.kind), item.device.id, item.size, item.metadata.device])
        return {"descriptors": found, "is_cuda_available": self._connector.is_cuda_available}

    def offer(self, kind, objects, limit, integrity=False):
        create = self._connector.create_readable if kind == "READ" else self._connector.create_writable
        operation = self._run(create(self._descriptors(objects)))
        return operation, operation.metadata().model_dump_json()

    def take(self, kind, metadata, objects, limit, integrity=False):
        parsed = self._connect.RdmaMetadata.model_validate_json(metadata)
        local = self._descriptors(objects)
        if kind == "READ":
            return self._run(self._connector.begin_read(parsed, local))
        return self._run(self._connector.begin_write(local, parsed))

    def wait(self, operation, limit):
        self._run(operation.wait_for_completion(timeout=limit))

    def path(self, operation):
        return operation._native.path

    def cancel(self, operation):
        operation.cancel()

    def release(self, operation):
        with operation:
            pass

    def close(self):
        self._loop.close()


def make(api, options):
    return {"native": Native, "dropin": Dropin}[api](options)
