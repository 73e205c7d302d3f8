# SPDX-License-Identifier: Apache-2.0
"""`ropeway doctor` on a host with RDMA devices: what it says of each port, and bytes that it moves by each. Runs in the
machine of tools/lab, with ROPEWAY naming the command."""
from __future__ import annotations

import json
import os
import subprocess
import unittest

import report

LIMIT = 190  # seconds
UP = {f"rxe{number}:1": f"v{number}" for number in range(2)}  # with their interfaces
DOWN = ("rxe2:1", "rxe3:1")  # the two ends of a cable


class Doctor(unittest.TestCase):
    """Of one run, which takes an emulated processor long."""

    checks: dict[str, dict[str, str]]

    @staticmethod
    def set_interface(name: str, state: str) -> None:
        subprocess.run(["ip", "link", "set", "dev", name, state], check=True, timeout=LIMIT)

    @classmethod
    def setUpClass(cls) -> None:
        cls.addClassCleanup(cls.set_interface, "v3", "up")
        cls.set_interface("v3", "down")
        done = subprocess.run([os.environ["ROPEWAY"], "doctor", "--json"], capture_output=True, text=True, timeout=LIMIT)
        assert done.returncode == 0, done
        cls.checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}

    def test_every_port_is_described(self) -> None:
        for port, interface in UP.items():
            check = self.checks[f"port {port}"]
            self.assertEqual(check["status"], "ok", check)
            self.assertRegex(check["text"], f"^ACTIVE, .*, {interface} with MTU 4200, GID [0-9]+ is 0000.*:0a4d:.*RoCE v2")

    def test_bytes_are_moved_by_each_port_alone(self) -> None:
        for port in UP:
            transfer = self.checks[f"transfer over rc+self by {port}"]
            self.assertEqual(transfer["status"], "ok", transfer)
            self.assertIn(f"rc_verbs/{port}", transfer["text"])
            for other in UP.keys() - {port}:
                self.assertNotIn(other, transfer["text"])
            print(f"over rc_verbs/{port}")

    def test_a_port_that_is_down_is_named_and_not_used(self) -> None:
        for port in DOWN:
            check = self.checks[f"port {port}"]
            self.assertEqual(check["status"], "warn")
            self.assertIn("DOWN", check["text"])
            self.assertIn("ip link set", check["remedy"])
            self.assertNotIn(f"transfer over rc+self by {port}", self.checks)


if __name__ == "__main__":
    report.main()
