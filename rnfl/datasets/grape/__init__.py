"""GRAPE: real colour fundus photographs with the four quadrant means of the RNFL.

Huang et al., Scientific Data 2023, doi 10.1038/s41597-023-02424-4. There is no thickness profile,
so ``profiles.npy`` is all NaN and the labels are the ``rnfl_*`` columns of ``samples``; they exist
at the first visit only. Every eye is in the test split: a training that wants GRAPE takes patients
out of it by itself. Later visits are a table, ``visits.parquet``, see :func:`visits`.

A raw folder holds ``VF and clinical information.xlsx`` (also seen with underscores for spaces) and
``CFPs/{subject}_{OD|OS}_{visit}.jpg``; ``ROI images`` and ``json`` (outlines of disc and cup) are
used where they are there. A missing value is ``/``.

An eye whose photograph is absent is read from its ROI image, a square round the disc that shows
less: ``field_mm`` in ``samples`` says how many of the 4.943 mm of a crop are retina, the rest is
reflected (**ours**).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rnfl.core.exclusion import Excluded
from rnfl.core.geometry import FIELD_MM, N_ANGLES
from rnfl.core.schema import RNFL_COLUMNS
from rnfl.datasets.base import RawDataset
from rnfl.datasets.grape.annotations import find_region, read_annotation
from rnfl.datasets.grape.workbook import VISIT_COLUMNS, read_baseline, read_visits
from rnfl.datasets.reading import Eye
from rnfl.imaging import crops, disc
from rnfl.storage.hashed import file_stamp
from rnfl.storage.paths import prepared_root, project_root
from rnfl.storage.provenance import sha256_bytes, sha256_file, sha256_json
from rnfl.storage.readers import read_parquet
from rnfl.storage.tables import listed

VERSION = 3  # of this preparation; raise it when the same files would give other output
WORKBOOK, PHOTOGRAPHS = "VF and clinical information.xlsx", "CFPs"
REGIONS, ANNOTATIONS = "ROI images", "json"
PICTURES = (".jpg", ".jpeg", ".png")
VISITS = "visits.parquet"
REGION_SHARE = 0.291  # of the photograph's width, where its resolution is not known (ours)
ODD_PX = 0.01  # of its side: by how much a region may miss a square, as those of GRAPE do by 1 px
FAR = 1.0  # disc radii from the middle of the ROI image beyond which a disc is listed

UNUSED = ("Index", "photograph", "resolution")  # of the workbook, in samples

NO_RNFL = "no RNFL thickness"
NO_PHOTOGRAPH = "no photograph"


def visits(name: str = "grape") -> pd.DataFrame:
    """Return the visits of a prepared GRAPE dataset: those without labels, and the first ones.

    Returns
    -------
    DataFrame
        As :func:`rnfl.datasets.grape.workbook.read_visits`, with ``photograph_present``: whether
        the photograph was among the raw files. RNFL thickness exists at the first visit only.

    Raises
    ------
    FileNotFoundError
        When the dataset was not prepared, or by an earlier version.
    """
    path = prepared_root() / name / VISITS
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not there: run `rnfl prepare {name}`, its folder deleted first"
        )
    return read_parquet(path)


@dataclass(frozen=True)
class Files:
    """The parts of a raw folder; ``regions`` and ``annotations`` may be absent."""

    workbook: Path
    photographs: Path
    regions: Path | None
    annotations: Path | None

    def of(self, photograph: str | None) -> tuple[Path | None, Path | None, Path | None]:
        """Return photograph, region and annotation by the photograph's name, None if absent."""
        if not photograph:
            return None, None, None
        outlines = f"{Path(photograph).stem}.json"
        return (
            _file(self.photographs, photograph),
            _file(self.regions, photograph),
            _file(self.annotations, outlines),
        )


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


def _file(folder: Path | None, name: str) -> Path | None:
    return folder / name if folder is not None and (folder / name).is_file() else None


def _named(place: Path, name: str) -> Path | None:
    either = (place / name, place / name.replace(" ", "_"))
    return next((path for path in either if path.exists()), None)


def _unpacked(place: Path, name: str) -> Path | None:
    folder = _named(place, name)
    if folder is None or not folder.is_dir():
        return None
    inner = _named(folder, name)
    return inner if inner is not None and inner.is_dir() else folder


class Grape(RawDataset):
    """GRAPE, from its workbook and photographs."""

    dataset, title, variable = "grape", "GRAPE", "RNFL_GRAPE"
    advice = (
        f"The dataset is open: doi 10.1038/s41597-023-02424-4. Name the folder that holds "
        f"'{WORKBOOK}' and the photographs' folder '{PHOTOGRAPHS}' (unpacked from CFPs.rar)"
    )

    def __init__(self, name: str, place: Path) -> None:
        super().__init__(name, place)
        self.files = find_files(place)

    @classmethod
    def holds(cls, place: Path) -> bool:
        return find_files(place) is not None

    @classmethod
    def places(cls, name: str) -> list[Path]:
        beside = project_root().parent / "shared" / "data" / "grape"
        return [*super().places(name), *([beside] if name == cls.dataset else [])]

    @classmethod
    def method(cls, options: Any) -> dict[str, Any]:
        return {
            "version": VERSION,
            "size_px": crops.SIZE,
            "crop_width": crops.CROP_WIDTH,
            "region_share": REGION_SHARE,
            "disc": disc.SETTINGS,
        }

    @cached_property
    def baseline(self) -> pd.DataFrame:
        """The first visit of each eye."""
        return read_baseline(self.files.workbook)

    @cached_property
    def visits(self) -> pd.DataFrame:
        """All visits with ``photograph_present``; none where their sheet cannot be read."""
        try:
            seen = read_visits(self.files.workbook)
        except ValueError as error:
            seen = pd.DataFrame(columns=list(VISIT_COLUMNS)).astype({"visit": int})
            seen.attrs["faults"] = [str(error)]
        there = [self.files.of(photograph)[0] is not None for photograph in seen["photograph"]]
        return seen.assign(photograph_present=there)

    @cached_property
    def photographs(self) -> list[str]:
        """Names of the photographs in the workbook."""
        names = pd.concat([self.baseline["photograph"], self.visits["photograph"]])
        return sorted(set(names.dropna()))

    @cached_property
    def strangers(self) -> list[str]:
        """Photographs that the workbook does not name."""
        found = (at for at in self.files.photographs.iterdir() if at.suffix.lower() in PICTURES)
        return sorted({path.name for path in found} - set(self.photographs))

    def tables(self) -> dict[str, Any]:
        return {"workbook": sha256_file(self.files.workbook)}

    def fingerprint(self, known: Mapping[str, str]) -> dict[str, Any]:
        paths = [path for name in self.photographs for path in self.files.of(name) if path]
        hashes = self.hashes({_label(path): partial(sha256_file, path) for path in paths}, known)
        return {**self.tables(), "files": sha256_json(hashes)}

    def items(self) -> Sequence[Any]:
        return list(self.baseline.itertuples())

    def key(self, item: Any) -> str:
        return item.eye_id

    def stamp(self, item: Any) -> str:
        return file_stamp(*filter(None, self.files.of(item.photograph)))

    def read(self, item: Any, found: dict[str, Any]) -> Eye:
        """Return the eye of one row of the baseline, from its photograph or else its ROI image.

        The disc is where an annotation has it, else it is looked for. ``roi_distance`` says how far
        the middle of the published region of interest lies from the disc, in disc radii; ``fault``,
        why an annotation was not used.
        """
        name = item.photograph
        photograph, region, outlines = self.files.of(name)
        if any(np.isnan(getattr(item, column)) for column in RNFL_COLUMNS):
            raise Excluded(NO_RNFL)
        columns = {k: v for k, v in item._asdict().items() if k not in UNUSED}
        if photograph is None:
            if region is None:
                what = (
                    f"{name} is not there, nor its ROI image" if name else "the workbook names none"
                )
                raise Excluded(NO_PHOTOGRAPH, what)
            return _of_region(_read(region, found), item, columns, found)
        photo = _read(photograph, found)
        centre, ratio = None, np.nan
        if outlines is not None:
            try:
                drawn = read_annotation(outlines, photo.shape[1], photo.shape[0])
                centre, ratio = (drawn.x, drawn.y), drawn.cup_disc_ratio
            except ValueError as error:
                found["fault"] = str(error).replace(str(outlines), outlines.name)
        crop = crops.prepare(photo, item.laterality, centre)
        found["doubts"] = crop.doubts
        distance = _distance(photo, region, crop.disc, found)
        columns |= {"cup_disc_ratio": ratio, "roi_distance": distance}
        return _eye(crop, columns, "annotation" if centre else "located")

    def none_left(self) -> str:
        return "no eye has both RNFL thickness and a usable photograph or ROI image"

    def samples(self, rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(modality="CFP", split="test")

    def extra(self) -> dict[str, pd.DataFrame]:
        return {VISITS: self.visits}

    def about(self, samples: pd.DataFrame) -> dict[str, Any]:
        faults = {eye: of["fault"] for eye, of in self.found.items() if "fault" in of}
        faults = {eye: faults[eye] for eye in samples["eye_id"] if eye in faults}
        later = self.visits[self.visits["visit"] > 1]
        counts = {
            "workbook_eyes": len(self.baseline),
            "visits": len(self.visits),
            "later_photographs": {
                "present": later["photograph_present"].sum(),
                "absent": (later["photograph"].notna() & ~later["photograph_present"]).sum(),
                "none_taken": later["photograph"].isna().sum(),
            },
            "annotations": {
                "used": (samples["disc_source"] == "annotation").sum(),
                "unusable": len(faults),
            },
            "from_region": (samples["disc_source"] == "roi").sum(),
            "not_in_workbook": len(self.strangers),
        }
        return {"counts": counts, "findings": self._findings(samples, faults, later)}

    def _findings(
        self, samples: pd.DataFrame, faults: Mapping[str, str], later: pd.DataFrame
    ) -> dict[str, Any]:
        """Return in words what was found besides what the counts say."""
        each = listed((f"{eye}: {fault}" for eye, fault in faults.items()), 5, comma="; ")
        distances = samples["roi_distance"]
        far = samples.loc[distances > FAR, "eye_id"]
        widths = samples.loc[samples["disc_source"] == "roi", "field_mm"]
        empty = [*self.baseline.attrs["faults"], *self.visits.attrs["faults"]]
        orphans = sorted(set(self.visits["eye_id"]) - set(self.baseline["eye_id"]))
        return {
            "Photographs are taken to be 45° wide, 13.0 mm (ours).": True,
            f"Later visits: {len(later)}, of which {later['photograph_present'].sum()} have their "
            "photograph here; they have no RNFL thickness and are in visits.parquet only.": True,
            f"{len(faults)} annotations are not used, the disc is looked for: {each}.": faults,
            f"{distances.notna().sum()} discs compared with the middle of the ROI image: median "
            f"distance {distances.median():.2f} disc radii, {len(far)} beyond {FAR:g}"
            f"{f' ({listed(far)})' if len(far) else ''}.": distances.notna().any(),
            f"{len(widths)} eyes without photograph are read from their ROI image, which shows "
            f"{widths.min():.2f} to {widths.max():.2f} mm round the disc; the rest of the crop is "
            "its reflection (ours).": len(widths),
            f"{len(empty)} entries of the workbook are left empty: {listed(empty, 10)}.": empty,
            f"{len(orphans)} eyes have visits and no baseline: {listed(orphans)}.": orphans,
            f"{len(self.strangers)} photographs are not in the workbook: "
            f"{listed(self.strangers)}.": self.strangers,
        }


def _of_region(
    picture: np.ndarray, item: Any, columns: dict[str, Any], found: dict[str, Any]
) -> Eye:
    """Return an eye from its ROI image (h, w, 3), whose middle is the disc's."""
    height, width = picture.shape[:2]
    if abs(height - width) <= ODD_PX * width:
        picture = picture[: min(height, width), : min(height, width)]
    pixels = re.match(r"\d+", item.resolution or "")
    share = len(picture) / int(pixels[0]) if pixels and int(pixels[0]) else REGION_SHARE
    width_mm = share * crops.PHOTOGRAPH_MM
    crop = crops.prepare_crop(picture, item.laterality, width_mm=width_mm)
    found["doubts"] = crop.doubts
    columns |= {"cup_disc_ratio": np.nan, "roi_distance": np.nan}
    return _eye(crop, columns, "roi", min(width_mm, FIELD_MM))


def _eye(crop: crops.Crop, columns: dict[str, Any], source: str, field_mm: float = FIELD_MM) -> Eye:
    """Return an eye without profile; ``source`` says where its disc is from."""
    columns |= {
        "disc_x": crop.disc.x,
        "disc_y": crop.disc.y,
        "disc_confidence": crop.disc.confidence,
        "disc_source": source,
        "field_mm": field_mm,
    }
    return Eye(crop.image, np.full(N_ANGLES, np.nan, dtype=np.float32), columns)


def _label(path: Path) -> str:
    """Return what a file is called in the fingerprint."""
    return f"{path.parent.name}/{path.name}"


def _read(path: Path, found: dict[str, Any]) -> np.ndarray:
    """Return a picture and note the hash of its file, which is read once for both."""
    data = crops.read_bytes(path)
    found["hashes"][_label(path)] = sha256_bytes(data)
    return crops.read(path, data)


def _distance(
    photo: np.ndarray, region: Path | None, place: disc.Disc, found: dict[str, Any]
) -> float:
    """Return disc radii between the disc and the middle of the region; NaN without one."""
    if region is None:
        return np.nan
    try:
        middle = find_region(photo, _read(region, found))
    except Excluded:  # an unreadable region decides nothing
        middle = None
    if middle is None:
        return np.nan
    radius = disc.DISC_RADIUS * photo.shape[1]
    return float(np.hypot(place.x - middle[0], place.y - middle[1]) / radius)
