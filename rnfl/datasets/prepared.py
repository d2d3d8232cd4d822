"""Prepared datasets: the folder between raw files and training.

``data/prepared/<name>/`` holds ``images.npy`` uint8 (N, H, W) or (N, H, W, 3), disc-centred and in
right-eye orientation; ``profiles.npy`` float32 (N, 360) µm, NaN where missing; for phantoms
``profiles_true.npy``, the profile before measurement noise; where there are any, ``masks.npy`` of
disc and cup (:mod:`rnfl.core.masks`); ``samples.parquet``, one row per image in the same order; and
``manifest.json``, which says what is there and how it was made, sealed. For people there are
``contact_sheet.png``, ``summary.csv`` and ``summary.md``; nothing is computed from them.

A dataset is written whole or not at all: tables are checked first, then images go to their file as
they come, one at a time, so that memory does not limit how many there are.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from rnfl.core import schema
from rnfl.core.geometry import FIELD_MM, N_ANGLES
from rnfl.core.masks import SIDE
from rnfl.datasets import contact_sheet, registry, summary
from rnfl.datasets.reading import forget, kept_folders
from rnfl.imaging import disc
from rnfl.storage import hashed, provenance, readers
from rnfl.storage.errors import writing
from rnfl.storage.paths import plain_name, prepared_root

#: Settings that only a dataset has that was made of another prepared one, not of raw files.
MADE_OF_ANOTHER = {"part_of", "shots_of", "way"}
REQUIRED = ("dataset", "modality", "phantom", "settings")
FOR_PEOPLE = (contact_sheet.FILE, summary.CSV, summary.MARKDOWN)
SOURCES = ".sources"  # folder beside the datasets
IMAGES, MASKS = "images.npy", "masks.npy"


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

    @property
    def phantom(self) -> int:
        """Version of the phantom that drew its eyes, 0 for real ones."""
        return int(self.manifest["phantom"] and self.manifest["settings"].get("version", 1))

    @cached_property
    def images(self) -> np.ndarray:
        """Images uint8 (N, H, W) or (N, H, W, 3), read-only."""
        return _open(self.folder / IMAGES, "uint8", (len(self),), (3, 4))

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

    @cached_property
    def masks(self) -> np.ndarray | None:
        """Masks of disc and cup uint8 (N, 112, 112), as :mod:`rnfl.core.masks`; None without."""
        path = self.folder / MASKS
        if path.name not in self.manifest["files"]:
            return None
        return _open(path, "uint8", (len(self), SIDE, SIDE), (3,))

    @property
    def made_of_another(self) -> bool:
        """Whether it was made of another prepared dataset (:mod:`rnfl.adaptation.ways`)."""
        return bool(MADE_OF_ANOTHER & set(self.manifest["settings"]))

    def subset(self, split: str) -> np.ndarray:
        """Return the row indices of a split ('train', 'val' or 'test'), in order."""
        if split not in schema.SPLITS:
            raise ValueError(f"split {split!r}: expected one of {', '.join(schema.SPLITS)}")
        return np.flatnonzero(self.samples["split"] == split)


def _open(path: Path, dtype: str, leading: tuple[int, ...], ndims: tuple[int, ...]) -> np.ndarray:
    """Map an array and check its type and shape, or raise a ValueError naming the file."""
    array = readers.open_array(path, _remedy(path.parent))
    check_array(array, dtype, leading, ndims, str(path))
    return array


def check_array(
    array: np.ndarray, dtype: str, leading: tuple[int, ...], ndims: tuple[int, ...], where: str
) -> None:
    """Raise a ValueError that begins with ``where`` for another type or shape than expected."""
    fits = array.ndim in ndims and array.shape[: len(leading)] == leading
    if array.dtype != dtype or not fits or (array.ndim == 4 and array.shape[3] != 3):
        raise ValueError(
            f"{where}: {array.dtype} {array.shape}: expected {dtype} of "
            f"{' or '.join(map(str, ndims))} axes beginning {leading}, colour in 3 channels"
        )


def load(name_or_path: str | Path, verify: bool = False) -> Prepared:
    """Open a prepared dataset by name, or by the path of its folder.

    Parameters
    ----------
    name_or_path : str or Path
    verify : bool
        Hash all files again, but those for people; else those that have another size or time of
        change than when they were last hashed here.

    Raises
    ------
    ValueError
        When there is no such dataset, or a file is missing or damaged, with what to do.
    """
    folder = Path(name_or_path)
    if len(folder.parts) == 1 and not folder.is_absolute():
        folder = prepared_root() / plain_name(str(folder), "dataset")
    provenance.clear_aside(folder.parent)  # which puts back what was being replaced
    manifest = _whole(folder, verify)
    table = folder / "samples.parquet"
    read = readers.read_parquet(table, _remedy(folder))
    samples = schema.validate(read, "samples", str(table))
    if len(samples) != manifest["n"]:
        raise ValueError(f"{folder}: {len(samples)} samples, the manifest says {manifest['n']}")
    prepared = Prepared(plain_name(manifest["name"], str(folder)), folder, manifest, samples)
    for array in ("images", "profiles", "profiles_true", "masks"):
        getattr(prepared, array)  # opening one checks its type and shape
    return prepared


def manifest_of(name: str) -> dict[str, Any]:
    """Return the manifest of a dataset that was prepared, empty where there is none or no whole."""
    try:
        return _read_manifest(prepared_root() / name)
    except ValueError:
        return {}


def source_of(name: str) -> Path | None:
    """Return where the raw files of a prepared dataset were; None where that is not known.

    It stands beside the datasets and not in one, which may be given to others.
    """
    note = prepared_root() / SOURCES / f"{name}.json"
    # Datasets prepared before then have it in their manifest.
    before = manifest_of(name)
    if not before:
        return None
    remedy = f"delete {note} and name the raw files with --source"
    place = readers.read_json(note, remedy) if note.exists() else before
    found = place.get("source") if isinstance(place, dict) else None
    return Path(found) if found else None


def keep_source(name: str, place: Path) -> None:
    """Note where the raw files of a dataset are."""
    provenance.write_json(prepared_root() / SOURCES / f"{name}.json", {"source": place})


def _whole(folder: Path, verify: bool = False) -> dict[str, Any]:
    """Return the manifest of a dataset whose files are all as written, or raise a ValueError."""
    manifest = _read_manifest(folder)
    for file, size in manifest["bytes"].items():
        path = folder / file
        if path.is_file() and (found := path.stat().st_size) != size:
            said = f"{path} is damaged ({found} bytes, wrote {size})"
            raise ValueError(f"{said}: {_remedy(folder)}")
        hashed.check(path, manifest["files"][file], _remedy(folder), anew=verify)
    return manifest


def _remedy(folder: Path) -> str:
    return f"delete {folder} and prepare it again"


def _read_manifest(folder: Path) -> dict[str, Any]:
    """Return what the manifest of a dataset says, or raise a ValueError with what to do."""
    path, wanted = folder / "manifest.json", (*REQUIRED, "name", "n", "files", "bytes", "hash")
    if not path.exists():
        raise ValueError(_say_absent(folder))
    remedy = f"{_remedy(folder)}; finished runs know it again by its hash"
    manifest = readers.read_json(path, remedy)
    absent = [key for key in wanted if not isinstance(manifest, dict) or key not in manifest]
    if absent:
        raise ValueError(f"{path} is damaged (fields {absent} are missing): {remedy}")
    files, sizes = manifest["files"], manifest["bytes"]
    tables = isinstance(files, dict) and isinstance(sizes, dict) and sizes.keys() <= files.keys()
    if not (tables and isinstance(manifest["settings"], dict)):
        raise ValueError(f"{path} is damaged (it does not say what its files are): {remedy}")
    return manifest


def _say_absent(folder: Path) -> str:
    """Say that a dataset is not there, how to make it, and which ones are."""
    have = sorted(path.parent.name for path in folder.parent.glob("[!.]*/manifest.json"))
    remedy = f"expected {registry.forms()}; data of your own become a dataset with rnfl.write"
    if registry.is_registered(folder.name):
        remedy = f"make it with rnfl.prepare({folder.name!r})"
    return (
        f"dataset {folder.name!r} is not in {folder.parent}: {remedy} (finished runs need it too: "
        f"their address holds its hash); prepared there: {', '.join(have) or 'none'}"
    )


def write(
    name: str,
    images: np.ndarray | Iterable[np.ndarray],
    profiles: np.ndarray,
    samples: pd.DataFrame,
    manifest_fields: Mapping[str, Any],
    profiles_true: np.ndarray | None = None,
    extra: Mapping[str, pd.DataFrame | np.ndarray] | None = None,
) -> Prepared:
    """Write a prepared dataset, whole or not at all, and return it.

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
        (list of ``{"id", "reason"}``), ``doubts`` (why an eye is unsure, lists by its id),
        ``field_mm``, further ``counts`` and more.
    profiles_true : ndarray (N, 360), µm, optional
    extra : mapping of file name to DataFrame or ndarray, optional
        Further tables and arrays of the dataset, such as its visits or its masks; written as
        parquet and npy beside the others.

    Raises
    ------
    ValueError
        When shapes, types, columns or manifest fields are wrong.
    OSError
        When the disk is full or read-only, with what is kept and what to do.
    """
    with publish(name, profiles, samples, manifest_fields, profiles_true, extra) as publication:
        for image in images:
            publication.add(image)
    return publication.prepared


class Publication:
    """A dataset being written: ``add`` takes its images, then ``prepared`` is the result.

    Images go to an npy file of ``n`` of them and are hashed one at a time; ``shown`` has copies of
    those that the contact sheet shows, by row.
    """

    def __init__(self, file: BinaryIO, n: int, where: str, rows: Collection[int]) -> None:
        self._file, self._n, self._where, self._rows = file, n, where, rows
        self._shape: tuple[int, ...] = ()  # of each image
        self._written, self._digest = 0, hashlib.sha256()
        self.shown: dict[int, np.ndarray] = {}
        self.prepared: Prepared | None = None

    @property
    def hash(self) -> str:
        """SHA-256 of the bytes written."""
        return self._digest.hexdigest()

    def add(self, image: np.ndarray) -> None:
        """Append an image; raise a ValueError when it is not as the first, or one too many."""
        image, n = np.ascontiguousarray(image), self._n
        ndims = (1 + len(self._shape),) if self._written else (3, 4)
        whole = np.broadcast_to(image, (n, *image.shape))
        check_array(whole, "uint8", (n, *self._shape), ndims, self._where)
        if self._written == n:
            raise ValueError(f"{self._where}: more than {n}, the rows of samples")
        if not self._written:
            self._shape, head = image.shape, io.BytesIO()
            header = {"descr": "|u1", "fortran_order": False, "shape": (n, *image.shape)}
            np.lib.format.write_array_header_1_0(head, header)
            self._write(head.getbuffer())
        if self._written in self._rows:
            self.shown[self._written] = image.copy()
        self._write(image)
        self._written += 1

    def _write(self, data: np.ndarray | memoryview) -> None:
        self._file.write(data)
        self._digest.update(data)

    def check_complete(self) -> None:
        """Raise a ValueError when fewer than ``n`` images have come."""
        seen = np.broadcast_to(np.uint8(0), (self._written, *self._shape))
        check_array(seen, "uint8", (self._n,), (3, 4), self._where)


@contextmanager
def image_file(path: Path, n: int, where: str, rows: Collection[int] = ()) -> Iterator[Publication]:
    """Yield what takes the ``n`` uint8 images (H, W) or (H, W, 3) of a file.

    A ValueError that begins with ``where`` says which image is not so, or not as the first, and at
    the end that ``n`` images have not come.
    """
    with open(path, "wb") as file:  # not mapped: a full disk must be an error, not a crash
        images = Publication(file, n, where, rows)
        yield images
        images.check_complete()


@contextmanager
def publish(
    name: str,
    profiles: np.ndarray,
    samples: pd.DataFrame,
    manifest_fields: Mapping[str, Any],
    profiles_true: np.ndarray | None = None,
    extra: Mapping[str, pd.DataFrame | np.ndarray] | None = None,
) -> Iterator[Publication]:
    """Yield a publication that takes the images one by one; then the dataset is there.

    Images come in the order of ``samples``. When the body raises, or there are more or fewer
    images than rows, nothing appears. Parameters and errors are those of :func:`write`.
    """
    absent = [field for field in REQUIRED if field not in manifest_fields]
    if absent:
        raise ValueError(f"dataset {name!r}: manifest fields {absent} are missing")
    for file in (plain_name(name, "dataset"), *(extra or {})):
        plain_name(file, f"file of dataset {name}")
    samples = schema.validate(samples, "samples", name)
    arrays = {}
    for file, values in (("profiles.npy", profiles), ("profiles_true.npy", profiles_true)):
        if values is not None:
            arrays[file] = np.asarray(values, dtype=np.float32)
            check_array(arrays[file], "float32", (len(samples), N_ANGLES), (2,), f"{name}: {file}")
    clash = {*(extra or {})} & {IMAGES, *arrays, "samples.parquet", "manifest.json", *FOR_PEOPLE}
    if clash:
        raise ValueError(f"{name}: extra table {min(clash)!r}: the dataset has such a file")
    manifest = _describe(name, samples, manifest_fields)
    folder = prepared_root() / name
    rows = contact_sheet.choose(contact_sheet.doubtful(samples, manifest))
    kept = "what was read of its eyes is kept" if kept_folders(name) else "what was there stays"
    with (
        writing(f"dataset {name}", prepared_root(), kept),
        provenance.publish_folder(folder) as aside,
    ):
        shown = {int(row) for part in rows for row in part}
        with image_file(aside / IMAGES, len(samples), f"{name}: images", shown) as images:
            yield images
        for file, array in arrays.items():
            np.save(aside / file, array, allow_pickle=False)
        for file, more in {"samples.parquet": samples, **(extra or {})}.items():
            if isinstance(more, np.ndarray):  # the body may have filled it along with the images
                np.save(aside / file, more, allow_pickle=False)
            else:
                more.to_parquet(aside / file, index=False)
        sheet = contact_sheet.draw_sheet(images.shown, samples, manifest)
        sheet.save(aside / contact_sheet.FILE, compress_level=1)
        table = summary.summarise(samples, arrays["profiles.npy"], manifest["exclusions"])
        provenance.write_csv(aside / summary.CSV, table)
        provenance.write_text(aside / summary.MARKDOWN, summary.to_markdown(table, manifest))
        # The images, most of the bytes, were hashed as they came.
        files = {path.name: path for path in sorted(aside.iterdir())}
        others = {f: provenance.sha256_file(path) for f, path in files.items() if f != IMAGES}
        sizes = {f: path.stat().st_size for f, path in files.items() if f not in FOR_PEOPLE}
        hashes = {f: others.get(f, images.hash) for f in files}
        manifest = provenance.plain({**manifest, "files": hashes, "bytes": sizes})
        manifest["hash"] = content_hash(manifest, samples)
        provenance.write_json(aside / "manifest.json", provenance.sealed(manifest))
    for file in sizes:  # as they were hashed when they were written
        hashed.note(folder / file, hashes[file])
    images.prepared = Prepared(name, folder, manifest, samples)
    forget(name)


def _describe(name: str, samples: pd.DataFrame, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest without what only the files say."""
    counts = {"patients": samples["patient_id"].nunique()}
    counts |= {split: (samples["split"] == split).sum() for split in schema.SPLITS}
    manifest = {"name": name, "n": len(samples), "exclusions": [], "field_mm": FIELD_MM, **fields}
    doubts = manifest.pop("doubts", {})
    if "disc_confidence" in samples or doubts:
        manifest["unsure"] = _unsure(samples, doubts, name)
        counts["unsure"] = len(manifest["unsure"])
    return manifest | {"counts": counts | dict(fields.get("counts", {}))}


def _unsure(
    samples: pd.DataFrame, doubts: Mapping[str, list[str]], where: str
) -> list[dict[str, Any]]:
    """Return ``id``, ``confidence`` of the disc and ``doubts`` of eyes to be looked at."""
    confidence = samples.get("disc_confidence", pd.Series(1.0, samples.index)).astype(float)
    bad = confidence[~confidence.between(0, 1)].unique()
    if len(bad):
        raise ValueError(f"{where}: disc_confidence {bad[:3]}: expected 0 to 1 in each row")
    return [
        {"id": eye, "confidence": sure, "doubts": doubts.get(eye) or [disc.doubt(sure)]}
        for eye, sure in zip(samples["eye_id"], confidence, strict=True)
        if doubts.get(eye) or sure < disc.UNSURE_BELOW
    ]


def content_hash(manifest: Mapping[str, Any], samples: pd.DataFrame) -> str:
    """Hash what a training run depends on; parquet bytes vary with the writer's version."""
    arrays = {file: digest for file, digest in manifest["files"].items() if file.endswith(".npy")}
    kept = {key: manifest[key] for key in (*REQUIRED, "field_mm")}
    return provenance.sha256_json(
        {**kept, "arrays": arrays, "samples": provenance.sha256_frame(samples)}
    )


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
        now = _whole(prepared.folder)["hash"]
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
    """Hold a dataset by :func:`check_unchanged` before and after, and after what fails between."""
    check_unchanged(prepared, kept)
    try:
        yield
    except (OSError, ValueError):
        check_unchanged(prepared, kept)
        raise
    check_unchanged(prepared, kept)
