"""Prepared datasets: the folder between raw files and training.

``data/prepared/<name>/`` holds ``images.npy`` uint8 (N, H, W) or (N, H, W, 3), disc-centred and in
right-eye orientation; ``profiles.npy`` float32 (N, 360) µm, NaN where missing; for phantoms
``profiles_true.npy``, the profile before measurement noise; ``samples.parquet``, one row per image
in the same order; and ``manifest.json``, which says what is there and how it was made. For people
there are ``contact_sheet.png``, ``summary.csv`` and ``summary.md``; nothing is computed from them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rnfl import contact_sheet, datasets, disc, provenance, schema, summary
from rnfl.datasets.eyes import forget
from rnfl.geometry import FIELD_MM, N_ANGLES
from rnfl.paths import prepared_root

REQUIRED = ("dataset", "modality", "phantom", "settings")
FOR_PEOPLE = (contact_sheet.FILE, summary.CSV, summary.MARKDOWN)


@dataclass(frozen=True)
class Prepared:
    """A prepared dataset on disk; its arrays are mapped, not read, until indexed."""

    name: str
    folder: Path
    manifest: dict[str, Any]
    samples: pd.DataFrame

    def __len__(self) -> int:
        return len(self.samples)

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
    _check_array(array, dtype, leading, ndims, str(path))
    return array


def _check_array(
    array: np.ndarray, dtype: str, leading: tuple[int, ...], ndims: tuple[int, ...], where: str
) -> None:
    fits = array.ndim in ndims and array.shape[: len(leading)] == leading
    if array.dtype != dtype or not fits or (array.ndim == 4 and array.shape[3] != 3):
        raise ValueError(
            f"{where}: {array.dtype} {array.shape}: expected {dtype} of "
            f"{' or '.join(map(str, ndims))} axes beginning {leading}, colour in 3 channels"
        )


def write(
    name: str,
    images: np.ndarray,
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
    images : ndarray uint8 (N, H, W) or (N, H, W, 3)
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
    absent = [field for field in REQUIRED if field not in manifest_fields]
    if absent:
        raise ValueError(f"dataset {name!r}: manifest fields {absent} are missing")
    samples = schema.validate(samples, "samples", name)
    arrays = {"images.npy": np.asanyarray(images)}
    _check_array(arrays["images.npy"], "uint8", (len(samples),), (3, 4), f"{name}: images")
    for file, values in (("profiles.npy", profiles), ("profiles_true.npy", profiles_true)):
        if values is not None:
            arrays[file] = np.asarray(values, dtype=np.float32)
            _check_array(arrays[file], "float32", (len(samples), N_ANGLES), (2,), f"{name}: {file}")

    counts = {"patients": samples["patient_id"].nunique()}
    counts |= {split: (samples["split"] == split).sum() for split in schema.SPLITS}
    manifest = {"name": name, "n": len(samples), "exclusions": [], "field_mm": FIELD_MM}
    manifest |= manifest_fields
    if "disc_confidence" in samples:
        manifest["unsure"] = disc.unsure(samples, name)
        counts["disc_unsure"] = len(manifest["unsure"])
    manifest["counts"] = counts | dict(manifest_fields.get("counts", {}))
    folder = prepared_root() / name
    with provenance.publish_folder(folder) as aside:
        for file, array in arrays.items():
            np.save(aside / file, array, allow_pickle=False)
        samples.to_parquet(aside / "samples.parquet", index=False)
        for file, table in (extra or {}).items():
            if (aside / file).exists():
                raise ValueError(f"{name}: extra table {file!r}: the dataset has such a file")
            table.to_parquet(aside / file, index=False)
        _show(aside, arrays, samples, manifest)
        files = {path.name: provenance.sha256_file(path) for path in sorted(aside.iterdir())}
        sizes = {file: (aside / file).stat().st_size for file in files if file not in FOR_PEOPLE}
        manifest = provenance.plain({**manifest, "files": files, "bytes": sizes})
        provenance.write_json(
            aside / "manifest.json", {**manifest, "hash": _content_hash(manifest, samples)}
        )
    forget(name)
    return load(folder)


def _show(aside: Path, arrays: Mapping, samples: pd.DataFrame, manifest: Mapping) -> None:
    """Write the contact sheet and the summary."""
    sheet = contact_sheet.draw_sheet(arrays["images.npy"], samples, manifest)
    sheet.save(aside / contact_sheet.FILE, compress_level=1)
    table = summary.summarise(samples, arrays["profiles.npy"], manifest["exclusions"])
    provenance.write_csv(aside / summary.CSV, table)
    provenance.write_text(aside / summary.MARKDOWN, summary.to_markdown(table, manifest))


def _content_hash(manifest: Mapping[str, Any], samples: pd.DataFrame) -> str:
    """Hash what a training run depends on; parquet bytes vary with the writer's version."""
    arrays = {file: digest for file, digest in manifest["files"].items() if file.endswith(".npy")}
    kept = {key: manifest[key] for key in (*REQUIRED, "field_mm")}
    return provenance.sha256_json(
        {**kept, "arrays": arrays, "samples": provenance.sha256_frame(samples)}
    )


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


def prepare(name: str, source: str | Path | None = None) -> Prepared:
    """Return a prepared dataset; it is built when absent or when its settings have changed.

    Parameters
    ----------
    name : str
        A name of the registry, :data:`rnfl.datasets.DATASETS`, or of a dataset of your own that
        :func:`write` has made; the latter is returned as it is.
    source : path, optional
        Folder of raw files, for datasets that have them.

    Raises
    ------
    ValueError
        For an unknown name, or a damaged folder under that name.
    """
    made = (prepared_root() / name / "manifest.json").is_file()
    if made and source is None and not datasets.is_registered(name):
        return load(name)
    dataset = datasets.find(name)
    if made:
        prepared = load(name)
        settings = dataset.settings(name, source=source)
        if prepared.manifest["settings"] == provenance.plain(settings):
            return prepared
    return dataset.prepare(name, source=source)
