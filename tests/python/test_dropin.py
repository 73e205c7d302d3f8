# SPDX-License-Identifier: Apache-2.0
"""Programs that import dynamo.nixl_connect, unchanged."""

import os
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


CHILDREN = """
import multiprocessing, subprocess, sys

def name():
    import dynamo.nixl_connect as connect
    return connect.Connector.__module__

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(name))
    command = [sys.executable, "-c", "import dynamo.nixl_connect as c; print(c.Connector.__module__)"]
    print(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
"""


def test_processes_that_the_program_starts_get_it_too(tmp_path):
    stock = tmp_path / "site" / "dynamo" / "nixl_connect"
    stock.mkdir(parents=True)
    (stock / "__init__.py").write_text("raise ImportError('the stock module')")
    (tmp_path / "program.py").write_text(CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "ropeway.dropin", "program.py"],
        capture_output=True, text=True, cwd=tmp_path, env=dict(os.environ, PYTHONPATH=str(tmp_path / "site")),
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("ropeway.nixl_connect\nropeway.nixl_connect\n", "")


def test_the_program_finds_its_neighbours_and_not_those_of_the_working_directory(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "program.py").write_text("import neighbour; print(neighbour.__file__)")
    (tmp_path / "sub" / "neighbour.py").write_text("")
    (tmp_path / "neighbour.py").write_text("raise ImportError('the wrong one')")
    expected = str(tmp_path / "sub" / "neighbour.py") + "\n"
    assert run(tmp_path, "-m", "ropeway.dropin", "sub/program.py") == (0, expected, "")


def test_install_that_comes_too_late_warns(tmp_path):
    stock = tmp_path / "dynamo" / "nixl_connect"
    stock.mkdir(parents=True)
    (stock / "__init__.py").write_text("")
    text = "import dynamo.nixl_connect, ropeway.nixl_connect as n; n.install(); n.install()"
    code, out, err = run(tmp_path, "-W", "always", "-c", text)
    assert (code, out) == (0, "") and err.count("was imported before install()") == 1


def test_a_program_that_is_not_there(tmp_path):
    code, out, err = run(tmp_path, "-m", "ropeway.dropin", "missing.py")
    assert (code, out) == (2, "") and "missing.py" in err and "Traceback" not in err


def test_without_a_program_it_tells_how_it_is_used(tmp_path):
    code, out, err = run(tmp_path, "-m", "ropeway.dropin")
    assert (code, out) == (2, "") and err.startswith("usage: python -m ropeway.dropin")


def test_an_error_of_the_program_is_its_own(tmp_path):
    (tmp_path / "program.py").write_text("raise SystemExit(7)")
    assert run(tmp_path, "-m", "ropeway.dropin", "program.py")[0] == 7
