"""Reading the eyes of a dataset: in parallel, with a progress bar, and from where it stopped.

What has been read is kept in files under ``data/prepared/.partial/``, a few eyes in each, until the
dataset is published; images stay there, so that memory does not limit their number. When a
preparation is interrupted, the next one of the same dataset by the same method reads only what is
not there yet, or has changed since.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from rnfl.core.exclusion import Excluded
from rnfl.core.geometry import N_ANGLES
from rnfl.storage.errors import writing
from rnfl.storage.paths import prepared_root
from rnfl.storage.progress import progress
from rnfl.storage.provenance import publish_file, sha256_json

PARTIAL = ".partial"
DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
WORKERS = min(8, os.cpu_count() or 1)
CHUNK = 32  # eyes of one file of results: what a killed program has to read again, at most
AHEAD = CHUNK + WORKERS  # eyes that are being read or wait to be kept, at most


@dataclass(frozen=True)
class Eye:
    """One eye that is not left out, as it was read; a ValueError says what is not so."""

    image: np.ndarray  # uint8 (S, S) or (S, S, 3), disc-centred, in right-eye orientation
    profile: np.ndarray  # float32 (360,), µm, NaN where missing
    row: dict[str, Any]  # of samples, with eye_id, in JSON's types
    mask: np.ndarray | None = None  # uint8 (112, 112), of disc and cup, cropped as the image is

    def __post_init__(self) -> None:
        image, profile = np.asarray(self.image), np.asarray(self.profile, dtype=np.float32)
        found, square = f"image {image.dtype} {image.shape}", len(set(image.shape[:2])) == 1
        if (
            image.dtype != np.uint8
            or image.ndim < 2
            or not square
            or image.shape[2:] not in ((), (3,))
        ):
            raise ValueError(f"{found}: expected uint8 (S, S) or (S, S, 3)")
        if profile.shape != (N_ANGLES,):
            raise ValueError(f"profile of shape {profile.shape}: expected ({N_ANGLES},)")
        if "eye_id" not in self.row:
            raise ValueError(f"row {sorted(self.row)}: expected eye_id in it")
        fields = {"image": image, "profile": profile, "row": _plain(self.row)}
        for name, value in fields.items():
            object.__setattr__(self, name, value)  # as it will be read back


@dataclass(frozen=True)
class KeptEye:
    """One eye that has been read; its image stays in ``file``, where it is called ``member``."""

    file: Path
    member: str
    profile: np.ndarray
    row: dict[str, Any]
    mask: np.ndarray | None = None

    @property
    def image(self) -> np.ndarray:
        """The image, uint8 (S, S) or (S, S, 3), read from the file each time."""
        try:
            with np.load(self.file, allow_pickle=False) as held:
                return held[self.member]
        except DAMAGE as error:
            raise ValueError(
                f"{self.file}, which held {self.row['eye_id']}, is gone or damaged ({error}): "
                "prepare the dataset again"
            ) from error


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as JSON gives it back: NumPy's scalars become Python's, NaN stays NaN."""
    return json.loads(json.dumps(dict(row), default=lambda value: value.item()))


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
        Of the prepared dataset.
    method : mapping
        All that decides an eye besides its own raw bytes: constants, options, hashes of tables.
    key, stamp : callable
        From an item to the name it has among the exclusions, and to a text that changes when its
        raw bytes do, such as :func:`rnfl.storage.hashed.file_stamp`.
    what : str
        Label of the progress bar.

    Returns
    -------
    eyes, exclusions : lists of KeptEye and of ``{"id", "reason", "detail"}`` with the facts of each
        In the order of the items.

    Raises
    ------
    ValueError
        When two items have the same key.
    """
    names = {key(item): (item, stamp(item)) for item in items}
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
                chunk, fresh = fresh, {}  # not tried again below when it cannot be written
                found |= keep(folder, chunk)
    finally:
        results.close()
        if fresh:
            found |= keep(folder, fresh)
    left_out = {k: found[k] for k in names if isinstance(found[k], Excluded)}
    return [found[k] for k in names if k not in left_out], [
        {"id": k, "reason": one.reason, "detail": one.detail, **one.facts}
        for k, one in left_out.items()
    ]


def _read_missing(items: Mapping[str, Any], read: Callable) -> Iterator[tuple[str, Eye | Excluded]]:
    """Yield keys and results as they come; closing it cancels what has not begun.

    No more is read ahead than :data:`AHEAD`, however slow who takes the results is.
    """

    def attempt(item_key: str) -> tuple[str, Eye | Excluded]:
        try:
            return item_key, read(items[item_key])
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


def keep(
    folder: Path, results: Mapping[tuple[str, str], Eye | Excluded]
) -> dict[str, KeptEye | Excluded]:
    """Write a chunk of results, atomically and without pickles; return what is kept of each."""
    path = folder / f"{sha256_json(list(results))[:16]}.npz"
    arrays, records, kept = {}, [], {}
    for i, ((item_key, stamped), result) in enumerate(results.items()):
        record = {"key": item_key, "stamp": stamped}
        kept[item_key] = result
        if isinstance(result, Eye):
            arrays |= {f"image_{i}": result.image, f"profile_{i}": result.profile}
            arrays |= {} if result.mask is None else {f"mask_{i}": result.mask}
            record["row"] = result.row
            known = result.profile, result.row, result.mask
            kept[item_key] = KeptEye(path, f"image_{i}", *known)
        else:
            record["excluded"] = [result.reason, result.detail, result.facts]
        records.append(record)
    text = np.frombuffer(json.dumps(records).encode(), np.uint8)
    said = "what was read before is kept there, and only the rest will be read"
    try:
        with writing("what was read of eyes", folder, said), publish_file(path) as aside:
            np.savez(aside, records=text, **arrays)
    except OSError:
        for empty in (folder, folder.parent):
            with suppress(OSError):  # what was kept before stays
                empty.rmdir()
        raise
    return kept


def recall(folder: Path) -> Iterator[tuple[tuple[str, str], KeptEye | Excluded]]:
    """Yield what is kept of an interrupted preparation; a damaged file of it is dropped."""
    for path in sorted(folder.glob("[!.]*.npz")):
        try:
            with np.load(path, allow_pickle=False) as held:
                arrays = dict(held)
            records = json.loads(arrays["records"].tobytes())
        except DAMAGE as error:
            warnings.warn(f"{path}: {error}; its eyes are read again", stacklevel=2)
            path.unlink()
            continue
        for i, record in enumerate(records):
            if "row" in record:
                known = arrays[f"profile_{i}"], record["row"], arrays.get(f"mask_{i}")
                result = KeptEye(path, f"image_{i}", *known)
            else:
                reason, detail, facts = record["excluded"]
                result = Excluded(reason, detail, **facts)
            yield (record["key"], record["stamp"]), result


def folder_of(name: str, method: Mapping[str, Any]) -> Path:
    """Return the folder of what is read of a dataset by a method; it may not be there."""
    return prepared_root() / PARTIAL / f"{name}-{sha256_json(method)[:16]}"


def kept_folders(name: str) -> list[Path]:
    """Return the folders of what interrupted preparations of this dataset have read."""
    begun = (prepared_root() / PARTIAL).glob(f"{name}-*")
    return [at for at in begun if re.fullmatch(re.escape(name) + "-[0-9a-f]{16}", at.name)]


def forget(name: str) -> None:
    """Remove what was kept of preparations of this dataset; there may be nothing."""
    for folder in kept_folders(name):
        shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # it is not there, or holds those of others
        (prepared_root() / PARTIAL).rmdir()
