# SPDX-License-Identifier: Apache-2.0
"""Wrong arguments that were once answered by an error's name, by another library's words, or not at all."""

import asyncio
import copy
import datetime
import decimal
import enum
import gc
import json
import math
import pickle
import types
import warnings

import numpy as np
import pytest
from conftest import LIMIT

import ropeway
import ropeway.nixl_connect as connect

try:
    import torch
except ImportError:
    torch = None


# ---- times and numbers ----


@pytest.mark.parametrize("limit", ["5", b"5", datetime.timedelta(seconds=5), object(), 1j])
def test_times_that_are_no_numbers(pair, limit):
    with pair[0].create_readable(b"x") as operation:
        for call in (
            lambda: pair[0].create_readable(b"x", deadline=limit),
            lambda: pair[0].offer(b"x", deadline=limit),
            lambda: ropeway.Connector(stall=limit),
            lambda: operation.wait(limit),
        ):
            with pytest.raises(TypeError, match="must be a number of seconds"):
                call()


def test_times_of_other_types_and_without_end(pair):
    for limit in (np.float32(30), np.int64(30), decimal.Decimal(30), 1e300, math.inf, 10**400, None):
        with pair[0].create_readable(b"x") as operation:
            pair[1].begin_read(operation.metadata, bytearray(1)).wait(LIMIT)
            assert operation.wait(limit) == b"x"
    with pytest.raises(ValueError, match="a time limit is 1000000"):
        pair[0].create_readable(b"x", deadline=10**400)


def test_a_wait_of_no_number_is_refused(pair):
    with pair[0].create_readable(b"x") as operation:
        with pytest.raises(ValueError, match="timeout is nan"):
            operation.wait(math.nan)
        with pytest.raises(ropeway.OperationTimeout):
            operation.wait(-1)


def test_the_drop_ins_timeouts():
    async def main():
        connector, other = connect.Connector(), connect.Connector()
        with connector.create_readable(connect.Descriptor(b"x")) as operation:
            for timeout, kind in ((math.nan, ValueError), ("x", TypeError)):
                with pytest.raises(kind, match="timeout is"):
                    await operation.wait_for_completion(timeout)
            with other.begin_read(operation.metadata(), connect.Descriptor(bytearray(1))) as active:
                await asyncio.gather(active.wait_for_completion(math.inf), operation.wait_for_completion(1e300))

    asyncio.run(main())


@pytest.mark.parametrize("name, value", [("window", -1), ("max_peers", 1 << 80), ("window", 1 << 80), ("spin_us", -5)])
def test_an_option_out_of_its_range_is_named(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}; it must be from 0 up to [0-9]+"):
        ropeway.Connector(**{name: value})


def test_interop_is_a_bool():
    with pytest.raises(TypeError, match="interop is 'yes'; it must be a bool"):
        ropeway.Connector(interop="yes")


# ---- metadata ----


@pytest.mark.parametrize(
    "metadata, sentence",
    [(None, "is a NoneType"), (5, "is a int"), (np.zeros(3), "is a ndarray"), (object(), "is a object"), ([], "is a list"),
     (b"\xff\xfe", "no text"), ("\ud800", "no text"), ({"a": b"x"}, "not JSON serializable.*; pass what")],
)  # fmt: skip
def test_what_can_not_be_metadata(pair, metadata, sentence):
    for call in (
        lambda: pair[1].begin_read(metadata, bytearray(1)),
        lambda: pair[1].begin_write(bytearray(1), metadata),
        lambda: pair[1].fetch(metadata),
    ):
        with pytest.raises(ropeway.ArgumentError, match=sentence) as caught:
            call()
        assert "operation.metadata" in str(caught.value)


def test_an_operation_is_not_its_metadata(pair):
    with pair[0].create_readable(b"x") as operation, pair[0].offer(b"x") as offer:
        for call in (lambda: pair[1].begin_read(operation, bytearray(1)), lambda: pair[1].fetch(offer)):
            with pytest.raises(ropeway.ArgumentError, match=r"is a (Operation|Offer); .*operation\.metadata"):
                call()


def test_metadata_in_a_view_or_another_mapping(pair):
    for change in (lambda text: memoryview(text.encode()), lambda text: bytearray(text.encode()),
                   lambda text: types.MappingProxyType(json.loads(text))):  # fmt: skip
        room = bytearray(1)
        with pair[0].create_readable(b"x") as operation:
            pair[1].begin_read(change(operation.metadata), room).wait(LIMIT)
        assert room == b"x"


@pytest.mark.parametrize("text", ["", "{", "null", "5", "[]", "{}", '"text"', '{"ropeway_offer":2}', "[" * 100_000])
def test_metadata_that_is_no_offers(pair, text):
    with pytest.raises(ropeway.ArgumentError, match="use what offer.. ?.metadata gave") as caught:
        pair[1].fetch(text)
    assert not any(name in str(caught.value) for name in ("KeyError", "TypeError", "AttributeError", "JSONDecodeError"))


def test_fetch_of_other_metadata_names_the_right_call(pair):
    with pair[0].create_writable(bytearray(1)) as writable, pair[0].create_readable(b"x") as readable:
        with pytest.raises(ropeway.ArgumentError, match=r"create_writable\(\); use begin_write\(\)"):
            pair[1].fetch(writable.metadata)
        with pytest.raises(ropeway.ArgumentError, match=r"create_readable\(\); use begin_read\(\)"):
            pair[1].fetch(readable.metadata)


# ---- copies ----


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, pickle.dumps])
def test_what_belongs_to_a_process_is_not_copied(pair, make):
    connector = connect.Connector()
    with (
        warnings.catch_warnings(record=True) as found,
        pair[0].create_readable(b"x") as operation,
        pair[0].offer(b"x") as offer,
        pair[0].register(bytearray(5)) as registration,
        connector.create_readable(connect.Descriptor(b"x")) as readable,
    ):
        warnings.simplefilter("always")
        for one in (operation, offer, registration, pair[0], connector, connector.connection, readable,
                    ropeway.Descriptor(b"x"), connect.Descriptor(b"x")):  # fmt: skip
            with pytest.raises(TypeError, match="can't be pickled or copied"):
                make(one)
        gc.collect()
        assert found == []  # no copy that was let go of
        assert not operation.is_done
        assert make(readable.metadata())  # what travels may be


# ---- what is offered ----


class Colour(enum.IntEnum):
    RED = 1


class Typed:
    shape, dtype = (1,), types.SimpleNamespace(name=None)


def released():
    view = memoryview(b"x")
    view.release()
    return view


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: 10**5000, "is an int of 16610 bits"),
        (released, "is a memoryview without memory"),
        (Typed, "is an array of type"),
        (lambda: Colour.RED, "is a Colour"),
        (lambda: np.str_("x"), "is an array of type <U1"),
        (lambda: type("Array", (), {"shape": (1,), "dtype": np.dtype("f4")})(), "is a Array that can't be offered: .*shows no memory"),
        pytest.param(lambda: torch.zeros(2).to_sparse(), "is a Tensor that can't be offered: .*layout",
                     marks=pytest.mark.skipif(torch is None, reason="torch is not installed")),
    ],
)  # fmt: skip
def test_what_can_not_be_offered_is_named_by_its_place_whatever_found_out(pair, make, sentence):
    with pytest.raises(ropeway.ArgumentError, match=r"^\['kv'\]\[0\]\[1\] " + sentence):
        pair[0].offer({"kv": [(b"x", make())]})
