"""P-values: of two models on the same eyes, and of several questions asked of the same data.

Were two models alike, whose prediction is whose would not matter. So the p-value of a difference is
two-sided and comes from exchanging the two models' predictions of whole patients at random; of a
difference of means that is a flip of the signs of patients' sums. With several seeds their noise is
added to that null, as it is to the interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from analysis.resampling.bootstrap import (
    Resampling,
    RunNoise,
    patient_sums,
    seed_noise,
    weighted_totals,
)
from analysis.resampling.conditions import row
from analysis.resampling.scales import calibrated
from rnfl.core.nanstats import divide


def holm(p: Sequence[float]) -> np.ndarray:
    """Return Holm's step-down adjusted p-values over one family; NaN stays NaN and is not counted.

    Source: Holm, Scand J Stat 1979.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    # statsmodels' multipletests, the oracle of its test, runs the garbage collector in every call:
    # tens of milliseconds, which thousands of simulated studies would wait for.
    p = np.asarray(p, float)
    adjusted = np.full(len(p), np.nan)
    rank = np.argsort(p)[: np.isfinite(p).sum()]
    scaled = p[rank] * np.arange(len(rank), 0, -1)
    adjusted[rank] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted


def exchanges(n_patients: int, resampling: Resampling) -> np.ndarray:
    """Return which patients' predictions are exchanged, (n_perm, P), 0 or 1."""
    rng, shape = np.random.default_rng([resampling.seed, 1]), (resampling.n_perm, n_patients)
    return rng.integers(0, 2, shape).astype(np.int8)


def compared_row(
    key: Mapping[str, str],
    metric: str,
    estimates: np.ndarray,
    replicates: np.ndarray,
    null: np.ndarray,
    n: int,
    resampling: Resampling,
    *place: str,
    noise: RunNoise | None = None,
) -> dict[str, object]:
    """Return a row of :func:`analysis.resampling.conditions.row` with its p.

    ``estimates`` (k,) are differences by seed, ``null`` (n_perm,) their mean under exchanges.
    """
    made = row(key, metric, estimates, replicates, n, resampling, *place, noise=noise)
    effect, luck = abs(made["estimate"]), seed_noise(estimates, len(null), resampling.seed, noise)
    extreme = np.count_nonzero(np.abs(null + luck) >= effect * (1 - 1e-9))
    p = (extreme + 1) / (len(null) + 1) if np.isfinite(effect) else float("nan")
    return {**made, "p": p}


def mean_difference_row(
    key: Mapping[str, str],
    metric: str,
    differences: np.ndarray,
    codes: np.ndarray,
    resampling: Resampling,
    *place: str,
) -> dict[str, object]:
    """Return the same for the mean over eyes of differences (k, n_eyes), NaN where not measured.

    ``codes`` (n_eyes,) is the place of each eye's patient.
    """
    measured = np.isfinite(differences).all(axis=0)
    sums = patient_sums(np.where(measured, differences, 0.0).T, codes)  # (P, k)
    eyes, n = patient_sums(measured[:, None].astype(float), codes), int(measured.sum())
    counts = resampling.counts(len(eyes))
    estimates = sums.sum(axis=0) / n
    drawn = divide(weighted_totals(counts, sums), weighted_totals(counts, eyes)).T
    drawn = calibrated("difference", estimates[:, None], drawn, len(eyes))
    total = sums.mean(axis=1)
    null = (total.sum() - 2 * (exchanges(len(eyes), resampling) @ total)) / n
    return compared_row(key, metric, estimates, drawn, null, n, resampling, *place)
