# SPDX-License-Identifier: Apache-2.0
"""Programs that import dynamo.nixl_connect, unchanged."""

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, sys
import dynamo.nixl_connect as connect
from dynamo.nixl_connect import Descriptor
import dynamo.nixl_connect

async def main():
    one, other = connect.Connector(), connect.Connector()
    target = bytearray(5)
    with await one.create_readable(Descriptor(b"hello")) as passive:
        with await other.begin_read(passive.metadata(), Descriptor(target)) as active:
            await active.wait_for_completion()
        await passive.wait_for_completion()
    print(target.decode(), connect.__name__, sys.argv[1:], __name__)

if __name__ == "__main__":
    asyncio.run(main())
"""
EXPECTED = "hello ropeway.nixl_connect ['--flag', 'x'] __main__\n"


def run(directory, *arguments):
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=directory)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(params=["alone", "beside another dynamo"])
def directory(request, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    if request.param != "alone":
        package = tmp_path / "dynamo" / "nixl_connect"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("raise ImportError('the stock module')")
        (tmp_path / "dynamo" / "runtime.py").write_text("answer = 42")
    return tmp_path


def test_a_program_runs_unchanged(directory):
    assert run(directory, "-m", "ropeway.dropin", "program.py", "--flag", "x") == (0, EXPECTED, "")


def test_a_module_runs_unchanged(directory):
    assert run(directory, "-m", "ropeway.dropin", "-m", "program", "--flag", "x") == (0, EXPECTED, "")


def test_install_comes_before_the_import(directory):
    text = "import ropeway.nixl_connect as n; n.install(); import dynamo.nixl_connect as d; assert d is n; print('same')"
    assert run(directory, "-c", text) == (0, "same\n", "")


def test_the_rest_of_dynamo_stays_importable(tmp_path):
    (tmp_path / "dynamo").mkdir()
    (tmp_path / "dynamo" / "runtime.py").write_text("answer = 42")
    text = "import ropeway.nixl_connect as n; n.install(); import dynamo.nixl_connect, dynamo.runtime as r; print(r.answer)"
    assert run(tmp_path, "-c", text) == (0, "42\n", "")


def test_without_a_program_it_tells_how_it_is_used(tmp_path):
    code, out, err = run(tmp_path, "-m", "ropeway.dropin")
    assert (code, out) == (2, "") and err.startswith("usage: python -m ropeway.dropin")


def test_an_error_of_the_program_is_its_own(tmp_path):
    (tmp_path / "program.py").write_text("raise SystemExit(7)")
    assert run(tmp_path, "-m", "ropeway.dropin", "program.py")[0] == 7
