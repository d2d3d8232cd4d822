"""Template collapse: does a model predict eyes, or one shared profile for every eye? (Figure 2)

The published spread ``sigma_flat`` is large for any double hump, so a model that repeats one
template looks healthy. ``sigma_between`` is what collapses then, and ``response_slope`` says how
much of a true difference between eyes arrives in the prediction. Both miss a collapse to a few
templates; ``template_distance`` (:mod:`analysis.collapse.templates`) does not. :func:`verdicts` is
the one place that says, from intervals of both, whether a model has collapsed; beside it stands the
rotation response (:mod:`analysis.collapse.rotation`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.collapse.templates import FEW, MANY, K, estimate_distance, true_distances
from analysis.resampling import DEFAULT, Resampling
from analysis.resampling.conditions import (
    BY,
    NO_BACKBONE,
    Condition,
    conditions,
    estimate,
    load_run,
    row,
)
from analysis.resampling.patient_sums import MetricFunction
from rnfl.core import metrics
from rnfl.core.nanstats import co_deviations, divide, pair

SPREAD = 0.5  # share of the labels' spread between eyes below which predictions are one template
#: The distance to the nearest template, in units of the model's own spread and as a share of the
#: same for the labels, below which predictions repeat a few shapes (ours). Of a trained phantom
#: model's predictions that keep only one number per eye (their first component) it is 0.34 with 4
#: templates and 0.11 with 16, of two numbers 0.54 and 0.33, of three 0.65 and 0.49; of 4, 8 or 16
#: planted templates 0 with 16, of 4 or 8 with noise of 2 µm at each angle about 0.25 at the least.
REPEATED = 1 / 3
ONE, REPEATS, DIVERSE, UNDECIDED = "one template", "few templates", "diverse", "undecided"

TARGET = "target"  # protocol of the rows that describe the measured profiles themselves


# Below, ``pred`` and ``target`` are (n, 360), µm, NaN in targets where missing.


def _co_deviations(pred: np.ndarray, target: np.ndarray) -> tuple[float, float, float]:
    """Return sums of products of deviations from the mean profiles: xx, xy and yy."""
    sums = co_deviations(*pair(pred, target), axis=0)[0].sum(axis=-1)
    return float(sums[0, 0]), float(sums[0, 1]), float(sums[1, 1])


def response_slope(pred: np.ndarray, target: np.ndarray) -> float:
    """Return the slope of predicted on true deviations from the mean profile (ours).

    Both deviate from their own mean over eyes at each angle; all angles share one slope. 1 is full
    response: a true difference between eyes of 10 µm moves the prediction by 10 µm. 0 is none, as
    of a template. Noise in the labels lowers it even for the truth itself, to what the
    label-noise floor's row shows. Times :func:`calibration_slope` it is the squared correlation of
    deviations.

    Parameters
    ----------
    pred, target : ndarray (n, 360), µm, NaN in targets where missing
    """
    with_itself, together, spread = _co_deviations(pred, target)
    if spread == 0:
        return float("nan")
    return together / spread if with_itself > 0 else 0.0


def calibration_slope(pred: np.ndarray, target: np.ndarray) -> float:
    """Return the slope of true on predicted deviations from the mean profile (ours).

    1 means that the differences between eyes which a model does predict are of the right size on
    average, below 1 that they are too bold, above 1 too timid. A careful model of blurred images
    has a slope of 1 here and a low :func:`response_slope`: it does not predict what it cannot see.
    NaN for a template, which predicts no difference.

    Parameters
    ----------
    pred, target : ndarray (n, 360), µm, NaN in targets where missing
    """
    with_itself, together, _ = _co_deviations(pred, target)
    return together / with_itself if with_itself > 0 else float("nan")


def template_share(pred: np.ndarray, target: np.ndarray) -> float:
    """Return the share of the predictions' variance that one shared profile explains (ours).

    ``sigma_template² / sigma_flat²``: 1 for a template. That of the targets is the one to compare.

    Parameters
    ----------
    pred, target : ndarray (n, 360), µm, NaN in targets where missing
    """
    pred, _ = pair(pred, target)
    flat = metrics.sigma_flat(pred)
    # The rest of the variance lies between eyes, and is exactly 0 for a template.
    return 1 - (metrics.sigma_between(pred) / flat) ** 2 if flat > 0 else float("nan")


COLLAPSE: dict[str, MetricFunction] = {
    **{name: metrics.METRICS[name] for name in ("sigma_between", "sigma_flat", "sigma_template")},
    "sigma_ratio": metrics.sigma_ratio,
    "response_slope": response_slope,
    "calibration_slope": calibration_slope,
    "template_share": template_share,
}
DEFINITIONS: dict[str, MetricFunction] = {**metrics.METRICS, **COLLAPSE}


def collapse_table(
    predictions: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    resampling: Resampling = DEFAULT,
    ks: Sequence[int] = (K, MANY),
) -> pd.DataFrame:
    """Return the measures of collapse of each condition, of the baselines and of the targets.

    ``predictions`` and ``runs`` are those of :func:`analysis.resampling.conditions.conditions`,
    here and below.

    Parameters
    ----------
    ks : sequence of int
        Templates that a model is allowed: ``template_distance`` and its ratio to the labels' are
        given for the first number, ``distance_share_<k>`` (that ratio over ``sigma_ratio``) for
        each, see :mod:`analysis.collapse.templates`.

    Returns
    -------
    DataFrame
        Long: columns backbone, protocol, metric, attribute, group, estimate, low, high, n, n_seeds,
        seed_sd. The targets are a row per metric with protocol ``target``.
    """
    table = list(conditions(predictions, runs))
    truth = table[0].runs[0]
    filled = np.where(np.isfinite(truth.target), truth.target, 0.0)  # masked again by the target
    key = {**dict.fromkeys(BY, NO_BACKBONE), "protocol": TARGET}
    table.append(Condition(key, (replace(truth, prediction=filled),)))
    true = [true_distances(table, k) for k in ks]
    rows = []
    for i, condition in enumerate(table):
        found = estimate(condition, COLLAPSE, resampling)
        for k, distances in zip(ks, true, strict=True):
            near = estimate_distance(condition, distances[i], k, resampling)
            share = zip(near["template_distance_ratio"], found["sigma_ratio"], strict=True)
            found[f"distance_share_{k}"] = tuple(divide(*both) for both in share)
            found |= near if k == ks[0] else {}
        rows += [
            row(condition.key, metric, *values, condition.n, resampling)
            for metric, values in found.items()
        ]
    return pd.DataFrame(rows)


def verdicts(stats: pd.DataFrame) -> pd.Series:
    """Return the verdict on each cell of :func:`collapse_table`, by backbone and protocol.

    ``one template``: the spread between eyes is below half of the labels'. ``few templates``: the
    distance to the nearest of 4 or of 16 templates is below a third of what the spread would make
    of it. ``diverse``: neither can be. ``undecided``: the intervals allow both, or there are none.
    A spread alone never makes a model diverse: four planted templates keep 66 % of the truth's.
    """
    wide = {
        end: stats.pivot_table(
            end, ["backbone", "protocol"], "metric", aggfunc="first", sort=False, dropna=False
        ).reindex(columns=["sigma_ratio", f"distance_share_{K}", f"distance_share_{MANY}"])
        for end in ("low", "high")
    }
    bound = np.array([SPREAD, REPEATED, REPEATED])
    below, above = wide["high"] < bound, wide["low"] >= bound
    out = pd.Series(UNDECIDED, wide["low"].index)
    out[above.all(axis=1)] = DIVERSE
    out[below.iloc[:, 1:].any(axis=1)] = REPEATS
    out[below.iloc[:, 0]] = ONE
    return out.drop(TARGET, level="protocol", errors="ignore")


def curves_table(
    predictions: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    backbone: str | None = None,
    protocols: Sequence[str] | None = None,
    n_eyes: int = 160,
    seed: int = 0,
) -> pd.DataFrame:
    """Return profiles of the same eyes: labels, protocols of one backbone, planted and template.

    ``predictions`` hold ``template`` and perhaps the planted collapse of
    :func:`analysis.collapse.templates.plant`; the first run of each condition is shown.

    Parameters
    ----------
    backbone, protocols : optional
        By default that of the first condition, and all of its protocols; ValueError when the
        backbone is not predicted.
    n_eyes : int
        Eyes drawn at random without regard to their predictions; all when there are fewer.

    Returns
    -------
    DataFrame
        backbone, protocol, eye, profile (list of 360, µm, to 0.1). Eyes are numbered from the
        thinnest label to the thickest; protocols ``target`` and ``template`` come first.
    """
    table = list(conditions(predictions, runs))
    trained = [condition for condition in table if condition.key["backbone"] != NO_BACKBONE]
    names = list(dict.fromkeys(condition.key["backbone"] for condition in trained))
    backbone = backbone or (names[0] if names else None)
    if backbone not in names:
        raise ValueError(f"backbone {backbone!r}: predicted are {', '.join(names)}")
    template = load_run(predictions, "template")
    target = template.target
    drawn = np.random.default_rng(seed).permutation(len(target))[:n_eyes]
    drawn = drawn[np.argsort(metrics.template_profile(target[drawn].T), kind="stable")]
    panels = {TARGET: target, "template": template.prediction}
    mine = [one for one in trained if one.key["backbone"] == backbone]
    for condition in mine + [one for one in table if one.key["protocol"] == FEW]:
        name = condition.key["protocol"]
        if protocols is None or name in (*protocols, FEW):
            panels[name] = condition.runs[0].prediction
    rows = [
        {"backbone": backbone, "protocol": name, "eye": place, "profile": profile}
        for name, matrix in panels.items()
        for place, profile in enumerate(matrix[drawn].round(1).astype(np.float32))
    ]
    return pd.DataFrame(rows)
