"""Holm's correction for several questions asked of the same data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from statsmodels.stats.multitest import multipletests


def holm(p: Sequence[float]) -> np.ndarray:
    """Return Holm's step-down adjusted p-values over one family; NaN stays NaN and is not counted.

    Source: Holm, Scand J Stat 1979.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p, float)
    adjusted, known = np.full(len(p), np.nan), np.isfinite(p)
    if known.any():  # statsmodels would count a NaN, and refuses an empty family
        adjusted[known] = multipletests(p[known], method="holm")[1]
    return adjusted
