"""Harvard-GF, Harvard-GDP and EyeLearn: RNFL thickness maps with the profile that lies in them.

A raw folder (or a zip of it) holds one ``.npz`` per eye with the map ``rnflt`` and labels, and
CSVs that may say more, joined by file name. The profile is read from the map on the 3.46 mm circle
round its disc; what a network sees must come from elsewhere: an en-face image of the same field in
the file (``slo_fundus`` and its like) or in the folder ``slo``. The map itself is drawn only where
``harvard_gf.toml`` asks for it, and the manifest then says that the input holds the answer.

Whose eye it is and how it lies is never guessed: the files, a table or ``harvard_gf.toml`` say it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from rnfl.core.geometry import FIELD_MM
from rnfl.core.splits import patient_split
from rnfl.datasets.fairfedmed.files import Entry, Source
from rnfl.datasets.fairfedmed.tables import Tables, read_tables
from rnfl.datasets.harvard_gf.eyes import NO_LATERALITY, PREFIX, read_eye
from rnfl.datasets.harvard_gf.images import FOLDER, NO_IMAGE, find_photos
from rnfl.datasets.harvard_gf.labels import WANTED, spell
from rnfl.datasets.harvard_gf.options import FILE, Options, read_options, statements
from rnfl.datasets.prepared import Prepared, write
from rnfl.datasets.raw import existing, remembered
from rnfl.datasets.reading import WORKERS, KeptEye, file_stamp, read_eyes
from rnfl.imaging import crops, thickness_map
from rnfl.storage.progress import progress
from rnfl.storage.provenance import sha256_file, sha256_json

VERSION = 1  # of this preparation; raise it when the same files would give other output

NO_SPLIT = "no split, though other eyes have one"
SAME_MAP = "same map as another eye's"
HINTS = {
    NO_LATERALITY: "say which eye each is: a CSV with the columns filename and laterality (OD or "
    f'OS) beside the files, or laterality = "OD" in {FILE} where all lie as right eyes do',
    NO_IMAGE: f"put <name of the npz>.png of the same field into a folder {FOLDER}, or write "
    f'image = "map" into {FILE} to see the map itself, which holds the answer',
}


def find_source(source: str | Path | None = None, name: str = "harvard_gf") -> Path:
    """Return the raw folder or zip: ``source``, else that of the dataset prepared before.

    Else, for ``harvard_gf`` alone, $RNFL_HARVARD_GF; else ``<data root>/raw/<name>``.

    Raises
    ------
    FileNotFoundError
        Naming the place that was looked at and what to put there.
    """
    advice = (
        "The data are gated, CC BY-NC-ND 4.0. Name the folder or zip of npz files, one per eye, "
        "with the map 'rnflt'"
    )
    variable = "RNFL_HARVARD_GF" if name == "harvard_gf" else None
    return existing(name, source, advice, variable)


def _split(entry: Entry, tables: Tables) -> str | None:
    """Return the split by a table, or by a folder such as ``Training``; None where none says."""
    parts = (spell("split", part) for part in PurePosixPath(entry.name).parts[:-1])
    told = tables.facts.get(entry.key, {}).get("split")
    return told or next(filter(None, parts), None)


def _choose(
    results: Mapping[str, KeptEye | dict],
    splits: Mapping[str, str | None],
    found: Mapping[str, dict],
) -> tuple[list[KeptEye], list[dict]]:
    """Leave out what only shows beside other eyes: no split where they have one, the same map."""
    eyes, exclusions, first = [], [], {}
    for key, result in results.items():
        if any(splits.values()) and splits[key] is None:
            exclusions.append({"id": key, "reason": NO_SPLIT, "detail": ""})
        elif isinstance(result, dict):
            exclusions.append(result)
        elif first.setdefault(found[key]["map"], key) != key:
            owner = first[found[key]["map"]].removeprefix(PREFIX)
            exclusions.append({"id": key, "reason": SAME_MAP, "detail": owner})
        else:
            eyes.append(result)
    return eyes, exclusions


def _method(options: Options) -> dict[str, Any]:
    """Return the constants and choices that decide the result, besides the files."""
    return {
        "version": VERSION,
        "size_px": crops.SIZE,
        "map": thickness_map.SETTINGS,
        "options": asdict(options),
    }


def settings(name: str = "harvard_gf", source: str | Path | None = None) -> dict[str, Any]:
    """Return all that decides the prepared dataset: constants, options, hashes of the raw files.

    Without a source, a dataset that was prepared before answers for the files it was made from.
    """
    known = remembered(name, source, {}, lambda place: place.exists())
    if known is not None:
        return {**known, **_method(Options(**known["options"]))}
    place = find_source(source, name)
    photos = {f"{FOLDER}/{path.name}": path for path in find_photos(place).values()}
    with closing(Source(place)) as raw, ThreadPoolExecutor(WORKERS) as pool:
        wanted = [*((entry, WANTED) for entry in raw.npz), *((entry, ()) for entry in raw.csv)]
        hashes = pool.map(lambda pair: raw.fingerprint(*pair), wanted)
        hashes = list(progress(hashes, "Thickness maps, hashing", len(wanted)))
        files = {entry.name: value for (entry, _), value in zip(wanted, hashes, strict=True)}
        files |= dict(zip(photos, pool.map(sha256_file, photos.values()), strict=True))
    return {**_method(read_options(place)), "files": sha256_json(files)}


def prepare(name: str = "harvard_gf", source: str | Path | None = None) -> Prepared:
    """Prepare a set of thickness maps; every eye left out is in the manifest with its reason.

    Parameters
    ----------
    name : str
        Name of the prepared dataset.
    source : path, optional
        Raw folder or zip; see :func:`find_source`.

    Raises
    ------
    FileNotFoundError
        When the raw files are not there.
    ValueError
        When the tables or options are not as expected, or no eye is left, with what to do.
    """
    place = find_source(source, name)
    options, photos = read_options(place), find_photos(place)
    with closing(Source(place)) as raw:
        entries, tables = raw.npz, read_tables(raw)
        files = {entry.name: raw.fingerprint(entry, ()) for entry in raw.csv}

        def stamp(entry: Entry) -> str:
            photo = photos.get(entry.key)
            return f"{raw.stamp(entry)} {file_stamp(photo) if photo else 'no photo'}"

        usable, left_out = read_eyes(
            entries,
            partial(read_eye, source=raw, tables=tables, photos=photos, options=options),
            name=name,
            method={**_method(options), "tables": files},
            key=lambda entry: f"{PREFIX}{entry.key}",
            stamp=stamp,
            what="Thickness maps",
        )
    results = {eye.row["eye_id"]: eye for eye in usable} | {one["id"]: one for one in left_out}
    found = {key: getattr(of, "row", of).pop("found") for key, of in results.items()}
    splits = {f"{PREFIX}{entry.key}": _split(entry, tables) for entry in entries}
    eyes, exclusions = _choose({key: results[key] for key in splits}, splits, found)
    counts = Counter(exclusion["reason"] for exclusion in exclusions)
    if not eyes:
        listing = "; ".join(f"{reason}: {n}" for reason, n in counts.most_common())
        hints = "".join(f"\n{reason}: {HINTS[reason]}" for reason in counts if reason in HINTS)
        raise ValueError(f"{place}: no eye is left of {len(entries)} ({listing}){hints}")
    for entry in entries:
        files[entry.name] = found[f"{PREFIX}{entry.key}"]["npz"]
    for key, path in photos.items():
        known = found.get(f"{PREFIX}{key}", {}).get("photo")
        files[f"{FOLDER}/{path.name}"] = known or sha256_file(path)
    samples = pd.DataFrame([eye.row for eye in eyes]).assign(modality="SLO")
    told = [splits[eye.row["eye_id"]] for eye in eyes]
    samples["split"] = told if any(told) else patient_split(samples)
    fields = {
        "dataset": "harvard_gf",
        "modality": "SLO",
        "phantom": False,
        "field_mm": FIELD_MM,
        "settings": {**_method(options), "files": sha256_json(files)},
        "source": str(place),
        "statements": statements(options, samples),
        "counts": {"files": len(entries), "excluded": counts},
        "exclusions": exclusions,
    }
    profiles = np.stack([eye.profile for eye in eyes])
    return write(name, (eye.image for eye in eyes), profiles, samples, fields)
