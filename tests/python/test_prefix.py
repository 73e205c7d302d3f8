# SPDX-License-Identifier: Apache-2.0
"""A begin that uses less than was offered."""
import numpy
import pytest

import ropeway

# As the offer has them; what is used of it.
SIZES = [100_000, 50]
PREFIXES = [[40], [100_000], [40, 50], [100_000, 50], [100_000, 7], [3, 7], [0, 0]]


@pytest.mark.parametrize("used", PREFIXES)
@pytest.mark.parametrize("strided", [False, True])
def test_a_prefix_is_read_and_written_and_the_rest_stays(used, strided):
    def make(fill):
        if strided:  # runs so short that they go through a dense copy
            return [numpy.full((size, 2), fill, dtype=numpy.uint8)[:, 1] for size in SIZES]
        return [numpy.full(size, fill, dtype=numpy.uint8) for size in SIZES]

    with ropeway.Connector() as owner, ropeway.Connector() as user:
        source, room = make(7), [numpy.zeros(size, dtype=numpy.uint8) for size in used]
        with owner.create_readable(source) as offer:
            with user.begin_read(offer.metadata, room, prefix=True) as read:
                read.wait(20)
                offer.wait(20)
            assert offer.progress == (sum(used), sum(used))
        assert all((array == 7).all() for array in room)
        target, few = make(1), [numpy.full(size, 9, dtype=numpy.uint8) for size in used]
        with owner.create_writable(target) as offer:
            with user.begin_write(few, offer.metadata, prefix=True) as write:
                write.wait(20)
                offer.wait(20)
            assert offer.progress == (sum(used), sum(used))
        for index, array in enumerate(target):
            size = used[index] if index < len(used) else 0
            assert (array[:size] == 9).all() and (array[size:] == 1).all()


def test_a_prefix_never_goes_past_the_offer():
    with ropeway.Connector() as owner, ropeway.Connector() as user:
        with owner.create_readable(bytearray(10)) as offer:
            with pytest.raises(ropeway.ArgumentError, match="11 here are more"):
                user.begin_read(offer.metadata, bytearray(11), prefix=True)
            with pytest.raises(ropeway.ArgumentError, match="2 here is more"):
                user.begin_read(offer.metadata, [bytearray(10), bytearray(1)], prefix=True)
            with pytest.raises(ropeway.ArgumentError):  # without the word for it sizes must match
                user.begin_read(offer.metadata, bytearray(9))
