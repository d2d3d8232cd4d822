"""Error against thickness: are thin places predicted too thick, and thick ones too thin?

A model that is unsure predicts something near the average. Binned by the label, thin places then
come out too thick and thick ones too thin (regression to the mean), which hides disease. Binning by
a noisy label shows a little of that for the truth itself too, see the oracle floor.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from analysis.resampling import DEFAULT, Resampling
from analysis.resampling.conditions import Run, conditions
from analysis.resampling.regions import (
    CIRCLE,
    Sums,
    group_row,
    on_scale,
    patient_weights,
    region_means,
    weighted_sums,
)
from rnfl.core.geometry import QUADRANTS
from rnfl.core.nanstats import BLOCK, divide

# Bins of the label's thickness, µm (ours): at each angle, of quadrant means, of global means.
EDGES: dict[str, tuple[float, ...]] = {
    "local": (40, 60, 80, 100, 120, 140, 160),
    "quadrant": (50, 60, 70, 80, 90, 100, 110, 120, 130),
    "global": (50, 60, 70, 80, 90, 100, 110),
}
TOTALS = {"thickness": "t", "mae": "e", "bias": "d"}


def bin_names(edges: Sequence[float]) -> list[str]:
    """Return the names of the bins below, between and above edges.

    Examples
    --------
    >>> bin_names([40, 60])
    ['<40', '40–60', '≥60']
    """
    inner = [f"{low:g}–{high:g}" for low, high in pairwise(edges)]
    return [f"<{edges[0]:g}", *inner, f"≥{edges[-1]:g}"]


def thickness_table(
    predictions: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    resampling: Resampling = DEFAULT,
    level: str = "local",
    edges: Sequence[float] | None = None,
) -> pd.DataFrame:
    """Return error and bias in bins of the label's thickness.

    Parameters
    ----------
    predictions, runs
        As in :func:`analysis.resampling.conditions.conditions`.
    level : {'local', 'quadrant', 'global'}
        What is binned: each angle, each quadrant mean, or each eye's mean.
    edges : sequence of float, optional
        Rising edges of the bins, µm; by default :data:`EDGES`.

    Returns
    -------
    DataFrame
        Long: backbone, protocol, metric ('thickness', the bin's mean label; 'mae'; 'bias',
        predicted minus label; µm), attribute ``level``, group (the bin), estimate, low, high, n
        (eyes with a value in the bin), n_seeds, seed_sd. NaN below 10 eyes.

    Raises
    ------
    ValueError
        For an unknown level, or edges that do not rise.
    """
    if level not in EDGES:
        raise ValueError(f"level {level!r}: expected one of {', '.join(EDGES)}")
    edges = EDGES[level] if edges is None else tuple(edges)
    if not edges or any(a >= b for a, b in pairwise(edges)):
        raise ValueError(f"edges {edges}: expected rising thicknesses in µm")
    rows = []
    for condition in conditions(predictions, runs):
        weights = patient_weights(condition, resampling)
        values = [_values(run, level) for run in condition.runs]
        label = values[0][1]
        places = np.where(np.isfinite(label), np.digitize(label, edges), -1).astype(np.int8)
        for place, group in enumerate(bin_names(edges)):
            inside = places == place
            sums = [
                weighted_sums(run, weights, _binned(pred, true, inside))
                for run, (pred, true) in zip(condition.runs, values, strict=True)
            ]
            n = int(inside.any(axis=1).sum())
            for metric, total in TOTALS.items():
                means = np.stack([divide(s[total], s["n"]) for s in sums])
                means = on_scale(metric, means, condition.n_patients)
                rows.append(group_row(condition, metric, means, n, resampling, level, group))
    return pd.DataFrame(rows)


def _values(run: Run, level: str) -> tuple[np.ndarray, np.ndarray]:
    """Return predicted and measured values (n, k) at a level, µm."""
    if level == "local":
        return run.prediction, run.target
    return region_means(run, QUADRANTS if level == "quadrant" else CIRCLE)


def _binned(pred: np.ndarray, true: np.ndarray, inside: np.ndarray) -> Sums:
    """Return each eye's count (n), label (t), difference (d) and error (e), summed over a bin."""
    sums = np.empty((4, len(inside)))
    for start in range(0, len(inside), BLOCK):
        rows = slice(start, start + BLOCK)
        there = inside[rows]
        d, t = (np.where(there, v, 0.0) for v in (pred[rows] - true[rows], true[rows]))
        for total, values in zip(sums, (there, t, d, np.abs(d)), strict=True):
            total[rows] = values.sum(axis=1)
    return dict(zip("ntde", sums, strict=True))
