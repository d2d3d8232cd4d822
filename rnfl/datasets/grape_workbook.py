"""GRAPE's workbook: the baseline sheet as one tidy table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rnfl.geometry import LATERALITIES
from rnfl.schema import RNFL_COLUMNS

SHEET = "Baseline"
MISSING = "/"
#: Our column: the workbook's header, first row / second row.
HEADERS = {
    "subject": "subject number",
    "laterality": "laterality",
    "age": "age",
    "sex": "gender",
    "glaucoma_category": "category of glaucoma",
    "rnfl_mean": "oct rnfl thickness/mean",
    "rnfl_S": "oct rnfl thickness/s",
    "rnfl_N": "oct rnfl thickness/n",
    "rnfl_I": "oct rnfl thickness/i",
    "rnfl_T": "oct rnfl thickness/t",
    "photograph": "corresponding cfp",
    "device": "acquisition device",
}


def read_baseline(workbook: Path) -> pd.DataFrame:
    """Return the workbook's baseline visit, one row per eye.

    Accepts the two header rows merged, or unmerged with their labels repeated.

    Returns
    -------
    DataFrame
        eye_id, patient_id, laterality, age (years), sex, glaucoma_category, rnfl_mean, rnfl_S,
        rnfl_N, rnfl_I, rnfl_T (µm), photograph (file name), device. NaN or None where missing.

    Raises
    ------
    ValueError
        Naming the file, row and column of what is not as expected.
    """
    sheets = pd.read_excel(workbook, sheet_name=None, header=None, dtype=object)
    if SHEET not in sheets:
        raise ValueError(f"{workbook}: no sheet '{SHEET}'; found {', '.join(sheets)}")
    raw = sheets[SHEET]
    if len(raw) < 2:
        raise ValueError(f"{workbook}, sheet {SHEET}: {len(raw)} rows, expected two header rows")
    names = _header(raw.iloc[0], raw.iloc[1])
    absent = [header for header in HEADERS.values() if header not in names]
    if absent:
        raise ValueError(
            f"{workbook}, sheet {SHEET}: columns {absent} are missing; found {names[:19]}"
        )
    table = raw.iloc[2:, [names.index(header) for header in HEADERS.values()]]
    table.columns = list(HEADERS)
    repeated = table["subject"].map(_label) == HEADERS["subject"]
    table = table[~repeated].dropna(how="all")
    table = table.astype(object).where(table.notna() & (table != MISSING), None)
    where = f"{workbook}, sheet {SHEET}, row"
    for name in ("subject", "age", *RNFL_COLUMNS):
        table[name] = [
            _number(value, f"{where} {row + 1}, {name}") for row, value in table[name].items()
        ]
    for row, values in zip(table.index + 1, table.itertuples(), strict=True):
        if values.laterality not in LATERALITIES:
            raise ValueError(f"{where} {row}: laterality {values.laterality!r}: expected OD or OS")
        if np.isnan(values.subject):
            raise ValueError(f"{where} {row}: no subject number")
    patient = "grape-" + table.pop("subject").astype(int).astype(str)
    table.insert(0, "eye_id", patient + "-" + table["laterality"])
    table.insert(1, "patient_id", patient)
    return table.reset_index(drop=True)


def _label(value: Any) -> str:
    """Return a header cell in lower case; '' for an empty one, 'x' for a repeated 'X.1'."""
    text = "" if pd.isna(value) else re.sub(r"[\s_]+", " ", str(value)).strip().lower()
    return "" if text.startswith("unnamed") else re.sub(r"\.\d+$", "", text)


def _header(first: pd.Series, second: pd.Series) -> list[str]:
    names, group = [], ""
    for top, low in zip(first.map(_label), second.map(_label), strict=True):
        group = top or group  # a merged cell leaves the rest of its group empty
        names.append(group if low in ("", group) else f"{group}/{low}")
    return names


def _number(value: Any, where: str) -> float:
    if value is None:
        return np.nan
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{where}: {value!r}: expected a number or '{MISSING}'") from None
    if not number > 0:  # a zero would be a missing value in disguise
        raise ValueError(f"{where}: {value!r}: expected a positive number or '{MISSING}'")
    return number
