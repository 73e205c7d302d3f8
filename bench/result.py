# SPDX-License-Identifier: Apache-2.0
"""A result file, read: the figures of a case and a peer as medians over the rounds."""

import json
import statistics

KIB, MIB = 1 << 10, 1 << 20


class Entry:
    """One case with one peer."""

    def __init__(self, about):
        self.about = about
        self.rounds = about["rounds"]
        self.failed = about.get("failed")

    def __getattr__(self, name):
        return self.about[name]

    def values(self, key):
        return [one[key] for one in self.rounds if one.get(key) is not None]

    def median(self, key):
        values = self.values(key)
        return statistics.median(values) if values else None

    def range(self, key):
        values = self.values(key)
        return (min(values), max(values)) if values else None

    @property
    def bytes(self):
        return self.about["size"] * self.about["descriptors"]

    def operations_per_second(self):
        each = self.median("each_us")
        return 1e6 / each if each else None

    def bytes_per_second(self):
        rate = self.operations_per_second()
        return rate * self.bytes if rate else None


class Result:
    def __init__(self, path):
        with open(path) as file:
            self.head = json.load(file)
        self.entries = {(one["case"], one["peer"]): Entry(one) for one in self.head["results"]}
        self.peers = self.head["peers"]

    def get(self, case, peer):
        """None where it was not measured, or failed before a round was whole."""
        entry = self.entries.get((case, peer))
        return entry if entry and entry.rounds else None

    def title(self, peer):
        return self.peers[peer]["title"]

    def some(self, **wanted):
        """The entries that match, in the order in which they were measured."""
        return [
            entry
            for entry in self.entries.values()
            if all(entry.about.get(key) == value for key, value in wanted.items())
        ]

    def python(self, peer, **wanted):
        """The figures of bench/python.py that match, one dictionary a round."""
        entry = self.get("python-python-read-4KiB", peer)
        lines = [line for one in entry.rounds for line in one["cases"]] if entry else []
        return [line for line in lines if all(line.get(key) == value for key, value in wanted.items())]


def compact(head):
    """The text of a result file: one line an entry, four digits a figure."""

    def rounded(value):
        if isinstance(value, float):
            return float(f"{value:.4g}")
        if isinstance(value, dict):
            return {key: rounded(one) for key, one in value.items()}
        return [rounded(one) for one in value] if isinstance(value, list) else value

    def text(value):
        return json.dumps(rounded(value), separators=(", ", ": "))

    lines = [f" {json.dumps(key)}: {text(value)}," for key, value in head.items() if key != "results"]
    entries = ",\n".join("  " + text(one) for one in head["results"])
    return "{\n" + "\n".join(lines) + '\n "results": [\n' + entries + "\n ]\n}\n"
