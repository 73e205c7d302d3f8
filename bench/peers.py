# SPDX-License-Identifier: Apache-2.0
"""What is measured: Ropeway, what a user could pick instead, and what the machine itself can do. Each peer says how its
environment is made, how its worker is started, and which cases it can do."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import perftest
from cases import FEW_SIZES

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORKERS = ROOT / "bench/workers"
ENVIRONMENTS = ROOT / "build/bench"
DEBIAN_PYTHON = pathlib.Path("/usr/bin/python3")

ALL = ("sizes", "asleep", "concurrency", "descriptors", "first", "both", "idle", "readers", "start")
SHM_NIXL = {"UCX_TLS": "posix,sysv,cma,self", "UCX_POSIX_ERROR_HANDLING": "y", "UCX_SYSV_ERROR_HANDLING": "y"}


class Unavailable(Exception):
    """The peer can't be had or does not run here; the text says why."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a worker runs: its part of the benchmark, its address and device, and a command in front of its own."""

    part: str
    address: str = "127.0.0.1"
    device: str = "lo"
    prefix: tuple = ()

    @property
    def transport(self):
        return "shm" if self.part == "shm" else "tcp"


def run_logged(command, log, what):
    with open(log, "wb") as file:
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, timeout=900, cwd=ROOT)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"{what}: {error}") from error
    if done.returncode != 0:
        lines = [
            line
            for line in log.read_text(errors="replace").splitlines()
            if line.strip() and not line.startswith("[notice]")
        ]
        raise Unavailable(f"{what}: {lines[-1] if lines else f'exit code {done.returncode}'}")


def make_environment(name, requirements):
    """A virtual environment under build/bench with these wheels; made once."""
    home = ENVIRONMENTS / name
    python, complete = home / "bin/python", home / "complete"
    wanted = "\n".join(requirements)
    if not complete.exists() or complete.read_text() != wanted:
        ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
        base = DEBIAN_PYTHON if DEBIAN_PYTHON.exists() else pathlib.Path(sys.executable)
        run_logged([base, "-m", "venv", "--clear", home], ENVIRONMENTS / f"{name}.log", "no virtual environment")
        run_logged(
            [
                python,
                "-m",
                "pip",
                "install",
                "--no-input",
                "--disable-pip-version-check",
                "--only-binary",
                ":all:",
                *requirements,
            ],
            ENVIRONMENTS / f"{name}.log",
            "pip",
        )
        complete.write_text(wanted)
    return python


def site_packages(python):
    return next(iter((python.parent.parent / "lib").glob("python3*/site-packages")))


def measured_environment(**more):
    """Ours without UCX settings: the results say which ones were used."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("UCX_", "ROPEWAY_", "PYTHON"))}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", **more}


@dataclasses.dataclass(frozen=True)
class Peer:
    name: str
    title: str
    groups: tuple = ALL
    parts: tuple = ("shm", "tcp", "delay", "rate", "readers", "start")
    settings: dict = dataclasses.field(default_factory=dict)  # environment, by transport
    most_descriptors: int = 1 << 20
    most_slots: int = 1 << 20
    most_readers: int = 64
    pending: bool = False  # can have operations that nobody takes
    few_sizes: bool = False
    writes: bool = True
    limit: bool = False  # of the machine, and not something to pick
    note: str = ""

    def supports(self, case):
        return (
            case.group in self.groups
            and case.part in self.parts
            and case.descriptors <= self.most_descriptors
            and case.slots <= self.most_slots
            and case.readers <= self.most_readers
            and (self.writes or not case.write)
            and (self.pending or not case.pending)
            and not (self.few_sizes and case.group == "sizes" and case.size not in FEW_SIZES)
        )

    def prepare(self, build):
        """Makes what the worker needs; raises Unavailable."""

    def command(self, build, place):
        raise NotImplementedError

    def options(self, place):
        return [
            "--transport",
            place.transport,
            "--address",
            place.address,
            *(["--device", place.device] if place.transport == "tcp" else []),
        ]

    def environment(self, place):
        settings = self.settings.get(place.transport, {})
        if settings and place.transport == "tcp":
            settings = {**settings, "UCX_NET_DEVICES": place.device}
        return measured_environment(**settings)

    def installed(self, build):
        """Bytes that the peer takes once installed, or None."""
        return None

    def import_command(self, build):
        """A Python command that imports the peer, or None."""
        return None


@dataclasses.dataclass(frozen=True)
class CPeer(Peer):
    program: str = "limits"
    variant: str = ""

    def path(self, build):
        return build / "bench" / f"worker-{self.program}"

    def prepare(self, build):
        if not self.path(build).exists():
            raise Unavailable(f"{self.path(build)} is missing; build first, with make")

    def command(self, build, place):
        return [
            *place.prefix,
            self.path(build),
            *self.options(place),
            *(["--variant", self.variant] if self.variant else []),
        ]

    def installed(self, build):
        if self.name != "ropeway":
            return None
        library = build / "src/libropeway.so"
        stripped = subprocess.run(["strip", "-o", "/dev/stdout", library.resolve()], capture_output=True).stdout
        ucx = ROOT / "build/ucx/libucx/lib"
        # Names are links to one file each.
        files = {file.resolve() for file in ucx.rglob("*.so*")} if ucx.exists() else set()
        return (len(stripped) or library.stat().st_size) + sum(file.stat().st_size for file in files)


@dataclasses.dataclass(frozen=True)
class PythonPeer(Peer):
    worker: str = ""
    variant: str = ""
    venv: str = ""
    requirements: tuple = ()
    measured: tuple = ()  # the distributions that make up the installation
    module: str = ""
    own_ucx: str = ""  # a package whose UCX the peer loads

    def python(self):
        return (ROOT / "build" if self.venv == "interop-venv" else ENVIRONMENTS) / self.venv / "bin/python"

    def prepare(self, build):
        if self.venv == "interop-venv":
            run_logged([ROOT / "tools/interop-env"], ROOT / "build/bench-interop-env.log", "tools/interop-env")
        else:
            make_environment(self.venv, self.requirements)
        environment = self.environment(Place("tcp"))
        tried = subprocess.run(
            [self.python(), "-c", f"import {self.module}"], env=environment, capture_output=True, text=True, timeout=120
        )
        if tried.returncode != 0:
            raise Unavailable(f"import {self.module}: {(tried.stderr.strip().splitlines() or ['it crashed'])[-1]}")

    def command(self, build, place):
        return [
            *place.prefix,
            self.python(),
            WORKERS / self.worker,
            *self.options(place),
            *(["--variant", self.variant] if self.variant else []),
        ]

    def environment(self, place):
        environment = super().environment(place)
        if self.own_ucx:
            environment["LD_LIBRARY_PATH"] = str(site_packages(self.python()) / self.own_ucx)
        return environment

    def import_command(self, build):
        return [self.python(), "-c", f"import {self.module}"]

    def installed(self, build):
        code = (
            "import sys, json, importlib.metadata as m\n"
            "print(sum((f.size or 0) for n in sys.argv[1:] for f in (m.distribution(n).files or [])))"
        )
        done = subprocess.run([self.python(), "-c", code, *self.measured], capture_output=True, text=True)
        return int(done.stdout) if done.returncode == 0 else None


@dataclasses.dataclass(frozen=True)
class RopewayPython(PythonPeer):
    def prepare(self, build):
        wheels = sorted((ROOT / "dist").glob("ropeway-*.whl"))
        sources = [path for folder in ("src", "python", "include") for path in (ROOT / folder).rglob("*.[chp]*")]
        if not wheels or wheels[-1].stat().st_mtime < max(path.stat().st_mtime for path in sources):
            run_logged([ROOT / "tools/wheel"], ROOT / "build/bench-wheel.log", "tools/wheel")
            wheels = sorted((ROOT / "dist").glob("ropeway-*.whl"))
        python = make_environment(self.venv, self.requirements)
        run_logged(
            [
                python,
                "-m",
                "pip",
                "install",
                "--no-input",
                "--disable-pip-version-check",
                "--force-reinstall",
                "--no-deps",
                wheels[-1],
            ],
            ENVIRONMENTS / f"{self.venv}-wheel.log",
            "pip",
        )
        super().prepare(build)


@dataclasses.dataclass(frozen=True)
class Tool(Peer):
    """ucx_perftest: no worker, a command for each round."""

    variant: str = ""

    def program(self, build):
        done = subprocess.run([build / "cli/ropeway", "info", "--json"], capture_output=True, text=True, timeout=60)
        library = json.loads(done.stdout)["ucx"]["library"] if done.returncode == 0 else ""
        return perftest.find(library), library

    def prepare(self, build):
        if not (build / "cli/ropeway").exists() or self.program(build)[0] is None:
            raise Unavailable("no ucx_perftest beside the UCX that Ropeway is built with, or in PATH")


NIXL = {"venv": "interop-venv", "worker": "nixl_raw.py", "module": "nixl", "measured": ("nixl", "nixl-cu12")}
TCP = ("tcp", "delay", "rate", "readers", "start")
LOOPBACK = {"tcp": {"UCX_TLS": "tcp,self"}}
LIMITS = ("sizes", "descriptors")

PEERS = [
    CPeer(
        "ropeway",
        "Ropeway (C)",
        program="ropeway",
        pending=True,
        most_readers=256,
        note="as installed: on one host a Unix socket, a ring in shared memory, and large transfers from memory to "
        "memory; else TCP, with TLS except on loopback",
    ),
    CPeer(
        "ropeway-ucx",
        "Ropeway by UCX",
        program="ropeway",
        variant="ucx",
        parts=("shm", "tcp"),
        groups=("sizes", "asleep", "concurrency", "descriptors", "first"),
        few_sizes=True,
        note="transports that name UCX, as version 1 did: on one host its queues in shared memory and CMA, else TCP",
    ),
    CPeer(
        "ropeway-tls",
        "Ropeway with TLS",
        program="ropeway",
        variant="tls",
        parts=("tcp",),
        groups=("sizes", "asleep", "concurrency", "descriptors", "first"),
        few_sizes=True,
        note="encryption required, on loopback too",
    ),
    CPeer(
        "ropeway-plain",
        "Ropeway without TLS",
        program="ropeway",
        variant="plain",
        parts=("delay", "rate"),
        groups=("sizes", "first"),
        note="encryption off on both sides",
    ),
    RopewayPython(
        "ropeway-python",
        "Ropeway (Python)",
        groups=("first", "readers", "start", "idle", "python"),
        parts=("shm", "tcp", "delay", "rate", "readers", "start", "python"),
        settings=LOOPBACK,
        worker="nixl_connect.py",
        variant="ropeway.nixl_connect",
        venv="ropeway",
        pending=True,
        requirements=("numpy", "libucx-cu12>=1.22,<2", "pydantic>=2"),
        module="ropeway.nixl_connect",
        measured=("ropeway", "libucx-cu12"),
    ),
    PythonPeer(
        "nixl-connect",
        "stock nixl_connect",
        groups=("first", "readers", "start", "idle", "python"),
        parts=("shm", "tcp", "delay", "rate", "readers", "start", "python"),
        settings=LOOPBACK,
        worker="nixl_connect.py",
        variant="dynamo.nixl_connect",
        venv="interop-venv",
        pending=True,
        module="dynamo.nixl_connect",
        measured=("nixl", "nixl-cu12", "ai-dynamo-runtime"),
        note="over shared memory as installed: nixl then uses CMA and TCP. Needs torch besides",
    ),
    PythonPeer(
        "nixl",
        "raw nixl",
        settings=LOOPBACK,
        **NIXL,
        most_readers=16,
        note="a transfer handle for each operation; over shared memory as installed (CMA and TCP). Needs torch besides",
    ),
    PythonPeer(
        "nixl-prepared",
        "raw nixl, handles made ahead",
        settings=LOOPBACK,
        **NIXL,
        variant="prepared",
        parts=("shm", "tcp"),
        groups=("sizes", "concurrency", "descriptors"),
        few_sizes=True,
        note="posts the same handle again and again",
    ),
    PythonPeer(
        "nixl-shm",
        "raw nixl, shared memory forced",
        settings={"shm": SHM_NIXL},
        **NIXL,
        parts=("shm",),
        groups=("sizes", "concurrency", "descriptors"),
        few_sizes=True,
        note=" ".join(f"{k}={v}" for k, v in SHM_NIXL.items()),
    ),
    PythonPeer(
        "mooncake",
        "Mooncake",
        parts=TCP,
        worker="mooncake_tcp.py",
        venv="mooncake",
        module="mooncake.engine",
        requirements=("mooncake-transfer-engine-non-cuda", "numpy"),
        measured=("mooncake-transfer-engine-non-cuda",),
        note="transfer engine over TCP",
    ),
    PythonPeer(
        "ucxx",
        "ucxx",
        groups=("sizes", "asleep", "first", "idle", "start", "concurrency"),
        worker="ucxx_tag.py",
        venv="ucxx",
        module="ucxx",
        requirements=("ucxx-cu12", "numpy"),
        most_slots=256,
        settings=LOOPBACK,
        measured=("ucxx-cu12", "libucxx-cu12", "libucx-cu12", "librmm-cu12", "rmm-cu12"),
        note="tag messages: a request, and the bytes as its answer; blocking progress mode",
    ),
    PythonPeer(
        "connex",
        "connex-rs",
        worker="connex_rma.py",
        venv="connex",
        module="connex_rs",
        settings=LOOPBACK,
        requirements=("connex-rs", "libucx-cu12", "numpy"),
        measured=("connex-rs", "libucx-cu12"),
        own_ucx="libucx/lib",
        note="one-sided transfers, on the UCX wheel",
    ),
    PythonPeer("uccl", "uccl", groups=(), venv="uccl", module="uccl.p2p", requirements=("uccl",), measured=("uccl",)),
    Tool(
        "ucx-get",
        "ucx_perftest, get",
        groups=("sizes",),
        parts=("shm", "tcp"),
        variant="get",
        limit=True,
        note="ucp_get, one at a time, no request and no outcome",
    ),
    Tool(
        "ucx-am",
        "ucx_perftest, messages",
        groups=("sizes",),
        parts=("shm", "tcp"),
        variant="am",
        limit=True,
        note="from 64 KiB a stream, 32 outstanding; below a ping-pong there and back; polling",
    ),
    CPeer(
        "memcpy",
        "memcpy",
        program="limits",
        variant="memcpy",
        groups=LIMITS,
        parts=("shm",),
        limit=True,
        writes=False,
        note="inside one process, one thread",
    ),
    CPeer(
        "vm",
        "process_vm_readv",
        program="limits",
        variant="vm",
        groups=LIMITS,
        parts=("shm",),
        limit=True,
        note="or writev; one thread",
    ),
    CPeer(
        "sockets",
        "plain TCP socket",
        program="limits",
        variant="socket",
        groups=(*LIMITS, "asleep", "both", "readers"),
        parts=TCP,
        limit=True,
        note="a request there and the bytes back; the write: the bytes there and one byte back",
    ),
]
BY_NAME = {peer.name: peer for peer in PEERS}
