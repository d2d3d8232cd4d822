"""The audit of a table of results: every derived claim recomputed from the numbers beside it.

The same engine reads the paper's tables (:func:`analysis.published.load`) and anybody's own
(:func:`audit_file`). Nothing it says is stored: change a number and its verdict changes. A verdict
allows for the rounding of what was printed, see :mod:`analysis.published.audit.cells`, and names
the reading it rests on.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from analysis import published
from analysis.published.audit import claims, consistency, limits, workbook
from analysis.published.audit.cells import Cell, Finding, cells, frame
from analysis.published.audit.input import check_results, read_results
from analysis.published.audit.text import condense, format_audit, quantity
from rnfl.storage.provenance import sha256_file

__all__ = [
    "audit",
    "audit_file",
    "condense",
    "errors",
    "format_audit",
    "freezing_points",
    "inputs",
    "quantity",
    "read_results",
]

CHECKS = (
    claims.comparisons,
    claims.lines,
    claims.averages,
    consistency.best,
    consistency.contradictions,
    consistency.repeats,
    limits.constant_bound,
    limits.offsets,
    limits.spreads,
    limits.possible,
)


def audit(results: pd.DataFrame, grape: pd.DataFrame | None = None) -> pd.DataFrame:
    """Recompute every claim of a table of results that can be recomputed.

    Parameters
    ----------
    results : DataFrame
        Long: edition, table, backbone, protocol, metric, value, and if known plus_minus and digits
        (printed decimals), as from :func:`analysis.published.load` or :func:`read_results`.
    grape : DataFrame, optional
        GRAPE's eyes with ``rnfl_S`` ... ``rnfl_T`` (µm), for a table named ``grape``. By default
        the workbook is read where it is at hand.

    Returns
    -------
    DataFrame
        One row per finding: check, edition, table, cell, claim, published, recomputed, verdict
        ('does not hold', 'contradiction', 'doubtful', 'cannot be checked', 'holds'), reading (the
        assumption the verdict rests on), detail, low and high (what rounding of the inputs lets the
        recomputed number be), digits, unit.

    Raises
    ------
    ValueError
        For a table that lacks columns, repeats a cell or holds an unknown metric.
    """
    table = cells(check_results(results))
    if grape is None and any(cell.table == workbook.TABLE for cell in table):
        grape = _workbook()
    return frame(_findings(table, grape))


def _findings(table: list[Cell], grape: pd.DataFrame | None) -> Iterator[Finding]:
    for check in CHECKS:
        yield from check(table)
    yield from workbook.counts(table, grape)
    yield from workbook.constants(table, grape)


def _workbook() -> pd.DataFrame | None:
    try:
        return workbook.workbook()
    except FileNotFoundError:
        return None


def inputs() -> dict[str, str]:
    """Return the files that the audit of the paper reads, by name, with their SHA-256.

    GRAPE's workbook is among them where it is at hand.
    """
    files = {f"published/{name}.csv": published.FOLDER / f"{name}.csv" for name in published.TABLES}
    try:
        files["grape workbook"] = workbook.workbook_path()
    except FileNotFoundError:
        pass
    return {name: sha256_file(path) for name, path in files.items()}


def audit_file(path: str | Path) -> pd.DataFrame:
    """Read a CSV of results (``input.read_results``) and audit it."""
    return audit(read_results(path))


def freezing_points(results: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the points of the freezing table and its lines, for a figure.

    Returns
    -------
    points : DataFrame
        edition, backbone, protocol, percent_frozen (%), mae (µm).
    lines : DataFrame
        edition, backbone, kind ('stated', 'refitted'), intercept, slope_per_10, r_squared.
    """
    table = cells(check_results(results))
    names = ["edition", "backbone", "protocol", "percent_frozen", "mae"]
    rows = [
        (
            c.edition,
            c.backbone,
            c.protocol,
            c.numbers["percent_frozen"].value,
            c.numbers["mae"].value,
        )
        for some in claims.points(table).values()
        for c in some
    ]
    return pd.DataFrame(rows, columns=names), claims.fitted(table)


def errors(results: pd.DataFrame, findings: pd.DataFrame) -> pd.DataFrame:
    """Return every published MAE beside the constant it is compared with, for a figure.

    Returns
    -------
    DataFrame
        edition, table, backbone, protocol, mae (µm; on GRAPE the average of the quadrants), and
        constant (µm): σ_true, or on GRAPE the MAE of its own mean; NaN where there is neither.
    """
    checks = findings[findings["check"].isin(["constant bound", "GRAPE constant"])]
    rows = []
    for cell in cells(check_results(results)):
        mae = cell.numbers.get("mae", cell.numbers.get("mae_global"))
        if mae is None:
            continue
        same = (checks["edition"] == cell.edition) & (checks["table"] == cell.table)
        same &= (checks["cell"] == cell.name) & (checks["published"] == mae.value)
        bound = checks.loc[same, "recomputed"]
        constant = float(bound.iloc[0]) if len(bound) else float("nan")
        rows.append((cell.edition, cell.table, cell.backbone, cell.protocol, mae.value, constant))
    columns = ["edition", "table", "backbone", "protocol", "mae", "constant"]
    return pd.DataFrame(rows, columns=columns)
