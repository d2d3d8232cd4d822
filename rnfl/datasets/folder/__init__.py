"""Any folder of fundus photographs and one CSV that says what they are.

The CSV names photographs (``image``) and eyes (``eye``, OD or OS), and may give patients, disc
centres, scale, split, demographics and RNFL labels in µm: a profile in the columns 0 ... 359, or
the means S, N, I, T; or masks of disc and cup. Without labels the dataset serves prediction. What
the owner may say of all of them stands in ``folder.toml``, see
:class:`rnfl.datasets.folder.table.Options`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rnfl.core.exclusion import Excluded
from rnfl.core.geometry import FIELD_MM
from rnfl.core.labels import check_label, check_profile
from rnfl.core.schema import RNFL_COLUMNS
from rnfl.datasets.base import FRACTIONS, RawDataset
from rnfl.datasets.folder.table import Options, Row, Table, find_table, read_rows
from rnfl.datasets.reading import Eye, KeptEye
from rnfl.imaging import crops, disc, inspection
from rnfl.storage.hashed import file_stamp
from rnfl.storage.provenance import sha256_bytes, sha256_file, sha256_json
from rnfl.storage.tables import listed

VERSION = 2  # of this preparation; raise it when the same files would give other output
FEWEST_PATIENTS = 20  # with labels that are split; fewer are all for testing (ours)
PICTURES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
NO_LABEL = "no RNFL label, which other rows have"
SAME_PHOTOGRAPH = "same photograph as another row's"


class Folder(RawDataset):
    """Photographs of one's own; ``place`` is their CSV."""

    dataset, title = "folder", "photographs"
    advice = "Name the folder that holds photographs and one CSV"
    Options = Options

    def __init__(self, name: str, place: Path) -> None:
        super().__init__(name, find_table(place).absolute())

    @classmethod
    def method(cls, options: Options) -> dict[str, Any]:
        return {
            "version": VERSION,
            "size_px": crops.SIZE,
            "field_mm": FIELD_MM,
            "fractions": FRACTIONS,
            "disc": disc.SETTINGS,
            "inspection": inspection.SETTINGS,
            "options": asdict(options),
        }

    @cached_property
    def table(self) -> Table:
        """The rows of the CSV."""
        return read_rows(self.place, self.options)

    def tables(self) -> dict[str, Any]:
        return {"table": sha256_file(self.place)}

    def fingerprint(self, known: Mapping[str, str]) -> dict[str, Any]:
        """Return the hashes; photographs that no row names decide nothing."""
        rows = [row for row in self.table.rows if row.fault is None]
        paths = [path for row in rows for path in (row.path, row.mask) if path]
        files = {self._label(path): partial(sha256_file, path) for path in paths}
        return {**self.tables(), "photographs": sha256_json(self.hashes(files, known))}

    def _label(self, path: Path) -> str:
        return path.relative_to(self.place.parent).as_posix()

    def items(self) -> Sequence[Row]:
        return self.table.rows

    def key(self, item: Row) -> str:
        return item.eye_id

    def stamp(self, item: Row) -> str:
        return "" if item.fault else file_stamp(*filter(None, (item.path, item.mask)))

    def read(self, item: Row, found: dict[str, Any]) -> Eye:
        """Return the eye of one row, whose file is read once."""
        if item.fault:
            raise Excluded(*item.fault)
        profile, means = self._labels(item)
        data, options = crops.read_bytes(item.path), self.options
        found["hashes"][self._label(item.path)] = sha256_bytes(data)
        photo = crops.read(item.path, data)
        modality = item.columns.get("modality") or "CFP"
        lies = item.eye if options.left_eyes == "as taken" else "OD"
        mask, centre = None, item.centre
        if item.mask:
            data = crops.read_bytes(item.mask)
            found["hashes"][self._label(item.mask)] = sha256_bytes(data)
            mask, found["mask"] = crops.read_mask(item.mask, data, photo.shape)
            # Rows and columns of the disc, whose mean is its centre (y, x).
            centre = centre or tuple(np.argwhere(mask).mean(axis=0)[::-1].tolist())
        if options.images == "crops":
            crop, how, scale = crops.prepare_crop(photo, lies, modality), "crop", {}
        else:
            place = centre, item.width_mm, options.framing
            how = "stated" if item.centre else "mask" if item.mask else "located"
            crop = crops.prepare(photo, lies, *place, modality)
            scale = {"width_mm": crop.width_mm, "field_share": crop.field_share}
        found["doubts"] = crop.doubts
        columns: dict[str, Any] = {
            "eye_id": item.eye_id,
            "patient_id": item.eye_id,
            "laterality": item.eye,
            **item.columns,
            **means,
            "modality": modality,
            "disc_x": crop.disc.x,
            "disc_y": crop.disc.y,
            "disc_confidence": crop.disc.confidence,
            "disc_source": how,
            "doubts": "; ".join(crop.doubts),
            **scale,
            "width_px": photo.shape[1],
            "height_px": photo.shape[0],
        }
        mask = None if mask is None else crops.crop_mask(mask, crop, lies)
        return Eye(crop.image, profile, columns, mask)

    def _labels(self, item: Row) -> tuple[np.ndarray, dict[str, float]]:
        """Return the profile (360,), and quadrants and mean by column."""
        profile = item.profile
        if self.table.labels == "none":
            return profile, {}
        means = {name: item.columns[name] for name in RNFL_COLUMNS if name in item.columns}
        if item.mask is None and not np.isfinite([*means.values(), *profile]).any():
            where = "put photographs without labels into a folder or CSV of their own"
            raise Excluded(NO_LABEL, where)
        check_label(means)
        if np.isfinite(profile).any():
            profile = check_profile(profile)
        if means and not np.isfinite(means.get("rnfl_mean", np.nan)):
            means["rnfl_mean"] = float(np.mean([means[name] for name in RNFL_COLUMNS[1:]]))
        return profile, means

    def choose(self, eyes: list[KeptEye]) -> list[KeptEye]:
        """Leave out eyes whose file an earlier row has under another name."""
        first, kept = {}, []
        for eye in eyes:
            key = eye.row["eye_id"]
            digest, *_ = self.found[key]["hashes"].values()  # of its photograph; then of its mask
            if first.setdefault(digest, key) == key:
                kept.append(eye)
            else:
                self.exclusions.append(
                    {"id": key, "reason": SAME_PHOTOGRAPH, "detail": first[digest]}
                )
        return kept

    def none_left(self) -> str:
        return super().none_left().replace("no eye", "no photograph", 1)

    def samples(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows with the CSV's split; else 70/15/15, or all for testing."""
        modalities = sorted(set(rows["modality"]))
        if len(modalities) > 1:
            found = ", ".join(modalities)
            raise ValueError(f"{self.place}: modalities {found}: make a dataset of each")
        if "split" in self.table.columns:
            return rows
        few = rows["patient_id"].nunique() < FEWEST_PATIENTS
        all_test = self._unlabelled or few
        return rows.assign(split="test" if all_test else self.split_by_patient(rows))

    def about(self, samples: pd.DataFrame) -> dict[str, Any]:
        strangers = self._strangers()
        found = (self.found[eye].get("mask") for eye in samples["eye_id"])
        masks = Counter(filter(None, found))
        counts = {
            "rows": len(self.table.rows),
            "labels": self.table.labels,
            "masks": sum(masks.values()),
            "disc": Counter(samples["disc_source"]),
            "not_in_table": len(strangers),
        }
        findings = self._findings(set(samples["split"]), strangers)
        findings |= {f"Masks of {n} eyes: {said}.": True for said, n in masks.items()}
        without = len(samples) - sum(masks.values())
        findings[f"{without} eyes have no mask."] = masks and without
        return {"counts": counts, "not_in_table": strangers, "findings": findings}

    @property
    def _unlabelled(self) -> bool:
        return self.table.labels == "none" and not any(row.mask for row in self.table.rows)

    def _strangers(self) -> list[str]:
        """Return the photographs that no row names, relative to the folder."""
        named = {path for row in self.table.rows for path in (row.path, row.mask)}
        found = (at for at in self.place.parent.rglob("*") if at.suffix.lower() in PICTURES)
        return sorted(self._label(path) for path in found if path not in named)

    def _findings(self, splits: set[str], strangers: list[str]) -> dict[str, Any]:
        """Return in words what was assumed and what was not used."""
        table, columns, width = self.table, self.table.columns, self.options.width_mm
        whole = self.options.images == "photographs"
        what = "Photographs are" if width else "The lit field of photographs is"
        scales = {"width_mm", "field_degrees"} & columns
        unused = sorted(scales | {"disc_x", "disc_y"} & columns)
        how = f"all test (no labels, or fewer than {FEWEST_PATIENTS} patients)"
        how = how if splits == {"test"} else "70/15/15 by patient"
        return {
            "No column patient_id: each photograph is taken as a patient of its own.": (
                "patient_id" not in columns
            ),
            f"{what} taken to be {width or disc.PHOTOGRAPH_MM:g} mm of retina wide.": (
                whole and not scales
            ),
            f"Crops: {listed(unused)} of the CSV are not used.": unused and not whole,
            "No labels: for prediction only.": self._unlabelled,
            f"Profiles were resampled to 360 angles from {table.resampled}.": table.resampled,
            "rnfl_mean is the mean of S, N, I and T.": (
                "rnfl_S" in columns and "rnfl_mean" not in columns
            ),
            f"No column split: {how}.": "split" not in columns,
            f"Columns that are not used: {listed(table.ignored, 10)}.": table.ignored,
            f"{len(strangers)} photographs are in no row: {listed(strangers, 10)}.": strangers,
        }
