"""Where the project keeps its files: the one place that knows folder names."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

# Of the data folder: they hold eyes, or what was read of them, and are their user's alone.
PRIVATE = ("prepared", "runs", "cache", "predictions", "evaluations")


def project_root() -> Path:
    """Return the folder of the checkout, or the working folder of an installed package.

    Returns
    -------
    Path
        The nearest place that holds ``pyproject.toml`` beside the package.
    """
    checkout = Path(__file__).resolve().parents[2]
    return checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()


def data_root() -> Path:
    """Return the data folder: ``$RNFL_DATA``, by default ``<project root>/data``."""
    override = os.environ.get("RNFL_DATA")
    return Path(override).expanduser().resolve() if override else project_root() / "data"


def prepared_root() -> Path:
    """Return the folder of prepared datasets, ``<data root>/prepared``."""
    return data_root() / "prepared"


def runs_root() -> Path:
    """Return the folder of finished and partial runs, ``<data root>/runs``."""
    return data_root() / "runs"


def cache_root() -> Path:
    """Return the folder of what can be made again at any time, ``<data root>/cache``."""
    return data_root() / "cache"


def is_private(path: Path) -> bool:
    """Return whether a path lies in a folder of :data:`PRIVATE`, or is one."""
    path, root = Path(os.path.abspath(path)), data_root()
    return any(path.is_relative_to(root / name) for name in PRIVATE)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, private ones with the modes 700."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700 if is_private(folder) else 0o777, exist_ok=True)


def plain_name(name: str, what: str) -> str:
    """Return a name that can be that of a file or folder, wherever it is put, or refuse it.

    Raises
    ------
    ValueError
        If it is empty, has separators or begins with a point, so that it would lead elsewhere.

    Examples
    --------
    >>> plain_name("phantom-slo-64", "dataset")
    'phantom-slo-64'
    """
    if not name or name.startswith(".") or set(name) & set("/\\\0"):
        raise ValueError(f"{what} {name!r}: expected a name without / and \\, and no . before it")
    return name


def short_name(name: str, limit: int = 120) -> str:
    """Return a name as it is, or one of more bytes cut, with a hash of the whole behind it."""
    data = os.fsencode(name)
    if len(data) <= limit:
        return name
    return f"{data[: limit - 9].decode(errors='ignore')}-{hashlib.sha256(data).hexdigest()[:8]}"


def as_text(path: str | Path) -> str:
    r"""Return a path as text that every table can hold: bytes that are none as ``\udcff``."""
    return str(path).encode(errors="backslashreplace").decode()
