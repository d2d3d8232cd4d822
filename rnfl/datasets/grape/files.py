"""GRAPE's raw folder, and one eye of it: from its files to crop, disc and labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnfl.core.geometry import N_ANGLES
from rnfl.core.schema import RNFL_COLUMNS
from rnfl.datasets.grape.annotations import read_annotation
from rnfl.datasets.grape.regions import find_region
from rnfl.datasets.reading import Excluded, Eye, file_stamp
from rnfl.imaging import disc
from rnfl.imaging import fundus as photographs
from rnfl.storage.provenance import sha256_file, sha256_json

WORKBOOK = "VF and clinical information.xlsx"
PHOTOGRAPHS = "CFPs"
REGIONS = "ROI images"
ANNOTATIONS = "json"

NO_RNFL = "no RNFL thickness"
NO_PHOTOGRAPH = "no photograph"


@dataclass(frozen=True)
class Files:
    """The parts of a raw folder; ``regions`` and ``annotations`` may be absent."""

    workbook: Path
    photographs: Path
    regions: Path | None
    annotations: Path | None

    def of(self, photograph: str) -> tuple[Path | None, Path | None, Path | None]:
        """Return photograph, region and annotation by the photograph's name, None if absent."""
        outlines = f"{Path(photograph).stem}.json"
        return (
            _file(self.photographs, photograph),
            _file(self.regions, photograph),
            _file(self.annotations, outlines),
        )

    def fingerprint(self, names: list[str]) -> dict[str, str]:
        """Return hashes of the workbook and of all files that photographs of these names have."""
        found = [path for name in sorted(names) for path in self.of(name) if path]
        hashes = {f"{path.parent.name}/{path.name}": sha256_file(path) for path in found}
        return {"workbook": sha256_file(self.workbook), "files": sha256_json(hashes)}

    def strangers(self, names: set[str]) -> list[str]:
        """Return the photographs that the workbook does not name."""
        return sorted(p.name for p in _pictures(self.photographs) if p.name not in names)


def find_files(place: Path) -> Files | None:
    """Return the files of a folder, None where workbook or photographs are not there.

    Spaces of names may be underscores, and an archive may have been unpacked into a folder of its
    own name (``CFPs/CFPs``).
    """
    workbook = _named(place, WORKBOOK)
    parts = [_unpacked(place, name) for name in (PHOTOGRAPHS, REGIONS, ANNOTATIONS)]
    if workbook is None or not workbook.is_file() or parts[0] is None:
        return None
    return Files(workbook, *parts)


def _named(place: Path, name: str) -> Path | None:
    either = (place / name, place / name.replace(" ", "_"))
    return next((path for path in either if path.exists()), None)


def _unpacked(place: Path, name: str) -> Path | None:
    folder = _named(place, name)
    if folder is None or not folder.is_dir():
        return None
    inner = _named(folder, name)
    return inner if inner is not None and inner.is_dir() else folder


def _file(folder: Path | None, name: str) -> Path | None:
    return folder / name if folder is not None and (folder / name).is_file() else None


def _pictures(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))


def stamp(row: Any, files: Files) -> str:
    """Return a text that changes when a file of the eye does; see ``eyes.read_eyes``."""
    return file_stamp(*filter(None, files.of(row.photograph))) if row.photograph else ""


def read_eye(row: Any, files: Files) -> Eye:
    """Return the eye of one row of the baseline.

    The disc is where an annotation has it, else it is looked for. ``annotation_fault`` of the row
    says why an annotation was not used, ``roi_distance`` how far the middle of the published
    region of interest lies from the disc, in disc radii.

    Raises
    ------
    Excluded
        Without RNFL thickness, or without a photograph in which there is a field of view.
    """
    photograph, region, outlines = files.of(row.photograph) if row.photograph else (None,) * 3
    if any(np.isnan(getattr(row, name)) for name in RNFL_COLUMNS):
        raise Excluded(NO_RNFL)
    if photograph is None:
        what = _what_is_there(row.photograph, region)
        raise Excluded(NO_PHOTOGRAPH, what, has_region=region is not None)
    photo = photographs.read(photograph)
    centre, ratio, fault = None, np.nan, None
    if outlines is not None:
        try:
            drawn = read_annotation(outlines, photo.shape[1], photo.shape[0])
            centre, ratio = (drawn.x, drawn.y), drawn.cup_disc_ratio
        except ValueError as error:
            fault = str(error).replace(str(outlines), outlines.name)
    image, found = photographs.prepare(photo, row.laterality, centre)
    columns = row._asdict()
    for name in ("Index", "photograph"):
        columns.pop(name)
    columns |= {
        "disc_x": found.x,
        "disc_y": found.y,
        "disc_confidence": found.confidence,
        "disc_source": "annotation" if centre else "located",
        "cup_disc_ratio": ratio,
        "roi_distance": _distance(photo, region, found),
        "annotation_fault": fault,
    }
    return Eye(image, np.full(N_ANGLES, np.nan, dtype=np.float32), columns)


def _what_is_there(named: str | None, region: Path | None) -> str:
    if named is None:
        return "the workbook names none"
    also = "; its ROI image is there, which lacks the surroundings of the disc" if region else ""
    return f"{named} is not there{also}"


def _distance(photo: np.ndarray, region: Path | None, found: disc.Disc) -> float:
    """Return disc radii between the disc and the middle of the region; NaN without one."""
    if region is None:
        return np.nan
    try:
        middle = find_region(photo, photographs.read(region))
    except Excluded:  # an unreadable region decides nothing
        return np.nan
    if middle is None:
        return np.nan
    radius = disc.DISC_RADIUS * photo.shape[1]
    return float(np.hypot(found.x - middle[0], found.y - middle[1]) / radius)
