# SPDX-License-Identifier: Apache-2.0
"""Runs a file's tests, and reports each on a line of its own as cmocka does: tests/rdma/run counts those lines."""
from __future__ import annotations

import sys
import unittest
from types import TracebackType
from typing import Type, Union

Failure = Union[tuple[Type[BaseException], BaseException, TracebackType], tuple[None, None, None]]


def say(word: str, test: unittest.TestCase, why: str = "") -> None:
    # A class that can't be set up stands here for its tests, and has no method.
    name = getattr(test, "_testMethodName", "") or test.id().replace(" ", "-")
    print(f"[ {word:^8} ] {name}{why}", flush=True)


class Result(unittest.TestResult):
    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        say("RUN", test)

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        say("OK", test)

    def addFailure(self, test: unittest.TestCase, err: Failure) -> None:
        super().addFailure(test, err)
        print(self.failures[-1][1])
        say("FAILED", test)

    def addError(self, test: unittest.TestCase, err: Failure) -> None:
        super().addError(test, err)
        print(self.errors[-1][1])
        say("FAILED", test)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        say("SKIPPED", test, f": {reason}")


def main() -> None:
    result = Result()
    unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"]).run(result)
    sys.exit(0 if result.wasSuccessful() and result.testsRun > 0 else 1)
