"""Any folder of fundus photographs and one CSV that says what they are.

The CSV names photographs (``image``) and eyes (``eye``, OD or OS), and may give patients, disc
centres, scale, split, demographics and RNFL labels in µm: a profile in the columns 0 ... 359, or
the means S, N, I, T. Without labels the dataset serves prediction. Read by ``table``; ``options``
is what the owner may say of all of them, and ``photos`` makes the crops.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rnfl.core.geometry import FIELD_MM
from rnfl.core.splits import patient_split
from rnfl.datasets.fairfedmed.tables import refuse_shared_patients
from rnfl.datasets.folder.options import FILE, Options, read_options
from rnfl.datasets.folder.photos import read_eye
from rnfl.datasets.folder.table import Row, Table, find_table, read_rows
from rnfl.datasets.prepared import Prepared, write
from rnfl.datasets.raw import existing, remembered
from rnfl.datasets.reading import KeptEye, file_stamp, read_eyes
from rnfl.imaging import disc, fundus
from rnfl.storage.provenance import sha256_file, sha256_json
from rnfl.storage.tables import listed

VERSION = 1  # of this preparation; raise it when the same files would give other output
FRACTIONS = {"train": 0.70, "val": 0.15, "test": 0.15}
FEWEST_PATIENTS = 20  # with labels that are split; fewer are all for testing (ours)
DARK_MARGINS = 0.9  # lit share of a photograph's width below which its scale is doubtful (ours)
PICTURES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
SAME_PHOTOGRAPH = "same photograph as another row's"


def find_source(source: str | Path | None = None, name: str = "folder") -> Path:
    """Return the CSV of a folder: of the one named, else of the one it was prepared from before.

    Parameters
    ----------
    source : path, optional
        Folder or CSV; by default that of the prepared dataset, else ``<data root>/raw/<name>``.
    name : str
        Name of the prepared dataset.

    Raises
    ------
    FileNotFoundError
        When there is no such folder, or no CSV in it.
    ValueError
        When there are several CSVs.
    """
    place = existing(name, source, "Name the folder that holds photographs and one CSV")
    return find_table(place).absolute()


def _method(options: Options) -> dict[str, Any]:
    return {
        "version": VERSION,
        "size_px": fundus.SIZE,
        "field_mm": FIELD_MM,
        "fractions": FRACTIONS,
        "disc": disc.SETTINGS,
        "options": asdict(options),
    }


def _settings(table: Table, options: Options) -> dict[str, Any]:
    """Return all that decides the result; photographs that no row names do not."""
    hashes = {
        row.path.relative_to(table.path.parent).as_posix(): sha256_file(row.path)
        for row in table.rows
        if row.fault is None
    }
    files = {"table": sha256_file(table.path), "photographs": sha256_json(hashes)}
    return _method(options) | files


def settings(name: str = "folder", source: str | Path | None = None) -> dict[str, Any]:
    """Return all that decides the prepared dataset: constants, options, hashes of the raw files.

    Without a source, a dataset that was prepared before answers for the files it was made from.
    """
    known = remembered(name, source, {}, lambda place: place.exists())
    if known is not None:
        return {**known, **_method(Options(**known["options"]))}
    path = find_source(source, name)
    options = read_options(path.parent)
    return _settings(read_rows(path, options.width_mm), options)


def prepare(name: str = "folder", source: str | Path | None = None) -> Prepared:
    """Prepare a folder; :func:`rnfl.datasets.prepare` returns it at once when nothing has changed.

    Parameters
    ----------
    name : str
        Name of the prepared dataset.
    source : path, optional
        Folder or CSV; see :func:`find_source`.

    Returns
    -------
    Prepared
        Disc-centred RGB crops in right-eye orientation, profiles (NaN without such labels), and
        what the CSV says in ``samples``. Rows left out are in the manifest's exclusions, each with
        its reason; what was assumed is in its notes.

    Raises
    ------
    FileNotFoundError
        When there is no folder or no CSV.
    ValueError
        When CSV or options are not as expected, or no photograph is left.
    """
    path = find_source(source, name)
    options = read_options(path.parent)
    table = read_rows(path, options.width_mm)
    chosen = _settings(table, options)
    eyes, exclusions = read_eyes(
        table.rows,
        partial(read_eye, options=options, labels=table.labels),
        name=name,
        method=_method(options) | {"table": chosen["table"]},
        key=lambda row: row.eye_id,
        stamp=lambda row: "" if row.fault else file_stamp(row.path),
        what="photographs",
    )
    eyes, twins = _without_twins(eyes)
    exclusions += twins
    reasons = Counter(one["reason"] for one in exclusions)
    if not eyes:
        found = "; ".join(f"{n} x {reason}" for reason, n in reasons.most_common())
        raise ValueError(f"{path}: no photograph is left: {found}, as {exclusions[0]['detail']}")
    samples = pd.DataFrame([eye.row for eye in eyes]).drop(columns="digest")
    modalities = sorted(set(samples["modality"]))
    if len(modalities) > 1:
        raise ValueError(f"{path}: modalities {', '.join(modalities)}: make a dataset of each")
    samples = _split(samples, table, options)
    strangers = _strangers(table.path.parent, table.rows)
    fields = {
        "dataset": "folder",
        "modality": modalities[0],
        "phantom": False,
        "field_mm": FIELD_MM,
        "settings": chosen,
        "source": str(path),
        "counts": {
            "rows": len(table.rows),
            "labels": table.labels,
            "disc": Counter(samples["disc_source"]),
            "excluded": reasons,
            "not_in_table": len(strangers),
        },
        "exclusions": exclusions,
        "not_in_table": strangers,
        "notes": _describe(samples, table, options, strangers),
    }
    profiles = np.stack([eye.profile for eye in eyes])
    return write(name, (eye.image for eye in eyes), profiles, samples, fields)


def _without_twins(eyes: list[KeptEye]) -> tuple[list[KeptEye], list[dict[str, str]]]:
    """Return the eyes whose file no earlier row has under another name, and the others."""
    first, kept, twins = {}, [], []
    for eye in eyes:
        one = first.setdefault(eye.row["digest"], eye.row["eye_id"])
        if one == eye.row["eye_id"]:
            kept.append(eye)
        else:
            what = {"reason": SAME_PHOTOGRAPH, "detail": one}
            twins.append({"id": eye.row["eye_id"], **what})
    return kept, twins


def _split(samples: pd.DataFrame, table: Table, options: Options) -> pd.DataFrame:
    """Return the samples with the CSV's split; else 70/15/15 by patient, or all for testing."""
    if "split" not in table.columns:
        few = samples["patient_id"].nunique() < FEWEST_PATIENTS
        if table.labels == "none" or few:
            return samples.assign(split="test")
        try:
            return samples.assign(split=patient_split(samples, FRACTIONS, options.split_seed))
        except ValueError as error:
            raise ValueError(
                f"{table.path}: {error} (split_seed in {FILE}), or a column split"
            ) from error
    keys = samples[["eye_id", "patient_id", "split"]].itertuples(index=False)
    refuse_shared_patients(keys, str(table.path))
    return samples


def _strangers(folder: Path, rows: list[Row]) -> list[str]:
    """Return the photographs that no row names, relative to the folder."""
    named = {row.path for row in rows}
    found = (path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    return sorted(path.relative_to(folder).as_posix() for path in found if path not in named)


def _describe(
    samples: pd.DataFrame, table: Table, options: Options, strangers: list[str]
) -> list[str]:
    """Return in words what was assumed and what was not used."""
    notes = []
    if "patient_id" not in table.columns:
        notes.append("No column patient_id: each photograph is taken as a patient of its own.")
    if options.images == "photographs":
        if not {"width_mm", "field_degrees"} & table.columns:
            notes.append(f"Photographs are taken to be {options.width_mm:g} mm of retina wide.")
    else:
        unused = sorted({"disc_x", "disc_y", "width_mm", "field_degrees"} & table.columns)
        notes += [f"Crops: {listed(unused)} of the CSV are not used."] if unused else []
    dark = samples.get("field_share", pd.Series(dtype=float)) < DARK_MARGINS
    if dark.any():
        lit = samples.loc[dark, "field_share"]
        notes.append(
            f"{dark.sum()} photographs have dark margins: {lit.min():.0%} to {lit.max():.0%} of "
            "their width is lit. width_mm counts the margins too; look at the crops."
        )
    if table.labels == "none":
        notes.append("No labels: for prediction only.")
    elif "rnfl_S" in table.columns and "rnfl_mean" not in table.columns:
        notes.append("rnfl_mean is the mean of S, N, I and T.")
    if "split" not in table.columns:
        alone = set(samples["split"]) == {"test"}
        how = f"all test (no labels, or fewer than {FEWEST_PATIENTS} patients)"
        notes.append(f"No column split: {how if alone else '70/15/15 by patient'}.")
    if table.ignored:
        notes.append(f"Columns that are not used: {listed(table.ignored, 10)}.")
    if strangers:
        notes.append(f"{len(strangers)} photographs are in no row: {listed(strangers, 10)}.")
    return notes
