"""Means, deviations and correlations of matrices (n, k) with NaN where nothing was measured.

What :mod:`rnfl.core.metrics` is made of. Large matrices cost what moves through memory, so a
complete one is neither copied nor searched for gaps twice, and per-eye values are made a block at a
time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from itertools import combinations_with_replacement

import numpy as np

BLOCK = 1024  # eyes whose temporaries stay in a processor's cache


def checked(pred: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both matrices as float64.

    A ValueError says when their shapes differ or are not (n, k), or a prediction is not finite.
    """
    pred, target = np.asarray(pred, dtype=float), np.asarray(target, dtype=float)
    if pred.shape != target.shape or pred.ndim != 2:
        raise ValueError(f"prediction {pred.shape}, target {target.shape}: expected one (n, k)")
    if not np.isfinite(pred).all():
        rows = np.flatnonzero(~np.isfinite(pred).all(axis=1))
        raise ValueError(f"predictions of rows {rows[:5].tolist()} are not finite")
    return pred, target


def masked(pred: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both matrices, NaN wherever the target is; themselves where it nowhere is."""
    measured = np.isfinite(target)
    if measured.all():
        return pred, target
    return np.where(measured, pred, np.nan), np.where(measured, target, np.nan)


def pair(pred: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both matrices as float64, :func:`checked`, NaN wherever the target is."""
    return masked(*checked(pred, target))


def of_each_eye(value: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Let a function of masked matrices (n, k), one value per row, work a block of rows at a time.

    The whole matrices are checked first, and masked block by block.
    """

    @wraps(value)
    def blockwise(pred: np.ndarray, target: np.ndarray) -> np.ndarray:
        pred, target = checked(pred, target)
        starts = range(0, len(pred), BLOCK)
        parts = [value(*masked(pred[i : i + BLOCK], target[i : i + BLOCK])) for i in starts]
        return np.concatenate([np.empty(0), *parts])

    return blockwise


def _totals(values: np.ndarray, axis: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the sum of what is not NaN along an axis, and how many there are."""
    total = np.asarray(values.sum(axis=axis))
    if np.isfinite(total).all():  # so nothing is missing
        return total, np.full(total.shape, values.size // max(total.size, 1))
    measured = np.isfinite(values)
    total = np.asarray(np.where(measured, values, 0.0).sum(axis=axis))
    return total, np.asarray(measured.sum(axis=axis))


def divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a / b, NaN where b is not positive."""
    a, b = np.broadcast_arrays(a, b)
    return np.divide(a, b, out=np.full(a.shape, np.nan), where=b > 0)


def mean(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Return the mean of what is not NaN; NaN, without a warning, where nothing is."""
    return divide(*_totals(values, axis))


def _lowest(x: np.ndarray, axis: int | None, keepdims: bool = False) -> np.ndarray:
    """Return what to shift values by: one of the data leaves a constant without any rounding."""
    lowest = np.fmin.reduce(x, axis=axis, keepdims=keepdims, initial=np.inf)
    return np.where(np.isfinite(lowest), lowest, 0.0)


def correlation_of_rows(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the correlation of each row of matrices with the same NaN (n,); constants give NaN."""
    shifted = [x - _lowest(x, 1, keepdims=True) for x in (a, b)]
    a, b = (x - mean(x, 1)[:, None] for x in shifted)
    scale = np.sqrt(mean(a**2, 1) * mean(b**2, 1))
    return divide(mean(a * b, 1), scale)


def co_deviations(*matrices: np.ndarray, axis: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return sums of products of deviations from the mean, exactly 0 for a constant.

    Parameters
    ----------
    *matrices : ndarray (n, k)
        With the same NaN.
    axis : {0, None}
        Whether each column has a mean of its own, or all entries one.

    Returns
    -------
    sums : ndarray (m, m, k) or (m, m)
        Of each matrix with itself and with each later one; below the diagonal 0.
    count : ndarray (k,) or ()
        Entries in each sum.
    """
    starts = range(0, len(matrices[0]), BLOCK)
    means = []
    for x in matrices:
        lowest = _lowest(x, axis)
        total, count = np.zeros(lowest.shape), np.zeros(lowest.shape)
        for i in starts:
            part = _totals(x[i : i + BLOCK] - lowest, axis)
            total, count = total + part[0], count + part[1]
        means.append(lowest + total / np.maximum(count, 1))
    sums = np.zeros((len(matrices), len(matrices), *count.shape))
    for i in starts:
        parts = [x[i : i + BLOCK] - centre for x, centre in zip(matrices, means, strict=True)]
        for j, k in combinations_with_replacement(range(len(parts)), 2):
            sums[j, k] += _totals(parts[j] * parts[k], axis)[0]
    return sums, count


def variance(x: np.ndarray, axis: int | None = None) -> float:
    """Return the mean over all entries of the squared deviations from the mean along an axis."""
    sums, count = co_deviations(x, axis=axis)
    return float(divide(sums.sum(), count.sum()))


def pearson(a: np.ndarray, b: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Return the correlation along axis 0 or of all entries; constants give NaN."""
    sums, _ = co_deviations(a, b, axis=axis)
    return divide(sums[0, 1], np.sqrt(sums[0, 0] * sums[1, 1]))
