# SPDX-License-Identifier: Apache-2.0
"""What Dynamo's components import from inference engines, which are gigabytes: as little of it as they need here.

Nothing of Dynamo, NIXL or torch is replaced. Debian 12's torch is older than Dynamo expects; the names that it lacks, and
that only newer releases have, are added."""
import ctypes
import gc
import importlib.util
import pickle
import sys
import types

import msgspec
import torch


def module(name, **content):
    found = types.ModuleType(name, "A stand-in")
    found.__path__ = []
    found.__dict__.update(content)
    sys.modules[name] = found
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules.get(parent) or module(parent), last, found)
    return found


# ---- vllm's typed serializer of tensors, and vllm-omni's connectors ----


class MultiModalKwargsItem(dict):
    """Tensors of bytes by names."""


RAW_VIEW = 3


class MsgpackEncoder:
    def encode(self, item):
        buffers = [None]
        for tensor in item.values():
            buffers.append(tensor.numpy().tobytes())
        names = [[name, list(tensor.shape)] for name, tensor in item.items()]
        buffers[0] = msgspec.msgpack.encode([names, msgspec.msgpack.Ext(RAW_VIEW, b"view")])
        return buffers


class MsgpackDecoder:
    def __init__(self, kind):
        self.kind = kind

    def ext_hook(self, code, data):
        raise NotImplementedError

    def decode(self, buffers):
        names, view = msgspec.msgpack.decode(buffers[0], ext_hook=self.ext_hook)
        assert bytes(view) == b"view"
        found = self.kind()
        for (name, shape), buffer in zip(names, buffers[1:]):
            found[name] = torch.frombuffer(bytearray(buffer), dtype=torch.uint8).view(shape)
        return found


class OmniConnectorBase:
    serialize_obj = staticmethod(pickle.dumps)
    deserialize_obj = staticmethod(pickle.loads)


class OmniConnectorFactory:
    connectors = {}

    @classmethod
    def list_registered_connectors(cls):
        return list(cls.connectors)

    @classmethod
    def register_connector(cls, name, make):
        cls.connectors[name] = make


def without_its_init(name):
    """A package of Dynamo whose own __init__ loads an engine's whole server: its modules are found all the same."""
    if name not in sys.modules:
        spec = importlib.util.find_spec(name)
        module(name).__path__ = list(spec.submodule_search_locations)


def install():
    module("vllm.v1.serial_utils", CUSTOM_TYPE_RAW_VIEW=RAW_VIEW, MsgpackEncoder=MsgpackEncoder, MsgpackDecoder=MsgpackDecoder)
    module("vllm.multimodal.inputs", MultiModalKwargsItem=MultiModalKwargsItem)
    module("vllm_omni.distributed.omni_connectors.connectors.base", OmniConnectorBase=OmniConnectorBase)
    module("vllm_omni.distributed.omni_connectors.factory", OmniConnectorFactory=OmniConnectorFactory)
    without_its_init("dynamo.vllm.omni")
    module("tensorrt_llm.inputs.multimodal_data", VideoData=object)
    module("tensorrt_llm.inputs.utils", async_load_video=None)
    module("tensorrt_llm.llmapi", DisaggregatedParams=object)
    module("tensorrt_llm.llmapi.tokenizer", tokenizer_factory=None)
    module("tensorrt_llm.llmapi.disagg_utils", get_global_disagg_request_id=lambda machine_id: machine_id)
    module("tensorrt_llm.executor.result", Logprob=object)
    newer_torch()


def newer_torch():
    if not hasattr(torch.dtype, "itemsize"):
        # torch.dtype is a type of C, which takes no attributes.
        attributes = gc.get_referents(torch.dtype.__dict__)[0]
        attributes["itemsize"] = property(lambda dtype: torch.empty(0, dtype=dtype).element_size())
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(torch.dtype))
    if not hasattr(torch.Tensor, "nbytes"):
        torch.Tensor.nbytes = property(lambda tensor: tensor.numel() * tensor.element_size())
    for name in "float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu uint64 uint32 uint16".split():
        if not hasattr(torch, name):
            setattr(torch, name, None)  # they stand in a table, and nothing here has that type
