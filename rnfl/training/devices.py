"""Where and in which precision to compute."""

from contextlib import AbstractContextManager

import torch

PRECISIONS = ("auto", "fp32", "bf16")

# Below this width the casts cost more than the faster matrix products save (measured).
NARROW = 384


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
    """Turn 'auto' into 'bf16' where the hardware gains from it, else 'fp32'.

    Never fp16: it is far slower than fp32 on CPUs and overflows elsewhere.

    Raises
    ------
    ValueError
        If ``precision`` is not one of ``PRECISIONS``.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; valid ones are {PRECISIONS}")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if embed_dim >= NARROW and _cpu_has_bf16() else "fp32"


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Context in which matrix products run in ``precision`` ('fp32' or 'bf16')."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def _cpu_has_bf16() -> bool:
    # Private names, and the only ones there are before torch 2.9: absent means "no".
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks)
