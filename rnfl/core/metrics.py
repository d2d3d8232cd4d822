"""Metrics of predicted RNFL profiles, in pure NumPy.

Profiles are matrices (n, 360) in µm, one row per eye. Targets may be NaN where nothing was
measured: such angles are left out of everything that compares prediction with target, and the
matching predictions are left out of the spread too, so that both spreads describe the same
entries. Predictions must be finite.

Averages (MAE, RMSE, gradient MAE, per-eye correlation) give each eye the same weight however many
of its angles are missing (ours); pooled metrics give each measured angle the same weight. SDs are
population SDs. What is undefined, such as the correlation of a constant, is NaN.

Source: paper, Evaluation; ``sigma_between`` and its companions are ours.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rnfl.core.nanstats import (
    co_deviations,
    correlation_of_rows,
    mean,
    of_each_eye,
    pair,
    pearson,
    variance,
)


@of_each_eye
def mae_per_eye(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the mean absolute error of each eye over its measured angles (n,), µm.

    Examples
    --------
    >>> mae_per_eye([[80.0, 90.0], [70.0, 70.0]], [[82.0, np.nan], [70.0, 76.0]])
    array([2., 3.])
    """
    return mean(np.abs(pred - target), axis=1)


def mae(pred: np.ndarray, target: np.ndarray) -> float:
    """Return the mean over eyes of their mean absolute error, µm."""
    return float(mean(mae_per_eye(pred, target)))


@of_each_eye
def squared_error_per_eye(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the mean squared error of each eye over its measured angles (n,), µm²."""
    return mean((pred - target) ** 2, axis=1)


def rmse(pred: np.ndarray, target: np.ndarray) -> float:
    """Return the root of the mean over eyes of their mean squared error, µm."""
    return float(np.sqrt(mean(squared_error_per_eye(pred, target))))


def r2(pred: np.ndarray, target: np.ndarray) -> float:
    """Return the pooled coefficient of determination: 1 is perfect, 0 is the pooled mean."""
    pred, target = pair(pred, target)
    spread = variance(target)
    return float(1 - mean((pred - target) ** 2) / spread) if spread > 0 else np.nan


def ccc(pred: np.ndarray, target: np.ndarray) -> float:
    """Return Lin's concordance correlation coefficient, pooled."""
    pred, target = pair(pred, target)
    sums, count = co_deviations(pred, target, axis=None)
    scale = sums[0, 0] + sums[1, 1] + count * (mean(pred) - mean(target)) ** 2
    return float(2 * sums[0, 1] / scale) if scale > 0 else np.nan


@of_each_eye
def gradient_mae_per_eye(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the mean absolute error of T(θ) - T(θ - 1°) of each eye, circular, µm per degree."""
    error = pred - target
    return mean(np.abs(error - np.roll(error, 1, axis=1)), axis=1)


def gradient_mae(pred: np.ndarray, target: np.ndarray) -> float:
    """Return the mean over eyes of their error of T(θ) - T(θ - 1°), µm per degree."""
    return float(mean(gradient_mae_per_eye(pred, target)))


@of_each_eye
def correlation_of_each_eye(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return each eye's correlation over its angles (n,)."""
    return correlation_of_rows(pred, target)


def pearson_per_eye(pred: np.ndarray, target: np.ndarray) -> float:
    """Return the mean over eyes of the correlation over angles (the paper's ``metrics.py``).

    Every eye shares the double hump, so one template for all eyes scores high.
    """
    return float(mean(correlation_of_each_eye(pred, target)))


def pearson_pooled(pred: np.ndarray, target: np.ndarray) -> float:
    """Return the correlation over all eyes and angles together (the paper's ``evaluate.py``)."""
    return float(pearson(*pair(pred, target)))


def pearson_between_eyes(pred: np.ndarray, target: np.ndarray) -> float:
    """Return the mean over angles of the correlation across eyes; blind to the shared hump (ours).

    NaN for a template: it says nothing about which eye is thicker.
    """
    return float(mean(pearson(*pair(pred, target), axis=0)))


def sigma_flat(x: np.ndarray) -> float:
    """Return the SD of all entries (n, 360) together, µm: the published spread.

    It cannot see template collapse, see :func:`sigma_between`.
    """
    return float(np.sqrt(variance(np.asarray(x, dtype=float))))


def sigma_between(x: np.ndarray) -> float:
    """Return the SD across eyes at each angle, averaged in variance over angles, µm (ours).

    Angles count by their measured eyes, so that ``sigma_flat² = sigma_between² + sigma_template²``
    holds with missing entries too. It is exactly 0 for one template repeated.

    Examples
    --------
    >>> template = 80 + 35 * np.cos(np.deg2rad(2 * np.arange(360)))
    >>> collapsed = np.tile(template, (500, 1))
    >>> sigma_between(collapsed), round(sigma_flat(collapsed), 1)
    (0.0, 24.7)
    """
    return float(np.sqrt(variance(np.asarray(x, dtype=float), 0)))


def sigma_template(x: np.ndarray) -> float:
    """Return the SD over angles of the mean profile, angles counted by measured eyes, µm (ours)."""
    measured = np.isfinite(x).sum(axis=0)
    if not measured.any():
        return float("nan")
    profile, weights = template_profile(x)[measured > 0], measured[measured > 0]
    shifted = profile - profile.min()  # exactly 0 for a flat one
    centre = np.average(shifted, weights=weights)
    return float(np.sqrt(np.average((shifted - centre) ** 2, weights=weights)))


def sigma_ratio(pred: np.ndarray, target: np.ndarray) -> float:
    """Return ``sigma_between`` of predictions over that of targets: 1 diverse, 0 one template."""
    pred, target = pair(pred, target)
    spread = sigma_between(target)
    return sigma_between(pred) / spread if spread > 0 else np.nan


@of_each_eye
def global_error_per_eye(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the absolute error of each eye's mean thickness over its measured angles (n,), µm."""
    return np.abs(mean(pred, axis=1) - mean(target, axis=1))


def bias_per_eye(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return by how much each eye's mean thickness is predicted too high (n,), µm."""
    pred, target = pair(pred, target)
    return mean(pred, axis=1) - mean(target, axis=1)


def bias(pred: np.ndarray, target: np.ndarray) -> float:
    """Return the mean over eyes of predicted minus true mean thickness, µm.

    Examples
    --------
    >>> bias([[3.0, 5.0], [1.0, 1.0]], [[2.0, 2.0], [1.0, np.nan]])
    1.0
    """
    return float(mean(bias_per_eye(pred, target)))


def global_mae(pred: np.ndarray, target: np.ndarray) -> float:
    """Return the mean absolute error of the eyes' global mean thickness, µm."""
    return float(mean(global_error_per_eye(pred, target)))


def global_r(pred: np.ndarray, target: np.ndarray) -> float:
    """Return the correlation across eyes of their global mean thickness."""
    return float(pearson(*(mean(x, axis=1) for x in pair(pred, target))))


def quadrant_mae(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the mean absolute error (4,) of quadrant means (n, 4), µm.

    Examples
    --------
    >>> quadrant_mae([[100.0, 70, 110, 65]] * 2, [[98.0, 75, 110, 65], [94.0, np.nan, 110, 66]])
    array([4. , 5. , 0. , 0.5])
    """
    pred, target = pair(pred, target)
    return mean(np.abs(pred - target), axis=0)


def template_profile(profiles: np.ndarray) -> np.ndarray:
    """Return the mean profile (360,) over eyes (n, 360), µm: of the training set, the baseline."""
    return mean(np.asarray(profiles, dtype=float), axis=0)


def template_predictions(profiles: np.ndarray, n: int) -> np.ndarray:
    """Return what the baseline 'template' predicts for n eyes (n, 360), µm: one profile for all.

    It is :func:`template_profile`; angles at which no eye was measured get the mean of the others.
    """
    template = template_profile(profiles)
    known = np.isfinite(template)
    if known.any():
        template = np.where(known, template, np.nanmean(template))
    return np.tile(template, (n, 1))


def _spread(function: Callable[[np.ndarray], float], which: int) -> Callable[..., float]:
    """Return a spread of the predictions (0) or targets (1) as a function of both."""
    return lambda pred, target: function(pair(pred, target)[which])


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "mae": mae,
    "rmse": rmse,
    "r2": r2,
    "ccc": ccc,
    "gradient_mae": gradient_mae,
    "pearson_per_eye": pearson_per_eye,
    "pearson_pooled": pearson_pooled,
    "pearson_between_eyes": pearson_between_eyes,
    "sigma_flat": _spread(sigma_flat, 0),
    "sigma_between": _spread(sigma_between, 0),
    "sigma_template": _spread(sigma_template, 0),
    "sigma_flat_target": _spread(sigma_flat, 1),
    "sigma_between_target": _spread(sigma_between, 1),
    "sigma_template_target": _spread(sigma_template, 1),
    "sigma_ratio": sigma_ratio,
    "global_mae": global_mae,
    "global_r": global_r,
}


def evaluate(pred: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Return every metric of :data:`METRICS` by name."""
    return {name: metric(pred, target) for name, metric in METRICS.items()}
