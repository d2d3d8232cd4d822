"""Collapse to a few templates: how far is a prediction from the nearest of k shared ones? (ours)

A model may tell healthy from diseased eyes and still predict one fixed profile for each: its spread
between eyes is then healthy, and only the distance to the nearest of a few templates shows that it
repeats itself. The templates are the k profiles that suit the model itself best (k-means on its own
predictions), so the distance is 0 for a model that knows k profiles or fewer. That of the targets,
with templates of their own, says how large it is for real eyes.

The distance is no function of sums over eyes, so :mod:`analysis.resampling.patient_sums` does not
know it. Its interval resamples patients with the templates held fixed: finding them again in every
resample would make a resample, which repeats eyes, look more alike than it is.

scikit-learn's k-means knows no missing angles. Here eyes are worked through a block at a time,
because what is made of all of them at once would not stay in a processor's cache.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.resampling.bootstrap import Resampling, patient_sums, weighted_totals
from analysis.resampling.conditions import NO_BACKBONE, Condition, load_run
from analysis.resampling.scales import on_scale
from rnfl.core import schema
from rnfl.core.metrics import template_profile
from rnfl.core.nanstats import BLOCK, divide, mean, pair

K = 4  # templates, as many as the phantom has severities (ours)
MANY = 16  # templates that still are few for the hundreds of eyes of a test set (ours)
FEW = "few templates"  # run_id and protocol of the planted collapse
STARTS = 4  # k-means runs where eyes are many; the one with the least squared distance counts
#: With fewer eyes, starts end in more different templates (1 to 8 % apart in distance with four
#: starts of 60 eyes), and cost less: 250 of 60 eyes take 0.1 s and agree within 0.2 %.
MANY_EYES, MOST_STARTS = 300, 250
STEPS = 100
#: A start has settled when no larger share of the eyes changes template (ours). With fewer than
#: 2,000 eyes that is none; with more, waiting for the last one takes ever more steps.
SETTLED = 1 / 2000
Block = tuple[np.ndarray, np.ndarray | None]


def _blocks(profiles: np.ndarray, shift: np.ndarray | float = 0.0) -> list[Block]:
    """Return profiles less a shift, 0 where missing, and what is measured, 1 or 0, None for all."""
    profiles, found = np.asarray(profiles, float), []
    for start in range(0, len(profiles), BLOCK):
        x = profiles[start : start + BLOCK] - shift
        there = np.isfinite(x)
        found.append((x, None) if there.all() else (np.where(there, x, 0.0), there.astype(float)))
    return found


def _beyond_own(block: Block, templates: np.ndarray) -> np.ndarray:
    """Return squared distances (n, k) over the measured angles, less the profiles' own squares."""
    x, measured = block
    squares = templates**2
    of_templates = squares.sum(axis=1) if measured is None else measured @ squares.T
    # x is 0 where nothing was measured, so that the product needs no mask.
    return of_templates - x @ (2 * templates).T


def _squared(blocks: list[Block], templates: np.ndarray) -> np.ndarray:
    """Return the squared distance of each eye to its nearest template (n,)."""
    least = [np.einsum("ij,ij->i", b[0], b[0]) + _beyond_own(b, templates).min(1) for b in blocks]
    return np.maximum(np.concatenate(least), 0.0)


def _start(blocks: list[Block], k: int, rng: np.random.Generator) -> np.ndarray:
    """Choose k profiles far from each other (k-means++); gaps are 0, the mean profile."""
    n = sum(len(x) for x, _ in blocks)
    chosen, nearest = [int(rng.integers(n))], np.full(n, np.inf)
    while True:
        templates = np.stack([blocks[i // BLOCK][0][i % BLOCK] for i in chosen])
        if len(chosen) == k:
            return templates
        nearest = np.minimum(nearest, _squared(blocks, templates[-1:]))
        total = nearest.sum()
        even = np.full(n, 1 / n)
        chosen.append(int(rng.choice(n, p=nearest / total if total > 0 else even)))


def _assign(
    blocks: list[Block], templates: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the nearest template of each eye (n,); by template, sums and counts at each angle."""
    total, count, nearest = np.zeros_like(templates), np.zeros_like(templates), []
    for x, measured in blocks:
        which = _beyond_own((x, measured), templates).argmin(axis=1)
        belongs = (which == np.arange(len(templates))[:, None]).astype(float)
        total += belongs @ x
        count += belongs.sum(axis=1, keepdims=True) if measured is None else belongs @ measured
        nearest.append(which)
    return np.concatenate(nearest), total, count


def _n_starts(n: int, k: int) -> int:
    """Return how many k-means runs n eyes need; growing with the cube of their scarcity.

    With more templates than :data:`K` each run takes longer and matters less: fewer at most.
    """
    if n >= MANY_EYES:
        return STARTS
    return min(round(STARTS * (MANY_EYES / n) ** 3), round(MOST_STARTS * (K / max(k, K)) ** 2))


def find_templates(profiles: np.ndarray, k: int, seed: int = 0) -> np.ndarray:
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
    n = len(profiles)
    if not 1 <= k <= n:
        raise ValueError(f"{k} templates of {n} profiles: expected 1 to {n}")
    shift = np.nan_to_num(template_profile(profiles))  # small numbers round less
    blocks = _blocks(profiles, shift)
    rng = np.random.default_rng(seed)
    best, least = np.zeros((k, len(shift))), np.inf
    for _ in range(_n_starts(n, k)):
        templates = _start(blocks, k, rng)
        nearest = np.full(n, -1)
        for _ in range(STEPS):
            moved, total, count = _assign(blocks, templates)
            if np.count_nonzero(moved != nearest) <= int(SETTLED * n):
                break
            nearest = moved
            templates = np.where(count > 0, total / np.maximum(count, 1), templates)
        inertia = _squared(blocks, templates).sum()
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
    distance, which = [np.empty(0)], [np.empty(0, int)]
    for x, measured in _blocks(profiles):
        nearest = _beyond_own((x, measured), templates).argmin(axis=1)
        squared = (x - templates[nearest]) ** 2
        if measured is not None:
            squared = np.where(measured > 0, squared, np.nan)
        distance.append(np.sqrt(mean(squared, axis=1)))
        which.append(nearest)
    return np.concatenate(distance), np.concatenate(which)


def distances(profiles: np.ndarray, k: int = K) -> np.ndarray:
    """Return each eye's RMS distance (n,) to the nearest of its own set's k templates, µm.

    NaN where there are no more eyes than templates: each eye would be its own.
    """
    if len(profiles) <= k:
        return np.full(len(profiles), np.nan)
    return distance_to_nearest(profiles, find_templates(profiles, k))[0]


def true_distances(table: Sequence[Condition], k: int) -> list[np.ndarray]:
    """Return :func:`distances` of each condition's targets (n,), found once where shared."""
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for target in (condition.runs[0].target for condition in table):
        known = next((distance for other, distance in found if _equal(other, target)), None)
        found.append((target, distances(target, k) if known is None else known))
    return [distance for _, distance in found]


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two sets of profiles are the same; what differs early is known early."""
    starts = range(0, len(a), BLOCK)
    parts = ((a[i : i + BLOCK], b[i : i + BLOCK]) for i in starts)
    return len(a) == len(b) and all(np.array_equal(*part, equal_nan=True) for part in parts)


def estimate_distance(
    condition: Condition, true: np.ndarray, k: int, resampling: Resampling
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return ``template_distance`` (µm) and its ratio to the targets': estimates, replicates.

    Parameters
    ----------
    condition : Condition
    true : ndarray (n,)
        :func:`distances` of the targets, see :func:`true_distances`.
    k : int
    resampling : Resampling

    Returns
    -------
    dict
        Shapes as in :func:`analysis.resampling.conditions.estimate`; the resamples of patients are
        the same.
    """
    first = condition.runs[0]
    weights = resampling.weights(condition.n_patients)
    truth = _means(true, first.codes, weights)
    masked = (pair(run.prediction, run.target)[0] for run in condition.runs)
    each = (true if _equal(one, first.target) else distances(one, k) for one in masked)
    own = np.stack([_means(one, first.codes, weights) for one in each])
    named = {"template_distance": own, "template_distance_ratio": divide(own, truth)}
    scaled = {name: on_scale(name, values, condition.n_patients) for name, values in named.items()}
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
