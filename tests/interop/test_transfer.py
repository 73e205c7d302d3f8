# SPDX-License-Identifier: Apache-2.0
"""Data, in both directions and by both sides, with dynamo.nixl_connect."""
import json
import unittest

import rope
from support import Case, Failed, both_transports

SIZES = [1, 2, 7, 64, 4095, 4096, 65537, 1 << 20, (4 << 20) + 1]


class Transfer:
    def test_each_size_in_one_piece(self):
        stock, connector = self.shared(), self.open()
        for size in SIZES:
            with self.subTest(size=size):
                self.all_four(connector, stock, [size])

    def test_64_mib(self):
        stock, connector = self.shared(), self.open()
        self.all_four(connector, stock, [64 << 20])

    def test_64_pieces(self):
        stock, connector = self.shared(), self.open()
        self.all_four(connector, stock, [(index * 977) % 5000 + 1 for index in range(64)])
        self.all_four(connector, stock, [65536] * 64)

    def test_hexadecimal_metadata(self):
        stock, connector = self.shared(), self.open()
        self.we_read(connector, stock, [100001], hexadecimal=True)
        self.we_write(connector, stock, [100001], hexadecimal=True)

    def test_64_operations_at_a_time_in_each_direction_at_once(self):
        stock, connector = self.shared(), self.open()
        sizes = [60001, 1]
        ours, offers = {}, {}
        for number in range(32):
            ours[number] = connector.read(stock.readable(number, sizes, number), sizes)
            ours[32 + number] = connector.write(stock.writable(32 + number, sizes), sizes, number)
            offers[64 + number] = connector.readable(sizes, number)
            stock.read(64 + number, offers[64 + number].metadata(), sizes)
            offers[96 + number] = connector.writable(sizes)
            stock.write(96 + number, offers[96 + number].metadata(), sizes, number)
        self.assertEqual(set(stock.wait(list(range(128)))), {"COMPLETE"})
        for number, operation in {**ours, **offers}.items():
            self.complete(operation)
            if number < 32 or number >= 96:
                self.assertTrue(operation.memory.holds(number % 32), number)
            else:
                self.assertTrue(stock.holds(number, number % 32), number)
            self.assertTrue(operation.memory.guarded())
            operation.release()
        self.assertEqual(connector.stats().peers_created, 1)

    def test_64_begun_at_once(self):
        """Nothing of the 64 is awaited before the last one is begun."""
        stock, connector = self.shared(), self.open()
        sizes = [300000]
        texts = [stock.readable(number, sizes, number) for number in range(64)]
        operations = [connector.read(text, sizes) for text in texts]
        self.assertEqual(set(stock.wait(list(range(64)))), {"COMPLETE"})
        for number, operation in enumerate(operations):
            self.complete(operation)
            self.assertTrue(operation.memory.holds(number))
            operation.release()

    def test_the_names_and_the_path_are_known(self):
        stock, connector = self.start("stock with a name"), self.open(name=b"ropeway-1")
        path = self.we_read(connector, stock, [70000])
        self.assertIn("tcp" if self.transport == "tcp" else "memory", path)
        self.assertIn("stock with a name", self.they_read(connector, stock, [70000]))

    def test_metadata_tells_only_of_its_own_operation(self):
        connector = self.open()
        with connector.readable([4096] * 200, 1), connector.readable([5], 2) as operation:
            metadata = json.loads(operation.metadata())
            self.assertEqual(set(metadata), {"descriptors", "nixl_metadata", "notification_key", "operation_kind"})
            self.assertLess(len(operation.metadata()), 1500)
            self.assertEqual([item["size"] for item in metadata["descriptors"]], [5])

    def test_without_interop_stock_is_refused_cleanly(self):
        stock, closed, open_ = self.shared(), self.open(interop=0), self.open()
        with closed.readable([100], 1) as operation:
            with self.assertRaisesRegex(Failed, "(?i)backend"):
                stock.read(1, operation.metadata(), [100])
            self.assertEqual(operation.status, rope.INIT)
        # What is begun here works either way, and the stock peer lives on.
        self.we_read(closed, stock, [100000])
        self.we_write(closed, stock, [100000])
        self.all_four(open_, stock, [1000])

    def test_two_ropeway_peers_use_their_own_protocol(self):
        one, other = self.open(), self.open()
        with one.readable([100000], 9) as offer, other.read(offer.metadata(), [100000]) as read:
            self.complete(read)
            self.complete(offer)
            self.assertTrue(read.memory.holds(9))
            self.assertEqual(offer.peer, other.name)
        # Only the native path lets the owner refuse a second read.
        self.assertEqual(one.stats().peers, 1)
        with one.readable([10], 1) as offer:
            with other.read(offer.metadata(), [10]) as read:
                self.complete(read)
            with other.read(offer.metadata(), [10]) as read:
                self.assertEqual(read.wait(), rope.ERR)
                self.assertIn(read.error, ("ERR_KEY_USED", "ERR_KEY_FINISHED"))

    def test_a_wrong_use_of_stock_metadata_is_told_before_anything_moves(self):
        stock, connector = self.shared(), self.open()
        metadata = stock.readable(1, [100], 1)
        for wrong, call in {
            "ERR_KIND_MISMATCH": lambda: connector.write(metadata, [100], 1),
            "ERR_SIZE_MISMATCH": lambda: connector.read(metadata, [99]),
            "ERR_COUNT_MISMATCH": lambda: connector.read(metadata, [50, 50]),
        }.items():
            with self.assertRaises(rope.Error) as raised:
                call()
            self.assertEqual(raised.exception.name, wrong)
        with connector.read(metadata, [100]) as operation:
            self.complete(operation)


class TransferDefault(Case):
    """Both sides with the transports that UCX chooses by itself."""

    transport = "default"

    def test_all_four(self):
        stock, connector = self.shared(), self.open()
        for sizes in ([1], [4096], [(4 << 20) + 1], [1000] * 64):
            with self.subTest(sizes=sizes):
                self.all_four(connector, stock, sizes)


both_transports(globals(), type("Base", (Transfer, Case), {}), "Transfer")

if __name__ == "__main__":
    unittest.main()
