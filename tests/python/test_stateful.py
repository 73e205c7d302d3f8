# SPDX-License-Identifier: Apache-2.0
"""What the package promises of memory, event loops and tasks, against programs that hypothesis makes up: connectors of both
packages, offers, reads and writes of all kinds of memory, tasks and threads that wait, loops that are closed amid that, and
everything let go of at any moment. The model is in world.py.

The programs are the same in each run. ROPEWAY_STATEFUL_EXAMPLES=1000 plays so many new ones; a failure prints the program,
shortened, and what plays it again."""

import asyncio
import gc
import os
import sys
import threading
import time
import warnings
import weakref

import pytest
from conftest import LIMIT
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from world import DropIn, Memory, Own, Part, Place, Transfer, Wait, Worker, noise, uvloop

import ropeway
from ropeway import OperationKind as Kind
from ropeway import OperationStatus as Status

EXAMPLES = int(os.environ.get("ROPEWAY_STATEFUL_EXAMPLES", "0"))
SIZES = [0, 1, 100, 4096, 100_000, 1 << 20]

helper = None  # a connector that is always there


@pytest.fixture(scope="module", autouse=True)
def always_there():
    """What is started once in a process has been: the counts of threads and descriptors have a beginning."""
    global helper
    helper = ropeway.Connector()
    room = bytearray(1 << 20)
    with ropeway.Connector() as other, helper.create_readable(bytes(len(room))) as offer:
        other.begin_read(offer.metadata, room).wait(LIMIT)
    if uvloop is not None:
        uvloop.new_event_loop().close()
    gc.collect()
    gc.freeze()  # a collection looks at what the examples made
    yield
    gc.unfreeze()
    helper.close()


def sweep():
    """Any call into the extension takes the records of ended operations apart that nobody holds."""
    if not helper.is_closed:
        helper.create_readable(b"").release()


def until(condition, what):
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, what()
        sweep()


def counts():
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


def steady_counts():
    """Threads of what was closed a moment ago may still be ending."""
    end = time.monotonic() + LIMIT
    before, now = None, counts()
    while now != before and time.monotonic() < end:
        time.sleep(0.005)
        before, now = now, counts()
    return now


def one_of(name):
    """One of those that a property of the machine lists."""
    return st.runner().flatmap(lambda machine: st.sampled_from(getattr(machine, name)))


def given_some(*names):
    return precondition(lambda machine: all(getattr(machine, name) for name in names))


kinds = st.sampled_from(["bytearray", "array", "view", "slice", "gaps", "rows"])
shapes = st.lists(st.tuples(kinds, st.sampled_from(SIZES)), min_size=1, max_size=3)
passive_kinds = st.sampled_from([Kind.READABLE, Kind.WRITABLE])
misfits = ["size", "count", "kind", "text"]
plans = st.fixed_dictionaries(
    {
        "kinds": st.lists(kinds, min_size=3, max_size=3),
        "cut": st.lists(st.integers(0, 200), max_size=3),
        "room": st.booleans(),
        "reuse": st.booleans(),
        "wraps": st.booleans(),
        "integrity": st.booleans(),
    }
)
connector_kinds = st.tuples(st.sampled_from([Own, DropIn]), st.sampled_from([None, None, "stream"]))


class Programs(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.number = 0
        self.all_workers, self.all_memories, self.transfers, self.places, self.waits = [], [], [], [], []
        self.leaving = []  # operations that were let go of while they may have been live
        self.errors = []  # that went to hooks
        self.warned, self.must_warn, self.may_warn = 0, 0, 0
        gc.collect()
        self.before = steady_counts()
        self.old_hook, sys.unraisablehook = sys.unraisablehook, lambda found: self.errors.append(repr(found))
        self.catching = warnings.catch_warnings(record=True)
        self.caught = self.catching.__enter__()
        warnings.simplefilter("always")

    def next(self):
        self.number += 1
        return self.number

    # ---- what rules choose from ----

    @property
    def workers(self):
        return [one for one in self.all_workers if one.handle is not None and not one.is_closed]

    @property
    def held(self):
        return [one for one in self.transfers if one.handle is not None]

    @property
    def ending(self):
        return [one for one in self.held if one.must_end]

    @property
    def offers(self):
        return [one for one in self.transfers if one.is_offer]

    @property
    def fresh(self):
        return [one for one in self.offers if one.is_surely_live]

    @property
    def memories(self):
        """Those that no operation can touch."""
        return [one for one in self.all_memories if one.base is not None and not one.users]

    @property
    def known(self):
        return [one for one in self.all_memories if one.base is not None]

    @property
    def tasks(self):
        return [one for one in self.waits if one.task is not None]

    @property
    def ending_waits(self):
        return [one for one in self.waits if one.transfer.must_end]

    # ---- rules: connectors ----

    @initialize(one=connector_kinds, other=connector_kinds)
    def begin_with_two(self, one, other):
        self.make_connector(one)
        self.make_connector(other)

    @precondition(lambda self: len(self.workers) < 2 or (self.transfers and len(self.workers) < 4))
    @rule(kind=connector_kinds)
    def make_connector(self, kind):
        self.all_workers.append(Worker(self.next(), *kind))

    @given_some("workers", "transfers")
    @rule(worker=one_of("workers"), how=st.sampled_from(["close", "block", "task"]))
    def close_connector(self, worker, how):
        native = worker.native()
        worker.is_closed = True
        for one in worker.operations:
            one.disturb()
        if how == "close":
            native.close()
        elif how == "block":
            with native:
                pass
        else:

            async def main():
                async with native:
                    pass

            asyncio.run(asyncio.wait_for(main(), LIMIT))
        assert native.is_closed
        for one in worker.operations:
            if one.handle is not None:
                one.learn()

    @given_some("workers", "transfers")
    @rule(worker=one_of("workers"))
    def drop_connector(self, worker):
        """Its operations go on."""
        worker.handle = None

    # ---- rules: operations ----

    def _memory(self, kind, size, is_target, reuse):
        if reuse:
            for memory in self.known:
                is_free = not memory.users or (not is_target and memory.target_of is None)
                if is_free and (memory.kind, memory.size) == (kind, size):
                    return memory
        memory = Memory(self.next(), kind, size)
        self.all_memories.append(memory)
        return memory

    def _start(self, kind, worker, parts, offer, wraps, begin):
        transfer = Transfer(self.next(), kind, worker, parts, offer)
        things = []
        for part in parts:
            size = part.size if part.size != part.memory.size else None
            transfer.has_descriptors |= wraps or size is not None
            # What is made when memory goes may use the package again.
            thing = part.lend(lambda _: sweep())
            things.append(worker.face.lend(thing, part.memory.size if size is None and wraps else size))
            part.sent = None if transfer.is_target else part.memory.content()[: part.size]
        del thing
        begin(transfer, things)
        for part in parts:
            part.memory.users.add(transfer)
            if transfer.is_target:
                part.memory.target_of = transfer
        transfer.worker.operations.append(transfer)
        self.transfers.append(transfer)
        return transfer

    @given_some("workers")
    @rule(worker=one_of("workers"), kind=passive_kinds, shapes=shapes, reuse=st.booleans(), wraps=st.booleans())
    def offer(self, worker, kind, shapes, reuse, wraps):
        self._offer(worker, kind, shapes, reuse, wraps)

    def _offer(self, worker, kind, shapes, reuse, wraps):
        memories = []
        for name, size in shapes:
            memory = self._memory(name, size, kind == Kind.WRITABLE, reuse)
            memories.append(memory if memory not in memories else self._memory(name, size, True, False))
        parts = [Part(memory, memory.size) for memory in memories]

        def begin(transfer, things):
            handle, transfer.text = worker.face.offer(worker.handle, kind, things)
            transfer.hold(handle)

        self._start(kind, worker, parts, None, wraps, begin)

    @given_some("workers", "fresh")
    @rule(worker=one_of("workers"), offer=one_of("fresh"), plan=plans)
    def begin(self, worker, offer, plan):
        self._begin(worker, offer, **plan)

    @given_some("workers", "offers")
    @rule(worker=one_of("workers"), offer=one_of("offers"), plan=plans)
    def begin_with_any_offer(self, worker, offer, plan):
        """Also one that was used, cancelled or given back, or whose connector is closed."""
        self._begin(worker, offer, **plan)

    @given_some("workers")
    @rule(owner=one_of("workers"), worker=one_of("workers"), kind=passive_kinds, shapes=shapes, plan=plans)
    def begin_with_a_new_offer(self, owner, worker, kind, shapes, plan):
        self._offer(owner, kind, shapes, plan["reuse"], plan["wraps"])
        self._begin(worker, self.transfers[-1], **plan)

    def _begin(self, worker, offer, kinds, cut, room, reuse, wraps, integrity):
        """cut: percent of each descriptor, or more for all of it; none, for all of all. room: there is more memory."""
        kind = Kind.READ if offer.kind == Kind.READABLE else Kind.WRITE
        parts = []
        for index, (name, far) in enumerate(zip(kinds, offer.parts)):
            if cut and index >= len(cut):
                break
            size = far.size * min(cut[index], 100) // 100 if cut else far.size
            spare = 32 if room and name not in ("gaps", "rows") else 0
            memory = self._memory(name, size + spare, kind == Kind.READ, reuse)
            if any(part.memory is memory for part in parts):
                memory = self._memory(name, size + spare, True, False)
            parts.append(Part(memory, size))

        def begin(transfer, things):
            sizes = [part.size for part in parts]
            transfer.hold(worker.face.begin(worker.handle, kind, offer.text, sizes, things, integrity))

        is_late = offer.outcome is not None or (offer.is_released or not offer.is_held and offer not in self.leaving)
        try:
            transfer = self._start(kind, worker, parts, offer, wraps, begin)
        except ropeway.PeerError as error:
            assert offer.worker.is_closed or offer.worker.handle is None, error
            return
        transfer.is_late = is_late
        offer.begun.append(transfer)

    @given_some("workers", "offers")
    @rule(worker=one_of("workers"), offer=one_of("offers"), how=st.sampled_from(misfits), memory_kind=kinds)
    def begin_what_does_not_fit(self, worker, offer, how, memory_kind):
        """Is refused at once, keeps no memory, and uses nothing up."""
        is_read = (offer.kind == Kind.READABLE) != (how == "kind")
        sizes = [part.size for part in offer.parts]
        memories = [Memory(0, memory_kind, size + (how == "size")) for size in sizes + [5] * (how == "count")]
        gone = [memory.gone for memory in memories]
        text = offer.text.replace('"notification_key"', '"notification"') if how == "text" else offer.text
        things = [worker.face.lend(memory.lend(), None) for memory in memories]
        with pytest.raises((ValueError, RuntimeError)):
            worker.face.begin(worker.handle, Kind.READ if is_read else Kind.WRITE, text, sizes, things, False)
        del things, memories
        if any(ref() is not None for ref in gone):
            gc.collect()  # the exception's traceback
        assert [ref() for ref in gone] == [None] * len(gone)

    @given_some("held")
    @rule(transfer=one_of("held"))
    def cancel(self, transfer):
        live = transfer.is_surely_live
        had_ended = transfer.outcome is not None
        transfer.disturb()
        answer = transfer.handle.cancel()
        if transfer.face is Own:
            assert not (live and answer is not True) and not (had_ended and answer is not False)

    @given_some("held")
    @rule(transfer=one_of("held"), how=st.sampled_from(["release", "block", "task"]))
    def release(self, transfer, how):
        handle = transfer.handle
        transfer.disturb()
        if how == "release":
            transfer.face.release(handle)
        elif how == "block":
            with handle:
                pass
        else:

            async def main():
                async with handle:
                    pass

            asyncio.run(asyncio.wait_for(main(), LIMIT))
            transfer.was_in_task = True
        transfer.is_released = True
        transfer.learn()

    @given_some("held")
    @rule(transfer=one_of("held"), is_cycle=st.booleans())
    def drop(self, transfer, is_cycle):
        handle, transfer.handle = transfer.handle, None
        if is_cycle:
            cycle = [handle]
            cycle.append(cycle)
            del cycle
        del handle
        if not transfer.waits:
            self._left(transfer, is_cycle)

    def _left(self, transfer, is_collected):
        """Nobody holds it any more."""
        if transfer.outcome is None and not transfer.is_released:
            self.may_warn += 1
            self.must_warn += transfer.is_surely_live
            transfer.disturb()
            self.leaving.append(transfer)
        if is_collected or transfer.was_in_task:
            gc.collect()
        assert transfer.weak() is None, f"{transfer} is held by somebody"

    @given_some("ending")
    @rule(transfer=one_of("ending"))
    def wait(self, transfer):
        transfer.was_in_task |= transfer.face is DropIn
        try:
            transfer.face.wait(transfer.handle, LIMIT)
        except ropeway.OperationTimeout:
            raise AssertionError(f"{transfer} does not end") from None
        except ropeway.RopewayError:
            pass
        transfer.learn()

    @given_some("held")
    @rule(transfer=one_of("held"), timeout=st.sampled_from([0, 0.001]), in_task=st.booleans())
    def wait_a_moment(self, transfer, timeout, in_task):
        """Leaves it as it is."""
        live = transfer.is_surely_live
        transfer.was_in_task |= in_task or transfer.face is DropIn

        async def main(handle):
            await asyncio.wait_for(transfer.face.complete(handle), timeout)

        try:
            if in_task:
                asyncio.run(main(transfer.handle))
            else:
                transfer.face.wait(transfer.handle, timeout)
        except (ropeway.OperationTimeout, TimeoutError, asyncio.TimeoutError):
            pass
        except ropeway.RopewayError:
            assert not live
        else:
            assert not live

    # ---- rules: tasks, threads and loops ----

    @precondition(lambda self: self.held and len(self.places) < 3)
    @rule(kind=st.sampled_from(["asyncio", "uvloop"]))
    def make_loop(self, kind):
        self.places.append(Place(self.next(), kind, self.errors.append))

    @given_some("waits", "places")
    @rule(place=one_of("places"))
    def step_loop(self, place):
        place.step()

    @given_some("transfers", "places")
    @rule(place=one_of("places"), in_task=st.booleans())
    def close_loop(self, place, in_task):
        """Its tasks are collected as garbage, also while another loop runs."""
        self.places.remove(place)
        place.loop.close()
        waits = list(place.waits)

        async def main():
            self._forget_waits(waits)

        asyncio.run(main()) if in_task else self._forget_waits(waits)

    def _forget_waits(self, waits):
        for wait in waits:
            if wait.form == "block":
                # The collector may come upon the operation before it closes the coroutine that would leave the block.
                self.may_warn += not wait.transfer.is_released and wait.transfer.outcome is None
                wait.transfer.disturb()
                wait.transfer.is_released = True
            wait.abandon()
            self.waits.remove(wait)
        gc.collect()
        for transfer in dict.fromkeys(wait.transfer for wait in waits):
            if not transfer.is_held:
                self._left(transfer, True)
            elif transfer.is_released:
                transfer.learn()

    @given_some("held", "places")
    @rule(transfer=one_of("held"), place=one_of("places"), form=st.sampled_from(["plain", "block", "timeout"]))
    def wait_in_task(self, transfer, place, form):
        self.waits.append(Wait(self.next(), transfer, place, form))

    @precondition(lambda self: self.held and len(self.waits) < 6)
    @rule(transfer=one_of("held"), form=st.sampled_from(["wait", "plain", "timeout"]))
    def wait_in_thread(self, transfer, form):
        self.waits.append(Wait(self.next(), transfer, None, form))

    @given_some("tasks")
    @rule(wait=one_of("tasks"))
    def cancel_task(self, wait):
        """Leaves the operation as it is, unless that is in a block."""
        transfer = wait.transfer
        live = transfer.is_surely_live
        was_cancelled = wait.cancel()
        if wait.form == "block":
            transfer.disturb()
            transfer.is_released = True
            transfer.learn()
        elif live:
            assert was_cancelled and transfer.weak().status == Status.INITIALIZED
        self._forget_waits([wait])

    @given_some("ending_waits")
    @rule(wait=one_of("ending_waits"))
    def end_wait(self, wait):
        self._end_wait(wait)

    def _end_wait(self, wait):
        transfer = wait.transfer
        handle = transfer.weak()
        [said] = wait.end()
        transfer.is_released |= wait.form == "block"
        transfer.learn()
        del handle
        self.waits.remove(wait)
        code = transfer.outcome[1]
        expected = "OK" if transfer.face is DropIn and code == "CANCELLED" else code
        assert said == expected, f"{transfer} ended with {code}, and {wait} heard {said}"
        if not transfer.is_held:
            self._left(transfer, True)

    # ---- rules: memory ----

    @given_some("memories")
    @rule(memory=one_of("memories"), seed=st.integers(0, 255))
    def fill(self, memory, seed):
        """The program uses it for something else."""
        for one in self.transfers:
            if not one.is_target and any(part.memory is memory for part in one.parts):
                for peer in [one.offer, *one.begun]:
                    for part in peer.parts:
                        part.memory.tainted |= peer.outcome is None and peer.is_target
        memory.fill(seed)

    @given_some("known")
    @rule(memory=one_of("known"))
    def drop_memory(self, memory):
        memory.base = None

    @given_some("leaving")
    @rule()
    def collect(self):
        gc.collect()

    @given_some("leaving")
    @rule()
    def settle(self):
        """Those that were let go of end, and give their memory back."""
        self._settle()

    def _settle(self):
        leaving, self.leaving = self.leaving, []
        for worker in {one.worker for one in leaving}:
            native = worker.native()
            if native is not None and not worker.is_closed:
                mine = [one for one in worker.operations if one.is_held and one.outcome is None]
                until(lambda: native.stats()["operations_live"] <= len(mine), native.stats)
        for one in leaving:
            for part in one.parts:
                until(lambda: self._is_held(part) is not True or self._holders(part, one), lambda: f"{part.memory} is still held")
        for one in leaving:
            one.forget()

    def _is_held(self, part):
        """Whether somebody has what was lent; None where that can't be seen."""
        if part.lent is not None:
            return part.lent() is not None
        return part.memory.is_exported() if part.memory.base is not None else part.memory.gone() is not None

    def _holders(self, part, but=None):
        """Whether an operation holds, or may hold, the memory of a part."""
        mine = [part] if part.lent is not None else None
        return [
            one for one in self.transfers
            if one is not but and self._may_hold(one)
            and any(other is part if mine else other.memory is part.memory for other in one.parts)
        ]  # fmt: skip

    def _may_hold(self, one):
        return one.is_held or one in self.leaving

    # ---- what holds at any time ----

    @invariant()
    def memory_is_as_it_must_be(self):
        for memory in self.all_memories:
            memory.check()

    @invariant()
    def operations_are_as_they_must_be(self):
        for one in self.transfers:
            if one.is_held:
                handle = one.weak()
                assert handle is not None
                if one.outcome is not None:
                    one.learn()
                elif one.is_surely_live:
                    assert handle.status == Status.INITIALIZED, f"{one} is {handle!r}"

    @invariant()
    def memory_is_held_as_long_as_it_must_be(self):
        for one in self.transfers:
            # Given back, and nobody has a descriptor: the object itself is the result, and its memory is free.
            may_be_free = (one.is_released or any(wait.form == "block" for wait in one.waits)) and not one.has_descriptors
            for part in one.parts:
                found = self._is_held(part)
                by_bytes = part.lent is None and part.memory.base is not None
                if one.is_held and not (by_bytes and may_be_free):
                    assert found is not False, f"{part.memory} is not held by {one}"
                elif found and all(by_bytes and other.is_released and not other.has_descriptors for other in self._holders(part)):
                    gc.collect()
                    assert not self._is_held(part), f"{part.memory} is still held after {one}"

    @invariant()
    def nobody_complains(self):
        assert not self.errors, self.errors
        for warning in self.caught:
            assert warning.category is ResourceWarning and "was let go of" in str(warning.message), warning
        self.warned += len(self.caught)
        self.caught.clear()
        assert self.must_warn <= self.warned <= self.may_warn, f"{self.warned} warnings, not {self.must_warn} to {self.may_warn}"

    # ---- the end ----

    def teardown(self):
        try:
            if sys.exc_info()[0] is None:  # else it has failed, or hypothesis breaks it off
                self._end()
        finally:
            self._leave()

    def _leave(self):
        """Leaves nothing to the next program, whatever has become of this one."""
        try:
            for worker in self.workers:
                worker.native().close()
            for wait in list(self.waits):
                wait.handle.cancel()
                if wait.thread is not None:
                    wait.thread.join(LIMIT)
                wait.abandon()
            for place in self.places:
                place.loop.close()
            for one in self.transfers:
                one.handle = None
            for worker in self.all_workers:
                worker.handle = None
            gc.collect()
        finally:
            self.catching.__exit__(None, None, None)
            sys.unraisablehook = self.old_hook

    def _end(self):
        for one in self.transfers:
            if one.is_held and not one.must_end:
                one.disturb()
                one.weak().cancel()
        for wait in list(self.waits):
            self._end_wait(wait)
        for one in self.held:
            self.wait(one)
            self.drop(one, False)
        self._settle()
        self.memory_is_as_it_must_be()
        self.memory_is_held_as_long_as_it_must_be()
        for worker in self.workers:
            stats = worker.native().stats()
            ended = sum(stats[f"operations_{name}"] for name in ("completed", "cancelled", "errored"))
            assert stats["operations_live"] == stats["bytes_inflight"] == stats["memory_registered"] == 0, stats
            assert stats["operations_created"] == ended, stats
            self.close_connector(worker, "close")
            worker.handle = None
        while self.places:
            self.places.pop().loop.close()
        self.memory_is_as_it_must_be()
        for worker in self.all_workers:
            worker.handle = None
        gc.collect()
        self.nobody_complains()
        until(lambda: counts() == self.before, lambda: f"{self.before} descriptors and threads are {counts()}")


COMMON = dict(deadline=None, database=None, suppress_health_check=list(HealthCheck), stateful_step_count=40, print_blob=True)


def test_programs_of_any_kind():
    run_state_machine_as_test(
        Programs, settings=settings(max_examples=EXAMPLES or 80, derandomize=not EXAMPLES, **COMMON)
    )
