# SPDX-License-Identifier: Apache-2.0
"""Operations on a stopped stock peer that are ended, many times over; then the peer goes on."""
import unittest
import uuid

import rope
from support import READ, WRITE, Case, made_up, wait_for

SIZE = 16 << 20
PIECE = 256 << 10
WINDOW = 2
TRIES = 6
LIMIT = 60
ENDS = {"STALLED": {"stall_ms": 100}, "DEADLINE": {"deadline_ms": 400}, "CANCELLED": {}}


class Fence(Case):
    transport = "tcp"

    def setUp(self):
        self.stock, self.name = self.shared(), f"agent-{uuid.uuid4().hex[:8]}"
        self.stock.agent(self.name)
        (self.pointer,) = self.stock.register(self.name, 1, [SIZE], 1)
        self.blob = self.stock.agent_metadata(self.name)

    def remote(self):
        """The peer's memory, as it is, also while the peer is stopped."""
        with open(f"/proc/{self.stock.process.pid}/mem", "rb", buffering=0) as memory:
            memory.seek(self.pointer)
            return memory.read(SIZE)

    def settle(self, connector):
        """What the peer was sent before is through with when it has answered for something new."""
        self.stock.ping()
        for _ in range(3):
            text, _ = made_up(self.blob, [(self.pointer, 1000)], READ)
            with connector.read(text, [1000]) as operation:
                self.complete(operation)

    def end_one(self, connector, kind, how, seed, check):
        """Whether it was caught under way. check(operation) runs once it is over, and the peer stopped."""
        text, _ = made_up(self.blob, [(self.pointer, SIZE)], kind)
        operation = (connector.read(text, [SIZE], **ENDS[how]) if kind == READ
                     else connector.write(text, [SIZE], seed, **ENDS[how]))  # fmt: skip
        self.addCleanup(operation.release)
        wait_for(lambda: operation.done > 0 or operation.status >= rope.DONE, "the first bytes")
        self.stock.stop()
        try:
            if how == "CANCELLED":
                operation.cancel()
            self.assertIsNotNone(operation.wait(LIMIT), "it has not ended")
            caught = operation.status != rope.DONE
            self.assertIn(operation.error, ("OK", "ERR_" + how), operation.text)
            after = check(operation)
        finally:
            self.stock.go_on()
        self.settle(connector)
        after()
        return caught

    def nothing_lands_here(self, operation):
        operation.memory.fill(0x11)

        def after():
            self.assertTrue(operation.memory.is_all(0x11) and operation.memory.guarded())

        return after

    def test_nothing_lands_here_after_a_read_has_ended(self):
        connector = self.open(window=WINDOW, chunk_size=PIECE, quiet_ms=100)
        for how in ENDS:
            caught = sum(self.end_one(connector, READ, how, 0, self.nothing_lands_here) for _ in range(TRIES))
            self.assertGreater(caught, 0, how)

    def at_most_the_window_lands_there(self, operation):
        before = self.remote()

        def after():
            now = self.remote()
            changed = [at for at in range(0, SIZE, 4096) if before[at : at + 4096] != now[at : at + 4096]]
            self.assertLessEqual(len(changed) * 4096, (WINDOW + 1) * PIECE)

        return after

    def test_at_most_the_window_lands_there_after_a_write_has_ended(self):
        """What the network holds can't be called back; but no more than was under way."""
        connector = self.open(window=WINDOW, chunk_size=PIECE, quiet_ms=100)
        for how in ENDS:
            caught = 0
            for number in range(TRIES):
                caught += self.end_one(connector, WRITE, how, 100 + number, self.at_most_the_window_lands_there)
            self.assertGreater(caught, 0, how)


class FenceShm(Fence):
    """The kernel moves the bytes at once, also those of a stopped peer, and nothing stays under way."""

    transport = "shm"

    def at_most_the_window_lands_there(self, operation):
        before = self.remote()
        return lambda: self.assertEqual(before, self.remote())

    def end_one(self, *arguments):
        super().end_one(*arguments)
        return True  # it may have been faster


if __name__ == "__main__":
    unittest.main()
