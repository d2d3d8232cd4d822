"""Where a result came from, and how a file appears: whole, or not at all.

Everything is written aside, flushed to disk and renamed into place, so that an interrupted program
leaves no half-written file or folder under its final name.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
import math
import os
import platform
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rnfl.storage import escaping
from rnfl.storage.paths import project_root

PACKAGES = ("rnfl", "torch", "timm", "numpy", "pandas", "scipy", "scikit-learn", "pyarrow")
CODE = ("rnfl", "analysis", "notebooks", "pyproject.toml")
SEAL, SEALED = "seal", "SHA-256 of the rest: "


def commit(root: str | Path | None = None) -> dict[str, Any]:
    """Return ``{"commit": hash, "dirty": flag}`` of the code.

    ``dirty`` says whether code differs from the commit; data and figures do not count. Without
    git, a checkout or a first commit the answer is ``{"commit": "unknown", "dirty": None}``.
    """
    root = Path(root or project_root()).resolve()
    try:
        top = Path(_git(root, "rev-parse", "--show-toplevel")).resolve()
        if top != root:  # another project's repository happens to enclose this folder
            raise FileNotFoundError(f"{root} is not the root of a checkout")
        head = _git(root, "rev-parse", "--verify", "HEAD")
        return {"commit": head, "dirty": bool(_git(root, "status", "--porcelain", "--", *CODE))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": "unknown", "dirty": None}


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of packages, without importing them.

    Examples
    --------
    >>> versions(("no-such-package",))["no-such-package"]
    'not installed'
    """
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def record(device: str | None = None, inputs: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the provenance of a result: code, versions, platform, device and input hashes.

    Parameters
    ----------
    device : str, optional
        What computed it, in words.
    inputs : mapping of name to hash, optional
    """
    place = {"platform": platform.platform(), "device": device}
    return {**commit(), "versions": versions(), **place, "inputs": dict(inputs or {})}


def sha256_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_damaged(path: Path, expected: str | None, remedy: str, anew: bool = False) -> None:
    """Raise a ValueError for a file that is missing, or is not what was written.

    Parameters
    ----------
    expected : str, optional
        SHA-256 of what was written; None where nobody knows.
    remedy : str
        What to do.
    anew : bool
        Hash it even if its size and time of change are those of when it last was.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing: {remedy}")
    if expected is not None and (sha256_file if anew else fingerprint)(path) != expected:
        said = "its SHA-256 is not that of what was written"
        raise ValueError(f"{path} is damaged ({said}): {remedy}")


def sha256_bytes(data: bytes) -> str:
    """Return the SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file, computed once while its size and time of change stay."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4096)
def _sha256(path: Path, size: int, changed: int) -> str:
    return sha256_file(path)


def sha256_array(array: np.ndarray) -> str:
    """Return the SHA-256 of an array: its type, shape and values in C order."""
    array = np.ascontiguousarray(array)
    return sha256_bytes(f"{array.dtype.str} {array.shape}".encode() + array.tobytes())


def sha256_frame(frame: pd.DataFrame) -> str:
    """Return the SHA-256 of a table's columns and values; a parquet round trip keeps it."""
    return sha256_bytes(frame.to_json(orient="split", index=False, double_precision=15).encode())


def sha256_json(value: Any) -> str:
    """Return the SHA-256 of settings, whatever the order of their keys.

    Examples
    --------
    >>> sha256_json({"a": 1, "b": (2, 3)}) == sha256_json({"b": [2, 3], "a": 1})
    True
    """
    return sha256_bytes(json.dumps(plain(value), sort_keys=True).encode())


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping with a seal: a hash of all else in it, by which damage to it shows.

    Examples
    --------
    >>> unsealed(sealed({"n": 3}))
    {'n': 3}
    """
    return {**value, SEAL: SEALED + sha256_json(value)}


def unsealed(value: Any) -> Any:
    """Return what was sealed; anything without a seal as it is.

    Raises
    ------
    ValueError
        When the seal is broken.
    """
    if not isinstance(value, dict):
        return value
    # A seal whose name is damaged is known by what it says, and the reverse.
    seals = {k: v for k, v in value.items() if k == SEAL or str(v).startswith(SEALED)}
    rest = {key: item for key, item in value.items() if key not in seals}
    if seals and seals != {SEAL: SEALED + sha256_json(rest)}:
        raise ValueError("its seal, a hash of what it says, is of something else")
    return rest


@cache
def code_hash() -> str:
    """Return a hash of the package's code, which a run records and its address does not hold."""
    digest = hashlib.sha256()
    package = Path(__file__).resolve().parents[1]
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def statements(tree: ast.Module) -> str:
    """Return what parsed code does: without comments, docstrings and layout."""
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if documented and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def plain(value: Any) -> Any:
    """Return a value in JSON's own types: paths as text, tuples as lists, NaN as None.

    Raises
    ------
    ValueError
        For a value that has no place in JSON.

    Examples
    --------
    >>> plain({"n": np.int64(3), "low": float("nan"), "seeds": (42, 43)})
    {'n': 3, 'low': None, 'seeds': [42, 43]}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(f"{value!r} of type {type(value).__name__} cannot be written as JSON")


@contextmanager
def publish_file(path: str | Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; on success it becomes ``path``.

    The yielded name keeps the suffix, because some writers choose their format by it. When the
    body raises, nothing is published and an existing file stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = _aside(path)
    try:
        yield aside
        _flush(aside)
        os.replace(aside, path)
        _flush(path.parent)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def publish_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path`` to fill; on success it becomes ``path``.

    A folder already there is replaced. When the body raises, nothing is published.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside, old = _aside(path), _aside(path)
    aside.mkdir()
    try:
        yield aside
        for entry in [*aside.rglob("*"), aside]:
            _flush(entry)
        if path.exists():
            os.rename(path, old)
        os.rename(aside, path)
        _flush(path.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
        elif old.exists():
            os.rename(old, path)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.partial{path.suffix}")


def _flush(path: Path) -> None:
    if path.is_dir() and os.name != "posix":  # elsewhere a folder cannot be opened
        return
    handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: str | Path, text: str) -> Path:
    """Write text as UTF-8, atomically, and return its path."""
    with publish_file(path) as aside:
        aside.write_text(text, encoding="utf-8", newline="\n")
    return Path(path)


def write_json(path: str | Path, value: Any) -> Path:
    """Write :func:`plain` JSON, indented, atomically, and return its path."""
    text = json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    return write_text(path, text + "\n")


def write_csv(path: str | Path, frame: pd.DataFrame) -> Path:
    """Write a table as CSV without its index, atomically, and return its path.

    Texts that a spreadsheet would run are held by an apostrophe, see
    :func:`rnfl.storage.escaping.cell`; :func:`rnfl.storage.readers.read_csv` takes it off.
    """
    safe = escaping.in_texts(frame, escaping.cell)
    text = safe.to_csv(index=False, lineterminator="\n")
    if "\r" in text:  # within a cell, which is quoted only if it is an end of lines
        text = safe.to_csv(index=False, lineterminator="\r\n")
    return write_text(path, text)


def write_parquet(path: str | Path, frame: pd.DataFrame) -> Path:
    """Write a table as parquet without its index, atomically, and return its path."""
    with publish_file(path) as aside:
        frame.to_parquet(aside, index=False)
    return Path(path)
