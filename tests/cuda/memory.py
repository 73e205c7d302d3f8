# SPDX-License-Identifier: Apache-2.0
"""Memory of every kind that the tests move, with known bytes in it and guards around it.

In a dry run the host's memory stands for the GPU's, and numpy for cupy.
"""

import random

GUARD = 0xA5


class Libraries:
    """torch and cupy, and where "device" memory lies. cupy is None where it is missing."""

    def __init__(self, dry):
        import torch

        self.torch = torch
        self.dry = dry
        self.device = "cpu" if dry else "cuda:0"
        self.cupy = None
        try:
            if dry:
                import numpy as cupy
            else:
                import cupy
            self.cupy = cupy
        except Exception:  # not there, or not for this CUDA
            pass

    def synchronize(self):
        if not self.dry:
            self.torch.cuda.synchronize()

    def pattern(self, size, seed, device):
        """size bytes that look random and are the same on every device."""
        torch = self.torch
        words = torch.arange((size + 7) // 8, dtype=torch.int64, device=device)
        words.mul_(-7046029254386353131).add_(seed * 1000003 + 12345)
        words.bitwise_xor_(words >> 29).mul_(-4658895280553007687)
        words.bitwise_xor_(words >> 32)
        return words.view(torch.uint8)[:size]


class OnlyDlpack:
    """A tensor that shows its memory by DLPack alone."""

    def __init__(self, tensor):
        self._tensor = tensor

    def __dlpack__(self, **options):
        return self._tensor.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._tensor.__dlpack_device__()


class OnlyInterface:
    """A tensor that shows its memory by __cuda_array_interface__ (in a dry run __array_interface__) alone."""

    def __init__(self, tensor, dry):
        interface = {"data": (tensor.data_ptr(), False), "shape": (tensor.numel(),), "typestr": "|u1", "version": 3}
        setattr(self, "__array_interface__" if dry else "__cuda_array_interface__", interface)
        self._tensor = tensor


def sizes_of(spec):
    """spec: {"sizes": [...]}, or {"count", "low", "high", "seed"} for random ones."""
    if "sizes" in spec:
        return list(spec["sizes"])
    chance = random.Random(spec["seed"])
    return [chance.randint(spec["low"], spec["high"]) for _ in range(spec["count"])]


class Memory:
    """One allocation with pieces in it, and a guard before and behind each.

    place: cuda, host, pinned, or of cupy: cupy (its pool), raw (cudaMalloc), async (cudaMallocAsync), managed;
    or "mixed", host and cuda pieces in turn (in allocations of their own).
    form: what is handed to Ropeway: torch, cupy, dlpack, interface, numpy, pointer.
    """

    def __init__(self, libraries, spec, seed, is_source, stream=None):
        """stream: the bytes of the pieces, one after the other; by default a pattern of the seed."""
        self._libraries = libraries
        self._spec = spec
        self.seed = seed
        self.sizes = sizes_of(spec)
        self.total = sum(self.sizes)
        self.parts = []
        self._stream = stream
        if spec["place"] == "mixed":
            self._split(is_source)
            return
        lead, gap = spec.get("lead", 0), spec.get("gap", 0)
        self._offsets, at = [], lead
        for size in self.sizes:
            self._offsets.append(at)
            at += size + gap
        self._backing, self._owner = self._allocate(max(at, 1))
        self.reset(is_source)

    def _split(self, is_source):
        """A part for each piece."""
        stream, at = self._libraries.pattern(self.total, self.seed, "cpu"), 0
        for index, size in enumerate(self.sizes):
            place = "cuda" if index % 2 else "host"
            piece = stream[at : at + size].to(self._libraries.device if place == "cuda" else "cpu")
            spec = {"place": place, "sizes": [size], "lead": self._spec.get("lead", 0), "gap": self._spec.get("gap", 0)}
            self.parts.append(Memory(self._libraries, spec, self.seed, is_source, piece))
            at += size

    def _allocate(self, size):
        place, libraries = self._spec["place"], self._libraries
        torch, cupy = libraries.torch, libraries.cupy
        if place == "cuda":
            return torch.empty(size, dtype=torch.uint8, device=libraries.device), None
        if place == "host" or (place == "pinned" and libraries.dry):
            return torch.empty(size, dtype=torch.uint8), None
        if place == "pinned":
            return torch.empty(size, dtype=torch.uint8, pin_memory=True), None
        if libraries.dry:
            array = cupy.empty(size, dtype=cupy.uint8)
            return torch.from_numpy(array), array
        allocate = {
            "cupy": cupy.cuda.alloc,
            "raw": lambda n: cupy.cuda.MemoryPointer(cupy.cuda.Memory(n), 0),
            "async": cupy.cuda.malloc_async,
            "managed": cupy.cuda.malloc_managed,
        }[place]
        array = cupy.ndarray((size,), dtype=cupy.uint8, memptr=allocate(size))
        tensor = torch.as_tensor(array, device=libraries.device)
        if tensor.data_ptr() != array.data.ptr:
            raise RuntimeError("torch made a copy of cupy's memory")
        return tensor, array

    def _imprint(self, backing):
        """The bytes of the pieces, one after the other, at their places."""
        if self._stream is None:
            self._stream = self._libraries.pattern(self.total, self.seed, backing.device)
        at = 0
        for offset, size in zip(self._offsets, self.sizes):
            backing[offset : offset + size].copy_(self._stream[at : at + size])
            at += size

    def reset(self, is_source):
        """Sources get their bytes, targets get others."""
        for part in self.parts:
            part.reset(is_source)
        if not self.parts:
            self._backing.fill_(GUARD)
            if is_source:
                self._imprint(self._backing)
        self._libraries.synchronize()

    def objects(self):
        if self.parts:
            return [part.objects()[0] for part in self.parts]
        form = self._spec.get("form", "torch")
        return [self._object(form, offset, size) for offset, size in zip(self._offsets, self.sizes)]

    def _object(self, form, offset, size):
        piece = self._backing[offset : offset + size]
        if form == "torch":
            return piece
        if form == "cupy":
            return self._libraries.cupy.asarray(self._owner if self._owner is not None else self._backing)[offset : offset + size]
        if form == "dlpack":
            return OnlyDlpack(piece)
        if form == "interface":
            return OnlyInterface(piece, self._libraries.dry)
        if form == "numpy":
            return piece.numpy()
        if form == "pointer":
            import ropeway

            return ropeway.Descriptor.from_pointer(self._backing.data_ptr() + offset, size, str(self._backing.device), self._backing)
        raise ValueError(f"no form '{form}'")

    def check(self):
        """Raises unless every byte of the pieces is the right one, and the guards are whole."""
        for part in self.parts:
            part.check()
        if self.parts:
            return
        self._libraries.synchronize()
        torch = self._libraries.torch
        if len(self.sizes) == 1 and self._backing.numel() == self.total:
            if self._stream is None:
                self._stream = self._libraries.pattern(self.total, self.seed, self._backing.device)
            expected = self._stream
        else:
            expected = torch.full_like(self._backing, GUARD)
            self._imprint(expected)
        if torch.equal(self._backing, expected):
            return
        wrong = (self._backing != expected).nonzero().flatten()
        first = int(wrong[0])
        raise AssertionError(
            f"{wrong.numel()} of {self._backing.numel()} bytes are wrong, the first at {first}: {int(self._backing[first])} "
            f"instead of {int(expected[first])}; the pieces begin at {self._offsets[:4]} and have {self.sizes[:4]} bytes"
        )
