# SPDX-License-Identifier: Apache-2.0
"""Stock dynamo.nixl_connect and the same program on Ropeway's drop-in, over RDMA: either one passive, reads and writes;
and what Ropeway does with memory that may not be written. Runs in the machine of tools/lab, in the environments of
tools/interop-env and tools/interop-site."""
import ctypes
import mmap
import os
import sys
from pathlib import Path
from unittest import mock

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "interop"))

import numpy
import report
import rope
from memory import Memory
from support import Case, Stock

SITE = TESTS.parent / "build/interop-site"
UCX = TESTS.parent / "build/lab/ucx"
ON_ROPEWAY = ["sh", "-c", 'exec "$1" -m ropeway.dropin "$2"', "sh"]
DEVICES = {"stock": "rxe1:1", "ropeway": "rxe0:1"}
COUNTERS = Path("/sys/class/infiniband/rxe0/ports/1/hw_counters")
MTU = 4096
rope.TRANSPORTS["rc"] = b"rc,self"


def packets():
    """What rxe0 has sent and received."""
    return sum(int((COUNTERS / name).read_text()) for name in ("sent_pkts", "rcvd_pkts"))


class Sealed(Memory):
    """Memory that may be read, and not written any more."""

    def __init__(self, sizes, seed):
        super().__init__(sizes, seed)
        mapped = mmap.mmap(-1, len(self.arena))
        filled, self.arena = self.arena, numpy.frombuffer(mapped, numpy.uint8)
        self.arena[:] = filled
        self.pieces = [self.arena[at : at + size] for at, size in zip(self.offsets, sizes)]
        libc = ctypes.CDLL(None, use_errno=True)
        address, size = ctypes.c_void_p(self.arena.ctypes.data), ctypes.c_size_t(len(mapped))
        if libc.mprotect(address, size, mmap.PROT_READ) != 0:
            raise OSError(ctypes.get_errno(), "mprotect")


class Pairings(Case):
    transport = "rc"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        os.environ["PYTHONPATH"] = str(SITE)
        cls.peers = {}
        for kind, device in DEVICES.items():
            os.environ["UCX_NET_DEVICES"] = device
            cls.peers[kind] = Stock("rc", f"{kind}-peer", ON_ROPEWAY if kind == "ropeway" else ())

    @classmethod
    def tearDownClass(cls):
        for peer in cls.peers.values():
            peer.kill()

    def move(self, passive, active, verb, sizes, numbers):
        before, way = packets(), f"{DEVICES[active]} to {DEVICES[passive]}"
        passive, active = self.peers[passive], self.peers[active]
        for number in numbers:
            if verb == "read":
                active.read(number, passive.readable(number, sizes, number % 200), sizes)
            else:
                active.write(number, passive.writable(number, sizes), sizes, number % 200)
        for peer in (active, passive):
            self.assertEqual(set(peer.wait(numbers)), {"COMPLETE"})
        receiver = active if verb == "read" else passive
        for number in numbers:
            self.assertTrue(receiver.holds(number, number % 200))
        moved = packets() - before
        print(f"over rc, {way}: {verb}: {len(numbers)} times {sizes} bytes in {moved} packets of rxe0")
        self.assertGreaterEqual(moved, len(numbers) * sum(sizes) // MTU)
        for peer in (active, passive):
            peer.release(numbers)

    def pairing(self, passive, active, verb):
        for sizes in ([4096], [1 << 20], [1, 70000, 4096]):
            self.move(passive, active, verb, sizes, [1])
            self.move(passive, active, verb, sizes, [2, 3, 4, 5])

    def test_ropeway_reads_from_stock(self):
        self.pairing("stock", "ropeway", "read")

    def test_ropeway_writes_to_stock(self):
        self.pairing("stock", "ropeway", "write")

    def test_stock_reads_from_ropeway(self):
        self.pairing("ropeway", "stock", "read")

    def test_stock_writes_to_ropeway(self):
        self.pairing("ropeway", "stock", "write")

    def seal(self):
        """A connector of this process, whose operations' memory may not be written from now on."""
        for patch in (mock.patch.dict(os.environ, ROPEWAY_UCX=str(UCX)), mock.patch("rope.Memory", Sealed)):
            patch.start()
            self.addCleanup(patch.stop)
        return self.open(net_devices=DEVICES["ropeway"].encode())

    def test_read_only_memory_is_written_to_stock(self):
        connector, before, sizes = self.seal(), packets(), [1 << 20, 70000, 4096]
        self.we_write(connector, self.peers["stock"], sizes)
        print(f"over rc: {packets() - before} packets of rxe0")
        self.assertGreaterEqual(packets() - before, sum(sizes) // MTU)

    def test_read_only_memory_can_not_be_offered_to_stock(self):
        with self.assertRaisesRegex(rope.Error, "ERR_TRANSPORT.*may be read and not written.*offer a copy"):
            self.seal().readable([1 << 20], 1)


if __name__ == "__main__":
    report.main()
