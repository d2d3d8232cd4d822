"""Open a checkpoint without running anything in it, or say why it is none."""

from __future__ import annotations

import argparse
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

# What RETFound's files hold beside the weights; nothing else but tensors is accepted.
ALLOWED = (argparse.Namespace,)

BEGINNINGS = {
    b"version https://git-lfs": "it is the pointer of a git-lfs file, not the file itself",
    b"<": "it is a web page: a login or an error came in place of the file",
}
WRITTEN_BY_TORCH = (b"PK", b"\x80\x02")  # an archive; before torch 1.6 a pickle
# How torch names what it refuses to build.
FOREIGN = re.compile(r"(?:GLOBAL|class|function):? ([\w.]+\.\w+)")
DAMAGED = "it is truncated or damaged: download it again and compare its size"


@dataclass(frozen=True)
class Contents:
    """What a checkpoint holds.

    Attributes
    ----------
    groups : dict
        Tables of weights by the key they lie under; '' = the file itself.
    beside : tuple of str
        Whatever else the file holds; it is not used.
    metadata : dict
        Of a safetensors file.
    """

    path: Path
    groups: dict[str, dict[str, Tensor]]
    beside: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)

    def under(self, top: str | None) -> dict[str, Tensor] | None:
        """Return the weights under a key; safetensors files have no such keys, nor converted."""
        if self.path.suffix == ".safetensors":
            return self.groups[""]
        return self.groups.get(top or "")


def read(path: str | Path) -> Contents:
    """Read a checkpoint's tensors, mapped into memory where the format allows.

    Parameters
    ----------
    path : path
        ``.safetensors``, or anything that ``torch.save`` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no checkpoint, is damaged, or holds objects other than tensors, plain values and
        an ``argparse.Namespace``; such objects are never built, let alone run.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file: expected a checkpoint")
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)


def _read_safetensors(path: Path) -> Contents:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}
            return Contents(path, {"": tensors}, metadata=file.metadata() or {})
    except (SafetensorError, OSError) as error:
        reason = _beginning(path) or DAMAGED
        raise ValueError(f"{path} is no safetensors checkpoint: {reason} ({error})") from error


def _read_torch(path: Path) -> Contents:
    archive = zipfile.is_zipfile(path)
    try:
        with torch.serialization.safe_globals(list(ALLOWED)):
            held = torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
    except Exception as error:  # bytes that are no pickle may end in any of them
        raise ValueError(f"{path} is no checkpoint to load: {_reason(path, error)}") from error
    if not isinstance(held, Mapping):
        raise ValueError(f"{path} holds a {type(held).__name__}: expected a table of weights")
    groups = {str(key): dict(value) for key, value in held.items() if _is_table(value)}
    flat = {key: value for key, value in held.items() if isinstance(value, Tensor)}
    if flat:
        groups[""] = flat
    if not groups:
        raise ValueError(f"{path} holds no weights, only {sorted(map(str, held))[:8]}")
    beside = tuple(str(key) for key in held if key not in groups and key not in flat)
    return Contents(path, groups, beside)


def _is_table(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(v, Tensor) for v in value.values())
    )


def _reason(path: Path, error: Exception) -> str:
    found = FOREIGN.search(str(error))
    if reason := _beginning(path):
        return reason
    if isinstance(error, pickle.UnpicklingError) and found:
        return (
            f"it asks for {found[1]}, which is no tensor; nothing but tensors, plain values and "
            "argparse.Namespace is read, and nothing of it was run. Take the file from its "
            "publisher's own page"
        )
    with path.open("rb") as file:
        if file.read(2) not in WRITTEN_BY_TORCH:
            return "it was not written by torch.save"
    return f"{DAMAGED} ({type(error).__name__})"


def _beginning(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        return "it is empty"
    return next((why for start, why in BEGINNINGS.items() if head.lstrip().startswith(start)), None)
