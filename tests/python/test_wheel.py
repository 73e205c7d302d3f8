# SPDX-License-Identifier: Apache-2.0
"""The wheel itself, its types, and the Pythons that it runs on."""

import email
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import ropeway

WHEEL = os.environ.get("ROPEWAY_WHEEL")
needs_wheel = pytest.mark.skipif(not WHEEL, reason="ROPEWAY_WHEEL names no wheel")


@needs_wheel
def test_it_needs_pydantic_and_nothing_else():
    with zipfile.ZipFile(WHEEL) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(wheel.read(name))
    needs = {re.match("[a-z0-9-]+", need)[0]: re.search("extra == .([a-z]+)", need) for need in metadata.get_all("Requires-Dist")}
    assert {name: extra and extra[1] for name, extra in needs.items()} == {
        "pydantic": None, "libucx-cu12": "ucx", "nixl": "nixl"
    }  # fmt: skip
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["Version"] == ropeway.__version__


@needs_wheel
def test_it_is_linked_with_no_ucx(tmp_path):
    with zipfile.ZipFile(WHEEL) as wheel:
        assert not [name for name in wheel.namelist() if "libuc" in name]
        extension = wheel.extract("ropeway/_core.abi3.so", tmp_path)
    needs = subprocess.run(["readelf", "-d", extension], capture_output=True, text=True, check=True).stdout
    assert "libc.so" in needs and "libuc" not in needs


@needs_wheel
def test_it_has_one_extension_of_the_stable_abi_and_types():
    assert "-cp310-abi3-manylinux_" in WHEEL
    with zipfile.ZipFile(WHEEL) as wheel:
        names = wheel.namelist()
    assert [name for name in names if name.startswith("ropeway/_core")] == ["ropeway/_core.abi3.so", "ropeway/_core.pyi"]
    assert "ropeway/py.typed" in names


def pythons():
    """The one that runs this, and the oldest and the newest of the other releases that are found."""
    found = []
    for minor in {10, 11, 12, 13, 14} - {sys.version_info.minor}:
        path = shutil.which(f"python3.{minor}")
        if path and subprocess.run([path, "-c", "import venv, ensurepip"], capture_output=True).returncode == 0:
            found.append(path)
    return list(dict.fromkeys([sys.executable, *found[:1], *found[-1:]]))


@needs_wheel
@pytest.mark.parametrize("extra", ["", "[ucx]"], ids=["alone", "ucx"])
@pytest.mark.parametrize("base", pythons() if WHEEL else [sys.executable], ids=os.path.basename)
def test_it_runs_in_a_bare_environment(tmp_path, base, extra):
    python = tmp_path / "bin" / "python"
    subprocess.run([base, "-m", "venv", "--without-pip", tmp_path], check=True)
    pip = [sys.executable, "-m", "pip", "--python", python]
    subprocess.run([*pip, "install", "--quiet", "--no-input", WHEEL + extra], check=True, stdin=subprocess.DEVNULL)
    program = """
import asyncio, logging, sys, ropeway, ropeway.nixl_connect as connect
if "mute" not in sys.argv:
    logging.basicConfig(format="%(levelname)s %(message)s")
async def drop_in():
    one, other, room = connect.Connector(), connect.Connector(), bytearray(5)
    with await one.create_readable(connect.Descriptor(b"again")) as passive:
        with await other.begin_read(passive.metadata(), connect.Descriptor(room)) as active:
            await active.wait_for_completion()
    return bytes(room)
with ropeway.Connector() as connector:
    target = bytearray(5)
    passive = connector.create_readable(b"hello")
    connector.begin_read(passive.metadata, target).wait(30)
    with connector.offer(b"bytes") as offer:
        print(bytes(target), connector.fetch(offer.metadata).wait(30), asyncio.run(drop_in()))
assert not {"numpy", "torch", "cupy"} & sys.modules.keys()
"""

    def run(*arguments, **variables):
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **variables}
        return subprocess.run([python, "-I", "-c", program, *arguments], capture_output=True, text=True, cwd=tmp_path, env=environment)

    done = run("mute")
    assert done.stdout == "b'hello' bytearray(b'bytes') b'again'\n" and done.stderr == ""
    done = run()
    warnings = done.stderr.splitlines()
    if not extra and warnings:  # else the system has a UCX
        assert len(warnings) == 1
        assert warnings[0].startswith("WARNING stock NIXL peers can't reach this connector: UCX 1.22 or newer is needed, ")
        assert "pip install 'ropeway[ucx]'" in warnings[0]
        asked = run(ROPEWAY_INTEROP="1")
        assert asked.returncode != 0 and "UCX 1.22 or newer is needed" in asked.stderr
    assert done.returncode == 0
    if extra:
        assert warnings == []


PACKAGE = Path(ropeway.__file__).parent


def mypy(*arguments, directory):
    pytest.importorskip("mypy")
    done = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, cwd=directory)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_is_typed_strictly(tmp_path):
    mypy("mypy", "--strict", "--cache-dir", str(tmp_path), "-p", "ropeway", directory=tmp_path)


def test_the_stub_of_the_extension_fits_it(tmp_path):
    mypy("mypy.stubtest", "--ignore-missing-stub", "ropeway._core", directory=tmp_path)


def test_a_program_that_uses_the_package_is_checked_by_its_types(tmp_path):
    (tmp_path / "program.py").write_text(
        """
import asyncio
import ropeway
import ropeway.nixl_connect as connect
from typing_extensions import assert_type

async def main() -> None:
    async with ropeway.Connector(deadline=5) as connector:
        room = bytearray(5)
        passive = connector.create_readable(b"hello")
        assert_type(await connector.begin_read(passive.metadata, room), bytearray)
        assert_type(passive.status, ropeway.OperationStatus)
        assert_type(passive.progress.done, int)
    worker = connect.Connector("worker", interop=False)
    with await worker.create_readable([connect.Descriptor(b"hello")]) as operation:
        assert_type(operation.metadata(), connect.RdmaMetadata)
        with await worker.begin_read(operation.metadata(), connect.Descriptor(bytearray(5))) as read:
            assert_type(read, connect.ReadOperation)
            await read.wait_for_completion()
            assert_type(read.results(), list[connect.Descriptor])
        with worker.begin_read(connect.Descriptor(bytearray(5)), operation.metadata()) as read:
            assert_type(read, connect.ReadOperation)
    with worker.create_writable(connect.Descriptor(bytearray(5))) as sink:
        assert_type(sink, connect.WritableOperation)
        write = asyncio.create_task(worker.begin_write([connect.Descriptor(b"hello")], sink.metadata()))
        assert_type(await write, connect.WriteOperation)
        assert_type(await asyncio.wait_for(worker.begin_write(sink.metadata(), connect.Descriptor(b"hello")), 5), connect.WriteOperation)
        assert_type(await sink, connect.WritableOperation)

asyncio.run(main())
"""
    )
    mypy("mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "program.py", directory=tmp_path)
