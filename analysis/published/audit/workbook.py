"""What GRAPE's own table says of numbers published about it: how many eyes, what a constant scores.

The workbook is read where its files are at hand (see :mod:`rnfl.datasets.grape`); without them
these claims cannot be checked, and say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.published.audit.cells import (
    CLAIM,
    DOUBTFUL,
    FAILS,
    HOLDS,
    OPEN,
    SECTORS,
    YARDSTICK,
    Cell,
    Finding,
    Number,
    entries,
    finding,
)
from rnfl.core.geometry import QUADRANTS
from rnfl.datasets import grape
from rnfl.datasets.grape.workbook import read_baseline

TABLE, TEST_SET = "grape", "GRAPE"
STEP = 0.1  # µm between the constants that are tried
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


def counts(results: Sequence[Cell], eyes: pd.DataFrame | None) -> Iterator[Finding]:
    """Check stated numbers of eyes: of GRAPE against the workbook, of anything else not at all."""
    for cell in (one for one in results if one.has("n_eyes")):
        told = cell.numbers["n_eyes"]
        claim = f"{cell.table or cell.name}: {told} eyes"
        if cell.test_set != TEST_SET or eyes is None:
            reason = ABSENT if cell.test_set == TEST_SET else "no data set to count is known for it"
            yield finding(cell, "count", claim, told, unit="eyes", detail=reason)
            continue
        n = Number(len(evaluable(eyes)), 0, 0)
        detail, verdict = f"{n} of the {len(eyes)} eyes in the workbook", None
        if len(eyes) < ALL_EYES:
            detail += f", which is a part of GRAPE ({ALL_EYES} eyes)"
            verdict = FAILS if n.value > told.high else OPEN
        given = {"verdict": verdict, "unit": "eyes", "detail": detail}
        reading = "eyes whose four quadrants are all measured"
        yield finding(cell, "count", claim, told, n, reading, **given)


def constants(results: Sequence[Cell], eyes: pd.DataFrame | None) -> Iterator[Finding]:
    """Ask what a constant makes of the numbers published about GRAPE."""
    here = [cell for cell in results if cell.test_set == TEST_SET]
    errors = [one for one in entries(here) if one[1] in (*SECTORS, "mae_global")]
    if errors and eyes is None:
        claim = "the errors on GRAPE are below those of a constant"
        yield finding(Cell(table=TABLE), "GRAPE constant", claim, detail=ABSENT)
    elif errors:
        yield from _constants(errors, eyes)
        yield from _nearly_constant(here, eyes)


def _constants(told: list[tuple[Cell, str, Number]], eyes: pd.DataFrame) -> Iterator[Finding]:
    """Compare GRAPE's published errors with predicting the mean of its eyes for everybody."""
    errors, n = constant_errors(eyes), len(evaluable(eyes))
    part = f", a part of GRAPE's {ALL_EYES} eyes" if len(eyes) < ALL_EYES else ""
    reading = f"the mean of {n} evaluable eyes (workbook of {len(eyes)}{part}); {KNOWS}"
    for cell, metric, mae in told:
        found, which, detail = Number(errors[metric], 0.0, 2), metric[-1], ""
        if metric == "mae_global":
            which = "global (average of the quadrants)"
            detail = f"the mean thickness itself: {errors['mae_of_mean']:.2f} µm"
        claim = f"{cell.name}: MAE {mae} µm, {which}, beats predicting GRAPE's mean"
        holds = mae.low < found.value
        yield finding(cell, "GRAPE constant", claim, mae, found, reading, detail, holds=holds)


def _nearly_constant(results: Sequence[Cell], eyes: pd.DataFrame) -> Iterator[Finding]:
    """Ask whether predictions of a stated flat σ can have the stated quadrant errors.

    They differ from their own mean c by σ (root mean square over eyes and quadrants), so that each
    quadrant's error differs from that of the constant c by no more than its own share of it: over
    the quadrants, the root mean square of those differences is at most σ, for one c at least.
    """
    measured = evaluable(eyes)
    truth = measured[[f"rnfl_{name}" for name in QUADRANTS]].to_numpy()
    constants = np.arange(truth.min(), truth.max(), STEP)
    of_constant = np.array([np.abs(truth - c).mean(axis=0) for c in constants])
    for cell in results:
        if not cell.has("sigma", *SECTORS):
            continue
        told = [cell.numbers[f"mae_{name}"].value for name in QUADRANTS]
        off = np.sqrt(((of_constant - told) ** 2).mean(axis=1))
        best, sigma = int(off.argmin()), cell.numbers["sigma"]
        claim = f"{cell.name}: predictions with σ {sigma} µm can have these quadrant errors"
        scores = zip(QUADRANTS, of_constant[best], strict=True)
        listed = ", ".join(f"{name} {x:.1f}" for name, x in scores)
        detail = f"the nearest constant, {constants[best]:.0f} µm, scores {listed}"
        reading = f"σ flat: predictions lie {sigma} µm about one number for every eye and angle; "
        reading += f"{len(measured)} evaluable eyes of the workbook"
        least = Number(float(off[best]), STEP, 2)
        verdict = HOLDS if least.low <= sigma.high else DOUBTFUL
        yield finding(cell, "GRAPE spread", claim, sigma, least, reading, detail, verdict=verdict)


CHECKS = {CLAIM: counts, YARDSTICK: constants}
