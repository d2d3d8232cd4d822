"""Where and in which precision to compute.

``auto`` on a CPU is decided by measuring, for what a CPU can do says little about what pays: some
have instructions for bf16 and multiply in it at half the speed of fp32, others at four times.
"""

import json
import platform
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import nn

from rnfl.storage import paths, provenance
from rnfl.storage.paths import cache_root

PRECISIONS = ("auto", "fp32", "bf16")

# Narrower models, such as the packaged ones of width 128, stay in fp32 whatever is faster: their
# published numbers are to be those of every CPU, and their steps take milliseconds anyway.
NARROW = 384

# bf16 has to be this many times as fast, for it rounds. What lies around the blocks of a step costs
# the same in both, so that who stays in fp32 below it loses at most these 5 %.
MARGIN = 1.05

TOKENS = 197  # of one image of 224 px in patches of 16
REPEATS = 3
EXTENSIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")


def choose_device(name: str | None = None) -> torch.device:
    """Return the named device; by default the current GPU if there is one, else the CPU."""
    if name is None and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device(name or "cpu")


def describe(device: torch.device) -> str:
    """Name a device in words, with the number of threads on a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"


def resolve_precision(precision: str, device: torch.device, embed_dim: int) -> str:
    """Turn 'auto' into 'bf16' where that is faster, else 'fp32'; see :func:`decide_precision`."""
    return decide_precision(precision, device, embed_dim)["precision"]


def decide_precision(precision: str, device: torch.device, embed_dim: int) -> dict:
    """Decide in which precision to compute, and say why.

    Never fp16: it is far slower than fp32 on CPUs and overflows elsewhere.

    Parameters
    ----------
    precision : {'auto', 'fp32', 'bf16'}
        Any other is a ValueError.
    embed_dim : int
        Width of the model.

    Returns
    -------
    dict
        ``precision`` ('fp32' or 'bf16') and ``because``; where it was measured also ``gflops`` of
        both, ``measured`` (when) and ``cached`` (whether an earlier process did it).
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; valid ones are {PRECISIONS}")
    if precision != "auto":
        return {"precision": precision, "because": "asked for"}
    if device.type == "cuda":
        has = torch.cuda.is_bf16_supported()
        return {"precision": "bf16" if has else "fp32", "because": "what this GPU computes in"}
    if embed_dim < NARROW:
        return {"precision": "fp32", "because": f"width {embed_dim} is below {NARROW}"}
    if not cpu_has_bf16():
        return {"precision": "fp32", "because": "this CPU has no instructions for bf16"}
    # Setting the number, even to what it is, tells MKL to keep to it. Measuring does so too, and
    # whether a process measured or read must not show in the bits of its results.
    torch.set_num_threads(torch.get_num_threads())
    return _decided(measurement_file(embed_dim), embed_dim)


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Context in which matrix products run in ``precision`` ('fp32' or 'bf16')."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def processor() -> dict:
    """Name this machine's CPU and those of its extensions that matter to matrix products."""
    flags = (_cpuinfo("flags") or _cpuinfo("Features")).split()
    return {
        "cpu": _cpuinfo("model name") or platform.processor() or platform.machine(),
        "extensions": [name for name in EXTENSIONS if name in flags],
    }


def measurement_file(embed_dim: int) -> Path:
    """Return where what was measured on this CPU, with this PyTorch, is kept for all processes."""
    fields = ("model name", "cpu family", "model\t", "stepping", "flags", "Features")
    about = [processor(), *map(_cpuinfo, fields), torch.__version__, TOKENS, embed_dim]
    return cache_root() / f"precision-{embed_dim}-{provenance.sha256_json(about)[:16]}.json"


def measure_gflops(embed_dim: int, clock: Callable[[], float] | None = None) -> dict[str, float]:
    """Measure a training step of one transformer block in both precisions, in turns, GFLOP/s.

    Forward and backward pass on one image's tokens, with all casts of autocast, which makes up
    nearly the whole of a step; ViT-Ti, S and B gain from bf16 what their block does or slightly
    more. One thread, and the time that it was computing: what else the machine does hardly shows.

    Parameters
    ----------
    clock : callable, optional
        Returns seconds; by default those of this thread.
    """
    if clock is None:
        fine = time.get_clock_info("thread_time").resolution < 1e-3  # 16 ms on Windows
        clock = time.thread_time if fine else time.perf_counter
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        block = nn.TransformerEncoderLayer(
            embed_dim, max(1, embed_dim // 64), 4 * embed_dim, 0.0, "gelu",
            batch_first=True, norm_first=True,
        )  # fmt: skip
        tokens = torch.randn(1, TOKENS, embed_dim, requires_grad=True)
    taken: dict[str, list[float]] = {"fp32": [], "bf16": []}
    try:
        torch.set_num_threads(1)
        with torch.enable_grad():
            for _ in range(1 + REPEATS):
                for precision, seconds in taken.items():
                    begun = clock()
                    with autocast(tokens.device, precision):
                        out = block(tokens)
                    out.float().mean().backward()
                    seconds.append(clock() - begun)
    finally:
        torch.set_num_threads(threads)
    # A backward pass multiplies twice as much as the forward pass; the first turn warms up.
    flop = 3 * (24 * TOKENS * embed_dim**2 + 4 * TOKENS**2 * embed_dim)
    return {name: flop / min(seconds[1:]) / 1e9 for name, seconds in taken.items()}


@cache
def _decided(path: Path, embed_dim: int) -> dict:
    """Decide by what ``path`` holds, or else by measuring; once in a process."""
    found = _read(path)
    cached = found is not None
    if found is None:
        found = {
            **processor(),
            "width": embed_dim,
            "gflops": measure_gflops(embed_dim),
            "measured": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        }
        with suppress(OSError):  # where nothing can be written, every process measures
            paths.make_folder(path.parent)
            with FileLock(path.with_suffix(".lock"), timeout=10):
                # Of processes that measure at once, the first one speaks for all.
                found = _read(path) or found
                provenance.write_json(path, found)
    gain = found["gflops"]["bf16"] / found["gflops"]["fp32"]
    return {
        "precision": "bf16" if gain >= MARGIN else "fp32",
        "because": f"a block of width {embed_dim} is {gain:.2f} times as fast in bf16, "
        f"which is taken from {MARGIN:g} on",
        "gflops": {name: round(rate, 1) for name, rate in found["gflops"].items()},
        "measured": found["measured"],
        "cached": cached,
    }


def _read(path: Path) -> dict | None:
    """Return what was measured; None where that is absent, damaged or not to be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        rates = [found["gflops"]["fp32"], found["gflops"]["bf16"]]
        whole = np.isfinite(rates).all() and min(rates) > 0 and isinstance(found["measured"], str)
    except (OSError, ValueError, TypeError, LookupError):
        return None
    return found if whole else None


def _cpuinfo(field: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")


def cpu_has_bf16() -> bool:
    """Whether the CPU has instructions for bf16, which says little about their speed."""
    # Private names, and the only ones there are before torch 2.9: absent means "no".
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks)
