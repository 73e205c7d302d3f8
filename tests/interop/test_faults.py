# SPDX-License-Identifier: Apache-2.0
"""Stock peers that are killed, stopped, or come back as somebody else."""
import unittest
import uuid

import rope
from support import READ, Case, made_up, wait_for

BIG = [96 << 20]
LIMIT = 60  # seconds within which a dead peer must be known


class Faults(Case):
    """Over TCP: there a peer must run for bytes to move."""

    transport = "tcp"

    def under_way(self, connector, stock, read, **options):
        """An operation of which some bytes have moved and most have not."""
        metadata = stock.readable(70, BIG, 1) if read else stock.writable(70, BIG)
        operation = connector.read(metadata, BIG, **options) if read else connector.write(metadata, BIG, 1, **options)
        self.addCleanup(operation.release)
        wait_for(lambda: operation.done > 0, "the first bytes")
        return operation

    def test_killed_during_our_operation(self):
        for read in (True, False):
            with self.subTest(read=read):
                stock, connector = self.start(), self.open(window=1, chunk_size=65536)
                operation = self.under_way(connector, stock, read)
                stock.kill()
                self.assertEqual(operation.wait(LIMIT), rope.ERR)
                self.assertEqual(operation.error, "ERR_PEER_LOST")
                self.assertIn("stock-", operation.text)

    def test_killed_before_we_begin(self):
        stock, connector, stays = self.start(), self.open(), self.shared()
        first, again = stock.readable(1, [1000], 1), stock.readable(2, [1000], 2)
        ended = [connector.read(first, [1000]), connector.readable([1000], 3)]
        self.addCleanup(ended[0].release)
        self.addCleanup(ended[1].release)
        stock.read(3, ended[1].metadata(), [1000])
        stock.wait([3])
        unknown = self.open()
        for operation in ended:
            self.complete(operation)
        stock.kill()
        for one in (connector, unknown):
            try:
                with one.read(again, [1000]) as operation:
                    self.assertEqual(operation.wait(LIMIT), rope.ERR)
                    self.assertIn(operation.error, ("ERR_PEER_LOST", "ERR_UNREACHABLE"))
            except rope.Error as error:
                self.assertIn(error.name, ("ERR_UNREACHABLE", "ERR_NO_PATH"))
        self.all_four(connector, stays, [70000])
        # Those that had ended before stay as they are.
        self.assertEqual([operation.status for operation in ended], [rope.DONE, rope.DONE])
        self.assertTrue(ended[0].memory.holds(1))

    def test_killed_before_it_begins(self):
        """Nothing tells; the deadline ends the offer."""
        stock, connector = self.start(), self.open()
        with connector.readable([1000], 1, deadline_ms=300) as offer:
            stock.kill()
            self.assertEqual(offer.wait(LIMIT), rope.ERR)
            self.assertEqual(offer.error, "ERR_DEADLINE")

    def test_killed_during_its_operation(self):
        stock, connector = self.start(), self.open()
        with connector.writable(BIG, deadline_ms=5000) as offer:
            stock.tell("write", 70, offer.metadata(), BIG, 1)
            stock.tell("wait", [70])
            wait_for(lambda: not (offer.memory.pieces[0][:4096] == 0xA7).all(), "the first bytes")
            stock.kill()
            self.assertEqual(offer.wait(LIMIT), rope.ERR)
            self.assertEqual(offer.error, "ERR_DEADLINE")
        self.all_four(connector, self.shared(), [70000])

    def test_stopped_before_we_begin(self):
        """The connection may be known or not, and a limit ends it in either case."""
        stock, known = self.shared(), self.open(quiet_ms=300)
        self.we_read(known, stock, [1000])
        metadata = stock.readable(71, [5000], 1)
        with known.read(metadata, [5000]) as ended:
            self.complete(ended)
            for connector in (known, self.open(quiet_ms=300)):
                for limit, error in (("stall_ms", "ERR_STALLED"), ("deadline_ms", "ERR_DEADLINE")):
                    stock.stop()
                    try:
                        with connector.read(metadata, [5000], **{limit: 300}) as operation:
                            self.assertEqual(operation.wait(LIMIT), rope.ERR)
                            self.assertEqual(operation.error, error, operation.text)
                            self.assertTrue(operation.memory.is_all(0xA7))
                            stock.go_on()
                            self.we_read(connector, stock, [70000])
                            self.assertTrue(operation.memory.is_all(0xA7))
                    finally:
                        stock.go_on()
                self.we_write(connector, stock, [70000])
            # A peer that is stopped after the end changes nothing.
            self.assertEqual(ended.status, rope.DONE)
        stock.release([71])

    def test_stopped_before_and_during_its_operation(self):
        """Nothing tells; the deadline ends our offer, and what the peer says later is dropped."""
        stock, connector = self.shared(), self.open()
        for begun in (False, True):
            with connector.writable(BIG, deadline_ms=1000) as offer:
                if begun:
                    stock.tell("write", 72, offer.metadata(), BIG, 1)
                    stock.tell("wait", [72])
                    wait_for(lambda: not (offer.memory.pieces[0][:4096] == 0xA7).all(), "the first bytes")
                stock.stop()
                try:
                    self.assertEqual(offer.wait(LIMIT), rope.ERR)
                    self.assertEqual(offer.error, "ERR_DEADLINE")
                    dropped = connector.stats().messages_dropped
                finally:
                    stock.go_on()
                if begun:
                    stock.answer()
                    self.assertEqual(stock.answer(), ["COMPLETE"])
                    wait_for(lambda: connector.stats().messages_dropped > dropped, "the late notification")
                    stock.release([72])
                self.assertEqual(offer.error, "ERR_DEADLINE")
        self.they_read(connector, stock, [70000])

    def test_stopped_during_our_operation(self):
        """The stall limit, the deadline and a cancel each end it, and then nothing lands any more."""
        for read in (True, False):
            for how, options in (("STALLED", {"stall_ms": 300}), ("DEADLINE", {"deadline_ms": 1000}), ("CANCELLED", {})):
                with self.subTest(read=read, how=how):
                    self.end_one_that_is_stopped(read, how, options)

    def end_one_that_is_stopped(self, read, how, options):
        stock, connector = self.shared(), self.open(window=2, chunk_size=1 << 20, quiet_ms=300)
        operation = self.under_way(connector, stock, read, **options)
        stock.stop()
        try:
            if how == "CANCELLED":
                self.assertEqual(operation.cancel(), 0)
            self.assertIn(operation.wait(LIMIT), (rope.ERR, rope.STOP))
            self.assertEqual(operation.error, "ERR_" + how, operation.text)
            operation.memory.fill(0x11)
        finally:
            stock.go_on()
        # What it was sent before it was stopped is through with when it has done something new.
        self.we_read(connector, stock, [70000])
        self.we_write(connector, stock, [70000])
        if read:
            self.assertTrue(operation.memory.is_all(0x11) and operation.memory.guarded())
        else:
            self.assertFalse(stock.holds(70, 1))
        stock.release([70])

    def test_cancel_while_all_is_well(self):
        stock, connector = self.shared(), self.open(window=1, chunk_size=65536)
        for read in (True, False):
            operation = self.under_way(connector, stock, read)
            self.assertEqual(operation.cancel(), 0)
            self.assertEqual(operation.wait(LIMIT), rope.STOP)
            operation.memory.fill(0x22)
            self.all_four(connector, stock, [70000])
            self.assertTrue(operation.memory.is_all(0x22))
            stock.release([70])
        self.assertEqual(connector.stats().peers_created, 1)

    def test_an_offer_that_ended_stays_as_it_is(self):
        """Its key is dead: a stock peer that comes late does not bring it back."""
        stock, connector = self.shared(), self.open()
        offer = connector.readable([1000], 1)
        metadata = offer.metadata()
        self.assertEqual(offer.cancel(), 0)
        self.assertEqual(offer.wait(), rope.STOP)
        dropped = connector.stats().messages_dropped
        stock.read(70, metadata, [1000])
        stock.wait([70])
        wait_for(lambda: connector.stats().messages_dropped > dropped, "the late notification")
        self.assertEqual(offer.status, rope.STOP)
        offer.release()
        stock.release([70])

    def test_back_under_the_same_name(self):
        connector, name = self.open(), f"stock-{uuid.uuid4().hex[:8]}"
        for _ in range(2):
            stock = self.start(name)
            stock.agent("plain-" + name)
            self.all_four(connector, stock, [70000])
            stock.kill()
        self.assertEqual(connector.stats().operations_live, 0)

    def test_two_alive_under_one_name(self):
        connector, name = self.open(window=1, chunk_size=65536), f"agent-{uuid.uuid4().hex[:8]}"
        big = 4 << 20
        operations = []
        for number, stock in enumerate((self.shared(), self.start())):
            stock.agent(name)
            (pointer,) = stock.register(name, 50, [big], number)
            text, _ = made_up(stock.agent_metadata(name), [(pointer, big)], READ)
            operations.append(connector.read(text, [big]))
        for number, operation in enumerate(operations):
            self.complete(operation)
            self.assertTrue(operation.memory.holds(number))
            operation.release()


class FaultsShm(Case):
    transport = "shm"

    def test_killed(self):
        stock, connector = self.start(), self.open(window=1, chunk_size=65536)
        big = [256 << 20]
        metadata, other = stock.readable(1, big, 1), stock.readable(2, [1000], 1)
        operation = connector.read(metadata, big)
        self.addCleanup(operation.release)
        wait_for(lambda: operation.done > 0, "the first bytes")
        stock.kill()
        # The kernel may have moved the last byte before the peer was dead.
        self.assertIn(operation.wait(LIMIT), (rope.ERR, rope.DONE))
        self.assertIn(operation.error, ("OK", "ERR_PEER_LOST"), operation.text)
        try:
            with connector.read(other, [1000]) as late:
                self.assertEqual(late.wait(LIMIT), rope.ERR)
        except rope.Error as error:
            self.assertIn(error.name, ("ERR_UNREACHABLE", "ERR_NO_PATH"))

    def test_stopped(self):
        """The kernel moves the bytes, so a stopped peer can be read; a cancel is still quiet."""
        stock, connector = self.shared(), self.open(window=1, chunk_size=65536, quiet_ms=300)
        for read in (True, False):
            metadata = stock.readable(70, BIG, 1) if read else stock.writable(70, BIG)
            operation = connector.read(metadata, BIG) if read else connector.write(metadata, BIG, 1)
            stock.stop()
            try:
                operation.cancel()
                self.assertIn(operation.wait(LIMIT), (rope.STOP, rope.DONE))
                operation.memory.fill(0x33)
            finally:
                stock.go_on()
            self.all_four(connector, stock, [70000])
            self.assertTrue(operation.memory.is_all(0x33))
            operation.release()
            stock.release([70])


if __name__ == "__main__":
    unittest.main()
