"""Fairness gaps between groups of patients, beside the gap that chance alone would make.

The paper's gap is, per attribute, the largest minus the smallest group mean of the per-eye MAE,
averaged over attributes. A maximum minus a minimum is never zero: with small groups it is large
whatever the model does. So each gap stands beside its null: the gaps found when patients exchange
their labels (:mod:`analysis.fairness.groups`).

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

from analysis.accuracy.significance import holm
from analysis.fairness.gaps import ALPHA, Gaps, equity_scaled, gap_tests, tally_of
from analysis.fairness.groups import (
    ATTRIBUTES,
    LEVELS,
    MIN_EYES,
    MIN_PATIENTS,
    PAIRS,
    Tally,
    age_group,
    divide,
    grouping,
)
from analysis.resampling.bootstrap import (
    interval,
    patient_counts,
    patient_sums,
    seed_noise,
    weighted_totals,
)
from analysis.resampling.conditions import BASELINES, BY, Cell, Run, cells, row
from rnfl.core import metrics, schema

__all__ = ["ATTRIBUTES", "LEVELS", "age_group", "alarms", "fairness_table", "gap_tests",
           "intersections_table"]  # fmt: skip

WHOLE = "max-min"  # the group of a row about all groups of an attribute


def fairness_table(
    predictions: pd.DataFrame,
    samples: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    by: Sequence[str] = BY,
    attributes: Sequence[str | Sequence[str]] = ATTRIBUTES,
    n_boot: int = 2000,
    n_perm: int = 2000,
    seed: int = 0,
    min_eyes: int = MIN_EYES,
    min_patients: int = 1,
) -> pd.DataFrame:
    """Return group errors, gaps and null gaps of each cell.

    Parameters
    ----------
    predictions, runs, by
        As in :func:`analysis.resampling.conditions.cells`.
    samples : DataFrame
        Holds the attributes; joined by eye.
    attributes : sequence of str or of tuples of str
        Of 'age', 'sex', 'race', 'ethnicity', 'severity'; a tuple crosses several. The paper's gap
        uses the first three.
    min_eyes, min_patients : int
        Smaller groups are NaN rows and count in no gap. The paper asks for 10 eyes.

    Returns
    -------
    DataFrame
        Long: ``by``, metric, attribute, group, estimate, low, high, n, n_seeds, seed_sd with

        - ``mae``: one row per group, µm;
        - ``bias``: one row per group, mean thickness predicted minus labelled, µm;
        - ``patients``: one row per group, how many;
        - ``worst_group``: the group with the largest error, and that error;
        - ``gap``: group 'max-min' per attribute, and attribute 'mean', the paper's gap, with a
          simultaneous interval (below);
        - ``null_gap``: the mean of the gaps under permutation, low and high its central 95 %;
        - ``gap_p``: the share of permuted gaps at least as large (one is added to both counts);
        - ``gap_p_holm``: the same corrected over the attributes of the cell;
        - ``equity_mae``: equity-scaled MAE per attribute (``gaps.equity_scaled``), with a
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
    schema.join_samples(predictions[["run_id", "eye_id", "patient_id"]], samples)
    by_eye = samples.set_index("eye_id")
    rows: list[dict] = []
    for cell in cells(predictions, runs, by):
        eyes = by_eye.loc[cell.runs[0].eye_ids]
        rows += cell_rows(cell, eyes, attributes, n_boot, n_perm, seed, min_eyes, min_patients)
    return pd.DataFrame(rows)


def cell_rows(
    cell: Cell, eyes: pd.DataFrame, attributes: Sequence[str | Sequence[str]], n_boot: int,
    n_perm: int, seed: int, min_eyes: int = MIN_EYES, min_patients: int = 1,
) -> list[dict]:  # fmt: skip
    """Return the rows of :func:`fairness_table` for one cell, ``eyes`` in the order of its runs."""
    errors = np.stack([metrics.mae_per_eye(run.prediction, run.target) for run in cell.runs])
    tally = tally_of(errors, cell.runs[0].codes, eyes, attributes, min_eyes, min_patients)
    return _CellRows(cell, tally, errors, n_boot, n_perm, seed).rows


def intersections_table(
    predictions: pd.DataFrame,
    samples: pd.DataFrame,
    runs: pd.DataFrame | None = None,
    pairs: Sequence[Sequence[str]] = PAIRS,
    min_eyes: int = MIN_EYES,
    min_patients: int = MIN_PATIENTS,
    **options,
) -> pd.DataFrame:
    """Return :func:`fairness_table` for crossed attributes, with a minimum of patients as well.

    The pairs are a family of their own for Holm's correction, apart from the alarm of a model.
    """
    sizes = {"min_eyes": min_eyes, "min_patients": min_patients}
    return fairness_table(predictions, samples, runs, attributes=pairs, **sizes, **options)


def alarms(table: pd.DataFrame, by: Sequence[str] = BY) -> pd.DataFrame:
    """Return the test of each model's gap per attribute, and whether it raises an alarm.

    Parameters
    ----------
    table : DataFrame
        Of :func:`fairness_table`.

    Returns
    -------
    DataFrame
        ``by``, attribute, gap, null_gap (µm), p, p_holm (over the attributes of the model), alarm
        (p_holm below 0.05) and p_study (Holm over all models and attributes). The template and the
        oracle floor are yardsticks, not models: they have no rows.
    """
    metric = ["gap", "null_gap", "gap_p", "gap_p_holm"]
    rows = table[table["metric"].isin(metric) & (table["attribute"] != "mean")]
    rows = rows[~rows[[*by]].isin([*BASELINES.values()]).any(axis=1)]
    keys = [*by, "attribute"]
    wide = rows[keys].drop_duplicates().reset_index(drop=True)
    for name in metric:
        one = rows[rows["metric"] == name][[*keys, "estimate"]].rename(columns={"estimate": name})
        wide = wide.merge(one, on=keys, how="left", validate="one_to_one")
    wide = wide.rename(columns={"gap_p": "p", "gap_p_holm": "p_holm"})
    return wide.assign(alarm=wide["p_holm"] < ALPHA, p_study=holm(wide["p"]))


def _bias_per_eye(run: Run) -> np.ndarray:
    """Return predicted minus labelled mean thickness (n_eyes,), µm, over the angles measured."""
    measured = np.isfinite(run.target)
    excess = np.where(measured, run.prediction - run.target, 0.0).sum(axis=1)
    return divide(excess, measured.sum(axis=1))


class _CellRows:
    """The rows of one cell."""

    def __init__(
        self, cell: Cell, tally: Tally, errors: np.ndarray, n_boot: int, n_perm: int, seed: int
    ) -> None:
        self.cell, self.tally, self.seed = cell, tally, seed
        self.rows: list[dict] = []
        first = cell.runs[0]
        resamples = patient_counts(len(first.patients), n_boot, seed)
        gaps = Gaps(tally, errors, n_perm, seed)
        means, replicates = tally.means(errors), tally.resampled(errors, resamples)
        bias = np.stack([_bias_per_eye(run) for run in cell.runs])
        shifts = tally.means(bias), tally.resampled(bias, resamples)
        for one in tally.groupings:
            self._add_groups(one.name, one.levels, means, replicates, shifts)
        sizes = {n: int(tally.n[s][tally.large[s]].sum()) for n, s in tally.slices.items()}
        off = gaps.over(replicates - means[:, None])
        for name, gap in gaps.gap.items():
            n = sizes.get(name, cell.n)
            self._add_within("gap", name, gap, (-off[name], off[name], 0.9), 0.0, n)
            self._add_null("null_gap", name, gaps.null[name], len(gap), n)
            self._add_plain("gap_p", name, gaps.p[name], len(gap), n)
            if name != "mean":
                self._add_plain("gap_p_holm", name, gaps.p_holm[name], len(gap), n)
        overall = errors[:, tally.measured].mean(axis=1)
        filled = patient_sums(np.where(tally.measured, errors, 0.0).T, tally.codes)
        eyes = weighted_totals(resamples, tally.eyes[:, None])
        resampled = divide(weighted_totals(resamples, filled), eyes).T  # (k, n_boot)
        shift, least = resampled - overall[:, None], interval(resampled.mean(axis=0))[0]
        for name in tally.slices:
            own, again, null = (gaps.pick(m, name) for m in (means, replicates, gaps.permuted))
            moved = np.abs(again - own[:, None] - shift[..., None]).sum(axis=-1)
            values, ends = equity_scaled(own, overall), (-moved - shift, moved - shift, 0.95)
            self._add_within("equity_mae", name, values, ends, least, sizes[name])
            by_chance = equity_scaled(null, np.broadcast_to(overall[:, None], null.shape[:-1]))
            self._add_null("null_equity_mae", name, by_chance.mean(0), len(own), sizes[name])

    def _add(self, metric: str, attribute: str, group: str, estimates, replicates, n: int) -> None:
        place = self.seed, attribute, group
        self.rows.append(row(self.cell.key, metric, estimates, replicates, n, *place))

    def _add_within(
        self, metric: str, attribute: str, estimates, ends, least: float, n: int
    ) -> None:
        """Add estimates (k,) whose truth lies between two bounds away (k, n_boot), at a level."""
        self._add_plain(metric, attribute, estimates.mean(), len(estimates), n)
        made, (below, above, level) = self.rows[-1], ends
        noise = np.abs(seed_noise(estimates, above.shape[1], self.seed))
        low = interval(below.mean(axis=0) - noise, level)[0]
        high = interval(above.mean(axis=0) + noise, level)[1]
        made["low"], made["high"] = max(made["estimate"] + low, least), made["estimate"] + high
        made["seed_sd"] = np.std(estimates, ddof=1) if len(estimates) > 1 else np.nan

    def _add_plain(self, metric: str, attribute: str, value: float, k: int, n: int) -> None:
        self._add(metric, attribute, WHOLE, np.full(k, value), np.full((k, 1), np.nan), n)
        self.rows[-1]["seed_sd"] = np.nan

    def _add_null(self, metric: str, attribute: str, null: np.ndarray, k: int, n: int) -> None:
        self._add_plain(metric, attribute, null.mean(), k, n)
        self.rows[-1]["low"], self.rows[-1]["high"] = interval(null)

    def _add_groups(self, name: str, levels: Sequence[str], means, replicates, shifts) -> None:
        where = self.tally.slices[name]
        n, large = self.tally.n[where], self.tally.large[where]
        shown = np.where(large, 1.0, np.nan)
        own, again, shift, shifted = (
            m[..., where] * shown for m in (means, replicates, *shifts)
        )  # fmt: skip
        for g, group in enumerate(levels):
            self._add("mae", name, group, own[:, g], again[..., g], n[g])
            self._add("bias", name, group, shift[:, g], shifted[..., g], n[g])
            patients = float(self.tally.n_patients[where][g])
            self._add_plain("patients", name, patients, len(own), n[g])
            self.rows[-1]["group"] = group
        worst = int(np.argmax(np.where(large, own.mean(axis=0), -np.inf)))
        group, size = (levels[worst], n[worst]) if large.any() else ("none", 0)
        self._add("worst_group", name, group, own[:, worst], again[..., worst], size)
