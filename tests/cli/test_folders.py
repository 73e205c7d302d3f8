# SPDX-License-Identifier: Apache-2.0
"""The folders of the command know only themselves and those below them."""
import pathlib
import re
import unittest

CLI = pathlib.Path(__file__).resolve().parents[2] / "cli"
# What a folder may include besides itself; cli/meson.build states the same order.
ALLOWED = {
    "common": set(),
    "channel": {"common"},
    "move": {"common", "channel"},
    "serve": {"common", "channel"},
    "perf": {"common"},
    "doctor": {"common", "perf"},
    ".": {"common"},
}


class Folders(unittest.TestCase):
    def test_a_folder_includes_itself_and_those_below_it(self):
        seen = 0
        for path in sorted(CLI.rglob("*.[ch]")):
            folder = str(path.parent.relative_to(CLI))
            for name in re.findall(r'^#include "(.+)"$', path.read_text(), re.MULTILINE):
                with self.subTest(file=path.name, includes=name):
                    seen += 1
                    target, slash, _ = name.partition("/")
                    if slash:
                        self.assertIn(target, ALLOWED[folder])
                    self.assertTrue((CLI / (name if slash else f"{folder}/{name}")).is_file())
        self.assertGreater(seen, 100)


if __name__ == "__main__":
    unittest.main()
