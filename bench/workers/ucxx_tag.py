# SPDX-License-Identifier: Apache-2.0
"""The benchmark's worker for ucxx's core API: the reader asks with a tag message, and the owner, in a thread of its own,
answers with the bytes; for a write the reader's message is followed by the bytes, and a byte comes back. Both sleep
when there is nothing to do (blocking progress mode)."""

import threading

import common
import numpy
import ucxx
import ucxx._lib.libucxx as core
from ucxx._lib.arr import Array

ASK, DATA = 1, 2  # tags; DATA + slot


def until(worker, request):
    while not request.completed:
        worker.progress_worker_event(100)
    request.check_error()


def make_worker():
    worker = core.UCXWorker(core.UCXContext(feature_flags=(core.Feature.TAG, core.Feature.WAKEUP)))
    worker.init_blocking_progress_mode()
    return worker


class Owner:
    """A listener, and a thread that answers."""

    def __init__(self, address, memory):
        self.memory, self.endpoints, self.ended, self.worker = memory, [], False, make_worker()
        self.listener = core.UCXListener.create(worker=self.worker, port=0, cb_func=self.accept)
        self.port, self.address = self.listener.port, address
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def accept(self, request):
        self.endpoints.append(self.listener.create_endpoint_from_conn_request(request, endpoint_error_handling=True))

    def serve(self):
        while not self.endpoints and not self.ended:
            self.worker.progress_worker_event(100)
        ask, sent = numpy.zeros(2, numpy.uint64), []
        while not self.ended:
            # From any endpoint; the newest is the one reader's.
            request = self.worker.tag_recv(Array(ask), tag=core.UCXXTag(ASK))
            while not request.completed:
                self.worker.progress_worker_event(100)
                if self.ended:
                    return
            slot, write = map(int, ask)
            view, tag = Array(self.memory().view(slot)), core.UCXXTag(DATA + slot)
            if write:
                until(self.worker, self.worker.tag_recv(view, tag=tag))
                view = Array(numpy.ones(1, numpy.uint8))
            sent = [one for one in sent if not one.completed] + [self.endpoints[-1].tag_send(view, tag=tag)]


class Ucxx(common.Worker):
    def __init__(self, options):
        super().__init__(options)
        self.version = ucxx.__version__
        self.owner, self.worker, self.endpoint, self.of = None, make_worker(), None, None

    def offer(self, case):
        if case["descriptors"] > 1:
            raise ValueError("one descriptor only")
        if self.owner is None:
            self.owner = Owner(self.options.address, lambda: self.ours)
        return {"address": self.owner.address, "port": self.owner.port}

    def take(self, case, offer):
        self.write, self.to = case["write"], offer
        self.asks = [numpy.array([slot, case["write"]], numpy.uint64) for slot in range(case["slots"])]
        self.views = [Array(self.theirs.view(slot)) for slot in range(case["slots"])]
        self.done = [Array(numpy.zeros(1, numpy.uint8)) for _ in range(case["slots"])]
        if not case.get("cold") and self.of != offer:
            self.first()

    def first(self):
        self.endpoint = core.UCXEndpoint.create(
            self.worker, self.to["address"], self.to["port"], endpoint_error_handling=True
        )
        self.of = self.to

    def begin(self, slot):
        tag, requests = (
            core.UCXXTag(DATA + slot),
            [self.endpoint.tag_send(Array(self.asks[slot]), tag=core.UCXXTag(ASK))],
        )
        if self.write:
            requests.append(self.endpoint.tag_send(self.views[slot], tag=tag))
            return [*requests, self.endpoint.tag_recv(self.done[slot], tag=tag)]
        return [*requests, self.endpoint.tag_recv(self.views[slot], tag=tag)]

    def finish(self, requests):
        for request in requests:
            until(self.worker, request)

    def renew(self):
        if self.owner is not None:
            self.owner.ended = True
            self.owner.thread.join()
            self.owner = None


common.serve(Ucxx)
