"""What every benchmark needs: the machine and its speed, timing in turns, memory, exponents, JSON.

Absolute seconds say little about code that runs elsewhere, so every benchmark compares two things
in one run, taken in turns (A B A B …), and keeps the medians and their ratio.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from rnfl.storage import provenance

RESULTS = Path(__file__).resolve().parent / "results"
SAMPLED_EVERY = 0.005  # s between two looks at the memory in use
LONG_ENOUGH = 3.0  # s of matrix products of one size
CPU_SIZES = (1024, 2048, 4096)
CUDA_SIZES = (4096, 8192, 16384)


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with what all benchmarks take: ``--smoke`` and ``--output``."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--smoke", action="store_true", help="the smallest sizes; proves no number")
    made.add_argument(
        "--output", type=Path, help="folder of the JSON; by default benchmarks/results"
    )
    return made


def interleaved(
    functions: Mapping[str, Callable[[], Any]], repeats: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Time functions in turns, so that whatever else the machine does touches all alike.

    Parameters
    ----------
    functions : mapping of name to callable
        A callable that returns a float has timed itself (s), without its set-up.
    repeats : int
        Timed calls of each.
    warm_up : int
        Untimed calls of each before.

    Returns
    -------
    dict of name to list of float
        Seconds, in the order of the calls.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be positive, got {repeats}")
    for function in functions.values():
        for _ in range(warm_up):
            function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            started = time.perf_counter()
            own = function()
            taken = time.perf_counter() - started
            times[name].append(own if isinstance(own, float) else taken)
    return times


def medians(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the median of each list."""
    return {name: statistics.median(values) for name, values in times.items()}


def paired_ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Return the median over the turns of ``slow / fast``.

    Examples
    --------
    >>> paired_ratio([2.0, 20.0, 2.2], [1.0, 10.0, 1.0])
    2.0
    """
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


@dataclass(frozen=True)
class Measured:
    """What a call returned, its time (s), that of all cores (s), and memory it took (bytes)."""

    value: Any
    seconds: float
    cpu_seconds: float
    peak_bytes: int


def peak_memory(function: Callable[[], Any]) -> Measured:
    """Call a function once and watch this process's memory beyond what it had before.

    On Linux pages of mapped files do not count, since the system may drop them at will; processes
    that the function starts never do. A peak shorter than a hundredth of a second can be missed.
    """
    gc.collect()
    _give_back()
    before = highest = _memory_in_use()
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(SAMPLED_EVERY):
            highest = max(highest, _memory_in_use())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    started, worked = time.perf_counter(), time.process_time()
    try:
        value = function()
    finally:
        seconds, worked = time.perf_counter() - started, time.process_time() - worked
        highest = max(highest, _memory_in_use())
        done.set()
        watcher.join()
    return Measured(value, seconds, worked, highest - before)


def _give_back() -> None:
    """Return freed memory to the system, so that a peak is not hidden in what is free."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _memory_in_use() -> int:
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("RssAnon"):
                    return 1024 * int(line.split()[1])
    except OSError:
        pass
    import psutil

    return psutil.Process().memory_info().rss


class Clock:
    """Notes when each batch begins, on the device's own time line, without waiting for it.

    Parameters
    ----------
    device : torch.device
    """

    def __init__(self, device: Any) -> None:
        self.device = device
        self.marks: list[tuple[Any, int]] = []

    def mark(self, n_images: int) -> None:
        """A batch of so many images begins now."""
        if self.device.type == "cuda":
            import torch

            moment = torch.cuda.Event(enable_timing=True)
            moment.record()
        else:
            moment = time.perf_counter()
        self.marks.append((moment, n_images))

    def seconds_per_image(self, skip: int = 1) -> float:
        """Return the time from batch ``skip`` to the beginning of the last one, per image.

        The first batches warm up; the last one has no next mark to end it.
        """
        if len(self.marks) < skip + 2:
            raise ValueError(f"{len(self.marks)} batches began, expected at least {skip + 2}")
        (first, _), (last, _) = self.marks[skip], self.marks[-1]
        if self.device.type == "cuda":
            last.synchronize()
            seconds = first.elapsed_time(last) / 1000
        else:
            seconds = last - first
        return seconds / sum(n for _, n in self.marks[skip:-1])


def growth_exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Return b of ``value = a · size ** b``, by least squares on the logarithms of both.

    There is no offset: a fixed cost makes b smaller, so look at :func:`last_exponent` too.

    Examples
    --------
    >>> round(growth_exponent([1, 10, 100], [3, 30, 300]), 6)
    1.0
    """
    sizes, values = np.asarray(sizes, float), np.asarray(values, float)
    if len(sizes) < 2 or len(set(sizes)) < 2 or (sizes <= 0).any() or (values <= 0).any():
        raise ValueError(f"sizes {sizes} and values {values}: expected two or more, all positive")
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def last_exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Return the exponent between the two largest sizes alone, where a fixed cost hides least."""
    pairs = sorted(zip(sizes, values, strict=True))[-2:]
    return growth_exponent(*zip(*pairs, strict=True))


def machine() -> dict[str, Any]:
    """Return what the numbers depend on: processor, cores, threads, memory, GPU, system."""
    import torch

    from rnfl.training.devices import processor

    return {
        **processor(),
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
        begun = now(device)
        for turn in range(6):
            started = now(device)
            for _ in range(calls):
                torch.mm(a, b, out=product)
            seconds = now(device) - started
            if turn:  # the first call chooses and loads its kernel
                best = max(best, 2 * size**3 * calls / seconds)
                if now(device) - begun > LONG_ENOUGH:
                    break
    return best


def now(device: Any) -> float:
    """Return the time (s) when a device has done what it was asked for."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)
    return time.perf_counter()


def show(rows: Sequence[Mapping[str, Any]], title: str = "") -> None:
    """Print rows as a plain-text table, the columns of the first row first; numbers short."""
    if title:
        print(f"\n{title}")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_short(row.get(name)) for name in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for line in (columns, *cells):
        print("  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)))


def _short(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def publish(name: str, record: Mapping[str, Any], given: argparse.Namespace) -> Path:
    """Write a benchmark's record with machine, versions, time and commit; return the file.

    Parameters
    ----------
    name : str
        The file is ``<name>.json``.
    record : mapping
        ``settings``, ``rows``, ``medians``, ``ratios`` and more; numbers that are not finite
        become null.
    given : Namespace
        Of :func:`parser`. Without an ``output``, results go to ``benchmarks/results``; those of a
        smoke or quick run go to a temporary folder, so that they replace no real one.
    """
    output = given.output
    if output is None:
        aside = given.smoke or getattr(given, "quick", False)
        output = Path(tempfile.mkdtemp(prefix="rnfl-benchmark-")) if aside else RESULTS
    about = {
        "benchmark": name,
        "smoke": given.smoke,
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        **provenance.commit(),
        "machine": machine(),
        "versions": versions(),
    }
    path = provenance.write_json(output / f"{name}.json", about | dict(record))
    print(f"written: {path}")
    return path
