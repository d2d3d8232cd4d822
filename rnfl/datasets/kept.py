"""What has been read of a dataset's eyes, kept in files until the dataset is published.

The files lie under ``data/prepared/.partial/``, a few eyes in each. Images stay there, so that
memory does not limit their number.
"""

from __future__ import annotations

import json
import re
import shutil
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnfl.core.exclusion import Excluded
from rnfl.storage.paths import prepared_root
from rnfl.storage.provenance import publish_file, sha256_json

DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Eye:
    """One eye that is not left out, as it was read.

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


@dataclass(frozen=True)
class KeptEye:
    """One eye that has been read; its image stays in a file.

    Attributes
    ----------
    file : Path
    member : str
        The image's name in it.
    profile, row
        As of :class:`Eye`.
    """

    file: Path
    member: str
    profile: np.ndarray
    row: dict[str, Any]

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
            record["row"] = result.row
            kept[item_key] = KeptEye(path, f"image_{i}", result.profile, result.row)
        else:
            record["excluded"] = [result.reason, result.detail, result.facts]
        records.append(record)
    text = np.frombuffer(json.dumps(records).encode(), np.uint8)
    with publish_file(path) as aside:
        np.savez(aside, records=text, **arrays)
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
                result = KeptEye(path, f"image_{i}", arrays[f"profile_{i}"], record["row"])
            else:
                reason, detail, facts = record["excluded"]
                result = Excluded(reason, detail, **facts)
            yield (record["key"], record["stamp"]), result


def _root() -> Path:
    return prepared_root() / ".partial"


def folder_of(name: str, method: Mapping[str, Any]) -> Path:
    """Return the folder of what is read of a dataset by a method; it may not be there."""
    return _root() / f"{name}-{sha256_json(method)[:16]}"


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
