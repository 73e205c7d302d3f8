# SPDX-License-Identifier: Apache-2.0
"""Thousands of requests, right and wrong, that schemathesis makes up from the served description.

It judges each answer: a described status, content type, headers and schema; nothing wrong accepted, nothing
right refused, no token, no answer. Here it is seen that the server outlives it in bounded memory, serves others
meanwhile, and has a line for each refusal. ROPEWAY_SEED chooses other requests.
"""
import json
import os
import re
import signal
import subprocess
import time
import unittest

from support import GIB, MIB, PATIENCE, ROOT, Server, TestCase, bounded_memory, main, run

PROGRAM = os.path.join(ROOT, "build/openapi-venv/bin/schemathesis")
HOOKS = os.path.join(ROOT, "tests/cli/schemathesis_hooks.py")
SEED = os.environ.get("ROPEWAY_SEED", "1")
SECONDS = 20  # for the made up requests of each kind together
JUDGE_LIMIT = 200  # seconds for all of them; no test depends on it, but meson ends this one at 300
ANSWER_LIMIT = 30  # seconds; a request may wait 20 for the outcome of a transfer
SETTINGS = """
[checks.not_a_server_error]
# A size that no disk has.
expected-statuses = ["2xx", "4xx", "507"]

[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "409", "413", "414", "416", "421", "507"]

# described_requests_are_taken, of the hooks, says it more exactly.
[checks.positive_data_acceptance]
enabled = false
"""


@unittest.skipUnless(os.path.exists(PROGRAM), "there is no schemathesis; tools/openapi-env fetches it")
class Described(TestCase):
    def setUp(self):
        super().setUp()
        self.write("file", MIB)
        self.write("below/file", 10)
        self.token = self.write_token("../token", b"s3cret\n")
        self.refusals = os.path.join(self.directory, "refusals")
        with open(os.path.join(self.directory, "schemathesis.toml"), "w", encoding="utf-8") as file:
            file.write(SETTINGS)

    def make_up_requests(self, server, output):
        environment = dict(os.environ, SCHEMATHESIS_HOOKS=HOOKS, REFUSALS=self.refusals, PYTHONDONTWRITEBYTECODE="1",
                           HYPOTHESIS_STORAGE_DIRECTORY=os.path.join(self.directory, "hypothesis"))
        environment.pop("LD_LIBRARY_PATH", None)
        return subprocess.Popen(
            [PROGRAM, "run", server.url + "v1/openapi.json", "--header", "Authorization: Bearer s3cret",
             "--seed", SEED, "--max-time", str(SECONDS), "--request-timeout", str(ANSWER_LIMIT), "--continue-on-failure", "--no-color",
             "--generation-database", "none", "--output-truncate", "true"],
            cwd=self.directory, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def transfer_meanwhile(self, server, judge):
        done, end = 0, time.monotonic() + JUDGE_LIMIT
        while done < 2 or judge.poll() is None and time.monotonic() < end:
            self.assert_done(self.get("--token-file", self.token, server.url + "file"))
            self.assert_done(run("put", "--token-file", self.token, self.token, server.url + "honest"))
            done += 1

    def test_made_up_requests_get_described_answers_and_harm_nobody(self):
        log, report = (os.path.join(self.directory, name) for name in ("log", "report"))
        with open(log, "wb") as errors, open(report, "wb") as output, \
                Server("--token-file", self.token, "--writable", self.uploads, "--max-clients", "4096",
                       "--begin-limit", "3600", "--grace", "0", "--log-format", "json", self.offered,
                       stderr=errors, preexec_fn=bounded_memory(GIB)) as server:
            judge = self.make_up_requests(server, output)
            try:
                self.transfer_meanwhile(server, judge)
            finally:
                judge.kill()
                judge.wait()
            self.check_report(judge, report)
            self.assertEqual(server.request("GET", "/healthz")[0], 200)
            server.process.terminate()
            self.assertEqual(server.process.wait(PATIENCE), 0)
        self.check_log(log)

    def check_report(self, judge, report):
        with open(report, encoding="utf-8", errors="replace") as file:
            text = file.read()
        shown = "\n".join(line[:300] for line in text.splitlines())
        self.assertNotEqual(judge.returncode, -signal.SIGKILL, f"not done in {JUDGE_LIMIT} s: {shown}")
        self.assertEqual(judge.returncode, 0, shown)
        self.assertGreater(int(re.search(r"(\d+) generated", text).group(1)), 20, shown)

    def check_log(self, log):
        with open(self.refusals, encoding="utf-8") as file:
            refused = len(file.readlines())
        told = 0
        with open(log, encoding="utf-8") as file:
            for line in map(json.loads, file):
                hidden = re.match(r"(\d+) more lines are not shown", line.get("text", ""))
                told += int(hidden.group(1)) if hidden else line.get("repeated", 1) if "status" in line else 0
        self.assertGreater(refused, 10)
        self.assertGreaterEqual(told, refused)


if __name__ == "__main__":
    main()
