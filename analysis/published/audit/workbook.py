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
    finding,
    verdict_of,
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


def workbook() -> pd.DataFrame:
    """Return GRAPE's baseline visit, one row per eye.

    Raises
    ------
    FileNotFoundError
        When the raw files are not there.
    """
    return read_baseline(workbook_path())


def workbook_path() -> Path:
    """Return where GRAPE's workbook lies; a FileNotFoundError says where to put it."""
    return next(grape.find_source().glob(grape.WORKBOOK.replace(" ", "?")))


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


def counts(results: Sequence[Cell], eyes: pd.DataFrame | None) -> Iterator[Finding]:
    """Check ``n_eyes``: of GRAPE against the workbook, of anything else not at all."""
    for cell in results:
        if "n_eyes" not in cell.numbers:
            continue
        told = cell.numbers["n_eyes"]
        claim = f"{cell.table or cell.name}: {told} eyes"
        given = {"published": told, "unit": "eyes"}
        if cell.table != TABLE or eyes is None:
            reason = ABSENT if cell.table == TABLE else "no data set to count is known for it"
            yield finding(cell, "count", claim, OPEN, **given, detail=reason)
            continue
        n = Number(len(evaluable(eyes)), 0, 0)
        given |= {"recomputed": n, "reading": "eyes whose four quadrants are all measured"}
        detail = f"{n} of the {len(eyes)} eyes in the workbook"
        verdict = verdict_of(told, n)
        if len(eyes) < ALL_EYES:
            detail += f", which is a part of GRAPE ({ALL_EYES} eyes)"
            verdict = FAILS if n.value > told.high else OPEN
        yield finding(cell, "count", claim, verdict, **given, detail=detail)


def constants(results: Sequence[Cell], eyes: pd.DataFrame | None) -> Iterator[Finding]:
    """Compare GRAPE's published errors with predicting the mean of its eyes for everybody."""
    here = [cell for cell in results if cell.table == TABLE]
    if not any(name.startswith("mae_") for cell in here for name in cell.numbers):
        return
    if eyes is None:
        claim = "the errors on GRAPE are below those of a constant"
        yield finding(Cell("", TABLE, "", "", {}), "GRAPE constant", claim, OPEN, detail=ABSENT)
        return
    errors, n = constant_errors(eyes), len(evaluable(eyes))
    part = f", a part of GRAPE's {ALL_EYES} eyes" if len(eyes) < ALL_EYES else ""
    reading = f"the mean of {n} evaluable eyes (workbook of {len(eyes)}{part}); {KNOWS}"
    for cell in here:
        for name, told in cell.numbers.items():
            if name not in errors:
                continue
            found = Number(errors[name], 0.0, 2)
            which = "global (average of the quadrants)" if name == "mae_global" else name[-1]
            claim = f"{cell.name}: MAE {told} µm, {which}, beats predicting GRAPE's mean"
            verdict = HOLDS if told.low < found.value else FAILS
            detail = ""
            if name == "mae_global":
                detail = f"the mean thickness itself: {errors['mae_of_mean']:.2f} µm"
            numbers = {"published": told, "recomputed": found, "reading": reading}
            yield finding(cell, "GRAPE constant", claim, verdict, **numbers, detail=detail)
