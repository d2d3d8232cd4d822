"""Every reported metric as a function of sums over eyes, so that resampling patients is cheap.

A metric of many eyes depends on the data through a few sums: counts, first and second moments at
each angle, and the totals of per-eye values. :class:`PatientSums` adds them up per patient, once;
:class:`Totals` weights the patients, one row of weights per resample; :data:`VALUES` turns totals
into metrics, :func:`replicates` does so for many resamples. What is needed only in total over
angles is added up over angles before it is weighted. The definitions are those of
:mod:`rnfl.core.metrics`, which gives every estimate; this module only restates them for totals, and
a test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import numpy as np

from analysis.resampling.bootstrap import blocks, sums_by_patient
from rnfl.core import metrics
from rnfl.core.nanstats import divide

MetricFunction = Callable[[np.ndarray, np.ndarray], float]
MetricOfEyes = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (n, k) twice to (n,)
SumsByKey = Mapping[str, np.ndarray]  # per-patient sums (n_patients, k)
TINY = 1e-9  # a variance below this share of the mean square is rounding, not spread

PER_EYE: dict[str, MetricOfEyes] = {
    "mae": metrics.mae_per_eye,
    "squared_error": metrics.squared_error_per_eye,
    "gradient_mae": metrics.gradient_mae_per_eye,
    "pearson_per_eye": metrics.correlation_of_each_eye,
    "global_mae": metrics.global_error_per_eye,
    "bias": metrics.bias_per_eye,
}


class PatientSums(dict[str, np.ndarray]):
    """Sums of one run over the eyes of each patient (n_patients, k), made when first asked for.

    '1', 'x', 'y', 'xx', 'yy', 'xy' hold k = 360 sums over eyes, one for each angle, where it was
    measured; with a prefix 'flat:' k = 1, their total over angles; with 'mean:' k = 1, sums of the
    eyes' mean thickness; a key of :data:`PER_EYE` holds k = 2, the sum of the per-eye values and
    how many there are.

    Parameters
    ----------
    prediction, target : ndarray (n_eyes, 360), µm, NaN in targets where missing
    codes : ndarray (n_eyes,)
        Place of each eye's patient, from :func:`analysis.resampling.bootstrap.patient_codes`.
    """

    def __init__(self, prediction: np.ndarray, target: np.ndarray, codes: np.ndarray) -> None:
        super().__init__()
        self.prediction, self.target, self.codes = prediction, target, codes

    def __missing__(self, key: str) -> np.ndarray:
        return self.setdefault(key, sums_by_patient(partial(self._of_eyes, key), self.codes))

    def _of_eyes(self, key: str, rows: np.ndarray) -> np.ndarray:
        x, y = self.prediction[rows], self.target[rows]
        if key in PER_EYE:
            values = PER_EYE[key](x, y)
            present = np.isfinite(values)
            return np.stack([np.where(present, values, 0.0), present], axis=1)
        measured = np.isfinite(y)
        x, y = (np.where(measured, values, 0.0) for values in (x, y))
        if key.startswith("mean:"):
            count = measured.sum(axis=1, keepdims=True)
            x, y = (v.sum(axis=1, keepdims=True) / np.maximum(count, 1) for v in (x, y))
            measured = count > 0
        factors = {"1": (), "x": (x,), "y": (y,), "xx": (x, x), "yy": (y, y), "xy": (x, y)}
        scope, _, name = key.rpartition(":")
        product = measured.astype(float)
        for factor in factors[name]:
            product = product * factor
        return product.sum(axis=1, keepdims=True) if scope == "flat" else product


class Totals(dict[str, np.ndarray]):
    """Totals (n_rows, k) of sums by key, patients weighted by each row (n_rows, n_patients)."""

    def __init__(self, weights: np.ndarray, sums: SumsByKey) -> None:
        super().__init__()
        self.weights, self.sums = np.asarray(weights, float), sums

    def __missing__(self, key: str) -> np.ndarray:
        return self.setdefault(key, self.weights @ self.sums[key])


def _eye_mean(t: Totals, key: str) -> np.ndarray:
    return divide(*t[key].T)


def _co_moment(t: Totals, a: str, b: str, scope: str) -> np.ndarray:
    """Return sums of co-deviations of a and b (n_rows, k).

    ``scope`` is 'angle' (deviations from the mean at each angle, k = 360), 'flat' (from the mean of
    all entries, k = 1) or 'mean' (of the eyes' mean thickness, k = 1).
    """
    prefix = "" if scope == "angle" else f"{scope}:"
    n, sa, sb, sab = (t[prefix + key] for key in ("1", a, b, _product(a, b)))
    return beyond_rounding(sab - sa * sb / np.maximum(n, 1), sab)


def _total_co_moment(t: Totals, a: str, b: str, scope: str) -> np.ndarray:
    """Return sums over angles of co-deviations (n_rows,), 'angle' without products by angle."""
    if scope != "angle":
        return _co_moment(t, a, b, scope)[:, 0]
    explained = (t[a] * t[b] / np.maximum(t["1"], 1)).sum(axis=1)
    total = t[f"flat:{_product(a, b)}"][:, 0]
    return beyond_rounding(total - explained, total)


def _product(a: str, b: str) -> str:
    return "".join(sorted(a + b))


def beyond_rounding(deviation: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Return sums of (co-)deviations, 0 where they are rounding of the total of products."""
    return np.where(np.abs(deviation) < TINY * np.abs(total), 0.0, deviation)


def _variance(t: Totals, a: str, scope: str) -> np.ndarray:
    return divide(np.maximum(_total_co_moment(t, a, a, scope), 0), t["flat:1"][:, 0])


def _sd(t: Totals, a: str, scope: str) -> np.ndarray:
    return np.sqrt(_variance(t, a, scope))


def _template_sd(t: Totals, a: str) -> np.ndarray:
    return np.sqrt(np.maximum(_variance(t, a, "flat") - _variance(t, a, "angle"), 0))


def _correlation(t: Totals, scope: str) -> np.ndarray:
    xy, xx, yy = (_co_moment(t, *pair, scope) for pair in ("xy", "xx", "yy"))
    r = divide(xy, np.sqrt(np.maximum(xx, 0) * np.maximum(yy, 0)))
    defined = np.isfinite(r)
    return divide(np.where(defined, r, 0.0).sum(axis=1), defined.sum(axis=1))


def _squared_error(t: Totals) -> np.ndarray:
    return divide(t["flat:xx"] - 2 * t["flat:xy"] + t["flat:yy"], t["flat:1"])[:, 0]


def _ccc(t: Totals) -> np.ndarray:
    n, x, y = (t[f"flat:{key}"][:, 0] for key in ("1", "x", "y"))
    covariance = divide(_total_co_moment(t, "x", "y", "flat"), n)
    shift = divide(x - y, n) ** 2
    return divide(2 * covariance, _variance(t, "x", "flat") + _variance(t, "y", "flat") + shift)


def _slope(t: Totals, on: str) -> np.ndarray:
    return divide(*(_total_co_moment(t, *pair, "angle") for pair in ("xy", on + on)))


VALUES: dict[str, Callable[[Totals], np.ndarray]] = {
    "mae": partial(_eye_mean, key="mae"),
    "rmse": lambda t: np.sqrt(_eye_mean(t, "squared_error")),
    "r2": lambda t: 1 - divide(_squared_error(t), _variance(t, "y", "flat")),
    "ccc": _ccc,
    "gradient_mae": partial(_eye_mean, key="gradient_mae"),
    "pearson_per_eye": partial(_eye_mean, key="pearson_per_eye"),
    "pearson_pooled": partial(_correlation, scope="flat"),
    "pearson_between_eyes": partial(_correlation, scope="angle"),
    "sigma_between": partial(_sd, a="x", scope="angle"),
    "sigma_between_target": partial(_sd, a="y", scope="angle"),
    "sigma_ratio": lambda t: divide(_sd(t, "x", "angle"), _sd(t, "y", "angle")),
    "sigma_flat": partial(_sd, a="x", scope="flat"),
    "sigma_flat_target": partial(_sd, a="y", scope="flat"),
    "sigma_template": partial(_template_sd, a="x"),
    "sigma_template_target": partial(_template_sd, a="y"),
    "global_mae": partial(_eye_mean, key="global_mae"),
    "bias": partial(_eye_mean, key="bias"),
    "global_r": partial(_correlation, scope="mean"),
    "response_slope": partial(_slope, on="y"),
    "calibration_slope": partial(_slope, on="x"),
    "template_share": lambda t: divide(_template_sd(t, "x") ** 2, _variance(t, "x", "flat")),
}


def replicates(names: Iterable[str], sums: SumsByKey, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return metrics of :data:`VALUES` under each row of weights, (n_rows,) by name.

    ``sums`` are of one run, ``weights`` (n_rows, n_patients) as
    :func:`analysis.resampling.bootstrap.patient_counts` gives them. Metrics share the totals of a
    block of rows, which are let go before the next block.
    """
    out = {name: np.empty(len(weights)) for name in names}
    for rows in blocks(len(weights)):
        totals = Totals(weights[rows], sums)
        for name, values in out.items():
            values[rows] = VALUES[name](totals)
    return out
