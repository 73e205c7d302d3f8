# SPDX-License-Identifier: Apache-2.0
"""Dynamo's own components that use dynamo.nixl_connect, from the wheel ai-dynamo, unchanged: each with the sender on the
drop-in and the receiver on the drop-in or on stock, and with the sender on stock and the receiver on the drop-in.

standins.py stands for what they import from inference engines. dynamo_worker.py has the calls."""
import importlib.util
import sys
import unittest

from dropin_site import ON_ROPEWAY  # first: it skips
from support import Stock

if importlib.util.find_spec("msgspec") is None:
    print("skipped: the components need packages that tools/interop-env could not fetch", file=sys.stderr)
    sys.exit(77)

SHAPES = [([1], "float32"), ([256, 1024], "bfloat16"), ([3, 5, 7], "float16"), ([1000], "int8"), ([2, 2, 300000], "float32")]
MODULES = {"ropeway": "ropeway.nixl_connect", "stock": "dynamo.nixl_connect"}


class Pair:
    """A sender and a receiver, by what they run on. They stay for all tests: it takes seconds to start one."""

    kinds = ()

    @classmethod
    def setUpClass(cls):
        cls.started = []
        for kind in cls.kinds:
            prefix = ON_ROPEWAY if kind == "ropeway" else ()
            cls.started.append(Stock("tcp", prefix=prefix, script="dynamo_worker.py"))
        cls.sender, cls.receiver = cls.started

    @classmethod
    def tearDownClass(cls):
        for worker in cls.started:
            worker.kill()

    def test_each_component_has_the_module_that_it_should(self):
        for kind, worker in zip(self.kinds, self.started):
            self.assertEqual(worker.module(), [MODULES[kind], True])

    def embeddings(self, sender, receiver, options, shapes=SHAPES, times=2):
        """Each is sent staged and copied, and some are received at a time."""
        self.sender.sender(sender)
        self.receiver.receiver(receiver, options)
        for turn in range(times):
            requests, digests = [], []
            for number, (shape, dtype) in enumerate(shapes):
                seed = 10 * turn + number
                requests.append(self.sender.send(sender, number, seed, shape, dtype, turn == 0))
                digests.append(self.sender.digest(seed, shape, dtype))
            self.assertEqual(self.receiver.receive(receiver, requests), digests)
            for number in range(len(shapes)):
                self.sender.done(number)

    def test_embeddings_are_read_into_tensors_of_their_own(self):
        """common/multimodal/embedding_transfer.py, as its factories make it."""
        self.embeddings("NixlReadEmbeddingSender", "NixlReadEmbeddingReceiver", {"max_items": 0})

    def test_embeddings_are_read_into_a_pool(self):
        """Descriptors are registered ahead, shrunk for each read, and restored; the pool is smaller than the batch."""
        options = {"embedding_hidden_size": 4096, "max_item_mm_token": 1200, "max_items": 3}
        self.embeddings("NixlReadEmbeddingSender", "NixlReadEmbeddingReceiver", options, times=4)

    def test_embeddings_are_written_by_plain_agents_in_the_same_processes(self):
        """This variant uses NIXL's own API: the drop-in must leave it alone."""
        self.embeddings("NixlWriteEmbeddingSender", "NixlWriteEmbeddingReceiver", {"buffer_size": 1 << 23}, SHAPES[:4])

    def test_keyword_tensors_are_read_from_the_frontend(self):
        """common/multimodal/mm_kwargs_transfer.py: a pool of registered descriptors, and one item that does not fit."""
        shapes = [[3, 100, 100], [1], [3, 300, 300]]
        self.receiver.kwargs_receiver(1 << 17, 2)
        for number in range(3):
            extra = self.sender.kwargs_send(number, shapes)
            found = self.receiver.kwargs_receive(extra)
            expected = [[self.sender.digest(seed, shape, "uint8"), self.sender.digest(seed, [3], "uint8")]
                        for seed, shape in enumerate(shapes)]  # fmt: skip
            self.assertEqual(found, expected)
            self.sender.done(number)

    def test_a_prefill_worker_reads_from_an_encode_worker(self):
        """trtllm/encode_helper.py: both sides leave `with` blocks, and other tensors go along in the message."""
        for number, (shape, dtype) in enumerate([([16, 4096], "bfloat16"), ([7], "float32")]):
            response = self.sender.encode(number, number, shape, dtype)
            expected = [self.sender.digest(number, shape, dtype), self.sender.digest(number, [4], "int64")]
            self.assertEqual(self.receiver.prefill(response), expected)
            self.sender.done(number)

    def test_stages_hand_tensors_and_objects_over(self):
        """vllm/omni/connectors/nixl_connector.py: a connector on a loop in a thread of its own, called from others."""
        for worker in self.started:
            worker.omni()
        payloads = [[[1, [4, 8], "float32"]], [[2, [1000], "bfloat16"], [3, [5], "int64"], [4, [300, 300], "uint8"]],
                    {"text": "hello", "tokens": [1, 2, 3]}]  # fmt: skip
        for number, payload in enumerate(payloads):
            ok, size, metadata = self.sender.put(str(number), payload)
            self.assertTrue(ok)
            expected = [self.sender.digest(*item) for item in payload] if isinstance(payload, list) else payload
            self.assertEqual(self.receiver.get(str(number), metadata), [expected, size])
        self.assertEqual(self.sender.pending(), 0)
        self.assertTrue(self.sender.put("left", payloads[0])[0])
        self.assertEqual(self.sender.forget("left"), 0)
        for worker in self.started:
            worker.omni_close()


class DropinToDropin(Pair, unittest.TestCase):
    kinds = ("ropeway", "ropeway")


class DropinToStock(Pair, unittest.TestCase):
    kinds = ("ropeway", "stock")


class StockToDropin(Pair, unittest.TestCase):
    kinds = ("stock", "ropeway")

    def test_loaders_read_media_that_the_frontend_decoded(self):
        """common/multimodal/image_loader.py, video_loader.py and audio_loader.py, over common/utils/media_nixl.py. The
        owner is a plain NIXL agent, as Dynamo's frontend is in Rust; its metadata is made by hand, with a fresh key."""
        self.sender.frontend("frontend")
        self.receiver.loaders()
        video = {"Video": {"source_fps": 2.0, "source_duration": 4.0, "sampled_timestamps": [0.0, 1.0, 2.5]}}
        for turn in range(2):
            images = [self.sender.decoded(turn, [30, 20, 3], None), self.sender.decoded(turn + 50, [1, 1, 3], None)]
            videos = [self.sender.decoded(turn + 100, [3, 40, 30, 3], video)]
            audio = [self.sender.decoded(turn + 150, [2, 2], {"sample_rate": 8000})]
            digest = self.sender.digest
            expected = [[digest(turn, [30, 20, 3], "uint8"), digest(turn + 50, [1, 1, 3], "uint8")],
                        [[digest(turn + 100, [3, 40, 30, 3], "uint8"), [0, 2, 5]]],
                        [[digest(turn + 150, [2, 2], "uint8"), 8000.0]]]  # fmt: skip
            self.assertEqual(self.receiver.load(images, videos, audio), expected)


class NotHere(unittest.TestCase):
    """Components that can't be run without an engine. What they ask of the module is made sure of elsewhere."""

    def test_trtllm_request_handlers_handler_base(self):
        self.skipTest("it hands a Connector on to encode_helper.py, tested above; loading it takes all of TensorRT-LLM")

    def test_trtllm_workers_llm_worker(self):
        self.skipTest("it awaits Connector()._create_connection(), as prefill() above; loading it takes all of TensorRT-LLM")

    def test_vllm_multimodal_handlers_encode_worker_handler(self):
        self.skipTest("it makes a Connector and sends by embedding_transfer.py, tested above; loading it takes all of vLLM")


if __name__ == "__main__":
    unittest.main()
