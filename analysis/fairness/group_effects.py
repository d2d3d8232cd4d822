"""How much groups differ in thickness, and whether a model reproduces, shrinks or exaggerates it.

A model can err equally much in every group and still be unfair: a model that draws everybody
towards the average eye overestimates the group with thin fibre layers and underestimates the one
with thick ones. So three differences between groups stand side by side, in µm: of labelled
thickness, of predicted thickness, and of the bias (predicted minus labelled), which is the second
minus the first; and, fourth, of the error.

Groups also differ in age and in disease. Differences are therefore coefficients of one ordinary
least-squares fit over eyes, value ~ sex + race + age + severity, with patients resampled for the
intervals (ours). The phantom has known answers: the shifts of ``GROUP_SHIFT`` and ``AGE_SLOPE`` in
:mod:`rnfl.datasets.phantom.eyes`, in full in healthy eyes, and thinned along with the fibre layer
where there is glaucoma.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pandas as pd

from analysis.accuracy.significance import holm
from analysis.fairness.adjustment import ALONG, PLANTED, adjusted_effects
from analysis.resampling.bootstrap import seed_noise
from analysis.resampling.conditions import BY, Cell, cells, row
from rnfl.core import metrics, schema
from rnfl.core.nanstats import masked, mean

METRICS = ("thickness", "predicted", "bias", "error")


def group_effects(
    predictions: pd.DataFrame,
    samples: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    by: Sequence[str] = BY,
    n_boot: int = 2000,
    seed: int = 0,
    planted: bool = False,
) -> pd.DataFrame:
    """Return the adjusted differences between groups in the test eyes of each cell.

    Parameters
    ----------
    predictions, samples, runs, by
        As in :func:`analysis.fairness.fairness_table`.
    planted : bool
        Whether these are phantom eyes; see :func:`analysis.fairness.adjustment.adjusted_effects`.

    Returns
    -------
    DataFrame
        Long: ``by``, metric, attribute, group, estimate, low, high, n, n_seeds, seed_sd, p, p_holm.
        Metrics 'thickness' (labelled), 'predicted', 'bias' and 'error' (MAE), µm; groups 'F − M',
        'Asian − White', 'Black − White', 'per decade'. NaN where a level has fewer than 10 eyes.
        p, of the bias only, is two-sided and normal with the resampled standard error; Holm's
        correction covers the trained cells of one difference.
    """
    schema.join_samples(predictions[["run_id", "eye_id", "patient_id"]], samples)
    by_eye = samples.set_index("eye_id")
    rows: list[dict] = []
    for cell in cells(predictions, runs, by):
        rows += _cell_rows(cell, by_eye.loc[cell.runs[0].eye_ids], n_boot, seed, planted)
    frame = pd.DataFrame(rows)
    tested = frame[frame["trained"] & (frame["metric"] == "bias")]
    for _, family in tested.groupby("group"):
        frame.loc[family.index, "p_holm"] = holm(family["p"])
    return frame.drop(columns="trained")


def label_effects(
    samples: pd.DataFrame,
    profiles: np.ndarray,
    n_boot: int = 2000,
    seed: int = 0,
    planted: bool = False,
) -> pd.DataFrame:
    """Return the adjusted differences in labelled thickness in all eyes of a dataset.

    Parameters
    ----------
    samples : DataFrame
        One row per profile, in the same order (as :func:`rnfl.datasets.prepared.load` gives both).
    profiles : ndarray (n_eyes, 360), µm

    Returns
    -------
    DataFrame
        Long: eyes ('all' or 'healthy'), metric 'thickness', attribute, group, estimate, low, high,
        n, n_seeds, seed_sd, planted (in eyes without disease; NaN where unknown). No rows for
        'healthy' where no eye is known to be.
    """
    if len(samples) != len(profiles):
        raise ValueError(f"{len(samples)} samples for {len(profiles)} profiles: expected as many")
    thickness = _mean_thickness(np.asarray(profiles, float), profiles)
    expected = {**PLANTED, ALONG: 1.0} if planted else {}
    rows = []
    for name in ("all", "healthy"):
        chosen = np.ones(len(samples), bool)
        if name == "healthy":
            chosen = (samples["severity"] == "healthy").to_numpy()
        if not chosen.any():
            continue
        here = samples[chosen]
        value = thickness[None, chosen]
        found = adjusted_effects(value, here["patient_id"], here, n_boot, seed, planted)
        for key, (estimates, replicates, n) in found.items():
            made = row({"eyes": name}, "thickness", estimates, replicates, n, seed, *key)
            rows.append({**made, "planted": expected.get(key, np.nan)})
    return pd.DataFrame(rows)


def _mean_thickness(profiles: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the mean over the angles measured in the target (n,), NaN where there is none."""
    return mean(masked(profiles, target)[0], axis=1)


def _cell_rows(cell: Cell, eyes: pd.DataFrame, n_boot: int, seed: int, planted: bool) -> list[dict]:
    truth = np.stack([_mean_thickness(run.target, run.target) for run in cell.runs])
    predicted = np.stack([_mean_thickness(run.prediction, run.target) for run in cell.runs])
    error = np.stack([metrics.mae_per_eye(run.prediction, run.target) for run in cell.runs])
    values = np.concatenate([truth, predicted, predicted - truth, error])  # as METRICS
    found = adjusted_effects(values, eyes["patient_id"], eyes, n_boot, seed, planted)
    rows = []
    for m, metric in enumerate(METRICS):
        own = slice(m * len(truth), (m + 1) * len(truth))
        for key, (estimates, replicates, n) in found.items():
            made = row(cell.key, metric, estimates[own], replicates[own], n, seed, *key)
            test = metric == "bias"
            p = _normal_p(estimates[own], replicates[own], seed) if test else np.nan
            rows.append({**made, "p": p, "p_holm": np.nan, "trained": not cell.is_baseline})
    return rows


def _normal_p(estimates: np.ndarray, replicates: np.ndarray, seed: int) -> float:
    draws = replicates.mean(axis=0) + seed_noise(estimates, replicates.shape[1], seed)
    error = np.nanstd(draws) if np.isfinite(draws).any() else np.nan
    z = abs(estimates.mean()) / error if error > 0 else np.nan
    return 2 * NormalDist().cdf(-z) if np.isfinite(z) else float("nan")
