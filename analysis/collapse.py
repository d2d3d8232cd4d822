"""Template collapse: does a model predict eyes, or one shared profile for every eye? (Figure 2)

The published spread ``sigma_flat`` is large for any double hump, so a model that repeats one
template looks healthy. ``sigma_between`` is what collapses; ``calibration_slope`` says whether the
differences between eyes that a model does predict are of the right size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.cells import BY, NO_BACKBONE, Cell, cells, estimate, load_run, row
from analysis.moments import MetricFunction
from rnfl import metrics

TARGET = "target"  # protocol of the rows that describe the measured profiles themselves


def _measured(pred: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pred, target = np.asarray(pred, float), np.asarray(target, float)
    missing = ~np.isfinite(target)
    return np.where(missing, np.nan, pred), np.where(missing, np.nan, target)


def calibration_slope(pred: np.ndarray, target: np.ndarray) -> float:
    """Return the slope of true on predicted deviations from the mean profile (ours).

    Both deviate from their own mean over eyes at each angle; all angles share one slope. 1 means
    that predicted differences between eyes are right on average, below 1 that they are too bold,
    above 1 too timid. NaN for a template, which predicts no difference.

    Parameters
    ----------
    pred, target : ndarray (n, 360), µm, NaN in targets where missing
    """
    pred, target = _measured(pred, target)
    x, y = (values - metrics.template_profile(values) for values in (pred, target))
    if metrics.sigma_between(pred) == 0:
        return float("nan")
    return float(np.nansum(x * y) / np.nansum(x**2))


def template_share(pred: np.ndarray, target: np.ndarray) -> float:
    """Return the share of the predictions' variance that one shared profile explains (ours).

    ``sigma_template² / sigma_flat²``: 1 for a template. That of the targets is the one to compare.

    Parameters
    ----------
    pred, target : ndarray (n, 360), µm, NaN in targets where missing
    """
    pred, _ = _measured(pred, target)
    flat = metrics.sigma_flat(pred)
    return (metrics.sigma_template(pred) / flat) ** 2 if flat > 0 else float("nan")


COLLAPSE: dict[str, MetricFunction] = {
    **{name: metrics.METRICS[name] for name in ("sigma_between", "sigma_flat", "sigma_template")},
    "sigma_ratio": metrics.sigma_ratio,
    "calibration_slope": calibration_slope,
    "template_share": template_share,
}
DEFINITIONS: dict[str, MetricFunction] = {**metrics.METRICS, **COLLAPSE}


def collapse_table(
    predictions: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    by: Sequence[str] = BY,
    n_boot: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the measures of collapse of each cell, of the baselines and of the targets.

    Parameters
    ----------
    predictions, runs, by
        As in :func:`analysis.cells.cells`.

    Returns
    -------
    DataFrame
        Long: columns ``by``, metric, attribute, group, estimate, low, high, n, n_seeds, seed_sd.
        The targets are a row per metric with protocol ``target``.
    """
    table = list(cells(predictions, runs, by))
    truth = table[0].runs[0]
    filled = np.where(np.isfinite(truth.target), truth.target, 0.0)  # masked again by the target
    key = {**dict.fromkeys(by, NO_BACKBONE), by[-1]: TARGET}
    table.append(Cell(key, (replace(truth, prediction=filled),)))
    return pd.DataFrame(
        [
            row(cell.key, metric, *values, cell.n, seed)
            for cell in table
            for metric, values in estimate(cell, COLLAPSE, n_boot, seed).items()
        ]
    )


def curves_table(
    predictions: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    backbone: str | None = None,
    protocols: Sequence[str] | None = None,
    n_eyes: int = 30,
    seed: int = 0,
) -> pd.DataFrame:
    """Return profiles of the same eyes under each protocol, for drawing them over each other.

    Parameters
    ----------
    predictions, runs
        As in :func:`analysis.cells.cells`, with ``template`` among the predictions. The first run
        of each cell is shown.
    backbone : str, optional
        By default that of the first cell.
    protocols : sequence of str, optional
        By default all of that backbone.
    n_eyes : int
        Eyes drawn at random without regard to their predictions; all when there are fewer.

    Returns
    -------
    DataFrame
        backbone, protocol, panel ('eye 1' ...), prediction, target, template (lists of 360, µm).
    """
    shown = [cell for cell in cells(predictions, runs) if cell.key["backbone"] != NO_BACKBONE]
    names = list(dict.fromkeys(cell.key["backbone"] for cell in shown))
    backbone = backbone or (names[0] if names else None)
    if backbone not in names:
        raise ValueError(f"backbone {backbone!r}: predicted are {', '.join(names)}")
    template = load_run(predictions, "template").prediction[0]
    rows = []
    for cell in shown:
        if cell.key["backbone"] != backbone or (
            protocols is not None and cell.key["protocol"] not in protocols
        ):
            continue
        run = cell.runs[0]
        eyes = np.random.default_rng(seed).permutation(cell.n)[:n_eyes]
        rows += [
            {
                **cell.key,
                "panel": f"eye {k + 1}",
                "prediction": run.prediction[i].astype(np.float32),
                "target": run.target[i].astype(np.float32),
                "template": template.astype(np.float32),
            }
            for k, i in enumerate(eyes)
        ]
    return pd.DataFrame(rows)
