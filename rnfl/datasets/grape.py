"""GRAPE: real colour fundus photographs with the four quadrant means of the RNFL.

Huang et al., Scientific Data 2023, doi 10.1038/s41597-023-02424-4. The baseline visit only. There
is no thickness profile, so ``profiles.npy`` is all NaN and the labels are the ``rnfl_*`` columns of
``samples``. Networks are tested on it and never trained on it: every eye is in the test split.

A raw folder holds ``VF and clinical information.xlsx`` (also seen with underscores for spaces) and
``CFPs/{subject}_{OD|OS}_{visit}.jpg``. A missing value is ``/``.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from rnfl import disc, photographs
from rnfl.datasets.grape_workbook import read_baseline
from rnfl.geometry import FIELD_MM, N_ANGLES
from rnfl.paths import data_root, project_root
from rnfl.prepare import Prepared, write
from rnfl.provenance import sha256_file, sha256_json
from rnfl.schema import RNFL_COLUMNS

VERSION = 1  # of this preparation; raise it when the same files would give other output

WORKBOOK = "VF and clinical information.xlsx"
PHOTOGRAPHS = "CFPs"
NO_RNFL = "no RNFL thickness"
NO_PHOTOGRAPH = "no photograph"
UNREADABLE = "unreadable photograph"
NO_FIELD = "no field of view in the photograph"


class Excluded(Exception):
    """An eye of the workbook that cannot be prepared; the message is the reason."""


def find_source(source: str | Path | None = None) -> Path:
    """Return the raw GRAPE folder.

    Parameters
    ----------
    source : path, optional
        By default ``$RNFL_GRAPE``, else ``<data root>/raw/grape``, else a ``shared/data/grape``
        beside the project. A place that was named must hold the files; the others may be absent.

    Raises
    ------
    FileNotFoundError
        Naming every place that was looked at and what to put there.
    """
    named = source or os.environ.get("RNFL_GRAPE")
    defaults = (data_root() / "raw" / "grape", project_root().parent / "shared" / "data" / "grape")
    places = [Path(named).expanduser()] if named else list(defaults)
    for place in places:
        if _workbook(place) and (place / PHOTOGRAPHS).is_dir():
            return place
    listing = "\n".join(f"  {place}" for place in places)
    raise FileNotFoundError(
        f"GRAPE not found. Looked in:\n{listing}\n"
        f"Put '{WORKBOOK}' and the photographs' folder '{PHOTOGRAPHS}' there (unpacked from "
        f"CFPs.rar), or name the folder that holds them: RNFL_GRAPE=<folder>. The dataset is open: "
        f"doi 10.1038/s41597-023-02424-4; see data/README.md."
    )


def _workbook(folder: Path) -> Path | None:
    for name in (WORKBOOK, WORKBOOK.replace(" ", "_")):
        if (folder / name).is_file():
            return folder / name
    return None


def _read_eye(eye: Any, folder: Path) -> tuple[np.ndarray, disc.Disc]:
    """Return the crop (224, 224, 3) of one row, right-eye oriented, and its disc."""
    if any(np.isnan(getattr(eye, name)) for name in RNFL_COLUMNS):
        raise Excluded(NO_RNFL)
    if eye.photograph is None or not (folder / eye.photograph).is_file():
        raise Excluded(NO_PHOTOGRAPH)
    try:
        photo = photographs.read(folder / eye.photograph)
    except ValueError as error:
        raise Excluded(UNREADABLE) from error
    try:
        return photographs.prepare(photo, eye.laterality)
    except disc.NoFieldError as error:
        raise Excluded(NO_FIELD) from error


def settings(name: str = "grape", source: str | Path | None = None) -> dict[str, Any]:
    """Return all that decides the prepared dataset: constants and the hashes of the raw files."""
    folder = find_source(source)
    names = read_baseline(_workbook(folder))["photograph"].dropna().unique()
    paths = {photo: folder / PHOTOGRAPHS / photo for photo in sorted(names)}
    hashes = {photo: sha256_file(path) for photo, path in paths.items() if path.is_file()}
    return {
        "version": VERSION,
        "size_px": photographs.SIZE,
        "crop_width": photographs.CROP_WIDTH,
        "disc": disc.SETTINGS,
        "workbook": sha256_file(_workbook(folder)),
        "photographs": sha256_json(hashes),
    }


def prepare(name: str = "grape", source: str | Path | None = None) -> Prepared:
    """Prepare GRAPE; :func:`rnfl.prepare.prepare` returns it at once when nothing has changed.

    Parameters
    ----------
    name : str
        Name of the prepared dataset.
    source : path, optional
        Raw folder; see :func:`find_source`.

    Returns
    -------
    Prepared
        Disc-centred RGB crops in right-eye orientation; quadrant labels, age, sex, glaucoma
        category, device and the disc (photograph px, confidence) in ``samples``; eyes without
        thickness or usable photograph in the manifest's exclusions, each with its reason.

    Raises
    ------
    FileNotFoundError
        When the raw files are not there.
    ValueError
        When the workbook is not as expected or no eye is left.
    """
    folder = find_source(source)
    table = read_baseline(_workbook(folder))
    images, discs, kept, excluded = [], [], [], []
    for eye in tqdm(table.itertuples(), "GRAPE", len(table), unit="eye", disable=None):
        try:
            image, found = _read_eye(eye, folder / PHOTOGRAPHS)
        except Excluded as reason:
            excluded.append({"id": eye.eye_id, "reason": str(reason)})
            continue
        images.append(image)
        discs.append(found)
        kept.append(eye.Index)
    if not images:
        raise ValueError(f"{folder}: no eye has both RNFL thickness and a usable photograph")
    samples = table.loc[kept].drop(columns="photograph").reset_index(drop=True)
    samples = samples.assign(
        modality="CFP",
        split="test",
        disc_x=[d.x for d in discs],
        disc_y=[d.y for d in discs],
        disc_confidence=[d.confidence for d in discs],
    )
    fields = {
        "dataset": "grape",
        "modality": "CFP",
        "phantom": False,
        "field_mm": FIELD_MM,
        "settings": settings(name, source),
        "counts": {
            "workbook_eyes": len(table),
            "patients": samples["patient_id"].nunique(),
            "test": len(samples),
            "disc_unsure": sum(d.unsure for d in discs),
            "excluded": Counter(e["reason"] for e in excluded),
        },
        "exclusions": excluded,
    }
    profiles = np.full((len(images), N_ANGLES), np.nan, dtype=np.float32)
    return write(name, np.stack(images), profiles, samples, fields)
