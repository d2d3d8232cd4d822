"""The gap between groups as a statistic: its size, its null under permutation and its p-value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.accuracy.significance import holm
from analysis.fairness.groups import ATTRIBUTES, MIN_EYES, Tally, grouping
from analysis.resampling.bootstrap import patient_codes

ALPHA = 0.05  # of the alarm, see :mod:`analysis.fairness`


def max_min(means: np.ndarray) -> np.ndarray:
    """Return max - min over groups, (..., G) to (...,); NaN when there are fewer than two."""
    if means.shape[-1] < 2:
        return np.full(means.shape[:-1], np.nan)
    return means.max(axis=-1) - means.min(axis=-1)


def equity_scaled(means: np.ndarray, overall: np.ndarray) -> np.ndarray:
    """Return the error penalised by how far groups lie from it, MAE + Σ |MAE_g - MAE| (ours).

    The equity-scaled measures of the medical fairness literature divide a score by
    1 + Σ |score - score_g| (Luo et al., Harvard-GF, IEEE TMI 2024); an error in µm is scaled by
    adding, so that it keeps its unit. It equals the overall error when groups do not differ and
    grows with the number of groups; NaN when there are fewer than two.

    Parameters
    ----------
    means : ndarray (..., G), µm
    overall : ndarray (...,), µm

    Examples
    --------
    >>> float(equity_scaled(np.array([9.0, 12.0]), np.array(10.0)))
    13.0
    """
    if means.shape[-1] < 2:
        return np.full(means.shape[:-1], np.nan)
    return overall + np.abs(means - overall[..., None]).sum(axis=-1)


def tally_of(
    errors: np.ndarray, codes: np.ndarray, eyes: pd.DataFrame,
    attributes: Sequence[str | Sequence[str]], min_eyes: int, min_patients: int,
) -> Tally:  # fmt: skip
    measured = np.isfinite(errors).all(axis=0)
    groups = [grouping(eyes, name) for name in attributes]
    return Tally(groups, codes, measured, min_eyes, min_patients)


class Gaps:
    """Gap (k,), its null (n_perm,), p and corrected p by attribute, 'mean' last."""

    def __init__(self, tally: Tally, errors: np.ndarray, n_perm: int, seed: int) -> None:
        self.tally = tally
        means = tally.means(errors)
        self.permuted = tally.permuted(errors, tally.permutations(n_perm, seed))
        self.gap = self.over(means)
        # The gap is a mean over seeds, and so is each permuted one, under the same permutation.
        self.null = {name: one.mean(axis=0) for name, one in self.over(self.permuted).items()}
        self.p = {
            name: share_reached(self.null[name], gap.mean()) for name, gap in self.gap.items()
        }
        family = holm([p for name, p in self.p.items() if name != "mean"])
        self.p_holm = dict(zip(self.p, [*family, np.nan], strict=True))

    def over(self, means: np.ndarray) -> dict[str, np.ndarray]:
        """Return the gap per attribute and their mean, for group means (..., G)."""
        gaps = {name: max_min(self.pick(means, name)) for name in self.tally.slices}
        return {**gaps, "mean": np.mean(list(gaps.values()), axis=0)}

    def pick(self, means: np.ndarray, name: str) -> np.ndarray:
        """Return the means of the large groups of one attribute."""
        where = self.tally.slices[name]
        return means[..., where][..., self.tally.large[where]]


def share_reached(null: np.ndarray, observed: float) -> float:
    """Return the p-value of an observation, itself counted among the permutations."""
    if not np.isfinite(observed):
        return float("nan")
    reached = np.count_nonzero(null >= observed * (1 - 1e-12))
    return (reached + 1) / (len(null) + 1)


def gap_tests(
    errors: np.ndarray,
    patient_ids: Sequence[str],
    eyes: pd.DataFrame,
    attributes: Sequence[str | Sequence[str]] = ATTRIBUTES,
    n_perm: int = 2000,
    seed: int = 0,
    min_eyes: int = MIN_EYES,
    min_patients: int = 1,
) -> pd.DataFrame:
    """Return the test of each attribute's gap for errors of one's own, without intervals.

    Parameters
    ----------
    errors : ndarray (n_eyes,) or (n_runs, n_eyes), µm
        NaN where missing. The gap is averaged over runs.
    patient_ids : sequence of str (n_eyes,)
    eyes : DataFrame
        Attributes, one row per eye in the same order.

    Returns
    -------
    DataFrame
        attribute ('mean' last), gap, null_gap (µm), p, p_holm, alarm; 'mean' is not in the family.
    """
    errors = np.atleast_2d(np.asarray(errors, float))
    tally = tally_of(
        errors, patient_codes(patient_ids)[1], eyes, attributes, min_eyes, min_patients
    )
    gaps = Gaps(tally, errors, n_perm, seed)
    return pd.DataFrame(
        {
            "attribute": list(gaps.gap),
            "gap": [one.mean() for one in gaps.gap.values()],
            "null_gap": [one.mean() for one in gaps.null.values()],
            "p": list(gaps.p.values()),
            "p_holm": list(gaps.p_holm.values()),
            "alarm": [p < ALPHA for p in gaps.p_holm.values()],
        }
    )
