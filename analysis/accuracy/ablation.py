"""Ablations: results by the value of a hyperparameter, compared with what all of them share.

Every ablation turns one hyperparameter of *aggressive* (:mod:`rnfl.study.ablations`), so that all
share this condition: nothing frozen, L1 alone, encoder rate 5e-5. The value stands beside every
statistic of :mod:`analysis.accuracy.performance`, and each condition is compared with *aggressive*
and with the template.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from analysis.accuracy.performance import paired_comparisons, performance_table
from analysis.collapse import DEFINITIONS
from analysis.resampling import DEFAULT, Resampling
from analysis.resampling.comparisons import holm, mean_difference_row
from analysis.resampling.conditions import BASELINES, Condition, check_same_eyes, load_run

SHARED = "aggressive"
AGAINST = (SHARED, "template")
METRICS = ("mae", "pearson_per_eye", "pearson_pooled", "sigma_flat", "sigma_between")  # compared
SHOWN = (*METRICS, "rmse", "pearson_between_eyes", "sigma_between_target", "sigma_ratio")
FACTORS = ("none", "freezing", "pearson", "both")

#: By name: percent_frozen (%), weights of the loss, encoder rate as the protocol states it and
#: (lr_effective) times the run's ``lr_scale``, layer_decay.
HYPERPARAMETERS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "percent_frozen": lambda runs: 100 * runs["freeze_fraction"].astype(float),
    "lambda_pearson": lambda runs: runs["lambda_pearson"].astype(float),
    "lambda_gradient": lambda runs: runs["lambda_gradient"].astype(float),
    "lr_encoder": lambda runs: runs["lr_encoder"].astype(float),
    "lr_effective": lambda runs: runs["lr_encoder"].astype(float) * runs["lr_scale"].astype(float),
    "layer_decay": lambda runs: runs["layer_decay"].astype(float),
}


def settings(runs: pd.DataFrame, hyperparameters: Sequence[str]) -> pd.DataFrame:
    """Return the value of each of :data:`HYPERPARAMETERS` asked for, one row per condition.

    ``runs`` are those of :func:`rnfl.runs.results.runs_table`. A ValueError for an unknown
    hyperparameter, or when runs of one condition differ in one.
    """
    unknown = sorted(set(hyperparameters) - set(HYPERPARAMETERS))
    if unknown:
        raise ValueError(f"hyperparameters {unknown}: expected {', '.join(HYPERPARAMETERS)}")
    values = {name: HYPERPARAMETERS[name](runs) for name in hyperparameters}
    distinct = runs[["backbone", "protocol"]].assign(**values).drop_duplicates(ignore_index=True)
    twice = distinct[distinct.duplicated(["backbone", "protocol"])]
    if len(twice):
        name = " with ".join(twice.iloc[0][["backbone", "protocol"]])
        raise ValueError(
            f"runs of {name} differ in {', '.join(hyperparameters)}: they are not one condition"
        )
    return distinct


def attach(table: pd.DataFrame, runs: pd.DataFrame, hyperparameters: Sequence[str]) -> pd.DataFrame:
    """Put the settings beside a long table, by backbone and protocol; NaN beside the baselines."""
    return table.merge(settings(runs, hyperparameters), on=["backbone", "protocol"], how="left")


def statistics(
    predictions: pd.DataFrame,
    samples: pd.DataFrame,
    runs: pd.DataFrame,
    hyperparameters: Sequence[str],
    resampling: Resampling = DEFAULT,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return an ablation's results and its paired comparisons, by the hyperparameters' values.

    ``predictions``, ``samples`` and ``runs`` are those of
    :func:`analysis.accuracy.performance.performance_table`.

    Returns
    -------
    table : DataFrame
        The metrics :data:`SHOWN` of each condition, of the template and of the label-noise floor,
        long.
    comparisons : DataFrame
        Each condition minus *aggressive* in its backbone, and minus the template, on the same eyes,
        with one SD over seeds for all that are taken from one of the two;
        Holm's correction covers all comparisons of one metric with one of the two: whether the
        hyperparameter matters, and whether anything was learnt, are two families of questions.
    """
    shown = {name: DEFINITIONS[name] for name in SHOWN}
    table = performance_table(predictions, samples, runs, resampling, shown)
    families = [
        paired_comparisons(predictions, runs, (one,), METRICS, resampling=resampling, pool=True)
        for one in AGAINST
    ]
    compared = pd.concat([family for family in families if len(family)], ignore_index=True)
    return attach(table, runs, hyperparameters), attach(compared, runs, hyperparameters)


def decay_effect(
    predictions: pd.DataFrame, runs: pd.DataFrame, resampling: Resampling = DEFAULT
) -> pd.DataFrame:
    """Compare layer-wise decay with none at the same encoder rate, on the same eyes.

    As :func:`analysis.accuracy.performance.paired_comparisons`, MAE only, one row per rate with
    both settings; columns ``lr_encoder`` and ``layer_decay`` in place of the protocol.
    """
    named = runs.assign(protocol=[f"{decay:g}" for decay in runs["layer_decay"]])
    trained = predictions[~predictions["run_id"].isin(BASELINES)]
    by = ("backbone", "lr_encoder", "protocol")
    table = paired_comparisons(trained, named, ("1",), ("mae",), by, resampling)
    return table.rename(columns={"protocol": "layer_decay"}).astype({"layer_decay": float})


def factorial(
    predictions: pd.DataFrame,
    runs: pd.DataFrame,
    protocols: Mapping[str, str],
    resampling: Resampling = DEFAULT,
) -> pd.DataFrame:
    """Take *structured* apart: freezing alone, the Pearson term alone, both, and what they share.

    Parameters
    ----------
    predictions, runs
        One backbone.
    protocols : mapping
        Protocols by ``none``, ``freezing``, ``pearson`` and ``both``. Only seeds that all four
        have are used.

    Returns
    -------
    DataFrame
        protocol ('freezing', 'pearson', 'both', 'interaction'), metric 'mae', estimate, low, high
        (µm; difference from ``none``), p, p_holm, n, n_seeds, seed_sd. The interaction is both
        minus the sum of the two alone: 0 where the costs add up, negative where they overlap.
        Intervals and p as in :mod:`analysis.resampling.comparisons`.

    Raises
    ------
    ValueError
        When a protocol is absent, or the four share no seed or predict different eyes.
    """
    four = _with_shared_seeds(predictions, runs, [protocols[factor] for factor in FACTORS])
    none, freezing, pearson, both = (one.errors for one in four)
    effects = {
        "freezing": freezing - none,
        "pearson": pearson - none,
        "both": both - none,
        "interaction": both - freezing - pearson + none,
    }
    codes = four[0].runs[0].codes
    table = pd.DataFrame(
        mean_difference_row({"protocol": name}, "mae", effect, codes, resampling)
        for name, effect in effects.items()
    )
    return table.assign(p_holm=holm(table["p"]))


def _with_shared_seeds(
    predictions: pd.DataFrame, runs: pd.DataFrame, protocols: Sequence[str]
) -> list[Condition]:
    """Return the protocols' runs of the seeds that all of them have, seeds in one order."""
    ids = [runs[runs["protocol"] == one].set_index("seed")["run_id"] for one in protocols]
    absent = [name for name, one in zip(protocols, ids, strict=True) if one.empty]
    if absent:
        there = sorted(set(runs.protocol))
        raise ValueError(f"runs: protocols {absent} are missing; found {there}")
    seeds = sorted(set.intersection(*(set(one.index) for one in ids)))
    if not seeds:
        raise ValueError(f"runs: {', '.join(protocols)} share no seed")
    found = [
        Condition({"protocol": name}, tuple(load_run(predictions, one[s], s) for s in seeds))
        for name, one in zip(protocols, ids, strict=True)
    ]
    check_same_eyes(found)
    return found
