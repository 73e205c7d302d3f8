# SPDX-License-Identifier: Apache-2.0
"""What the machine is: GPU, driver, libraries, UCX and what its CUDA parts find. Nothing here may fail."""

import glob
import os
import platform
import subprocess
import sys
from pathlib import Path

_VARIABLES = ("UCX_", "CUDA_", "NVIDIA_", "PYTORCH_", "LD_", "ROPEWAY_", "PYTHONPATH", "PATH")


def run(command, within=20, length=6000, environment=None):
    """The output of a command, or why there is none."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=within, env={**os.environ, **(environment or {})}
        )
        text = done.stdout.decode(errors="replace")
        return text[-length:] if done.returncode == 0 else f"exit code {done.returncode}\n{text[-length:]}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}: {error}"


def read(path):
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        return f"{type(error).__name__}: {error}"


def _ucx(prefix):
    """Of the unpacked UCX: what its tools say, and which libraries its CUDA parts lack."""
    info = os.path.join(prefix, "bin", "ucx_info")
    environment = {"LD_LIBRARY_PATH": f"{prefix}/lib:{os.environ.get('LD_LIBRARY_PATH', '')}"}
    modules = sorted(glob.glob(os.path.join(prefix, "lib", "ucx", "*cuda*.so.0")))
    return {
        "prefix": prefix,
        "version": run([info, "-v"], environment=environment),
        "devices": run([info, "-d"], environment={**environment, "UCX_LOG_LEVEL": "info"}, length=16000),
        "libraries": {os.path.basename(module): run(["ldd", module], environment=environment) for module in modules},
    }


def collect(ucx_prefix):
    facts = {
        "machine": platform.platform(),
        "cpus": os.cpu_count(),
        "cpu": next((line.split(":", 1)[1].strip() for line in read("/proc/cpuinfo").splitlines() if line.startswith("model name")), "?"),
        "memory": read("/proc/meminfo").splitlines()[:3],
        "python": sys.version,
        "driver": read("/proc/driver/nvidia/version"),
        "nvidia_smi": run(["nvidia-smi"]),
        "gpus": run(
            ["nvidia-smi", "--query-gpu=name,uuid,driver_version,memory.total,pcie.link.gen.current,pcie.link.width.current,compute_mode", "--format=csv"]
        ),
        "device_files": sorted(glob.glob("/dev/nvidia*")),
        "loader": "\n".join(
            line for line in run(["ldconfig", "-p"], length=10**6).splitlines() if any(word in line for word in ("libcuda", "nvidia-ml", "libgdrapi"))
        ),
        "ptrace_scope": read("/proc/sys/kernel/yama/ptrace_scope"),
        "shm": run(["df", "-h", "/dev/shm"]),
        "limits": run(["bash", "-c", "ulimit -a"]),
        "environment": {name: value for name, value in sorted(os.environ.items()) if name.startswith(_VARIABLES)},
    }
    if ucx_prefix:
        facts["ucx"] = _ucx(ucx_prefix)
    return facts
