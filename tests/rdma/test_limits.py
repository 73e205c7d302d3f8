# SPDX-License-Identifier: Apache-2.0
"""A limit on locked memory that is too small for RDMA: `ropeway doctor` names it, and the remedy, and so does whoever
tries a transfer. Runs in the machine of tools/lab, with ROPEWAY naming the command."""
import os
import subprocess
import unittest

import report

NOBODY = "65534"
USER = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
REMEDIES = ("ulimit -l unlimited", "LimitMEMLOCK=infinity", "--ulimit memlock=-1")


class Limits(unittest.TestCase):
    def doctor(self, limit: str, *prefix: str) -> list[str]:
        environment = dict(os.environ, UCX_TLS="rc,self", UCX_NET_DEVICES="rxe0:1")
        done = subprocess.run(
            ["prlimit", f"--memlock={limit}", *prefix, os.environ["ROPEWAY"], "doctor"],
            capture_output=True, text=True, env=environment, timeout=240,
        )  # fmt: skip
        self.assertEqual(done.stderr, "")
        return done.stdout.splitlines()

    def transfer(self, lines: list[str]) -> str:
        return next(line for line in lines if line[6:].startswith("transfer over rc+self: "))

    def test_a_small_limit_is_named_with_the_remedy(self) -> None:
        lines = self.doctor("65536", *USER)
        at = lines.index("warn  locked memory: the limit is 64.0 KiB, and RDMA transports pin what they move")
        for remedy in REMEDIES:
            self.assertIn(remedy, lines[at + 1])
        self.assertTrue(any(line[6:].startswith("InfiniBand: ") and "rxe0" in line for line in lines), lines)
        transfer = self.transfer(lines)
        self.assertTrue(transfer.startswith("fail"), transfer)
        self.assertIn("RDMA needs at least 256 MiB of locked memory, but the limit is 64 KiB", transfer)
        for remedy in REMEDIES:
            self.assertIn(remedy, transfer)

    def test_without_a_limit_bytes_move(self) -> None:
        lines = self.doctor("unlimited")
        self.assertIn("ok    locked memory: the limit is unlimited", lines)
        transfer = self.transfer(lines)
        self.assertTrue(transfer.startswith("ok"), transfer)
        self.assertIn("rc_verbs/rxe0:1", transfer)
        print("over rc_verbs/rxe0:1")

    def test_who_may_lock_all_memory_needs_no_limit(self) -> None:
        """The machine's root has the capability IPC_LOCK."""
        transfer = self.transfer(self.doctor("65536"))
        self.assertTrue(transfer.startswith("ok"), transfer)
        self.assertIn("rc_verbs/rxe0:1", transfer)
        print("over rc_verbs/rxe0:1")


if __name__ == "__main__":
    report.main()
