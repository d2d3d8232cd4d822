"""Whose eyes they are: demographics beside imported predictions.

A CSV with ``sample_id`` (or ``eye_id``), ``patient_id`` and any of ``age`` (years), ``sex``,
``race``, ``ethnicity``, ``severity``, ``laterality``, ``modality`` and ``split``. Spellings are
listed in :data:`SPELLINGS`; upper and lower case are the same. An empty entry or "unknown" is a
missing value, which belongs to no group.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from rnfl.core import schema
from rnfl.storage.tables import MISSING, identifiers, listed, numbers, read_table, unused

OLDEST = 120  # years
SAME = {"sample_id": "eye_id", "eye": "laterality", "gender": "sex"}
ATTRIBUTES = ("age", "sex", "race", "ethnicity", "severity")
EXPECTED = "Expected a CSV with sample_id, patient_id and attributes such as age, sex and race"
UNKNOWN = {*(text.lower() for text in MISSING), "unknown", "not reported", "missing"}
SPELLINGS: dict[str, dict[str, str]] = {
    "sex": {"female": "F", "woman": "F", "male": "M", "man": "M"},
    "race": {"black or african american": "Black", "white or caucasian": "White"},
    "ethnicity": {
        "hispanic or latino": "Hispanic",
        "not hispanic or latino": "Non-Hispanic",
        "not hispanic": "Non-Hispanic",
        "non hispanic": "Non-Hispanic",
    },
    "severity": {"normal": "healthy"},
    "laterality": {"r": "OD", "right": "OD", "l": "OS", "left": "OS"},
    "modality": {},
    "split": {"training": "train", "validation": "val", "testing": "test"},
}


def read_demographics(path: str | Path) -> pd.DataFrame:
    """Read demographics: eye_id and, where the file has them, patient_id and the attributes.

    Returns
    -------
    DataFrame
        Attributes in the project's spelling, None or NaN where missing; other columns are left
        out and named in ``attrs["ignored"]``.

    Raises
    ------
    ValueError
        Naming the file and listing the identifiers or values at fault, and valid ones.
    """
    path = Path(path)
    frame = read_table(path, SAME, None, EXPECTED, needed=("eye_id", "patient_id"))
    if "eye_id" not in frame:
        raise ValueError(f"{path}: no column sample_id or eye_id; found {listed(frame, 12)}")
    known = ["eye_id", "patient_id", "age", *SPELLINGS]
    out = frame[[name for name in known if name in frame]].copy()
    out.attrs["ignored"] = unused(frame, known, path)
    for name in ("eye_id", "patient_id"):
        if name in out:
            out[name] = identifiers(out[name], f"{path}: {name}")
    repeated = out.loc[out["eye_id"].duplicated(), "eye_id"]
    if len(repeated):
        raise ValueError(f"{path}: {len(set(repeated))} samples are repeated: {listed(repeated)}")
    for name in set(SPELLINGS) & set(out):
        out[name] = spelt(out[name], name, path)
    if "age" in out:
        out["age"] = _ages(out, path)
    return out


def spelt(series: pd.Series, name: str, path: Path) -> pd.Series:
    """Return a column in the project's spelling, None where missing or unknown.

    A ValueError lists every other value found, with its number of rows, and the valid ones.
    """
    valid = schema.TABLES["samples"][name].values
    spellings = {**{value.lower(): value for value in valid}, **SPELLINGS[name]}
    text = series.fillna("").astype(str).str.strip().str.lower()
    unknown = text.isin(UNKNOWN)
    known = text.map(spellings)
    foreign = series[known.isna() & ~unknown]
    if len(foreign):
        found = ", ".join(f"{value!r} ({n})" for value, n in foreign.value_counts().items())
        also = f" (also {', '.join(SPELLINGS[name])})" if SPELLINGS[name] else ""
        raise ValueError(
            f"{path}: {name} has values {found}: expected {', '.join(valid)}{also} in any case, "
            "or nothing where unknown"
        )
    return known.astype(object).where(~unknown, None)


def _ages(frame: pd.DataFrame, path: Path) -> np.ndarray:
    text = frame["age"].fillna("").astype(str).str.strip()
    ages = numbers(text.where(~text.str.lower().isin(UNKNOWN), ""), f"{path}: age")
    absurd = np.isfinite(ages) & ((ages < 0) | (ages > OLDEST))
    if absurd.any() or np.isinf(ages).any():
        rows = np.flatnonzero(absurd | np.isinf(ages))
        found = [f"{frame['eye_id'].iloc[i]}: {ages[i]:g}" for i in rows[:6]]
        raise ValueError(
            f"{path}: age in years, expected 0 to {OLDEST}: {listed(found, 5, len(rows))}"
        )
    return ages


def present(samples: pd.DataFrame, among: Sequence[str] = ATTRIBUTES) -> list[str]:
    """Return the attributes of which at least one eye has a value."""
    return [name for name in among if name in samples and samples[name].notna().any()]
