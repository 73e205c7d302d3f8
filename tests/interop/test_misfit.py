# SPDX-License-Identifier: Apache-2.0
"""Addresses and remote keys that our UCX can't use, and what can't be asked of stock peers."""
import base64
import os
import struct
import tempfile
import unittest
import uuid
from random import Random

import rope
from support import READ, Case, Failed, Stock, made_up


def damage(blob, after, at):
    """The metadata with the byte number at behind a text flipped."""
    blob = bytearray(base64.b64decode(blob))
    blob[blob.index(after) + len(after) + at] ^= 0xFF
    return base64.b64encode(blob).decode()


class Misfit(Case):
    transport = "tcp"

    def setUp(self):
        self.stock, self.name = self.shared(), f"agent-{uuid.uuid4().hex[:8]}"
        self.stock.agent(self.name)
        (self.pointer,) = self.stock.register(self.name, 140, [5000], 1)
        self.blob = self.stock.agent_metadata(self.name)

    def refused(self, connector, blob):
        """The error of a read that begins on this, with all that is printed meanwhile caught."""
        text, _ = made_up(blob, [(self.pointer, 5000)], READ)
        with tempfile.TemporaryFile() as printed:
            saved = os.dup(1), os.dup(2)
            try:
                os.dup2(printed.fileno(), 1)
                os.dup2(printed.fileno(), 2)
                with self.assertRaises(rope.Error) as raised:
                    connector.read(text, [5000])
            finally:
                os.dup2(saved[0], 1)
                os.dup2(saved[1], 2)
                os.close(saved[0])
                os.close(saved[1])
            printed.seek(0)
            self.assertEqual(printed.read(), b"")
        return raised.exception

    def test_a_key_of_another_transport(self):
        """The first bytes of a packed key say which of UCX's memory domains it is of."""
        connector = self.open()
        key_at = struct.pack("<Q", self.pointer) + struct.pack("<Q", 5000) + struct.pack("<Q", 0)
        length = base64.b64decode(self.blob)
        start = length.index(key_at) - 8
        size = struct.unpack("<Q", length[start : start + 8])[0] - 24
        # A key that is cut: UCX reads past it into what we pad.
        cut = length[:start] + struct.pack("<Q", 24) + key_at + b"|" + length[start + 8 + 24 + size + 1 :]
        error = self.refused(connector, base64.b64encode(cut).decode())
        self.assertEqual(error.name, "ERR_NO_PATH", str(error))
        self.assertIn(self.name, str(error))
        self.assertRegex(str(error), r"UCX 1\.\d+ there, 1\.\d+\.\d+ here")

    def test_an_address_of_a_format_to_come(self):
        """UCX ends the process on it, were it let to see it."""
        blob = bytearray(base64.b64decode(self.blob))
        at = blob.index(b"UCX|c") + 13
        blob[at] = blob[at] & 0xF0 | 5
        error = self.refused(self.open(), base64.b64encode(blob).decode())
        self.assertEqual(error.name, "ERR_NO_PATH")
        self.assertIn("format", str(error))

    def test_damage_anywhere_in_address_and_key(self):
        """Some of it can't be told from what is right; none may crash or hang this process."""
        connector, random = self.open(quiet_ms=50), Random(11)
        whole = base64.b64decode(self.blob)
        start = whole.index(b"UCX|c") + 13
        (length,) = struct.unpack("<Q", whole[start - 8 : start])
        key = whole.index(struct.pack("<QQ", self.pointer, 5000)) + 24
        for begin, end in ((start, start + length), (key, len(whole) - 1)):
            for _ in range(60):
                blob = bytearray(whole)
                for _ in range(random.randint(1, 3)):
                    blob[random.randrange(begin, end)] = random.choice((0, 255, random.randrange(256)))
                text, _ = made_up(base64.b64encode(blob).decode(), [(self.pointer, 5000)], READ)
                try:
                    with connector.read(text, [5000], deadline_ms=50) as operation:
                        self.assertIsNotNone(operation.wait(60))
                except rope.Error as error:
                    self.assertIn(error.name, ("ERR_NO_PATH", "ERR_UNREACHABLE", "ERR_METADATA"), str(error))
        self.all_four(connector, self.stock, [5000])

    def test_an_address_of_no_transport_that_is_here(self):
        """A peer that has nothing in common with us."""
        connector = rope.Connector("tcp", transports=b"posix,self", net_devices=None)
        self.addCleanup(connector.close)
        error = self.refused(connector, self.blob)
        self.assertIn(error.name, ("ERR_NO_PATH", "ERR_UNREACHABLE"), str(error))
        self.assertIn(self.name, str(error))
        # Both releases: the other side's as its address tells it.
        self.assertRegex(str(error), r"UCX 1\.\d+ there, " + rope.lib.ropeway_ucx_version().decode() + " here")

    def test_queues_in_shared_memory_on_one_side_only(self):
        """Where the other side has no way back, UCX would end its process; so neither side offers them."""
        connector = rope.Connector("default", transports=b"sm,self")
        self.addCleanup(connector.close)
        self.assertEqual(self.refused(connector, self.blob).name, "ERR_NO_PATH")
        self.assertEqual(self.stock.ping(), "pong")
        other, name = Stock("shm"), "n" * 60
        self.addCleanup(other.kill)
        other.agent(name)
        other.register(name, 1, [5000])
        for options in ({}, {"transports": b"all"}, {"transports": b"tcp,sm,self"}):
            connector = rope.Connector("default", **options)
            self.addCleanup(connector.close)
            with connector.readable([5000], 1) as offer:
                with self.assertRaises(Failed):
                    other.transfer(name, "READ", offer.metadata(), 1)
            self.all_four(connector, self.stock, [5000])

    def test_integrity_is_refused(self):
        connector = self.open()
        text, _ = made_up(self.blob, [(self.pointer, 5000)], READ)
        with self.assertRaises(rope.Error) as raised:
            connector.read(text, [5000], flags=2)
        self.assertEqual(raised.exception.name, "ERR_UNSUPPORTED")
        with connector.readable([100], 1, flags=2) as offer:
            self.assertNotIn('"ptr":%d' % offer.memory.pointers()[0], offer.metadata().replace(" ", ""))


if __name__ == "__main__":
    unittest.main()
