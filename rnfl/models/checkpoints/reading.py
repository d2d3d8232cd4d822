"""Open a checkpoint without running anything in it, or say why it is none."""

from __future__ import annotations

import argparse
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import isqrt
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from rnfl.models.checkpoints import packing
from rnfl.storage.readers import readable

# What RETFound's files hold beside the weights; nothing else but tensors is accepted.
ALLOWED = (argparse.Namespace,)

BEGINNINGS = {
    b"version https://git-lfs": "it is the pointer of a git-lfs file, not the file itself",
    b"<": "it is a web page: a login or an error came in place of the file",
}
WRITTEN_BY_TORCH = (b"PK", b"\x80\x02")  # an archive; before torch 1.6 a pickle
# How torch names what it refuses to build.
FOREIGN = re.compile(r"(?:GLOBAL|class|function):? ([\w.]+\.\w+)")
REGISTERS = "register_tokens"
GATED = re.compile(r"(blocks\.\d+\.mlp\.)(w12|w3)\.")
GATES = {"w12": "fc1", "w3": "fc2"}
DAMAGED = "it is truncated or damaged: download it again and compare its size"


@dataclass(frozen=True)
class Contents:
    """What a checkpoint holds."""

    path: Path
    #: Tables of weights by the key they lie under, of tables within tables as ``outer/inner``;
    #: '' = the file itself.
    groups: dict[str, dict[str, Tensor]]
    beside: tuple[str, ...] = ()  # whatever else the file holds; it is not used
    metadata: dict[str, str] = field(default_factory=dict)  # of a safetensors file
    renamed: str = ""  # what was made timm's of DINOv2's own names, in words

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
    read = _read_safetensors if path.suffix == ".safetensors" else _read_torch
    return _with_timms_names(read(path))


def _with_timms_names(contents: Contents) -> Contents:
    """Return DINOv2's own layout with registers, and of its gated layers, as timm has them.

    DINOv2 gives the class token a position; timm, whose registers have none, adds it to the token
    once and for all.
    """
    told, groups = set(), {}
    for top, weights in contents.groups.items():
        renamed = [GATED.sub(lambda at: f"{at[1]}{GATES[at[2]]}.", key) for key in weights]
        groups[top] = made = dict(zip(renamed, weights.values(), strict=True))
        told |= {"w12 and w3 → fc1 and fc2"} if made.keys() != weights.keys() else set()
        for start in [key.removesuffix(REGISTERS) for key in made if key.endswith(REGISTERS)]:
            token, position = start + "cls_token", start + "pos_embed"
            places = made[position].shape if position in made else ()
            if token not in made or len(places) != 3 or isqrt(places[1] - 1) ** 2 != places[1] - 1:
                continue
            made[start + "reg_token"] = made.pop(start + REGISTERS)
            made[token] = made[token] + made[position][:, :1]
            made[position] = made[position][:, 1:]
            told.add("register_tokens → reg_token, the class token's position added to it")
    return replace(contents, groups=groups, renamed="; ".join(sorted(told)))


def _read_safetensors(path: Path) -> Contents:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}
            metadata = file.metadata() or {}
    except Exception as error:  # see below
        reason = _beginning(path) or DAMAGED
        raise ValueError(f"{path} is no safetensors checkpoint: {reason} ({error})") from error
    if packing.KEY in metadata:
        with readable(path, "packed weights", DAMAGED):
            tensors = packing.unpack(tensors)
    return Contents(path, {"": tensors}, metadata=metadata)


def _read_torch(path: Path) -> Contents:
    try:
        if archive := zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as members:  # torch looks at no check sum
                if bad := members.testzip():
                    raise ValueError(f"{bad} does not fit its check sum")
        with torch.serialization.safe_globals(list(ALLOWED)):
            held = torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
    except Exception as error:  # bytes that are no pickle may end in any of them
        raise ValueError(f"{path} is no checkpoint to load: {_reason(path, error)}") from error
    if not isinstance(held, Mapping):
        raise ValueError(f"{path} holds a {type(held).__name__}: expected a table of weights")
    groups = dict(_tables(held))
    if not groups:
        raise ValueError(f"{path} holds no weights, only {sorted(map(str, held))[:8]}")
    used = {name.partition("/")[0] for name in groups} | set(groups.get("", ()))
    return Contents(path, groups, tuple(str(key) for key in held if key not in used))


def _tables(held: Mapping, top: str = "") -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield every table of tensors in a file, those within others last, by the key it is under."""
    named = {key: value for key, value in held.items() if isinstance(key, str)}
    if tensors := {key: value for key, value in named.items() if isinstance(value, Tensor)}:
        yield top, tensors
    for key, value in named.items():
        if isinstance(value, Mapping):
            yield from _tables(value, f"{top}/{key}" if top else key)


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
    return f"{DAMAGED} ({type(error).__name__}: {str(error)[:200]})"


def _beginning(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        return "it is empty"
    return next((why for start, why in BEGINNINGS.items() if head.lstrip().startswith(start)), None)
