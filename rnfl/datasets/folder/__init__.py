"""Any folder of fundus photographs and one CSV that says what they are.

The CSV names photographs (``image``) and eyes (``eye``, OD or OS), and may give patients, disc
centres, scale, split, demographics and RNFL labels in µm: a profile in the columns 0 ... 359, or
the means S, N, I, T. Without labels the dataset serves prediction. Read by ``table``; ``options``
is what the owner may say of all of them, and ``photos`` makes the crops.
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
from rnfl.datasets.base import FRACTIONS, RawDataset
from rnfl.datasets.folder.options import Options
from rnfl.datasets.folder.photos import read_eye
from rnfl.datasets.folder.table import Row, Table, find_table, read_rows
from rnfl.datasets.reading import Eye, KeptEye, file_stamp
from rnfl.imaging import crops, disc, inspection
from rnfl.imaging.disc import PHOTOGRAPH_MM
from rnfl.storage.provenance import sha256_file, sha256_json
from rnfl.storage.tables import listed

VERSION = 2  # of this preparation; raise it when the same files would give other output
FEWEST_PATIENTS = 20  # with labels that are split; fewer are all for testing (ours)
PICTURES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
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
        paths = [row.path for row in self.table.rows if row.fault is None]
        hashes = self.hashes(
            {self._label(path): partial(sha256_file, path) for path in paths}, known
        )
        return {**self.tables(), "photographs": sha256_json(hashes)}

    def _label(self, path: Path) -> str:
        return path.relative_to(self.place.parent).as_posix()

    def items(self) -> Sequence[Row]:
        return self.table.rows

    def key(self, item: Row) -> str:
        return item.eye_id

    def stamp(self, item: Row) -> str:
        return "" if item.fault else file_stamp(item.path)

    def read(self, item: Row, found: dict[str, Any]) -> Eye:
        if item.fault:
            raise Excluded(*item.fault)
        return read_eye(item, self.options, self.table.labels, self._label(item.path), found)

    def choose(self, eyes: list[KeptEye]) -> list[KeptEye]:
        """Leave out eyes whose file an earlier row has under another name."""
        first, kept = {}, []
        for eye in eyes:
            key = eye.row["eye_id"]
            (digest,) = self.found[key]["hashes"].values()
            if first.setdefault(digest, key) == key:
                kept.append(eye)
            else:
                self.exclusions.append(
                    {"id": key, "reason": SAME_PHOTOGRAPH, "detail": first[digest]}
                )
        return kept

    def none_left(self) -> str:
        return super().none_left().replace("no eye", "no photograph", 1)

    def samples(self, eyes: Sequence[KeptEye]) -> pd.DataFrame:
        """Return the samples with the CSV's split; else 70/15/15, or all for testing."""
        samples = pd.DataFrame([eye.row for eye in eyes])
        modalities = sorted(set(samples["modality"]))
        if len(modalities) > 1:
            found = ", ".join(modalities)
            raise ValueError(f"{self.place}: modalities {found}: make a dataset of each")
        if "split" in self.table.columns:
            return samples
        few = samples["patient_id"].nunique() < FEWEST_PATIENTS
        if self.table.labels == "none" or few:
            return samples.assign(split="test")
        return samples.assign(split=self.split_by_patient(samples))

    def about(self, samples: pd.DataFrame, profiles: np.ndarray) -> dict[str, Any]:
        strangers = self._strangers()
        counts = {
            "rows": len(self.table.rows),
            "labels": self.table.labels,
            "disc": Counter(samples["disc_source"]),
            "not_in_table": len(strangers),
        }
        findings = self._findings(samples, strangers)
        return {"counts": counts, "not_in_table": strangers, "findings": findings}

    def _strangers(self) -> list[str]:
        """Return the photographs that no row names, relative to the folder."""
        named = {row.path for row in self.table.rows}
        found = (at for at in self.place.parent.rglob("*") if at.suffix.lower() in PICTURES)
        return sorted(self._label(path) for path in found if path not in named)

    def _findings(self, samples: pd.DataFrame, strangers: list[str]) -> list[str]:
        """Return in words what was assumed and what was not used."""
        found, columns, options = [], self.table.columns, self.options
        if "patient_id" not in columns:
            found.append("No column patient_id: each photograph is taken as a patient of its own.")
        if options.images == "photographs":
            if not {"width_mm", "field_degrees"} & columns:
                stated = options.width_mm or PHOTOGRAPH_MM
                what = "Photographs are" if options.width_mm else "The lit field of photographs is"
                found.append(f"{what} taken to be {stated:g} mm of retina wide.")
        else:
            unused = sorted({"disc_x", "disc_y", "width_mm", "field_degrees"} & columns)
            found += [f"Crops: {listed(unused)} of the CSV are not used."] if unused else []
        if self.table.labels == "none":
            found.append("No labels: for prediction only.")
        if self.table.resampled:
            found.append(f"Profiles were resampled to 360 angles from {self.table.resampled}.")
        if "rnfl_S" in columns and "rnfl_mean" not in columns:
            found.append("rnfl_mean is the mean of S, N, I and T.")
        if "split" not in columns:
            alone = set(samples["split"]) == {"test"}
            how = f"all test (no labels, or fewer than {FEWEST_PATIENTS} patients)"
            found.append(f"No column split: {how if alone else '70/15/15 by patient'}.")
        if self.table.ignored:
            found.append(f"Columns that are not used: {listed(self.table.ignored, 10)}.")
        if strangers:
            found.append(f"{len(strangers)} photographs are in no row: {listed(strangers, 10)}.")
        return found
