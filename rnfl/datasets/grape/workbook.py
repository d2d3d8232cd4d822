"""GRAPE's workbook: the baseline of each eye and its visits, as two tidy tables.

A visual field has 61 points, numbered as in the workbook and alike for right and left eyes, in dB.
Points 21 and 32 are the blind spot and -1 in every eye; -1 at another point is taken for a target
that was not seen (**ours**: 0 to 35 dB are measured, and -1 lies where fields are lost).

An entry that decides an eye or its labels must be as expected, or it is an error. Another one that
is not (a pressure of 0, say) is left empty and listed in ``attrs["faults"]`` of the table.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd

from rnfl.core.geometry import LATERALITIES
from rnfl.core.labels import fault, refuse_contradictions, refuse_unit
from rnfl.core.nanstats import mean
from rnfl.core.schema import RNFL_COLUMNS
from rnfl.storage import limits
from rnfl.storage.readers import readable
from rnfl.storage.tables import listed

MISSING = "/"
N_POINTS = 61
CELL = re.compile(rb"""\br\s*=\s*["']([A-Za-z]{0,3})(\d{1,9})["']""")  # where cells and rows are
BLIND_SPOT = (21, 32)
FIELD = tuple(f"vf/{i}" for i in range(N_POINTS))
#: Our column: the workbook's header, first row / second row.
BASELINE = {
    "subject": "subject number",
    "laterality": "laterality",
    "age": "age",
    "sex": "gender",
    "iop": "iop",
    "cct": "cct",
    "total_visits": "total visits",
    **{f"progression_{name}": f"progression status/{name}" for name in ("plr2", "plr3", "md")},
    "glaucoma_category": "category of glaucoma",
    **{name: name.lower().replace("rnfl_", "oct rnfl thickness/") for name in RNFL_COLUMNS},
    "photograph": "corresponding cfp",
    "device": "acquisition device",
    "resolution": "resolusion",
}
VISITS = {
    "subject": "subject number",
    "laterality": "laterality",
    "visit": "visit number",
    "years": "interval years",
    "iop": "iop",
    "photograph": "corresponding cfp",
    "device": "acquisition device",
}
OPTIONAL = {"resolution"}  # empty where a workbook lacks them
VISIT_COLUMNS = (
    *("eye_id", "patient_id", "laterality", "visit", "years", "iop", "photograph", "device"),
    *("visual_field", "vf_mean"),
)
#: What the numbers of a column may be: in words, and as a test.
POSITIVE = "a positive number", lambda number: number > 0  # a zero would be a missing value
COUNT = "a whole number from 1", lambda number: number >= 1 and number == int(number)
STATUS = "0 or 1", lambda number: number in (0, 1)
RANGES = {
    **dict.fromkeys(("age", "iop", "cct"), POSITIVE),
    **dict.fromkeys(("subject", "visit", "total_visits"), COUNT),
    **dict.fromkeys(("progression_plr2", "progression_plr3", "progression_md"), STATUS),
    "years": ("a number of 0 or more", lambda number: number >= 0),
    "vf": ("-1 or 0 to 60 dB", lambda number: number == -1 or 0 <= number <= 60),
}
NUMBERS = {*RANGES, *RNFL_COLUMNS}


def read_baseline(workbook: Path) -> pd.DataFrame:
    """Return the workbook's baseline visit, one row per eye.

    Accepts the two header rows merged, or unmerged with their labels repeated.

    Returns
    -------
    DataFrame
        eye_id, patient_id, laterality, age (years), sex, iop (mmHg), cct (µm), total_visits,
        progression_plr2, progression_plr3 and progression_md (0 or 1), glaucoma_category,
        rnfl_mean, rnfl_S, rnfl_N, rnfl_I, rnfl_T (µm), photograph (file name), device,
        resolution (of the photograph, as '1556×1556'), vf_mean (dB, see
        :func:`mean_sensitivity`). NaN or None where missing.

    Raises
    ------
    ValueError
        Naming the file, row and column of what is not as expected.
    """
    strict = ("subject", "laterality", "age", *RNFL_COLUMNS)
    table = _read_sheet(workbook, "Baseline", BASELINE, strict)
    repeated = table.index[table.duplicated("eye_id", keep=False)]
    if len(repeated):
        rows = ", ".join(str(row + 1) for row in repeated[:6])
        raise ValueError(f"{workbook}, sheet Baseline, rows {rows}: one eye twice; keep one row")
    where, rows = f"{workbook}, sheet Baseline", [f"row {row + 1}" for row in table.index]
    refuse_unit(table["rnfl_mean"].to_numpy(), where, rows)
    refuse_contradictions(table[list(RNFL_COLUMNS)], None, where, rows)
    return _finish(table).drop(columns="visual_field")


def read_visits(workbook: Path) -> pd.DataFrame:
    """Return all visits, the first among them, one row per eye and visit.

    Returns
    -------
    DataFrame
        eye_id, patient_id, laterality, visit (1, 2, ...), years (since the first visit), iop
        (mmHg), photograph (file name), device, visual_field (61 values in dB as published, -1 at
        the blind spot and where nothing was seen, NaN where missing), vf_mean (dB). Rows without
        subject, laterality or visit number are left out and among the faults.

    Raises
    ------
    ValueError
        When the workbook cannot be read, or sheet or columns are missing.
    """
    table = _read_sheet(workbook, "Follow-up", VISITS, ())
    unknown = table["laterality"].isna() | table[["subject", "visit"]].isna().any(axis=1)
    faults = [f"Follow-up row {row + 1}: whose visit it is" for row in table.index[unknown]]
    table = table[~unknown].astype({"visit": int})
    table.attrs["faults"] = [*table.attrs["faults"], *faults]
    return _finish(table)[list(VISIT_COLUMNS)]


def _finish(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with ``vf_mean``, its rows numbered and known by their eye."""
    field = np.array([*table["visual_field"]], dtype=float).reshape(-1, N_POINTS)
    table = table.drop(columns="subject").assign(vf_mean=mean_sensitivity(field))
    return table.reset_index(drop=True)


def mean_sensitivity(field: np.ndarray) -> np.ndarray:
    """Return the mean of visual fields (N, 61) in dB, without the blind spot.

    A target that was not seen (-1) counts as 0 dB, a missing one not at all; NaN where more than
    half are missing. It is no mean deviation: the workbook has no normal values.
    """
    seen = np.delete(np.asarray(field, dtype=float), BLIND_SPOT, axis=1)
    seen = np.where(seen < 0, 0.0, seen)
    return np.where(np.isfinite(seen).mean(axis=1) >= 0.5, mean(seen, axis=1), np.nan)


def _read_sheet(
    workbook: Path, sheet: str, headers: Mapping[str, str], strict: Collection[str]
) -> pd.DataFrame:
    """Return a sheet under our names with ``eye_id``, ``patient_id`` and ``visual_field``.

    The index counts rows of the sheet from 0. What is not as expected is an error in the columns
    ``strict``, and elsewhere empty and described in ``attrs["faults"]``.
    """
    with readable(workbook, "a workbook"):
        _check_size(workbook)
        sheets = pd.read_excel(workbook, None, header=None, dtype=object, engine="openpyxl")
    if sheet not in sheets:
        raise ValueError(f"{workbook}: no sheet '{sheet}'; found {', '.join(map(str, sheets))}")
    raw, where = sheets[sheet], f"{workbook}, sheet {sheet}"
    with readable(workbook, "a workbook"):
        _refuse_unevaluated(workbook, sheet)
    if len(raw) < 2:
        raise ValueError(f"{where}: {len(raw)} rows, expected two header rows")
    names = _header(raw.iloc[0], raw.iloc[1])
    needed = [header for ours, header in headers.items() if ours not in OPTIONAL]
    absent = [header for header in (*needed, *FIELD) if header not in names]
    if absent:
        raise ValueError(f"{where}: columns {absent[:5]} are missing; found {names[:19]}")
    rows = raw.iloc[2:]
    repeated = rows[names.index(headers["subject"])].map(_label) == headers["subject"]
    rows = rows[~repeated].dropna(how="all")
    faults: list[str] = []

    def read(column: str, value: Any, row: int) -> Any:
        try:
            return _entry(column, value)
        except ValueError as error:
            if column in strict:
                raise ValueError(f"{where}, row {row + 1}{error}") from None
            faults.append(f"{sheet} row {row + 1}{error}")
            return np.nan if column in NUMBERS else None

    def column(ours: str, header: str) -> list[Any]:
        if header not in names:
            return [None] * len(rows)
        cells = rows[names.index(header)]
        return [read(ours, value, row) for row, value in cells.items()]

    kinds = {ours: float if ours in NUMBERS else object for ours in headers}
    table = pd.DataFrame(
        {ours: pd.Series(column(ours, headers[ours]), rows.index, kinds[ours]) for ours in headers}
    )
    table["visual_field"] = list(np.array([column("vf", header) for header in FIELD], float).T)
    who = ["" if np.isnan(subject) else f"grape-{subject:.0f}" for subject in table["subject"]]
    eyes = [f"{one}-{side}" for one, side in zip(who, table["laterality"], strict=True)]
    for place, name, ids in ((0, "eye_id", eyes), (1, "patient_id", who)):
        table.insert(place, name, pd.Series(ids, rows.index, object))
    table.attrs["faults"] = faults
    return table


def _check_size(workbook: Path) -> None:
    """Refuse a workbook that unpacks to too much, or has a cell so far out that its table is."""
    with zipfile.ZipFile(workbook) as parts:
        limits.check("RNFL_MAX_BYTES", sum(part.file_size for part in parts.infolist()), workbook)
        for name in (name for name in parts.namelist() if name.startswith("xl/worksheets/")):
            cells = CELL.findall(parts.read(name))
            if cells:
                column = max((len(one), one) for one, _ in cells)[1]
                width = openpyxl.utils.column_index_from_string(column.decode()) if column else 1
                last = max(int(row) for _, row in cells)
                limits.check("RNFL_MAX_CELLS", last * width, f"{workbook}, {name}")


def _refuse_unevaluated(workbook: Path, sheet: str) -> None:
    """Refuse a sheet with formulas whose value was never computed: a reader sees empty cells."""
    with zipfile.ZipFile(workbook) as parts:
        written = [name for name in parts.namelist() if name.startswith("xl/worksheets/sheet")]
        if not any(b"<f" in parts.read(name) for name in written):  # no formula, the usual case
            return
    kept = openpyxl.load_workbook(workbook, data_only=True)[sheet]
    cells = (cell for row in openpyxl.load_workbook(workbook)[sheet].iter_rows() for cell in row)
    formulas = (cell.coordinate for cell in cells if cell.data_type == "f")
    empty = [place for place in formulas if kept[place].value is None]
    if empty:
        raise ValueError(
            f"{workbook}, sheet {sheet}: {len(empty)} cells hold a formula without its value: "
            f"{listed(empty)}. Open the workbook in a spreadsheet program and save it, or paste "
            "the values over the formulas"
        )


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


def _entry(column: str, value: Any) -> Any:
    """Return the value of a cell: a number in its column's range, or text; NaN or None if missing.

    A ValueError says what was found and what was expected; it follows the number of the row.
    """
    value = value.strip() if isinstance(value, str) else value
    value = None if pd.isna(value) or value in ("", MISSING) else value
    if column == "subject" and value is None:
        raise ValueError(": no subject number")
    if column == "laterality" and value not in LATERALITIES:
        raise ValueError(f": laterality {value!r}: expected OD or OS")
    if column == "photograph" and value is not None and re.search(r"[/\\]|^\.", str(value)):
        raise ValueError(f", photograph: {value!r}: expected the name of a file")
    if column not in NUMBERS:
        return None if value is None else str(value)
    if value is None:
        return np.nan
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f", {column}: {value!r}: expected a number or '{MISSING}'") from None
    if column in RNFL_COLUMNS:
        if said := fault(number):
            raise ValueError(f", {column}: {said}, or '{MISSING}'")
        return number
    words, fits = RANGES[column]
    if not (np.isfinite(number) and fits(number)):
        raise ValueError(f", {column}: {value!r}: expected {words} or '{MISSING}'")
    return number
