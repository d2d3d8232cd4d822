"""Fairness gaps between groups of patients, beside the gap that chance alone would make.

The paper's gap is, per attribute, the largest minus the smallest group mean of the per-eye MAE,
averaged over attributes. A maximum minus a minimum is never zero: with small groups it is large
whatever the model does. So each gap stands beside its null: the gaps found when patients exchange
their labels (:mod:`analysis.fairness.groups`). The p-value is that of differences over their
standard errors under the same exchanges (:mod:`analysis.fairness.gap_test`), and the detectable gap
says what such a test can see.

**Alarm** (ours): a model raises one when the gap of any attribute has a p below 0.05 by that
permutation, after Holm's correction over the attributes of that model. A model whose errors have
nothing to do with the groups raises an alarm in at most 5 % of test sets. Models tested on the same
eyes share their luck: for a statement about a whole study there is ``p_study``, corrected over all
of its models as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.fairness.gap_test import ALPHA, gap_tests, gaps_over, permutation_test
from analysis.fairness.groups import (
    ATTRIBUTES,
    LEVELS,
    MIN_PATIENTS,
    PAIRS,
    Grouping,
    Tally,
    age_group,
    grouping,
)
from analysis.resampling import DEFAULT, Resampling
from analysis.resampling.bootstrap import interval, patient_sums, seed_noise, weighted_totals
from analysis.resampling.comparisons import holm
from analysis.resampling.conditions import (
    BASELINES,
    BY,
    Condition,
    Run,
    conditions_and_eyes,
    row,
)
from analysis.resampling.scales import calibrated
from rnfl.core.nanstats import divide

WHOLE = "max-min"  # the group of a row about all groups of an attribute


def equity_scaled(means: np.ndarray, overall: np.ndarray) -> np.ndarray:
    """Return the error penalised by how far groups lie from it, MAE + Σ |MAE_g - MAE| (ours).

    The equity-scaled measures of the medical fairness literature divide a score by
    1 + Σ |score - score_g| (Luo et al., Harvard-GF, IEEE TMI 2024); an error in µm is scaled by
    adding, so that it keeps its unit. It equals the overall error when groups do not differ and
    grows with the number of groups; NaN when there are fewer than two.

    Parameters
    ----------
    means : ndarray (..., G), µm
    overall : ndarray (...,), µm

    Examples
    --------
    >>> float(equity_scaled(np.array([9.0, 12.0]), np.array(10.0)))
    13.0
    """
    if means.shape[-1] < 2:
        return np.full(means.shape[:-1], np.nan)
    return overall + np.abs(means - overall[..., None]).sum(axis=-1)


def fairness_table(
    predictions: pd.DataFrame,
    samples: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    resampling: Resampling = DEFAULT,
    attributes: Sequence[str | Sequence[str]] = ATTRIBUTES,
    min_patients: int = 1,
) -> pd.DataFrame:
    """Return group errors, gaps and null gaps of each condition.

    ``predictions`` and ``runs`` are those of :func:`analysis.resampling.conditions.conditions`;
    ``samples`` hold the attributes and are joined by eye.

    Parameters
    ----------
    attributes : sequence of str or of tuples of str
        Of 'age', 'sex', 'race', 'ethnicity', 'severity'; a tuple crosses several. The paper's gap
        uses the first three.
    min_patients : int
        Groups of fewer, or of fewer than the paper's 10 eyes, are NaN rows and count in no gap.

    Returns
    -------
    DataFrame
        Long: backbone, protocol, metric, attribute, group, estimate, low, high, n, n_seeds, seed_sd
        with

        - ``mae``: one row per group, µm;
        - ``bias``: one row per group, mean thickness predicted minus labelled, µm;
        - ``patients``: one row per group, how many;
        - ``worst_group``: the group with the largest error, and that error;
        - ``gap``: group 'max-min' per attribute, and attribute 'mean', the paper's gap, with a
          simultaneous interval (below);
        - ``null_gap``: the mean of the gaps under permutation, low and high its central 95 %;
        - ``gap_p``: of the largest studentised difference between groups; NaN, as the null, where
          no labels can be exchanged;
        - ``gap_p_holm``: the same corrected over the attributes of the condition;
        - ``gap_detectable``: the gap that would raise an alarm in 80 % of such test sets, µm;
        - ``equity_mae``: equity-scaled MAE per attribute (:func:`equity_scaled`), with a
          simultaneous interval; ``null_equity_mae``: the same under permutation.

    Notes
    -----
    A resampled maximum is larger than the maximum it stands for: where groups do not differ, the
    percentile interval of a gap never holds the truth, and may not even hold the estimate. The
    intervals of gaps are therefore simultaneous (ours): when patients are resampled, all
    differences between groups stay within c of their estimates in 95 % of resamples, so the true
    gap lies within c of its estimate, and not below 0; the equity-scaled MAE likewise.

    Raises
    ------
    ValueError
        For an unknown attribute, or an eye absent from ``samples``.
    """
    for name in attributes:  # before anything is computed
        grouping(samples, name)
    rows: list[dict] = []
    for condition, eyes in conditions_and_eyes(predictions, samples, runs):
        rows += condition_rows(condition, eyes, attributes, resampling, min_patients)
    return pd.DataFrame(rows)


def intersections_table(
    predictions: pd.DataFrame,
    samples: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    resampling: Resampling = DEFAULT,
    pairs: Sequence[Sequence[str]] = PAIRS,
    min_patients: int = MIN_PATIENTS,
) -> pd.DataFrame:
    """Return :func:`fairness_table` for crossed attributes, with a minimum of patients as well.

    The pairs are a family of their own for Holm's correction, apart from the alarm of a model.
    """
    return fairness_table(predictions, samples, runs, resampling, pairs, min_patients)


def condition_rows(
    condition: Condition,
    eyes: pd.DataFrame,
    attributes: Sequence[str | Sequence[str]],
    resampling: Resampling,
    min_patients: int = 1,
) -> list[dict]:
    """Return the rows of :func:`fairness_table` for one condition, ``eyes`` in its order."""
    errors, codes = condition.errors, condition.runs[0].codes
    groups, measured = [grouping(eyes, a) for a in attributes], np.isfinite(errors).all(axis=0)
    tally = Tally(groups, codes, measured, min_patients)
    counts, sizes = resampling.counts(condition.n_patients), tally.sizes

    # Group means of the error and of its signed counterpart, (k, G), and again with patients
    # resampled, (k, n_boot, G).
    bias = np.stack([_bias_per_eye(run) for run in condition.runs])
    means, again = tally.means(errors), tally.resampled("mae", errors, counts)
    moments = means, again, tally.means(bias), tally.resampled("bias", bias, counts)
    rows = []
    for one in tally.groupings:
        rows += _group_rows(condition, one, tally, moments, resampling)

    # Gaps beside those of chance. No difference between two groups strays further from its
    # estimate than the gap of the deviations, nor does the largest difference: the 95 % quantile of
    # that gap bounds it on both sides, where a 90 % interval ends.
    gaps = permutation_test(errors, tally, resampling)
    strays = gaps_over(again - means[:, None], tally)
    for name, gap in gaps.gap.items():
        about = condition, name, sizes.get(name, condition.n), resampling
        within = -strays[name], strays[name], 0.9
        rows += [
            _bounded_row("gap", gap, within, 0.0, *about),
            _null_row("null_gap", gaps.null[name], *about),
            _whole_row("gap_p", gaps.p[name], *about),
            _whole_row("gap_detectable", gaps.detectable[name], *about),
        ]
        if name != "mean":
            rows.append(_whole_row("gap_p_holm", gaps.p_holm[name], *about))

    # The error of all eyes, (k,), and again with patients resampled, (k, n_boot), penalised by how
    # far groups lie from it. Both the overall error and the penalty move in a resample.
    overall = errors[:, measured].mean(axis=1)
    totals = weighted_totals(counts, patient_sums(np.where(measured, errors, 0.0).T, codes))
    drawn = divide(totals, weighted_totals(counts, tally.eyes[:, None])).T
    drawn = calibrated("mae", overall[:, None], drawn, np.count_nonzero(tally.eyes))
    shift, least = drawn - overall[:, None], interval(drawn.mean(axis=0))[0]
    for name in tally.slices:
        about = condition, name, sizes[name], resampling
        own, resampled, null = (tally.pick(m, name) for m in (means, again, gaps.permuted))
        moved = np.abs(resampled - own[:, None] - shift[..., None]).sum(axis=-1)
        within = -moved - shift, moved - shift, 0.95
        by_chance = equity_scaled(null, np.broadcast_to(overall[:, None], null.shape[:-1]))
        rows += [
            _bounded_row("equity_mae", equity_scaled(own, overall), within, least, *about),
            _null_row("null_equity_mae", by_chance.mean(axis=0), *about),
        ]
    return rows


def _bias_per_eye(run: Run) -> np.ndarray:
    """Return predicted minus labelled mean thickness (n_eyes,), µm, over the angles measured."""
    measured = np.isfinite(run.target)
    excess = np.where(measured, run.prediction - run.target, 0.0).sum(axis=1)
    return divide(excess, measured.sum(axis=1))


def _group_rows(
    condition: Condition,
    groups: Grouping,
    tally: Tally,
    moments: tuple[np.ndarray, ...],
    resampling: Resampling,
) -> list[dict]:
    """Return error, bias and number of patients of each group, and the group that errs most.

    ``moments`` are group means of the error (k, G), their resamples (k, n_boot, G), and those of
    the bias; of small groups they are not shown.
    """
    key, name, where = condition.key, groups.name, tally.slices[groups.name]
    n, large, patients = (m[where] for m in (tally.n, tally.large, tally.n_patients))
    shown = np.where(large, 1.0, np.nan)
    means, again, shift, shifted = (m[..., where] * shown for m in moments)
    rows = []
    for g, group in enumerate(groups.levels):
        place = int(n[g]), resampling, name, group
        rows += [
            row(key, "mae", means[:, g], again[..., g], *place),
            row(key, "bias", shift[:, g], shifted[..., g], *place),
            _whole_row("patients", float(patients[g]), condition, name, n[g], resampling, group),
        ]
    worst = int(np.argmax(np.where(large, means.mean(axis=0), -np.inf)))
    group, size = (groups.levels[worst], n[worst]) if large.any() else ("none", 0)
    values = means[:, worst], again[..., worst]
    return [*rows, row(key, "worst_group", *values, size, resampling, name, group)]


def _whole_row(
    metric: str,
    value: float,
    condition: Condition,
    attribute: str,
    n: int,
    resampling: Resampling,
    group: str = WHOLE,
) -> dict:
    """Return a row without an interval, about all groups unless one is named."""
    values, none = np.full(len(condition.runs), value), np.full((len(condition.runs), 1), np.nan)
    made = row(condition.key, metric, values, none, n, resampling, attribute, group)
    return {**made, "seed_sd": np.nan}


def _null_row(metric: str, null: np.ndarray, *about) -> dict:
    """Return the mean of what chance gives (n_perm,), low and high its central 95 %."""
    low, high = interval(null)
    return {**_whole_row(metric, null.mean(), *about), "low": low, "high": high}


def _bounded_row(
    metric: str,
    estimates: np.ndarray,
    within: tuple[np.ndarray, np.ndarray, float],
    least: float,
    *about,
) -> dict:
    """Return a row of estimates (k,) whose truth lies between two bounds away, at least ``least``.

    ``within`` holds the resampled bounds (k, n_boot) and the level of their interval.
    """
    made, (below, above, level) = _whole_row(metric, estimates.mean(), *about), within
    noise = np.abs(seed_noise(estimates, above.shape[1], about[-1].seed))
    low = interval(below.mean(axis=0) - noise, level)[0]
    high = interval(above.mean(axis=0) + noise, level)[1]
    spread = np.std(estimates, ddof=1) if len(estimates) > 1 else np.nan
    ends = {"low": max(made["estimate"] + low, least), "high": made["estimate"] + high}
    return {**made, **ends, "seed_sd": spread}


def alarms(table: pd.DataFrame) -> pd.DataFrame:
    """Return the test of each model's gap per attribute, and whether it raises an alarm.

    Parameters
    ----------
    table : DataFrame
        Of :func:`fairness_table`.

    Returns
    -------
    DataFrame
        backbone, protocol, attribute, gap, null_gap, detectable (µm), p, p_holm (over the
        attributes of the model), alarm (p_holm below 0.05) and p_study (Holm over all models and
        attributes). The template and the label-noise floor are baselines, not models: they have
        no rows.
    """
    names = {"gap": "gap", "null_gap": "null_gap", "gap_detectable": "detectable", "gap_p": "p",
             "gap_p_holm": "p_holm"}  # fmt: skip
    rows = table[table["metric"].isin(names) & (table["attribute"] != "mean")]
    rows = rows[~rows[[*BY]].isin([*BASELINES.values()]).any(axis=1)]
    keys = [*BY, "attribute"]
    wide = rows[keys].drop_duplicates().reset_index(drop=True)
    for metric, name in names.items():
        one = rows[rows["metric"] == metric][[*keys, "estimate"]].rename(columns={"estimate": name})
        wide = wide.merge(one, on=keys, how="left", validate="one_to_one")
    return wide.assign(alarm=wide["p_holm"] < ALPHA, p_study=holm(wide["p"]))
