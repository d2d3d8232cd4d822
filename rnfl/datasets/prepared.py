"""Prepared datasets: the folder between raw files and training.

``data/prepared/<name>/`` holds ``images.npy`` uint8 (N, H, W) or (N, H, W, 3), disc-centred and in
right-eye orientation; ``profiles.npy`` float32 (N, 360) µm, NaN where missing; for phantoms
``profiles_true.npy``, the profile before measurement noise; ``samples.parquet``, one row per image
in the same order; and ``manifest.json``, which says what is there and how it was made. For people
there are ``contact_sheet.png``, ``summary.csv`` and ``summary.md``; nothing is computed from them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rnfl.core import schema
from rnfl.core.geometry import N_ANGLES
from rnfl.datasets.publication import check_array, publish
from rnfl.storage import provenance
from rnfl.storage.paths import prepared_root


@dataclass(frozen=True)
class Prepared:
    """A prepared dataset on disk; its arrays are mapped, not read, until indexed."""

    name: str
    folder: Path
    manifest: dict[str, Any]
    samples: pd.DataFrame

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def hash(self) -> str:
        """SHA-256 of its content: the part of a run's address that stands for the eyes."""
        return self.manifest["hash"]

    @cached_property
    def images(self) -> np.ndarray:
        """Images uint8 (N, H, W) or (N, H, W, 3), read-only."""
        return _open(self.folder / "images.npy", "uint8", (len(self),), (3, 4))

    @cached_property
    def profiles(self) -> np.ndarray:
        """Measured profiles float32 (N, 360), µm, NaN where missing, read-only."""
        return _open(self.folder / "profiles.npy", "float32", (len(self), N_ANGLES), (2,))

    @cached_property
    def profiles_true(self) -> np.ndarray | None:
        """Profiles without measurement noise, float32 (N, 360), µm; None where nobody knows."""
        path = self.folder / "profiles_true.npy"
        if path.name not in self.manifest["files"]:
            return None
        return _open(path, "float32", (len(self), N_ANGLES), (2,))

    def subset(self, split: str) -> np.ndarray:
        """Return the row indices of a split ('train', 'val' or 'test'), in order."""
        if split not in schema.SPLITS:
            raise ValueError(f"split {split!r}: expected one of {', '.join(schema.SPLITS)}")
        return np.flatnonzero(self.samples["split"] == split)


def _open(path: Path, dtype: str, leading: tuple[int, ...], ndims: tuple[int, ...]) -> np.ndarray:
    """Map an array and check its type and shape, or raise a ValueError naming the file."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path}: {error}") from error
    check_array(array, dtype, leading, ndims, str(path))
    return array


def write(
    name: str,
    images: np.ndarray | Iterable[np.ndarray],
    profiles: np.ndarray,
    samples: pd.DataFrame,
    manifest_fields: Mapping[str, Any],
    profiles_true: np.ndarray | None = None,
    extra: Mapping[str, pd.DataFrame] | None = None,
) -> Prepared:
    """Publish a prepared dataset, whole or not at all, and return it.

    Parameters
    ----------
    name : str
        Folder name under the prepared data.
    images : ndarray uint8 (N, H, W) or (N, H, W, 3), or iterable of N such images
        They are written one by one: of an iterable, no more than one is held in memory.
    profiles : ndarray (N, 360), µm, NaN where missing
    samples : DataFrame of N rows in the same order
    manifest_fields : mapping
        ``dataset``, ``modality``, ``phantom`` (bool), ``settings``; optionally ``exclusions``
        (list of ``{"id", "reason"}``), ``field_mm``, further ``counts`` and more.
    profiles_true : ndarray (N, 360), µm, optional
    extra : mapping of file name to DataFrame, optional
        Further tables of the dataset, such as its visits; written as parquet beside the others.

    Raises
    ------
    ValueError
        When shapes, types, columns or manifest fields are wrong.
    """
    with publish(name, profiles, samples, manifest_fields, profiles_true, extra) as add:
        for image in images:
            add(image)
    return load(prepared_root() / name)


def load(name_or_path: str | Path, verify: bool = False) -> Prepared:
    """Open a prepared dataset by name, or by the path of its folder.

    Parameters
    ----------
    name_or_path : str or Path
    verify : bool
        Also compare hashes with the manifest, of all but the files for people.

    Raises
    ------
    ValueError
        When there is no such dataset, or a file is missing or damaged.
    """
    folder = Path(name_or_path)
    if len(folder.parts) == 1 and not folder.is_absolute():
        folder = prepared_root() / folder
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        have = sorted(path.parent.name for path in folder.parent.glob("[!.]*/manifest.json"))
        raise ValueError(
            f"no prepared dataset at {folder}; prepared there: {', '.join(have) or 'none'}"
        ) from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{folder / 'manifest.json'}: {error}") from error
    absent = [key for key in ("name", "n", "files", "bytes", "hash") if key not in manifest]
    if absent:
        raise ValueError(f"{folder / 'manifest.json'}: fields {absent} are missing")
    for file, size in manifest["bytes"].items():
        path = folder / file
        found = path.stat().st_size if path.is_file() else None
        if found != size or (verify and provenance.sha256_file(path) != manifest["files"][file]):
            what = "is missing" if found is None else f"is damaged ({found} bytes, wrote {size})"
            raise ValueError(f"{path} {what}: delete {folder} and prepare it again")
    samples = pd.read_parquet(folder / "samples.parquet")
    samples = schema.validate(samples, "samples", str(folder / "samples.parquet"))
    if len(samples) != manifest["n"]:
        raise ValueError(f"{folder}: {len(samples)} samples, the manifest says {manifest['n']}")
    prepared = Prepared(manifest["name"], folder, manifest, samples)
    for array in ("images", "profiles", "profiles_true"):
        getattr(prepared, array)  # opening one checks its type and shape
    return prepared


def check_unchanged(prepared: Prepared, kept: str) -> None:
    """Refuse to go on with a dataset that is no longer the one that was opened.

    Parameters
    ----------
    prepared : Prepared
        As it was opened.
    kept : str
        What there is of the run so far.

    Raises
    ------
    ValueError
        If its folder is gone, damaged or holds another dataset now.
    """
    was = prepared.hash
    try:
        now = load(prepared.folder).manifest["hash"]
    except (ValueError, OSError) as error:
        raise ValueError(
            f"dataset {prepared.name} was deleted, moved or damaged during the run ({error}); "
            f"{kept}. Put the dataset of hash {was[:10]} back and ask again"
        ) from error
    if now != was:
        raise ValueError(
            f"dataset {prepared.name} in {prepared.folder} was replaced during the run: its hash "
            f"was {was[:10]} and is {now[:10]}; {kept}. Put the former back and ask again, or ask "
            "again for a new run on the one that is there"
        )


@contextmanager
def unchanged(prepared: Prepared, kept: str) -> Iterator[None]:
    """Hold a dataset to be the same before and after the body; blame it for what fails in between.

    Raises
    ------
    ValueError
        As :func:`check_unchanged` does.
    """
    check_unchanged(prepared, kept)
    try:
        yield
    except (OSError, ValueError):
        check_unchanged(prepared, kept)
        raise
    check_unchanged(prepared, kept)
