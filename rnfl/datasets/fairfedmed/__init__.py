"""FairFedMed-Oph: SLO images with the RNFL profile of the same eye, where its owner has one.

The dataset is gated and licensed CC BY-NC-ND 4.0: nothing of it or derived from it is committed.
What the files look like was read from public code, not from the files; see ``data/README.md``.
Files are read by ``files``, tables by ``tables``, targets by ``targets``, and ``images`` cuts the
crops.
"""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rnfl.core.geometry import FIELD_MM
from rnfl.core.splits import patient_split
from rnfl.datasets.fairfedmed import targets
from rnfl.datasets.fairfedmed.eyes import NO_LATERALITY, WANTED, read_eye, refuse_unknown_codes
from rnfl.datasets.fairfedmed.files import Entry, Source
from rnfl.datasets.fairfedmed.findings import describe
from rnfl.datasets.fairfedmed.options import FILE, Options, read_options
from rnfl.datasets.fairfedmed.tables import Tables, read_tables, refuse_shared_patients
from rnfl.datasets.prepared import Prepared, write
from rnfl.datasets.raw import existing
from rnfl.datasets.reading import WORKERS, KeptEye, read_eyes
from rnfl.imaging import crops, thickness_map
from rnfl.storage.paths import prepared_root
from rnfl.storage.progress import progress
from rnfl.storage.provenance import sha256_json

VERSION = 2  # of this preparation; raise it when the same files would give other output
FRACTIONS = {"train": 0.70, "val": 0.15, "test": 0.15}
NO_FILE = "no npz for this row of a profile CSV"


def find_source(name: str, source: str | Path | None = None) -> Path:
    """Return the raw folder, zip or tar: as given, else that of the dataset prepared before.

    Else, for ``fairfedmed`` alone, $RNFL_FAIRFEDMED; else ``<data root>/raw/<name>``.

    Raises
    ------
    FileNotFoundError
        Saying where it was looked for and what to put there.
    """
    advice = (
        "The dataset is gated. Name the folder of npz files, the zip or the folder of tar shards"
    )
    variable = "RNFL_FAIRFEDMED" if name == "fairfedmed" else None
    return existing(name, source, advice, variable)


def _method(options: Options) -> dict[str, Any]:
    """Return the constants and choices that decide the result, besides the files."""
    return {
        "version": VERSION,
        "size_px": crops.SIZE,
        "fractions": FRACTIONS,
        "options": asdict(options),
        "depth_um": targets.DEPTH_UM,
        "limits": [targets.MIN_MEASURED, targets.THICKEST, *targets.MEAN_RANGE],
        "map": thickness_map.SETTINGS,
    }


def _settings(options: Options, npz: dict[str, str], tables: dict[str, str]) -> dict[str, Any]:
    return {**_method(options), "files": sha256_json(npz), "tables": sha256_json(tables)}


def settings(name: str = "fairfedmed", source: str | Path | None = None) -> dict[str, Any]:
    """Return all that decides the prepared dataset: constants, options, hashes of the raw files.

    Without a source, a dataset that was prepared before answers for its files itself: they may be
    on another disk by now, and a hundred gigabytes are not hashed for every training run.
    """
    manifest = prepared_root() / name / "manifest.json"
    if source is None and manifest.is_file():
        made = json.loads(manifest.read_text(encoding="utf-8"))["settings"]
        return {**made, **_method(Options(**made["options"]))}
    place = find_source(name, source)
    with closing(Source(place)) as raw, ThreadPoolExecutor(WORKERS) as pool:
        npz = pool.map(partial(raw.fingerprint, wanted=WANTED), raw.npz)
        hashes = list(progress(npz, "FairFedMed, hashing", len(raw.npz)))
        npz = dict(zip((entry.key for entry in raw.npz), hashes, strict=True))
        tables = pool.map(partial(raw.fingerprint, wanted=()), raw.csv)
        tables = dict(zip((entry.name for entry in raw.csv), tables, strict=True))
    return _settings(read_options(place), npz, tables)


def prepare(name: str = "fairfedmed", source: str | Path | None = None) -> Prepared:
    """Prepare FairFedMed; :func:`rnfl.datasets.prepare` returns it at once when nothing changed.

    Parameters
    ----------
    name : str
        Name of the prepared dataset.
    source : path, optional
        Raw folder, zip or tar; see :func:`find_source`.

    Returns
    -------
    Prepared
        Grey disc-centred crops and profiles (µm) in right-eye orientation, patient-disjoint split,
        attributes; every eye that is left out with its reason, and in ``notes`` what was assumed.

    Raises
    ------
    FileNotFoundError
        When there is no such source.
    ValueError
        When tables or codes are not as expected, or no eye is left.
    """
    place = find_source(name, source)
    options = read_options(place)
    with closing(Source(place)) as raw:
        tables = read_tables(raw)
        some = tables.profiles or tables.surfaces
        if not some and not any(raw.holds(entry, targets.MAP_NAME) for entry in raw.npz):
            raise ValueError(f"{place}: no RNFL targets. {targets.EXPECTED}; see data/README.md.")
        paired = {entry for pair in tables.surfaces.values() for entry in pair.values()}
        others = [entry for entry in raw.csv if entry not in paired]
        prints = {entry.name: raw.fingerprint(entry, ()) for entry in others}

        def stamp(entry: Entry) -> str:
            pair = tables.surfaces.get(entry.key, {})
            return " ".join(map(raw.stamp, (entry, *(pair[layer] for layer in sorted(pair)))))

        kept, excluded = read_eyes(
            raw.npz,
            partial(read_eye, source=raw, tables=tables, options=options),
            name=name,
            method={**_method(options), "tables": prints},
            key=lambda entry: entry.key,
            stamp=stamp,
            what="FairFedMed",
        )
    found = {eye.row["eye_id"]: eye.row.pop("found") for eye in kept}
    counted = list(found.values())
    found |= {one["id"]: one.pop("found") for one in excluded}
    found = {entry.key: found[entry.key] for entry in raw.npz}
    refuse_unknown_codes(found, str(place))
    for key, pair in tables.surfaces.items():
        prints |= {entry.name: found[key]["surfaces"][layer] for layer, entry in pair.items()}
    absent = tables.absent.items()
    excluded += [{"id": key, "reason": NO_FILE, "detail": csv} for key, csv in sorted(absent)]
    _refuse_none(kept, excluded, place)
    samples = _samples(kept, tables, options, place)
    shapes = Counter(one["shape"] for one in counted)
    profiles = np.stack([eye.profile for eye in kept])
    reasons = Counter(one["reason"] for one in excluded)
    fields = {
        "dataset": "fairfedmed",
        "modality": "SLO",
        "phantom": False,
        "field_mm": FIELD_MM,
        "settings": _settings(options, {key: one["npz"] for key, one in found.items()}, prints),
        "source": str(place),
        "counts": {
            "files": len(found),
            "targets": Counter(samples["target_source"]),
            "orientation": shapes,
            "disc_centre_assumed": int((~samples["disc_stated"]).sum()),
            "attributes_that_differ": Counter(name for one in counted for name in one["differ"]),
            "excluded": reasons,
        },
        "exclusions": excluded,
        "notes": describe(shapes, samples, profiles, tables, options, raw),
        "tables": {"read": tables.read, "not_read": [*tables.unread, *raw.unread]},
    }
    return write(name, (eye.image for eye in kept), profiles, samples, fields)


def _refuse_none(kept: list[KeptEye], excluded: list[dict[str, str]], place: Path) -> None:
    reasons = Counter(one["reason"] for one in excluded)
    if not kept and reasons[NO_LATERALITY]:
        raise ValueError(
            f"{place}: {reasons[NO_LATERALITY]} eyes of unknown laterality and no other eye left. "
            "Left eyes must be mirrored: add a column laterality (OD or OS) to a table, or an "
            f"array of that name to the npz files, or state it for all in {FILE} "
            '(laterality = "OD"; see data/README.md)'
        )
    if not kept:
        found = "; ".join(f"{n} x {reason}" for reason, n in reasons.most_common())
        raise ValueError(f"{place}: no eye is left: {found}, as {excluded[0]['detail'] or '-'}")


def _samples(kept: list[KeptEye], tables: Tables, options: Options, place: Path) -> pd.DataFrame:
    """Return one row per eye; the split is the tables' own, else 70/15/15 by patient."""
    samples = pd.DataFrame([eye.row for eye in kept])
    for name in ("age", "md", "glaucoma"):
        samples[name] = samples[name].astype(float)
    if "split" not in tables.columns:
        try:
            samples["split"] = patient_split(samples, FRACTIONS, options.split_seed)
        except ValueError as error:
            raise ValueError(
                f"{place}: {error} (split_seed in {FILE}), or a split column"
            ) from error
    keys = samples[["eye_id", "patient_id", "split"]].itertuples(index=False)
    refuse_shared_patients(keys, str(place))
    return samples
