"""Collapse to a few templates: how far is a prediction from the nearest of k shared ones? (ours)

A model may tell healthy from diseased eyes and still predict one fixed profile for each: its spread
between eyes is then healthy, and only the distance to the nearest of a few templates shows that it
repeats itself. The templates are the k profiles that suit the model itself best (k-means on its own
predictions), so the distance is 0 for a model that knows k profiles or fewer. That of the targets,
with templates of their own, says how large it is for real eyes.

The distance is no function of sums over eyes, so :mod:`analysis.moments` does not know it. Its
interval resamples patients with the templates held fixed: finding them again in every resample
would make a resample, which repeats eyes, look more alike than it is.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.agreement.regions import on_scale, patient_weights
from analysis.bootstrap import patient_sums
from analysis.cells import NO_BACKBONE, Cell, load_run
from rnfl import schema

K = 4  # templates, as many as the phantom has severities (ours)
STARTS = 4  # k-means runs; the one with the least squared distance counts
STEPS = 100
#: A start has settled when no larger share of the eyes changes template (ours). With fewer than
#: 2,000 eyes that is none; with more, waiting for the last one takes ever more steps.
SETTLED = 1 / 2000
FEW = "few templates"  # run_id and protocol of the planted collapse


def _masked(profiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return profiles with 0 where missing, and what is measured as 0 and 1."""
    profiles = np.asarray(profiles, float)
    measured = np.isfinite(profiles)
    return np.where(measured, profiles, 0.0), measured.astype(float)


def _squared(
    x: np.ndarray, measured: np.ndarray, templates: np.ndarray, own: np.ndarray | None = None
) -> np.ndarray:
    """Return the squared distance (n, k), summed over the measured angles.

    ``own`` is ``(x**2).sum(axis=1)``, where it is known already.
    """
    own = (x**2).sum(axis=1) if own is None else own
    # x is 0 where nothing was measured, so the first two terms need no mask.
    total = own[:, None] - 2 * (x @ templates.T) + measured @ (templates**2).T
    return np.maximum(total, 0.0)


def _start(x: np.ndarray, measured: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Choose k profiles far from each other (k-means++), gaps filled with the mean profile."""
    mean = x.sum(axis=0) / np.maximum(measured.sum(axis=0), 1)
    filled = np.where(measured > 0, x, mean)
    chosen = [int(rng.integers(len(x)))]
    while len(chosen) < k:
        nearest = _squared(x, measured, filled[chosen]).min(axis=1)
        total = nearest.sum()
        even = np.full(len(x), 1 / len(x))
        chosen.append(int(rng.choice(len(x), p=nearest / total if total > 0 else even)))
    return filled[chosen]


def find_templates(profiles: np.ndarray, k: int = K, seed: int = 0) -> np.ndarray:
    """Return the k profiles (k, 360) with the least squared distance to the nearest one, µm.

    Lloyd's algorithm from k-means++ starts, over the measured angles; the same arguments give the
    same templates.

    Parameters
    ----------
    profiles : ndarray (n, 360), µm, NaN where missing
    k : int
    seed : int
        Of the starts.

    Raises
    ------
    ValueError
        Unless 1 <= k <= n.
    """
    x, measured = _masked(profiles)
    if not 1 <= k <= len(x):
        raise ValueError(f"{k} templates of {len(x)} profiles: expected 1 to {len(x)}")
    shift = x.sum(axis=0) / np.maximum(measured.sum(axis=0), 1)
    x = np.where(measured > 0, x - shift, 0.0)  # small numbers round less
    own, still = (x**2).sum(axis=1), int(SETTLED * len(x))
    rng = np.random.default_rng(seed)
    best, least = np.zeros((k, x.shape[1])), np.inf
    for _ in range(STARTS):
        templates = _start(x, measured, k, rng)
        nearest = np.full(len(x), -1)
        for _ in range(STEPS):
            moved = _squared(x, measured, templates, own).argmin(axis=1)
            if np.count_nonzero(moved != nearest) <= still:
                break
            nearest = moved
            belongs = (nearest == np.arange(k)[:, None]).astype(float)
            count = belongs @ measured
            templates = np.where(count > 0, (belongs @ x) / np.maximum(count, 1), templates)
        inertia = _squared(x, measured, templates, own).min(axis=1).sum()
        if inertia < least:
            best, least = templates, inertia
    return best + shift


def distance_to_nearest(
    profiles: np.ndarray, templates: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return each eye's RMS distance (n,) in µm to its nearest template, and which that is (n,).

    NaN for an eye without a measured angle.

    Examples
    --------
    >>> distance, which = distance_to_nearest(np.full((1, 360), 73.0), np.array([[70.0], [90.0]])
    ...     * np.ones(360))
    >>> distance.round(6).tolist(), which.tolist()
    ([3.0], [0])
    """
    x, measured = _masked(profiles)
    which = _squared(x, measured, templates).argmin(axis=1)
    squared = (measured * (x - templates[which]) ** 2).sum(axis=1)
    count = measured.sum(axis=1)
    mean = np.divide(squared, count, out=np.full(len(x), np.nan), where=count > 0)
    return np.sqrt(mean), which


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
    values = distances(np.where(np.isfinite(target), pred, np.nan), k)
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def estimate_distance(
    cell: Cell, k: int, n_boot: int, seed: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return ``template_distance`` (µm) and its ratio to the targets': estimates, replicates.

    Shapes as in :func:`analysis.cells.estimate`; the resamples of patients are the same.
    """
    first = cell.runs[0]
    weights = patient_weights(cell, n_boot, seed)
    truth = _means(distances(first.target, k), first.codes, weights)
    masked = [np.where(np.isfinite(run.target), run.prediction, np.nan) for run in cell.runs]
    own = np.stack([_means(distances(one, k), first.codes, weights) for one in masked])
    ratio = np.divide(own, truth, out=np.full(own.shape, np.nan), where=truth > 0)
    named = {"template_distance": own, "template_distance_ratio": ratio}
    scaled = {name: on_scale(name, values, len(first.patients)) for name, values in named.items()}
    return {name: (values[:, 0], values[:, 1:]) for name, values in scaled.items()}


def _means(values: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean over eyes under each row of weights of patients (n_rows, n_patients)."""
    present = np.isfinite(values)
    sums = patient_sums(np.stack([np.where(present, values, 0.0), present], axis=1), codes)
    total, count = (weights @ sums).T
    return np.divide(total, count, out=np.full(len(weights), np.nan), where=count > 0)


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
