#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The benchmark itself, on a few cases and without foreign peers: results come out, and the report is made from them.

test_bench.py BUILD
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
BENCH = ROOT / "bench"
BUILD = pathlib.Path(sys.argv.pop(1)).resolve()
EMPTY = "# Performance\n\n<!-- figures -->\n<!-- end of figures -->\n\nThe end.\n"
PEERS = ["ropeway", "ropeway-ucx", "memcpy", "vm", "sockets"]
CASES = [
    "sizes-read-1B",
    "sizes-read-4KiB",
    "sizes-read-1MiB",
    "sizes-write-4KiB",
    "16atonce",
    "256desc",
    "tcp-first",
    "tcp-idle",
    "1MiB-4readers",
    "start-start",
]


def run(*words, code=0, timeout=400):
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=timeout)
    if done.returncode == 77 and code != 77:
        raise unittest.SkipTest(done.stderr.strip())
    assert done.returncode == code, f"{words} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done


def report(*words, code=0):
    """With time to fetch what draws the plots, once."""
    return run(BENCH / "report", *words, code=code, timeout=600)


def bench(output, *words, build=BUILD):
    run(BENCH / "run", build, "--rounds", 1, "--minutes", 3, "--seconds", 0.02, "--output", output, *words)
    return json.loads(output.read_text())


def words(option, values):
    return [word for value in values for word in (option, value)]


class WorkerTest(unittest.TestCase):
    def speak(self, *commands):
        """What a worker that copies inside itself answers."""
        offer = {"pid": 1, "base": 0, "address": "127.0.0.1", "port": 1}
        layout = {"size": 4099, "write": False, "descriptors": 2, "slots": 1, "count": 3, "offer": offer}
        lines = "".join(json.dumps({"do": command, **layout}) + "\n" for command in commands)
        done = subprocess.run(
            [BUILD / "bench/worker-limits", "--variant", "memcpy"],
            input=lines,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_a_worker_tells_bytes_that_arrived_from_those_that_did_not(self):
        self.assertIn("wrong byte", self.speak("take", "check")[-1]["error"])
        answers = self.speak("take", "go", "check")
        self.assertEqual(answers[-1], {})
        self.assertEqual(len(answers[-2]["ns"]), 3)

    def test_a_worker_refuses_what_it_does_not_know(self):
        self.assertIn("nonsense", self.speak("nonsense")[-1]["error"])


class RunTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.work = tempfile.TemporaryDirectory()
        cls.home = pathlib.Path(cls.work.name)
        cls.file = cls.home / "result.json"
        # Namespaces need root.
        parts = ["shm", "tcp", "readers", "start", *(["delay"] if os.geteuid() == 0 else [])]
        cls.result = bench(cls.file, *words("--part", parts), *words("--peer", PEERS), *words("--case", CASES))

    @classmethod
    def tearDownClass(cls):
        cls.work.cleanup()

    def test_every_case_has_figures_of_every_peer_that_can_do_it(self):
        found = {(one["case"], one["peer"]): one for one in self.result["results"]}
        self.assertEqual([one for one in found.values() if "failed" in one], [])
        wanted = [("shm-sizes-read-1MiB", peer) for peer in PEERS[:4]]
        wanted += [
            ("tcp-sizes-write-4KiB", "ropeway"),
            ("tcp-sizes-write-4KiB", "sockets"),
            ("shm-concurrency-read-64KiB-16atonce", "ropeway"),
            ("tcp-descriptors-read-4KiB-256desc", "sockets"),
            ("tcp-first-read-4KiB", "ropeway"),
            ("readers-readers-read-1MiB-4readers", "ropeway"),
        ]
        for key in wanted:
            figures = found[key]["rounds"][0]
            self.assertGreater(figures["p99"], 0, key)
            self.assertGreaterEqual(figures["p99"], figures["p50"], key)
            self.assertGreaterEqual(figures["operations"], 3, key)
        self.assertGreater(found["tcp-sizes-read-1MiB", "ropeway"]["rounds"][0]["active_cpu_us"], 0)
        self.assertGreater(found["tcp-sizes-read-1MiB", "ropeway"]["rounds"][0]["passive_memory"], 1 << 20)
        self.assertEqual(found["readers-readers-read-1MiB-4readers", "ropeway"]["rounds"][0]["failures"], 0)
        self.assertIn("passive_percent", found["tcp-idle-read-4KiB-1000pending", "ropeway"]["rounds"][0])
        self.assertGreater(found["start-start-read-4KiB", "ropeway"]["rounds"][0]["first_byte_s"], 0)

    def test_the_machine_is_described(self):
        self.assertGreaterEqual(self.result["machine"]["cores"], 1)
        self.assertTrue(self.result["machine"]["kernel"])
        self.assertEqual(list(self.result["peers"]), PEERS)

    def test_the_report_is_made_from_the_result_and_nothing_else(self):
        docs = self.home / "docs"
        docs.mkdir()
        (docs / "performance.md").write_text(EMPTY)
        report(self.file, "--docs", docs)
        text = (docs / "performance.md").read_text()
        self.assertIn("| READ 1 MiB |", text)
        self.assertIn("Ropeway (C)", text)
        self.assertTrue(text.endswith("\nThe end.\n"))
        self.assertIn("| tcp-sizes-read-4KiB | sockets | 1 |", (docs / "performance-cases.md").read_text())
        plots = list((docs / "plots").glob("*.svg"))
        self.assertIn("sizes-shm.svg", [plot.name for plot in plots])
        for plot in plots:
            image = xml.etree.ElementTree.parse(plot).getroot()
            self.assertTrue(image.tag.endswith("}svg"))
            words_of = lambda tag: [one.text for one in image.iter() if one.tag.endswith("}" + tag)]
            self.assertIn(f"![{words_of('title')[0]}](plots/{plot.name})", text)
            self.assertIn("Ropeway (C)", words_of("text"))
        report("--check", "--docs", docs)
        (docs / "performance.md").write_text(text.replace("| READ 1 MiB |", "| READ 1 MiB | 1 "))
        self.assertIn("performance.md", report("--check", "--docs", docs, code=1).stderr)


class FailureTest(unittest.TestCase):
    def test_a_peer_that_is_missing_or_dies_is_named_with_the_reason(self):
        with tempfile.TemporaryDirectory() as home:
            build = pathlib.Path(home) / "build"
            (build / "bench").mkdir(parents=True)
            (build / "bench/worker-limits").symlink_to(BUILD / "bench/worker-limits")
            result = bench(
                pathlib.Path(home) / "result.json",
                *words("--peer", ["ropeway", "vm"]),
                "--case",
                "shm-sizes-read-4KiB",
                build=build,
            )
            self.assertIn("worker-ropeway is missing", result["peers"]["ropeway"]["unavailable"])
            self.assertEqual([one["peer"] for one in result["results"]], ["vm"])
            # One that says that it is ready, and is gone.
            dying = build / "bench/worker-ropeway"
            dying.write_text('#!/bin/sh\necho "{\\"ready\\": {\\"pid\\": $$}}"\nread -r line\nexit 7\n')
            dying.chmod(0o755)
            result = bench(
                pathlib.Path(home) / "result.json",
                *words("--peer", ["ropeway", "vm"]),
                "--case",
                "shm-sizes-read-4KiB",
                build=build,
            )
            failed = {one["peer"]: one.get("failed") for one in result["results"]}
            self.assertIsNone(failed["vm"])
            self.assertIn("ended with 7", failed["ropeway"])


class DocumentTest(unittest.TestCase):
    @unittest.skipUnless((ROOT / "docs/performance.json").exists(), "no result is kept yet")
    def test_the_figures_of_the_documents_are_those_of_the_kept_result(self):
        report("--check")

    def test_the_figures_of_gpu_memory_are_those_of_the_kept_result(self):
        run(BENCH / "report-cuda", "--check")
        with tempfile.TemporaryDirectory() as home:
            for name in ("performance-cuda.md", "performance-cuda.json"):
                shutil.copy(ROOT / "docs" / name, home)
            document = pathlib.Path(home) / "performance-cuda.md"
            document.write_text(document.read_text().replace("| 64 MiB |", "| 64 MiB | 1 ", 1))
            self.assertIn("performance-cuda.md", run(BENCH / "report-cuda", "--check", "--docs", home, code=1).stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
