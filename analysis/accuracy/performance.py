"""How well each backbone and protocol predicts, and which of two predicts better (Table 1).

Intervals are clustered by patient. Two models are compared on the same eyes: effect size, interval,
permutation test, Holm's correction.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.collapse import DEFINITIONS
from analysis.fairness import fairness_table
from analysis.resampling import DEFAULT, PAIRED, Resampling
from analysis.resampling.bootstrap import RunNoise, pooled
from analysis.resampling.comparisons import compared_row, exchanges, holm
from analysis.resampling.conditions import (
    BASELINES,
    BY,
    Condition,
    Run,
    check_same_eyes,
    conditions,
    conditions_and_eyes,
    counterpart,
    estimate,
    paired_runs,
    row,
)
from analysis.resampling.patient_sums import MetricFunction, PatientSums, SumsByKey, replicates
from analysis.resampling.scales import calibrated
from rnfl.core.metrics import METRICS, mae

Values = tuple[np.ndarray, np.ndarray]  # estimates (k,), replicates (k, n_boot)


def performance_table(
    predictions: pd.DataFrame,
    samples: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    resampling: Resampling = DEFAULT,
    definitions: dict[str, MetricFunction] = METRICS,
) -> pd.DataFrame:
    """Return every metric of each condition, and of the template and the label-noise floor.

    ``predictions`` and ``runs`` are those of :func:`analysis.resampling.conditions.conditions`;
    every predicted eye must be in ``samples`` and belong to the same patient.

    Returns
    -------
    DataFrame
        Long: backbone, protocol, metric, attribute 'all', group 'all', estimate, low, high, n,
        n_seeds, seed_sd. With both baselines there is also ``covered``, the share of the way from
        the template to the label-noise floor that the MAE covers: 0 and 1 at these.

    Raises
    ------
    ValueError
        When an eye is absent from ``samples``, a run from ``runs``, or the baselines and the
        models were evaluated on different eyes.
    """
    given, wanted = (predictions, samples, runs), {"mae": mae, **definitions}
    found = [(one, estimate(one, wanted, resampling)) for one, _ in conditions_and_eyes(*given)]
    rows = [
        row(one.key, name, *values[name], one.n, resampling)
        for one, values in found
        for name in definitions
    ]
    ends = {one.runs[0].run_id: values["mae"] for one, values in found if one.is_baseline}
    if {"template", "oracle"} <= ends.keys():
        check_same_eyes([one for one, _ in found])
        rows += [
            row(one.key, "covered", *_covered(values["mae"], **ends), one.n, resampling)
            for one, values in found
        ]
    return pd.DataFrame(rows)


def _covered(mae: Values, template: Values, oracle: Values) -> Values:
    """Return (template - mae) / (template - oracle), in the data and within each resample."""
    return tuple((t - m) / (t - o) for m, t, o in zip(mae, template, oracle, strict=True))


def paired_comparisons(
    predictions: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    against: Sequence[str] = ("naive", "template"),
    metrics: Sequence[str] = ("mae", "sigma_between"),
    by: Sequence[str] = BY,
    resampling: Resampling = PAIRED,
    pool: bool = False,
) -> pd.DataFrame:
    """Compare each condition with another one on the same eyes.

    The interval resamples patients, and seeds where there are several; p is that of
    :mod:`analysis.resampling.comparisons`. Holm's correction covers all comparisons of one metric.
    ``predictions``, ``runs`` and ``by`` are those of
    :func:`analysis.resampling.conditions.conditions`; runs are paired by seed, a single run with
    each. ``against`` are ``template`` or ``oracle`` (the baselines), or a protocol, compared within
    its backbone. With ``pool`` all differences of a metric from the same ``against`` have one SD
    over seeds (:func:`analysis.resampling.bootstrap.pooled`): few seeds know their own SD roughly.

    Returns
    -------
    DataFrame
        Columns ``by``, against, metric, estimate (row minus ``against``), low, high, p, p_holm, n,
        n_seeds, seed_sd.

    Raises
    ------
    ValueError
        When two compared runs predict different eyes or share no seed.
    """
    table = list(conditions(predictions, runs, by))
    baselines = {one.runs[0].run_id: one for one in table if one.is_baseline}
    trained = [one for one in table if not one.is_baseline]
    rows = []
    for name in against:
        others = [
            baselines.get(name) if name in BASELINES else counterpart(condition, name, trained)
            for condition in trained
        ]
        pairs = [pair for pair in zip(trained, others, strict=True) if pair[1] is not None]
        noise = dict.fromkeys(metrics)
        if pool:
            noise = {one: _noise(pairs, one) for one in metrics}
        rows += [
            {**a.key, "against": name} | compare(a, b, metric, resampling, noise[metric])
            for a, b in pairs
            for metric in metrics
        ]
    columns = [*by, "against", "metric", "estimate", "low", "high", "p", "p_holm", "n", "n_seeds"]
    frame = pd.DataFrame(rows, columns=[*columns, "seed_sd"])
    return frame.assign(p_holm=frame.groupby("metric")["p"].transform(holm))


def _pairs(a: Condition, b: Condition) -> list[tuple[Run, Run]]:
    """Return the runs to compare; a single run, as a baseline has, is compared with every run."""
    return [(run, b.runs[0]) for run in a.runs] if len(b.runs) == 1 else paired_runs(a, b)


def _noise(pairs: Sequence[tuple[Condition, Condition]], metric: str) -> RunNoise | None:
    """Return what seeds do to a metric's difference, from all conditions that are compared."""
    groups: dict[tuple, list[np.ndarray]] = {}
    for a, b in pairs:
        members = groups.setdefault(tuple(v for k, v in a.key.items() if k != "protocol"), [])
        # The other one of a group is one condition, and the first among them.
        members += [_by_seed(one, metric) for one in ((a,) if members else (b, a))]
    paired = len(pairs) > 0 and not pairs[0][1].is_baseline
    found = []
    for members in groups.values():
        trained = members if paired else members[1:]
        seeds = sorted(set.intersection(*(set(one) for one in trained)))
        found.append(np.array([[one[seed] for seed in seeds] for one in trained]))
    return pooled(found, paired)


def _by_seed(condition: Condition, metric: str) -> dict[int | None, float]:
    measure = DEFINITIONS[metric]
    return {run.seed: measure(run.prediction, run.target) for run in condition.runs}


class _Exchange(dict[str, np.ndarray]):
    """Sums of one model over all patients, then what each patient changes when exchanged."""

    def __init__(self, own: PatientSums, other: PatientSums) -> None:
        super().__init__()
        self.own, self.other = own, other

    def __missing__(self, key: str) -> np.ndarray:
        own, other = self.own[key], self.other[key]
        return self.setdefault(key, np.vstack([own.sum(axis=0), other - own]))


def compare(
    a: Condition,
    b: Condition,
    metric: str,
    resampling: Resampling = PAIRED,
    noise: RunNoise | None = None,
) -> dict[str, object]:
    """Return the comparison of two conditions, a minus b, as a row of :func:`paired_comparisons`.

    With several seeds the differences by seed are the sample of which ``seed_noise`` draws, both
    in the interval and in the null. The p-value is uniform under the null with one seed, and with
    several whose noise dominates. Where runs differ only in which eyes they get wrong it is too
    large, never too small: with 3 seeds, 1 % of such nulls are rejected at 5 %.
    """
    counts, swap = resampling.counts(a.n_patients), exchanges(a.n_patients, resampling)
    weights = np.hstack([np.ones_like(swap[:, :1]), swap])

    def value(sums: SumsByKey, weights: np.ndarray) -> np.ndarray:
        return replicates([metric], sums, weights)[metric]

    check_same_eyes([a, b])
    pairs = _pairs(a, b)
    estimates, resampled, null = [], [], []
    for x, y in pairs:
        ends = [DEFINITIONS[metric](run.prediction, run.target) for run in (x, y)]
        estimates.append(ends[0] - ends[1])
        again = [
            calibrated(metric, end, value(run.sums, counts), a.n_patients)
            for end, run in zip(ends, (x, y), strict=True)
        ]
        resampled.append(again[0] - again[1])
        swapped = _Exchange(x.sums, y.sums), _Exchange(y.sums, x.sums)
        null.append(np.subtract(*(value(sums, weights) for sums in swapped)))
    found = np.array(estimates), np.array(resampled), np.mean(null, axis=0)
    return compared_row({}, metric, *found, a.n, resampling, noise=noise)


def table1(
    predictions: pd.DataFrame,
    samples: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    resampling: Resampling = DEFAULT,
) -> pd.DataFrame:
    """Return :func:`performance_table`, measures of collapse among its metrics, and group errors.

    That is everything Table 1 is made from; group errors are those of
    :func:`analysis.fairness.fairness_table`.
    """
    table = performance_table(predictions, samples, runs, resampling, DEFINITIONS)
    fair = fairness_table(predictions, samples, runs, resampling)
    return pd.concat([table, fair], ignore_index=True)
