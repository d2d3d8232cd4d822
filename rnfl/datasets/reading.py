"""Reading the eyes of a dataset: in parallel, with a progress bar, and from where it stopped.

What has been read is kept in files as it comes, see :mod:`rnfl.datasets.kept`. When a preparation
is interrupted, the next one of the same dataset by the same method reads only what is not there
yet, or has changed since.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from rnfl.core.geometry import N_ANGLES
from rnfl.datasets.kept import Excluded, Eye, KeptEye, folder_of, keep, recall
from rnfl.storage.progress import progress

WORKERS = min(8, os.cpu_count() or 1)
CHUNK = 32  # eyes of one file of results: what a killed program has to read again, at most
AHEAD = CHUNK + WORKERS  # eyes that are being read or wait to be kept, at most


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
) -> tuple[list[KeptEye], list[dict[str, Any]]]:
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
    eyes : list of KeptEye, in the order of the items
    exclusions : list of ``{"id", "reason", "detail"}`` and the facts of each, in that order

    Raises
    ------
    ValueError
        When two items have the same key, or an eye is not as :class:`Eye` says.
    """
    names = {item_key: (item, stamp(item)) for item_key, item in ((key(i), i) for i in items)}
    if len(names) < len(items):
        raise ValueError(f"{name}: {len(items) - len(names)} eyes have the name of another eye")
    folder = folder_of(name, method)
    kept = dict(recall(folder))
    found = {k: kept[k, s] for k, (_, s) in names.items() if (k, s) in kept}
    missing = {k: item for k, (item, _) in names.items() if k not in found}
    results = _read_missing(missing, read)
    fresh: dict[tuple[str, str], Eye | Excluded] = {}
    try:
        for item_key, result in progress(results, what, len(names), len(found)):
            fresh[item_key, names[item_key][1]] = result
            if len(fresh) == CHUNK:
                found |= keep(folder, fresh)
                fresh = {}
    finally:
        results.close()
        if fresh:
            found |= keep(folder, fresh)
    eyes = [found[k] for k in names if isinstance(found[k], KeptEye)]
    left_out = [(k, found[k]) for k in names if isinstance(found[k], Excluded)]
    return eyes, [
        {"id": k, "reason": one.reason, "detail": one.detail, **one.facts} for k, one in left_out
    ]


def _read_missing(items: Mapping[str, Any], read: Callable) -> Iterator[tuple[str, Eye | Excluded]]:
    """Yield keys and results as they come; closing it cancels what has not begun.

    No more is read ahead than :data:`AHEAD`, however slow who takes the results is.
    """

    def attempt(item_key: str) -> tuple[str, Eye | Excluded]:
        try:
            return item_key, _checked(read(items[item_key]))
        except Excluded as excluded:
            return item_key, Excluded(excluded.reason, excluded.detail, **_plain(excluded.facts))
        except Exception as error:
            error.add_note(f"while reading {item_key}")
            raise

    pool, done, waiting = ThreadPoolExecutor(WORKERS), SimpleQueue(), iter(items)

    def begin(n: int) -> None:
        for item_key in islice(waiting, n):
            pool.submit(attempt, item_key).add_done_callback(done.put)

    try:
        begin(AHEAD)
        for _ in items:
            yield done.get().result()
            begin(1)
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
