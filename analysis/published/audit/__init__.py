"""The audit of a table of results: every derived claim recomputed from the numbers beside it.

The same engine reads the paper's tables (:func:`analysis.published.load`) and anybody's own
(:func:`audit_file`). Nothing it says is stored: change a number and its verdict changes. A verdict
allows for the rounding of what was printed, see :mod:`analysis.published.audit.cells`, and names
the reading it rests on.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis import published
from analysis.published.audit import workbook
from analysis.published.audit.cells import COLUMNS, cells
from analysis.published.audit.checks import CHECKS
from analysis.published.audit.input import check_results, read_results
from analysis.published.audit.text import condense, format_audit, together
from rnfl.storage.provenance import sha256_file


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
        One row per finding: kind ('claim' of the table, 'consistency' of its numbers, or
        'yardstick' of ours), check, edition (both where both print the same), table, cell, claim,
        published, recomputed, verdict ('does not hold', 'contradiction', 'doubtful', 'cannot be
        checked', 'holds'), reading (the assumption the verdict rests on), detail, low and high
        (what rounding of the inputs lets the recomputed number be), digits and published_digits
        (decimals to show), unit.

    Raises
    ------
    ValueError
        For a table that lacks columns, repeats a cell or holds an unknown metric.
    """
    table = cells(check_results(results))
    if grape is None and any(cell.table == workbook.TABLE for cell in table):
        grape = workbook.workbook()
    found = [
        *((kind, check(table)) for kind, checks in CHECKS.items() for check in checks),
        *((kind, check(table, grape)) for kind, check in workbook.CHECKS.items()),
    ]
    rows = [{**one, "kind": kind} for kind, findings in found for one in findings]
    findings = pd.DataFrame(rows, columns=COLUMNS)
    # One row for what several editions print alike; its ``edition`` names them all.
    same = [*("check", "table", "cell", "claim", "published", "recomputed", "verdict", "reading")]
    editions = findings.groupby(same, sort=False, dropna=False)["edition"].transform(together)
    return findings.assign(edition=editions).drop_duplicates(same).reset_index(drop=True)


def inputs() -> dict[str, str]:
    """Return the files that the audit of the paper reads, by name, with their SHA-256.

    GRAPE's workbook is among them where it is at hand.
    """
    files = {f"published/{name}.csv": published.FOLDER / f"{name}.csv" for name in published.TABLES}
    if path := workbook.workbook_path():
        files["grape workbook"] = path
    return {name: sha256_file(path) for name, path in files.items()}


def audit_file(path: str | Path) -> pd.DataFrame:
    """Read a CSV of results (:mod:`analysis.published.audit.input` says which) and audit it."""
    return audit(read_results(path))


def errors(results: pd.DataFrame, findings: pd.DataFrame) -> pd.DataFrame:
    """Return every published MAE beside the constant it is compared with, for a figure.

    Returns
    -------
    DataFrame
        edition, table, backbone, protocol, mae (µm; on GRAPE the average of the quadrants),
        constant (µm): σ_true, or on GRAPE the MAE of its own mean; NaN where there is neither; and
        the reading that the comparison rests on.
    """
    compared = findings[findings["check"].isin(["constant bound", "GRAPE constant"])]
    keys = ["table", "cell", "published"]
    compared = compared.dropna(subset="published").drop_duplicates(keys).set_index(keys)
    constants = compared[["recomputed", "reading"]].T.to_dict("list")
    rows = []
    for cell in cells(check_results(results)):
        if mae := cell.first("mae", "mae_global"):
            constant = constants.get((cell.table, cell.name, mae.value), [float("nan"), ""])
            place = cell.edition, cell.table, cell.backbone, cell.protocol
            rows.append((*place, mae.value, *constant))
    columns = ["edition", "table", "backbone", "protocol", "mae", "constant", "reading"]
    return pd.DataFrame(rows, columns=columns)
