# SPDX-License-Identifier: Apache-2.0
"""Lifetimes: of memory, operations, connectors and the interpreter; and what an import costs."""

import asyncio
import gc
import os
import re
import subprocess
import sys
import time
import weakref

import numpy as np
import pytest
from conftest import LIMIT, run_program

import ropeway


def open_files():
    return len(os.listdir("/proc/self/fd"))


def test_ten_thousand_operations_leave_nothing_behind(pair):
    async def run(rounds):
        for _ in range(rounds):
            target = bytearray(64)
            passive = pair[0].create_readable(b"x" * 64)
            await pair[1].begin_read(passive.metadata, target)
            await passive
            passive.cancel()

    def sizes():
        gc.collect()
        return open_files(), len(gc.get_objects()), sys.getrefcount(None)

    asyncio.run(run(100))
    before = sizes()
    asyncio.run(run(5000))
    after = sizes()
    assert after[0] == before[0]
    assert abs(after[1] - before[1]) < 200
    if sys.version_info < (3, 12):  # None counts its references there: a lost one for each operation would show
        assert abs(after[2] - before[2]) < 1000


def test_closed_connectors_leave_no_descriptors_behind():
    def one():
        with ropeway.Connector() as connector:
            connector.create_readable(b"x")

    one()
    before = open_files()
    for _ in range(5):
        one()
    assert open_files() == before


class Owner(np.ndarray):
    """An array that a weak reference can watch."""


def test_a_dropped_live_operation_is_cancelled_and_its_memory_freed(pair):
    array = np.zeros(1000).view(Owner)
    gone = weakref.ref(array)
    operation = pair[0].create_readable(array)
    metadata = operation.metadata
    del array
    assert gone() is not None
    del operation
    deadline = time.monotonic() + LIMIT
    while gone() is not None and time.monotonic() < deadline:
        time.sleep(0.001)
    assert gone() is None
    with pytest.raises(ropeway.PeerError):
        pair[1].begin_read(metadata, np.zeros(1000)).wait(LIMIT)


def test_memory_is_held_until_the_end_and_not_longer(pair):
    array = np.zeros(1000).view(Owner)
    gone = weakref.ref(array)
    with pair[0].create_writable(ropeway.Descriptor(array)) as operation:
        assert operation.status is ropeway.OperationStatus.INITIALIZED
        del array
        gc.collect()
        assert gone() is not None
    assert operation.status is ropeway.OperationStatus.CANCELLED
    del operation
    assert gone() is None


def test_memory_is_free_when_one_that_has_ended_is_let_go_of(pair):
    """At once, whether or not the library's thread has been told; a buffer that is exported can't grow."""
    for _ in range(300):
        room, offered = bytearray(64), bytearray(64)
        passive = pair[0].create_readable(offered)
        pair[1].begin_read(passive.metadata, room).wait(LIMIT)
        room.append(1)
        passive.wait(LIMIT)
        del passive
        offered.append(1)
        operation = pair[0].create_writable(room)
        operation.cancel()
        del operation
        room.append(1)


def test_the_extension_itself_holds_the_memory(pair):
    """Not only the Python objects around it: those may go while bytes can still land."""
    array = np.zeros(1000).view(Owner)
    gone = weakref.ref(array)
    places = [ropeway.Descriptor.from_pointer(array.ctypes.data, array.nbytes).view]
    operation = pair[0]._core.start(1, places, [array], None, None, -1, -1, 0, None)
    del array
    assert gone() is not None
    operation.release()
    assert gone() is None


def test_an_operation_outlives_the_names_of_its_connector(peer):
    operation = ropeway.Connector().create_readable(b"\0\7\16")
    gc.collect()
    assert peer.call("read", eval(operation.metadata)) == [True]
    assert operation.wait(LIMIT) == b"\0\7\16"


LIVE = """
import asyncio, threading, ropeway, time
one, other = ropeway.Connector(), ropeway.Connector()
passive = one.create_readable(bytes(1 << 20))
active = other.begin_read(one.create_readable(bytes(64 << 20)).metadata, bytearray(64 << 20))
def wait(operation):
    try:
        operation.wait()
    except ropeway.RopewayError:
        pass
waiting = threading.Thread(target=wait, args=(passive,), daemon=True)
waiting.start()
"""


@pytest.mark.parametrize("end", ["", "import sys; sys.exit(0)", "del one, other", "del passive, active"])
def test_the_interpreter_ends_cleanly_with_live_operations(end):
    run_program(LIVE + end)


def test_an_awaiting_loop_is_left_by_an_exception():
    program = """
import asyncio, gc, ropeway
async def main():
    tasks = [asyncio.create_task(connector.create_readable(b"x")._ended()) for _ in range(10)]
    await asyncio.sleep(0)
connector = ropeway.Connector()
asyncio.run(main())
asyncio.run(main())
gc.collect()  # asyncio.run() of CPython 3.12 and later leaves the cancelled frames in a cycle
print(connector.stats()["operations_live"])
"""
    assert run_program(program) == "0\n"


def test_a_child_of_a_fork_gets_a_clear_error(pair):
    program = """
import os, ropeway, ropeway.nixl_connect as connect, asyncio
connector = ropeway.Connector()
operation = connector.create_readable(b"x")
drop_in = connect.Connector()
asyncio.run(drop_in._create_connection())
pid = os.fork()
if pid == 0:
    try:
        connector.create_readable(b"x")
    except ropeway.RopewayError as error:
        print(error.code.name)
    try:
        operation.wait()
    except ropeway.RopewayError as error:
        print(error.code.name)
    try:
        asyncio.run(operation._ended())
    except ropeway.RopewayError as error:
        print(error.code.name)
    try:
        ropeway.Connector()
    except ropeway.RopewayError as error:
        print(error.code.name)
    del operation
else:
    os.waitpid(pid, 0)
    print(operation.status.name)
"""
    expected = ["FORKED", "FORKED", "FORKED", "FORKED", "INITIALIZED"]
    # CPython 3.12 and later warn of threads.
    assert run_program(program, "-W", "ignore::DeprecationWarning").split() == expected


def test_a_subinterpreter_is_told():
    program = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
number = interpreters.create()
interpreters.run_string(number, '''
import ropeway
try:
    ropeway.Connector()
except ImportError as error:
    print(error)
''')
interpreters.destroy(number)
"""
    assert re.search("main interpreter|does not support loading in subinterpreters", run_program(program, "-I"))


def test_what_an_import_costs(capsys):
    program = """
import sys, time
start = time.perf_counter()
import ropeway
middle = time.perf_counter()
import ropeway.nixl_connect
end = time.perf_counter()
assert not {"torch", "numpy", "cupy", "ropeway._core"} & sys.modules.keys()
print(middle - start, end - start)
"""
    # Each of them takes longer than all of the package's own files.
    run_program(
        """
import sys
before = set(sys.modules)
import ropeway
with ropeway.Connector() as one, one.create_readable(b"x") as offer, one.begin_read(offer.metadata, bytearray(1)) as read:
    read.wait(30)
assert not {"typing", "logging", "re", "json", "asyncio"} & (sys.modules.keys() - before)
"""
    )
    run_program(program)
    times = sorted(tuple(map(float, run_program(program).split())) for _ in range(3))
    with capsys.disabled():
        print("\nimport without torch: ropeway %.3f s, ropeway.nixl_connect %.3f s" % times[0])


def test_ucx_of_a_users_choice(tmp_path):
    import libucx

    prefix = os.path.dirname(libucx.__file__)
    program = "import ropeway; print(*(ropeway.describe()['ucx'][key] for key in ('version', 'library', 'why')))"
    for choice in (prefix, "wheel"):
        said = run_program(program, env=dict(os.environ, ROPEWAY_UCX=choice))
        assert said.startswith("1.") and f"{prefix}/lib/libucp.so.0 ROPEWAY_UCX asks for it" in said
    environment = {key: value for key, value in os.environ.items() if key != "ROPEWAY_UCX"}
    assert "it is in the libucx wheel" in run_program(program, env=environment)
    done = subprocess.run(
        [sys.executable, "-c", program], env=dict(os.environ, ROPEWAY_UCX=str(tmp_path)), capture_output=True, text=True
    )
    assert done.returncode != 0 and str(tmp_path) in done.stderr


@pytest.mark.parametrize("interop", [False, True])
def test_metadata_invites_stock_peers_only_when_asked(interop):
    import base64
    import json
    import zlib

    with ropeway.Connector(interop=interop) as connector, connector.create_readable(b"x") as operation:
        packed = json.loads(operation.metadata)["nixl_metadata"]
        agent = zlib.decompress(base64.b64decode(packed.removeprefix("b64:")))
    # The connection record of NIXL's UCX backend.
    assert (b"t" + (3).to_bytes(8, "little") + b"UCX|" in agent) is interop


def test_the_owner_sees_the_trace_of_whoever_comes():
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with ropeway.Connector() as owner, ropeway.Connector() as user:
        passive = owner.create_readable(b"x" * 64)
        assert passive.trace == ""
        with user.begin_read(passive.metadata, bytearray(64), trace=trace) as active:
            active.wait(LIMIT)
            passive.wait(LIMIT)
            assert active.trace == passive.trace == trace
        passive.release()
        assert passive.trace == active.trace == trace
        other = owner.create_writable(bytearray(64))
        with pytest.raises(ropeway.ArgumentError, match="trace"):
            user.begin_write(b"x" * 64, other.metadata, trace="\n")
        other.release()
