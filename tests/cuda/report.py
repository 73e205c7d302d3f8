# SPDX-License-Identifier: Apache-2.0
"""The JSON that a run leaves, written anew after each case so that a time limit loses nothing; and progress lines."""

import json
import os
import time


class Report:
    """limit: seconds after which the run must be over."""

    def __init__(self, path, limit, dry):
        self._path = path
        self._began = time.monotonic()
        self._limit = limit
        self.data = {
            "schema": 1,
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "dry_run": dry,
            "limit_s": limit,
            "finished": False,
            "summary": {},
            "diagnosis": {},
            "workers": {},
            "failures": [],
            "rates": [],
            "tuning": [],
            "protocols": {},
            "reference": [],
            "notes": [],
            "sections": {},
            "cases": [],
        }
        self.save()

    @property
    def left(self):
        return self._limit - (time.monotonic() - self._began)

    @property
    def seconds(self):
        return round(time.monotonic() - self._began, 1)

    def say(self, text):
        print(f"[{self.seconds:6.1f} s] {text}", flush=True)

    def note(self, text):
        self.data["notes"].append(text)
        self.say(text)

    def case(self, group, name, outcome, seconds, **more):
        """outcome: passed, failed or skipped."""
        self.data["cases"].append({"group": group, "name": name, "outcome": outcome, "seconds": round(seconds, 3), **more})
        self.save()

    def save(self):
        counts = {}
        for case in self.data["cases"]:
            counts[case["outcome"]] = counts.get(case["outcome"], 0) + 1
        is_cuda = not self.data["dry_run"]
        good = counts.get("passed", 0) > 0 and not counts.get("failed") and self.data["finished"]
        self.data["summary"] = {
            "seconds": self.seconds,
            **counts,
            "cuda": "not tested: a dry run in host memory" if not is_cuda else "passed" if good else "not passed",
        }
        self.data["paths"] = self._paths()
        temporary = f"{self._path}.new"
        with open(temporary, "w") as file:
            json.dump(self.data, file, indent=1, default=str)
        os.replace(temporary, self._path)

    def _paths(self):
        """Of the cases that passed in each group: the transports to the peer, and how many went by them."""
        found: dict[str, dict[str, int]] = {}
        for case in self.data["cases"]:
            path = case["found"].get("path") if isinstance(case.get("found"), dict) else None
            if path is not None:
                counts = found.setdefault(case["group"], {})
                counts[path] = counts.get(path, 0) + 1
        return found

    @property
    def failed(self):
        return [case for case in self.data["cases"] if case["outcome"] == "failed"]
