# SPDX-License-Identifier: Apache-2.0
"""What test_stateful.py drives, as its model sees it: memory that knows its bytes, the two packages behind one set of names,
operations that know how they may end, and the places where somebody waits for one."""

import array
import asyncio
import threading
import weakref

import numpy as np
from conftest import LIMIT

import ropeway
import ropeway.nixl_connect as connect
from ropeway import OperationKind as Kind
from ropeway import OperationStatus as Status

try:
    import uvloop
except ImportError:
    uvloop = None

GUARD = 64  # bytes around what an operation may touch
RUN = 1024  # from here on runs are moved where they lie

_NOISE = np.random.default_rng(1).integers(0, 256, (1 << 21) + 256 * 131, np.uint8)


def noise(size, seed):
    return _NOISE[seed % 256 * 131 :][:size].tobytes()


# ---- memory ----


class Bytes(bytearray):
    """One that a weak reference can watch."""


class Rows(np.ndarray):
    """The same."""


class Memory:
    """Some memory of the program's. Operations touch `size` bytes of it; a part of those when they move a prefix.

    kind: "bytearray" and "array" are lent as they are, "view" as a new memoryview, "slice", "gaps" and "rows" as new arrays
    of numpy, of which gaps are moved by way of a copy, and rows of RUN bytes where they lie."""

    def __init__(self, number, kind, size):
        if kind == "rows" and (size % RUN or size < 2 * RUN):
            kind = "gaps"
        if kind == "gaps" and size < 2:  # one element has no gaps, and is moved where it lies
            kind = "slice"
        self.number, self.kind, self.size = number, kind, size
        total = {"slice": 2 * GUARD + size, "view": 2 * GUARD + size, "gaps": 2 * GUARD + 2 * size}.get(kind, size)
        if kind == "rows":
            total = size // RUN * (RUN + GUARD)
        self.expected = noise(total, number)
        if kind == "array":
            self.base = array.array("B", self.expected)
        elif kind in ("bytearray", "view"):
            self.base = Bytes(self.expected)
        else:
            self.base = Rows((total,), np.uint8)
            self.base[:] = np.frombuffer(self.expected, np.uint8)
        self.gone = weakref.ref(self.base)
        self.users = set()  # operations that may still touch it
        self.target_of = None
        self.tainted = False  # what its bytes become is anybody's guess until its operation ends

    def __repr__(self):
        return f"{self.kind}#{self.number}({self.size})"

    def cut(self, flat):
        """What operations may touch, of an array of all bytes."""
        if self.kind in ("slice", "view"):
            return flat[GUARD : GUARD + self.size]
        if self.kind == "gaps":
            return flat[GUARD : GUARD + 2 * self.size : 2]
        if self.kind == "rows":
            return flat.reshape(-1, RUN + GUARD)[:, :RUN]
        return flat

    @property
    def is_whole(self):
        """Whether it travels as a whole, and has no prefix."""
        return self.kind in ("gaps", "rows")

    def lend(self):
        """What an operation is given."""
        if self.kind == "view":
            return memoryview(self.base)[GUARD : GUARD + self.size]
        return self.base if self.kind in ("bytearray", "array") else self.cut(self.base)

    def all(self):
        return np.frombuffer(bytes(self.base), np.uint8)

    def content(self):
        return self.cut(np.frombuffer(self.expected, np.uint8)).tobytes()

    def fill(self, seed):
        self.expected = noise(len(self.expected), seed)
        with memoryview(self.base) as whole:
            whole[:] = self.expected

    def check(self):
        """Bytes that nobody may write now are as they were."""
        if self.base is None:
            return
        if self.target_of is None:
            assert bytes(self.base) == self.expected, f"{self} was written to after its operation"
            return
        now, then = self.all().copy(), np.frombuffer(self.expected, np.uint8).copy()
        for flat in (now, then):
            part = self.cut(flat)
            part[...] = 0
        assert (now == then).all(), f"{self} was written to beside its slice"

    def settle(self, sent, size, is_complete, seen):
        """Its operation has ended: size bytes may have come of one of sent; seen: what a forgotten one's operation gave."""
        if self.base is None:
            if is_complete and seen is not None:
                assert any(seen[:size] == data[:size] for data in sent), f"{self} has other bytes than were sent"
            return
        self.check()
        old = np.frombuffer(self.content(), np.uint8)
        new = np.ascontiguousarray(self.cut(self.all())).reshape(-1)
        assert (new[size:] == old[size:]).all(), f"{self} was written to behind its prefix"
        if is_complete:
            assert any(new[:size].tobytes() == data[:size] for data in sent), f"{self} has other bytes than were sent"
        elif self.kind == "gaps":
            assert (new == old).all(), f"{self} was written to by an operation that did not complete"
        elif not self.tainted:
            # A sender that takes its memory back sends zeroes for the rest of a frame.
            known = (new[:size] == old[:size]) | (new[:size] == 0)
            for data in sent:
                known |= new[:size] == np.frombuffer(data[:size], np.uint8)
            assert known.all(), f"{self} has bytes that nobody sent"
        self.expected = bytes(self.base)

    def is_exported(self):
        """Whether somebody else shows its memory; None where that can't be seen."""
        if self.base is None or not isinstance(self.base, (bytearray, array.array)):
            return None
        try:
            self.base.append(0)
        except BufferError:
            return True
        self.base.pop()
        return False


class Part:
    """A memory in an operation: size bytes of it."""

    def __init__(self, memory, size):
        self.memory, self.size = memory, size
        self.sent = None
        self.lent = None  # a weak reference, where the memory is lent as an object of its own

    def lend(self, on_gone):
        thing = self.memory.lend()
        if thing is not self.memory.base:
            self.lent = weakref.ref(thing, on_gone)
        return thing


# ---- the two packages ----


class Own:
    """The package ropeway."""

    keeps_memory = False  # an operation that was given back still has its memory exported

    @staticmethod
    def connector(transports):
        return ropeway.Connector(transports=transports)

    @staticmethod
    def native(connector):
        return connector

    @staticmethod
    def lend(thing, size):
        return thing if size is None else ropeway.Descriptor(thing).prefix(size)

    @staticmethod
    def offer(connector, kind, things):
        operation = (connector.create_readable if kind == Kind.READABLE else connector.create_writable)(things)
        return operation, operation.metadata

    @staticmethod
    def begin(connector, kind, text, sizes, things, integrity):
        is_prefix = [item.size for item in connect.RdmaMetadata.model_validate_json(text).descriptors] != sizes
        if kind == Kind.READ:
            return connector.begin_read(text, things, prefix=is_prefix, integrity=integrity)
        return connector.begin_write(things, text, prefix=is_prefix, integrity=integrity)

    @staticmethod
    async def complete(operation):
        await operation

    @staticmethod
    def wait(operation, timeout):
        operation.wait(timeout)

    @staticmethod
    def seen(operation):
        return [bytes(thing) if not isinstance(thing, ropeway.Descriptor) else None for thing in operation.result()]

    @staticmethod
    def release(operation):
        operation.release()


class DropIn:
    """ropeway.nixl_connect."""

    keeps_memory = True

    @staticmethod
    def connector(transports):
        return connect.Connector(interop=False)

    @staticmethod
    def native(connector):
        return connector.connection.native

    @staticmethod
    def lend(thing, size):
        descriptor = connect.Descriptor(thing)
        if size is not None:
            descriptor._data_size = size
        return descriptor

    @staticmethod
    def offer(connector, kind, things):
        operation = (connector.create_readable if kind == Kind.READABLE else connector.create_writable)(things)
        return operation, operation.metadata().model_dump_json()

    @staticmethod
    def begin(connector, kind, text, sizes, things, integrity):
        metadata = connect.RdmaMetadata.model_validate_json(text).model_dump()
        metadata["descriptors"] = [dict(item, size=size) for item, size in zip(metadata["descriptors"], sizes)]
        metadata = connect.RdmaMetadata.model_validate(metadata)
        return connector.begin_read(metadata, things) if kind == Kind.READ else connector.begin_write(things, metadata)

    @staticmethod
    async def complete(operation):
        await operation.wait_for_completion()

    @staticmethod
    def wait(operation, timeout):
        asyncio.run(operation.wait_for_completion(timeout))

    @staticmethod
    def seen(operation):
        return [None] * len(operation._local)

    @staticmethod
    def release(operation):
        operation.close()


class Worker:
    """A connector."""

    def __init__(self, number, face, transports):
        self.number, self.face = number, face
        self.handle = face.connector(transports)
        self.native = weakref.ref(face.native(self.handle))
        self.is_closed = False
        self.operations = []

    def __repr__(self):
        return f"{self.face.__name__}#{self.number}"


# ---- operations ----

# What a peer says who does not let one in, or is gone.
REFUSALS = {"KEY_UNKNOWN", "KEY_USED", "KEY_FINISHED", "PEER_CLOSED", "PEER_LOST", "UNREACHABLE"}


class Transfer:
    """An operation: its handle as long as the program has it, and what is known of its fate."""

    def __init__(self, number, kind, worker, parts, offer):
        self.number, self.kind, self.worker, self.parts = number, kind, worker, parts
        self.face = worker.face
        self.offer = self if offer is None else offer
        self.begun = []  # by peers that fit, if it is an offer
        self.text = ""
        self.handle = None
        self.weak = None
        self.waits = []  # those that hold the handle, too
        self.was_in_task = False  # asyncio may have left a cycle with the handle in it
        self.is_disturbed = False  # cancelled, released, dropped or closed while it may have been live
        self.is_late = False  # begun when its offer had certainly ended
        self.is_released = False
        self.has_descriptors = self.face.keeps_memory
        self.outcome = None  # (status, code), once known
        self.sentence = ""

    def __repr__(self):
        return f"{self.kind.name.lower()}#{self.number}"

    def hold(self, handle):
        self.handle = handle
        self.weak = weakref.ref(handle)

    @property
    def is_offer(self):
        return self.offer is self

    @property
    def is_target(self):
        return self.kind in (Kind.WRITABLE, Kind.READ)

    @property
    def is_held(self):
        """By the program, or somebody who waits."""
        return self.handle is not None or bool(self.waits)

    @property
    def is_surely_live(self):
        return self.is_offer and not self.begun and not self.is_disturbed

    @property
    def must_end(self):
        return not self.is_offer or self.is_disturbed or any(not one.is_disturbed and not one.is_late for one in self.begun)

    def disturb(self):
        if self.outcome is None:
            self.is_disturbed = True

    def fates(self):
        """The statuses that it may end with."""
        offer, begun = self.offer, self.offer.begun
        if self.is_offer:
            found = {Status.COMPLETE} if any(not one.is_late for one in begun) else set()
            if self.is_disturbed or any(one.is_disturbed for one in begun):
                found.add(Status.CANCELLED)
            if any(one.worker.is_closed or one.worker.handle is None for one in begun):
                found.add(Status.ERRORED)
            return found
        found = set()
        if not self.is_late:
            found.add(Status.COMPLETE)
            if offer.is_disturbed:
                found.add(Status.CANCELLED)
        if self.is_disturbed:
            found.add(Status.CANCELLED)
        if self.is_late or offer.is_disturbed or len(begun) > 1:
            found.add(Status.ERRORED)
        return found

    def learn(self):
        """Looks at the operation, which has ended; the first time, at its memory and its peer, too."""
        handle = self.weak()
        assert handle is not None
        status, error = Status(handle.status), handle.error
        code = error.code.name if error is not None else "OK"
        if self.outcome is not None:
            assert (status, code) == self.outcome, f"{self} ended in {self.outcome}, and is {status.name} {code} now"
            return
        assert status in self.fates(), f"{self} ended in {status.name} ({error}), and may in {self.fates()}"
        if status == Status.ERRORED:
            assert code in REFUSALS, f"{self}: {error}"
        assert (code == "CANCELLED") == (status == Status.CANCELLED) and (code == "OK") == (status == Status.COMPLETE)
        self.outcome, self.sentence = (status, code), str(error)
        seen = self.face.seen(handle) if status == Status.COMPLETE else [None] * len(self.parts)
        self._settle(status == Status.COMPLETE, seen)
        self._compare()

    def forget(self):
        """It has ended, and nobody held it to see how."""
        if self.outcome is None:
            self.outcome = (None, "")
            self._settle(False, [None] * len(self.parts), is_known=False)

    def sent(self, index):
        """What a sender's descriptor held when it began, and how much of it moves; a prefix may have fewer descriptors."""
        return (self.parts[index].sent, self.parts[index].size) if index < len(self.parts) else (b"", 0)

    def is_gone(self, index):
        """Whether the memory of a sender's descriptor, or the copy of it that was moved, may be another's by now."""
        return any(part.memory.base is None or part.memory.kind == "gaps" for part in self.parts[index : index + 1])

    def _settle(self, is_complete, seen, is_known=True):
        for index, part in enumerate(self.parts):
            memory = part.memory
            if self.is_target:
                senders = self.begun if self.is_offer else [self.offer]
                pairs = [one.sent(index) for one in senders]
                size = part.size if not self.is_offer else max([size for _, size in pairs], default=0)
                sent = [data[:count] + memory.content()[count:size] for data, count in pairs]
                # Who fetches late, and can't complete, may find that the sender's memory is gone.
                memory.tainted |= any(one.is_gone(index) for one in senders)
                if is_known:
                    memory.settle(sent, size, is_complete, seen[index])
                elif memory.base is not None:
                    memory.check()
                    memory.expected = bytes(memory.base)
                memory.target_of, memory.tainted = None, False
            memory.users.discard(self)

    def _compare(self):
        """One side's COMPLETE is the other side's, too, unless one says that it does not know."""
        begun = [one for one in self.offer.begun if one.outcome is not None]
        complete = [one for one in begun if one.outcome[0] == Status.COMPLETE]
        assert len(complete) <= 1, f"{complete} completed for one offer"
        if self.offer.outcome is None:
            return
        ended = self.offer.outcome[0]
        if ended == Status.COMPLETE and len(begun) == len(self.offer.begun) and all(one.outcome[0] for one in begun):
            assert complete or any("not confirm" in one.sentence for one in begun), f"{self.offer} completed alone"
        if ended in (Status.CANCELLED, Status.ERRORED) and complete:
            assert "not confirm" in self.offer.sentence, f"{complete} completed, and {self.offer} says {self.offer.sentence}"


# ---- who waits ----

LONG = 100 * LIMIT  # of a wait that may last until the program's end


def new_loop(kind):
    return uvloop.new_event_loop() if kind == "uvloop" and uvloop is not None else asyncio.new_event_loop()


async def use(face, handle, form, said):
    """A task of the program's."""
    try:
        if form == "block":
            async with handle:
                await face.complete(handle)
        elif form == "timeout":
            await asyncio.wait_for(face.complete(handle), LONG)
        else:
            await face.complete(handle)
        said.append("OK")
    except ropeway.RopewayError as error:
        said.append(error.code.name)


class Place:
    """An event loop of this thread, which runs when it is told to."""

    def __init__(self, number, kind, on_error):
        self.number, self.kind = number, kind
        self.loop = new_loop(kind)
        # A loop that was closed amid an await tells of asyncio.wait_for()'s own task; that is the program's doing.
        self.loop.set_exception_handler(lambda loop, context: loop.is_closed() or on_error(context))
        self.waits = []

    def __repr__(self):
        return f"{self.kind}#{self.number}"

    def step(self):
        self.loop.run_until_complete(asyncio.sleep(0))


class Wait:
    """A task, or a thread (place: None), that waits for an operation, and holds it."""

    def __init__(self, number, transfer, place, form):
        self.number, self.transfer, self.place, self.form = number, transfer, place, form
        self.said = []
        self.task = self.thread = None
        self.handle = handle = transfer.weak()  # so that what it comes to can be looked at
        transfer.waits.append(self)
        transfer.was_in_task = True
        if place is not None:
            place.waits.append(self)
            self.task = place.loop.create_task(use(transfer.face, handle, form, self.said))
            place.step()
        elif form == "wait":
            self.thread = threading.Thread(target=self._wait, args=(transfer.face, handle), daemon=True)
            self.thread.start()
        else:
            arguments = (use(transfer.face, handle, form, self.said),)
            self.thread = threading.Thread(target=asyncio.run, args=arguments, daemon=True)
            self.thread.start()

    def __repr__(self):
        return f"wait#{self.number}"

    def _wait(self, face, handle):
        try:
            face.wait(handle, LONG)
            self.said.append("OK")
        except ropeway.RopewayError as error:
            self.said.append(error.code.name)

    def end(self):
        """Of one whose operation ends: waits for that, and looks at what it was told."""
        if self.task is not None:
            self.place.loop.run_until_complete(asyncio.wait([self.task], timeout=LIMIT))
            assert self.task.done(), f"{self.transfer} has ended, and a task of {self.place} still waits"
            assert self.task.exception() is None
        else:
            self.thread.join(LIMIT)
            assert not self.thread.is_alive(), f"{self.transfer} has ended, and a thread still waits"
        return self._leave()

    def cancel(self):
        """The task is cancelled; whether it was."""
        self.task.cancel()
        self.place.loop.run_until_complete(asyncio.wait([self.task], timeout=LIMIT))
        assert self.task.done()
        return self.task.cancelled()

    def abandon(self):
        """Its loop is closed."""
        if self.task is not None:
            self.task._log_destroy_pending = False
        self._leave()

    def _leave(self):
        self.task = self.thread = self.handle = None
        self.transfer.waits.remove(self)
        if self.place is not None:
            self.place.waits.remove(self)
        return self.said
