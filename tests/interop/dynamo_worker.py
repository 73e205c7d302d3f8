# SPDX-License-Identifier: Apache-2.0
"""A worker made of Dynamo's own components, as the wheel ai-dynamo has them: one JSON list a line on stdin, a command and
its arguments; one JSON answer a line. On stock or, run by ropeway.dropin, on Ropeway."""
import asyncio
import base64
import hashlib
import json
import logging
import os
import sys
import types
import zlib

logging.disable(logging.CRITICAL)
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import standins

standins.install()

import dynamo.nixl_connect as nixl_connect
import torch
from dynamo.common.multimodal import audio_loader, embedding_transfer, image_loader, mm_kwargs_transfer, video_loader
from dynamo.trtllm.encode_helper import EncodeHelper
from dynamo.vllm.omni.connectors import create_dynamoomni_nixl_connector
from dynamo.vllm.omni.connectors.nixl_connector import _nixl_connect as omnis_nixl_connect
from nixl._api import nixl_agent


def tensor(seed, shape, dtype="float32"):
    """The same in every process."""
    count = torch.tensor(shape).prod().item()
    found = (torch.arange(count, dtype=torch.int64) * 7919 + seed * 104729).remainder(251)
    return found.to(getattr(torch, dtype)).reshape(shape)


def digest(array):
    """Of its bytes; numpy has no bfloat16."""
    if isinstance(array, torch.Tensor):
        array = array.contiguous().view(-1).view(torch.uint8).numpy() if array.numel() else array.view(-1).float().numpy()
    return hashlib.sha256(array.tobytes()).hexdigest()


class Worker:
    def __init__(self):
        self.live = {}
        self.kept = []

    async def module(self):
        return [nixl_connect.__name__, omnis_nixl_connect is nixl_connect]

    async def digest(self, seed, shape, dtype="float32"):
        return digest(tensor(seed, shape, dtype))

    async def done(self, number):
        """Waits until what was sent has arrived, or what was offered was read."""
        await asyncio.wait_for(self.live.pop(number), 60)

    # ---- common/multimodal/embedding_transfer.py ----

    async def sender(self, kind):
        self.senders = {**getattr(self, "senders", {}), kind: getattr(embedding_transfer, kind)()}

    async def receiver(self, kind, options):
        made = getattr(embedding_transfer, kind)(**options)
        self.receivers = {**getattr(self, "receivers", {}), kind: made}

    async def send(self, kind, number, seed, shape, dtype, stage):
        request, sent = await self.senders[kind].send_embeddings(tensor(seed, shape, dtype), stage_embeddings=stage)
        self.live[number] = asyncio.ensure_future(sent)
        return request.model_dump_json()

    async def receive(self, kind, requests):
        receiver = self.receivers[kind]
        requests = [embedding_transfer.TransferRequest.model_validate_json(request) for request in requests]
        found = await asyncio.wait_for(asyncio.gather(*map(receiver.receive_embeddings, requests)), 60)
        digests = [digest(received) for _, received in found]
        for tensor_id, _ in found:
            receiver.release_tensor(tensor_id)
        return digests

    # ---- common/multimodal/mm_kwargs_transfer.py ----

    async def kwargs_send(self, number, shapes):
        self.kwargs_sender = getattr(self, "kwargs_sender", None) or mm_kwargs_transfer.MmKwargsNixlSender()
        features = [types.SimpleNamespace(mm_hash=str(seed), data=standins.MultiModalKwargsItem(
            pixels=tensor(seed, shape, "uint8"), grid=tensor(seed, [3], "uint8")))
            for seed, shape in enumerate(shapes)]  # fmt: skip
        features.append(types.SimpleNamespace(mm_hash="cached", data=None))
        extra, items = await self.kwargs_sender.prepare(features)
        self.live[number] = asyncio.ensure_future(self.kwargs_sender.cleanup(items))
        return extra

    async def kwargs_receiver(self, max_item_bytes, pool_size):
        self.kwargs_receiver_made = mm_kwargs_transfer.MmKwargsNixlReceiver(max_item_bytes, pool_size)

    async def kwargs_receive(self, extra):
        metadata = mm_kwargs_transfer.MmKwargsTransferMetadata.model_validate(extra["mm_kwargs_nixl"])
        found = await asyncio.wait_for(self.kwargs_receiver_made.receive(metadata), 60)
        items = [mm_kwargs_transfer.decode_mm_kwargs_item(blob) for blob in found["__pickled_kwargs_item__"]]
        assert metadata.mm_hashes[-1] == "cached"
        return [[digest(item["pixels"]), digest(item["grid"])] for item in items]

    # ---- trtllm/encode_helper.py ----

    async def encode(self, number, seed, shape, dtype):
        embeddings = {"mm_embeddings": tensor(seed, shape, dtype), "special_tokens": tensor(seed, [4], "int64")}

        async def load(path):
            return embeddings

        processor = types.SimpleNamespace(
            extract_prompt_and_media_from_request=lambda request: ("", [], request["paths"]), load_tensor_from_path_or_url=load
        )
        self.encoder = getattr(self, "encoder", None) or nixl_connect.Connector()
        responses = EncodeHelper.process_encode_request({"paths": ["x.safetensors"]}, processor, self.encoder)
        response = await responses.__anext__()

        async def until_it_is_read():
            return [item async for item in responses]

        self.live[number] = asyncio.ensure_future(until_it_is_read())
        return response

    async def prefill(self, response):
        self.prefiller = getattr(self, "prefiller", None) or nixl_connect.Connector()
        await self.prefiller._create_connection()
        found = await EncodeHelper.read_embeddings_from_encode_response(response, self.prefiller)
        return [digest(found["mm_embeddings"]), digest(found["special_tokens"])]

    # ---- vllm/omni/connectors/nixl_connector.py ----

    async def omni(self):
        self.omnis = create_dynamoomni_nixl_connector({"pending_timeout_s": 60})

    async def put(self, key, payload):
        value = payload if not isinstance(payload, list) else [tensor(*item) for item in payload]
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        ok, size, metadata = await asyncio.to_thread(self.omnis.put, "0", "1", key, value)
        return [ok, size, metadata]

    async def get(self, key, metadata):
        found = await asyncio.to_thread(self.omnis.get, "0", "1", key, metadata)
        if found is None:
            return None
        value, size = found
        value = [value] if isinstance(value, torch.Tensor) else value
        return [[digest(item) for item in value] if isinstance(value, list) else value, size]

    async def pending(self):
        while self.omnis.health()["pending_requests"]:
            await asyncio.sleep(0.001)
        return self.omnis.health()["errors"]

    async def forget(self, key):
        await asyncio.to_thread(self.omnis.cleanup, key)
        return self.omnis.health()["pending_requests"]

    async def omni_close(self):
        await asyncio.to_thread(self.omnis.close)

    # ---- common/utils/media_nixl.py, behind the loaders ----

    async def frontend(self, name):
        """A plain NIXL agent, as Dynamo's frontend has in Rust."""
        self.agent = nixl_agent(name)

    async def decoded(self, seed, shape, metadata):
        """What the frontend sends with a request whose media it decoded."""
        media = tensor(seed, shape, "uint8")
        self.kept.append((media, self.agent.register_memory(media)))
        blob = "b64:" + base64.b64encode(zlib.compress(self.agent.get_agent_metadata())).decode()
        return {"nixl_metadata": blob, "shape": shape, "dtype": "UINT8", "metadata": metadata,
                "nixl_descriptor": {"addr": media.data_ptr(), "size": media.numel(), "mem_type": "Dram", "device_id": 0}}  # fmt: skip

    async def loaders(self):
        self.images = image_loader.ImageLoader(enable_frontend_decoding=True)
        self.videos = video_loader.VideoLoader(enable_frontend_decoding=True)
        self.audio = audio_loader.AudioLoader(enable_frontend_decoding=True)

    async def load(self, images, videos, audio):
        found = await asyncio.wait_for(asyncio.gather(
            self.images.load_image_batch([{"Decoded": item} for item in images]),
            self.videos.load_video_batch([{"Decoded": item} for item in videos]),
            self.audio.load_audio_batch([{"Decoded": item} for item in audio]),
        ), 60)  # fmt: skip
        import numpy

        return [[digest(numpy.asarray(image)) for image in found[0]],
                [[digest(frames), metadata["frames_indices"]] for frames, metadata in found[1]],
                [[digest(numpy.ascontiguousarray(samples)), rate] for samples, rate in found[2]]]  # fmt: skip


async def main():
    worker = Worker()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command, *arguments = json.loads(line)
        try:
            answer = {"answer": await getattr(worker, command)(*arguments)}
        except Exception as error:
            answer = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
