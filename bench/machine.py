# SPDX-License-Identifier: Apache-2.0
"""What a result has to say about the machine that it is from."""

import contextlib
import os
import pathlib
import platform
import subprocess


def field(path, name):
    with contextlib.suppress(OSError), open(path) as lines:
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    return None


def release():
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    return None


def revision(root):
    """The commit that is measured, with a + where files differ from it."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        run = lambda *words: subprocess.run(
            ["git", "-C", root, *words], check=True, capture_output=True, text=True
        ).stdout.strip()
        return run("rev-parse", "--short", "HEAD") + (
            "+" if run("status", "--porcelain", "--untracked-files=no") else ""
        )
    return None


def describe(root):
    ptrace = pathlib.Path("/proc/sys/kernel/yama/ptrace_scope")
    return {
        "cpu": field("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "system": release(),
        "virtual": "hypervisor" in (field("/proc/cpuinfo", "flags") or "").split(),
        "ptrace_scope": ptrace.read_text().strip() if ptrace.exists() else None,
        "revision": revision(root),
        "python": platform.python_version(),
    }
