"""The freezing regression on real runs: over runs, with seeds as random effect, and over patients.

One slope, four intervals, because "how sure" depends on what else could have come out:

- ``line`` (OLS on runs): other runs of the same recipe on the same test eyes.
- ``seeds`` (random intercept and slope per seed): other seeds on the same test eyes. Each seed has
  a slope of its own; with the same shares in every seed the mixed model's estimate is their mean,
  and Student's t with one degree less than there are seeds makes its interval. Over random slopes
  it covers 95 % with 2, 3 or 10 seeds; a random intercept alone covered 43, 53 and 66 % there.
- ``patients``: other test patients, given these very runs. Each eye has a slope of its own, its
  errors against the frozen share; their mean is the OLS slope exactly.
- ``patients and seeds``: both, the interval to quote. A single seed leaves it to patients alone.

None covers another split of the data, other pretrained weights, or a curve that is no line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from scipy import stats

from analysis.freezing import (
    HALF_LIFE,
    NAN,
    columns,
    compare,
    linear,
    linear_band,
    power,
    saturating,
    saturating_band,
    step,
)
from analysis.resampling import DEFAULT, Resampling
from analysis.resampling.bootstrap import LEVEL, mean_interval, mean_replicates
from analysis.resampling.conditions import Condition, check_same_eyes, load_run, row
from analysis.resampling.scales import on_scale
from rnfl.core import metrics

PAPER_REACH = 50  # percent: as far as the paper froze
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
    found = (load_run(predictions, run_id) for run_id in table["run_id"])
    mae = [metrics.mae(run.prediction, run.target) for run in found]
    return table.assign(percent_frozen=100 * runs["freeze_fraction"].to_numpy(float), mae=mae)


def influence(points: pd.DataFrame) -> pd.DataFrame:
    """Add the leverage of each run on its backbone's line over all shares, and Cook's distance."""
    fitted = [(mine, linear(mine)) for _, mine in points.groupby("backbone", sort=False)]
    return pd.concat([mine.assign(leverage=a.leverage, cooks=a.cooks) for mine, a in fitted])


def spans(points: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the points within the paper's reach and, where some lie beyond it, all points."""
    reach = points["percent_frozen"].max()
    inside = points[points["percent_frozen"] <= PAPER_REACH + 1e-9]
    papers = {f"0 to {PAPER_REACH} %": inside} if reach > PAPER_REACH else {}
    return {**papers, f"0 to {reach:.0f} %": points}


def by_seed(points: pd.DataFrame) -> dict[str, object]:
    """Fit ``mae ~ percent_frozen`` with a random intercept and a random slope per seed.

    Gives slope_per_10, low, high and seed_sd (of the seeds' own slopes; µm per 10 %), p, n, n_seeds
    and ``note``: how many seeds have a slope, or why there is no fit.
    """
    x, y = columns(points)
    seeds = points["seed"].to_numpy()
    own = [10 * slope_weights(x[seeds == one]) @ y[seeds == one] for one in np.unique(seeds)]
    own = np.array([slope for slope in own if np.isfinite(slope)])
    found = dict.fromkeys(("slope_per_10", "low", "high", "p", "seed_sd"), NAN)
    found |= {"n": len(points), "n_seeds": len(np.unique(seeds))}
    if len(own) < 2:
        return {**found, "note": "one seed: not possible" if len(own) else "too few runs"}
    mean, sd = float(own.mean()), float(own.std(ddof=1))
    found |= {"slope_per_10": mean, "seed_sd": sd, "note": f"slopes of {len(own)} seeds"}
    if sd > 0:
        test = stats.t(len(own) - 1, mean, sd / np.sqrt(len(own)))
        low, high = test.interval(LEVEL)
        found |= {"low": low, "high": high, "p": 2 * min(test.cdf(0), test.sf(0))}
    return found


def regressions(
    points: pd.DataFrame, predictions: pd.DataFrame, resampling: Resampling = DEFAULT
) -> pd.DataFrame:
    """Return every regression of error on the frozen share, one long table.

    ``points`` are those of :func:`run_points`; ``predictions``, of the same runs, are for the views
    over patients.

    Returns
    -------
    DataFrame
        backbone, span (the range of shares: the paper's, and all), model ('constant', 'line',
        'step', 'saturating'; 'seeds', 'patients', 'patients and seeds'), metric, attribute, group,
        estimate, low, high, n (runs, or eyes for the views over patients), n_seeds, seed_sd, p,
        note. Metrics: slope_per_10 (µm per 10 %), relative_per_10 (% of the unfrozen MAE per
        10 %), skill_per_10 (% per 10 % of the unfrozen model's skill, its MAE below the template's;
        where the template is predicted and beaten), intercept, difference (step, µm), a, b, c,
        half_life (%), power (%), r_squared, rss, aicc, delta, weight, seed_sd.
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

    As backbone, model, percent_frozen, estimate, low, high (µm): 95 % limits over runs.
    """
    parts = []
    for backbone, mine in points.groupby("backbone", sort=False):
        at = np.linspace(0, mine["percent_frozen"].max(), n_at)
        fits = {
            "line": (linear(mine), linear_band(mine, at)),
            "saturating": (saturating(mine), saturating_band(mine, at, n_boot)),
        }
        for model, (fit, (low, high)) in fits.items():
            one = {"backbone": backbone, "model": model, "percent_frozen": at}
            parts.append(pd.DataFrame({**one, "estimate": fit.at(at), "low": low, "high": high}))
    return pd.concat(parts, ignore_index=True)


def _over_runs(points: pd.DataFrame) -> Iterator[dict[str, object]]:
    about = {"n": len(points), "n_seeds": points["seed"].nunique()}

    def found(model: str, metric: str, value: float, **more: object) -> dict[str, object]:
        return {"model": model, "metric": metric, "estimate": value, **about, **more}

    for one in compare(points).to_dict("records"):
        for metric in ("r_squared", "rss", "aicc", "delta", "weight"):
            yield found(one["model"], metric, one[metric])
    line, jump, curve, random = (f(points) for f in (linear, step, saturating, by_seed))
    yield found("line", "slope_per_10", line.slope_per_10, low=line.low, high=line.high, p=line.p)
    yield found("line", "intercept", line.intercept)
    yield found("step", "difference", jump.difference, low=jump.low, high=jump.high, p=jump.p)
    note = "c is identified" if curve.identified else "c is not identified"
    ends = {"low": curve.c_low, "high": curve.c_high}
    yield found("saturating", "a", curve.a)
    yield found("saturating", "b", curve.b, note=note)
    yield found("saturating", "c", curve.c, **ends, note=note)
    halves = {key: value * np.log(2) for key, value in ends.items()}
    yield found("saturating", "half_life", curve.half_life, **halves, note=note)
    yield found("saturating", "power", power(points), note=f"half-life {HALF_LIFE} %")
    limits = {key: random[key] for key in ("low", "high", "p", "note")}
    yield found("seeds", "slope_per_10", random["slope_per_10"], **limits)
    yield found("seeds", "seed_sd", random["seed_sd"], note=random["note"])


def _over_patients(
    points: pd.DataFrame, predictions: pd.DataFrame, resampling: Resampling
) -> Iterator[Mapping[str, object]]:
    condition = Condition({}, tuple(load_run(predictions, run_id) for run_id in points["run_id"]))
    check_same_eyes([condition])
    first = condition.runs[0]
    errors = condition.errors
    template = np.full(1 + resampling.n_boot, NAN)
    if (predictions["run_id"] == "template").any():
        known = load_run(predictions, "template")
        template = mean_replicates(metrics.mae_per_eye(known.prediction, known.target)[None],
                               known.codes, resampling)[:, 0]  # fmt: skip
    x, seeds = points["percent_frozen"].to_numpy(float), points["seed"].to_numpy()
    ids = first.patients[first.codes]
    estimate, low, high = mean_interval(10 * slope_weights(x) @ errors, ids, resampling)
    about = {"metric": "slope_per_10", "estimate": estimate, "low": low, "high": high}
    counted = {"n": int(np.isfinite(errors[0]).sum()), "n_seeds": len(np.unique(seeds))}
    yield {"model": "patients", **about, **counted}
    both = mean_replicates(errors, first.codes, resampling)  # (1 + n_boot, runs)
    slopes, relative, skill = [], [], []
    for one in np.unique(seeds):
        mine = seeds == one
        if len(np.unique(x[mine])) < 2 or not (x[mine] == 0).any():
            continue
        slopes.append(10 * both[:, mine] @ slope_weights(x[mine]))
        unfrozen = both[:, mine & (x == 0)].mean(axis=1)
        relative.append(100 * slopes[-1] / unfrozen)
        skill.append(100 * slopes[-1] / np.where(template > unfrozen, template - unfrozen, NAN))
    named = {"slope_per_10": slopes, "relative_per_10": relative, "skill_per_10": skill}
    for metric, values in named.items():
        values = np.array(values or [np.full(1 + resampling.n_boot, NAN)])
        wide = on_scale(metric, values, condition.n_patients)
        key = {"model": "patients and seeds"}
        yield row(key, metric, wide[:, 0], wide[:, 1:], counted["n"], resampling)


def slope_weights(x: np.ndarray) -> np.ndarray:
    """Return the weights (n,) whose product with values at x is their least-squares slope."""
    deviation = x - x.mean()
    spread = np.sum(deviation**2)
    return deviation / spread if spread > 0 else np.full(len(x), NAN)
