"""Facts of the machine, its devices and the installed libraries that times depend on."""

import functools
import importlib.metadata
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import jax

# Instruction sets that libraries have kernels of their own for, as Linux names them.
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "asimd")
_PACKAGES = ("jaxlib", "jaxconv-onednn", "onednn-cpu-gomp")
# What restricts the instruction sets that programs use, for measurements: variables, a flag of XLA.
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
_XLA_LIMIT = "--xla_cpu_max_isa="


def cores() -> int:
    """Return how many CPUs this process may use, which is also XLA's number of threads."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def device_kind(platform: str) -> str:
    """Return the kind of this process's devices of a platform, such as "NVIDIA H100 80GB HBM3".

    "" where it says no more than the platform (CPUs), where there are several kinds, and where
    there is no such device.

    Args:
        platform: "cpu", "gpu" or "tpu".

    Example:
        >>> device_kind("cpu")
        ''
    """
    if platform == "cpu":
        return ""
    try:
        kinds = {device.device_kind for device in jax.local_devices(backend=platform)}
    except RuntimeError:  # this process has no such backend
        return ""
    return kinds.pop() if len(kinds) == 1 else ""


@functools.cache
def cpu_kind() -> str:
    """Return the kind of this machine's CPU, as `kind_of` names it."""
    return kind_of(cpu_flags())


def kind_of(flags: Sequence[str]) -> str:
    """Return "avx2" for an x86 CPU with AVX2 and without AVX-512, and "" for every other one.

    Args:
        flags: from `cpu_flags`.
    """
    return "avx2" if "avx2" in flags and "avx512f" not in flags else ""


def cpu_flags() -> list[str]:
    """Return those of `FLAGS` that the CPU has; none where the system does not list them."""
    words = set(_cpuinfo().split())
    return [flag for flag in FLAGS if flag in words]


def busy_cores(seconds: float = 0.3) -> float:
    """Return how many CPUs are busy, in the mean over some time in which this thread sleeps.

    Where the system has no count of it (Linux has): the load of the last minute, or 0.
    """
    before = _ticks()
    time.sleep(seconds)
    after = _ticks()
    if before is None or after is None:
        return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    idle, whole = (b - a for a, b in zip(before, after, strict=True))
    return (os.cpu_count() or 1) * (1 - idle / max(whole, 1))


def version(package: str) -> str | None:
    """Return the version of a package, or None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def facts() -> dict[str, str]:
    """Return facts of this machine by name: those that make its times unlike another machine's.

    Example:
        >>> sorted(facts())
        ['cores', 'cpu', 'cpu flags', 'jaxconv-onednn', 'jaxlib', 'limits', 'onednn-cpu-gomp']
    """
    versions = {package: version(package) or "not installed" for package in _PACKAGES}
    limits = [f"{name}={os.environ[name]}" for name in _LIMITS if name in os.environ]
    flags = os.environ.get("XLA_FLAGS", "").split()
    limits += [flag.removeprefix("--") for flag in flags if flag.startswith(_XLA_LIMIT)]
    return {
        "cpu": _cpu(),
        "cpu flags": " ".join(cpu_flags()) or "unknown",
        "cores": str(cores()),
        "limits": " ".join(limits) or "none",
        **versions,
    }


def _cpu() -> str:
    """The name of the CPU's model, or of its architecture."""
    for line in _cpuinfo().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not Linux
        return ""


def _ticks() -> tuple[int, int] | None:
    """Of all CPUs since the system started: how long they were idle, and in all."""
    try:
        words = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()
    except OSError:
        return None
    # user, nice, system, idle, waiting for disks, interrupts; guests are counted as users too
    counts = [int(word) for word in words[1:9]]
    return counts[3] + counts[4], sum(counts)
