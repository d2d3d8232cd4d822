"""Files that were hashed before: each once, while its size and time of change stay.

Notes of it lie in the cache and may be deleted; then files are hashed again.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from rnfl.storage import provenance, readers
from rnfl.storage.paths import cache_root


def file_stamp(*paths: str | Path) -> str:
    """Return a text that changes when a file does: sizes and times of change."""
    states = (os.stat(path) for path in paths)
    return " ".join(f"{state.st_size}-{state.st_mtime_ns}" for state in states)


def note(path: Path, sha256: str) -> None:
    """Note what a file, as it is now, was hashed as."""
    with suppress(OSError):  # it is hashed again
        said = {"file": path.name, "stamp": file_stamp(path), "sha256": sha256}
        provenance.write_json(_note(path), provenance.sealed(said))


def check(path: Path, expected: str, remedy: str, anew: bool = False) -> None:
    """Raise a ValueError for a file that is missing or not what was written.

    Parameters
    ----------
    expected : str
        SHA-256 of what was written.
    remedy : str
        What to do.
    anew : bool
        Hash it again whatever was noted.
    """
    noted = {} if anew or not path.is_file() else _noted(path)
    if (noted.get("sha256"), noted.get("stamp")) != (expected, noted and file_stamp(path)):
        provenance.refuse_damaged(path, expected, remedy, anew=True)
        note(path, expected)


def is_as_noted(path: Path) -> bool:
    """Return whether a file is still what was noted when it was written; True without a note."""
    if not (noted := _noted(path)):
        return True
    try:
        check(path, noted.get("sha256", ""), "")
    except ValueError:
        return False
    return True


def _note(path: Path) -> Path:
    where = provenance.sha256_bytes(str(path.resolve()).encode())[:16]
    return cache_root() / "hashed" / f"{path.stem}-{where}.json"


def _noted(path: Path) -> dict[str, str]:
    try:
        found = readers.read_json(_note(path))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
