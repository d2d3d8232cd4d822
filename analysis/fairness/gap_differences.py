"""Does one protocol widen the gap of another? Paired on the same eyes.

Two answers, since a maximum minus a minimum is an awkward thing to compare:

- **p**: do the two models treat groups differently at all? The paired difference in error of each
  eye is a single number, and its gap between groups is tested by exchanging labels between
  patients, like any gap: a difference of gaps cannot be without one.
- **interval**: what the difference of gaps may be. Resampled differences of gaps do not serve:
  where groups hardly differ, their percentile interval covers the truth in 79 to 99 % of
  simulations. Instead (ours) every difference between two groups is bounded, in each model and
  between the models, all at once (patients resampled, 95 % together), and the interval holds every
  difference of gaps that these bounds leave possible. It covers at least 95 % and often more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from analysis.fairness.gap_test import permutation_test
from analysis.fairness.groups import ATTRIBUTES, Tally, grouping
from analysis.resampling import DEFAULT, Resampling
from analysis.resampling.bootstrap import LEVEL
from analysis.resampling.comparisons import holm
from analysis.resampling.conditions import (
    BY,
    Condition,
    conditions_and_eyes,
    counterpart,
    paired_runs,
)

COLUMNS = ("against", "metric", "attribute", "group", "estimate", "low", "high", "p", "p_holm",
           "n", "n_seeds", "seed_sd")  # fmt: skip


def gap_differences(
    predictions: pd.DataFrame,
    samples: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    resampling: Resampling = DEFAULT,
    against: str = "aggressive",
    attributes: Sequence[str] = ATTRIBUTES,
) -> pd.DataFrame:
    """Return how much wider the gap of each protocol is than that ``against``, per backbone.

    ``predictions``, ``samples`` and ``runs`` are those of :func:`analysis.fairness.fairness_table`;
    runs are paired by seed.

    Returns
    -------
    DataFrame
        backbone, protocol, against, metric 'gap', attribute ('mean' last), group 'max-min',
        estimate, low, high (µm, above 0 where the gap is wider than that of ``against``), p, p_holm
        (over the comparisons of one attribute), n, n_seeds, seed_sd. No rows where ``against`` was
        not run.

    Raises
    ------
    ValueError
        When two conditions predict different eyes or share no seed.
    """
    found = conditions_and_eyes(predictions, samples, runs)
    trained = [(one, eyes) for one, eyes in found if not one.is_baseline]
    rows = []
    for condition, eyes in trained:
        other = counterpart(condition, against, [one for one, _ in trained])
        if other is not None:
            compared = compare_conditions(condition, other, eyes, attributes, resampling)
            rows += [{**condition.key, "against": against, **one} for one in compared]
    frame = pd.DataFrame(rows, columns=[*BY, *COLUMNS])
    frame = frame.astype(dict.fromkeys(("estimate", "low", "high", "p", "p_holm"), float))
    frame["p_holm"] = frame.groupby("attribute")["p"].transform(holm)
    return frame


def compare_conditions(
    a: Condition,
    b: Condition,
    eyes: pd.DataFrame,
    attributes: Sequence[str],
    resampling: Resampling,
) -> list[dict]:
    """Return the rows of :func:`gap_differences` for two conditions, ``eyes`` in their order."""
    pairs = paired_runs(a, b)
    # Errors of the same eyes in both, (k, n_eyes) each, one row per shared seed.
    x, y = (Condition({}, side).errors for side in zip(*pairs, strict=True))
    groups, measured = [grouping(eyes, one) for one in attributes], np.isfinite(x - y).all(axis=0)
    tally, counts = Tally(groups, a.runs[0].codes, measured), resampling.counts(a.n_patients)
    between = permutation_test(x - y, tally, resampling)
    means = [tally.means(one) for one in (x, y)]
    drawn = [tally.resampled("mae", one, counts) for one in (x, y)]
    moved = [again - mean[:, None] for again, mean in zip(drawn, means, strict=True)]
    found = {}
    for name in attributes:
        parts = [tally.pick(m, name) for m in (*means, *moved)]
        found[name] = parts if parts[0].shape[-1] > 1 else None
    chosen = {**{name: {name: parts} for name, parts in found.items()}, "mean": found}
    sizes, rows = {**tally.sizes, "mean": a.n}, []
    for name, group in chosen.items():
        about = {"metric": "gap", "attribute": name, "group": "max-min", "p": between.p[name]}
        rows.append({**about, **_bounded(group), "n": sizes[name], "n_seeds": len(x)})
    return rows


def _bounded(group: dict[str, list[np.ndarray] | None]) -> dict[str, float]:
    """Return the difference of gaps, averaged over attributes and seeds, with its bounds.

    Each entry holds group means (k, G) of both models and their resampled deviations
    (k, n_boot, G); None where there are no two groups.
    """
    if any(parts is None for parts in group.values()):
        return dict.fromkeys(("estimate", "low", "high", "seed_sd"), np.nan)
    sets = [tuple(part[s] for part in p) for p in group.values() for s in range(len(p[0]))]
    spans = np.array([[np.ptp(d, axis=1) for d in (u - v, u, v)] for _, _, u, v in sets])
    limits = _joint_limits(spans.reshape(-1, spans.shape[-1])).reshape(-1, 3)
    pieces = zip(sets, limits, strict=True)
    bounds = np.mean([difference_bounds(p, q, *c) for (p, q, _, _), c in pieces], axis=0)
    gaps = [[np.ptp(p, axis=1) - np.ptp(q, axis=1)] for p, q, _, _ in group.values()]
    by_seed = np.mean(gaps, axis=(0, 1))  # (k,)
    k, centre = len(by_seed), by_seed.mean()
    spread = float(np.std(by_seed, ddof=1)) if k > 1 else float("nan")
    # As analysis.resampling.bootstrap.seed_noise: few seeds know their own spread roughly, hence
    # Student's t.
    seeds = stats.t.ppf(0.975, k - 1) * spread / np.sqrt(k) if k > 1 else 0.0
    return {
        "estimate": float(centre),
        "low": float(centre - np.hypot(centre - bounds[0], seeds)),
        "high": float(centre + np.hypot(bounds[1] - centre, seeds)),
        "seed_sd": spread,
    }


def _joint_limits(spans: np.ndarray) -> np.ndarray:
    """Return a limit for each row of spans (m, n_boot) such that 95 % of columns stay in all."""
    spans = spans[:, np.isfinite(spans).all(axis=0)]
    rank = spans.argsort(axis=1).argsort(axis=1).max(axis=0) + 1
    share = np.quantile(rank, LEVEL, method="higher") / spans.shape[1]
    return np.quantile(spans, min(share, 1.0), axis=1)


def difference_bounds(
    a: np.ndarray, b: np.ndarray, paired: float, own: float, other: float
) -> tuple[float, float]:
    """Return the least and the largest gap(A) - gap(B) that bounded group differences allow.

    Parameters
    ----------
    a, b : ndarray (G,)
        Group means of two models, µm.
    paired, own, other : float
        How far a difference between two groups may be off: in A - B, in A and in B.

    Notes
    -----
    The gap of B is the true difference of some pair of groups, one that is not clearly smaller
    than the largest. For that pair, gap(A) is at least A's own difference, and at least A's
    observed gap less its bound. The upper bound is the same with the models' parts exchanged.

    Examples
    --------
    >>> difference_bounds(np.array([3.0, 0.0]), np.array([1.0, 0.0]), 0.5, 0.4, 0.4)
    (1.5, 2.5)
    """
    low = _lower_bound(a, b, paired, own, other)
    return low, -_lower_bound(b, a, paired, other, own)


def _lower_bound(a: np.ndarray, b: np.ndarray, paired: float, own: float, other: float) -> float:
    pairs_a, pairs_b = a[:, None] - a, b[:, None] - b
    at_least = max(pairs_a.max() - own, 0.0)
    low = np.maximum(pairs_a - pairs_b - paired, at_least - pairs_b - other)
    return float(low[pairs_b >= pairs_b.max() - 2 * other].min())
