# SPDX-License-Identifier: Apache-2.0
"""A limit on locked memory that is too small for RDMA: `ropeway doctor` names it, and the remedy. Runs in the machine
of tools/lab, with ROPEWAY naming the command."""
import os
import subprocess
import unittest

import report

NOBODY = "65534"


class Limits(unittest.TestCase):
    def doctor(self, *prefix: str) -> list[str]:
        """What it says up to its word about the devices; the transfers that it tries next need the memory."""
        environment = dict(os.environ, UCX_TLS="rc,self", UCX_NET_DEVICES="rxe0:1")
        command = ["stdbuf", "-oL", *prefix, os.environ["ROPEWAY"], "doctor"]
        lines = []
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.rstrip())
                if line.split()[1:2] == ["InfiniBand:"]:
                    break
            process.kill()
        return lines

    def test_the_doctor_names_a_small_limit_and_the_remedy(self) -> None:
        user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        lines = self.doctor("prlimit", "--memlock=65536", *user)
        at = lines.index("warn  locked memory: the limit is 64.0 KiB, and RDMA transports pin what they move")
        for word in ("ulimit -l unlimited", "LimitMEMLOCK=infinity", "--ulimit memlock=-1"):
            self.assertIn(word, lines[at + 1])
        self.assertIn("rxe0", lines[-1])

    def test_the_doctor_is_content_without_a_limit(self) -> None:
        self.assertIn("ok    locked memory: the limit is unlimited", self.doctor("prlimit", "--memlock=unlimited"))


if __name__ == "__main__":
    report.main()
