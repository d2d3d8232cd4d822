"""What GRAPE's own table says of numbers published about it: how many eyes, what a constant scores.

The workbook is read where its files are at hand (see :mod:`rnfl.datasets.grape`); without them
these claims cannot be checked, and say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from analysis.published.audit.cells import (
    FAILS,
    HOLDS,
    OPEN,
    Cell,
    Finding,
    Number,
    entries,
    finding,
)
from rnfl.core.geometry import QUADRANTS
from rnfl.datasets import grape
from rnfl.datasets.grape.workbook import read_baseline

TABLE = "grape"
ALL_EYES = 263  # eyes of the complete workbook's baseline sheet (Huang et al. 2023)
ABSENT = "GRAPE's raw files are not at hand (RNFL_GRAPE or data/raw/grape; see data/README.md)"
KNOWS = (
    "that constant knows the means of the very eyes it is tested on, a transferred model does not"
)


def workbook_path() -> Path | None:
    """Return where GRAPE's workbook lies; None where its raw files are not at hand."""
    try:
        return next(grape.Grape.find_source().glob(grape.WORKBOOK.replace(" ", "?")))
    except FileNotFoundError:
        return None


def workbook() -> pd.DataFrame | None:
    """Return GRAPE's baseline visit, one row per eye; None where its files are not at hand."""
    path = workbook_path()
    return None if path is None else read_baseline(path)


def evaluable(eyes: pd.DataFrame) -> pd.DataFrame:
    """Return the eyes whose four quadrants are all measured."""
    return eyes.dropna(subset=[f"rnfl_{name}" for name in QUADRANTS])


def constant_errors(eyes: pd.DataFrame) -> dict[str, float]:
    """Return the MAE (µm) of predicting these eyes' own means.

    Returns
    -------
    dict
        ``mae_S`` ... ``mae_T``, their average ``mae_global`` (as the paper's global error), and
        ``mae_of_mean`` of the mean thickness, where it is known.
    """
    measured = evaluable(eyes)
    out = {f"mae_{name}": _spread(measured[f"rnfl_{name}"]) for name in QUADRANTS}
    out["mae_global"] = sum(out.values()) / len(out)
    out["mae_of_mean"] = _spread(measured["rnfl_mean"].dropna())
    return out


def _spread(values: pd.Series) -> float:
    return float((values - values.mean()).abs().mean())


def findings(results: Sequence[Cell], eyes: pd.DataFrame | None) -> Iterator[Finding]:
    """Yield what GRAPE's eyes, where they are at hand, say of the numbers published about them."""
    for cell, metric, told in entries(results):
        if metric == "n_eyes":
            yield _count(cell, told, eyes)
    here = [cell for cell in results if cell.table == TABLE]
    errors = [one for one in entries(here) if one[1].startswith("mae_")]
    if errors and eyes is None:
        claim = "the errors on GRAPE are below those of a constant"
        yield finding(Cell(table=TABLE), "GRAPE constant", claim, detail=ABSENT)
    elif errors:
        yield from _constants(errors, eyes)


def _count(cell: Cell, told: Number, eyes: pd.DataFrame | None) -> Finding:
    """Check a number of eyes: of GRAPE against the workbook, of anything else not at all."""
    claim = f"{cell.table or cell.name}: {told} eyes"
    if cell.table != TABLE or eyes is None:
        reason = ABSENT if cell.table == TABLE else "no data set to count is known for it"
        return finding(cell, "count", claim, told, unit="eyes", detail=reason)
    n = Number(len(evaluable(eyes)), 0, 0)
    detail, verdict = f"{n} of the {len(eyes)} eyes in the workbook", None
    if len(eyes) < ALL_EYES:
        detail += f", which is a part of GRAPE ({ALL_EYES} eyes)"
        verdict = FAILS if n.value > told.high else OPEN
    reading = "eyes whose four quadrants are all measured"
    given = {"verdict": verdict, "unit": "eyes"}
    return finding(cell, "count", claim, told, n, reading, detail, **given)


def _constants(told: list[tuple[Cell, str, Number]], eyes: pd.DataFrame) -> Iterator[Finding]:
    """Compare GRAPE's published errors with predicting the mean of its eyes for everybody."""
    errors, n = constant_errors(eyes), len(evaluable(eyes))
    part = f", a part of GRAPE's {ALL_EYES} eyes" if len(eyes) < ALL_EYES else ""
    reading = f"the mean of {n} evaluable eyes (workbook of {len(eyes)}{part}); {KNOWS}"
    for cell, metric, mae in told:
        if metric not in errors:
            continue
        found, which, detail = Number(errors[metric], 0.0, 2), metric[-1], ""
        if metric == "mae_global":
            which = "global (average of the quadrants)"
            detail = f"the mean thickness itself: {errors['mae_of_mean']:.2f} µm"
        claim = f"{cell.name}: MAE {mae} µm, {which}, beats predicting GRAPE's mean"
        verdict = HOLDS if mae.low < found.value else FAILS
        yield finding(cell, "GRAPE constant", claim, mae, found, reading, detail, verdict=verdict)
