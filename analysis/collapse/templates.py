"""Collapse to a few templates: how far is a prediction from the nearest of k shared ones? (ours)

A model may tell healthy from diseased eyes and still predict one fixed profile for each: its spread
between eyes is then healthy, and only the distance to the nearest of a few templates shows that it
repeats itself. The templates are the k profiles that suit the model itself best (k-means on its own
predictions), so the distance is 0 for a model that knows k profiles or fewer. That of the targets,
with templates of their own, says how large it is for real eyes.

The distance is no function of sums over eyes, so :mod:`analysis.resampling.patient_sums` does not
know it. Its interval resamples patients with the templates held fixed: finding them again in every
resample would make a resample, which repeats eyes, look more alike than it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.collapse.k_means import distance_to_nearest, find_templates
from analysis.resampling.bootstrap import patient_sums, weighted_totals
from analysis.resampling.conditions import NO_BACKBONE, Cell, load_run
from analysis.resampling.regions import on_scale, patient_weights
from rnfl.core import schema
from rnfl.core.nanstats import BLOCK, divide, pair

K = 4  # templates, as many as the phantom has severities (ours)
FEW = "few templates"  # run_id and protocol of the planted collapse


def distances(profiles: np.ndarray, k: int = K) -> np.ndarray:
    """Return each eye's RMS distance (n,) to the nearest of its own set's k templates, µm.

    NaN where there are no more eyes than templates: each eye would be its own.
    """
    if len(profiles) <= k:
        return np.full(len(profiles), np.nan)
    return distance_to_nearest(profiles, find_templates(profiles, k))[0]


def template_distance(pred: np.ndarray, target: np.ndarray, k: int = K) -> float:
    """Return the mean over eyes of the distance to the nearest template, µm; 0 means collapse.

    Parameters
    ----------
    pred, target : ndarray (n, 360), µm, NaN in targets where missing
        Predictions count where the target was measured.
    """
    values = distances(pair(pred, target)[0], k)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def true_distances(table: Sequence[Cell], k: int) -> list[np.ndarray]:
    """Return :func:`distances` of each cell's targets (n,), found once where cells share them."""
    found: list[tuple[np.ndarray, np.ndarray]] = []
    out = []
    for target in (cell.runs[0].target for cell in table):
        known = next((distance for other, distance in found if _equal(other, target)), None)
        out.append(distances(target, k) if known is None else known)
        if known is None:
            found.append((target, out[-1]))
    return out


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two sets of profiles are the same; what differs early is known early."""
    starts = range(0, len(a), BLOCK)
    parts = ((a[i : i + BLOCK], b[i : i + BLOCK]) for i in starts)
    return len(a) == len(b) and all(np.array_equal(*part, equal_nan=True) for part in parts)


def estimate_distance(
    cell: Cell, true: np.ndarray, k: int, n_boot: int, seed: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return ``template_distance`` (µm) and its ratio to the targets': estimates, replicates.

    Parameters
    ----------
    cell : Cell
    true : ndarray (n,)
        :func:`distances` of the targets, see :func:`true_distances`.
    k, n_boot, seed : int

    Returns
    -------
    dict
        Shapes as in :func:`analysis.resampling.conditions.estimate`; the resamples of patients are
        the same.
    """
    first = cell.runs[0]
    weights = patient_weights(cell, n_boot, seed)
    truth = _means(true, first.codes, weights)
    masked = [pair(run.prediction, run.target)[0] for run in cell.runs]
    own = np.stack(
        [
            _means(true if _equal(one, first.target) else distances(one, k), first.codes, weights)
            for one in masked
        ]
    )
    ratio = divide(own, truth)
    named = {"template_distance": own, "template_distance_ratio": ratio}
    scaled = {name: on_scale(name, values, len(first.patients)) for name, values in named.items()}
    return {name: (values[:, 0], values[:, 1:]) for name, values in scaled.items()}


def _means(values: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean over eyes under each row of weights of patients (n_rows, n_patients)."""
    present = np.isfinite(values)
    sums = patient_sums(np.stack([np.where(present, values, 0.0), present], axis=1), codes)
    total, count = weighted_totals(weights, sums).T
    return divide(total, count)


def plant(
    predictions: pd.DataFrame, run_id: str, k: int = K
) -> tuple[pd.DataFrame, dict[str, object]]:
    """Return what a run's predictions become when each is replaced by the nearest of k templates.

    A collapse made on purpose, to show which measure sees it.

    Returns
    -------
    predictions : DataFrame
        Of one run named ``few templates``.
    run : dict
        Its row of a runs table: run_id, backbone, protocol, seed.
    """
    run = load_run(predictions, run_id)
    templates = find_templates(run.prediction, k)
    _, which = distance_to_nearest(run.prediction, templates)
    table = schema.predictions_frame(
        FEW, run.eye_ids, run.patients[run.codes], templates[which], run.target
    )
    return table, {"run_id": FEW, "backbone": NO_BACKBONE, "protocol": FEW, "seed": -1}
