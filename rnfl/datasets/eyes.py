"""Reading the eyes of a dataset: in parallel, with a progress bar, and from where it stopped.

What has been read is kept in small files under ``data/prepared/.partial/`` as it comes. When a
preparation is interrupted, the next one of the same dataset by the same method reads only what is
not there yet, or has changed since; :func:`forget` removes it all, once the dataset is published.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnfl.geometry import N_ANGLES
from rnfl.paths import prepared_root
from rnfl.progress import progress
from rnfl.provenance import publish_file, sha256_json

WORKERS = min(8, os.cpu_count() or 1)
CHUNK = 32  # eyes of one file of results: what a killed program has to read again, at most


class Excluded(Exception):
    """An eye that is left out.

    Attributes
    ----------
    reason : str
        One of a fixed list of the dataset's.
    detail : str
        What was found.
    facts : dict
        More to say of it, in JSON's types; it joins the reason in the list of exclusions.
    """

    def __init__(self, reason: str, detail: str = "", **facts: Any) -> None:
        super().__init__(reason)
        self.reason, self.detail, self.facts = reason, detail, facts


@dataclass(frozen=True)
class Eye:
    """One eye that is kept.

    Attributes
    ----------
    image : ndarray uint8 (S, S) or (S, S, 3)
        Disc-centred, in right-eye orientation.
    profile : ndarray float32 (360,), µm, NaN where missing
    row : dict
        Its row of ``samples`` with ``eye_id``, in JSON's types.
    """

    image: np.ndarray
    profile: np.ndarray
    row: dict[str, Any]


def file_stamp(*paths: str | Path) -> str:
    """Return a text that changes when a file does: sizes and times of change."""
    states = (os.stat(path) for path in paths)
    return " ".join(f"{state.st_size}-{state.st_mtime_ns}" for state in states)


def read_eyes(
    items: Sequence[Any],
    read: Callable[[Any], Eye],
    *,
    name: str,
    method: Mapping[str, Any],
    key: Callable[[Any], str],
    stamp: Callable[[Any], str],
    what: str,
) -> tuple[list[Eye], list[dict[str, Any]]]:
    """Read every eye, in threads; what an earlier, interrupted call has read is not read again.

    Parameters
    ----------
    items : sequence
    read : callable
        From an item to its eye; raises :class:`Excluded` for one that is left out.
    name : str
        Name of the prepared dataset.
    method : mapping
        All that decides an eye besides its own raw bytes: constants, options, hashes of tables.
    key : callable
        From an item to the name it has among the exclusions.
    stamp : callable
        From an item to a text that changes when its raw bytes do, such as :func:`file_stamp`.
    what : str
        Label of the progress bar.

    Returns
    -------
    eyes : list of Eye, in the order of the items
    exclusions : list of ``{"id", "reason", "detail"}`` and the facts of each, in that order

    Raises
    ------
    ValueError
        When two items have the same key, or an eye is not as :class:`Eye` says.
    """
    names = {item_key: (item, stamp(item)) for item_key, item in ((key(i), i) for i in items)}
    if len(names) < len(items):
        raise ValueError(f"{name}: {len(items) - len(names)} eyes have the name of another eye")
    folder = _root() / f"{name}-{sha256_json(method)[:16]}"
    kept = dict(_recall(folder))
    found = {k: kept[k, s] for k, (_, s) in names.items() if (k, s) in kept}
    missing = {k: item for k, (item, _) in names.items() if k not in found}
    results = _read_missing(missing, read)
    fresh: dict[tuple[str, str], Eye | Excluded] = {}
    try:
        for item_key, result in progress(results, what, len(names), len(found)):
            found[item_key] = result
            fresh[item_key, names[item_key][1]] = result
            if len(fresh) == CHUNK:
                _keep(folder, fresh)
                fresh = {}
    finally:
        results.close()
        if fresh:
            _keep(folder, fresh)
    eyes = [found[k] for k in names if isinstance(found[k], Eye)]
    left_out = [(k, found[k]) for k in names if isinstance(found[k], Excluded)]
    return eyes, [
        {"id": k, "reason": one.reason, "detail": one.detail, **one.facts} for k, one in left_out
    ]


def _read_missing(items: Mapping[str, Any], read: Callable) -> Iterator[tuple[str, Eye | Excluded]]:
    """Yield keys and results as they come; closing it cancels what has not begun."""

    def attempt(item_key: str) -> Eye | Excluded:
        try:
            return _checked(read(items[item_key]))
        except Excluded as excluded:
            return Excluded(excluded.reason, excluded.detail, **_plain(excluded.facts))
        except Exception as error:
            error.add_note(f"while reading {item_key}")
            raise

    pool = ThreadPoolExecutor(WORKERS)
    try:
        futures = {pool.submit(attempt, item_key): item_key for item_key in items}
        for future in as_completed(futures):
            yield futures.pop(future), future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _checked(eye: Eye) -> Eye:
    """Return the eye as it will be read back."""
    image, profile = np.asarray(eye.image), np.asarray(eye.profile, dtype=np.float32)
    square = image.ndim in (2, 3) and image.shape[0] == image.shape[1]
    if image.dtype != np.uint8 or not square or image.shape[2:] not in ((), (3,)):
        raise ValueError(f"image {image.dtype} {image.shape}: expected uint8 (S, S) or (S, S, 3)")
    if profile.shape != (N_ANGLES,):
        raise ValueError(f"profile of shape {profile.shape}: expected ({N_ANGLES},)")
    if "eye_id" not in eye.row:
        raise ValueError(f"row {sorted(eye.row)}: expected eye_id in it")
    return Eye(image, profile, _plain(eye.row))


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as JSON gives it back: NumPy's scalars become Python's, NaN stays NaN."""
    return json.loads(json.dumps(dict(row), default=lambda value: value.item()))


def _keep(folder: Path, results: Mapping[tuple[str, str], Eye | Excluded]) -> None:
    """Write a chunk of results, atomically and without pickles."""
    arrays, records = {}, []
    for i, ((item_key, stamped), result) in enumerate(results.items()):
        record = {"key": item_key, "stamp": stamped}
        if isinstance(result, Eye):
            arrays |= {f"image_{i}": result.image, f"profile_{i}": result.profile}
            record["row"] = result.row
        else:
            record["excluded"] = [result.reason, result.detail, result.facts]
        records.append(record)
    text = np.frombuffer(json.dumps(records).encode(), np.uint8)
    with publish_file(folder / f"{sha256_json(list(results))[:16]}.npz") as aside:
        np.savez(aside, records=text, **arrays)


def _recall(folder: Path) -> Iterator[tuple[tuple[str, str], Eye | Excluded]]:
    """Yield what is kept of an interrupted preparation; a damaged file of it is dropped."""
    for path in sorted(folder.glob("[!.]*.npz")):
        try:
            with np.load(path, allow_pickle=False) as held:
                arrays = dict(held)
            records = json.loads(arrays["records"].tobytes())
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            warnings.warn(f"{path}: {error}; its eyes are read again", stacklevel=2)
            path.unlink()
            continue
        for i, record in enumerate(records):
            if "row" in record:
                result = Eye(arrays[f"image_{i}"], arrays[f"profile_{i}"], record["row"])
            else:
                reason, detail, facts = record["excluded"]
                result = Excluded(reason, detail, **facts)
            yield (record["key"], record["stamp"]), result


def _root() -> Path:
    return prepared_root() / ".partial"


def kept_folders(name: str) -> list[Path]:
    """Return the folders of what interrupted preparations of this dataset have read."""
    begun = _root().glob(f"{name}-*") if _root().is_dir() else []
    return [at for at in begun if re.fullmatch(re.escape(name) + "-[0-9a-f]{16}", at.name)]


def forget(name: str) -> None:
    """Remove what was kept of preparations of this dataset; there may be nothing."""
    for folder in kept_folders(name):
        shutil.rmtree(folder, ignore_errors=True)
    if _root().is_dir() and not any(_root().iterdir()):
        _root().rmdir()
