"""Finding thinned sectors: sensitivity at a fixed specificity, and AUC.

A sector is *thinned* when its label lies below the 5th percentile of healthy eyes, the limit that
OCT devices colour red or yellow. The limit is **not adjusted for age**, which devices do adjust
for: an old healthy eye is thinned a little more often here (ours).

The score is the predicted sector mean, over all its angles. Its threshold is the one that flags as
many thinned eyes as possible while at least 95 % of the others pass, chosen on the evaluated eyes
themselves, and again in every resample of patients, so that the interval covers the choice. The
limit of the healthy eyes is held fixed. A template gives every eye the same score: it flags nobody,
and its AUC is 0.5.

``sensitivity_as_read`` needs no choice: the prediction is read against the healthy limit as if it
were a measurement. What regression to the mean costs is seen there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.resampling import DEFAULT, Resampling
from analysis.resampling.conditions import Condition, Run, conditions, row
from analysis.resampling.regions import BY_SECTOR, MIN_EYES, on_scale, patient_weights
from rnfl.core.geometry import N_ANGLES, sector_means
from rnfl.core.nanstats import divide

SPECIFICITY = 0.95
PERCENTILE = 5.0
METRICS = ("sensitivity", "auc", "sensitivity_as_read", "specificity_as_read")
ROUNDING = 1e-6  # of a sum of weights
AT_ONCE = 4_000_000  # weights that are sorted at once


def healthy_profiles(
    samples: pd.DataFrame, profiles: np.ndarray, split: str | None = "train"
) -> np.ndarray:
    """Return the measured profiles of healthy eyes, the reference for thinning.

    Parameters
    ----------
    samples : DataFrame
        One row per profile, in the same order, with ``severity`` and ``split``.
    profiles : ndarray (N, 360), µm
    split : str, optional
        Eyes of this split only; never the one that is evaluated. None takes all.

    Returns
    -------
    ndarray (m, 360), µm

    Raises
    ------
    ValueError
        When samples and profiles differ in number, or no eye is known to be healthy.
    """
    if len(samples) != len(profiles):
        raise ValueError(f"{len(samples)} samples, {len(profiles)} profiles: expected as many")
    known = "severity" in samples
    healthy = np.array(samples["severity"] == "healthy") if known else np.zeros(len(samples), bool)
    if split is not None:
        healthy = healthy & np.array(samples["split"] == split)
    if not healthy.any():
        where = "" if split is None else f" in split {split!r}"
        raise ValueError(
            f"no eye with severity 'healthy'{where}: give thinning_table profiles of healthy eyes "
            "measured elsewhere as its reference"
        )
    return np.asarray(profiles)[healthy]


def limits(reference: np.ndarray, percentile: float = PERCENTILE) -> dict[str, tuple[float, int]]:
    """Return the limit of each region in µm and how many reference eyes it rests on.

    NaN below 10 of them.

    Parameters
    ----------
    reference : ndarray (m, 360), µm, NaN where missing
        Healthy eyes.
    percentile : float

    Raises
    ------
    ValueError
        When the reference is not (m, 360).
    """
    reference = np.asarray(reference, float)
    if reference.ndim != 2 or reference.shape[1] != N_ANGLES:
        raise ValueError(f"reference of shape {reference.shape}: expected profiles (m, 360)")
    means = sector_means(reference, BY_SECTOR)
    there = np.isfinite(means).sum(axis=0)
    known = [
        np.nanpercentile(column, percentile) if n >= MIN_EYES else np.nan
        for column, n in zip(means.T, there, strict=True)
    ]
    return {name: (float(known[j]), int(there[j])) for j, name in enumerate(BY_SECTOR)}


def detect(
    score: np.ndarray, thinned: np.ndarray, weights: np.ndarray, specificity: float = SPECIFICITY
) -> tuple[np.ndarray, np.ndarray]:
    """Return sensitivity at a specificity, and AUC, under rows of weights of eyes.

    Parameters
    ----------
    score : ndarray (n,)
        Low means thinned.
    thinned : ndarray (n,) of bool
    weights : ndarray (n_rows, n)
        How often each eye counts.
    specificity : float
        At least this share of the others is not flagged.

    Returns
    -------
    sensitivity, auc : ndarray (n_rows,)
        NaN in rows without a thinned eye, or without another.

    Examples
    --------
    >>> detect(np.array([1, 3, 2, 4]), np.array([True, True, False, False]), np.ones((1, 4)))
    (array([0.5]), array([0.75]))
    """
    if weights.size > AT_ONCE and len(weights) > 1:
        halves = [detect(score, thinned, half, specificity) for half in np.array_split(weights, 2)]
        return tuple(np.concatenate(parts) for parts in zip(*halves, strict=True))
    order = np.argsort(score, kind="stable")
    ends = np.flatnonzero(np.diff(score[order], append=np.inf) > 0)  # equal scores are one step
    drawn = np.take(weights, order, axis=1)  # row by row in memory, as the sums go
    found = np.cumsum(drawn * thinned[order], axis=1)
    alarms = (np.cumsum(drawn, axis=1) - found)[:, ends]
    found = found[:, ends]
    n_positive, n_negative = (sums[:, -1].astype(float) for sums in (found, alarms))
    steps = (alarms <= ((1 - specificity) * n_negative + ROUNDING)[:, None]).sum(axis=1)
    best = np.where(steps > 0, found[np.arange(len(found)), steps - 1], 0)
    # Of the others, those that score higher than a thinned eye, and half of those that tie.
    beaten = n_negative[:, None] - (alarms + np.pad(alarms[:, :-1], ((0, 0), (1, 0)))) / 2
    pairs = np.einsum("ij,ij->i", np.diff(found, axis=1, prepend=0), beaten, dtype=float)
    return divide(best, n_positive * (n_negative > 0)), divide(pairs, n_positive * n_negative)


def thinning_table(
    predictions: pd.DataFrame,
    reference: np.ndarray,
    runs: pd.DataFrame | None = None,
    resampling: Resampling = DEFAULT,
    specificity: float = SPECIFICITY,
    percentile: float = PERCENTILE,
) -> pd.DataFrame:
    """Return how well each condition finds thinned sectors, and a thinned mean over the circle.

    Parameters
    ----------
    predictions, runs
        As in :func:`analysis.resampling.conditions.conditions`.
    reference : ndarray (m, 360), µm
        Profiles of healthy eyes, none of them evaluated here: :func:`healthy_profiles`.
    specificity : float
        Share of eyes not thinned that must pass.
    percentile : float
        Of the reference below which a sector is thinned.

    Returns
    -------
    DataFrame
        Long: backbone, protocol, metric, attribute 'sector', group ('global' and the six
        Garway-Heath sectors), estimate, low, high, n, n_seeds, seed_sd. Metrics: ``sensitivity``,
        ``auc``, ``sensitivity_as_read`` (n: thinned eyes), ``specificity_as_read`` (n: the others),
        ``thinned`` (their share; n: eyes), ``limit`` (µm; n: reference eyes) and ``specificity``
        (as asked for). Below 10 thinned eyes, or 10 others, the first four are NaN.

    Raises
    ------
    ValueError
        For a specificity or percentile out of range, or a reference that is not one.
    """
    if not (0 < specificity < 1 and 0 < percentile < 100):
        raise ValueError(
            f"specificity {specificity}, percentile {percentile}: expected a share between 0 and "
            "1, and a percentile between 0 and 100"
        )
    limit = limits(reference, percentile)
    rows = []
    for condition in conditions(predictions, runs):
        weights = patient_weights(condition, resampling).astype(np.float32)  # counts fit exactly
        weights = weights[:, condition.runs[0].codes]
        means = [_means(run) for run in condition.runs]
        for j, region in enumerate(BY_SECTOR):
            pairs = [(pred[:, j], true[:, j]) for pred, true in means]
            rows += _rows(condition, region, pairs, limit[region], weights, specificity, resampling)
    return pd.DataFrame(rows)


def _means(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Return predicted and measured means (n, 7), µm: of all angles, and of those measured.

    Left to the measured angles, even a template would differ between eyes, by what is missing.
    Rounding makes equal predictions equal to the last bit.
    """
    return sector_means(run.prediction, BY_SECTOR).round(6), sector_means(run.target, BY_SECTOR)


def _rows(
    condition: Condition,
    region: str,
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    limit: tuple[float, int],
    weights: np.ndarray,
    specificity: float,
    resampling: Resampling,
) -> list[dict]:
    true, (cutoff, n_reference) = pairs[0][1], limit
    there = np.isfinite(true) & np.isfinite(cutoff)
    thinned, weights = true[there] < cutoff, weights if there.all() else weights[:, there]
    n, n_thinned = int(there.sum()), int(thinned.sum())
    share = _share(thinned, np.ones(n, bool), weights)
    values = {name: np.full((len(pairs), len(weights)), np.nan) for name in METRICS}
    if min(n_thinned, n - n_thinned) >= MIN_EYES:
        for i, (pred, _) in enumerate(pairs):
            score = pred[there]
            found = (
                *detect(score, thinned, weights, specificity),
                _share(score < cutoff, thinned, weights),
                _share(score >= cutoff, ~thinned, weights),
            )
            for name, one in zip(METRICS, found, strict=True):
                values[name][i] = one
    sizes = dict.fromkeys(METRICS, n_thinned) | {"specificity_as_read": n - n_thinned}
    values["thinned"], sizes["thinned"] = share[None], n
    for name, value, size in (("limit", cutoff, n_reference), ("specificity", specificity, n)):
        values[name], sizes[name] = np.full((1, len(weights)), value), size
    rows = []
    for name, raw in values.items():
        v = on_scale(name, raw, condition.n_patients)
        one = row(condition.key, name, v[:, 0], v[:, 1:], sizes[name], resampling, "sector", region)
        if name != "limit":  # widening and the noise of seeds can lead a share out of its range
            one["low"], one["high"] = np.clip([one["low"], one["high"]], 0, 1).tolist()
        rows.append(one)
    return rows


def _share(chosen: np.ndarray, among: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted share of eyes ``among`` which others are ``chosen`` (n_rows,)."""
    masks = np.stack([chosen & among, among], axis=1).astype(weights.dtype)  # sums stay exact
    return divide(*(weights @ masks).astype(float).T)
