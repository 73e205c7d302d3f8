# SPDX-License-Identifier: Apache-2.0
"""`ropeway doctor --peer` where there is an RDMA network: what it says of a peer on another host, and by which way
`ropeway perf` then goes there. Runs in the machine of tools/lab, with ROPEWAY naming the command."""
import json
import os
import subprocess
import tempfile
import unittest
import urllib.request
from typing import Any

import report

LIMIT = 100  # seconds
# To UCX all that is one machine's is reachable: only the right device is offered to it.
OURS, THEIRS = dict(UCX_TLS="rc,self", UCX_NET_DEVICES="rxe0:1"), dict(UCX_TLS="rc,self", UCX_NET_DEVICES="rxe1:1")
# A PID namespace of its own makes a process one on another host, to its peers.
ELSEWHERE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


class Route(unittest.TestCase):
    def run_command(self, *arguments: str, **variables: str) -> Any:
        done = subprocess.run([os.environ["ROPEWAY"], *arguments], capture_output=True, text=True, timeout=LIMIT,
                              env=dict(os.environ, **variables))  # fmt: skip
        self.assertEqual(done.returncode, 0, done)
        return json.loads(done.stdout)

    def start(self, *arguments: str) -> str:
        """Starts a server elsewhere, and returns the last word of its greeting: its address."""
        server = subprocess.Popen([*ELSEWHERE, os.environ["ROPEWAY"], *arguments], stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True, env=dict(os.environ, **THEIRS))  # fmt: skip
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        assert server.stdout is not None
        self.addCleanup(server.stdout.close)
        return server.stdout.readline().split()[-1]

    def doctor(self, metadata: str, **variables: str) -> Any:
        return self.run_command("doctor", "--peer", metadata, "--json", **variables)

    def path(self, server: str, **variables: str) -> str:
        """By which bytes go there."""
        measured = self.run_command("perf", server, "--json", "--transports", "any", "--kind", "read", "--size", "1M",
                                    "--concurrency", "1", "--seconds", "0.02", "--idle", "0", **variables)  # fmt: skip
        return str(measured["cases"][0]["path"])

    def test_a_network_is_told_and_used_unless_ucx_net_devices_leaves_it_out(self) -> None:
        perf = self.start("perf", "--server", "--listen", "127.0.0.1:0")
        with tempfile.NamedTemporaryFile(buffering=0) as offered, tempfile.NamedTemporaryFile(buffering=0) as answer:
            offered.write(b"bytes")
            url = self.start("serve", "--listen", "127.0.0.1:0", "--begin-limit", "60", offered.name)
            target = f"{url}v1/objects/{os.path.basename(offered.name)}/read"
            with urllib.request.urlopen(target, data=b"", timeout=LIMIT) as response:
                answer.write(response.read())

            told = self.doctor(answer.name, **OURS)
            self.assertEqual((told["same_host"], told["rdma"], told["ucx"]["needed"]), (False, True, True), told)
            first, *_, last = told["ways"]
            self.assertEqual((first["link"], first["use"], last["use"]), ("ucx", "first", "fallback"), told)
            self.assertIn("an RDMA network is up here", first["why"])
            taken = self.path(perf, **OURS)
            self.assertIn("rc_verbs/rxe0:1", taken)
            print("over", taken.split()[0])

            told = self.doctor(answer.name, UCX_NET_DEVICES="lo")
            self.assertEqual((told["rdma"], told["ucx"]["needed"]), (False, False), told)
            *_, last = told["ways"]
            self.assertEqual((last["link"], last["use"]), ("ucx", "none"), told)
            self.assertIn("UCX_NET_DEVICES", last["why"])
            self.assertRegex(self.path(perf, UCX_NET_DEVICES="lo"), r"^tcp/\S+:\d+")


if __name__ == "__main__":
    report.main()
