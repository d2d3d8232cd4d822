"""Finding thinned sectors: sensitivity at a fixed specificity, and AUC.

A sector is *thinned* when its label lies below the 5th percentile of healthy eyes, the limit that
OCT devices colour red or yellow. The limit is **not adjusted for age**, which devices do adjust
for: an old healthy eye is thinned a little more often here (ours).

The score is the predicted sector mean, over all its angles. Both numbers that an eye is judged by
come from eyes that are *not* evaluated, and are held fixed: the limit from healthy eyes of the
training set, and the threshold of the score from predictions of training or validation eyes, where
it flags as many as possible while at least 95 % of those not thinned pass. What passes among the
evaluated eyes is reported beside it. A template gives every eye the same score: it flags nobody,
and its AUC, which needs no threshold, is 0.5.

``sensitivity_as_read`` needs none either: the prediction is read against the healthy limit as if it
were a measurement. What regression to the mean costs is seen there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.agreement import BY_SECTOR, GLOBAL, MIN_EYES
from analysis.resampling import DEFAULT, Resampling
from analysis.resampling.conditions import Condition, Run, conditions, load_run, row
from analysis.resampling.scales import on_scale
from rnfl.core import labels
from rnfl.core.geometry import N_ANGLES, sector_means
from rnfl.core.nanstats import divide
from rnfl.core.points import find_points
from rnfl.storage.readers import read_csv
from rnfl.storage.tables import numbers

SPECIFICITY = 0.95
PERCENTILE = 5.0
OF_OTHERS = ("specificity_reached", "specificity_as_read")
METRICS = ("sensitivity", "auc", "sensitivity_as_read", *OF_OTHERS)
ROUNDING = 1e-6  # of a sum of weights
AT_ONCE = 4_000_000  # weights that are sorted at once


def healthy_profiles(samples: pd.DataFrame, profiles: np.ndarray) -> np.ndarray:
    """Return the measured profiles (m, 360) of healthy training eyes, the reference for thinning.

    ``samples`` have one row per profile (N, 360), µm, in the same order. A ValueError when they
    differ in number, or no training eye is known to be healthy.
    """
    if len(samples) != len(profiles):
        raise ValueError(f"{len(samples)} samples, {len(profiles)} profiles: expected as many")
    known = "severity" in samples
    healthy = np.array(samples["severity"] == "healthy") if known else np.zeros(len(samples), bool)
    healthy = healthy & np.array(samples["split"] == "train")
    if not healthy.any():
        raise ValueError(
            "no eye with severity 'healthy' in split 'train': give thinning_table profiles of "
            "healthy eyes measured elsewhere as its reference"
        )
    return np.asarray(profiles)[healthy]


def read_reference(path: str | Path, do_resample: bool = False) -> np.ndarray | pd.DataFrame:
    """Return healthy eyes from a file: the ``reference.csv`` of a run, or a table of profiles.

    Parameters
    ----------
    path : Path
        CSV with the columns of :func:`rnfl.datasets.normative.band`, or with columns 0 ... 359, µm,
        one row per healthy eye that the model learnt from.
    do_resample : bool
        Whether profiles of another number of points are resampled.

    Raises
    ------
    ValueError
        When it is neither, or a value cannot be a thickness in µm.
    """
    table = read_csv(path, dtype={"kind": str, "name": str, "population": str})
    if {"kind", "name", "population", "n", "p5"} <= set(table):
        return table
    points = find_points(table, str(path), do_resample)
    if points.names:
        values = [numbers(table[name], f"{path}: {name}") for name in points.names]
        profiles = points.profiles(np.column_stack(values))
        lines = [f"line {i + 2}" for i in range(len(table))]
        labels.refuse_values(profiles, lines, str(path), True)
        return profiles
    raise ValueError(
        f"{path}: expected the reference.csv of a run, or columns 0 to 359 with one row per "
        f"healthy eye; found {', '.join(map(str, table.columns[:6]))}"
    )


def limits(
    reference: np.ndarray | pd.DataFrame, percentile: float = PERCENTILE
) -> dict[str, tuple[float, int]]:
    """Return the limit of each region in µm and how many reference eyes it rests on.

    NaN below 10 of them.

    Parameters
    ----------
    reference : ndarray (m, 360), µm, NaN where missing, or DataFrame
        Healthy eyes, or their band (:func:`rnfl.datasets.normative.band`).
    percentile : float

    Raises
    ------
    ValueError
        When the reference is not (m, 360), or a band of other eyes than healthy ones, or one
        without this percentile.
    """
    if isinstance(reference, pd.DataFrame):
        return _band_limits(reference, f"p{percentile:g}")
    reference = np.asarray(reference, float)
    if reference.ndim != 2 or reference.shape[1] != N_ANGLES:
        raise ValueError(f"reference of shape {reference.shape}: expected profiles (m, 360)")
    means = sector_means(reference, BY_SECTOR)
    found = {}
    for name, column in zip(BY_SECTOR, means.T, strict=True):
        n = int(np.isfinite(column).sum())
        found[name] = float(np.nanpercentile(column, percentile)) if n >= MIN_EYES else np.nan, n
    return found


def _band_limits(band: pd.DataFrame, column: str) -> dict[str, tuple[float, int]]:
    populations = sorted(set(band["population"]))
    if populations != ["healthy"] or column not in band:
        raise ValueError(
            f"the reference band is of {', '.join(populations)} eyes with "
            f"{', '.join(c for c in band if c[:1] == 'p' and c[1:].isdigit())}: expected healthy "
            f"eyes alone, and {column}; give profiles of healthy eyes that the model learnt from"
        )
    rows = band[band["kind"].isin(["mean", "sector"])].replace({"name": {"mean": GLOBAL}})
    rows = rows.set_index("name").reindex(list(BY_SECTOR))
    return {name: (float(r[column]), int(np.nan_to_num(r["n"]))) for name, r in rows.iterrows()}


def threshold(score: np.ndarray, thinned: np.ndarray, specificity: float = SPECIFICITY) -> float:
    """Return the highest score below which eyes can be flagged so that enough of the others pass.

    Parameters
    ----------
    score : ndarray (n,)
        Low means thinned.
    thinned : ndarray (n,) of bool
    specificity : float
        At least this share of the others is not flagged.

    Examples
    --------
    >>> threshold(np.array([1.0, 3.0, 2.0, 4.0]), np.array([True, True, False, False]), 0.5)
    4.0
    """
    others = np.sort(score[~thinned])
    return float(others[int((1 - specificity) * len(others) + ROUNDING)])


def auc(score: np.ndarray, thinned: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return how often a thinned eye scores lower than another, under rows of weights of eyes.

    Parameters
    ----------
    score : ndarray (n,)
    thinned : ndarray (n,) of bool
    weights : ndarray (n_rows, n)
        How often each eye counts.

    Returns
    -------
    ndarray (n_rows,)
        NaN in rows without a thinned eye, or without another.

    Examples
    --------
    >>> auc(np.array([1, 3, 2, 4]), np.array([True, True, False, False]), np.ones((1, 4)))
    array([0.75])
    """
    if weights.size > AT_ONCE and len(weights) > 1:
        return np.concatenate([auc(score, thinned, half) for half in np.array_split(weights, 2)])
    order = np.argsort(score, kind="stable")
    ends = np.flatnonzero(np.diff(score[order], append=np.inf) > 0)  # equal scores are one step
    drawn = np.take(weights, order, axis=1)  # row by row in memory, as the sums go
    found = np.cumsum(drawn * thinned[order], axis=1)
    alarms = (np.cumsum(drawn, axis=1) - found)[:, ends]
    found = found[:, ends]
    n_positive, n_negative = (sums[:, -1].astype(float) for sums in (found, alarms))
    # Of the others, those that score higher than a thinned eye, and half of those that tie.
    beaten = n_negative[:, None] - (alarms + np.pad(alarms[:, :-1], ((0, 0), (1, 0)))) / 2
    pairs = np.einsum("ij,ij->i", np.diff(found, axis=1, prepend=0), beaten, dtype=float)
    return divide(pairs, n_positive * n_negative)


def thinning_table(
    predictions: pd.DataFrame,
    reference: np.ndarray | pd.DataFrame,
    runs: pd.DataFrame | None = None,
    resampling: Resampling = DEFAULT,
    specificity: float = SPECIFICITY,
    percentile: float = PERCENTILE,
    tuning: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return how well each condition finds thinned sectors, and a thinned mean over the circle.

    ``predictions`` and ``runs`` are those of :func:`analysis.resampling.conditions.conditions`.

    Parameters
    ----------
    reference : ndarray (m, 360), µm, or DataFrame
        Healthy eyes, none of them evaluated here: :func:`healthy_profiles`, or their band.
    specificity : float
        Share of eyes not thinned that must pass.
    percentile : float
        Of the reference below which a sector is thinned.
    tuning : DataFrame, optional
        Predictions by the same runs of eyes that they learnt from or were stopped by, of other
        patients than those evaluated. The thresholds come from there; without it ``sensitivity``
        and ``specificity_reached`` are NaN.

    Returns
    -------
    DataFrame
        Long: backbone, protocol, metric, attribute 'sector', group ('global' and the six
        Garway-Heath sectors), estimate, low, high, n, n_seeds, seed_sd. Metrics: ``sensitivity``,
        ``auc``, ``sensitivity_as_read`` (n: thinned eyes), ``specificity_reached``,
        ``specificity_as_read`` (n: the others), ``thinned`` (their share; n: eyes), ``limit`` (µm;
        n: reference eyes) and ``specificity`` (as asked for). Below 10 thinned eyes, or 10 others,
        the first five are NaN; so is what needs a threshold that fewer than 10 eyes would set.

    Raises
    ------
    ValueError
        For a specificity or percentile out of range, a reference that is not one, or thresholds
        that are to come from patients who are evaluated.
    """
    if not (0 < specificity < 1 and 0 < percentile < 100):
        raise ValueError(
            f"specificity {specificity}, percentile {percentile}: expected a share between 0 and "
            "1, and a percentile between 0 and 100"
        )
    limit = limits(reference, percentile)
    if tuning is not None:
        shared = sorted(set(tuning["patient_id"]) & set(predictions["patient_id"]))
        if shared:
            raise ValueError(
                f"{len(shared)} patients are evaluated and set the thresholds ({shared[0]}, ...): "
                f"expected predictions of training or validation eyes for the thresholds"
            )
    rows = []
    for condition in conditions(predictions, runs):
        weights = resampling.weights(condition.n_patients).astype(np.float32)  # counts fit exactly
        weights = weights[:, condition.runs[0].codes]
        means = [_means(run) for run in condition.runs]
        cuts = _thresholds(condition, tuning, limit, specificity)
        for j, region in enumerate(BY_SECTOR):
            pairs = [(pred[:, j], true[:, j]) for pred, true in means]
            given = pairs, limit[region], cuts[:, j]
            rows += _rows(condition, region, *given, weights, specificity, resampling)
    return pd.DataFrame(rows)


def _thresholds(
    condition: Condition,
    tuning: pd.DataFrame | None,
    limit: dict[str, tuple[float, int]],
    specificity: float,
) -> np.ndarray:
    """Return the threshold of each run and region (runs, 7), µm; NaN where eyes are too few."""
    cuts = np.full((len(condition.runs), len(BY_SECTOR)), np.nan)
    for i, run in enumerate(condition.runs if tuning is not None else ()):
        pred, true = _means(load_run(tuning, run.run_id))
        for j, (cutoff, _) in enumerate(limit.values()):
            there = np.isfinite(true[:, j]) & np.isfinite(cutoff)
            thinned = true[there, j] < cutoff
            if (~thinned).sum() >= MIN_EYES:
                cuts[i, j] = threshold(pred[there, j], thinned, specificity)
    return cuts


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
    cuts: np.ndarray,
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
            values["auc"][i] = auc(score, thinned, weights)
            values["sensitivity_as_read"][i] = _share(score < cutoff, thinned, weights)
            values["specificity_as_read"][i] = _share(score >= cutoff, ~thinned, weights)
            if np.isfinite(cuts[i]):
                values["sensitivity"][i] = _share(score < cuts[i], thinned, weights)
                values["specificity_reached"][i] = _share(score >= cuts[i], ~thinned, weights)
    sizes = dict.fromkeys(METRICS, n_thinned) | dict.fromkeys(OF_OTHERS, n - n_thinned)
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
