# SPDX-License-Identifier: Apache-2.0
"""offer() and fetch(): the metadata also says what the bytes are."""

from __future__ import annotations

import importlib
import json
import math
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from ._views import refuse
from .operation import Operation

if TYPE_CHECKING:
    from . import _core

_FORMAT = "ropeway_offer"
_NUMPY_KINDS = "biufc"
_LIBRARIES = ("numpy", "torch", "bytes")


class Offer(Operation[Any]):
    """A readable operation whose metadata is for fetch()."""

    __slots__ = ("_form",)

    def __init__(self, core: _core.Operation, data: Any, form: dict[str, Any]) -> None:
        super().__init__(core, data)
        self._form = form

    @property
    def metadata(self) -> str:
        return json.dumps({_FORMAT: 1, **self._form, "rdma": json.loads(self._core.metadata())})


class Plan(NamedTuple):
    form: dict[str, Any]
    rdma: str


def items_of(data: Any) -> list[Any]:
    if isinstance(data, dict):
        return list(data.values())
    return list(data) if isinstance(data, (list, tuple)) else [data]


def _describe_one(item: Any) -> dict[str, Any]:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(item, torch.Tensor):
        return {"library": "torch", "dtype": str(item.dtype).removeprefix("torch."), "shape": list(item.shape)}
    dtype = getattr(item, "dtype", None)
    if dtype is None or not hasattr(item, "shape"):
        return {"library": "bytes", "dtype": "uint8", "shape": [memoryview(item).nbytes]}
    if not _is_number(dtype):
        raise refuse(f"an array of type {dtype} can't be offered; send its bytes with create_readable()")
    if not getattr(dtype, "isnative", True):
        raise refuse(f"an array of type {dtype.str} is not in this machine's byte order; convert it first")
    return {"library": "numpy", "dtype": dtype.name, "shape": list(item.shape)}


def describe(data: Any) -> dict[str, Any]:
    items = items_of(data)
    names = list(data) if isinstance(data, dict) else None
    if names is not None and not all(isinstance(name, str) for name in names):
        raise TypeError("the names of tensors in a dict must be str")
    form = "dict" if names is not None else "list" if isinstance(data, (list, tuple)) else "one"
    return {"form": form, "names": names, "tensors": [_describe_one(item) for item in items]}


def _names_fit(form: dict[str, Any], count: int) -> bool:
    """Those of a dict: as many strings as tensors, no two alike."""
    names = form.get("names")
    if form["form"] != "dict":
        return True
    return isinstance(names, list) and all(isinstance(name, str) for name in names) and len(set(names)) == len(names) == count


def plan(text: str, max_bytes: Optional[int]) -> Plan:
    """What the metadata promises, checked against the sizes of the operation itself."""
    try:
        form = json.loads(text)
        known = form.pop(_FORMAT) == 1 and form["form"] in ("one", "list", "dict")
        rdma = form.pop("rdma")
        sizes = [int(descriptor["size"]) for descriptor in rdma["descriptors"]]
        tensors = [(str(t["library"]), str(t["dtype"]), [int(n) for n in t["shape"]]) for t in form["tensors"]]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise refuse(f"the metadata is not that of an offer ({type(error).__name__}: {error}); use what offer().metadata gave") from None
    if not known or len(sizes) != len(tensors) or not _names_fit(form, len(tensors)):
        raise refuse("the metadata of the offer contradicts itself; use what offer().metadata gave, unchanged")
    if any(library not in _LIBRARIES for library, _, _ in tensors):
        raise refuse(f"the offer's tensors are of another library than {', '.join(_LIBRARIES)}")
    if any(n < 0 for n in sizes) or any(n < 0 for _, _, shape in tensors for n in shape):
        raise refuse("the metadata of the offer has a negative length")
    if max_bytes is not None and sum(sizes) > max_bytes:
        raise refuse(f"the offer has {sum(sizes)} bytes, and max_bytes is {max_bytes}")
    for index, ((_, dtype, shape), size) in enumerate(zip(tensors, sizes)):
        count = math.prod(shape)
        if (count == 0) != (size == 0) or (count and size % count):
            raise refuse(f"tensor {index} of the offer is {dtype}{shape} in {size} bytes; that can't be")
    # From here on only what was checked.
    form["tensors"] = [{"library": library, "dtype": dtype, "shape": shape} for library, dtype, shape in tensors]
    form["sizes"] = sizes
    return Plan(form, json.dumps(rdma))


def _ml_dtypes() -> Any:
    try:
        return importlib.import_module("ml_dtypes")
    except ImportError:
        return None


def _library(wanted: str) -> Any:
    """numpy or torch: the wanted one, or the other one when that is missing."""
    for name in (wanted, "torch" if wanted == "numpy" else "numpy"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise refuse("the offer holds tensors, and neither numpy nor torch is installed here")


def _is_number(dtype: Any) -> bool:
    """numpy has no kind of its own for the float types of ml_dtypes."""
    return getattr(dtype, "kind", "f") in _NUMPY_KINDS or hasattr(_ml_dtypes(), dtype.name)


def _dtype_of(module: Any, name: str) -> Any:
    """The type that the peer named. Types that hold pointers must not get through: the peer fills the memory."""
    if module.__name__ == "torch":
        dtype = getattr(module, name, None)
        return dtype if isinstance(dtype, module.dtype) else None
    extra = getattr(_ml_dtypes(), name, None)
    try:
        dtype = module.dtype(extra if isinstance(extra, type) and issubclass(extra, module.generic) else name)
    except (TypeError, ValueError, SyntaxError):
        return None
    return dtype if dtype.name == name and _is_number(dtype) and not dtype.hasobject else None


def _allocate_one(tensor: dict[str, Any], size: int, library: Optional[str], device: str) -> Any:
    name, shape = tensor["dtype"], tuple(tensor["shape"])
    if tensor["library"] == "bytes" and library is None:
        return bytearray(size)
    wanted = library or ("torch" if device != "cpu" else tensor["library"])
    module = importlib.import_module(library) if library else _library(wanted)
    dtype = _dtype_of(module, name)
    if dtype is None:
        raise refuse(f"{module.__name__} has no type '{name}' here; choose the library with fetch(library=...), or install ml_dtypes")
    itemsize = module.empty((), dtype=dtype).itemsize if module.__name__ == "numpy" else module.empty((), dtype=dtype).element_size()
    if math.prod(shape) * itemsize != size:
        raise refuse(f"the offer says {name}{list(shape)} in {size} bytes; here that takes {math.prod(shape) * itemsize}")
    if module.__name__ == "torch":
        return module.empty(shape, dtype=dtype, device=device)
    return module.empty(shape, dtype=dtype)


def allocate(plan: Plan, library: Optional[str], device: str) -> list[Any]:
    if library not in (None, "torch", "numpy"):
        raise ValueError(f"library is '{library}'; it must be 'torch', 'numpy' or None")
    return [_allocate_one(t, size, library, device) for t, size in zip(plan.form["tensors"], plan.form["sizes"])]


def assemble(plan: Plan, items: list[Any]) -> Any:
    if plan.form["form"] == "one":
        return items[0]
    return dict(zip(plan.form["names"], items)) if plan.form["form"] == "dict" else items
