# SPDX-License-Identifier: Apache-2.0
"""Runs a file's tests, and reports each on a line of its own as cmocka does: tests/rdma/run counts those lines."""
import sys
import unittest


class Result(unittest.TextTestResult):
    def say(self, word: str, test: unittest.TestCase, why: str = "") -> None:
        print(f"[ {word:^8} ] {test._testMethodName}{why}", flush=True)

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self.say("RUN", test)

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        self.say("OK", test)

    def addFailure(self, test, error) -> None:
        super().addFailure(test, error)
        self.say("FAILED", test)

    def addError(self, test, error) -> None:
        super().addError(test, error)
        self.say("FAILED", test)

    def addSkip(self, test, reason) -> None:
        super().addSkip(test, reason)
        self.say("SKIPPED", test, f": {reason}")


def main() -> None:
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    done = unittest.TextTestRunner(sys.stdout, resultclass=Result, verbosity=0).run(suite)
    sys.exit(0 if done.wasSuccessful() else 1)
