"""Ablations: results by the setting of a dial, each compared with the shared cell and the template.

Every ablation turns one dial of *aggressive* (:mod:`rnfl.study.ablations`), so that *aggressive* is
the cell all of them share: nothing frozen, L1 alone, encoder rate 5e-5. This module puts the
setting of the dial beside every statistic of :mod:`analysis.accuracy.performance`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.accuracy.performance import performance_table
from analysis.accuracy.significance import holm, paired_comparisons
from analysis.collapse import DEFINITIONS
from analysis.resampling.bootstrap import patient_counts, patient_sums, seed_noise, widening
from analysis.resampling.conditions import BASELINES, Run, load_run, row
from rnfl.core import metrics

SHARED = "aggressive"
AGAINST = (SHARED, "template")
METRICS = ("mae", "pearson_per_eye", "pearson_pooled", "sigma_flat", "sigma_between")  # compared
SHOWN = (*METRICS, "rmse", "pearson_between_eyes", "sigma_between_target", "sigma_ratio")

DIALS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "percent_frozen": lambda runs: 100 * runs["freeze_fraction"].astype(float),
    "lambda_pearson": lambda runs: runs["lambda_pearson"].astype(float),
    "lambda_gradient": lambda runs: runs["lambda_gradient"].astype(float),
    "lr_encoder": lambda runs: runs["lr_encoder"].astype(float),
    "lr_effective": lambda runs: runs["lr_encoder"].astype(float) * runs["lr_scale"].astype(float),
    "layer_decay": lambda runs: runs["layer_decay"].astype(float),
}


def settings(runs: pd.DataFrame, dials: Sequence[str]) -> pd.DataFrame:
    """Return the setting of each dial by backbone and protocol, one row per cell.

    Parameters
    ----------
    runs : DataFrame
        From :func:`rnfl.runs.run.runs_table`.
    dials : sequence of str
        Of :data:`DIALS`: percent_frozen (%), lambda_pearson, lambda_gradient, lr_encoder (as the
        protocol states it), lr_effective (times the run's ``lr_scale``), layer_decay.

    Raises
    ------
    ValueError
        For an unknown dial, or when runs of one cell differ in a dial.
    """
    unknown = sorted(set(dials) - set(DIALS))
    if unknown:
        raise ValueError(f"dials {unknown}: expected some of {', '.join(DIALS)}")
    table = runs[["backbone", "protocol"]].assign(**{d: DIALS[d](runs) for d in dials})
    distinct = table.drop_duplicates().reset_index(drop=True)
    twice = distinct[distinct.duplicated(["backbone", "protocol"])]
    if len(twice):
        cell = " with ".join(twice.iloc[0][["backbone", "protocol"]])
        raise ValueError(f"runs of {cell} differ in {', '.join(dials)}: they are not one cell")
    return distinct


def attach(table: pd.DataFrame, runs: pd.DataFrame, dials: Sequence[str]) -> pd.DataFrame:
    """Put the dials' settings beside a long table, by backbone and protocol; NaN for baselines."""
    return table.merge(settings(runs, dials), on=["backbone", "protocol"], how="left")


def statistics(
    predictions: pd.DataFrame,
    samples: pd.DataFrame,
    runs: pd.DataFrame,
    dials: Sequence[str],
    n_boot: int = 2000,
    n_perm: int = 2000,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return an ablation's results and its paired comparisons, with the dials beside them.

    Parameters
    ----------
    predictions, samples, runs
        As in :func:`analysis.accuracy.performance.performance_table`.
    dials
        As in :func:`settings`.

    Returns
    -------
    table : DataFrame
        The metrics :data:`SHOWN` of each cell, of the template and of the oracle floor, long.
    comparisons : DataFrame
        Each cell minus *aggressive* in its backbone, and minus the template, on the same eyes;
        Holm's correction covers all comparisons of one metric with one of the two: whether the
        dial matters, and whether anything was learnt, are two families of questions.
    """
    shown = {name: DEFINITIONS[name] for name in SHOWN}
    table = performance_table(
        predictions, samples, runs, n_boot=n_boot, seed=seed, definitions=shown
    )
    options = {"metrics": METRICS, "n_boot": n_boot, "n_perm": n_perm, "seed": seed}
    families = [paired_comparisons(predictions, runs, (one,), **options) for one in AGAINST]
    compared = pd.concat([family for family in families if len(family)], ignore_index=True)
    return attach(table, runs, dials), attach(compared, runs, dials)


def decay_effect(
    predictions: pd.DataFrame,
    runs: pd.DataFrame,
    n_boot: int = 2000,
    n_perm: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare layer-wise decay with none at the same encoder rate, on the same eyes.

    Returns
    -------
    DataFrame
        As :func:`analysis.accuracy.significance.paired_comparisons`, MAE only, one row per rate
        with both settings; columns ``lr_encoder`` and ``layer_decay`` in place of the protocol.
    """
    named = runs.assign(protocol=[f"{decay:g}" for decay in runs["layer_decay"]])
    trained = predictions[~predictions["run_id"].isin(BASELINES)]
    by = ("backbone", "lr_encoder", "protocol")
    options = {"metrics": ("mae",), "n_boot": n_boot, "n_perm": n_perm, "seed": seed}
    table = paired_comparisons(trained, named, ("1",), by, **options)
    return table.rename(columns={"protocol": "layer_decay"}).astype({"layer_decay": float})


def factorial(
    predictions: pd.DataFrame,
    runs: pd.DataFrame,
    cells: Mapping[str, str],
    n_boot: int = 2000,
    n_perm: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Take *structured* apart: freezing alone, the Pearson term alone, both, and what they share.

    Parameters
    ----------
    predictions, runs
        One backbone.
    cells : mapping
        Protocols by ``none``, ``freezing``, ``pearson`` and ``both``. Only seeds that all four
        have are used.

    Returns
    -------
    DataFrame
        protocol ('freezing', 'pearson', 'both', 'interaction'), metric 'mae', estimate, low, high
        (µm; difference from ``none``), p, p_holm, n, n_seeds, seed_sd. The interaction is both
        minus the sum of the two alone: 0 where the costs add up, negative where they overlap.
        Intervals and p as in :func:`analysis.accuracy.significance.paired_comparisons`, p from
        flipping the sign of whole patients' effects.

    Raises
    ------
    ValueError
        When a protocol is absent, or the four share no seed.
    """
    errors, first = _errors(predictions, runs, cells)
    none, freezing, pearson, both = (errors[name] for name in FACTORS)
    effects = {
        "freezing": freezing - none,
        "pearson": pearson - none,
        "both": both - none,
        "interaction": both - freezing - pearson + none,
    }
    rng = np.random.default_rng([seed, 1])
    counts = patient_counts(len(first.patients), n_boot, seed)
    flips = rng.choice([-1.0, 1.0], (n_perm, len(first.patients)))
    measured = np.isfinite(none[0])
    eyes = patient_sums(measured[:, None].astype(float), first.codes)
    drawn, n = np.maximum(counts @ eyes, 1), int(measured.sum())
    wide = widening(len(first.patients))
    rows = []
    for name, effect in effects.items():
        sums = patient_sums(np.where(measured, effect, 0.0).T, first.codes)  # (patients, seeds)
        found = sums.sum(axis=0) / n
        error = wide * ((counts @ sums / drawn).T - found[:, None])
        one = row({"protocol": name}, "mae", found, found[:, None] + error, n, seed)
        luck = seed_noise(found, n_perm, seed)
        null = np.abs(flips @ sums.mean(axis=1) / n + luck)
        extreme = np.count_nonzero(null >= abs(one["estimate"]) * (1 - 1e-9))
        rows.append({**one, "p": (extreme + 1) / (n_perm + 1)})
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p"]))


FACTORS = ("none", "freezing", "pearson", "both")


def _errors(
    predictions: pd.DataFrame, runs: pd.DataFrame, cells: Mapping[str, str]
) -> tuple[dict[str, np.ndarray], Run]:
    """Return each factor's errors (seeds, eyes) in µm, seeds and eyes in one order, and a run."""
    by_seed = {
        factor: runs[runs["protocol"] == cells[factor]].set_index("seed")["run_id"]
        for factor in FACTORS
    }
    absent = [cells[factor] for factor, ids in by_seed.items() if ids.empty]
    if absent:
        raise ValueError(
            f"runs: protocols {absent} are missing; found {sorted(set(runs.protocol))}"
        )
    seeds = sorted(set.intersection(*(set(ids.index) for ids in by_seed.values())))
    if not seeds:
        raise ValueError(f"runs: {', '.join(cells.values())} share no seed")
    found, eyes = {}, None
    for factor, ids in by_seed.items():
        loaded = [load_run(predictions, ids[one]) for one in seeds]
        eyes = loaded[0] if eyes is None else eyes
        if any(not np.array_equal(run.eye_ids, eyes.eye_ids) for run in loaded):
            raise ValueError(f"{cells[factor]} predicts other eyes than {cells['none']}")
        found[factor] = np.stack([metrics.mae_per_eye(r.prediction, r.target) for r in loaded])
    return found, eyes
