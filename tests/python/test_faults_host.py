# SPDX-License-Identifier: Apache-2.0
"""What happens to a process at any moment: every call of the package at that moment ends, and harms nobody."""

import pytest
from conftest import run_program

EVERY_CALL = """
import gc, os, signal, sys, weakref, ropeway
one, other = ropeway.Connector(), ropeway.Connector()
op, offer = one.create_readable(b"x"), one.offer(b"y")
writable = one.create_writable(bytearray(1))
readable = one.create_readable(b"z")
registration, descriptor = one.register(bytearray(8)), ropeway.Descriptor(bytearray(8))
metadata, offered, place = readable.metadata, offer.metadata, writable.metadata
calls = {
    "create_readable": lambda: one.create_readable(b"x").release(),
    "create_writable": lambda: one.create_writable(bytearray(1)).release(),
    "begin_read": lambda: other.begin_read(metadata, bytearray(1)).release(),
    "begin_write": lambda: other.begin_write(b"x", place).release(),
    "offer": lambda: one.offer(b"x").release(),
    "fetch": lambda: other.fetch(offered).release(),
    "register": lambda: one.register(bytearray(8)).release(),
    "registration": lambda: registration.release(),
    "descriptor": lambda: (descriptor.ptr, descriptor.prefix(4)),
    "stats": lambda: one.stats(),
    "name": lambda: (one.name, one.is_closed, repr(one)),
    "look": lambda: (op.status, op.is_done, op.progress, op.path, op.peer, op.trace, op.metadata, repr(op)),
    "wait": lambda: op.wait(0.01),
    "cancel": lambda: writable.cancel(),
    "release": lambda: op.release(),
    "release_offer": lambda: offer.release(),
    "drop": lambda: globals().pop("readable"),
    "collect": lambda: gc.collect(),
    "describe": lambda: ropeway.describe(),
    "close": lambda: one.close(),
    "close_other": lambda: other.close(),
    "create": lambda: ropeway.Connector().close(),
}
def try_all():
    said = []
    for name, call in calls.items():
        try:
            call()
        except ropeway.OperationTimeout:
            pass
        except ropeway.RopewayError as error:
            said.append((name, error.code.name))
    return said
"""


@pytest.mark.parametrize("event", ["signal", "weak reference", "finalizer", "callback of a thread", "exit"])
def test_every_call_may_be_made_by_a_hosts_handler_amid_a_wait(event):
    """Those after the wait was ended by one of them say so, and no call hangs or ends the process."""
    handlers = {
        "signal": """
signal.signal(signal.SIGALRM, lambda *_: print(try_all(), flush=True))
signal.setitimer(signal.ITIMER_REAL, 0.2)
try:
    op.wait(60)
except ropeway.OperationCancelled:
    print("cancelled")
""",
        "weak reference": """
class Owner: pass
owner = Owner()
owner.itself = owner
reference = weakref.ref(owner, lambda _: print(try_all(), flush=True))
del owner
gc.collect()
print("cancelled" if op.status.name == "CANCELLED" else op.status)
""",
        "finalizer": """
class Owner:
    def __del__(self):
        print(try_all(), flush=True)
owner = Owner()
owner.itself = owner
del owner
gc.collect()
print("cancelled" if op.status.name == "CANCELLED" else op.status)
""",
        "callback of a thread": """
import threading
thread = threading.Timer(0.2, lambda: print(try_all(), flush=True))
thread.start()
try:
    op.wait(60)
except ropeway.OperationCancelled:
    thread.join()
    print("cancelled")
""",
        "exit": """
import atexit
atexit.register(lambda: print("cancelled" if op.status.name == "CANCELLED" else op.status))
atexit.register(lambda: print(try_all(), flush=True))
""",
    }
    out = run_program(EVERY_CALL + handlers[event], "-W", "ignore")
    assert out == "[]\ncancelled\n"


def test_every_call_in_the_child_of_a_fork_ends_and_leaves_the_parent_alone():
    out = run_program(
        EVERY_CALL
        + """
child = os.fork()
if child == 0:
    signal.alarm(60)
    said = dict(try_all())
    assert "OK" not in said.values() and set(said.values()) == {"FORKED"}, said
    assert {"create_readable", "begin_read", "offer", "fetch", "register", "stats", "wait", "create"} <= said.keys(), said
    print("forked", flush=True)
    os._exit(0)
print(os.waitpid(child, 0)[1], flush=True)
assert other.fetch(offered).wait(30) == b"y"
print(try_all())
""",
        "-W",
        "ignore",
    )
    assert out == "forked\n0\n[]\n"
