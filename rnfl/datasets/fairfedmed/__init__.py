"""FairFedMed-Oph: SLO images with the RNFL profile of the same eye, where its owner has one.

The dataset is gated and licensed CC BY-NC-ND 4.0: nothing of it or derived from it is committed.
What the files look like was read from public code, not from the files; see ``data/README.md``.

An SLO of this dataset is 512 px high and 664 px wide. Some files hold it transposed, (664, 512),
which would swap superior and inferior with temporal and nasal. A transposed image is told by its
shape; of a square one the shape says nothing, and a turn by 90° looks like a transposition.

The original code cuts a square of half-width max(0.25·min(H, W), 150 px) round the disc, which is
300 px of the 512, and clips it at the border. Here those 300 px are taken to be the 4.943 mm of
every prepared crop **(ours)**: 16.5 µm per px and 8.44 mm of retina over the short side. An image
of another size is taken to show the same field. Beyond the border the crop is black.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from rnfl.core.exclusion import Excluded
from rnfl.core.geometry import FIELD_MM, centre, to_right_eye
from rnfl.core.labels import MEAN_RANGE, MIN_MEASURED, THICKEST
from rnfl.datasets.base import FRACTIONS
from rnfl.datasets.fairfedmed import targets
from rnfl.datasets.npz import MAP, NpzDataset, arrays_of, find_image, labels
from rnfl.datasets.npz.files import UNREADABLE, Entry
from rnfl.datasets.npz.tables import NAMES
from rnfl.datasets.reading import Eye, KeptEye
from rnfl.imaging import pixels, thickness_map
from rnfl.storage.provenance import sha256_bytes, sha256_json
from rnfl.storage.tables import listed

VERSION = 2  # of this preparation; raise it when the same files would give other output

SHORT_SIDE_MM = FIELD_MM * 512 / 300  # 8.436

NO_IMAGE = "no SLO image in the npz"
NO_CENTRE = "no disc centre"
OUTSIDE = "disc centre outside the SLO image"
NO_FILE = "no npz for this row of a profile CSV"
NO_LATERALITY = "laterality unknown"
NO_SPLIT = "no split in the tables"

IN_NAME = re.compile(r"(?:^|[_\-. ])(OD|OS)(?:$|[_\-. ])", re.IGNORECASE)


@dataclass(frozen=True)
class Options:
    """What the files do not say themselves and their owner may, in a TOML file beside them."""

    FILE: ClassVar[str] = "fairfedmed.toml"
    orientation: Literal["auto", "upright", "transposed"] = "auto"  # of SLO images; by their shape
    map_orientation: Literal["upright", "transposed"] = "upright"  # of rnflt maps and surfaces
    #: Of profile CSVs; in "image" angles are those on the image as taken: left eyes are mirrored.
    profile_orientation: Literal["tsnit", "image"] = "tsnit"
    left_eyes: Literal["as taken", "mirrored"] = "as taken"  # or like right eyes already
    laterality: Literal["", "OD", "OS"] = ""  # of eyes for which nothing else says it
    resample: bool = False  # of profile CSVs of another number of points than 360
    short_side_mm: float = SHORT_SIDE_MM  # retina over the short side of an SLO image
    map_mm: float = thickness_map.MAP_MM  # width of maps and surfaces
    split_seed: int = 0  # of the 70/15/15 split, where no table has one


class FairFedMed(NpzDataset):
    """FairFedMed, from its npz files and what there is of tables and targets."""

    dataset, title, variable = "fairfedmed", "FairFedMed", "RNFL_FAIRFEDMED"
    advice = (
        "The dataset is gated. Name the folder of npz files, the zip or the folder of tar shards"
    )
    Options = Options
    hashed_again = False  # a hundred gigabytes are not hashed for every training run
    wanted = arrays_of(*(name for name in NAMES if name != "split"))  # no OCT volumes

    @classmethod
    def method(cls, options: Options) -> dict[str, Any]:
        return {
            "version": VERSION,
            "size_px": pixels.SIZE,
            "fractions": FRACTIONS,
            "options": asdict(options),
            "depth_um": targets.DEPTH_UM,
            "limits": [MIN_MEASURED, THICKEST, *MEAN_RANGE],
            "map": thickness_map.SETTINGS,
        }

    @cached_property
    def surfaces(self) -> dict[str, dict[str, Entry]]:
        """The surface files of each eye, by layer."""
        return targets.find_surfaces(self.raw.csv, {entry.key for entry in self.raw.npz})

    def besides(self) -> Collection[Entry]:
        return {entry for pair in self.surfaces.values() for entry in pair.values()}

    def fingerprint(self, known: Mapping[str, str]) -> dict[str, Any]:
        npz, tables = self.file_hashes(known)
        npz = {entry.key: npz[entry.name] for entry in self.raw.npz}
        return {"files": sha256_json(npz), "tables": sha256_json(tables)}

    def items(self) -> Sequence[Entry]:
        some = self.csv.profiles or self.surfaces
        if not some and not any(self.raw.holds(e, MAP) for e in self.raw.npz):
            raise ValueError(
                f"{self.place}: no RNFL targets. {targets.EXPECTED}; see data/README.md."
            )
        return self.raw.npz

    def stamp(self, item: Entry) -> str:
        pair = self.surfaces.get(item.key, {})
        return " ".join(map(self.raw.stamp, (item, *(pair[layer] for layer in sorted(pair)))))

    def read(self, item: Entry, found: dict[str, Any]) -> Eye:
        """Read one npz; what is wrong with it leaves out this eye and no other.

        ``found`` has ``shape`` of the image; ``differ``, attributes for which npz and tables
        differ; ``unknown``, codes that no table of codes has.
        """
        found |= {"shape": "", "differ": [], "unknown": []}
        key, arrays = item.key, self.take(item, found)
        facts = self.csv.facts.get(key, {})
        columns = _labels(arrays, self.csv.rows.get(key, []), found)
        side = self._laterality(key, arrays, facts, found)
        image = find_image(arrays)
        if image is None:
            raise Excluded(NO_IMAGE, f"arrays used: {listed(arrays) or 'none'}")
        found["shape"] = orientation_of(image)
        way = found["shape"] if self.options.orientation == "auto" else self.options.orientation
        image = np.ascontiguousarray(image.T) if way == "transposed" else image
        x, y = (_number(arrays, facts, axis) for axis in ("disc_x", "disc_y"))
        stated = {"disc_x", "disc_y"} <= self.csv.columns or np.isfinite([x, y]).all()
        x, y = place(image, x, y, bool(stated))
        lies = side if self.options.left_eyes == "as taken" else "OD"
        profile, target = self._target(key, arrays, side, lies, found)
        if "split" in self.csv.columns and facts.get("split") is None:
            raise Excluded(NO_SPLIT)
        patient = facts.get("patient_id") or labels.stated(arrays, NAMES["patient_id"])
        seen = crop(image, x, y, self.options.short_side_mm)
        row = {
            "eye_id": key,
            "modality": "SLO",
            **columns,
            "patient_id": patient or key,
            "laterality": side,
            "split": facts.get("split"),
            "target_source": target,
            "disc_x": float(x),
            "disc_y": float(y),
            "disc_stated": bool(stated),
            "patient_stated": patient is not None,
        }
        return Eye(to_right_eye(seen, lies), profile, row)

    def _laterality(
        self, key: str, arrays: Mapping[str, np.ndarray], facts: Mapping, found: dict[str, Any]
    ) -> str:
        """Return 'OD' or 'OS': from the tables, the npz, the file's name or the option."""
        named = next((name for name in NAMES["laterality"] if name in arrays), None)
        code = labels.text(arrays[named]).lower() if named else ""
        in_npz = labels.spell("laterality", code)
        if in_npz is None and code not in labels.UNKNOWN_CODES:
            found["unknown"].append(["laterality", code])
        marks = {mark.upper() for mark in IN_NAME.findall(key)}
        in_name = marks.pop() if len(marks) == 1 else None
        side = facts.get("laterality") or in_npz or in_name or self.options.laterality
        if not side:
            raise Excluded(NO_LATERALITY)
        return side

    def _target(
        self, key: str, arrays: Mapping, side: str, lies: str, found: dict[str, Any]
    ) -> tuple[np.ndarray, str]:
        """Return the profile and where it came from: the first of the three that the eye has."""
        options, facts = self.options, self.csv.facts.get(key, {})
        if key in self.csv.profiles:
            how = side, options.profile_orientation
            return targets.from_table(self.csv.profiles[key], *how), targets.PROFILE
        how = lies, options.map_orientation, options.map_mm
        if MAP in arrays:
            return targets.from_map(arrays[MAP], *how), targets.MAP
        pair = self.surfaces.get(key)
        if not pair:
            raise Excluded(targets.NO_TARGET)
        if len(pair) < 2:
            raise Excluded(targets.BAD_SURFACES, f"only the {next(iter(pair)).upper()} boundary")
        layers = {layer: self._read_surface(entry, found) for layer, entry in pair.items()}
        disc = _number({}, facts, "map_x"), _number({}, facts, "map_y")
        profile = targets.from_surfaces(layers["ilm"], layers["rnfl"], *how, disc)
        return profile, targets.SURFACES

    def _read_surface(self, entry: Entry, found: dict[str, Any]) -> bytes:
        """Return the CSV of a surface, its hash noted."""
        try:
            with self.raw.open(entry) as file:
                data = file.read()
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise Excluded(UNREADABLE, f"{type(error).__name__}: {error}") from error
        found["hashes"][entry.name] = sha256_bytes(data)
        return data

    def choose(self, eyes: list[KeptEye]) -> list[KeptEye]:
        """Refuse codes that nobody knows; leave out eyes of a profile CSV without a file."""
        _refuse_unknown_codes({e.key: self.found[e.key] for e in self.raw.npz}, str(self.place))
        for key, csv in sorted(self.csv.absent.items()):
            self.exclusions.append({"id": key, "reason": NO_FILE, "detail": csv})
        return eyes

    def none_left(self) -> str:
        n = self.reasons[NO_LATERALITY]
        if not n:
            return super().none_left()
        return (
            f"{n} eyes of unknown laterality and no other eye left. "
            "Left eyes must be mirrored: add a column laterality (OD or OS) to a table, or an "
            f"array of that name to the npz files, or state it for all in {Options.FILE} "
            '(laterality = "OD"; see data/README.md)'
        )

    def samples(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows; the split is the tables' own, else 70/15/15 by patient."""
        rows = rows.astype(dict.fromkeys(("age", "md", "glaucoma"), float))
        own = "split" in self.csv.columns
        return rows if own else rows.assign(split=self.split_by_patient(rows))

    def about(self, samples: pd.DataFrame) -> dict[str, Any]:
        counted = [self.found[eye] for eye in samples["eye_id"]]
        shapes = Counter(one["shape"] for one in counted)
        counts = {
            "files": len(self.found),
            "targets": Counter(samples["target_source"]),
            "orientation": shapes,
            "disc_centre_assumed": int((~samples["disc_stated"]).sum()),
            "attributes_that_differ": Counter(name for one in counted for name in one["differ"]),
        }
        tables = {"read": self.csv.read, "not_read": [*self.csv.unread, *self.raw.unread]}
        return {"counts": counts, "findings": self._findings(shapes, samples), "tables": tables}

    def _findings(self, shapes: Counter[str], samples: pd.DataFrame) -> dict[str, Any]:
        """Return in words what was found and what was assumed; ``shapes`` are of the images."""
        file, tables, way = Options.FILE, self.csv, self.options.orientation
        by_shape = ", ".join(f"{n} {shape}" for shape, n in sorted(shapes.items()))
        turned = "by their shape" if way == "auto" else f"{way} ({file})"
        squares = shapes["square"] if way == "auto" else 0
        surfaces = (samples["target_source"] == targets.SURFACES).any()
        no_disc, alone = (
            int((~samples[column]).sum()) for column in ("disc_stated", "patient_stated")
        )
        own = "the tables' own" if "split" in tables.columns else "70/15/15 by patient"
        return {
            f"Orientation of SLO images as stored: {by_shape}; turned {turned}.": True,
            f"{squares} SLO images are square: their orientation cannot be told and they are taken "
            f"as upright; look at the crops, or set orientation in {file}.": squares,
            f"{no_disc} eyes have no disc centre: the SLO image's centre is taken.": no_disc,
            "Surfaces: the disc is taken to be in the middle of the map (ours).": (
                surfaces and not {"map_x", "map_y"} <= tables.columns
            ),
            f"{alone} eyes have no patient: each file is taken as a patient of its own.": alone,
            **{f"Profiles were resampled to 360 angles: {one}.": True for one in tables.resampled},
            f"Split: {own}.": True,
            f"{tables.unmatched} rows of summary tables name no npz.": tables.unmatched,
            f"Not read beside npz files: {', '.join(self.raw.unread)}.": self.raw.unread,
            "gender and male: 0 female, 1 male; one published list has them reversed. "
            "Severity: glaucoma by mean deviation, Hodapp et al. 1993 (ours).": True,
        }


def orientation_of(image: np.ndarray) -> str:
    """Return 'upright' for a wide image, 'transposed' for a high one, else 'square'.

    Examples
    --------
    >>> orientation_of(np.zeros((512, 664))), orientation_of(np.zeros((664, 512)))
    ('upright', 'transposed')
    """
    height, width = image.shape[:2]
    return "square" if height == width else "upright" if width > height else "transposed"


def place(image: np.ndarray, x: float, y: float, known: bool) -> tuple[float, float]:
    """Return the disc centre in px: as given, or the image's own where no table has centres.

    Parameters
    ----------
    image : ndarray (H, W), upright
    x, y : float
        As given; NaN where missing.
    known : bool
        Whether the tables have disc centres, so that a missing one leaves the eye out.

    Raises
    ------
    Excluded
        When it is missing, or outside the image.
    """
    height, width = image.shape
    if not known:
        return centre(height, width)
    if not (np.isfinite(x) and np.isfinite(y)):
        raise Excluded(NO_CENTRE, f"Center_X {x:g}, Center_Y {y:g}")
    if not (0 <= x <= width - 1 and 0 <= y <= height - 1):
        turned = 0 <= x < height and 0 <= y < width
        hint = "; it lies inside the transposed image" if turned else ""
        raise Excluded(OUTSIDE, f"x {x:g}, y {y:g} in {width} x {height} px{hint}")
    return x, y


def crop(image: np.ndarray, x: float, y: float, short_side_mm: float = SHORT_SIDE_MM) -> np.ndarray:
    """Return the square of 4.943 mm round the disc centre (px) of an upright image (H, W).

    ``short_side_mm`` is the retina over its short side.
    """
    side = round(FIELD_MM / short_side_mm * min(image.shape))
    return pixels.cut(image, x, y, side, pixels.BILINEAR)


def _labels(
    arrays: Mapping[str, np.ndarray], rows: Sequence[Mapping[str, str]], found: dict[str, Any]
) -> dict[str, Any]:
    """Return the demographics: the npz first, then each table; note codes that are not valid."""
    columns: dict[str, Any] = {}
    for attribute in labels.NAMES:
        known = []
        for name, value in labels.held(attribute, arrays, rows):
            try:
                known.append(labels.decode(attribute, name, value))
            except labels.UnknownCode as error:
                found["unknown"].append([attribute, error.value])
        known = [value for value in known if value is not None]
        columns[attribute] = known[0] if known else None
        if len(set(known)) > 1:
            found["differ"].append(attribute)
    return {**columns, "severity": labels.severity(columns)}


def _number(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any], column: str) -> float:
    """Return a number of the tables, else of the npz, else NaN."""
    value = facts.get(column)
    if value is not None and np.isfinite(value):
        return float(value)
    name = next((name for name in NAMES[column] if name in arrays), None)
    try:
        return float(labels.text(arrays[name])) if name else np.nan
    except ValueError:
        return np.nan


def _refuse_unknown_codes(found: Mapping[str, Mapping[str, Any]], where: str) -> None:
    """Raise a ValueError that lists codes which no code table has, and how often they occur."""
    seen: dict[str, dict[str, list[str]]] = {}
    for key, of_eye in found.items():
        for attribute, code in dict.fromkeys(map(tuple, of_eye["unknown"])):
            seen.setdefault(attribute, {}).setdefault(code, []).append(key)
    told = []
    for attribute, codes in seen.items():
        values = [f"{code!r} ({len(eyes)}, as {eyes[0]})" for code, eyes in sorted(codes.items())]
        valid = "OD or OS" if attribute == "laterality" else labels.expected(attribute)
        told.append(f"{attribute} has values {listed(values, 10)}: expected {valid}")
    if told:
        raise ValueError(f"{where}: {'; '.join(told)}; -1 or nothing where unknown")
