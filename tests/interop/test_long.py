# SPDX-License-Identifier: Apache-2.0
"""Long use of one stock peer, and what it leaves behind."""
import os
import unittest
import uuid

from support import READ, WRITE, Case, made_up, wait_for


class Long(Case):
    transport = "tcp"

    @staticmethod
    def usage():
        with open("/proc/self/statm") as file:
            resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return resident, len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

    def test_5000_operations_leave_nothing_behind(self):
        """2,000 reads and 1,000 writes of ours, and 2,000 offers that an agent reads or writes."""
        stock, connector = self.start(), self.open()
        sizes, name = [3000, 70000], f"agent-{uuid.uuid4().hex[:8]}"
        stock.agent(name)
        pointers = stock.register(name, 60, sizes, 1)
        blob, before = stock.agent_metadata(name), None
        for number in range(50):
            if number == 5:
                before = self.usage()
            for again in range(60):
                read = again < 40
                text, _ = made_up(blob, list(zip(pointers, sizes)), READ if read else WRITE)
                with connector.read(text, sizes) if read else connector.write(text, sizes, 1) as operation:
                    self.complete(operation)
            offers = [connector.readable(sizes, 1) if again < 20 else connector.writable(sizes) for again in range(40)]
            for verb, some in (("READ", offers[:20]), ("WRITE", offers[20:])):
                stock.transfers(name, verb, [offer.metadata() for offer in some], 60)
            for offer in offers:
                self.complete(offer)
                self.assertTrue(offer.memory.holds(1))
                offer.release()
            self.assertTrue(stock.holds(60, 1))
        after, stats = self.usage(), connector.stats()
        self.assertEqual(stats.operations_completed, 5000)
        self.assertEqual((stats.operations_live, stats.bytes_inflight, stats.peers), (0, 0, 1))
        self.assertLess(after[0] - before[0], 8 << 20)
        self.assertLessEqual(after[1] - before[1], 4)
        self.assertEqual(after[2], before[2])

    def test_connections_of_nixl_connect_are_closed_when_it_ends(self):
        """It makes one per operation that it begins, and keeps them as long as it lives."""
        stock, connector = self.start(), self.open()
        self.all_four(connector, stock, [2000])
        before = self.usage()[1]
        for number in range(10):
            self.they_read(connector, stock, [2000])
        stock.kill()
        wait_for(lambda: self.usage()[1] <= before, "the peer's sockets to be closed")


if __name__ == "__main__":
    unittest.main()
