# SPDX-License-Identifier: Apache-2.0
"""Memory that operations use, the same on both sides of a test: patterns, and guards around each piece."""
import numpy

GUARD = 0xC5
GUARD_BYTES = 64
CANARY = 0xA7


def pattern(seed, piece, size):
    words = numpy.arange((size + 7) // 8, dtype=numpy.uint64)
    words += numpy.uint64((seed * 1000003 + piece * 7919 + 12345) & 0xFFFFFFFF)
    words *= numpy.uint64(0x9E3779B97F4A7C15)
    words ^= words >> numpy.uint64(29)
    return words.view(numpy.uint8)[:size]


class Memory:
    """Pieces of these sizes, not aligned to anything, filled with a byte."""

    def __init__(self, sizes, seed=None):
        self.sizes = sizes
        self.offsets = []
        end = 0
        for index, size in enumerate(sizes):
            end = (end + GUARD_BYTES + 63) // 64 * 64 + index % 13
            self.offsets.append(end)
            end += size
        self.arena = numpy.full(end + GUARD_BYTES, GUARD, dtype=numpy.uint8)
        self.pieces = [self.arena[at : at + size] for at, size in zip(self.offsets, sizes)]
        self.fill(CANARY)
        if seed is not None:
            for index, piece in enumerate(self.pieces):
                piece[:] = pattern(seed, index, len(piece))

    def fill(self, byte):
        for piece in self.pieces:
            piece[:] = byte

    def pointers(self):
        base = self.arena.ctypes.data
        return [base + offset for offset in self.offsets]

    def holds(self, seed):
        return all(
            numpy.array_equal(piece, pattern(seed, index, len(piece)))
            for index, piece in enumerate(self.pieces)
        )

    def is_all(self, byte):
        return all(bool((piece == byte).all()) for piece in self.pieces)

    def guarded(self):
        """Whether all that lies between the pieces is untouched."""
        at = 0
        for offset, size in zip(self.offsets, self.sizes):
            if not (self.arena[at:offset] == GUARD).all():
                return False
            at = offset + size
        return bool((self.arena[at:] == GUARD).all())
