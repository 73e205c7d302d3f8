# SPDX-License-Identifier: Apache-2.0
"""Small inputs that once crashed, lost something, or were answered by another error's sentence."""

import asyncio
import ctypes
import gc
import json
import math
import os
import signal
import sys
import warnings
import weakref

import numpy as np
import pytest
from conftest import LIMIT, run_program, until_none_is_live

import ropeway
import ropeway.nixl_connect as connect

try:
    import torch
except ImportError:
    torch = None
needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed")


# ---- buffers ----


@pytest.mark.parametrize(
    "make", [lambda: ctypes.create_string_buffer(10), lambda: (ctypes.c_int * 10)(), lambda: ((ctypes.c_int * 3) * 4)(),
             lambda: ctypes.c_double(0), lambda: (ctypes.c_char * 0)()],
)  # fmt: skip
def test_memory_of_ctypes_is_read_and_filled(pair, make):
    source, room = make(), make()
    size = ctypes.sizeof(source)
    ctypes.memmove(ctypes.addressof(source), bytes(range(1, size + 1)), size)
    with pair[0].create_readable(source) as passive:
        pair[1].begin_read(passive.metadata, room).wait(LIMIT)
    assert bytes(room) == bytes(range(1, size + 1))
    with pair[0].create_writable(room) as passive:
        pair[1].begin_write(bytes(size), passive.metadata).wait(LIMIT)
    assert bytes(room) == bytes(size)


@pytest.mark.parametrize("data", [b"1234", None, 5, (1,), ("x", False)])
def test_an_array_interface_without_an_address_is_refused(pair, data):
    class Shows:
        __array_interface__ = {"version": 3, "shape": (4,), "typestr": "|u1", "data": data}

    with pytest.raises(ropeway.ArgumentError, match="array interface of a Shows gives"):
        pair[0].create_readable(Shows())


# ---- order, and which call ----


def test_metadata_and_memory_in_either_order(pair):
    room = bytearray(5)
    for change in (lambda text: text, lambda text: text.encode(), lambda text: json.loads(text)):
        for data in (room, np.frombuffer(room, np.uint8), [room]):
            room[:] = bytes(5)
            with pair[0].create_readable(b"hello") as passive:
                pair[1].begin_read(data, change(passive.metadata)).wait(LIMIT)
            assert room == b"hello"
            room[:] = bytes(5)
            with pair[0].create_readable(b"hello") as passive:
                pair[1].begin_read(change(passive.metadata), data).wait(LIMIT)
            assert room == b"hello"
    for data in (b"HELLO", np.frombuffer(b"HELLO", np.uint8), [bytearray(b"HELLO")]):
        room[:] = bytes(5)
        with pair[0].create_writable(room) as passive:
            pair[1].begin_write(passive.metadata, data).wait(LIMIT)
        assert room == b"HELLO"
    with pair[0].create_writable(room) as passive:
        pair[1].begin_write(b"bytes", passive.metadata.encode()).wait(LIMIT)
    assert room == b"bytes"


def test_metadata_of_the_other_kind_names_the_right_call(pair):
    with pair[0].offer(b"x") as offer, pair[0].create_readable(b"x") as passive:
        for begin in (lambda: pair[1].begin_read(offer.metadata, bytearray(1)), lambda: pair[1].begin_write(b"x", offer.metadata)):
            with pytest.raises(ropeway.ArgumentError, match=r"metadata of offer\(\).*fetch\(\)"):
                begin()
        with pytest.raises(ropeway.ArgumentError, match=r"metadata of create_readable\(\).*begin_read\(\)"):
            pair[1].fetch(passive.metadata)
        assert pair[1].fetch(offer.metadata).wait(LIMIT) == b"x"


@pytest.mark.parametrize("limit", [-1, math.inf, math.nan, 1e30])
def test_limits_of_time_that_are_none(pair, limit):
    for call in (lambda: pair[0].create_readable(b"x", deadline=limit), lambda: ropeway.Connector(stall=limit)):
        with pytest.raises(ValueError, match="a time limit is"):
            call()


# ---- operations that are let go of ----


@pytest.fixture
def caught():
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield found


def check_warning(found, line):
    gc.collect()
    [warning] = found
    assert warning.category is ResourceWarning and warning.filename == __file__ and warning.lineno == line
    assert "was let go of while it was live" in str(warning.message)


def line_here():
    return sys._getframe(1).f_lineno


def test_an_operation_that_is_let_go_of_is_cancelled_with_a_warning_of_its_line(pair, caught):
    def answer():
        return pair[0].create_readable(b"x").metadata

    assert answer()
    check_warning(caught, answer.__code__.co_firstlineno + 1)
    assert until_none_is_live(pair[0].stats)["operations_cancelled"] == 1


def test_the_peer_of_one_is_told_that_its_owner_let_go_of_it(pair, caught):
    metadata = pair[0].create_readable(b"x").metadata
    until_none_is_live(pair[0].stats)
    with pytest.raises(ropeway.PeerError, match="its owner cancelled it or let go of it") as error:
        pair[1].begin_read(metadata, bytearray(1)).wait(LIMIT)
    assert error.value.code == ropeway.ErrorCode.KEY_FINISHED


def test_so_is_one_of_the_drop_in(caught):
    connector = connect.Connector()
    assert connector.create_readable(connect.Descriptor(b"x")).metadata(); line = line_here()  # noqa: E702
    check_warning(caught, line)


def test_so_is_an_active_one_of_the_drop_in_that_nobody_awaits(peer, caught):
    metadata = connect.RdmaMetadata.model_validate(peer.call("readable", 5))
    os.kill(peer.process.pid, signal.SIGSTOP)  # so that it is live when it is let go of
    connector = connect.Connector()
    connector.begin_read(metadata, connect.Descriptor(bytearray(5))); line = line_here()  # noqa: E702
    check_warning(caught, line)


def test_so_is_one_that_asyncio_lets_go_of(caught):
    async def main():
        connector = connect.Connector()
        operation = connector.create_readable(connect.Descriptor(b"x")); line = line_here()  # noqa: E702
        task = asyncio.create_task(operation)
        del operation
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        await asyncio.sleep(0)
        return line

    check_warning(caught, asyncio.run(main()))


def test_operations_that_end_or_are_given_back_warn_of_nothing(pair, caught):
    async def main():
        room = bytearray(1)
        passive = pair[0].create_readable(b"x")
        waiting = asyncio.create_task(passive._ended())
        metadata = passive.metadata
        del passive
        await pair[1].begin_read(metadata, room)
        await waiting
        pair[0].create_readable(b"x").release()
        with pair[0].create_readable(b"x"):
            pass
        operation = pair[0].create_readable(b"x")
        operation.cancel()
        with pytest.raises(ropeway.OperationCancelled):
            await operation

    asyncio.run(main())
    gc.collect()
    assert caught == []


def test_live_operations_at_the_end_of_the_interpreter_warn_of_nothing():
    run_program("import ropeway; one = ropeway.Connector(); kept = one.create_readable(bytes(100))", "-W", "error")


def test_an_await_without_a_loop_says_what_is_supported(pair):
    with pair[0].create_readable(b"x") as operation:
        with pytest.raises(RuntimeError, match="asyncio and uvloop"):
            operation.__await__().send(None)


# ---- tensors that are given other memory ----


@needs_torch
def test_the_memory_of_a_live_operation_is_held_whatever_becomes_of_its_tensor(pair):
    tensor = torch.zeros(1 << 20, dtype=torch.uint8)
    address = tensor.data_ptr()
    passive = pair[0].create_writable(tensor)
    tensor.data = torch.zeros(1, dtype=torch.uint8)
    others = [np.zeros(1 << 20, np.uint8) for _ in range(4)]
    assert all(other.ctypes.data != address for other in others)
    pair[1].begin_write(b"\1" * (1 << 20), passive.metadata).wait(LIMIT)
    passive.wait(LIMIT)
    assert not any(other.any() for other in others)
    assert ctypes.string_at(address, 4) == b"\1" * 4


@needs_torch
@pytest.mark.parametrize("kind", [ropeway.Descriptor, connect.Descriptor])
def test_a_descriptor_whose_tensor_was_given_other_memory_is_refused(kind):
    tensor = torch.zeros(100)
    descriptor = kind(tensor)
    connector = connect.Connector() if kind is connect.Descriptor else ropeway.Connector()
    with connector.create_writable(descriptor):
        pass
    tensor.data = torch.zeros(50)
    with pytest.raises(ropeway.ArgumentError, match="other memory than when that was made"):
        connector.create_writable(descriptor)
    tensor = torch.zeros(10)
    descriptor = kind(tensor)
    tensor.resize_(100_000)
    with pytest.raises(ropeway.ArgumentError, match="other memory than when that was made"):
        connector.create_writable(descriptor)


# ---- offers ----


def fetched(pair, data, **options):
    with pair[0].offer(data) as offer, pair[1].fetch(offer.metadata, **options) as fetch:
        return fetch.wait(LIMIT)


def same(one, other):
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[name], other[name]) for name in one)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and (one == other).all()
    return type(one) is type(other) and (one == other or one != one)


K, V = np.arange(6, dtype=np.float32).reshape(2, 3), np.arange(4, dtype=np.int8)


@pytest.mark.parametrize(
    "data",
    [((K, V), (K, V)), [K, (V, [K])], {"n": 3, "t": K}, {"kv": [(K, V), None], "name": "x", "on": True, "scale": 0.5}, (), [], {},
     None, 3, "text", (None, math.nan, 1 << 80, -0.0), {"": {"a": {"b": (K,)}}}, [bytearray(b"bytes"), [[[[V]]]]], {'a"b\\': K},
     {"ropeway_offer": K}],
)  # fmt: skip
def test_nested_containers_and_plain_values_arrive_as_they_left(pair, data):
    assert same(data, fetched(pair, data))


@pytest.mark.parametrize(
    "data, place, reason",
    [
        ({"kv": [(K, object())]}, r"\['kv'\]\[0\]\[1\] is a object;", "tensors, arrays"),
        ({"kv": {3: K}}, r"\['kv'\] is a dict with the key 3", "must be str"),
        ([K, {1, 2}], r"\[1\] is a set", "lists, tuples"),
        (1j, "what is offered is a complex", "None, bool"),
        ({"m": np.ma.masked_array(K, K > 2)}, r"\['m'\] is a masked array", "its mask"),
        ([np.array(["x"], object)], r"\[0\] is an array of type object", "create_readable"),
        ([K.astype(">f4")], r"\[0\] is an array of type >f4", "byte order"),
    ],
)
def test_what_can_not_be_offered_is_named_by_its_place(pair, data, place, reason):
    with pytest.raises(ropeway.ArgumentError, match=place) as caught:
        pair[0].offer(data)
    assert reason in str(caught.value)


@needs_torch
def test_a_quantized_tensor_would_lose_its_scale(pair):
    with pytest.raises(ropeway.ArgumentError, match=r"\['q'\] is a quantized tensor"):
        pair[0].offer({"q": torch.quantize_per_tensor(torch.arange(4.0), 0.1, 0, torch.qint8)})


def test_a_container_that_contains_itself_is_refused(pair):
    data = [K]
    data.append(data)
    with pytest.raises(ropeway.ArgumentError, match="contain itself"):
        pair[0].offer(data)


@pytest.mark.parametrize(
    "form", [None, [], {}, {"tensor": -1}, {"tensor": 1}, {"tensor": True}, {"tensor": 0, "list": []}, {"list": 5}, {"value": []},
             {"dict": [["a", {"value": 1}], ["a", {"value": 2}]]}, {"dict": [["a"]]}, {"set": []}, {"tuple": [None]}],
)  # fmt: skip
def test_a_form_that_lies_is_refused(pair, form):
    with pair[0].offer(K) as offer:
        bad = json.loads(offer.metadata)
        bad["form"] = form
        with pytest.raises(ropeway.ArgumentError, match="contradicts itself"):
            pair[1].fetch(bad)
        deep = {"tensor": 0}
        for _ in range(200):
            deep = {"list": [deep]}
        with pytest.raises(ropeway.ArgumentError, match="contradicts itself"):
            pair[1].fetch({**bad, "form": deep})


# ---- the collector, signals and forks ----


def test_a_cycle_of_an_operation_and_the_owner_of_its_memory_is_collected(pair, caught):
    class Owner(bytearray):
        pass

    class Shows:
        def __init__(self):
            self.memory = np.zeros(100, np.uint8)
            self.__array_interface__ = self.memory.__array_interface__

    gone = []
    for make in (lambda: Owner(100), Shows):
        owner = make()
        owner.operation = pair[0].create_writable(owner)
        gone.append(weakref.ref(owner))
        del owner
    gc.collect()
    gc.collect()
    assert [ref() for ref in gone] == [None, None]
    assert pair[0].stats()["operations_live"] == 0
    assert [warning.category for warning in caught] == [ResourceWarning] * 2


def test_a_collected_cycle_is_quiet_before_its_memory_goes(peers):
    """The peer is stopped in the middle: the collector waits until no byte can land any more."""
    run_program(
        """
import gc, weakref, ropeway
one, other = ropeway.Connector(quiet_ms=100), ropeway.Connector()
class Owner(bytearray): pass
for number in range(20):
    owner = Owner(1 << 20)
    passive = other.create_readable(bytes(1 << 20))
    owner.operation = one.begin_read(passive.metadata, owner)
    del owner
    gc.collect()
    passive.release()
assert one.stats()["operations_live"] == 0
"""
    )


def test_a_memoryview_in_a_collected_cycle_is_not_cleared_while_it_is_exported():
    """CPython 3.11 and older would crash. The memoryview is the oldest, so that the collector comes to it first."""
    run_program(
        """
import gc, weakref, ropeway
class Holder: pass
gc.disable()
memory = memoryview(bytearray(100))
gone = weakref.ref(memory)
holder = Holder()
holder.itself = holder
holder.descriptor = ropeway.Descriptor(memory)
del memory, holder
gc.collect()
assert gone() is None
"""
    )


def test_a_signals_handler_releases_what_its_thread_waits_for():
    out = run_program(
        """
import signal, ropeway
one = ropeway.Connector()
op = one.create_readable(b"x")
signal.signal(signal.SIGALRM, lambda *_: (op.release(), print("released", op.status.name)))
signal.setitimer(signal.ITIMER_REAL, 0.2)
try:
    op.wait(60)
except ropeway.OperationCancelled as error:
    print(type(error).__name__)
op.release()
print(op.status.name, one.stats()["operations_live"])

class Stop(Exception): pass
def handler(*_):
    op.release()
    raise Stop
op = one.create_readable(b"x")
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.2)
try:
    op.wait(60)
except Stop:
    print("stopped", op.status.name)
"""
    )
    assert out == "released CANCELLED\nOperationCancelled\nCANCELLED 0\nstopped CANCELLED\n"


def test_children_of_a_fork_end_whatever_threads_did_at_that_moment():
    out = run_program(
        """
import os, sys, threading, ropeway
one, stop = ropeway.Connector(), threading.Event()

def work():
    while not stop.is_set():
        one.create_readable(b"x").release()

threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
children = []
for _ in range(40):
    child = os.fork()
    if child == 0:
        sys.exit(0)
    children.append(child)
print({os.waitpid(child, 0)[1] for child in children})
stop.set()
for thread in threads:
    thread.join()
"""
    )
    assert out == "{0}\n"


# ---- the log ----


def test_the_librarys_log_goes_to_pythons_logging(pair):
    out = run_program(
        """
import logging, sys, ropeway
class Handler(logging.Handler):
    def emit(self, record):
        lines.append((record.name, record.levelname, record.getMessage()))
lines = []
logging.getLogger("ropeway").addHandler(Handler())
logging.getLogger("ropeway").setLevel(logging.DEBUG)
one, other = ropeway.Connector(), ropeway.Connector()
passive = one.create_readable(b"x")
other.begin_read(passive.metadata, bytearray(1)).wait(30)
try:
    other.begin_read(passive.metadata, bytearray(1)).wait(30)
except ropeway.PeerError:
    pass
other.close()
one.close()
one = ropeway.Connector()
refused = [line for line in lines if "refused" in line[2]]
print(refused[0][:2], all(name == "ropeway" for name, _, _ in lines))
"""
    )
    assert out == "('ropeway', 'INFO') True\n"


def test_so_do_the_lines_of_ucx():
    pytest.importorskip("libucx")
    out = run_program(
        """
import logging, ropeway
class Handler(logging.Handler):
    def emit(self, record):
        lines.append((record.name, record.levelname, record.getMessage()))
lines = []
logging.getLogger("ropeway").addHandler(Handler())
one = ropeway.Connector(transports="tcp,self")
one.create_readable(b"x").release()
one.close()
print([line[:2] for line in lines if line[2].startswith("UCX: ") and "UCX_NO_SUCH_SETTING" in line[2]])
""",
        env=dict(os.environ, UCX_NO_SUCH_SETTING="1"),
    )
    assert out == "[('ropeway', 'WARNING')]\n"


def test_a_program_without_logging_sees_no_log():
    """Standard error stays empty, which run_program() checks."""
    run_program("import ropeway; one = ropeway.Connector(); one.create_readable(b'x').release()")
    run_program("import ropeway; ropeway.Connector().close(); from ropeway import _log; _log.receive(1, 'a warning')")
    # For a line that nobody wants no file is opened, of which there may be none left, and no import begun amid another one.
    run_program("import sys; from ropeway import _log; _log.receive(1, 'a warning'); assert 'logging' not in sys.modules")


def test_a_program_that_sets_logging_up_late_sees_what_comes_then():
    out = run_program(
        """
import sys, ropeway
from ropeway import _log
one = ropeway.Connector()
assert "logging" not in sys.modules and _log.level() == 1
import logging
logging.basicConfig(level="DEBUG", stream=sys.stdout, format="%(levelname)s %(message)s")
assert _log.level() == 3
for number in range(5):
    _log.receive(number, "100 %s")
"""
    )
    assert out == "ERROR 100 %s\nWARNING 100 %s\nINFO 100 %s\nDEBUG 100 %s\nWARNING 100 %s\n"
