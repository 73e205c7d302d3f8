# SPDX-License-Identifier: Apache-2.0
"""What tools/lab promises of the machine that it makes: status, files, output, the time limit, and that nothing of it
is left. tests/rdma/run gives the packages."""
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest

import report

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAB = ROOT / "tools/lab"
PATIENCE = 240  # seconds; only a test that fails waits this long


def leftovers() -> set[str]:
    """The folders of runs under way, this test's and others'."""
    return {path.name for path in (ROOT / "build/lab").glob("run.*")}


def machines(folder: str) -> list[int]:
    """The processes that were told of a run's folder."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"/{folder}," in path.read_bytes().decode(errors="replace"):
                found.append(int(path.parent.name))
        except OSError:
            pass  # it has just ended
    return found


def lab(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([LAB, "run", *words], capture_output=True, text=True, timeout=PATIENCE)


class Lab(unittest.TestCase):
    def test_a_script_brings_back_its_status_its_output_and_its_files(self) -> None:
        with tempfile.TemporaryDirectory(dir=ROOT / "build") as folder:
            given = pathlib.Path(folder) / "a script, with a comma"
            given.write_text('#!/bin/sh\ncat - && uname -r && echo "$1" >&2 && pwd >"$2/written" && touch /gone; exit 7\n')
            given.chmod(0o755)
            done = lab("--writable", folder, str(given), "two  words", folder)
            self.assertEqual(done.returncode, 7, done.stderr)
            self.assertEqual(done.stdout.splitlines(), [self.release(), "two  words"])
            self.assertEqual((pathlib.Path(folder) / "written").read_text(), os.getcwd() + "\n")
        self.assertFalse(os.path.exists("/gone"))

    def release(self) -> str:
        return next((ROOT / "build/lab/kernel/lib/modules").iterdir()).name

    def start(self, *words: str) -> "tuple[subprocess.Popen[str], str]":
        """The tool at work, and the name of its folder."""
        before = leftovers()
        process = subprocess.Popen([LAB, "run", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for folder in leftovers() - before:
                if machines(folder):
                    return process, folder
            time.sleep(0.01)
        raise AssertionError("no machine was started")

    def gone(self, folder: str) -> None:
        self.assertEqual(machines(folder), [])
        self.assertNotIn(folder, leftovers())

    def test_the_time_limit_ends_the_machine_wherever_it_is(self) -> None:
        process, folder = self.start("--timeout", "2", "sleep", "600")
        _, errors = process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, 124)
        self.assertIn("the time was up: the machine was ended after 2 s", errors)
        self.gone(folder)

    def test_an_interrupted_run_leaves_nothing(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process, folder = self.start("sleep", "600")
            process.send_signal(number)
            process.communicate(timeout=PATIENCE)
            self.assertEqual(process.returncode, 128 + number)
            self.gone(folder)

    def test_a_tool_that_is_killed_takes_its_machine_along(self) -> None:
        process, folder = self.start("sleep", "600")
        process.kill()
        process.communicate(timeout=PATIENCE)
        end = time.monotonic() + PATIENCE
        while machines(folder) and time.monotonic() < end:
            time.sleep(0.01)
        self.assertEqual(machines(folder), [])
        subprocess.run(["rm", "-r", ROOT / "build/lab" / folder], check=True)

    def test_wrong_words_are_refused_before_a_machine_is_started(self) -> None:
        for words, sentence in {
            (): "give a script",
            ("/nonexistent",): "no program",
            ("--timeout", "0", "true"): "seconds",
            ("--writable", "/nonexistent", "true"): "not a folder",
        }.items():
            done = lab(*words)
            self.assertEqual(done.returncode, 2)
            self.assertIn(sentence, done.stderr)


if __name__ == "__main__":
    report.main()
