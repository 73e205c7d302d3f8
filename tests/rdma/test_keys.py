# SPDX-License-Identifier: Apache-2.0
"""Rule 6 where hardware has the last word: a foreign UCX program (keys.c) reaches an offer's memory over RDMA with the
offer's own remote key, and with no other. Runs in the machine of tools/lab, with KEYS naming the program."""
import base64
import json
import os
import struct
import subprocess
import sys
import unittest
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "interop"))

import report
import rope

SIZE = 1 << 20
TOUCHED = 0x66  # what keys.c puts
OWNER, FOREIGNER = "rxe0:1", "rxe1:1"
BY_DEVICE = b"rc,self"  # named: else those of one host need no device


def records(blob, tag):
    """The values of all records with this tag in agent metadata."""
    at, found = blob.index(b"|") + 1, []
    while at < len(blob):
        for name in (b"nixlSecElms", b"nixlDList", b"MemSection", b"Agent", b"Conns", b"bknd", b"t", b"c", b"n", b""):
            size_at = at + len(name)
            if not blob.startswith(name, at) or size_at + 8 > len(blob):
                continue
            (length,) = struct.unpack_from("<Q", blob, size_at)
            end = size_at + 8 + length
            if end < len(blob) and blob[end : end + 1] == b"|":
                if name == tag:
                    found.append(blob[size_at + 8 : end])
                at = end + 1
                break
        else:
            raise AssertionError(f"no record at byte {at} of the agent metadata")
    return found


def offered(text):
    """What an offer tells stock peers: the worker's address, and (address, size, packed key) of the first region."""
    metadata = json.loads(text)
    blob = zlib.decompress(base64.b64decode(metadata["nixl_metadata"].removeprefix("b64:")))
    connections = dict(zip((kind for kind in records(blob, b"t") if len(kind) != 4), records(blob, b"c")))
    region = next(value for value in records(blob, b"") if len(value) > 24 and value != b"MemSection")
    pointer, size, _ = struct.unpack_from("<QQQ", region)
    return connections[b"UCX"], pointer, size, region[24:]


def changed(key, at):
    """The packed key with one byte of the device's 32-bit key changed."""
    # A map of memory domains (8 bytes), the memory's type (1), and the length (1) and the key of each domain.
    domain = 9
    for _ in range(bin(int.from_bytes(key[:8], "little")).count("1")):
        if key[domain] == 8:
            bad = bytearray(key)
            bad[domain + 1 + at] ^= 0x15
            return bytes(bad)
        domain += 1 + key[domain]
    raise AssertionError(f"no key of a device in {key.hex()}")


class Keys(unittest.TestCase):
    def setUp(self):
        os.environ.update(UCX_TLS="rc,self", UCX_NET_DEVICES=OWNER)
        self.connector = rope.Connector(transports=BY_DEVICE)
        self.addCleanup(self.connector.close)
        self.offer = self.connector.readable([SIZE], 7)
        self.address, self.pointer, self.size, self.key = offered(self.offer.metadata())
        self.assertEqual(self.size, SIZE)

    def tearDown(self):
        if self.offer.handle:
            self.offer.release()

    def attempt(self, key, verb, pointer, size=65536):
        done = subprocess.run(
            [os.environ["KEYS"], self.address.hex(), key.hex(), verb, hex(pointer), str(size)],
            capture_output=True, text=True, timeout=120,
            env=dict(os.environ, UCX_NET_DEVICES=FOREIGNER, UCX_LOG_LEVEL="fatal"),
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stderr)
        answer = done.stdout.splitlines()[-1]
        print(f"over rc_verbs, {FOREIGNER} to {OWNER}: {verb}: {answer}")
        return answer

    def refused(self, *attempt):
        self.assertRegex(self.attempt(*attempt), "^refused: ")
        self.assertTrue(self.offer.memory.holds(7) and self.offer.memory.guarded())

    def the_offer_still_works(self):
        with rope.Connector(transports=BY_DEVICE) as other, other.read(self.offer.metadata(), [SIZE]) as read:
            self.assertEqual(read.wait(60), rope.DONE, read.text)
            self.assertTrue(read.memory.holds(7))
            self.assertIn("rc_verbs/rxe0", read.path)

    def test_rule6_the_offers_own_key_reaches_its_memory(self):
        """Without this the refusals below would prove nothing."""
        start = bytes(self.offer.memory.pieces[0][:16]).hex()
        self.assertEqual(self.attempt(self.key, "get", self.pointer), "moved " + start)

    def test_rule6_a_forged_key_is_refused_and_changes_nothing(self):
        for at in (0, 1):
            self.refused(changed(self.key, at), "put", self.pointer)
        self.refused(changed(self.key, 1), "get", self.pointer)
        self.the_offer_still_works()

    def test_rule6_memory_beside_the_offer_is_refused(self):
        page = 4096
        self.refused(self.key, "get", self.pointer + SIZE + 16 * page)
        self.refused(self.key, "put", self.pointer - 16 * page - 65536)
        self.the_offer_still_works()

    def test_rule6_the_key_of_a_completed_offer_is_refused_and_changes_nothing(self):
        memory, key, pointer = self.offer.memory, self.key, self.pointer
        self.the_offer_still_works()
        self.assertEqual(self.offer.wait(60), rope.DONE)
        self.refused(key, "put", pointer)
        self.refused(key, "get", pointer)
        self.assertTrue(memory.holds(7) and memory.guarded())

    def test_rule6_a_withdrawn_key_is_refused_and_changes_nothing(self):
        memory, key, pointer = self.offer.memory, self.key, self.pointer
        self.offer.cancel()
        self.assertEqual(self.offer.wait(60), rope.STOP)
        self.refused(key, "put", pointer)
        self.offer.release()
        self.assertRegex(self.attempt(key, "put", pointer), "^refused: ")
        self.assertRegex(self.attempt(key, "get", pointer), "^refused: ")
        self.assertTrue(memory.holds(7) and memory.guarded())


if __name__ == "__main__":
    report.main()
