"""The machine that a benchmark runs on: in words, and how fast it multiplies matrices."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnfl.storage import provenance

LONG_ENOUGH = 3.0  # s of matrix products of one size
CPU_SIZES = (1024, 2048, 4096)
CUDA_SIZES = (4096, 8192, 16384)
EXTENSIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")


def machine() -> dict[str, Any]:
    """Return what the numbers depend on: processor, cores, threads, memory, GPU, system."""
    import torch

    return {
        "cpu": _processor(),
        "extensions": [name for name in EXTENSIONS if name in _flags()],
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "memory_gb": _memory_gb(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.release()}",
    }


def usable_cores() -> int:
    """Return the cores this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Return the versions of Python, the packages and, where there is a GPU, of CUDA."""
    import torch

    found = provenance.versions()
    return found | {"cuda": torch.version.cuda} if torch.cuda.is_available() else found


def _cpuinfo(field: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _flags() -> list[str]:
    return (_cpuinfo("flags") or _cpuinfo("Features")).split()


def _memory_gb() -> float | None:
    names = getattr(os, "sysconf_names", {})
    if not {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= set(names):
        return None
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)


def matmul_rate(device: Any, dtype: Any, sizes: Sequence[int] | None = None) -> float:
    """Return the best rate (FLOP/s) of square matrix products on a device, in one dtype.

    Parameters
    ----------
    device : torch.device or str
    dtype : torch.dtype
    sizes : sequence of int, optional
        Sides of the matrices; by default large ones.
    """
    import torch

    device = torch.device(device)
    on_cuda = device.type == "cuda"
    best = 0.0
    for size in sizes or (CUDA_SIZES if on_cuda else CPU_SIZES):
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        product = torch.empty(size, size, device=device, dtype=dtype)
        calls = 20 if on_cuda else 1
        begun = _now(device)
        for turn in range(6):
            started = _now(device)
            for _ in range(calls):
                torch.mm(a, b, out=product)
            seconds = _now(device) - started
            if turn:  # the first call chooses and loads its kernel
                best = max(best, 2 * size**3 * calls / seconds)
                if _now(device) - begun > LONG_ENOUGH:
                    break
    return best


def _now(device: Any) -> float:
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)
    return time.perf_counter()
