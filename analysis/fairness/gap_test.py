"""Is a gap larger than chance makes it? A studentised maximum under exchanged labels.

A raw maximum minus minimum is a poor test: a small group whose errors merely spread more has a mean
that strays more than that of other groups of its size, and raises an alarm in 20 to 30 % of test
sets (one large group so: in none, whatever the gap). So the p-value is that of another statistic
(ours): the largest difference between two groups *over its standard error*, found anew in every
exchange of labels (:mod:`analysis.fairness.groups`).

- The standard error is clustered by patient: patient i moves the mean of group g by
  u_ig = Σ (e - mean_g) / n_g over its eyes in g, and a difference of two groups has the variance
  Σ_i (u_ig - u_ih)², so that eyes of one patient in both groups count as the pair they are.
- Groups of unequal size and spread know their standard errors unequally well. Each ratio is
  therefore put on the normal scale through Student's t with Welch's degrees of freedom.

The exchange makes the test exact where labels say nothing about errors, the studentised scale makes
it hold where they say something about spread only. Sources: Janssen, Stat Probab Lett 1997 (the
studentised permutation test); Welch, Biometrika 1947.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtri, stdtr

from analysis.fairness.groups import ATTRIBUTES, Tally, grouping
from analysis.resampling import DEFAULT, Resampling
from analysis.resampling.bootstrap import patient_codes
from analysis.resampling.comparisons import holm

ALPHA = 0.05  # of the alarm
POWER = 0.8  # of the detectable gap
MIN_TESTED = 2  # patients in a group whose spread can be known


@dataclass(frozen=True, eq=False)
class GapTest:
    """The gap of each attribute, 'mean' last, beside what chance makes of the same eyes, µm."""

    gap: dict[str, np.ndarray]  # (k,), by run
    null: dict[str, np.ndarray]  # (n_perm,), when labels are exchanged, averaged over runs as it is
    p: dict[str, float]  # of the studentised maximum
    p_holm: dict[str, float]  # over the attributes; 'mean' (of their maxima) is not in the family
    #: The gap that raises an alarm in 80 % of test sets like this one, between the two groups of
    #: the attribute that are hardest to tell apart; NaN for 'mean'.
    detectable: dict[str, float]
    why: dict[str, str]  # why there is no p and no null; '' where there is one
    permuted: np.ndarray  # group means (k, n_perm, G) under these exchanges


def max_min(means: np.ndarray) -> np.ndarray:
    """Return max - min over groups, (..., G) to (...,); NaN when there are fewer than two."""
    if means.shape[-1] < 2:
        return np.full(means.shape[:-1], np.nan)
    return means.max(axis=-1) - means.min(axis=-1)


def with_mean(by_attribute: dict) -> dict:
    """Add the mean over attributes as 'mean'; NaN where an attribute has no value."""
    return {**by_attribute, "mean": np.mean(list(by_attribute.values()), axis=0)}


def gaps_over(means: np.ndarray, tally: Tally) -> dict[str, np.ndarray]:
    """Return the gap per attribute, and their mean as 'mean', of group means (..., G)."""
    return with_mean({name: max_min(tally.pick(means, name)) for name in tally.slices})


def permutation_test(errors: np.ndarray, tally: Tally, resampling: Resampling) -> GapTest:
    """Return the gaps of errors (k, n_eyes), µm, and their permutation tests."""
    permutations = tally.permutations(resampling.n_perm, resampling.seed)
    permuted = tally.permuted(errors, permutations)
    gap, why = gaps_over(tally.means(errors), tally), {n: _why(tally, n) for n in tally.slices}
    why["mean"] = next((f"{name}: {one}" for name, one in why.items() if one), "")
    # The gap is a mean over runs, and so is each permuted one, under the same permutation.
    null = {
        name: one.mean(axis=0) * (np.nan if why[name] else 1.0)
        for name, one in gaps_over(permuted, tally).items()
    }
    # The data come first, then their exchanges.
    whole = np.vstack([np.arange(permutations.shape[1]), permutations])
    largest, errors_of_differences = _studentised(errors.mean(axis=0), tally, whole, why)
    p = {name: _share_reached(one[1:], one[0]) for name, one in with_mean(largest).items()}
    family = [one for name, one in p.items() if name != "mean"]
    # An alarm needs a p of 0.05 over the number of attributes: the largest of chance's maxima, but
    # for that share, and beyond it what 80 % of test sets reach.
    level = 1 - ALPHA / max(np.isfinite(family).sum(), 1)
    reach = {n: np.quantile(one[1:], level) + ndtri(POWER) for n, one in largest.items()}
    detectable = {name: reach[name] * errors_of_differences[name] for name in largest}
    p_holm = dict(zip(p, [*holm(family), np.nan], strict=True))
    return GapTest(gap, null, p, p_holm, {**detectable, "mean": np.nan}, why, permuted)


def _why(tally: Tally, name: str) -> str:
    """Return why the gap of an attribute cannot be tested, '' if it can."""
    where = tally.slices[name]
    if tally.large[where].sum() < 2:
        return "fewer than two groups are large enough"
    if (tally.pick(tally.n_patients, name) < MIN_TESTED).any():
        return f"a group has fewer than {MIN_TESTED} patients"
    if not tally.exchangeable(name):
        return "no two patients with as many eyes differ in their labels: nothing can be exchanged"
    return ""


def _studentised(
    errors: np.ndarray, tally: Tally, permutations: np.ndarray, why: dict[str, str]
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Return the largest studentised difference of groups by attribute under each permutation.

    Also the largest standard error of a difference, µm, under the first. NaN where ``why`` not.
    """
    largest = {name: np.full(len(permutations), np.nan) for name in tally.slices}
    widest = dict.fromkeys(tally.slices, np.nan)
    for rows, sums in tally.permuted_sums(errors, permutations):
        for name in (one for one in tally.slices if not why[one]):
            sizes = tally.counts, tally.n, tally.n_patients
            own, counts, n, n_patients = (tally.pick(one, name) for one in (sums, *sizes))
            means = own.sum(axis=1) / n
            # What each patient adds to each mean (b, P, G), as if a patient fewer knew it.
            pull = (own - means[:, None] * counts) / (n * np.sqrt(1 - 1 / n_patients))
            shared = pull.transpose(0, 2, 1) @ pull  # (b, G, G)
            g, h = np.triu_indices(len(n), 1)
            alone = np.diagonal(shared, axis1=1, axis2=2)
            of_sum = alone[:, g] + alone[:, h]
            variance = np.maximum(of_sum - 2 * shared[:, g, h], 0.0)
            per_df = alone**2 / (n_patients - 1)
            with np.errstate(invalid="ignore", divide="ignore"):
                t = np.abs(means[:, g] - means[:, h]) / np.sqrt(variance)
                df = of_sum**2 / (per_df[:, g] + per_df[:, h])
                z = -ndtri(stdtr(df, -t))
            # Groups without any spread: no difference is none, and any is beyond chance.
            largest[name][rows] = np.where(np.isnan(z), np.where(t > 0, np.inf, 0.0), z).max(axis=1)
            if rows.start == 0:
                widest[name] = float(np.sqrt(variance[0].max()))
    return largest, widest


def _share_reached(null: np.ndarray, observed: float) -> float:
    """Return the p-value of an observation, itself counted among the permutations."""
    reached = np.count_nonzero(null >= observed * (1 - 1e-9))
    return float("nan") if np.isnan(observed) else (reached + 1) / (len(null) + 1)


def gap_tests(
    errors: np.ndarray,
    patient_ids: Sequence[str],
    eyes: pd.DataFrame,
    attributes: Sequence[str | Sequence[str]] = ATTRIBUTES,
    resampling: Resampling = DEFAULT,
) -> pd.DataFrame:
    """Return the test of each attribute's gap for errors of one's own, without intervals.

    Parameters
    ----------
    errors : ndarray (n_eyes,) or (n_runs, n_eyes), µm
        NaN where missing. The gap is averaged over runs.
    patient_ids, eyes
        Patient and attributes of each eye, in the same order.

    Returns
    -------
    DataFrame
        attribute ('mean' last), gap, null_gap (µm), p, p_holm, alarm, detectable (µm), why, see
        :class:`GapTest`.
    """
    errors = np.atleast_2d(np.asarray(errors, float))
    codes, measured = patient_codes(patient_ids)[1], np.isfinite(errors).all(axis=0)
    groups = [grouping(eyes, name) for name in attributes]
    found = permutation_test(errors, Tally(groups, codes, measured), resampling)
    rows = [
        {
            "attribute": name,
            "gap": found.gap[name].mean(),
            "null_gap": found.null[name].mean(),
            "p": found.p[name],
            "p_holm": found.p_holm[name],
            "alarm": found.p_holm[name] < ALPHA,
            "detectable": found.detectable[name],
            "why": found.why[name],
        }
        for name in found.gap
    ]
    return pd.DataFrame(rows)
