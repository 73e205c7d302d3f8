# SPDX-License-Identifier: Apache-2.0
"""Plain NIXL agents, whose metadata and keys an application makes up; and names of any kind."""
import base64
import os
import struct
import unittest
import uuid

import rope
from support import READ, WRITE, Case, Failed, both_transports, made_up, wait_for


GPU_ADDRESS = 0x7F0000000000


def record(tag, value):
    return tag + struct.pack("<Q", len(value)) + value + b"|"


def section(backend, memory, address, key):
    region = struct.pack("<QQQ", address, 1 << 20, 0) + key
    return (record(b"bknd", backend) + record(b"nixlDList", b"nixlSDList") + record(b"t", struct.pack("<I", memory))
            + record(b"n", struct.pack("<Q", 1)) + record(b"", region))  # fmt: skip


def with_sections(blob, front):
    """Metadata with sections of GPU memory and of another backend, before the agent's own or behind."""
    blob = base64.b64decode(blob)
    mark = record(b"", b"MemSection") + b"nixlSecElms" + struct.pack("<Q", 8)
    at = blob.index(mark) + len(mark)
    (count,) = struct.unpack("<Q", blob[at : at + 8])
    more = section(b"UCX", 1, GPU_ADDRESS, bytes([4, 0, 0, 0, 0, 0, 0, 0, 1, 3]) + b"gpu\xff") + section(b"GDS", 2, 1, b"x")
    own = blob[at + 9 :]
    blob = blob[:at] + struct.pack("<Q", count + 2) + b"|" + (more + own if front else own + more)
    return base64.b64encode(blob).decode()


def with_key(blob, pointer, size, change):
    """Metadata in which the packed key of a region is changed."""
    head = struct.pack("<QQQ", pointer, size, 0)
    at = blob.index(head)
    (length,) = struct.unpack("<Q", blob[at - 8 : at])
    region = head + change(blob[at + 24 : at + length])
    return blob[: at - 8] + struct.pack("<Q", len(region)) + region + blob[at + length :]


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def new_name():
    return f"agent-{uuid.uuid4().hex[:8]}"


class Agent:
    def agent(self):
        stock, name = self.shared(), new_name()
        stock.agent(name)
        return stock, name

    def read_from(self, connector, stock, name, descriptors, seed=None):
        """Reads pieces, and sees the notification that the agent gets."""
        text, key = made_up(stock.agent_metadata(name), descriptors, READ)
        operation = connector.read(text, [size for _, size in descriptors])
        self.addCleanup(operation.release)
        self.complete(operation)
        self.assertEqual(stock.notifications(name, 1), [[connector.name, key]])
        self.assertTrue(operation.memory.guarded())
        if seed is not None:
            self.assertTrue(operation.memory.holds(seed))
        return operation

    def test_read_and_write_hundreds_of_regions(self):
        (stock, name), connector = self.agent(), self.open()
        sizes = [index * 37 % 4000 + 1 for index in range(300)]
        pointers = stock.register(name, 100, sizes, 1)
        everything = list(zip(pointers, sizes))
        self.read_from(connector, stock, name, everything, 1)
        text, key = made_up(stock.agent_metadata(name), everything, WRITE)
        with connector.write(text, sizes, 2) as operation:
            self.complete(operation)
        self.assertEqual(stock.notifications(name, 1), [[connector.name, key]])
        self.assertTrue(stock.holds(100, 2))
        # In another order than the regions', and not all of them.
        some = everything[250:10:-7]
        operation = self.read_from(connector, stock, name, some)
        for piece, index in zip(operation.memory.pieces, range(250, 10, -7)):
            self.assertEqual(piece.tobytes(), self.expected(2, index, sizes[index]))

    @staticmethod
    def expected(seed, index, size, start=0):
        from memory import pattern

        return pattern(seed, index, start + size)[start:].tobytes()

    def test_part_of_a_region(self):
        (stock, name), connector = self.agent(), self.open()
        (pointer,) = stock.register(name, 101, [1 << 20], 3)
        parts = [(pointer + 5, 1000), (pointer + (1 << 20) - 1, 1), (pointer, 1 << 20), (pointer + 5, 1000)]
        operation = self.read_from(connector, stock, name, parts)
        for piece, (at, size) in zip(operation.memory.pieces, parts):
            self.assertEqual(piece.tobytes(), self.expected(3, 0, size, at - pointer))

    def test_what_lies_in_no_region_is_refused(self):
        (stock, name), connector = self.agent(), self.open()
        (pointer,) = stock.register(name, 102, [4096], 3)
        blob = stock.agent_metadata(name)
        for part in ((pointer - 1, 10), (pointer, 4097), (pointer + 4096, 1), (pointer + 4095, 2), (1 << 63, 8)):
            text, _ = made_up(blob, [part], READ)
            with self.assertRaises(rope.Error) as raised:
                connector.read(text, [part[1]])
            self.assertEqual(raised.exception.name, "ERR_METADATA")
            self.assertIn(name, str(raised.exception))
        self.assertEqual(connector.stats().operations_live, 0)

    def test_sections_of_gpu_memory_and_of_other_backends_beside_ours(self):
        (stock, name), connector = self.agent(), self.open()
        (pointer,) = stock.register(name, 105, [5000], 6)
        for front in (True, False):
            blob = with_sections(stock.agent_metadata(name), front)
            text, _ = made_up(blob, [(pointer, 5000)], READ)
            with connector.read(text, [5000]) as operation:
                self.complete(operation)
                self.assertTrue(operation.memory.holds(6))
            # Memory of a GPU is not host memory, even at an address that fits.
            text, _ = made_up(blob, [(GPU_ADDRESS, 100)], READ)
            with self.assertRaisesRegex(rope.Error, "lies in none of the 2 regions"):
                connector.read(text, [100])

    def test_thousands_of_keys_are_kept_within_a_bound(self):
        """What follows the end of a packed key tells keys apart, and means nothing to UCX."""
        (stock, name), connector = self.agent(), self.open()
        sizes = [64] * 64
        pieces = list(zip(stock.register(name, 106, sizes, 7), sizes))
        blob = base64.b64decode(stock.agent_metadata(name))
        for number in range(48):
            if number == 24:
                before = resident()
            changed = blob
            for pointer, size in pieces:
                changed = with_key(changed, pointer, size, lambda key: key + struct.pack("<QQ", pointer, number))
            text, _ = made_up(base64.b64encode(changed).decode(), pieces, READ)
            with connector.read(text, sizes) as operation:
                self.complete(operation)
                self.assertTrue(operation.memory.holds(7))
        self.assertLess(resident() - before, 4 << 20)
        # A key that was good does not serve for a damaged one at the same address, nor the reverse.
        damaged = with_key(blob, *pieces[0], lambda key: key[:8] + b"\xc8" + key[9:])
        text, _ = made_up(base64.b64encode(damaged).decode(), pieces, READ)
        with self.assertRaisesRegex(rope.Error, "ERR_NO_PATH.*type of memory"):
            connector.read(text, sizes)
        text, _ = made_up(base64.b64encode(blob).decode(), pieces, READ)
        with connector.read(text, sizes) as operation:
            self.complete(operation)
            self.assertTrue(operation.memory.holds(7))

    def test_memory_that_is_registered_anew(self):
        """The same address, registered, given back, and registered again with other bytes in it."""
        (stock, name), connector = self.agent(), self.open()
        (pointer,) = stock.register(name, 107, [70000], 1)
        self.read_from(connector, stock, name, [(pointer, 70000)], 1)
        for byte in (0x31, 0x32):
            stock.register_again(name, 107)
            stock.fill(107, byte)
            operation = self.read_from(connector, stock, name, [(pointer, 70000)])
            self.assertTrue(operation.memory.is_all(byte))

    def test_descriptors_of_no_bytes(self):
        (stock, name), connector = self.agent(), self.open()
        (pointer,) = stock.register(name, 108, [100], 8)
        for parts in ([(pointer, 0)], [(pointer, 0), (pointer, 100), (pointer + 100, 0)]):
            self.read_from(connector, stock, name, parts)
            text, key = made_up(stock.agent_metadata(name), parts, WRITE)
            with connector.write(text, [size for _, size in parts], 8) as operation:
                self.complete(operation)
            self.assertEqual(stock.notifications(name, 1), [[connector.name, key]])

    def test_regions_that_come_after_first_contact(self):
        (stock, name), connector = self.agent(), self.open()
        (pointer,) = stock.register(name, 103, [5000], 1)
        self.read_from(connector, stock, name, [(pointer, 5000)], 1)
        for seed in range(2, 5):
            (pointer,) = stock.register(name, 103 + seed, [70000], seed)
            self.read_from(connector, stock, name, [(pointer, 70000)], seed)
        self.assertEqual(connector.stats().peers_created, 1)

    def test_200_regions_alive_in_nixl_connect(self):
        stock, connector = self.shared(), self.open()
        for number in range(200):
            stock.readable(1000 + number, [3000], number)
        self.all_four(connector, stock, [70001])
        text = stock.readable(1200, [64] * 64, 9)
        self.assertGreater(len(text), 4096)
        with connector.read(text, [64] * 64) as operation:
            self.complete(operation)
            self.assertTrue(operation.memory.holds(9))
        stock.release(list(range(1000, 1201)))

    def test_an_agent_reads_and_writes_what_we_offer(self):
        (stock, name), connector = self.agent(), self.open()
        sizes = [1, 5000, 300000]
        stock.register(name, 110, sizes, 4)
        with connector.writable(sizes) as offer:
            self.assertEqual(stock.transfer(name, "WRITE", offer.metadata(), 110), "DONE")
            self.complete(offer)
            self.assertTrue(offer.memory.holds(4) and offer.memory.guarded())
            self.assertEqual(offer.peer, name)
        with connector.readable(sizes, 5) as offer:
            self.assertEqual(stock.transfer(name, "READ", offer.metadata(), 110), "DONE")
            self.complete(offer)
        self.assertTrue(stock.holds(110, 5))

    def test_notifications_that_match_nothing_are_counted_and_dropped(self):
        (stock, name), connector = self.agent(), self.open()
        with connector.readable([100], 1) as offer, connector.readable([100], 2) as other:
            before = connector.stats().messages_dropped
            texts = ["", "x", "\x1b[31m", str(uuid.uuid4()), "k" * 300, "y" * 4000, "\x00\x01"] * 20
            stock.notify(name, offer.metadata(), texts)
            wait_for(lambda: connector.stats().messages_dropped - before == len(texts), "the drops")
            self.assertEqual((offer.status, other.status), (rope.INIT, rope.INIT))
            self.they_read(connector, self.shared(), [100])
        self.assertEqual(connector.stats().operations_live, 0)

    def test_a_second_notification_of_the_same_key_is_dropped(self):
        (stock, name), connector = self.agent(), self.open()
        import json

        with connector.readable([100], 1) as offer:
            metadata = offer.metadata()
            key = json.loads(metadata)["notification_key"]
            stock.notify(name, metadata, [key, key])
            self.complete(offer)
            wait_for(lambda: connector.stats().messages_dropped == 1, "the drop")

    def test_agents_of_any_name(self):
        connector = self.open()
        stock = self.shared()
        for name in ("ünïcödé-名前", "with space | and \"quotes\"", "tab\tand\x1b[31mred\n", "n" * 200, "n" * 400, "%s%n{}"):
            with self.subTest(name=name):
                stock.agent(name)
                (pointer,) = stock.register(name, 120, [5000], 1)
                self.read_from(connector, stock, name, [(pointer, 5000)], 1)
                with connector.readable([5000], 6) as offer:
                    stock.transfer(name, "READ", offer.metadata(), 120)
                    self.complete(offer)
                    self.assertFalse(any(ord(char) < 32 for char in offer.peer), offer.peer)
                    self.assertNotEqual(offer.peer, "")

    def test_our_names_of_any_kind(self):
        stock = self.shared()
        for name in ("ünïcödé-名前", "with space | and \"quotes\"", "n" * 255):
            with self.subTest(name=name):
                self.all_four(self.open(name=name.encode()), stock, [1000])

    def test_a_name_that_is_the_agents_own_is_refused_by_it(self):
        (stock, name) = self.agent()
        with self.open(name=name.encode()).readable([10], 1) as offer:
            stock.register(name, 130, [10])
            with self.assertRaises(Failed):
                stock.transfer(name, "READ", offer.metadata(), 130)


both_transports(globals(), type("Base", (Agent, Case), {}), "Agent")

if __name__ == "__main__":
    unittest.main()
