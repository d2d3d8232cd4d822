"""Harvard-GF, Harvard-GDP and EyeLearn: RNFL thickness maps with the profile that lies in them.

A raw folder (or a zip of it) holds one ``.npz`` per eye with the map ``rnflt`` and labels, and
CSVs that may say more, joined by file name. The profile is read from the map on the 3.46 mm circle
round its disc; what a network sees must come from elsewhere: an en-face image of the same field in
the file (``slo_fundus`` and its like) or in the folder ``slo``. The map itself is drawn only where
``harvard_gf.toml`` asks for it, and the manifest then says that the input holds the answer.

Whose eye it is and how it lies is never guessed: the files, a table or ``harvard_gf.toml`` say it.
"""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from rnfl import thickness_map
from rnfl.datasets.fairfedmed.files import Entry, Excluded, Source
from rnfl.datasets.fairfedmed.labels import severity
from rnfl.datasets.fairfedmed.tables import Tables, read_tables
from rnfl.datasets.fairfedmed.targets import check_profile
from rnfl.datasets.harvard_gf.images import (
    FOLDER,
    NO_IMAGE,
    SIZE,
    crop,
    draw_map,
    find_photos,
    see,
)
from rnfl.datasets.harvard_gf.labels import WANTED, read_labels, spell
from rnfl.datasets.harvard_gf.options import FILE, Options, read_options, statements
from rnfl.geometry import FIELD_MM, N_ANGLES, to_right_eye
from rnfl.paths import data_root
from rnfl.prepare import Prepared, write
from rnfl.provenance import sha256_array, sha256_file, sha256_json
from rnfl.splits import patient_split

WORKERS = min(8, os.cpu_count() or 1)  # threads that read files
PREFIX = "harvard_gf-"  # of eye and patient ids
VERSION = 1  # of this preparation; raise it when the same files would give other output

NO_MAP = "no array rnflt in the npz"
BAD_MAP = "unusable rnflt map"
NO_LATERALITY = "laterality not stated"
NO_SPLIT = "no split, though other eyes have one"
SAME_MAP = "same map as another eye's"
HINTS = {
    NO_LATERALITY: "say which eye each is: a CSV with the columns filename and laterality (OD or "
    f'OS) beside the files, or laterality = "OD" in {FILE} where all lie as right eyes do',
    NO_IMAGE: f"put <name of the npz>.png of the same field into a folder {FOLDER}, or write "
    f'image = "map" into {FILE} to see the map itself, which holds the answer',
}


@dataclass(frozen=True)
class _Eye:
    """One usable eye: its crop (224, 224), profile (360,), row of ``samples``, hash of its map."""

    image: np.ndarray
    profile: np.ndarray
    row: dict[str, Any]
    digest: str


def find_source(source: str | Path | None = None) -> Path:
    """Return the raw folder or zip: ``source``, else $RNFL_HARVARD_GF, else data/raw/harvard_gf.

    Raises
    ------
    FileNotFoundError
        Naming the place that was looked at and what to put there.
    """
    named = source or os.environ.get("RNFL_HARVARD_GF")
    place = Path(named).expanduser() if named else data_root() / "raw" / "harvard_gf"
    if place.exists():
        return place
    raise FileNotFoundError(
        f"Harvard-GF not found: there is no {place}. Put the npz files (one per eye, with the map "
        "'rnflt') there, or name the folder or zip that holds them: --source <folder> or "
        "RNFL_HARVARD_GF=<folder>. The data are gated, CC BY-NC-ND 4.0; see data/README.md."
    )


def _read_eye(
    entry: Entry, source: Source, tables: Tables, photo: Path | None, options: Options
) -> _Eye:
    """Return one eye, or raise :class:`Excluded`."""
    arrays = source.arrays(entry, WANTED)
    if "rnflt" not in arrays:
        raise Excluded(NO_MAP, f"it has {', '.join(sorted(arrays)) or 'none of the known arrays'}")
    facts = tables.facts.get(entry.key, {})
    labels = read_labels(arrays, tables.rows.get(entry.key, []), facts)
    laterality = labels["laterality"] or options.laterality
    if not laterality:
        raise Excluded(NO_LATERALITY)
    try:
        thickness = thickness_map.check_map(arrays["rnflt"])
    except ValueError as error:
        raise Excluded(BAD_MAP, str(error)) from error
    thickness = thickness.T if options.map_orientation == "transposed" else thickness
    poor = thickness_map.check_quality(thickness)
    if poor:
        reason, _, detail = poor.partition(": ")
        raise Excluded(reason, detail)
    lies = laterality if options.left_eyes == "as taken" else "OD"
    found, field_mm = thickness_map.find_disc(thickness), options.map_mm
    profile = check_profile(thickness_map.profile(thickness, lies, field_mm))
    if options.image == "map":
        seen = draw_map(thickness)
    else:
        seen = see(arrays, photo, options.map_orientation)
    scale = seen.shape[1] / thickness.shape[1]
    x, y = (found.x + 0.5) * scale - 0.5, (found.y + 0.5) * scale - 0.5
    row = {
        "eye_id": f"{PREFIX}{entry.key}",
        **labels,
        "patient_id": f"{PREFIX}{labels['patient_id'] or entry.key}",
        "laterality": laterality,
        "severity": severity(labels),
        "disc_x": found.x,
        "disc_y": found.y,
        "disc_mm2": found.area * (field_mm / thickness.shape[1]) ** 2,
        "invalid": thickness_map.invalid_share(thickness),
        "measured": float(np.isfinite(profile).sum() / N_ANGLES),
    }
    image = to_right_eye(crop(seen, x, y, field_mm), lies)
    return _Eye(image, profile, row, sha256_array(thickness))


def _split(entry: Entry, tables: Tables) -> str | None:
    """Return the split by a table, or by a folder such as ``Training``; None where none says."""
    parts = (spell("split", part) for part in PurePosixPath(entry.name).parts[:-1])
    told = tables.facts.get(entry.key, {}).get("split")
    return told or next(filter(None, parts), None)


def settings(name: str = "harvard_gf", source: str | Path | None = None) -> dict[str, Any]:
    """Return all that decides the prepared dataset: constants, options, hashes of the raw files."""
    place = find_source(source)
    photos = {f"{FOLDER}/{path.name}": path for path in find_photos(place).values()}
    with closing(Source(place)) as raw, ThreadPoolExecutor(WORKERS) as pool:
        wanted = [*((entry, WANTED) for entry in raw.npz), *((entry, ()) for entry in raw.csv)]
        hashes = list(pool.map(lambda pair: raw.fingerprint(*pair), wanted))
        files = {entry.name: value for (entry, _), value in zip(wanted, hashes, strict=True)}
        files |= dict(zip(photos, pool.map(sha256_file, photos.values()), strict=True))
    return {
        "version": VERSION,
        "size_px": SIZE,
        "map": thickness_map.SETTINGS,
        "options": asdict(read_options(place)),
        "files": sha256_json(files),
    }


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
    place = find_source(source)
    options, photos = read_options(place), find_photos(place)
    with closing(Source(place)) as raw, ThreadPoolExecutor(WORKERS) as pool:
        entries, tables = raw.npz, read_tables(raw)
        splits = {entry.key: _split(entry, tables) for entry in entries}

        def read(entry: Entry) -> _Eye | Excluded:
            try:
                if any(splits.values()) and splits[entry.key] is None:
                    raise Excluded(NO_SPLIT)
                return _read_eye(entry, raw, tables, photos.get(entry.key), options)
            except Excluded as excluded:
                return excluded

        bar = tqdm(
            pool.map(read, entries), "Thickness maps", len(entries), unit="eye", disable=None
        )
        results = list(bar)
    eyes, exclusions, first = [], [], {}
    for entry, result in zip(entries, results, strict=True):
        if isinstance(result, _Eye) and first.setdefault(result.digest, entry.key) != entry.key:
            result = Excluded(SAME_MAP, first[result.digest])
        if isinstance(result, _Eye):
            eyes.append(result)
        else:
            what = {"reason": result.reason, "detail": result.detail}
            exclusions.append({"id": f"{PREFIX}{entry.key}", **what})
    counts = Counter(exclusion["reason"] for exclusion in exclusions)
    if not eyes:
        listing = "; ".join(f"{reason}: {n}" for reason, n in counts.most_common())
        hints = "".join(f"\n{reason}: {HINTS[reason]}" for reason in counts if reason in HINTS)
        raise ValueError(f"{place}: no eye is left of {len(results)} ({listing}){hints}")
    samples = pd.DataFrame([eye.row for eye in eyes]).assign(modality="SLO")
    told = [splits[eye.row["eye_id"].removeprefix(PREFIX)] for eye in eyes]
    samples["split"] = told if any(told) else patient_split(samples)
    fields = {
        "dataset": "harvard_gf",
        "modality": "SLO",
        "phantom": False,
        "field_mm": FIELD_MM,
        "settings": settings(name, source),
        "statements": statements(options, samples),
        "counts": {"files": len(results), "excluded": counts},
        "exclusions": exclusions,
    }
    images, profiles = (np.stack([getattr(eye, k) for eye in eyes]) for k in ("image", "profile"))
    return write(name, images, profiles, samples, fields)
