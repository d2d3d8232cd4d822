"""How well a curve fits points: residuals, R² and AICc, undefined where points are too few."""

from __future__ import annotations

import numpy as np
import pandas as pd

NAN = float("nan")
ROUNDING = 1e-20  # residuals below this share of the sum of squares are rounding: an exact fit


def columns(points: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the frozen shares (n,) in % and the errors (n,) in µm, or say what is wrong."""
    absent = [name for name in ("percent_frozen", "mae") if name not in points]
    if absent:
        raise ValueError(f"points: columns {absent} are missing; found {list(points.columns)}")
    x, y = (points[name].to_numpy(float) for name in ("percent_frozen", "mae"))
    bad = np.flatnonzero(~np.isfinite(x) | ~np.isfinite(y) | (x < 0) | (x > 100))
    if len(bad):
        row = points.iloc[bad[0]][["percent_frozen", "mae"]].to_dict()
        raise ValueError(f"points: row {bad[0]} is {row}: expected a share in 0 to 100 and an MAE")
    return x, y


def exact(rss: float, y: np.ndarray) -> bool:
    """Whether a sum of squares is nothing but rounding of the values y."""
    return bool(rss <= ROUNDING * np.sum(y**2))


def r_squared(rss: float, y: np.ndarray, k: int) -> float:
    """Return 1 − RSS / TSS of a mean with k parameters; NaN for k points, which always fit."""
    total = np.sum((y - y.mean()) ** 2)
    return float(1 - rss / total) if len(y) > k and not exact(total, y) else NAN


def aicc(rss: float, y: np.ndarray, k: int) -> float:
    """Return the Gaussian AICc of a mean with k parameters; NaN for too few points, exact fits.

    Source: Hurvich & Tsai, Biometrika 1989; the variance counts as a parameter.
    """
    n, k = len(y), k + 1
    if n - k - 1 <= 0 or exact(rss, y):
        return NAN
    return float(n * (np.log(2 * np.pi * rss / n) + 1) + 2 * k * n / (n - k - 1))
