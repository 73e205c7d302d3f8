# SPDX-License-Identifier: Apache-2.0
"""Cases of their own, run in a worker: function(worker, ...). What a give_ function returns is the argument of the
take_ function, in the other process."""

import sides
from memory import OnlyDlpack

KEPT = []  # operations that a peer will take, with their memory


def _connector(worker, role):
    return worker.side("native", role, {})._connector


def _keep(operation, *memory):
    KEPT.append((operation, memory))
    return operation.metadata


def settle(worker):
    """Waits for all that was given."""
    while KEPT:
        operation, _ = KEPT.pop()
        operation.wait(15)
    return {}


# ---- refused ----


def _refusals(worker, connector):
    torch, device = worker.libraries.torch, worker.libraries.device
    square = torch.zeros(64, 64, device=device)
    lazy = torch.zeros(8, dtype=torch.complex64, device=device).conj()

    def out_of_range():
        import ropeway

        return ropeway.Descriptor.from_pointer(square.data_ptr(), 16, "cuda:70000", square)

    return {
        "strided_source": ("strided view of device memory", lambda: connector.create_readable(square[:, ::2])),
        "strided_target": ("strided view of device memory", lambda: connector.create_writable(square[:, ::2])),
        "transposed_target": ("strided view of device memory", lambda: connector.create_writable(square.t())),
        "negated": ("lazy conjugate or negation", lambda: connector.create_readable(lazy.imag)),
        "conjugate": ("lazy conjugate or negation", lambda: connector.create_readable(lazy)),
        "sparse": ("layout", lambda: connector.create_readable(square.to_sparse())),
        "integrity": ("host memory only", lambda: connector.create_readable(square, integrity=True)),
        "overlapping_targets": ("overlap", lambda: connector.create_writable([square[:10], square[5:15]])),
        "device_number_out_of_range": ("cuda:70000", lambda: connector.create_readable(out_of_range())),
    }


def refused(worker, what):
    import ropeway

    words, act = _refusals(worker, _connector(worker, "one"))[what]
    try:
        act()
    except ropeway.RopewayError as error:
        assert words in str(error), f"refused, but with these words: {error}"
        return {"refused": f"{type(error).__name__} {error.code.name}: {error}"}
    raise AssertionError("it was not refused")


def refused_without_cuda(worker):
    """Where UCX has no CUDA transports: an error that says so, and no crash."""
    import ropeway

    tensor = worker.libraries.torch.zeros(1000, device=worker.libraries.device)
    try:
        _connector(worker, "one").create_readable(tensor)
    except ropeway.RopewayError as error:
        assert error.code == ropeway.ErrorCode.DEVICE, f"{error.code.name}: {error}"
        return {"refused": str(error)}
    raise AssertionError("it was not refused")


# ---- views ----


def _rows(worker, device, seed=5):
    return worker.libraries.pattern(64 * 8192, seed, device).view(64, 8192).clone()


def _view(rows, what):
    """A view of 32 rows or of 4,096 columns."""
    if what == "strided":
        return rows[:, ::2]
    if what == "wide":
        return rows[:, :4096]
    return rows[16:48]


def give_view(worker, what):
    host, device = "cpu", worker.libraries.device
    source = {"sliced_rows": (device, "rows"), "strided_host_source": (host, "strided")}.get(what, (device, "rows"))
    rows = _rows(worker, source[0])
    worker.libraries.synchronize()
    view = _view(rows, source[1])
    return {"what": what, "metadata": _keep(_connector(worker, "one").create_readable(view), rows), "form": source[1]}


def take_view(worker, given):
    torch = worker.libraries.torch
    place, form = {
        "sliced_rows": (worker.libraries.device, "rows"),
        "strided_host_target": ("cpu", "strided"),
        "wide_strided_host_target": ("cpu", "wide"),
        "strided_host_source": (worker.libraries.device, "rows"),
    }[given["what"]]
    rows = torch.full((64, 8192), 165, dtype=torch.uint8, device=place)
    worker.libraries.synchronize()
    operation = _connector(worker, "other").begin_read(given["metadata"], _view(rows, form))
    operation.wait(15)
    sent = _view(_rows(worker, place), given["form"]).reshape(-1)
    assert torch.equal(_view(rows, form).reshape(-1), sent), "the bytes of the view differ"
    assert int((rows != 165).sum()) <= sent.numel(), "bytes beside the view were written"
    return {"path": operation.path}


# ---- tensors with types ----


def _tensor(worker, dtype, device):
    torch = worker.libraries.torch
    kind = getattr(torch, dtype, None)
    if kind is None:
        return None
    values = torch.arange(3 * 1000, device=device).remainder(97)
    return values.to(torch.float32).to(kind).view(3, 1000)


def give_tensor(worker, dtype):
    tensor = _tensor(worker, dtype, worker.libraries.device)
    if tensor is None:
        return {"dtype": dtype, "skipped": f"this torch has no {dtype}"}
    worker.libraries.synchronize()
    return {"dtype": dtype, "metadata": _keep(_connector(worker, "one").offer(tensor), tensor)}


def take_tensor(worker, given):
    if "skipped" in given:
        return given
    torch, device = worker.libraries.torch, worker.libraries.device
    operation = _connector(worker, "other").fetch(given["metadata"], device=device)
    found, expected = operation.wait(15), _tensor(worker, given["dtype"], device)
    assert (found.dtype, found.shape, found.device) == (expected.dtype, expected.shape, expected.device), f"{found.dtype} {found.shape}"
    assert torch.equal(found.view(-1).view(torch.uint8), expected.view(-1).view(torch.uint8)), "the values differ"
    return {"path": operation.path}


def _dict(worker):
    torch, device = worker.libraries.torch, worker.libraries.device
    return {
        "tokens": torch.arange(5000, device=device),
        "mask": torch.arange(77) % 2 == 0,
        "empty": torch.empty(0, 4, device=device),
        "scalar": torch.tensor(2.5, device=device),
    }


def give_dict(worker):
    tensors = _dict(worker)
    worker.libraries.synchronize()
    return {"metadata": _keep(_connector(worker, "one").offer(tensors), tensors)}


def take_dict(worker, given):
    torch, device = worker.libraries.torch, worker.libraries.device
    found = _connector(worker, "other").fetch(given["metadata"], device=device, max_bytes=1 << 20).wait(15)
    for name, expected in _dict(worker).items():
        got = found[name]
        assert got.dtype == expected.dtype and str(got.device) == device, f"{name}: {got.dtype} on {got.device}"
        assert torch.equal(got.cpu(), expected.cpu()), f"{name} differs"
    assert list(found) == list(_dict(worker))
    return {}


def give_cupy(worker):
    cupy, connector = worker.libraries.cupy, _connector(worker, "one")
    array = cupy.arange(6000, dtype=cupy.float32).reshape(2, 3000)
    worker.libraries.synchronize()
    if not worker.libraries.dry:
        cupy.cuda.Device().synchronize()
    return {"metadata": [_keep(connector.offer(array), array) for _ in range(2)]}


def take_cupy(worker, given):
    torch, device = worker.libraries.torch, worker.libraries.device
    connector = _connector(worker, "other")
    found = connector.fetch(given["metadata"][0], library="torch", device=device).wait(15)
    expected = torch.arange(6000, dtype=torch.float32, device=device).view(2, 3000)
    assert found.device == expected.device and torch.equal(found, expected), "the torch tensor differs"
    array = connector.fetch(given["metadata"][1]).wait(15)
    assert array.shape == (2, 3000) and (array.ravel() == expected.cpu().numpy().ravel()).all(), "the numpy array differs"
    return {}


# ---- the drop-in ----


def dropin_surface(worker):
    import ropeway.nixl_connect as connect

    libraries = worker.libraries
    torch, device = libraries.torch, libraries.device
    tensor = torch.zeros(3, 5, device=device)
    side = sides.Dropin({})
    kind = "cpu" if libraries.dry else "cuda"
    expected = [device, kind, 0, 60, device]
    objects = [tensor, OnlyDlpack(tensor)]
    found = side.describe(objects)
    for one in found["descriptors"]:
        assert one == expected, f"the descriptor is {one}, not {expected}"
    assert found["is_cuda_available"] is torch.cuda.is_available()
    place = connect.Device(device)
    assert (str(place), str(place.kind), place.id) == (device, kind, 0)
    raw = connect.Descriptor((tensor.data_ptr(), 60, place, tensor))
    assert (raw.ptr, raw.size, str(raw.device)) == (tensor.data_ptr(), 60, device)
    if libraries.cupy is not None:
        array = libraries.cupy.zeros(15, dtype="float32")
        pair = connect.Descriptor((array, place))
        assert (pair.size, str(pair.device)) == (60, device)
    back = raw.metadata.to_descriptor()
    assert (back.ptr, back.size, str(back.device)) == (raw.ptr, 60, device)
    mixed = [connect.Descriptor(tensor), connect.Descriptor(torch.zeros(3))]
    try:
        side._run(side._connector.create_readable(mixed))
    except ValueError as error:
        found["mixed"] = str(error)
    else:
        assert libraries.dry, "descriptors of host and device memory in one operation are refused upstream"
    return found


def give_staged(worker):
    """As programs do where device memory can't be moved: by way of the host."""
    libraries = worker.libraries
    tensor = libraries.pattern(3 << 20, 11, libraries.device)
    side = worker.side("dropin", "one", {})
    operation, text = side.offer("READ", [tensor.cpu()], 15)
    KEPT.append((_Waiting(side, operation), (tensor,)))
    return {"metadata": text}


class _Waiting:
    """wait() of an operation of the drop-in."""

    def __init__(self, side, operation):
        self.wait = lambda limit: side.wait(operation, limit)


def take_staged(worker, given):
    libraries = worker.libraries
    torch = libraries.torch
    side = worker.side("dropin", "other", {})
    room = torch.zeros(3 << 20, dtype=torch.uint8)
    operation = side.take("READ", given["metadata"], [room], 15)
    side.wait(operation, 15)
    moved = room.to(libraries.device)
    assert torch.equal(moved, libraries.pattern(3 << 20, 11, libraries.device)), "the bytes differ"
    return {"path": side.path(operation)}
