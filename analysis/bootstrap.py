"""Intervals by resampling patients, from per-patient sums and a matrix of counts.

Two eyes of one patient are alike, so patients are drawn, never eyes and never angles. A resample
is a row of counts (how often each patient was drawn); a statistic that depends on the data through
sums only is then one matrix product away, whatever the number of angles.

All intervals are percentile intervals: the 2.5 % and 97.5 % quantiles of the resampled statistic.
They need no assumption of symmetry. For standard deviations and for a maximum over groups they lean
towards what resampling does to such statistics (slightly low, and high); with few patients
(below about 30) every percentile interval is somewhat too narrow.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEVEL = 0.95


def patient_codes(patient_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct patients, sorted, and the place of each eye's patient among them.

    Returns
    -------
    patients : ndarray (P,)
    codes : ndarray (n_eyes,) of int

    Raises
    ------
    ValueError
        When there is no eye, or an eye has no patient.
    """
    ids = np.asarray(patient_ids, dtype=object)
    missing = [i for i, one in enumerate(ids) if one is None or one != one]
    if len(ids) == 0 or missing:
        where = f"rows {missing[:5]} have no patient_id" if missing else "no eyes at all"
        raise ValueError(f"patients to resample: {where}")
    return np.unique(ids.astype(str), return_inverse=True)


def patient_counts(n_patients: int, n_boot: int, seed: int) -> np.ndarray:
    """Return how often each patient is drawn, (n_boot, n_patients); every row sums to P.

    The same arguments give the same resamples, so that two runs on the same patients are compared
    within each resample.
    """
    rng = np.random.default_rng(seed)
    even = np.full(n_patients, 1 / n_patients)
    return rng.multinomial(n_patients, even, size=n_boot).astype(float)


def patient_sums(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Add up the rows of each patient: (n_eyes, ...) becomes (n_patients, ...).

    Examples
    --------
    >>> patient_sums(np.array([[1.0], [2.0], [4.0]]), np.array([1, 0, 1])).tolist()
    [[2.0], [5.0]]
    """
    by_patient = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[by_patient], np.arange(codes.max() + 1))
    return np.add.reduceat(values[by_patient], starts, axis=0)


def interval(replicates: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Return the percentile interval of replicates (n_boot,); NaN when over 5 % are undefined.

    Examples
    --------
    >>> interval(np.arange(101.0), level=0.5)
    (25.0, 75.0)
    """
    replicates = np.asarray(replicates, float)
    defined = replicates[np.isfinite(replicates)]
    if len(defined) == 0 or len(defined) < 0.95 * len(replicates):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def seed_noise(estimates: Sequence[float], size: int, seed: int) -> np.ndarray:
    """Return draws (size,) of the error that a mean over few training seeds carries.

    Seeds are a random effect: a mean of k of them varies by seed_sd² / k. The draws are normal with
    that variance, and zero for a single run, which says nothing about other seeds. Two or three
    seeds know their own SD roughly, so such an interval is itself rough.
    """
    k = len(estimates)
    if k == 1:
        return np.zeros(size)
    spread = np.std(estimates, ddof=1) / np.sqrt(k)
    return spread * np.random.default_rng([seed, 3]).standard_normal(size)


def mean_interval(
    values: Sequence[float], patient_ids: Sequence[str], n_boot: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Return the mean over eyes of one number per eye, with its patient-clustered interval.

    Parameters
    ----------
    values : sequence of float (n_eyes,)
        NaN where missing.
    patient_ids : sequence of str (n_eyes,)

    Returns
    -------
    estimate, low, high : float
        NaN when no value is there.

    Examples
    --------
    >>> mean_interval([1.0, 1.0, 1.0], ["a", "a", "b"], n_boot=50)
    (1.0, 1.0, 1.0)
    """
    values = np.asarray(values, float)
    patients, codes = patient_codes(patient_ids)
    present = np.isfinite(values)
    if not present.any():
        return (float("nan"),) * 3
    sums = patient_sums(np.stack([np.where(present, values, 0.0), present], axis=1), codes)
    totals = patient_counts(len(patients), n_boot, seed) @ sums
    means = np.divide(*totals.T, out=np.full(n_boot, np.nan), where=totals[:, 1] > 0)
    return float(values[present].mean()), *interval(means)
