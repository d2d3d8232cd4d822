"""Harvard-GF, Harvard-GDP and EyeLearn: RNFL thickness maps with the profile that lies in them.

A raw folder (or a zip of it) holds one ``.npz`` per eye with the map ``rnflt`` and labels, and
CSVs that may say more, joined by file name. The profile is read from the map on the 3.46 mm circle
round its disc; what a network sees must come from elsewhere: an en-face image of the same field in
the file (``slo_fundus`` and its like) or in the folder ``slo``. The map itself is drawn only where
``harvard_gf.toml`` asks for it, and the manifest then says that the input holds the answer.

Whose eye it is and how it lies is never guessed: the files, a table or ``harvard_gf.toml`` say it.
A number does not say which eye it is: left and right must be words.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from rnfl.core.exclusion import Excluded
from rnfl.core.geometry import FIELD_MM, N_ANGLES, to_right_eye
from rnfl.core.labels import check_profile
from rnfl.core.splits import patient_split
from rnfl.datasets.npz import MAP, NpzDataset, arrays_of, find_image, grey, labels
from rnfl.datasets.npz.files import Entry
from rnfl.datasets.npz.tables import NAMES
from rnfl.datasets.reading import Eye, KeptEye
from rnfl.imaging import crops, pixels, thickness_map
from rnfl.storage.hashed import file_stamp
from rnfl.storage.provenance import sha256_array, sha256_bytes, sha256_file, sha256_json
from rnfl.storage.readers import open_image

VERSION = 1  # of this preparation; raise it when the same files would give other output
PREFIX = "harvard_gf-"  # of eye and patient ids
WHITE_UM = 300.0  # thickness that is drawn white
FOLDER = "slo"  # of the images that are in no npz
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True)
class Options:
    """What the files do not say and their owner may, in a file beside them; see data/README.md."""

    FILE: ClassVar[str] = "harvard_gf.toml"
    laterality: Literal["", "OD", "OS"] = ""  # of eyes for which nothing else says it
    left_eyes: Literal["as taken", "mirrored"] = "as taken"  # of maps and images
    map_orientation: Literal["upright", "transposed"] = "upright"  # of maps and images
    map_mm: float = thickness_map.MAP_MM  # width of maps and images
    image: Literal["en-face", "map"] = "en-face"  # or the thickness map itself, drawn in grey


NO_MAP = "no array rnflt in the npz"
NO_LATERALITY = "laterality not stated"
NO_SPLIT = "no split, though other eyes have one"
SAME_MAP = "same map as another eye's"
NO_IMAGE = "no en-face image"
NOT_SQUARE = "en-face image that is not square, so not of the map's field"
UNREADABLE = "unreadable en-face image"
BAD_LABEL = "label with an unknown code"
CONTRADICTION = "file and tables disagree"
HINTS = {
    NO_LATERALITY: "say which eye each is: a CSV with the columns filename and laterality (OD or "
    f'OS) beside the files, or laterality = "OD" in {Options.FILE} where all lie as right eyes do',
    NO_IMAGE: f"put <name of the npz>.png of the same field into a folder {FOLDER}, "
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
    wanted = arrays_of("patient_id", "laterality")

    def __init__(self, name: str, place: Path) -> None:
        super().__init__(name, place)
        self.photos = _find_photos(place)

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
        photos = {_label(path): partial(sha256_file, path) for path in self.photos.values()}
        return {"files": sha256_json({**tables, **npz, **self.hashes(photos, known)})}

    def key(self, item: Entry) -> str:
        return f"{PREFIX}{item.key}"

    def stamp(self, item: Entry) -> str:
        photo = self.photos.get(item.key)
        return f"{super().stamp(item)} {file_stamp(photo) if photo else 'no photo'}"

    def read(self, item: Entry, found: dict[str, Any]) -> Eye:
        """Return one eye; ``found`` has ``map``, the hash of its upright thickness map."""
        arrays, options = self.take(item, found), self.options
        if MAP not in arrays:
            raise Excluded(
                NO_MAP, f"it has {', '.join(sorted(arrays)) or 'none of the known arrays'}"
            )
        told = self._labels(item.key, arrays)
        laterality = told["laterality"] or options.laterality
        if not laterality:
            raise Excluded(NO_LATERALITY)
        thickness = thickness_map.upright(arrays[MAP], options.map_orientation)
        lies = laterality if options.left_eyes == "as taken" else "OD"
        disc, field_mm = thickness_map.find_disc(thickness), options.map_mm
        profile = check_profile(thickness_map.profile(thickness, lies, field_mm))
        seen = self._image(item.key, arrays, thickness, found["hashes"])
        scale = seen.shape[1] / thickness.shape[1]
        x, y = (disc.x + 0.5) * scale - 0.5, (disc.y + 0.5) * scale - 0.5
        found["map"] = sha256_array(thickness)
        row = {
            "eye_id": self.key(item),
            **told,
            "patient_id": f"{PREFIX}{told['patient_id'] or item.key}",
            "laterality": laterality,
            "severity": labels.severity(told),
            "disc_x": disc.x,
            "disc_y": disc.y,
            "disc_mm2": disc.area * (field_mm / thickness.shape[1]) ** 2,
            "invalid": thickness_map.invalid_share(thickness),
            "measured": float(np.isfinite(profile).sum() / N_ANGLES),
        }
        crop = pixels.cut_exactly(seen, x, y, FIELD_MM / field_mm * seen.shape[1])
        return Eye(to_right_eye(crop, lies), profile, row)

    def _labels(self, key: str, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return patient_id, laterality and demographics, None where unknown: npz before tables."""
        told = {fact: labels.stated(arrays, NAMES[fact]) for fact in ("patient_id", "laterality")}
        word = told["laterality"]
        if word is not None:
            told["laterality"] = labels.spell("laterality", word)
            if told["laterality"] is None:
                raise Excluded(BAD_LABEL, f"laterality {word!r}: expected OD, OS, right or left")
        for fact, in_npz in told.items():
            in_table = self.csv.facts.get(key, {}).get(fact)
            if None not in (in_npz, in_table) and in_npz != in_table:
                raise Excluded(CONTRADICTION, f"{fact} {in_npz} in the npz, {in_table} in a table")
            told[fact] = in_npz or in_table
        for attribute in labels.NAMES:
            held = labels.held(attribute, arrays, self.csv.rows.get(key, []))
            try:
                values = (labels.decode(attribute, name, value) for name, value in held)
                told[attribute] = next((value for value in values if value is not None), None)
            except labels.UnknownCode as error:
                wanted = labels.expected(attribute)
                raise Excluded(BAD_LABEL, f"{error}: expected {wanted}") from error
        return told

    def _image(
        self,
        key: str,
        arrays: Mapping[str, np.ndarray],
        thickness: np.ndarray,
        hashes: dict[str, str],
    ) -> np.ndarray:
        """Return what a network sees, uint8 (S, S), over the field of the map.

        The map itself (0 µm, also missing, black; 300 µm white) only where the options ask for it.
        An image that is not square cannot show the field of the map and is refused.
        """
        if self.options.image == "map":
            return np.rint(np.clip(thickness / WHITE_UM, 0, 1) * 255).astype(np.uint8)
        image = find_image(arrays)
        if image is None:
            if key not in self.photos:
                raise Excluded(NO_IMAGE)
            image = _read_photo(self.photos[key], hashes)
        if image.shape[0] != image.shape[1]:
            raise Excluded(NOT_SQUARE, f"{image.shape[1]} x {image.shape[0]} px")
        transposed = self.options.map_orientation == "transposed"
        return np.ascontiguousarray(image.T) if transposed else image

    @cached_property
    def splits(self) -> dict[str, str | None]:
        """The split of each eye by a table, or by a folder such as ``Training``, else None."""
        found = {}
        for entry in self.raw.npz:
            parts = (labels.spell("split", part) for part in PurePosixPath(entry.name).parts[:-1])
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
        hints = [f"\n{reason}: {HINTS[reason]}" for reason in self.reasons if reason in HINTS]
        detail = next((f", as {one['detail']}" for one in self.exclusions if one["detail"]), "")
        return f"no eye is left of {len(self.raw.npz)} ({listing}){detail}{''.join(hints)}"

    def samples(self, rows: pd.DataFrame) -> pd.DataFrame:
        told = [self.splits[eye] for eye in rows["eye_id"]]
        return rows.assign(modality="SLO", split=told if any(told) else patient_split(rows))

    def about(self, samples: pd.DataFrame) -> dict[str, Any]:
        options, file = self.options, Options.FILE
        alone = int((samples["eye_id"] == samples["patient_id"]).sum())
        told = {
            f"{alone} of {len(samples)} files name no patient; each is taken for a patient of its "
            "own, so fellow eyes, if there are any, may fall into different splits.": alone > 0,
            f"Laterality is {options.laterality} where file and tables do not say, by {file}.": (
                options.laterality != ""
            ),
            f"Left eyes were mirrored before they came here, by {file}.": (
                options.left_eyes == "mirrored"
            ),
            f"Maps and images were transposed, by {file}.": options.map_orientation == "transposed",
            "The image is the thickness map itself: the input holds the answer, and errors on it "
            "say nothing of photographs.": options.image == "map",
            "The image is taken to show the field of the map, lying the same way.": (
                options.image == "en-face"
            ),
        }
        return {"counts": {"files": len(self.raw.npz)}, "findings": told}


def _find_photos(source: Path) -> dict[str, Path]:
    """Return the images of the folder ``slo`` by the name of their eye, which has one."""
    photos: dict[str, Path] = {}
    for path in sorted((source / FOLDER).glob("[!.]*")):
        if path.suffix.lower() in SUFFIXES and photos.setdefault(path.stem, path) != path:
            two = f"{photos[path.stem].name} and {path.name}"
            raise ValueError(f"{source / FOLDER}: {two}: keep one")
    return photos


def _label(photo: Path) -> str:
    """Return what an image beside the npz files is called in the fingerprint."""
    return f"{FOLDER}/{photo.name}"


def _read_photo(path: Path, hashes: dict[str, str]) -> np.ndarray:
    """Return an image beside the npz files in grey, its file read once for the hash as well."""
    data = crops.read_bytes(path)
    hashes[_label(path)] = sha256_bytes(data)
    source = io.BytesIO(data)
    try:
        with open_image(source, crops.FORMATS) as file:
            picture = np.asarray(file if file.mode in ("L", "RGB") else file.convert("RGB"))
    except Exception as error:  # over damaged bytes, a decoder may end in any of them
        said = str(error).replace(repr(source), repr(str(path)))
        raise Excluded(UNREADABLE, f"{path.name}: {said}") from error
    return grey(picture)
