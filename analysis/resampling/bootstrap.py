"""Intervals by resampling patients, from per-patient sums and a matrix of counts.

Two eyes of one patient are alike, so patients are drawn, never eyes and never angles. A resample
is a row of counts (how often each patient was drawn); a statistic that depends on the data through
sums only is then one matrix product away, whatever the number of angles. Resamples are drawn once
for all metrics, conditions and tables on the same patients, and worked through a block at a time,
so that memory does not grow with their number. ``benchmarks/bootstrap.py`` measures speed and
memory beside ``scipy.stats.bootstrap``, which gathers the eyes of every resample.

Intervals are percentile intervals: the 2.5 % and 97.5 % quantiles of the replicates, which need no
assumption of symmetry. The metrics' own replicates are first put on the scale of
:mod:`analysis.resampling.scales`, without which the interval of a standard deviation covers too
little. ``benchmarks/coverage.py`` measures the coverage of every metric;
``benchmarks/coverage.json`` holds what it found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import stats

from rnfl.core.nanstats import divide

LEVEL = 0.95
BLOCK = 512  # rows of weights whose products and temporaries stay in a processor's cache


@dataclass(frozen=True)
class Resampling:
    """What every interval and p-value of a table rests on."""

    n_boot: int = 2000  # resamples of patients behind an interval
    n_perm: int = 2000  # exchanges, of labels or of two models' predictions, behind a p-value
    seed: int = 0  # of both

    def counts(self, n_patients: int) -> np.ndarray:
        """Return how often each patient is drawn, see :func:`patient_counts`."""
        return patient_counts(n_patients, self.n_boot, self.seed)

    def weights(self, n_patients: int) -> np.ndarray:
        """Return each patient once, then the same counts: (1 + n_boot, n_patients), read-only."""
        return _with_all(n_patients, self)


DEFAULT = Resampling()
PAIRED = Resampling(n_perm=5000)  # of comparisons: their small p-values are multiplied by Holm


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


def blocks(n_rows: int, size: int = BLOCK) -> Iterator[slice]:
    """Yield slices of at most ``size`` rows that cover ``n_rows``."""
    return (slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size))


@lru_cache(maxsize=1)  # drawing takes longer than most statistics of the draws
def patient_counts(n_patients: int, n_boot: int, seed: int) -> np.ndarray:
    """Return how often each patient is drawn, (n_boot, n_patients); every row sums to P.

    The same arguments give the same resamples, so that two runs on the same patients are compared
    within each resample. The last ones asked for are kept, read-only: whole numbers of the smallest
    type that holds P, which products with floats turn into floats (sums of their own type would
    not fit).
    """
    rng = np.random.default_rng(seed)
    counts = np.empty((n_boot, n_patients), np.min_scalar_type(n_patients))
    for rows in blocks(n_boot):
        shape = rows.stop - rows.start, n_patients
        drawn = rng.integers(n_patients, size=shape) + n_patients * np.arange(shape[0])[:, None]
        counts[rows] = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(shape)
    counts.flags.writeable = False
    return counts


@lru_cache(maxsize=1)
def _with_all(n_patients: int, resampling: Resampling) -> np.ndarray:
    counts = resampling.counts(n_patients)
    weights = np.vstack([np.ones_like(counts[:1]), counts])
    weights.flags.writeable = False
    return weights


def weighted_totals(weights: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Return ``weights @ sums``, (n_rows, k), converting a block of weights at a time.

    Parameters
    ----------
    weights : ndarray (n_rows, n_patients)
        Of any numeric type, as :func:`patient_counts` gives them.
    sums : ndarray (n_patients, k)
    """
    out = np.empty((len(weights), sums.shape[1]))
    for rows in blocks(len(weights)):
        np.matmul(weights[rows].astype(float), sums, out=out[rows])
    return out


def sums_by_patient(values: Callable[[np.ndarray], np.ndarray], codes: np.ndarray) -> np.ndarray:
    """Add up what a function makes of eyes, patient by patient, (n_patients, ...).

    Parameters
    ----------
    values : callable
        Takes the places of some eyes (m,), all of their patients', and returns (m, ...). It is
        called for a block of patients at a time, so that what it makes stays small.
    codes : ndarray (n_eyes,)
        Place of each eye's patient, from :func:`patient_codes`.
    """
    by_patient = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[by_patient], np.arange(codes.max() + 1))
    sums = None
    for block in blocks(len(starts)):
        first = starts[block]
        end = starts[block.stop] if block.stop < len(starts) else len(codes)
        made = values(by_patient[first[0] : end])
        if sums is None:
            sums = np.empty((len(starts), *made.shape[1:]), np.add.reduce(made[:1]).dtype)
        np.add.reduceat(made, first - first[0], axis=0, out=sums[block])
    return sums


def patient_sums(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Add up the rows of each patient: (n_eyes, ...) becomes (n_patients, ...).

    Examples
    --------
    >>> patient_sums(np.array([[1.0], [2.0], [4.0]]), np.array([1, 0, 1])).tolist()
    [[2.0], [5.0]]
    """
    return sums_by_patient(values.__getitem__, codes)


def interval(replicates: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Return the percentile interval of replicates (n_boot,); NaN when over 5 % are undefined.

    The ends are the replicates of rank (n_boot + 1) · share, so that few replicates make an
    interval unsteady but not too narrow.

    Examples
    --------
    >>> interval(np.arange(99.0), level=0.5)
    (24.0, 74.0)
    """
    replicates = np.asarray(replicates, float)
    defined = replicates[np.isfinite(replicates)]
    if len(defined) == 0 or len(defined) < 0.95 * len(replicates):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2], method="weibull")
    return float(low), float(high)


class RunNoise(NamedTuple):
    """How far a difference of two runs varies from seed to seed, as many conditions tell."""

    sd: float
    degrees: int  # of freedom


def pooled(groups: Iterable[np.ndarray], paired: bool = True) -> RunNoise | None:
    """Return the SD over seeds of a difference, pooled over conditions; None where seeds are one.

    Parameters
    ----------
    groups : iterable of ndarray (n_conditions, k)
        A statistic by condition and seed, per group of conditions that are compared.
    paired : bool
        Whether two conditions are compared seed by seed: then what a seed does to all conditions
        alike does not count, and the SD is that of the residuals of condition and seed (two-way
        analysis of variance), times the root of 2. Else a condition is compared with a constant.

    Notes
    -----
    The differences themselves must not be pooled: all share the condition that they are taken
    from, so that they know less than their number says (in a simulation of 5 differences over 3
    seeds, intervals of 95 % covered 90 %).

    Examples
    --------
    >>> noise = pooled([np.array([[1.0, 3.0], [2.0, 2.0]])])  # of two: the SD of differences
    >>> round(noise.sd, 3), noise.degrees
    (1.414, 1)
    """
    squares, degrees = 0.0, 0
    for group in groups:
        if group.shape[1] < 2:  # they share no two seeds
            continue
        residuals = group - group.mean(axis=1, keepdims=True)
        if paired:
            residuals = residuals - residuals.mean(axis=0)
        squares += float((residuals**2).sum())
        degrees += (len(group) - paired) * (group.shape[1] - 1)
    return RunNoise(((1 + paired) * squares / degrees) ** 0.5, degrees) if degrees else None


def seed_noise(
    estimates: Sequence[float], size: int, seed: int, noise: RunNoise | None = None
) -> np.ndarray:
    """Return draws (size,) of the error that a mean over few training seeds carries.

    Seeds are a random effect: a mean of k of them varies by seed_sd² / k, and as k runs know their
    SD only roughly, the draws follow Student's t with k - 1 degrees of freedom. They are zero for a
    single run, which says nothing about other seeds. Measured with 3 seeds and no other error, 95 %
    intervals cover 95 % (normal draws: 81 %). With the patients' error added they err on the safe
    side: 96 to 98 %, and 99 % where runs differ only in which eyes they get wrong, because that
    is then counted twice. With 2 seeds they are wide, as they must be.

    Parameters
    ----------
    estimates : sequence of float (k,)
        One per seed; of paired runs, their differences by seed.
    size : int
        Number of draws: evenly spaced quantiles in random order, so that their own error is small.
    noise : RunNoise, optional
        The SD that several conditions share (:func:`pooled`), where that of these few is too rough;
        a single run has noise then, too.
    """
    k = len(estimates)
    if noise is None and k == 1:
        return np.zeros(size)
    sd, degrees = noise or (np.std(estimates, ddof=1), k - 1)
    shares = (np.random.default_rng([seed, 3]).permutation(size) + 0.5) / size
    return sd / np.sqrt(k) * stats.t.ppf(shares, degrees)


def widening(n_patients: int | np.ndarray) -> float | np.ndarray:
    """Return the factor by which replicates of P patients are too narrow for a 95 % interval.

    It is 1 for a single patient, who has no spread to widen.

    Examples
    --------
    >>> widening(np.array([1, 30, 300])).round(3).tolist()
    [1.0, 1.061, 1.006]
    """
    quantile, n = (1 + LEVEL) / 2, np.maximum(n_patients, 2)
    student = stats.t.ppf(quantile, n - 1) / stats.norm.ppf(quantile)
    return np.where(np.less(n_patients, 2), 1.0, student * np.sqrt(n / (n - 1)))[()]


def mean_interval(
    values: Sequence[float], patient_ids: Sequence[str], resampling: Resampling = DEFAULT
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
    >>> mean_interval([1.0, 1.0, 1.0], ["a", "a", "b"], Resampling(n_boot=50))
    (1.0, 1.0, 1.0)
    """
    values = np.asarray(values, float)
    patients, codes = patient_codes(patient_ids)
    present = np.isfinite(values)
    if not present.any():
        return (float("nan"),) * 3
    sums = patient_sums(np.stack([np.where(present, values, 0.0), present], axis=1), codes)
    totals = weighted_totals(resampling.counts(len(patients)), sums)
    means = divide(*totals.T)
    estimate = float(values[present].mean())
    return estimate, *interval(estimate + widening(len(patients)) * (means - estimate))


def mean_replicates(values: np.ndarray, codes: np.ndarray, resampling: Resampling) -> np.ndarray:
    """Return means over eyes of values (k, n): of the data, then of each resample, (1 + n_boot, k).

    ``codes`` (n,) are the places of the eyes' patients; an eye without the first value has none.
    """
    measured = np.isfinite(values[0])
    sums = patient_sums(np.vstack([np.where(measured, values, 0.0), measured]).T, codes)
    totals = np.vstack([sums.sum(axis=0), weighted_totals(resampling.counts(len(sums)), sums)])
    return totals[:, :-1] / np.maximum(totals[:, -1:], 1)
