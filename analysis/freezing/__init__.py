"""Error against the frozen share of a backbone: a line, a saturating curve, and a mere step.

Each function takes one row per run (or per published cell) with ``percent_frozen`` (0 to 100) and
``mae`` (µm). *Line*: every further 10 % costs the same, as the paper's submission claims.
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
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.outliers_influence import OLSInfluence

from analysis.freezing.goodness import NAN, aicc, columns, exact, r_squared
from analysis.freezing.saturation import Saturating, saturating
from analysis.resampling.bootstrap import LEVEL

__all__ = [
    "Line",
    "Saturating",
    "Step",
    "compare",
    "linear",
    "linear_band",
    "saturating",
    "step",
]


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

    unfrozen: float
    difference: float
    low: float
    high: float
    p: float
    r_squared: float
    rss: float
    aicc: float
    n: int

    def at(self, x: np.ndarray) -> np.ndarray:
        """Return the fitted MAE (µm) at shares x (%)."""
        return self.unfrozen + self.difference * (np.asarray(x, float) > 0)


def linear(points: pd.DataFrame) -> Line:
    """Fit the line by statsmodels' formula OLS; NaN throughout for fewer than two shares.

    Parameters
    ----------
    points : DataFrame
        ``percent_frozen`` (0 to 100) and ``mae`` (µm), one row per run.

    Raises
    ------
    ValueError
        When a column is missing, or a value is not finite.

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
    none = np.full(len(x), NAN)
    if len(np.unique(x)) < 2:
        return Line(*(NAN,) * 8, len(x), none, none)
    data = pd.DataFrame({"mae": y, "percent_frozen": x})
    fit = ols("mae ~ percent_frozen", data).fit()
    leverage = np.asarray(OLSInfluence(fit).hat_matrix_diag)
    low, high, p = _slope_test(fit, y)
    scale = 2 * fit.ssr / (len(x) - 2) if len(x) > 2 and not exact(fit.ssr, y) else NAN
    apart = np.where(leverage < 1 - 1e-9, 1 - leverage, NAN)
    return Line(
        intercept=float(fit.params["Intercept"]),
        slope_per_10=10 * float(fit.params["percent_frozen"]),
        low=10 * low,
        high=10 * high,
        p=p,
        r_squared=r_squared(fit.ssr, y, 2),
        rss=float(fit.ssr),
        aicc=aicc(fit.ssr, y, 2),
        n=len(x),
        leverage=leverage,
        cooks=np.asarray(fit.resid) ** 2 * leverage / (scale * apart**2),
    )


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
    """Fit one mean without and one with anything frozen; NaN throughout where either is absent.

    Parameters, errors
        As in :func:`linear`.
    """
    x, y = columns(points)
    frozen = (x > 0).astype(float)
    if len(np.unique(frozen)) < 2:
        return Step(*(NAN,) * 8, len(x))
    fit = ols("mae ~ frozen", pd.DataFrame({"mae": y, "frozen": frozen})).fit()
    low, high, p = _slope_test(fit, y)
    quality = r_squared(fit.ssr, y, 2), float(fit.ssr), aicc(fit.ssr, y, 2)
    unfrozen, difference = map(float, fit.params)
    return Step(unfrozen, difference, low, high, p, *quality, len(x))


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
    line, saturated, only_if = linear(points), saturating(points), step(points)
    spread = float(np.sum((y - y.mean()) ** 2)) if len(y) else NAN
    table = pd.DataFrame(
        [
            ("constant", 1, spread, 0.0 if spread > 0 else NAN, aicc(spread, y, 1)),
            ("line", 2, line.rss, line.r_squared, line.aicc),
            ("step", 2, only_if.rss, only_if.r_squared, only_if.aicc),
            ("saturating", 3, saturated.rss, saturated.r_squared, saturated.aicc),
        ],
        columns=["model", "parameters", "rss", "r_squared", "aicc"],
    )
    delta = table["aicc"] - table["aicc"].min(skipna=False)
    support = np.exp(-delta / 2)
    return table.assign(delta=delta, weight=support / support.sum(), n=len(y))


def _slope_test(fit, y: np.ndarray) -> tuple[float, float, float]:
    """Return the interval and p of the second coefficient; NaN without residual degrees."""
    if len(y) <= 2:
        return NAN, NAN, NAN
    slope = float(fit.params.iloc[1])
    if exact(fit.ssr, y):
        return slope, slope, NAN
    return (*map(float, fit.conf_int(1 - LEVEL).iloc[1]), float(fit.pvalues.iloc[1]))
