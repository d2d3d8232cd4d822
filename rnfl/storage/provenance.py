"""Where a result came from, and how a file appears: whole, or not at all.

Everything is written aside, in a box ``.<name>.<8 hex digits>.partial``, flushed to disk and
renamed into place, so that an interrupted program leaves no half-written file or folder under its
final name. A box is locked while its program runs; the next one that publishes there clears others.
"""

from __future__ import annotations

import ast
import dataclasses
import errno
import hashlib
import json
import math
import os
import platform
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from importlib import metadata
from itertools import count, tee
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from rnfl.storage import escaping, paths
from rnfl.storage.paths import project_root

PACKAGES = ("rnfl", "torch", "timm", "numpy", "pandas", "scipy", "scikit-learn", "pyarrow")
CODE = ("rnfl", "analysis", "notebooks", "pyproject.toml")
SEAL, SEALED = "seal", "SHA-256 of the rest: "
BOX = re.compile(r"\..+\.[0-9a-f]{8}\.partial", re.DOTALL)
NEW, OLD, LOCK = "new", "old", "lock"  # what is in one


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


def refuse_missing(packages: tuple[str, ...], extra: str) -> None:
    """Raise a RuntimeError that names packages that are not installed."""
    found = versions(packages)
    if missing := [name for name in packages if found[name] == "not installed"]:
        raise RuntimeError(
            f"this needs {', '.join(missing)}: install the extra with pip install 'rnfl[{extra}]'"
        )


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
def publish_file(path: str | Path, new: bool = False) -> Iterator[Path]:
    """Yield a path to write to, of the same name in a box of its own; on success it is ``path``.

    When the body raises, nothing is published and an existing file stays as it was.

    Parameters
    ----------
    new : bool
        Whether a file that has the name by then is kept, which is a FileExistsError.
    """
    path = Path(path)
    with _box(path) as box:
        aside = box / NEW / path.name
        yield aside
        if paths.is_private(path):
            _make_private(aside)
        if not _in_a_box(path):  # which is flushed as a whole
            _flush(aside)
        if new:
            _link(aside, path)
        else:
            os.replace(aside, path)
    if not _in_a_box(path):
        _flush(path.parent)


@contextmanager
def publish_folder(path: str | Path, new: bool = False) -> Iterator[Path]:
    """Yield an empty folder to fill, in a box of its own; on success it is ``path``.

    A folder already there is replaced. When the body raises, nothing is published.

    Parameters
    ----------
    new : bool
        Whether a folder that has the name by then is kept, which is a FileExistsError.
    """
    path = Path(path)
    if new:
        with publish_new_folder([path]) as made:
            yield made.aside
        return
    with _filled(path) as (box, aside):
        yield aside
        _finish(aside)
        for number in count():  # more than one where another process publishes the same just now
            (old := box / OLD / str(number)).mkdir(parents=True)
            with suppress(FileNotFoundError):  # nothing has the name yet
                os.rename(path, old / path.name)
            if _rename(aside, path):
                break
    _flush(path.parent)


@dataclasses.dataclass
class NewFolder:
    """A folder that is being filled, and the name that it has once it is published."""

    aside: Path
    path: Path | None = None


@contextmanager
def publish_new_folder(names: Iterable[Path]) -> Iterator[NewFolder]:
    """Yield an empty folder to fill; on success it has the first of the names that is free then.

    The names lie in one folder. What is there is never replaced, whoever made it and when.

    Raises
    ------
    FileExistsError
        If none is free.
    """
    first, names = tee(names)
    with _filled(next(first)) as (_, aside):
        yield (made := NewFolder(aside))
        _finish(aside)
        for path in names:
            if _rename(aside, path):
                made.path = path
                break
        else:
            raise FileExistsError(
                f"{path} exists already and is kept as it is: name another folder"
            )
    _flush(made.path.parent)


def clear_aside(folder: Path) -> None:
    """Undo what killed programs were publishing into a folder; those that run have their locks.

    What was half written goes, and a folder that was moved away for another one is put back.
    """
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        boxes = [Path(entry.path) for entry in entries if BOX.fullmatch(entry.name)]
    for box in boxes:
        with suppress(OSError), FileLock(box / LOCK).acquire(timeout=0):  # a Timeout is one, too
            _close(box)


@contextmanager
def _box(path: Path) -> Iterator[Path]:
    """Yield a folder beside ``path`` with room for what is new and old, and a lock while it lives.

    The lock tells the boxes of killed programs, which the next one to publish here clears.
    """
    paths.make_folder(path.parent)
    if not _in_a_box(path):
        clear_aside(path.parent)
    box, lock = _locked_box(path)
    try:
        yield box
    finally:
        _close(box)
        lock.release()


def _in_a_box(path: Path) -> bool:
    return any(map(BOX.fullmatch, path.parts))


def _locked_box(path: Path) -> tuple[Path, FileLock]:
    while True:
        box = path.with_name(f".{path.name[:40]}.{uuid.uuid4().hex[:8]}.partial")
        box.mkdir(mode=0o700)
        lock = FileLock(box / LOCK)
        try:
            lock.acquire(timeout=0)
            (box / NEW).mkdir(mode=0o700)
            return box, lock
        # Before its lock was held, or as that was taken, another took it for one of the dead.
        except (Timeout, FileNotFoundError, FileExistsError):
            lock.release()
        except BaseException:
            lock.release()
            shutil.rmtree(box, ignore_errors=True)
            raise


def _close(box: Path) -> None:
    """Remove a box; what it holds of another time is put back where nothing took its place."""
    for old in sorted(box.glob(f"{OLD}/*/*"), reverse=True):
        if not (place := box.parent / old.name).exists():
            os.rename(old, place)
    shutil.rmtree(box, ignore_errors=True)


@contextmanager
def _filled(path: Path) -> Iterator[tuple[Path, Path]]:
    with _box(path) as box:
        aside = box / NEW / path.name
        aside.mkdir()
        yield box, aside


def _finish(folder: Path) -> None:
    """Flush a folder, and leave it to its user alone: it holds eyes, or what was read of them."""
    for entry in [*folder.rglob("*"), folder]:
        _make_private(entry)
        _flush(entry)


def _make_private(entry: Path) -> None:
    with suppress(PermissionError):  # of file systems without modes
        entry.chmod(0o700 if entry.is_dir() else 0o600)


def _rename(folder: Path, path: Path) -> bool:
    """Give a folder a name that is free, or that of an empty folder; else return False."""
    try:
        os.rename(folder, path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        return False
    return True


def _link(file: Path, path: Path) -> None:
    """Give a file a name that is free, or raise a FileExistsError."""
    try:
        os.link(file, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        os.replace(file, path)


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
