# SPDX-License-Identifier: Apache-2.0
"""harness.py RESULT.json [--limit SECONDS] [--dry-run] [--only WORD]: tests GPU memory, and measures it.

Runs the cases in pairs of worker processes, each with a time limit of its own, and writes RESULT.json anew after
each. A case that failed is tried again with UCX's log. Exits with 0 when all passed, 1 when one failed, 77 where
there is no GPU. With --dry-run memory of the host stands for that of a GPU, and the result says so: that tests the
harness, and nothing of CUDA.
"""

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import diagnosis
import groups
import measure
import pair as pair_module
from pair import CaseError, Lost, Pair
from report import Report

AGAIN = 5  # failures that are tried again with a log
FAILURES = 3  # of cases that differ in numbers only, after which the rest of them is skipped
# Settings of UCX under which a failed case is tried once more: which of them help says where the fault lies.
REMEDIES = ({"UCX_TLS": "^cuda_ipc"}, {"UCX_MEMTYPE_CACHE": "n"}, {"UCX_PROTO_ENABLE": "n"}, {"UCX_RNDV_SCHEME": "get_zcopy"})
LOG = {"UCX_LOG_LEVEL": "debug", "UCX_PROTO_INFO": "y"}


class Run:
    def __init__(self, report, dry, only):
        self.report = report
        self.dry = dry
        self.only = only
        self._pair = None
        self._seen = set()
        self._again = []  # what is to be tried again
        self._logged_cases = []

    # ---- workers ----

    def start(self, environment=None, early=False):
        return Pair(self.dry, environment, early)

    def shared(self):
        """The workers of all groups that need no environment of their own."""
        if self._pair is None:
            self._pair = self.start().ready()
        return self._pair

    def end_shared(self):
        pair, self._pair = self._pair, None
        if pair is not None:
            self._end(pair, "shared workers")

    def _end(self, pair, name):
        """Ending cleanly is a case of its own."""
        began = time.monotonic()
        try:
            codes = pair.end()
            outcome, more = ("failed", {"error": f"exit codes {codes}"}) if any(codes.values()) else ("passed", {})
        except Lost as lost:
            outcome, more = "failed", {"error": str(lost), **lost.facts}
        except CaseError as error:
            outcome, more = "failed", {"error": str(error)}
        if outcome == "failed":
            more["stderr"] = pair.stderr()
        self.report.case("workers end", name, outcome, time.monotonic() - began, **more)

    # ---- correctness ----

    def _one(self, pair, group, name, function):
        """Runs a case. Whether it passed, and whether the workers are still good."""
        began = time.monotonic()
        try:
            facts = function(pair)
        except CaseError as error:
            self._failed(group, name, function, str(error), time.monotonic() - began, stack=error.error["stack"])
            return False, True
        except Lost as lost:
            self._failed(group, name, function, str(lost), time.monotonic() - began, **lost.facts)
            pair.kill()
            return False, False
        except Exception as error:  # of the case itself: the other cases go on
            self._failed(group, name, function, f"{type(error).__name__}: {error}", time.monotonic() - began)
            return False, True
        skipped = isinstance(facts, dict) and facts.get("skipped")
        self.report.case(group.name, name, "skipped" if skipped else "passed", time.monotonic() - began, found=facts)
        return True, True

    def _failed(self, group, name, function, error, seconds, **more):
        self.report.say(f"FAILED {group.name}: {name}: {error[:300]}")
        self.report.case(group.name, name, "failed", seconds, error=error, **more)
        signature = (group.name, re.sub(r"0x[0-9a-f]+|\d+", "N", error)[:120])
        if signature not in self._seen:
            self._seen.add(signature)
            self.report.data["failures"].append({"group": group.name, "name": name, "error": error})
            self._again.append((group, name, function))

    def group(self, group, prepared=None):
        wanted = [case for case in group.cases if self.only is None or self.only in f"{group.name}: {case[0]}"]
        own = group.environment is not None
        if not wanted:
            return
        began, failures, passed = time.monotonic(), {}, 0
        pair = None
        for name, function in wanted:
            kind = re.sub(r"[\d,]+", "N", name)
            late = self.report.left < 15 or time.monotonic() - began > group.seconds * (3 if self.dry else 1)
            if late or failures.get(kind, 0) >= FAILURES:
                self.report.case(group.name, name, "skipped", 0, why="time" if late else f"{FAILURES} like it failed")
                continue
            try:
                if pair is None:
                    mine, prepared = prepared, None
                    pair = (mine or self.start(group.environment, group.early)).ready() if own else self.shared()
                    began = time.monotonic()
            except (CaseError, Lost) as error:
                self._failed(group, name, function, f"the workers do not start: {error}", 0, **getattr(error, "facts", {}))
                failures[kind] = FAILURES
                continue
            good, alive = self._one(pair, group, name, function)
            passed += good
            failures[kind] = failures.get(kind, 0) + (not good)
            if not alive:
                pair = None
                if not own:
                    self._pair = None
        if prepared is not None:
            prepared.kill()
        if own and pair is not None:
            if group.name != "owner dies":
                self._end(pair, group.name)
            pair.kill()
        took = time.monotonic() - began
        self.report.data["sections"][group.name] = round(took, 1)
        self.report.say(f"{group.name}: {passed} of {len(wanted)} passed in {took:.1f} s")

    def correctness(self, all_groups):
        """The workers of a group with an environment of its own start while the one before runs."""
        prepared = {}
        for index, group in enumerate(all_groups):
            following = all_groups[index + 1] if index + 1 < len(all_groups) else None
            if self.only is None and following is not None and following.environment is not None and self.report.left > 30:
                prepared[following.name] = self.start(following.environment, following.early)
            self.group(group, prepared.pop(group.name, None))
        for pair in prepared.values():
            pair.kill()

    # ---- failures, once more ----

    def again(self):
        """With UCX's log: its errors, what it says of CUDA, and its last lines."""
        fresh, self._again = self._again, []
        for group, name, function in fresh[: AGAIN - len(self._logged_cases)]:
            if self.report.left < 45:
                break
            entry = next(one for one in self.report.data["failures"] if (one["group"], one["name"]) == (group.name, name))
            entry["again"] = self.logged(function, group.environment, group.early)
            self.report.say(f"again, with a log: {group.name}: {name}: {entry['again']['outcome'][:200]}")
            self.report.save()
            self._logged_cases.append((group, name, function))

    def remedies(self):
        """Whether other settings help the first two that failed."""
        for group, name, function in self._logged_cases[:2]:
            entry = next(one for one in self.report.data["failures"] if (one["group"], one["name"]) == (group.name, name))
            entry["under"] = {}
            for remedy in REMEDIES:
                if self.report.left < 90:
                    return
                outcome = self.logged(function, {**(group.environment or {}), **remedy}, group.early, log={})["outcome"]
                entry["under"][str(remedy)] = outcome
                self.report.say(f"with {remedy}: {group.name}: {name}: {outcome[:200]}")
                self.report.save()

    def logged(self, function, environment=None, early=False, length=40, log=LOG):
        """A case in workers of its own: its outcome, and what they logged."""
        directory = tempfile.mkdtemp(prefix="ropeway-log-")
        pair = self.start({**(environment or {}), **log, "UCX_LOG_FILE": f"{directory}/%p.log"}, early)
        try:
            facts = function(pair.ready())
            outcome = f"passed {facts}"
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}"
        pair.kill()
        logs = {path.name: pick_lines(path.read_text(errors="replace"), length) for path in pair.logs()}
        return {"outcome": outcome, "logs": logs, "stderr": pair.stderr()}

    # ---- rates ----

    def rates(self, plan, into, pair, seconds, **key):
        """Measures for at most so many seconds. The workers that are good afterwards."""
        until = time.monotonic() + seconds
        failures = 0
        for what, function in plan:
            if self.report.left < 12 or time.monotonic() > until or failures >= 4:
                into.append({**what, **key, "skipped": "time" if failures < 4 else "failures before"})
                continue
            try:
                found = function(pair)
            except Exception as error:
                failures += 1
                found = {"error": str(error), **getattr(error, "facts", {})}
                self.report.case("rates", str({**what, **key}), "failed", 0, error=str(error))
                if isinstance(error, Lost):
                    pair.kill()
                    pair = self.start(pair.environment).ready()
            into.append({**what, **key, **found})
            if "us" in found:
                words = f"{found['us']['median']:12.1f} us {found['gb_per_s']:9.3f} GB/s, {found['runs']} runs"
                self.report.say(f"{' '.join(f'{v}' for v in {**what, **key}.values())}: {words} {found.get('path', '')}")
            self.report.save()
        return pair

    def variants(self):
        for environment in measure.VARIANTS:
            if self.report.left < 35:
                break
            try:
                pair = self.start(environment).ready()
            except (CaseError, Lost) as error:
                self.report.note(f"workers with {environment} do not start: {error}")
                continue
            pair = self.rates(measure.variant(self.dry), self.report.data["tuning"], pair, 12, environment=environment)
            pair.kill()

    def protocols(self):
        """How UCX moves the bytes, in its own words: its tables of protocols, for each direction."""
        size = 1 << 20 if self.dry else 64 << 20

        def each(pair):
            for source, target in measure.WAYS.values():
                measure.two(pair, source, target, size, 0.01)
            measure.two(pair, "cuda", "cuda", 4096, 0.01)
            return {}

        self.report.data["protocols"] = self.logged(each, length=150)
        self.report.save()


def pick_lines(text, length):
    lines = text.splitlines()
    table = [line for line in lines if re.match(r"(\[[^\]]*\]\s*)*[|+]", line)]
    bad = [line for line in lines if re.search(r" (ERROR|WARN|FATAL|DIAG) ", line)]
    cuda = [line for line in lines if "cuda" in line.lower() and line not in table]
    trimmed = [re.sub(r"^(\[[^\]]*\]\s*)*", "", line)[:240] for line in table]
    lines = [line for line in lines if line not in table]
    return {"lines": len(lines), "bad": bad[:length], "cuda": cuda[:length], "tables": trimmed[-6 * length :], "last": lines[-length:]}


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def perftest(report, prefix, dry):
    """UCX by itself, by its own program, in two processes."""
    program = os.path.join(prefix, "bin", "ucx_perftest")
    environment = {**os.environ, "LD_LIBRARY_PATH": f"{prefix}/lib:{os.environ.get('LD_LIBRARY_PATH', '')}"}
    memories = {"D2D": "cuda,cuda", "H2D": "host,cuda", "D2H": "cuda,host"}
    for (way, memory), (test, size, count) in [
        (item, test) for test in (("ucp_am_bw", 64 << 20, 30), ("ucp_get", 64 << 20, 30), ("ucp_am_lat", 4096, 2000)) for item in memories.items()
    ]:  # fmt: skip
        if report.left < 14:
            return
        common = [program, "-t", test, "-s", str(size), "-n", str(count), "-w", "3", "-m", "host" if dry else memory, "-p", str(free_port())]
        with tempfile.TemporaryFile() as output:
            server = subprocess.Popen(common, stdout=output, stderr=subprocess.STDOUT, env=environment)
            try:
                text = _client([*common, "127.0.0.1"], environment, server)
            finally:
                server.kill()
                server.wait(10)
        report.data["reference"].append({"program": " ".join(common[1:-2]), "way": way, "output": text[-900:]})
        report.save()


def _client(command, environment, server):
    """The server listens a moment after it has started: tries until it is there."""
    until = time.monotonic() + 10
    while True:
        text = diagnosis.run(command, within=8, environment=environment)
        refused = "onnect" in text and text.startswith("exit code")
        if not refused or time.monotonic() > until or server.poll() is not None:
            return text
        time.sleep(0.1)


def has_gpu():
    if not Path("/dev/nvidiactl").exists():
        return "there is no /dev/nvidiactl, so no NVIDIA driver"
    found = diagnosis.run(["nvidia-smi", "-L"])
    if "GPU 0" not in found:
        check = "import torch, sys; sys.exit(not torch.cuda.is_available())"
        if subprocess.run([sys.executable, "-c", check], timeout=120).returncode != 0:
            return f"nvidia-smi -L says: {found.strip()[:200]}, and torch finds no CUDA device"
    return None


def ucx_prefix():
    named = os.environ.get("ROPEWAY_UCX")
    if named:
        return named
    import importlib.util

    spec = importlib.util.find_spec("libucx")
    return spec.submodule_search_locations[0] if spec and spec.submodule_search_locations else None


def everything(run, report):
    """What tells most comes first."""
    all_groups = groups.make(run.dry, bool(report.data["workers"]["a"]["cupy"]))
    shared = [group for group in all_groups if group.environment is None]
    run.correctness(shared[: groups.FIRST])
    run.again()
    if run.only is None:
        run._pair = run.rates(measure.plan(run.dry), report.data["rates"], run.shared(), 100)
    run.correctness(shared[groups.FIRST :])
    run.correctness([group for group in all_groups if group.environment is not None])
    run.again()
    run.remedies()
    if run.only is None:
        further(run, report)
    run.end_shared()


def further(run, report):
    """What explains the rates."""
    if report.left > 40:
        run.protocols()
    if report.left > 30:
        run._pair = run.rates(measure.chunks(run.dry), report.data["tuning"], run.shared(), 35)
    prefix = ucx_prefix()
    if prefix and os.path.exists(os.path.join(prefix, "bin", "ucx_perftest")):
        perftest(report, prefix, run.dry)
    run.variants()


def main():
    parser = argparse.ArgumentParser(description="Tests and measures GPU memory.")
    parser.add_argument("result", help="the JSON file to write")
    parser.add_argument("--limit", type=float, default=330, help="seconds in all")
    parser.add_argument("--dry-run", action="store_true", help="memory of the host stands for that of a GPU")
    parser.add_argument("--only", help="cases whose 'group: name' has this text, and no rates")
    options = parser.parse_args()
    why = None if options.dry_run else has_gpu()
    if why is not None:
        print(f"test-cuda: skipped: {why}", flush=True)
        return 77
    report = Report(options.result, options.limit, options.dry_run)
    pair_module.deadline = time.monotonic() + options.limit
    run = Run(report, options.dry_run, options.only)
    pair = run.start()  # while the diagnosis is made
    report.data["diagnosis"] = diagnosis.collect(ucx_prefix())
    report.save()
    report.say(f"diagnosis made; GPU: {report.data['diagnosis']['gpus'].splitlines()[-1:]}")
    try:
        run._pair = pair.ready()
        report.data["workers"] = {**pair.facts, "ropeway": pair.a.call("describe")}
        report.say(f"workers: {report.data['workers']}")
        everything(run, report)
    except Exception as error:  # what is known so far must not be lost
        report.note(f"the run ended early: {traceback.format_exc()}; {getattr(error, 'facts', getattr(error, 'error', ''))}")
        report.case("harness", "runs to its end", "failed", 0, error=str(error), stderr=pair.stderr(6000))
    report.data["finished"] = not options.only
    report.save()
    report.say(f"{report.data['summary']}; all is in {options.result}")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
