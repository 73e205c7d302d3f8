# SPDX-License-Identifier: Apache-2.0
"""Descriptors of the package: prefixes, places, memory registered ahead; and that addresses don't travel."""

import copy
import gc
import pickle

import numpy
import pytest
from conftest import LIMIT

import ropeway
import ropeway.nixl_connect as connect


def test_a_prefix_is_the_first_bytes_of_the_same_memory(pair):
    source, room = bytearray(range(100)), bytearray(100)
    with pair[0].create_readable(ropeway.Descriptor(source).prefix(40)) as passive:
        pair[1].begin_read(passive.metadata, ropeway.Descriptor(room).prefix(40)).wait(LIMIT)
    assert room == bytes(range(40)) + bytes(60)
    whole = ropeway.Descriptor(source)
    assert whole.prefix(100) is whole and whole.prefix(0).size == 0
    assert (whole.prefix(7).ptr, whole.prefix(7).shape, whole.prefix(7).owner) == (whole.ptr, (7,), whole.owner)


@pytest.mark.parametrize("size", [-1, 101, 1 << 70])
def test_a_prefix_that_is_none_is_refused(size):
    with pytest.raises(ropeway.ArgumentError, match=f"size is {size}, and its memory has 100 bytes"):
        ropeway.Descriptor(bytearray(100)).prefix(size)


def test_a_strided_view_has_no_prefix_and_a_read_only_one_stays_read_only(pair):
    matrix = numpy.zeros((10, 10), numpy.uint8)
    assert ropeway.Descriptor(matrix).is_dense and not ropeway.Descriptor(matrix[:, 1]).is_dense
    with pytest.raises(ropeway.ArgumentError, match="travels as a whole"):
        ropeway.Descriptor(matrix[:, 1]).prefix(3)
    with pytest.raises(ropeway.ArgumentError, match="read-only"):
        pair[0].create_writable(ropeway.Descriptor(b"x" * 10).prefix(3))


def test_where_memory_lies_can_be_told():
    array = numpy.zeros(4, numpy.int16)
    told = ropeway.Descriptor(array, "cuda:1")
    assert (str(told.device), told.ptr, told.size) == ("cuda:1", array.ctypes.data, 8)
    assert str(ropeway.Descriptor(told, ropeway.Device("cpu")).device) == "cpu"
    assert str(connect.Descriptor((array, "cuda:1")).device) == "cuda:1"


def test_memory_is_registered_until_it_is_released_or_dropped(pair):
    def registered():
        return pair[0].stats()["memory_registered"]

    buffer = bytearray(5000)
    with pair[0].register(buffer) as registration:
        assert registered() == 5000
        pair[0].create_writable(buffer).release()
        assert registered() == 5000
    assert registered() == 0
    registration.release()
    other = pair[0].register(ropeway.Descriptor(buffer).prefix(1000))
    assert registered() == 1000
    del other
    gc.collect()
    assert registered() == 0


def test_what_has_nothing_to_register_is_registered_as_such(pair):
    for data in (b"", numpy.zeros((10, 10))[:, 1]):
        with pair[0].register(data):
            assert pair[0].stats()["memory_registered"] == 0


def test_a_registration_outlives_its_connector():
    connector = ropeway.Connector()
    registration = connector.register(bytearray(100))
    connector.close()
    registration.release()
    with pytest.raises(ropeway.RopewayError):
        connector.register(bytearray(100))


@pytest.mark.parametrize("kind", [ropeway.Descriptor, connect.Descriptor])
@pytest.mark.parametrize("travel", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_descriptor_is_not_copied_and_not_pickled(kind, travel):
    with pytest.raises(TypeError, match="address in this process.*metadata"):
        travel(kind(bytearray(10)))
