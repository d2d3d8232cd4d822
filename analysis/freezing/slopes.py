"""The freezing regression on real runs: over runs, with seeds as random effect, and over patients.

One slope, four intervals, because "how sure" depends on what else could have come out:

- ``line`` (OLS on runs): other runs of the same recipe on the same test eyes.
- ``mixed`` (random intercept per seed): the same, but what a seed shares by all its runs is set
  apart from what varies within it. It needs two seeds; two or three estimate their variance badly.
- ``patients``: other test patients, given these very runs. Each eye has a slope of its own, its
  errors against the frozen share; their mean is the OLS slope exactly.
- ``patients and seeds``: both, the interval to quote. A single seed leaves it to patients alone.

None covers another split of the data, other pretrained weights, or a curve that is no line.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from statsmodels.formula.api import mixedlm

from analysis.freezing import (
    NAN,
    columns,
    compare,
    exact,
    linear,
    linear_band,
    saturating,
    saturating_band,
    step,
)
from analysis.resampling import DEFAULT, Resampling
from analysis.resampling.bootstrap import (
    LEVEL,
    mean_interval,
    patient_sums,
    widening,
)
from analysis.resampling.conditions import Condition, check_same_eyes, load_run, row
from rnfl.core import metrics

PAPER_REACH = 50  # percent: as far as the paper froze
BOUNDARY = 0.01  # variance between seeds over that within; below it statsmodels warns, too
COLUMNS = ("backbone", "span", "model", "metric", "attribute", "group", "estimate", "low", "high",
           "n", "n_seeds", "seed_sd", "p", "note")  # fmt: skip


def run_points(predictions: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per run: run_id, backbone, protocol, seed, percent_frozen (%), mae (µm).

    Parameters
    ----------
    predictions : DataFrame
        Of several runs; the baselines are left out.
    runs : DataFrame
        run_id, backbone, protocol, seed, freeze_fraction.

    Raises
    ------
    ValueError
        When a run was not predicted.
    """
    table = runs[["run_id", "backbone", "protocol", "seed"]].reset_index(drop=True)
    mae = [
        metrics.mae(run.prediction, run.target)
        for run in (load_run(predictions, run_id) for run_id in table["run_id"])
    ]
    return table.assign(percent_frozen=100 * runs["freeze_fraction"].to_numpy(float), mae=mae)


def influence(points: pd.DataFrame) -> pd.DataFrame:
    """Add the leverage of each run on its backbone's line over all shares, and Cook's distance."""
    parts = []
    for _, mine in points.groupby("backbone", sort=False):
        line = linear(mine)
        parts.append(mine.assign(leverage=line.leverage, cooks=line.cooks))
    return pd.concat(parts)


def spans(points: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the points within the paper's reach and, where some lie beyond it, all points."""
    reach = points["percent_frozen"].max()
    chosen = {f"0 to {reach:.0f} %": points}
    if reach > PAPER_REACH:
        inside = points[points["percent_frozen"] <= PAPER_REACH + 1e-9]
        chosen = {f"0 to {PAPER_REACH} %": inside, **chosen}
    return chosen


def mixed(points: pd.DataFrame) -> dict[str, object]:
    """Fit ``mae ~ percent_frozen`` with a random intercept per seed (REML).

    The interval of the slope is normal, not t: with few seeds it is somewhat too narrow.

    Returns
    -------
    dict
        slope_per_10, low, high (µm per 10 %), p, seed_sd and residual_sd (µm), n, n_seeds, and
        ``note``: 'converged', 'not converged', 'boundary, no variance between seeds', which
        leaves the fit of OLS, or why there is none; then statsmodels' own warnings, if any.
    """
    x, y = columns(points)
    seeds = points["seed"].nunique()
    keys = ("slope_per_10", "low", "high", "p", "seed_sd", "residual_sd")
    found: dict[str, object] = {**dict.fromkeys(keys, NAN), "n": len(points), "n_seeds": seeds}
    if seeds < 2 or len(np.unique(x)) < 2 or len(points) < seeds + 3:
        return {**found, "note": "one seed: not possible" if seeds < 2 else "too few runs"}
    if exact(linear(points).rss, y):
        return {**found, "note": "the runs lie on a line: no variance to divide"}
    unit = float(np.sqrt(linear(points).rss / len(points)))
    data = points.assign(mae=y / unit)  # statsmodels' thresholds are absolute: make them mean one
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fit = mixedlm("mae ~ percent_frozen", data, groups=data["seed"]).fit(reml=True)
            low, high = 10 * unit * fit.conf_int(1 - LEVEL).loc["percent_frozen"].to_numpy(float)
            p = float(fit.pvalues["percent_frozen"])
        except np.linalg.LinAlgError as error:
            return {**found, "note": f"not fitted: {error}"}
    variance = float(np.asarray(fit.cov_re).item())
    found |= {
        "slope_per_10": 10 * unit * float(fit.fe_params["percent_frozen"]),
        "low": float(low),
        "high": float(high),
        "p": p,
        "seed_sd": unit * float(np.sqrt(max(variance, 0.0))),
        "residual_sd": unit * float(np.sqrt(fit.scale)),
    }
    verdict = "converged" if fit.converged else "not converged"
    if variance < BOUNDARY * fit.scale:
        verdict = "boundary, no variance between seeds"
    said = dict.fromkeys(str(one.message).split(". ")[0].strip(".") for one in caught)
    return {**found, "note": "; ".join([verdict, *(f"statsmodels: {one}" for one in said)])}


def regressions(
    points: pd.DataFrame, predictions: pd.DataFrame, resampling: Resampling = DEFAULT
) -> pd.DataFrame:
    """Return every regression of error on the frozen share, one long table.

    Parameters
    ----------
    points : DataFrame
        From :func:`run_points`.
    predictions : DataFrame
        The same runs, for the views over patients.

    Returns
    -------
    DataFrame
        backbone, span (the range of shares: the paper's, and all), model ('constant', 'line',
        'step', 'saturating'; 'mixed', 'patients', 'patients and seeds'), metric, attribute, group,
        estimate, low, high, n (runs, or eyes for the views over patients), n_seeds, seed_sd, p,
        note. Metrics: slope_per_10 (µm per 10 %), relative_per_10 (% of the unfrozen MAE per
        10 %), intercept, difference (step, µm), a, b, c, half_life (%), r_squared, rss, aicc,
        delta, weight, seed_sd, residual_sd.
    """
    rows = []
    for backbone, mine in points.groupby("backbone", sort=False):
        for span, chosen in spans(mine).items():
            key = {"backbone": backbone, "span": span}
            rows += [{**key, **one} for one in _over_runs(chosen)]
            rows += [{**key, **one} for one in _over_patients(chosen, predictions, resampling)]
    frame = pd.DataFrame(rows).assign(attribute="all", group="all")
    return frame.reindex(columns=COLUMNS).fillna({"note": ""})


def curves(points: pd.DataFrame, n_boot: int = 1000, n_at: int = 61) -> pd.DataFrame:
    """Return the fitted line and saturating curve of each backbone over all its shares.

    Returns
    -------
    DataFrame
        backbone, model, percent_frozen, estimate, low, high (µm): 95 % limits over runs.
    """
    parts = []
    for backbone, mine in points.groupby("backbone", sort=False):
        at = np.linspace(0, mine["percent_frozen"].max(), n_at)
        bands = {"line": linear_band(mine, at), "saturating": saturating_band(mine, at, n_boot)}
        fits = {"line": linear(mine), "saturating": saturating(mine)}
        for model, (low, high) in bands.items():
            fitted = {"percent_frozen": at, "estimate": fits[model].at(at)}
            parts.append(
                pd.DataFrame({"backbone": backbone, "model": model, **fitted, "low": low,
                              "high": high})
            )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _over_runs(points: pd.DataFrame) -> Iterator[dict[str, object]]:
    about = {"n": len(points), "n_seeds": points["seed"].nunique()}

    def found(model: str, metric: str, value: float, **more: object) -> dict[str, object]:
        return {"model": model, "metric": metric, "estimate": value, **about, **more}

    for one in compare(points).to_dict("records"):
        for metric in ("r_squared", "rss", "aicc", "delta", "weight"):
            yield found(one["model"], metric, one[metric])
    line, jump, curve, random = (f(points) for f in (linear, step, saturating, mixed))
    limits = {"low": line.low, "high": line.high, "p": line.p}
    yield found("line", "slope_per_10", line.slope_per_10, **limits)
    yield found("line", "intercept", line.intercept)
    limits = {"low": jump.low, "high": jump.high, "p": jump.p}
    yield found("step", "difference", jump.difference, **limits)
    note = "c is identified" if curve.identified else "c is not identified"
    ends = {"low": curve.c_low, "high": curve.c_high}
    yield found("saturating", "a", curve.a)
    yield found("saturating", "b", curve.b, note=note)
    yield found("saturating", "c", curve.c, **ends, note=note)
    halves = {key: value * np.log(2) for key, value in ends.items()}
    yield found("saturating", "half_life", curve.half_life, **halves, note=note)
    limits = {key: random[key] for key in ("low", "high", "p", "note")}
    yield found("mixed", "slope_per_10", random["slope_per_10"], **limits)
    for metric in ("seed_sd", "residual_sd"):
        yield found("mixed", metric, random[metric], note=random["note"])


def _over_patients(
    points: pd.DataFrame, predictions: pd.DataFrame, resampling: Resampling
) -> Iterator[Mapping[str, object]]:
    condition = Condition({}, tuple(load_run(predictions, run_id) for run_id in points["run_id"]))
    check_same_eyes([condition])
    first = condition.runs[0]
    errors = condition.errors
    x, seeds = points["percent_frozen"].to_numpy(float), points["seed"].to_numpy()
    measured = np.isfinite(errors[0])
    ids = first.patients[first.codes]
    estimate, low, high = mean_interval(10 * slope_weights(x) @ errors, ids, resampling)
    about = {"metric": "slope_per_10", "estimate": estimate, "low": low, "high": high}
    counted = {"n": int(measured.sum()), "n_seeds": len(np.unique(seeds))}
    yield {"model": "patients", **about, **counted}
    eyes = np.vstack([np.where(measured, errors, 0.0), measured]).T
    totals = resampling.counts(condition.n_patients) @ patient_sums(eyes, first.codes)
    drawn = totals[:, :-1] / np.maximum(totals[:, -1:], 1)  # (n_boot, runs)
    slopes, relative = [], []
    for one in np.unique(seeds):
        mine = seeds == one
        if len(np.unique(x[mine])) < 2 or not (x[mine] == 0).any():
            continue
        both = np.vstack([points["mae"].to_numpy(float)[mine], drawn[:, mine]])
        slopes.append(10 * both @ slope_weights(x[mine]))
        relative.append(100 * slopes[-1] / both[:, x[mine] == 0].mean(axis=1))
    for metric, values in (("slope_per_10", slopes), ("relative_per_10", relative)):
        values = np.array(values or [np.full(1 + resampling.n_boot, NAN)])
        key = {"model": "patients and seeds"}
        found = values[:, :1]
        error = widening(condition.n_patients) * (values[:, 1:] - found)
        yield row(key, metric, found[:, 0], found + error, counted["n"], resampling)


def slope_weights(x: np.ndarray) -> np.ndarray:
    """Return the weights (n,) whose product with values at x is their least-squares slope."""
    deviation = x - x.mean()
    spread = np.sum(deviation**2)
    return deviation / spread if spread > 0 else np.full(len(x), NAN)
