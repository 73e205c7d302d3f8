# SPDX-License-Identifier: Apache-2.0
"""Stock NIXL and Ropeway in one process; and in two network namespaces."""
import os
import subprocess
import sys
import time
import unittest

import rope
from support import Case, Stock

DEVICE = "rwtest0"


class OneProcess(Case):
    """Two copies of UCX in one process: the one in nixl's wheel, and ours."""

    def in_one_process(self, transport):
        self.transport = transport
        stock = self.start()
        stock.load_ropeway(transport)
        for size in (1, 70000, 4 << 20):
            self.assertEqual(stock.both_read(size), ["COMPLETE", True, "COMPLETE", True])
            self.assertEqual(stock.both_write(size), ["COMPLETE", True, "COMPLETE", True])
        self.assertRegex(stock.ropeway_ucx(), r"^1\.")
        stock.unload_ropeway()
        self.assertEqual(stock.ping(), "pong")

    def test_tcp(self):
        self.in_one_process("tcp")

    def test_default(self):
        self.in_one_process("default")


IN_NAMESPACE = "ROPEWAY_INTEROP_NAMESPACE"


@unittest.skipUnless(os.geteuid() == 0, "network namespaces need root")
class Namespaces(unittest.TestCase):
    def test_two(self):
        """Runs Inside below in a namespace of its own."""
        subprocess.run(
            ["unshare", "--net", "--mount", "sh", "-c",
             'mount -t sysfs none /sys && exec "$@"', "sh",
             sys.executable, __file__, "Inside"],
            env=dict(os.environ, **{IN_NAMESPACE: "1"}), check=True, timeout=600,
        )  # fmt: skip


@unittest.skipUnless(IN_NAMESPACE in os.environ, "runs inside of the test above")
class Inside(Case):
    transport = "netns"

    def test_all_four(self):
        cable = f"""
            until ip link set {DEVICE} up 2>/dev/null; do
                [ -d /proc/{os.getpid()} ] || exit 1
                sleep 0.05
            done
            ip address add 10.77.1.2/24 dev {DEVICE} && ip link set lo up
            until ip link show {DEVICE} | grep -q "state UP"; do sleep 0.05; done
            mount -t sysfs none /sys && exec "$@"
        """
        stock = Stock("netns", prefix=["unshare", "--net", "--mount", "sh", "-ec", cable, "sh"])
        self.addCleanup(stock.kill)
        self.assertNotEqual(os.readlink(f"/proc/{stock.process.pid}/ns/mnt"), "")
        self.lay_cable(stock.process.pid)
        self.assertTrue(stock.open("stock-elsewhere"))
        connector = rope.Connector("netns", net_devices=DEVICE.encode() + b",lo")
        self.addCleanup(connector.close)
        path = self.we_read(connector, stock, [70000])
        self.assertIn(DEVICE, path)
        for sizes in ([1], [4 << 20], [5000] * 64):
            self.all_four(connector, stock, sizes)

    @staticmethod
    def lay_cable(pid):
        own = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{pid}/ns/net") == own:
            os.sched_yield()
        for command in (
            f"ip link add {DEVICE} type veth peer name {DEVICE} netns {pid}",
            f"ip address add 10.77.1.1/24 dev {DEVICE}",
            f"ip link set {DEVICE} up",
            "ip link set lo up",
        ):
            subprocess.run(command.split(), check=True)
        # UCX uses no device that is not running, and the kernel says so a little later.
        while "state UP" not in subprocess.run(["ip", "link", "show", DEVICE], stdout=subprocess.PIPE, text=True).stdout:
            time.sleep(0.05)


if __name__ == "__main__":
    unittest.main()
