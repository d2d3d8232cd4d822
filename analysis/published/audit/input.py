"""Results to audit, from a CSV: one number per row, or one row per model.

Long: ``backbone, protocol, metric, value``, and if wanted ``edition, table, plus_minus``, as in
``data/published/*.csv``. Wide: ``backbone`` and ``protocol`` (or ``model``), if wanted ``edition``
and ``table``, then one column per metric. An empty cell is a number that was not given. Decimals
count as printed: 24.80 says more than 24.8. "19.04 ± 0.06", "19.04 +/- 0.06" and "19.04 (0.06)"
are the same; a value in ``**bold**`` is said to be the best. Case, units and arrows of a header do
not count.

Metrics are in µm unless said otherwise:

- errors: mae, rmse, mae_global, mae_S, mae_N, mae_I, mae_T, gap, gradient_mae
- agreement: r, pearson_per_eye, pearson_pooled, pearson_between_eyes, r2, ccc
- spread of the predictions: sigma (which one not said), sigma_flat, sigma_between, sigma_template
- spread of the labels: sigma_true (which one not said), sigma_true_flat, sigma_true_between,
  sigma_true_means (of each eye's mean)
- settings: percent_frozen (%), lambda_pearson, lambda_gradient, n_eyes
- claims: delta_percent (% of the MAE of *naive*, same backbone), delta_percent_vs_X,
  better_percent_vs_X, delta_vs_X (X a protocol); claimed_intercept, claimed_slope_per_10_percent,
  claimed_r_squared, claimed_saturating (1), in a row that names no protocol; delta_percent_low and
  delta_percent_high (a range over backbones), sigma_collapse (a protocol with every σ below it is
  said to have collapsed); <metric>_bold (the value printed as best), <metric>_arrow (1: higher is
  said to be better, -1: lower), proposed (1: the method that is proposed)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.published import decimals
from analysis.published.audit.cells import KEYS, METRICS
from analysis.published.audit.checks import COMPARISON, RANGE
from rnfl.storage.tables import column_name, listed, read_table

LONG = ["metric", "value"]
SPELLINGS = {name.lower(): name for name in METRICS} | {"σ": "sigma", "σ_true": "sigma_true"}
EMPTY = ("", "—", "-")
MANY = 6


def is_metric(name: str) -> bool:
    """Whether a metric is one that an audit knows."""
    base = re.sub(r"_(bold|arrow)$", "", name)
    return base in METRICS or name in RANGE or COMPARISON.fullmatch(name) is not None


def read_results(path: str | Path) -> pd.DataFrame:
    """Read a CSV of results, long or wide.

    Returns
    -------
    DataFrame
        edition, table (by default the file's name), backbone, protocol, metric, value, plus_minus,
        digits (printed decimals).

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        Naming the file and all unknown columns or metrics, cells that are not numbers (with their
        line and column), or repeated cells.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    raw = read_table(path, SPELLINGS, None, "Expected a CSV of results", needed=[*KEYS, "model"])
    points = raw.attrs.get("delimiter") != ","
    raw = raw.fillna("").map(str.strip)
    raw.insert(0, "line", np.arange(len(raw)) + 2)  # the header is line 1
    rows = _long(raw, path) if set(LONG) <= set(raw) else _wide(raw, path)
    rows = rows[~rows["value"].isin(EMPTY)]
    if rows.empty:
        raise ValueError(f"{path}: no numbers; expected rows below the header")
    methods = {column_name(one): one for one in rows["protocol"]}
    rows = rows.assign(metric=[_metric(name, methods) for name in rows["metric"]])
    rows = _numbers(rows, path, points)
    return check_results(rows.drop(columns=["line", "column"]), str(path), rows["line"])


def _long(raw: pd.DataFrame, path: Path) -> pd.DataFrame:
    known = [*KEYS, "model", *LONG, "plus_minus", "place", "quote"]
    _refuse(path, "unknown columns", [n for n in raw if n not in (*known, "line")], known)
    told = raw[[*LONG, "line", *(name for name in ("place", "quote") if name in raw)]]
    told = told.assign(plus_minus=raw.get("plus_minus", ""), column="value")
    return _keys(raw, path).join(told)


def _wide(raw: pd.DataFrame, path: Path) -> pd.DataFrame:
    metrics = [name for name in raw if name not in (*KEYS, "model", "line")]
    unknown = [name for name in metrics if not is_metric(_metric(name, {}))]
    _refuse(path, "unknown columns", unknown, _known())
    if not metrics:
        raise ValueError(f"{path}: no column is a metric; expected some of {', '.join(_known())}")
    keys = _keys(raw, path)
    repeated = raw.loc[keys.duplicated(keep=False), "line"]
    once = "one row per model: average its seeds, or name them in the column protocol"
    _refuse(path, "rows of one model", [f"line {n}" for n in repeated], [once])
    rows = keys.join(raw[["line", *metrics]]).melt([*KEYS, "line"], var_name="metric")
    rows = rows.sort_values("line", kind="stable")
    return rows.assign(plus_minus="", column=rows["metric"])


def _keys(raw: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return edition, table, backbone and protocol, '' or the file's name where not given."""
    if not {"backbone", "protocol", "model"} & set(raw):
        found = ", ".join(name for name in raw if name != "line")
        raise ValueError(f"{path}: no column backbone, protocol or model; found {found}")
    if {"model", "protocol"} <= set(raw):
        raise ValueError(f"{path}: columns model and protocol both name the model; keep one")
    named = raw.rename(columns={"model": "protocol"})
    absent = {"edition": "", "table": path.stem, "backbone": "", "protocol": ""}
    return pd.DataFrame({k: named.get(k, absent[k]) for k in KEYS}, index=raw.index)


def _metric(name: str, methods: Mapping[str, str]) -> str:
    """Return a metric in our spelling; a method that it names in that of its row."""
    plain = column_name(name)
    base = re.sub(r"_(bold|arrow)$", "", plain)
    if base in SPELLINGS:
        return SPELLINGS[base] + plain.removeprefix(base)
    against = COMPARISON.fullmatch(plain)
    if against and against[2]:
        return plain.removesuffix(against[2]) + methods.get(against[2], against[2])
    return plain


def _numbers(rows: pd.DataFrame, path: Path, points: bool) -> pd.DataFrame:
    """Return the rows with values and ± as numbers, and the decimals that were printed.

    A value in bold is a claim of its own. Where ``points``, decimal commas are read as points.
    """
    text = rows["value"].str.replace("−", "-")
    bold = text.str.fullmatch(r"\*\*.+\*\*") & ~rows["metric"].str.endswith("_bold")
    text = text.str.replace("**", "", regex=False).str.strip()
    text = text.str.replace(r"(?<=\d),(?=\d)", ".", regex=True) if points else text
    text = text.str.replace(r"\+/?-|\\pm", "±", regex=True)
    text = text.str.replace(r"\s*\(±?\s*(\d*\.\d+)\)$", r" ± \1", regex=True)
    percent = rows["metric"].str.contains("percent")
    rows = rows.assign(text=text.where(~percent, text.str.rstrip("% ")))
    stated = rows[bold].assign(metric=lambda told: told["metric"] + "_bold")
    rows = pd.concat([rows, stated]).sort_index(kind="stable").reset_index(drop=True)
    text = rows.pop("text")
    split = text.str.partition("±")
    value, spread = split[0].str.strip(), split[2].str.strip()
    spread = spread.where(split[1] != "", rows["plus_minus"].str.replace("−", "-"))
    spread = spread.where(~spread.isin(EMPTY))
    number, extra = (pd.to_numeric(text, errors="coerce") for text in (value, spread))
    bad = ~np.isfinite(number) | (extra.isna() & spread.notna())
    wrong = [
        f"line {one.line}, column {one.column}: {one.value!r}" for one in rows[bad].itertuples()
    ]
    expected = "numbers such as 19.04 or 19.04 ± 0.06, decimal points between commas"
    _refuse(path, "not numbers", wrong, [expected])
    told = {"value": value.astype(float), "plus_minus": spread.astype(float)}
    return rows.assign(**told, digits=value.map(decimals))


def check_results(
    results: pd.DataFrame, source: str = "results", line: pd.Series | None = None
) -> pd.DataFrame:
    """Return a long table of results with its columns in order, or say what is wrong with it.

    Raises
    ------
    ValueError
        Naming missing columns, unknown metrics, values that are not finite, or repeated cells.
    """
    needed = [*KEYS, *LONG]
    if absent := [name for name in needed if name not in results]:
        raise ValueError(f"{source}: columns {absent} are missing; expected {', '.join(needed)}")
    rows = results.reset_index(drop=True)
    lines = rows.index if line is None else line.reset_index(drop=True)
    place = "row" if line is None else "line"
    rows[KEYS] = rows[KEYS].fillna("").astype(str)
    unknown = rows.loc[~rows["metric"].map(is_metric), "metric"]
    _refuse(source, "unknown metrics", list(unknown), _known())
    rows["value"] = pd.to_numeric(rows["value"])
    infinite = rows.index[~np.isfinite(rows["value"])]
    infinite = [f"{place} {lines[i]}" for i in infinite]
    _refuse(source, "values that are not finite", infinite, ["finite numbers"])
    key = [*KEYS, "metric"]
    cells = rows.loc[rows.duplicated(key), key].itertuples(name=None)
    repeated = [f"{place} {lines[i]} ({'/'.join(filter(None, cell))})" for i, *cell in cells]
    once = "each edition, table, backbone, protocol and metric once"
    _refuse(source, "repeated cells", repeated, [once])
    return rows


def _known() -> list[str]:
    claims = ("delta_percent[_vs_X]", "better_percent_vs_X", "delta_vs_X")
    return [*METRICS, *claims, "<metric>_bold", "<metric>_arrow"]


def _refuse(source: str | Path, what: str, found: list[str], expected: list[str]) -> None:
    """Raise a ValueError that lists what was found, if anything was."""
    if found:
        expected = ", ".join(expected)
        raise ValueError(f"{source}: {what}: {listed(found, MANY)}; expected {expected}")
