"""Simulated studies with a known population: patients of one or two correlated eyes, two models.

The sizes follow the phantom's test set: 62 % of patients have two eyes, fellow eyes correlate by
0.78, the eyes' mean thickness has SD 16 µm and a tail to the thin side, ``sigma_between`` of the
profiles is 20 µm. Two models predict the same eyes and share part of their errors; their MAE is 13
and 15 µm, their correlation over angles 0.8. Six angles stand for the 360: every metric takes any
number.
"""

from functools import cache

import numpy as np

from analysis.resampling.bootstrap import patient_counts
from analysis.resampling.patient_sums import VALUES, PatientSums
from analysis.resampling.scales import calibrated

TWO_EYES = 0.62
FELLOW = 0.78  # correlation of fellow eyes
THETA = np.deg2rad(np.arange(6) * 60 + 15)
HUMP = 88 - 26 * np.cos(2 * THETA)
WAVES = 6 * np.stack([f(m * THETA) for m in (1, 2) for f in (np.cos, np.sin)])
SKEW = 0.05
KEPT = {"a": 0.7, "b": 0.5}  # share of an eye's deviation from the hump that each model predicts
OWN, SHARED = 10.5, 11.2  # µm, SD of the errors of one model and of those that both make


def draw_eyes(n_patients, rng, n_studies=1):
    """Return eyes of studies end to end, sorted by patient: codes (n,), targets, predictions."""
    total = n_patients * n_studies
    codes = np.repeat(np.arange(total), 1 + (rng.random(total) < TWO_EYES))
    n = len(codes)

    def fellows(width):
        own, shared = rng.normal(size=(n, width)), rng.normal(size=(total, width))[codes]
        return np.sqrt(FELLOW) * shared + np.sqrt(1 - FELLOW) * own

    z = fellows(1)
    level = 16 * (z - SKEW * (z**2 - 1)) / np.sqrt(1 + 2 * SKEW**2)
    shape = fellows(len(WAVES)) @ WAVES + 7 * rng.normal(size=(n, len(THETA)))
    truth = HUMP + level * HUMP / HUMP.mean() + shape
    target = truth + 4 * rng.normal(size=truth.shape)
    common = SHARED * (fellows(1) + rng.normal(size=truth.shape)) / np.sqrt(2)
    predictions = {
        name: HUMP + kept * (truth - HUMP) + common + OWN * rng.normal(size=truth.shape)
        for name, kept in KEPT.items()
    }
    return codes, target, predictions


class Sums:
    """Totals by key, made when asked for: what :data:`VALUES` takes, for many studies at once."""

    def __init__(self, totals):
        self.totals = totals

    def __getitem__(self, key):
        return self.totals(key)


@cache
def population(n_patients=150_000, seed=2026):
    """Return the value of each metric and model in the population, from one huge study."""
    codes, target, predictions = draw_eyes(n_patients, np.random.default_rng(seed))
    out = {}
    for name, prediction in predictions.items():
        sums = PatientSums(prediction, target, codes)
        whole = Sums(lambda key, sums=sums: sums[key].sum(axis=0, keepdims=True))
        out |= {(name, metric): float(value(whole)[0]) for metric, value in VALUES.items()}
    return out | {("a-b", metric): out["a", metric] - out["b", metric] for metric in VALUES}


def replicated(n_patients, n_boot, n_studies, rng, extra=()):
    """Yield (model, metric, estimates (S, 1), replicates (S, n_boot)) of simulated studies.

    ``extra`` holds further rows of weights by patient; their values follow the replicates.
    """
    codes, target, predictions = draw_eyes(n_patients, rng, n_studies)
    counts = patient_counts(n_patients, n_boot, seed=int(rng.integers(2**31)))
    weights = np.vstack([np.ones(n_patients), counts, *extra])
    totals = {}
    for name, prediction in predictions.items():
        sums = PatientSums(prediction, target, codes)

        @cache
        def total(key, sums=sums):
            by_study = sums[key].reshape(n_studies, n_patients, -1)
            return np.matmul(weights, by_study).reshape(n_studies * len(weights), -1)

        totals[name] = Sums(total)
    for metric, value in VALUES.items():
        for name, one in totals.items():
            values = value(one).reshape(n_studies, -1)
            yield name, metric, values[:, :1], values[:, 1:]


def intervals(n_patients, n_boot, n_studies, rng, method=calibrated):
    """Yield (model or 'a-b', metric, low, high), each (S,), as the project's tables get them."""
    kept = {}
    for name, metric, estimates, replicates in replicated(n_patients, n_boot, n_studies, rng):
        kept[name] = method(metric, estimates, replicates, n_patients)
        yield name, metric, *ends(kept[name])
        if name == "b" and not metric.endswith("_target"):
            yield "a-b", metric, *ends(kept["a"] - kept["b"])


def ends(replicates):
    """Return the interval's ends of each study at once; a test holds them to ``interval``."""
    return np.quantile(replicates, [0.025, 0.975], axis=1, method="weibull")


def coverage(n_patients, n_boot, n_studies, seed, method=calibrated, chunk=100):
    """Return the share of intervals that hold the population's value, by (model, metric)."""
    rng, truth, held = np.random.default_rng(seed), population(), {}
    for start in range(0, n_studies, chunk):
        size = min(chunk, n_studies - start)
        for name, metric, low, high in intervals(n_patients, n_boot, size, rng, method):
            inside = (low <= truth[name, metric]) & (truth[name, metric] <= high)
            held[name, metric] = held.get((name, metric), 0) + inside.sum()
    return {key: count / n_studies for key, count in held.items()}
