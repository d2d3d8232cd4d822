"""Error against the frozen share of a backbone: a line, a saturating curve, and a mere step.

Each function takes one row per run (or per published condition) with ``percent_frozen`` (0 to 100)
and ``mae`` (µm). *Line*: every further 10 % costs the same, as the paper's submission claims.
*Saturating*: ``a + b (1 − exp(−x / c))``, the first blocks cost most. *Step*: it only matters
whether anything is frozen; it has as many parameters as the line, so that even the paper's four
points can tell which of the two fits better. :func:`compare` sets them beside no effect at all.

Intervals here are those of a regression on runs. They cover what varies from run to run (random
initialisation, order of the batches) and the misfit of the model, and they take the test eyes, the
split and the pretrained weights as they are: other patients are not covered. Runs that share a
seed are treated as independent. :mod:`analysis.freezing.slopes` has the views that cover seeds and
patients. What too few points leave undefined is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize, stats
from statsmodels.regression.linear_model import OLS, RegressionResults
from statsmodels.stats.outliers_influence import OLSInfluence

from analysis.resampling.bootstrap import LEVEL

NAN = float("nan")
ROUNDING = 1e-20  # residuals below this share of the sum of squares are rounding: an exact fit
HALF_LIFE = 10  # %, of the curve that AICc is to find; the published points fit 6 and 11 (ours)
N_GRID = 400  # scales at which the saturating curve is tried


@dataclass(frozen=True, eq=False)
class Line:
    """OLS ``mae ~ percent_frozen``: slope in µm per 10 % frozen, with its 95 % t interval.

    ``leverage`` (n,) is each point's pull on its own fitted value (they add up to 2), ``cooks``
    (n,) how far the line would move without it; both in the order of the points.
    """

    intercept: float
    slope_per_10: float
    low: float
    high: float
    p: float
    r_squared: float
    rss: float
    aicc: float
    n: int
    leverage: np.ndarray
    cooks: np.ndarray

    def at(self, x: np.ndarray) -> np.ndarray:
        """Return the fitted MAE (µm) at shares x (%)."""
        return self.intercept + self.slope_per_10 / 10 * np.asarray(x, float)


@dataclass(frozen=True)
class Step:
    """OLS on whether anything is frozen: the difference of two means, with its 95 % t interval."""

    difference: float
    low: float
    high: float
    p: float
    r_squared: float
    rss: float
    aicc: float


def linear(points: pd.DataFrame) -> Line:
    """Fit the line by statsmodels' OLS; NaN throughout for fewer than two shares.

    Parameters
    ----------
    points : DataFrame
        ``percent_frozen`` (0 to 100) and ``mae`` (µm), one row per run; here and below a
        ValueError when a column is missing, or a value is not finite.

    Examples
    --------
    >>> published = pd.DataFrame(
    ...     {"percent_frozen": [0, 17, 33, 50], "mae": [19.25, 23.07, 23.57, 24.80]}
    ... )
    >>> line = linear(published)
    >>> round(line.slope_per_10, 2), round(line.r_squared, 2), line.aicc
    (1.04, 0.86, nan)
    """
    x, y = columns(points)
    if len(np.unique(x)) < 2:
        return Line(*(NAN,) * 8, len(x), *np.full((2, len(x)), NAN))
    fit, (low, high, p) = _ols(x, y)
    leverage = np.asarray(OLSInfluence(fit).hat_matrix_diag)
    scale = 2 * fit.ssr / (len(x) - 2) if len(x) > 2 and not exact(fit.ssr, y) else NAN
    apart = np.where(leverage < 1 - 1e-9, 1 - leverage, NAN)
    cooks = np.asarray(fit.resid) ** 2 * leverage / (scale * apart**2)
    intercept, slope = map(float, fit.params)
    slopes = 10 * slope, 10 * low, 10 * high, p
    return Line(intercept, *slopes, *_quality(fit.ssr, y, 2), len(x), leverage, cooks)


def linear_band(points: pd.DataFrame, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 % t limits (k,), (k,) of the line's mean at shares ``at`` (k,); NaN for two."""
    x, _ = columns(points)
    at, line = np.asarray(at, float), linear(points)
    if not np.isfinite(line.low):
        return np.full(at.shape, NAN), np.full(at.shape, NAN)
    pull = 1 / len(x) + (at - x.mean()) ** 2 / np.sum((x - x.mean()) ** 2)
    half = stats.t.ppf((1 + LEVEL) / 2, len(x) - 2) * np.sqrt(line.rss / (len(x) - 2) * pull)
    return line.at(at) - half, line.at(at) + half


def step(points: pd.DataFrame) -> Step:
    """Fit one mean without and one with anything frozen; NaN throughout where either is absent."""
    x, y = columns(points)
    frozen = (x > 0).astype(float)
    if len(np.unique(frozen)) < 2:
        return Step(*(NAN,) * 7)
    fit, test = _ols(frozen, y)
    return Step(float(fit.params[1]), *test, *_quality(fit.ssr, y, 2))


def _ols(x: np.ndarray, y: np.ndarray) -> tuple[RegressionResults, tuple[float, float, float]]:
    """Return the fit of y on x, and its slope's interval and p; NaN without residual degrees."""
    fit = OLS(y, np.column_stack([np.ones(len(x)), x])).fit()
    if len(y) <= 2:
        return fit, (NAN, NAN, NAN)
    if exact(fit.ssr, y):
        return fit, (float(fit.params[1]),) * 2 + (NAN,)
    return fit, (*map(float, fit.conf_int(1 - LEVEL)[1]), float(fit.pvalues[1]))


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
        return self.a + self.b * rise(np.asarray(x, float), self.c)


def rise(x: np.ndarray, c: float | np.ndarray) -> np.ndarray:
    """Return the share of b that is paid at shares x (%), for scales c (%) that broadcast."""
    return -np.expm1(-x / c)


def saturating(points: pd.DataFrame) -> Saturating:
    """Fit the saturating curve; NaN throughout for fewer than three shares.

    For a given scale c the curve is linear in a and b, so c alone is searched: on a grid from 0.15
    times the smallest share (a step) to 10 times the largest (a line), then refined around the
    best. The search cannot end in a poor local minimum and needs no starting values.
    """
    x, y = columns(points)
    n = len(x)
    if len(np.unique(x)) < 3:
        return Saturating(*(NAN,) * 5, False, *(NAN,) * 4, n)
    grid = tried_scales(x)
    rss = fit_at_scales(grid, x, y)[0]
    best = int(np.argmin(rss))
    near = np.log(grid[[max(best - 1, 0), min(best + 1, N_GRID - 1)]])
    refined = optimize.minimize_scalar(
        lambda t: fit_at_scales(np.exp([t]), x, y)[0][0], bounds=near, method="bounded"
    )
    c = float(np.exp(refined.x)) if refined.fun < rss[best] else float(grid[best])
    (smallest,), (a,), (b,) = fit_at_scales(np.array([c]), x, y)
    low, high = 0.0, np.inf
    if n > 3 and not exact(smallest, y):
        limit = smallest * (1 + stats.f.ppf(LEVEL, 1, n - 3) / (n - 3))
        accepted = [*grid[rss <= limit], c]
        low = 0.0 if rss[0] <= limit else float(min(accepted))
        high = np.inf if rss[-1] <= limit else float(max(accepted))
    elif n > 3 and not exact(np.ptp(y) ** 2, y):
        low = high = c
    identified = bool(low > 0 and np.isfinite(high))
    fitted = float(a), float(b), c, low, high, identified, c * float(np.log(2))
    return Saturating(*fitted, *_quality(smallest, y, 3), n)


def tried_scales(x: np.ndarray) -> np.ndarray:
    """Return the scales c (N_GRID,) in % that are tried for shares x."""
    return np.geomspace(0.15 * x[x > 0].min(), 10 * x.max(), N_GRID)


def fit_at_scales(c: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the least sum of squares at each scale c (k,), and the a (k,), b (k,) that give it."""
    shape = rise(x, np.asarray(c, float)[:, None])
    deviation, error = shape - shape.mean(axis=1, keepdims=True), y - y.mean()
    spread = np.sum(deviation**2, axis=1)
    b = np.divide(deviation @ error, spread, out=np.zeros(len(c)), where=spread > 1e-12)
    rss = np.sum((error - b[:, None] * deviation) ** 2, axis=1)
    return rss, y.mean() - b * shape.mean(axis=1), b


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
    mean, grid = again.mean(axis=1, keepdims=True), tried_scales(x)[:, None]
    centre = rise(x, grid).mean(axis=1, keepdims=True)
    deviation = rise(x, grid) - centre
    length = np.sqrt(np.sum(deviation**2, axis=1))
    projection = (again - mean) @ (deviation / length[:, None]).T  # (n_boot, N_GRID)
    best = np.argmax(projection**2, axis=1)
    b = projection[np.arange(n_boot), best] / length[best]
    curves = mean + b[:, None] * (rise(at, grid) - centre)[best]
    return tuple(np.quantile(curves, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0))


def compare(points: pd.DataFrame) -> pd.DataFrame:
    """Set no effect, the line, the step and the saturating curve side by side.

    Returns
    -------
    DataFrame
        model ('constant', 'line', 'step', 'saturating'), parameters (of the mean), rss (µm²),
        r_squared, aicc, delta (AICc above the lowest), weight (Akaike: the support among these
        four, adding up to 1), n. AICc counts the residual variance as a parameter too and needs
        two points more than that; delta and weight need it for all four models.
    """
    _, y = columns(points)
    spread = float(np.sum((y - y.mean()) ** 2)) if len(y) else NAN
    rows = [("constant", 1, spread, 0.0 if spread > 0 else NAN, aicc(spread, y, 1))]
    for name, k, fit in (("line", 2, linear), ("step", 2, step), ("saturating", 3, saturating)):
        found = fit(points)
        rows.append((name, k, found.rss, found.r_squared, found.aicc))
    table = pd.DataFrame(rows, columns=["model", "parameters", "rss", "r_squared", "aicc"])
    delta = table["aicc"] - table["aicc"].min(skipna=False)
    support = np.exp(-delta / 2)
    return table.assign(delta=delta, weight=support / support.sum(), n=len(y))


def power(points: pd.DataFrame, n: int = 400, seed: int = 0) -> float:
    """Return how often (%) AICc would prefer a curve or a step, were the truth a curve.

    The truth simulated has a half-life of :data:`HALF_LIFE` and rises, over these shares, by as
    much as the line does; the noise is that of runs with the same share (else of the line). A line
    that AICc prefers says little where this is low. NaN where AICc cannot judge.
    """
    x, y = columns(points)
    if len(y) < 7 or len(np.unique(x)) < 3 or not (x == 0).any():
        return NAN
    within = y - points.groupby("percent_frozen")["mae"].transform("mean").to_numpy()
    spare = len(y) - len(np.unique(x))
    line = linear(points)
    variance = np.sum(within**2) / spare if spare else line.rss / (len(y) - 2)
    paid = -np.expm1(-x * np.log(2) / HALF_LIFE)
    truth = line.slope_per_10 / 10 * x.max() * paid / paid.max()
    drawn = np.random.default_rng(seed).normal(truth, np.sqrt(variance), (n, len(y)))
    drawn -= drawn.mean(axis=1, keepdims=True)
    total = np.sum(drawn**2, axis=1)
    scores = [[aicc(one, y, 1) for one in total]]
    curve = rise(x, tried_scales(x)[:, None])
    for k, shape in ((2, x[None]), (2, (x > 0).astype(float)[None]), (3, curve)):
        deviation = shape - shape.mean(axis=1, keepdims=True)
        unit = deviation / np.linalg.norm(deviation, axis=1, keepdims=True)
        rss = total - np.max((drawn @ unit.T) ** 2, axis=1)
        scores.append([aicc(one, y, k) for one in rss])
    best = np.argmin(scores, axis=0)  # constant, line, step, curve; NaN, an exact fit, is the least
    return float(100 * np.mean(best >= 2))


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


def _quality(rss: float, y: np.ndarray, k: int) -> tuple[float, float, float]:
    """Return R² (NaN for k points, which always fit), RSS and AICc of a mean with k parameters."""
    total = np.sum((y - y.mean()) ** 2)
    r_squared = float(1 - rss / total) if len(y) > k and not exact(total, y) else NAN
    return r_squared, float(rss), aicc(rss, y, k)


def aicc(rss: float, y: np.ndarray, k: int) -> float:
    """Return the Gaussian AICc of a mean with k parameters; NaN for too few points, exact fits.

    Source: Hurvich & Tsai, Biometrika 1989; the variance counts as a parameter.
    """
    n, k = len(y), k + 1
    if n - k - 1 <= 0 or exact(rss, y):
        return NAN
    return float(n * (np.log(2 * np.pi * rss / n) + 1) + 2 * k * n / (n - k - 1))
