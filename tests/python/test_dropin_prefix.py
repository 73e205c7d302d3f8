# SPDX-License-Identifier: Apache-2.0
"""A part of an offer is used: its first bytes. Programs for the drop-in cut the metadata; others pass smaller memory."""

import asyncio

import numpy as np
import pytest
from conftest import LIMIT

import ropeway
import ropeway.nixl_connect as connect
from ropeway.nixl_connect import Descriptor, OperationStatus, RdmaMetadata

SIZES = [100_000, 50]
PREFIXES = [[40], [100_000], [40, 50], [100_000, 50], [100_000, 7], [3, 7], [0, 7]]


def memory():
    source = [(np.arange(size) % 250 + 1).astype(np.uint8) for size in SIZES]
    return source, [np.zeros(size, np.uint8) for size in SIZES]


def check(source, room, sizes):
    for index, (here, there) in enumerate(zip(room, source)):
        size = sizes[index] if index < len(sizes) else 0
        assert (here[:size] == there[:size]).all() and not here[size:].any()


def cut(metadata, sizes):
    text = metadata.model_dump()
    text["descriptors"] = text["descriptors"][: len(sizes)]
    for descriptor, size in zip(text["descriptors"], sizes):
        descriptor["size"] = size
    return RdmaMetadata.model_validate(text)


@pytest.mark.parametrize("interop", [True, False])
@pytest.mark.parametrize("sizes", PREFIXES, ids=str)
@pytest.mark.parametrize("write", [False, True])
def test_metadata_that_was_cut_moves_the_first_bytes(sizes, write, interop):
    async def main():
        one, other = connect.Connector(interop=interop), connect.Connector(interop=interop)
        source, room = memory()
        offered, local = (room, source) if write else (source, room)
        create = one.create_writable if write else one.create_readable
        with create([Descriptor((array, "cpu")) for array in offered]) as offer:
            metadata = cut(offer.metadata(), sizes)
            local = [Descriptor((array[:size], "cpu")) for array, size in zip(local, sizes)]
            with await (other.begin_write if write else other.begin_read)(metadata, local) as operation:
                await asyncio.gather(operation.wait_for_completion(), offer.wait_for_completion())
            assert operation.status is offer.status is OperationStatus.COMPLETE
            assert operation.progress == offer.progress == (sum(sizes), sum(sizes))
        check(source, room, sizes)

    asyncio.run(asyncio.wait_for(main(), LIMIT))


def test_a_pooled_descriptor_is_shrunk_to_metadata_that_was_cut():
    async def main():
        one, other, room = connect.Connector(), connect.Connector(), bytearray(1000)
        pooled = Descriptor(room)
        pooled.register_memory(other)
        with one.create_readable(Descriptor(bytes(range(1, 201)) * 5)) as offer:
            pooled._data_size = 10
            with await other.begin_read(cut(offer.metadata(), [10]), pooled) as read:
                await read.wait_for_completion()
        assert room == bytes(range(1, 11)) + bytes(990)

    asyncio.run(asyncio.wait_for(main(), LIMIT))


def test_strided_memory_takes_a_prefix():
    """Short runs, which go through a copy, and long ones, which are filled in place."""

    async def main():
        one, other = connect.Connector(interop=False), connect.Connector(interop=False)
        for rows, run in ((20, 3), (20, 5000)):
            wide = np.zeros((rows, run + 9), np.uint8)
            view = wide[:, 4:-5]
            source = (np.arange(2 * view.size) % 250 + 1).astype(np.uint8)
            with one.create_readable(Descriptor((source, "cpu"))) as offer:
                with await other.begin_read(cut(offer.metadata(), [view.size]), Descriptor((view, "cpu"))) as read:
                    await read.wait_for_completion()
            assert (view.ravel() == source[: view.size]).all()
            assert int(wide.sum(dtype=int)) == int(source[: view.size].sum(dtype=int))

    asyncio.run(asyncio.wait_for(main(), LIMIT))


def test_metadata_that_was_stretched_is_refused():
    async def main():
        one, other = connect.Connector(), connect.Connector()
        with one.create_readable(Descriptor(b"0123456789")) as offer:
            text = offer.metadata().model_dump()
            text["descriptors"][0]["size"] = 11
            with pytest.raises(ropeway.ArgumentError):
                with await other.begin_read(RdmaMetadata.model_validate(text), Descriptor(bytearray(11))) as read:
                    await read.wait_for_completion()
            assert offer.status is OperationStatus.INITIALIZED

    asyncio.run(asyncio.wait_for(main(), LIMIT))


@pytest.mark.parametrize("sizes", PREFIXES[:-1], ids=str)
def test_smaller_memory_uses_a_prefix_where_it_may(pair, sizes):
    source, room = memory()
    with pair[0].create_readable(source) as offer:
        local = [array[:size] for array, size in zip(room, sizes)]
        if sizes != SIZES:
            with pytest.raises(ropeway.ArgumentError):
                pair[1].begin_read(offer.metadata, local)
        pair[1].begin_read(offer.metadata, local, prefix=True).wait(LIMIT)
        offer.wait(LIMIT)
        assert offer.progress == (sum(sizes), sum(sizes))
    check(source, room, sizes)
    source, room = memory()
    with pair[0].create_writable(room) as offer:
        pair[1].begin_write([array[:size] for array, size in zip(source, sizes)], offer.metadata, prefix=True).wait(LIMIT)
    check(source, room, sizes)
