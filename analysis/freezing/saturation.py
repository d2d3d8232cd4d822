"""A curve that saturates: ``a + b (1 − exp(−x / c))``, the first steps costing most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize, stats

from analysis.freezing.goodness import NAN, aicc, columns, exact, r_squared
from analysis.resampling.bootstrap import LEVEL

N_GRID = 400  # scales at which the curve is tried


@dataclass(frozen=True)
class Saturating:
    """Least squares of ``mae = a + b (1 − exp(−x / c))``: a and b in µm, x and c in %.

    ``c_low`` and ``c_high`` bound the scales that an F test does not reject (95 %): 0 where a step
    fits as well, infinite where a line does. ``identified`` says whether c is bounded on both
    sides; if not, b, c and the half-life are one choice among many that fit alike. ``half_life``
    (%) is the frozen share at which half of b has been paid.
    """

    a: float
    b: float
    c: float
    c_low: float
    c_high: float
    identified: bool
    half_life: float
    r_squared: float
    rss: float
    aicc: float
    n: int

    def at(self, x: np.ndarray) -> np.ndarray:
        """Return the fitted MAE (µm) at shares x (%)."""
        return self.a + self.b * -np.expm1(-np.asarray(x, float) / self.c)


def saturating(points: pd.DataFrame) -> Saturating:
    """Fit the saturating curve; NaN throughout for fewer than three shares.

    For a given scale c the curve is linear in a and b, so c alone is searched: on a grid from 0.15
    times the smallest share (a step) to 10 times the largest (a line), then refined around the
    best. The search cannot end in a poor local minimum and needs no starting values.

    Parameters, errors
        As in :func:`linear`.
    """
    x, y = columns(points)
    n = len(x)
    if len(np.unique(x)) < 3:
        return Saturating(*(NAN,) * 5, False, *(NAN,) * 4, n)
    grid = scales(x)
    rss = profile(grid, x, y)[0]
    best = int(np.argmin(rss))
    near = np.log(grid[[max(best - 1, 0), min(best + 1, N_GRID - 1)]])
    refined = optimize.minimize_scalar(
        lambda t: profile(np.exp([t]), x, y)[0][0], bounds=near, method="bounded"
    )
    c = float(np.exp(refined.x)) if refined.fun < rss[best] else float(grid[best])
    (smallest,), (a,), (b,) = profile(np.array([c]), x, y)
    low, high = 0.0, np.inf
    if n > 3 and not exact(smallest, y):
        limit = smallest * (1 + stats.f.ppf(LEVEL, 1, n - 3) / (n - 3))
        accepted = [*grid[rss <= limit], c]
        low = 0.0 if rss[0] <= limit else float(min(accepted))
        high = np.inf if rss[-1] <= limit else float(max(accepted))
    elif n > 3 and not exact(np.ptp(y) ** 2, y):
        low = high = c
    identified = bool(low > 0 and np.isfinite(high))
    quality = r_squared(smallest, y, 3), float(smallest), aicc(smallest, y, 3)
    fitted = float(a), float(b), c, low, high, identified, c * float(np.log(2))
    return Saturating(*fitted, *quality, n)


def scales(x: np.ndarray) -> np.ndarray:
    """Return the scales c (N_GRID,) in % that are tried for shares x."""
    return np.geomspace(0.15 * x[x > 0].min(), 10 * x.max(), N_GRID)


def profile(c: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the least sum of squares at each scale c (k,), and the a (k,), b (k,) that give it."""
    rise = -np.expm1(-x / np.asarray(c, float)[:, None])
    deviation, error = rise - rise.mean(axis=1, keepdims=True), y - y.mean()
    spread = np.sum(deviation**2, axis=1)
    b = np.divide(deviation @ error, spread, out=np.zeros(len(c)), where=spread > 1e-12)
    rss = np.sum((error - b[:, None] * deviation) ** 2, axis=1)
    return rss, y.mean() - b * rise.mean(axis=1), b


def saturating_band(
    points: pd.DataFrame, at: np.ndarray, n_boot: int = 1000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 % limits (k,), (k,) of the fitted curve at shares ``at`` (k,).

    Parametric bootstrap: errors of the residual SD are added to the fitted curve and the curve is
    refitted, its scale included, so that the band holds even where c is not identified. The
    residual SD is itself uncertain with few runs, so the errors are t-like: each resample divides
    by a draw of that SD.
    It covers the scatter of the runs, not other patients. NaN for three runs or fewer.
    """
    x, _ = columns(points)
    at, fit = np.asarray(at, float), saturating(points)
    if not np.isfinite(fit.a) or len(x) <= 3:
        return np.full(at.shape, NAN), np.full(at.shape, NAN)
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((n_boot, len(x)))
    again = fit.at(x) + np.sqrt(fit.rss / rng.chisquare(len(x) - 3, (n_boot, 1))) * noise
    mean = again.mean(axis=1, keepdims=True)
    grid = scales(x)[:, None]
    rise = -np.expm1(-x / grid)
    deviation = rise - rise.mean(axis=1, keepdims=True)
    length = np.sqrt(np.sum(deviation**2, axis=1))
    projection = (again - mean) @ (deviation / length[:, None]).T  # (n_boot, N_GRID)
    best = np.argmax(projection**2, axis=1)
    b = projection[np.arange(n_boot), best] / length[best]
    level = -np.expm1(-at / grid) - rise.mean(axis=1, keepdims=True)  # (N_GRID, k)
    curves = mean + b[:, None] * level[best]
    return tuple(np.quantile(curves, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0))
