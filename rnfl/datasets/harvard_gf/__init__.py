"""Harvard-GF, Harvard-GDP and EyeLearn: RNFL thickness maps with the profile that lies in them.

A raw folder (or a zip of it) holds one ``.npz`` per eye with the map ``rnflt`` and labels, and
CSVs that may say more, joined by file name. The profile is read from the map on the 3.46 mm circle
round its disc; what a network sees must come from elsewhere: an en-face image of the same field in
the file (``slo_fundus`` and its like) or in the folder ``slo``. The map itself is drawn only where
``harvard_gf.toml`` asks for it, and the manifest then says that the input holds the answer.

Whose eye it is and how it lies is never guessed: the files, a table or ``harvard_gf.toml`` say it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from rnfl.core.exclusion import Excluded
from rnfl.core.geometry import FIELD_MM, N_ANGLES, to_right_eye
from rnfl.core.labels import check_profile
from rnfl.core.splits import patient_split
from rnfl.datasets.eye import Eye
from rnfl.datasets.harvard_gf import images
from rnfl.datasets.harvard_gf.labels import WANTED, read_labels, spell
from rnfl.datasets.harvard_gf.options import Options, statements
from rnfl.datasets.npz.base import NpzDataset
from rnfl.datasets.npz.files import Entry
from rnfl.datasets.npz.labels import severity
from rnfl.datasets.reading import KeptEye, file_stamp
from rnfl.imaging import pixels, thickness_map
from rnfl.storage.provenance import sha256_array, sha256_file, sha256_json

VERSION = 1  # of this preparation; raise it when the same files would give other output
PREFIX = "harvard_gf-"  # of eye and patient ids

NO_MAP = "no array rnflt in the npz"
NO_LATERALITY = "laterality not stated"
NO_SPLIT = "no split, though other eyes have one"
SAME_MAP = "same map as another eye's"
HINTS = {
    NO_LATERALITY: "say which eye each is: a CSV with the columns filename and laterality (OD or "
    f'OS) beside the files, or laterality = "OD" in {Options.FILE} where all lie as right eyes do',
    images.NO_IMAGE: f"put <name of the npz>.png of the same field into a folder {images.FOLDER}, "
    f'or write image = "map" into {Options.FILE} to see the map itself, which holds the answer',
}


class HarvardGF(NpzDataset):
    """Thickness maps, and the images that lie in the npz files or beside them."""

    dataset, title, variable = "harvard_gf", "Thickness maps", "RNFL_HARVARD_GF"
    advice = (
        "The data are gated, CC BY-NC-ND 4.0. Name the folder or zip of npz files, one per eye, "
        "with the map 'rnflt'"
    )
    Options = Options
    wanted = WANTED

    def __init__(self, name: str, place: Path) -> None:
        super().__init__(name, place)
        self.photos = images.find_photos(place)

    @classmethod
    def method(cls, options: Options) -> dict[str, Any]:
        return {
            "version": VERSION,
            "size_px": pixels.SIZE,
            "map": thickness_map.SETTINGS,
            "options": asdict(options),
        }

    def fingerprint(self, known: Mapping[str, str]) -> dict[str, Any]:
        npz, tables = self.file_hashes(known)
        photos = {images.label(path): partial(sha256_file, path) for path in self.photos.values()}
        return {"files": sha256_json({**tables, **npz, **self.hashes(photos, known)})}

    def key(self, item: Entry) -> str:
        return f"{PREFIX}{item.key}"

    def stamp(self, item: Entry) -> str:
        photo = self.photos.get(item.key)
        return f"{super().stamp(item)} {file_stamp(photo) if photo else 'no photo'}"

    def read(self, item: Entry, found: dict[str, Any]) -> Eye:
        """Return one eye; ``found`` has ``map``, the hash of its upright thickness map."""
        arrays = self.take(item, found)
        if "rnflt" not in arrays:
            held = ", ".join(sorted(arrays)) or "none of the known arrays"
            raise Excluded(NO_MAP, f"it has {held}")
        facts, options = self.csv.facts.get(item.key, {}), self.options
        labels = read_labels(arrays, self.csv.rows.get(item.key, []), facts)
        laterality = labels["laterality"] or options.laterality
        if not laterality:
            raise Excluded(NO_LATERALITY)
        thickness = thickness_map.upright(arrays["rnflt"], options.map_orientation)
        lies = laterality if options.left_eyes == "as taken" else "OD"
        disc, field_mm = thickness_map.find_disc(thickness), options.map_mm
        profile = check_profile(thickness_map.profile(thickness, lies, field_mm))
        if options.image == "map":
            seen = images.draw_map(thickness)
        else:
            photo = self.photos.get(item.key)
            seen = images.see(arrays, photo, options.map_orientation, found["hashes"])
        scale = seen.shape[1] / thickness.shape[1]
        x, y = (disc.x + 0.5) * scale - 0.5, (disc.y + 0.5) * scale - 0.5
        found["map"] = sha256_array(thickness)
        row = {
            "eye_id": self.key(item),
            **labels,
            "patient_id": f"{PREFIX}{labels['patient_id'] or item.key}",
            "laterality": laterality,
            "severity": severity(labels),
            "disc_x": disc.x,
            "disc_y": disc.y,
            "disc_mm2": disc.area * (field_mm / thickness.shape[1]) ** 2,
            "invalid": thickness_map.invalid_share(thickness),
            "measured": float(np.isfinite(profile).sum() / N_ANGLES),
        }
        crop = pixels.cut_exactly(seen, x, y, FIELD_MM / field_mm * seen.shape[1])
        return Eye(to_right_eye(crop, lies), profile, row)

    @cached_property
    def splits(self) -> dict[str, str | None]:
        """The split of each eye by a table, or by a folder such as ``Training``, else None."""
        found = {}
        for entry in self.raw.npz:
            parts = (spell("split", part) for part in PurePosixPath(entry.name).parts[:-1])
            told = self.csv.facts.get(entry.key, {}).get("split")
            found[self.key(entry)] = told or next(filter(None, parts), None)
        return found

    def choose(self, eyes: list[KeptEye]) -> list[KeptEye]:
        """Leave out what only shows beside other eyes: no split where they have one, same map."""
        results = {one["id"]: one for one in self.exclusions}
        results |= {eye.row["eye_id"]: eye for eye in eyes}
        kept, left_out, first = [], [], {}
        for key, split in self.splits.items():
            result = results[key]
            if any(self.splits.values()) and split is None:
                left_out.append({"id": key, "reason": NO_SPLIT, "detail": ""})
            elif isinstance(result, dict):
                left_out.append(result)
            elif first.setdefault(self.found[key]["map"], key) != key:
                owner = first[self.found[key]["map"]].removeprefix(PREFIX)
                left_out.append({"id": key, "reason": SAME_MAP, "detail": owner})
            else:
                kept.append(result)
        self.exclusions = left_out
        return kept

    def none_left(self) -> str:
        listing = "; ".join(f"{reason}: {n}" for reason, n in self.reasons.most_common())
        hints = "".join(
            f"\n{reason}: {HINTS[reason]}" for reason in self.reasons if reason in HINTS
        )
        detail = next((f", as {one['detail']}" for one in self.exclusions if one["detail"]), "")
        return f"no eye is left of {len(self.raw.npz)} ({listing}){detail}{hints}"

    def samples(self, eyes: Sequence[KeptEye]) -> pd.DataFrame:
        samples = pd.DataFrame([eye.row for eye in eyes]).assign(modality="SLO")
        told = [self.splits[eye] for eye in samples["eye_id"]]
        return samples.assign(split=told if any(told) else patient_split(samples))

    def about(self, samples: pd.DataFrame, profiles: np.ndarray) -> dict[str, Any]:
        counts = {"files": len(self.raw.npz)}
        return {"counts": counts, "findings": statements(self.options, samples)}
