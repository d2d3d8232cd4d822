"""FairFedMed-Oph: SLO images with the RNFL profile of the same eye, where its owner has one.

The dataset is gated and licensed CC BY-NC-ND 4.0: nothing of it or derived from it is committed.
What the files look like was read from public code, not from the files; see ``data/README.md``.
Files are read by ``files``, tables by ``tables``, targets by ``targets``, and ``images`` cuts the
crops.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from rnfl import thickness_map
from rnfl.datasets.fairfedmed import images, targets
from rnfl.datasets.fairfedmed.eyes import (
    NO_LATERALITY,
    WANTED,
    Eye,
    read_eye,
    refuse_unknown_codes,
)
from rnfl.datasets.fairfedmed.files import Source
from rnfl.datasets.fairfedmed.notes import describe
from rnfl.datasets.fairfedmed.options import FILE, Options, read_options
from rnfl.datasets.fairfedmed.tables import Tables, read_tables, refuse_shared_patients
from rnfl.geometry import FIELD_MM
from rnfl.paths import data_root, prepared_root
from rnfl.prepare import Prepared, write
from rnfl.provenance import sha256_json
from rnfl.splits import patient_split

VERSION = 1  # of this preparation; raise it when the same files would give other output
FRACTIONS = {"train": 0.70, "val": 0.15, "test": 0.15}
WORKERS = 8
NO_FILE = "no npz for this row of a profile CSV"


def find_source(name: str, source: str | Path | None = None) -> Path:
    """Return the raw folder, zip or tar: as given, else $RNFL_FAIRFEDMED, else data/raw/<name>.

    Raises
    ------
    FileNotFoundError
        Saying where it was looked for and what to put there.
    """
    named = source or os.environ.get("RNFL_FAIRFEDMED")
    place = Path(named).expanduser() if named else data_root() / "raw" / name
    if not place.exists():
        raise FileNotFoundError(
            f"FairFedMed not found: {place} does not exist. Name the folder of npz files, the zip "
            "or the folder of tar shards: rnfl prepare fairfedmed --source <path>, or "
            "RNFL_FAIRFEDMED=<path>. The dataset is gated; see data/README.md."
        )
    return place


def _method(options: Options) -> dict[str, Any]:
    """Return the constants and choices that decide the result, besides the files."""
    return {
        "version": VERSION,
        "size_px": images.SIZE,
        "fractions": FRACTIONS,
        "options": asdict(options),
        "depth_um": targets.DEPTH_UM,
        "limits": [targets.MIN_MEASURED, targets.THICKEST, *targets.MEAN_RANGE],
        "map": thickness_map.SETTINGS,
    }


def _settings(options: Options, prints: dict[str, str], source: Source) -> dict[str, Any]:
    tables = {entry.name: source.fingerprint(entry, ()) for entry in source.csv}
    return {**_method(options), "files": sha256_json(prints), "tables": sha256_json(tables)}


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
    raw = Source(place)
    try:
        hashes = _parallel(partial(raw.fingerprint, wanted=WANTED), raw.npz, "hashing")
        prints = dict(zip((entry.key for entry in raw.npz), hashes, strict=True))
        return _settings(read_options(place), prints, raw)
    finally:
        raw.close()


def _parallel(work, items: list, what: str) -> Iterator:
    """Yield the work's results in the order of the items, with a progress bar."""
    with ThreadPoolExecutor(min(WORKERS, os.cpu_count() or 1)) as pool:
        done = pool.map(work, items)
        yield from tqdm(done, f"FairFedMed, {what}", len(items), unit="eye", disable=None)


def prepare(name: str = "fairfedmed", source: str | Path | None = None) -> Prepared:
    """Prepare FairFedMed; :func:`rnfl.prepare.prepare` returns it at once when nothing changed.

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
    options, raw = read_options(place), Source(place)
    try:
        tables = read_tables(raw)
        some = tables.profiles or tables.surfaces
        if not some and not any(raw.holds(entry, targets.MAP_NAME) for entry in raw.npz):
            raise ValueError(f"{place}: no RNFL targets. {targets.EXPECTED}; see data/README.md.")
        work = partial(read_eye, source=raw, tables=tables, options=options)
        eyes = list(_parallel(work, raw.npz, "reading"))
        prints = {eye.key: eye.fingerprint for eye in eyes}
        chosen = _settings(options, prints, raw)
    finally:
        raw.close()
    refuse_unknown_codes(eyes, str(place))
    kept = [eye for eye in eyes if not eye.reason]
    excluded = [{"id": e.key, "reason": e.reason, "detail": e.detail} for e in eyes if e.reason]
    absent = tables.absent.items()
    excluded += [{"id": key, "reason": NO_FILE, "detail": csv} for key, csv in sorted(absent)]
    _refuse_none(kept, excluded, place)
    samples = _samples(kept, tables, options, place)
    profiles = np.stack([eye.profile for eye in kept])
    reasons = Counter(one["reason"] for one in excluded)
    fields = {
        "dataset": "fairfedmed",
        "modality": "SLO",
        "phantom": False,
        "field_mm": FIELD_MM,
        "settings": chosen,
        "counts": {
            "files": len(eyes),
            "targets": Counter(samples["target"]),
            "orientation": Counter(eye.shape for eye in kept),
            "disc_centre_assumed": int((~samples["disc_stated"]).sum()),
            "attributes_that_differ": Counter(name for eye in kept for name in eye.differ),
            "excluded": reasons,
        },
        "exclusions": excluded,
        "notes": describe(kept, samples, profiles, tables, options, raw),
        "tables": {"read": tables.read, "not_read": [*tables.unread, *raw.unread]},
    }
    return write(name, np.stack([eye.image for eye in kept]), profiles, samples, fields)


def _refuse_none(kept: list[Eye], excluded: list[dict[str, str]], place: Path) -> None:
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


def _samples(kept: list[Eye], tables: Tables, options: Options, place: Path) -> pd.DataFrame:
    """Return one row per eye; the split is the tables' own, else 70/15/15 by patient."""
    samples = pd.DataFrame([{"eye_id": eye.key, "modality": "SLO", **eye.columns} for eye in kept])
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
