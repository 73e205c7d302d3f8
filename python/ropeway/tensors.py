# SPDX-License-Identifier: Apache-2.0
"""offer() and fetch(): the metadata also says what the bytes are."""

from __future__ import annotations

import importlib
import json
import math
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from ._views import View, refuse, view_of
from .operation import OFFER, Operation

if TYPE_CHECKING:
    from . import _core

_WRITE = 2  # the operation kind in the metadata of create_writable()
_VERSION = 2
_MAX_DEPTH = 50
_MAX_BITS = 13_000  # of an int; Python reads and writes no more than 4300 digits
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
        return json.dumps({OFFER: _VERSION, **self._form, "rdma": json.loads(self._core.metadata())})


class Plan(NamedTuple):
    form: dict[str, Any]
    rdma: str


def _refuse_at(place: str, sentence: str) -> Exception:
    return refuse(f"{place or 'what is offered'} {sentence}")


def _describe_one(item: Any, place: str) -> dict[str, Any]:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(item, torch.Tensor):
        if item.is_quantized:
            raise _refuse_at(place, "is a quantized tensor, whose scale would be lost; offer its int_repr(), and the scale")
        return {"library": "torch", "dtype": str(item.dtype).removeprefix("torch."), "shape": list(item.shape)}
    dtype = getattr(item, "dtype", None)
    if dtype is None or not hasattr(item, "shape"):
        try:
            return {"library": "bytes", "dtype": "uint8", "shape": [memoryview(item).nbytes]}
        except TypeError:
            pass
        except ValueError as error:  # a memoryview that was released
            raise _refuse_at(place, f"is a {type(item).__name__} without memory: {error}") from None
        raise _refuse_at(place, f"is a {type(item).__name__}; tensors, arrays, buffers, None, bool, int, float, str, and lists, tuples "
                                "and dicts of those can be offered")  # fmt: skip
    masked = sys.modules.get("numpy.ma")
    if masked is not None and isinstance(item, masked.MaskedArray):
        raise _refuse_at(place, "is a masked array, whose mask would be lost; offer its data and its mask")
    if not isinstance(getattr(dtype, "name", None), str) or not _is_number(dtype):
        raise _refuse_at(place, f"is an array of type {dtype}, which can't be offered; send its bytes with create_readable()")
    if not getattr(dtype, "isnative", True):
        raise _refuse_at(place, f"is an array of type {dtype.str}, not in this machine's byte order; convert it first")
    return {"library": "numpy", "dtype": dtype.name, "shape": list(item.shape)}


def _view_at(place: str, item: Any) -> View:
    try:
        return view_of(item)
    except (TypeError, ValueError, BufferError) as error:
        raise _refuse_at(place, f"is a {type(item).__name__} that can't be offered: {error}") from None


def _take_apart(data: Any, place: str, depth: int, views: list[View], tensors: list[dict[str, Any]]) -> Any:
    """How data is built, as JSON: {"tensor": number}, {"value": ...}, {"list": [...]}, {"tuple": [...]}, or
    {"dict": [[name, ...], ...]}. Its tensors are appended to views."""
    if depth > _MAX_DEPTH:
        raise _refuse_at(place[:200], f"lies in more than {_MAX_DEPTH} containers; does one contain itself?")
    if type(data) is int and data.bit_length() > _MAX_BITS:
        raise _refuse_at(place, f"is an int of {data.bit_length()} bits; at most {_MAX_BITS} travel")
    if data is None or type(data) in (bool, int, float, str):
        return {"value": data}
    if isinstance(data, (list, tuple)):
        parts = [_take_apart(item, f"{place}[{index}]", depth + 1, views, tensors) for index, item in enumerate(data)]
        return {"tuple" if isinstance(data, tuple) else "list": parts}
    if isinstance(data, dict):
        for name in data:
            if not isinstance(name, str):
                raise _refuse_at(place, f"is a dict with the key {name!r}; the names in a dict must be str")
        return {"dict": [[name, _take_apart(item, f"{place}[{name!r}]", depth + 1, views, tensors)] for name, item in data.items()]}
    tensors.append(_describe_one(data, place))
    views.append(_view_at(place, data))
    return {"tensor": len(views) - 1}


def take_apart(data: Any) -> tuple[dict[str, Any], list[View]]:
    """What fetch() needs to know of data, and the memory of the tensors in it. Raises ArgumentError, with its place in data,
    for what can't be offered."""
    views: list[View] = []
    tensors: list[dict[str, Any]] = []
    form = _take_apart(data, "", 0, views, tensors)
    if not views:  # an operation needs some memory
        views, tensors = [view_of(b"")], [{"library": "bytes", "dtype": "uint8", "shape": [0]}]
    return {"form": form, "tensors": tensors}, views


def _put_together(form: Any, items: list[Any], depth: int = 0) -> Any:
    """What _take_apart() took apart. Raises KeyError, TypeError, ValueError or IndexError for another form."""
    if depth > _MAX_DEPTH:
        raise ValueError("nested too deep")
    [(kind, parts)] = form.items()
    if kind == "tensor":
        if type(parts) is not int or parts < 0:
            raise ValueError("no number")
        return items[parts]
    if kind == "value":
        if parts is not None and type(parts) not in (bool, int, float, str):
            raise ValueError("no value")
        return parts
    if kind == "dict":
        found = {str(name): _put_together(part, items, depth + 1) for name, part in parts}
        if len(found) != len(parts):
            raise ValueError("a name is there twice")
        return found
    made = [_put_together(part, items, depth + 1) for part in parts]
    return {"list": made, "tuple": tuple(made)}[kind]


def _offer_in(text: str) -> dict[str, Any]:
    try:
        form = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refuse(f"the metadata is not that of an offer, and no JSON ({error}); use what offer().metadata gave") from None
    if isinstance(form, dict) and OFFER in form:
        return form
    if isinstance(form, dict) and "nixl_metadata" in form:
        made, used = ("writable", "write") if form.get("operation_kind") == _WRITE else ("readable", "read")
        raise refuse(f"this is the metadata of create_{made}(); use begin_{used}() with it, or offer() there")
    raise refuse("the metadata is not that of an offer; use what offer().metadata gave")


def plan(text: str, max_bytes: Optional[int]) -> Plan:
    """What the metadata promises, checked against the sizes of the operation itself."""
    form = _offer_in(text)
    try:
        known = form.pop(OFFER) == _VERSION
        rdma = form.pop("rdma")
        sizes = [int(descriptor["size"]) for descriptor in rdma["descriptors"]]
        tensors = [(str(t["library"]), str(t["dtype"]), [int(n) for n in t["shape"]]) for t in form["tensors"]]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise refuse("the metadata is not that of an offer, or was changed; use what offer().metadata gave") from None
    if not known or len(sizes) != len(tensors) or not _fits(form.get("form"), len(tensors)):
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


def _fits(form: Any, count: int) -> bool:
    """Whether the form can be put together of that many tensors."""
    try:
        _put_together(form, [None] * count)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError):
        return False
    return True


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
    return _put_together(plan.form["form"], items)
