"""Means over regions of the circle, eye by eye, and their sums under resampled patients."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from analysis.resampling.bootstrap import Resampling, patient_sums, weighted_totals
from analysis.resampling.conditions import Condition, Run, row
from analysis.resampling.scales import calibrated
from rnfl.core.geometry import N_ANGLES, QUADRANTS, SECTORS, sector_means

GLOBAL = "global"
CIRCLE: dict[str, np.ndarray] = {GLOBAL: np.ones(N_ANGLES, bool)}
BY_QUADRANT: dict[str, np.ndarray] = {**CIRCLE, **QUADRANTS}
BY_SECTOR: dict[str, np.ndarray] = {**CIRCLE, **SECTORS}
MIN_EYES = 10  # fewer in a group give a NaN row (ours)

Sums = dict[str, np.ndarray]  # sums by name, one per row of weights


def region_means(run: Run, regions: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return predicted and measured means (n, k) of each eye and region, µm.

    Both cover the measured angles only. NaN where more than half of a region is missing.
    """
    masked = np.where(np.isfinite(run.target), run.prediction, np.nan)
    return sector_means(masked, regions), sector_means(run.target, regions)


def patient_weights(condition: Condition, resampling: Resampling) -> np.ndarray:
    """Return weights (1 + n_boot, n_patients): each patient once in the first row, then resampled.

    The resamples are those of :func:`analysis.resampling.conditions.estimate`. The last ones asked
    for are kept, read-only.
    """
    return _with_all(condition.n_patients, resampling)


@lru_cache(maxsize=1)
def _with_all(n_patients: int, resampling: Resampling) -> np.ndarray:
    counts = resampling.counts(n_patients)
    weights = np.vstack([np.ones_like(counts[:1]), counts])
    weights.flags.writeable = False
    return weights


def weighted_sums(run: Run, weights: np.ndarray, columns: Sums) -> Sums:
    """Return the sums over eyes of named columns (n,) under each row of weights, (n_rows,)."""
    sums = patient_sums(np.column_stack(list(columns.values())), run.codes)
    totals = weighted_totals(weights, sums)
    return dict(zip(columns, totals.T, strict=True))


def on_scale(metric: str, values: np.ndarray, n_patients: int) -> np.ndarray:
    """Return values (..., 1 + n_boot) with the replicates put on a metric's scale.

    See :mod:`analysis.resampling.scales`: their percentiles are then the ends of the interval.
    """
    replicates = calibrated(metric, values[..., :1], values[..., 1:], n_patients)
    return np.concatenate([values[..., :1], replicates], axis=-1)


def group_row(
    condition: Condition,
    metric: str,
    values: np.ndarray,
    n: int,
    resampling: Resampling,
    attribute: str,
    group: str,
) -> dict[str, object]:
    """Return a row of a long table from values (k, 1 + n_boot) of :func:`on_scale`.

    NaN where the group has fewer than 10 eyes.
    """
    values = values if n >= MIN_EYES else np.full_like(values, np.nan)
    return row(condition.key, metric, values[:, 0], values[:, 1:], n, resampling, attribute, group)
