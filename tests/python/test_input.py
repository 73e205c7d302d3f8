# SPDX-License-Identifier: Apache-2.0
"""Metadata that is damaged or made up: an exception of this package, and never more."""

import asyncio
import copy
import json
import sys

import numpy as np
import pydantic
import pytest
from conftest import LIMIT
from hypothesis import given, settings
from hypothesis import strategies as st

import ropeway
import ropeway.nixl_connect as connect


@pytest.fixture(scope="module")
def two():
    with ropeway.Connector() as one, ropeway.Connector() as other:
        yield one, other


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.sampled_from(["b64:", "b64:eJw=", "00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)


def places(tree, path=()):
    yield path
    for key in tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield from places(tree[key], (*path, key))


def damaged(data, good):
    """The object with one value replaced, or left out."""
    path = data.draw(st.sampled_from(sorted(places(good), key=str)))
    value = data.draw(values)
    if not path:
        return value
    bad = copy.deepcopy(good)
    place = bad
    for key in path[:-1]:
        place = place[key]
    if data.draw(st.booleans()):
        place[path[-1]] = value
    else:
        del place[path[-1]]
    return bad


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_offers(two, data):
    with two[0].offer({"a": np.arange(6), "b": b"bytes"}) as offer:
        bad = damaged(data, json.loads(offer.metadata))
        try:
            with two[1].fetch(json.dumps(bad), max_bytes=1000) as fetch:
                fetch.wait(LIMIT)
        except ropeway.RopewayError as error:
            assert str(error)


@pytest.mark.parametrize("library", ["antigravity", "os", "", ".", "numpy.core", "torch ", 5])
def test_a_peer_can_not_have_modules_imported(two, library):
    with two[0].offer(np.arange(6)) as offer:
        bad = json.loads(offer.metadata)
        bad["tensors"][0]["library"] = library
        with pytest.raises(ropeway.ArgumentError):
            two[1].fetch(bad)
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("name", ["object", "O", "|O", "O8", "i4,O", "V8", "void64", "datetime64", "U2", "finfo", "generic", "__doc__"])
def test_a_peer_can_not_choose_types_that_hold_more_than_numbers(two, name):
    with two[0].offer(np.arange(6)) as offer:
        bad = json.loads(offer.metadata)
        bad["tensors"][0]["dtype"] = name
        for library in (None, "numpy"):
            with pytest.raises(ropeway.ArgumentError, match="has no type"):
                two[1].fetch(bad, library=library)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"a":' * 100_000, "null", "1e999", '{"ropeway_offer": 1}', "\ud800", "\0"])
def test_texts_that_are_no_offer(two, text):
    for call in (lambda: two[1].fetch(text), lambda: two[1].begin_read(text, bytearray(4))):
        with pytest.raises((ropeway.ArgumentError, UnicodeError)):
            call()


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_metadata_in_the_drop_in(data):
    async def main():
        with await good.create_readable([connect.Descriptor(b"12345678"), connect.Descriptor(b"1234")]) as offer:
            bad = damaged(data, offer.metadata().model_dump())
            rooms = [connect.Descriptor(bytearray(8)), connect.Descriptor(bytearray(4))]
            try:
                metadata = connect.RdmaMetadata.model_validate(bad)
                with await reader.begin_read(metadata, rooms) as read:
                    await read.wait_for_completion(LIMIT)
            except (pydantic.ValidationError, TypeError, ValueError, RuntimeError) as error:
                assert str(error)
            assert not any(room.is_registered for room in rooms)

    asyncio.run(main())


good, reader = connect.Connector("good"), connect.Connector("reader")
