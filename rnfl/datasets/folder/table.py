"""The CSV of a folder of photographs: one row per photograph, every column checked; its options.

Upper and lower case are the same, and so are the names in :data:`SAME`. What is wrong with one row
leaves out that photograph; what is wrong with a column is an error that lists its values.
"""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from rnfl.core.demographics import OLDEST, UNKNOWN, spelt
from rnfl.core.geometry import N_ANGLES, mirror_profile
from rnfl.core.labels import refuse_contradictions, refuse_unit
from rnfl.core.nanstats import mean
from rnfl.core.points import Points, find_points
from rnfl.core.schema import RNFL_COLUMNS
from rnfl.imaging.inspection import MM_PER_DEGREE, WIDTHS_MM
from rnfl.storage.tables import (
    identifiers,
    listed,
    named_file,
    near_names,
    numbers,
    read_table,
    unused,
)

TABLE = "samples.csv"
SAME = {
    **dict.fromkeys(("filename", "file_name", "file", "photograph", "photo", "path"), "image"),
    **dict.fromkeys(("laterality", "side"), "eye"),
    **dict.fromkeys(("patient", "patientid", "subject", "subject_id"), "patient_id"),
    **dict.fromkeys(("center_x", "centre_x"), "disc_x"),
    **dict.fromkeys(("center_y", "centre_y"), "disc_y"),
    **dict.fromkeys(("fov", "fov_degrees"), "field_degrees"),
    **{name.lower(): name for name in RNFL_COLUMNS},
    "gender": "sex",
    "use": "split",
}
WORDS = ("sex", "race", "ethnicity", "severity", "modality", "split")
RANGES = {
    "age": (0, OLDEST, "years"),
    "width_mm": (*WIDTHS_MM, "mm"),
    "field_degrees": (*(round(mm / MM_PER_DEGREE, 1) for mm in WIDTHS_MM), "degrees"),
}
EXPECTED = (
    "Expected a CSV with the columns image (file) and eye (OD or OS), and optionally patient_id, "
    "disc_x and disc_y (px), width_mm or field_degrees, split, age, sex, race, ethnicity, "
    "severity, modality, eye_id, mask (file of disc and cup), and labels in µm: 0 ... 359, or "
    "S, N, I, T (and mean)"
)

NO_NAME = "no photograph named"
OUTSIDE = "path leaves the folder"
NO_FILE = "no such photograph"
NO_EYE = "eye not stated"
HALF_A_DISC = "disc_x without disc_y, or the reverse"


@dataclass(frozen=True)
class Options:
    """What photographs do not say themselves, and their owner may in a file beside the CSV."""

    FILE: ClassVar[str] = "folder.toml"
    images: Literal["photographs", "crops"] = "photographs"  # crops: 4.943 mm, centred on the disc
    framing: Literal["macula", "disc"] = "macula"  # what the middle of a photograph shows
    left_eyes: Literal["as taken", "mirrored"] = "as taken"  # or like right eyes already
    #: Of the columns 0 ... 359: "tsnit", 0° temporal and 90° superior in both eyes; "image", angles
    #: on the photograph as taken (0° left, 90° up), so that profiles of left eyes are mirrored.
    profile_orientation: Literal["tsnit", "image"] = "tsnit"
    resample: bool = False  # profiles of another number of points than 360
    #: Retina over the whole width of a photograph, margins too, where the CSV has no width_mm or
    #: field_degrees; without it the lit field is taken as that of a 45° camera, 13.0 mm.
    width_mm: float | None = None
    split_seed: int = 0  # of the 70/15/15 split, where the CSV has none


@dataclass(frozen=True)
class Row:
    """One photograph: its place, what the CSV says of it, and why it cannot be used, if so."""

    eye_id: str
    path: Path
    eye: str | None
    width_mm: float | None
    centre: tuple[float, float] | None
    columns: dict[str, Any]
    profile: np.ndarray
    fault: tuple[str, str] | None
    mask: Path | None = None  # of disc and cup


@dataclass(frozen=True)
class Table:
    """The rows, and what the CSV has."""

    rows: list[Row]
    columns: frozenset[str]
    labels: str  # 'profiles', 'quadrants', 'both' or 'none'
    resampled: str  # from what profiles were resampled, '' where they were not
    ignored: list[str]


def find_table(place: Path) -> Path:
    """Return the CSV of a folder: ``samples.csv``, else its only one; or the CSV itself.

    It raises a FileNotFoundError where there is none, a ValueError where there are several.
    """
    if place.is_file():
        return place
    found = sorted(path for path in place.glob("[!.]*") if path.suffix.lower() == ".csv")
    named = [path for path in found if path.name.lower() == TABLE]
    if not found:
        raise FileNotFoundError(f"{place}: no CSV in this folder. {EXPECTED}; see data/README.md.")
    if len(found) > 1 and len(named) != 1:
        raise ValueError(
            f"{place}: {len(found)} CSVs: {listed(path.name for path in found)}; name the right "
            f"one {TABLE}, or give it as the source"
        )
    return (named or found)[0]


def read_rows(path: Path, options: Options) -> Table:
    """Read the CSV; the options are what its owner says of all rows.

    Raises
    ------
    ValueError
        Naming the file, and listing what is missing, repeated, misspelt or out of range.
    """
    path = path.absolute()
    frame = read_table(path, SAME, None, EXPECTED, needed=("image", "eye"))
    absent = [name for name in ("image", "eye") if name not in frame]
    if absent or not len(frame):
        fault = f"columns {absent} are missing" if absent else "no rows"
        raise ValueError(f"{path}: {fault}; found {listed(frame, 12)}. {EXPECTED}")
    frame = _name_labels(frame, path)
    points = find_points(frame, str(path), options.resample)
    known = {"image", "eye", "eye_id", "patient_id", "disc_x", "disc_y", "mask", *WORDS, *RANGES}
    known |= {*RNFL_COLUMNS, *points.names}
    ignored = unused(frame, known, path, {*"snit", "mean"})
    frame = frame.drop(columns=ignored)
    for name in set(frame) - {"image", "eye", *WORDS, "eye_id", "patient_id", "mask"}:
        frame[name] = _within(frame[name], name, path)
    if {"width_mm", "field_degrees"} <= set(frame):
        raise ValueError(f"{path}: columns width_mm and field_degrees: keep one of them")
    eyes = spelt(frame["eye"], "laterality", path)
    for name in set(WORDS) & set(frame):
        frame[name] = spelt(frame[name], name, path)
    if "split" in frame and frame["split"].isna().any():
        lines = np.flatnonzero(frame["split"].isna()) + 2
        raise ValueError(f"{path}: split is empty in line {listed(lines)}: train, val or test")
    names = [_tidy(name) for name in frame["image"]]
    ids = _eye_ids(frame, names, path)
    if "patient_id" in frame:
        frame["patient_id"] = identifiers(frame["patient_id"], f"{path}: patient_id")
    mm = frame.get("width_mm", frame.get("field_degrees", pd.Series(np.nan, frame.index)))
    mm = mm * (MM_PER_DEGREE if "field_degrees" in frame else 1)
    profiles = _profiles(frame, points, eyes, options)
    _check_labels(frame, profiles, path)
    kept = [name for name in (*WORDS, "age", "patient_id", *RNFL_COLUMNS) if name in frame]
    rows = []
    for i, columns in enumerate(frame[kept].to_dict("records")):
        centre = tuple(float(frame[axis].iloc[i]) for axis in ("disc_x", "disc_y") if axis in frame)
        known_centre = len(centre) == 2 and bool(np.isfinite(centre).all())
        place = named_file(Path(os.path.normpath(path.parent / names[i])))
        fault = _fault(names[i], place, path.parent, eyes.iloc[i])
        if fault is None and not known_centre and np.isfinite(centre).any():
            fault = HALF_A_DISC, str(centre)
        width = float(mm.iloc[i]) if np.isfinite(mm.iloc[i]) else options.width_mm
        where = centre if known_centre else None
        mask, lost = _mask(frame["mask"].iloc[i] if "mask" in frame else None, path.parent)
        told = ids[i], place, eyes.iloc[i], width, where, columns, profiles[i]
        rows.append(Row(*told, fault or lost, mask))
    which = {(True, True): "both", (True, False): "profiles", (False, True): "quadrants"}
    labels = which.get((bool(points.names), RNFL_COLUMNS[1] in frame), "none")
    return Table(rows, frozenset(frame), labels, points.said, ignored)


def _profiles(frame: pd.DataFrame, points: Points, eyes: pd.Series, options: Options) -> np.ndarray:
    """Return the profiles (n, 360), µm, in right-eye orientation; NaN where there are none."""
    if not points.names:
        return np.full((len(frame), N_ANGLES), np.nan)
    profiles = points.profiles(frame[points.names].to_numpy(dtype=float))
    if options.profile_orientation == "image" and options.left_eyes == "as taken":
        left = (eyes == "OS").to_numpy()
        profiles[left] = mirror_profile(profiles[left])
    return profiles


def _check_labels(frame: pd.DataFrame, profiles: np.ndarray, path: Path) -> None:
    """Refuse labels in another unit, and rows that say two things of one eye."""
    lines = [f"line {i + 2}" for i in range(len(frame))]
    labels = frame[[name for name in RNFL_COLUMNS if name in frame]]
    if len(labels.columns):
        refuse_unit(mean(labels.to_numpy(dtype=float), axis=1), f"{path}: quadrants", lines)
    refuse_unit(mean(profiles, axis=1), f"{path}: profiles", lines)
    refuse_contradictions(labels, profiles, str(path), lines)


def _name_labels(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return the table with label columns under our names."""
    plain = {name.removeprefix("rnfl_").lower(): name for name in RNFL_COLUMNS}
    if set("snit") <= set(frame):
        twice = [name for name, ours in plain.items() if {name, ours} <= set(frame)]
        if twice:
            raise ValueError(f"{path}: columns that mean the same: {twice[0]}, {plain[twice[0]]}")
        frame = frame.rename(columns=plain)
    quadrants = [name for name in RNFL_COLUMNS if name in frame]
    lacking = [name for name in RNFL_COLUMNS[1:] if name not in frame]
    if quadrants and lacking:
        raise ValueError(f"{path}: {listed(quadrants)} without {listed(lacking)}: all four belong")
    return frame


def _within(series: pd.Series, name: str, path: Path) -> np.ndarray:
    """Return a column as float, NaN where missing or unknown, after a look at its range."""
    text = series.fillna("").astype(str).str.strip()
    values = numbers(text.where(~text.str.lower().isin(UNKNOWN), ""), f"{path}: {name}")
    low, high, unit = RANGES.get(name, (-np.inf, np.inf, "finite"))
    bad = ~np.isnan(values) & ~(np.isfinite(values) & (values >= low) & (values <= high))
    if bad.any():
        lines = listed(f"line {i + 2}: {values[i]:g}" for i in np.flatnonzero(bad))
        allowed = f"{low:g} to {high:g} {unit}" if name in RANGES else "finite numbers"
        raise ValueError(f"{path}: {name} expected {allowed}; {lines}")
    return values


def _tidy(name: Any) -> str:
    return unicodedata.normalize("NFC", str(name)).strip().replace("\\", "/")


def _eye_ids(frame: pd.DataFrame, names: list[str], path: Path) -> list[str]:
    """Return the ids of the eyes: of the column, else made of the names of the files."""
    _refuse_repeated([os.path.normpath(n) if n else f"line {i}" for i, n in enumerate(names)], path)
    if "eye_id" in frame:
        ids = identifiers(frame["eye_id"], f"{path}: eye_id").tolist()
        _refuse_repeated(ids, path)
        return ids
    stems = [PurePosixPath(n).stem or f"line-{i + 2}" for i, n in enumerate(names)]
    _refuse_repeated(stems, path, "; photographs of the same name need a column eye_id")
    return [f"folder-{stem}" for stem in stems]


def _refuse_repeated(values: list[str], path: Path, hint: str = "") -> None:
    series = pd.Series(values)
    again = series[series.duplicated(keep=False)]
    if len(again):
        each = listed(f"{value!r} in line {i + 2}" for i, value in again.items())
        raise ValueError(f"{path}: repeated: {each}{hint}; keep one row of each photograph")


def _mask(name: Any, folder: Path) -> tuple[Path | None, tuple[str, str] | None]:
    """Return the file of a mask, None for an eye without one, and why it cannot be used, if so."""
    if pd.isna(name) or not _tidy(name):
        return None, None
    place = named_file(Path(os.path.normpath(folder / _tidy(name))))
    fault = _misplaced(_tidy(name), place, folder)
    return place, fault and (f"mask: {fault[0]}", fault[1])


def _fault(name: str, place: Path, folder: Path, eye: str | None) -> tuple[str, str] | None:
    """Return why a row cannot be used whatever its photograph shows: reason and detail."""
    if not name:
        return NO_NAME, ""
    unknown = (NO_EYE, "expected OD or OS") if eye is None else None
    return _misplaced(name, place, folder) or unknown


def _misplaced(name: str, place: Path, folder: Path) -> tuple[str, str] | None:
    """Return why a file that a row names cannot be read: reason and detail."""
    if not place.is_relative_to(os.path.normpath(folder)):
        return OUTSIDE, name
    if not os.path.isfile(place):
        near = near_names(place)
        return NO_FILE, name + (f"; the folder has {listed(near)}" if near else "")
    return None
