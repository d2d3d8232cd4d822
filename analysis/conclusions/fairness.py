"""Conclusions on fairness: gaps beside chance, the claims about gaps, planted differences."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.conclusions.claims import ALPHA, arises, rows_of, signed, trained
from analysis.fairness import alarms
from analysis.fairness.group_effects import ALONG
from analysis.presentation.style import look
from analysis.presentation.text import number, with_interval
from analysis.resampling.conditions import NO_BACKBONE


def gaps_and_chance(table: pd.DataFrame) -> list[str]:
    """Say which models raise an alarm, what an alarm could have shown, and what chance makes.

    ``table`` is that of :func:`analysis.fairness.fairness_table`.
    """
    every = alarms(table).dropna(subset="gap")
    if every.empty:
        return ["No gap can be tested: no attribute has two groups of at least 10 eyes."]
    tests, untested = every.dropna(subset="p"), every.attribute[every.p.isna()].unique()
    out = []
    if len(untested):
        out.append(
            f"Gap by {' and '.join(untested)}: no p and no null, because no two patients with as "
            "many eyes differ in their labels, or a group is one patient."
        )
    if tests.empty:
        return out
    models = tests.groupby(["backbone", "protocol"], sort=False).alarm.any()
    rule = f"p below {ALPHA:g}, Holm-corrected over {', '.join(tests.attribute.unique())}"
    n_study = (tests.p_study < ALPHA).sum()
    out.append(
        f"{models.sum()} of {len(models)} models raise an alarm ({rule}); where errors know no "
        f"group, a model does in at most 5 % of test sets. Corrected over all {len(tests)} gaps of "
        f"the study, {n_study or 'none'} remain{'s' if n_study == 1 else ''}."
    )
    if not tests.alarm.all():
        reach = tests[~tests.alarm].groupby("attribute", sort=False).detectable
        parts = ", ".join(f"{_range(one)} µm by {name}" for name, one in reach)
        out.append(
            f"Where there is no alarm a gap is not shown, which is not none: 80 % of such sets "
            f"would raise one only from {parts} on, between the groups hardest to tell apart."
        )
    for row in tests[tests.alarm].itertuples():
        gap, worst = (
            rows_of(table, name, attribute=row.attribute).loc[row.backbone, row.protocol]
            for name in ("gap", "worst_group")
        )
        out.append(
            f"{_name(row)}: gap by {row.attribute} {with_interval(gap)} µm, null "
            f"{number(row.null_gap)} µm, {_p(row.p_holm)}; most in error: {worst.group}."
        )
    gap, null, p = (_trained(table, name, "mean") for name in ("gap", "null_gap", "gap_p"))
    if len(null):
        above = (p.estimate < ALPHA).sum()
        out.append(
            f"The paper's gap, the mean over attributes, is {_range(gap.estimate)} µm; chance "
            f"alone makes {_range(null.estimate)} µm of groups of these sizes. More than chance is "
            f"shown (p below {ALPHA:g}, differences over their standard errors) in {above} of "
            f"{len(p)} models."
        )
    return out


def published_gaps(table: pd.DataFrame, published: pd.DataFrame, phantom: int) -> str:
    """Say what a null would do to the paper's gaps, which are printed without one.

    ``published`` is Table 1 of the submission (:func:`analysis.published.load`), here and below;
    ``phantom`` says whose eyes those of the other table are.
    """
    printed = published.loc[published.metric == "gap", "value"]
    text = f"The paper prints gaps of {_range(printed)} µm on FairFedMed, and no null beside them. "
    null, mae = _trained(table, "null_gap", "mean"), _trained(table, "mae")
    if null.empty:
        return text + "The test set here is too small to say what chance makes of its groups."
    share = null.estimate / _overall(mae)
    sizes = mae.drop_duplicates(["attribute", "group"]).n
    return text + (
        f"In the {'phantom ' if phantom else ''}test set here, with groups of {sizes.min():.0f} to "
        f"{sizes.max():.0f} eyes, chance alone makes {_range(null.estimate)} µm, "
        f"{_range(100 * share, 0)} % of the MAE. Without the same figure for its own groups a "
        "published gap cannot be read, and differences of tenths of a µm between gaps still less."
    )


def gap_claims(
    differences: pd.DataFrame,
    published: pd.DataFrame,
    phantom: int,
    backbone: str = "RETFound ViT-L/16",
) -> list[str]:
    """Say whether a protocol widens or narrows the gap of *aggressive* here, as in the paper.

    A change arises when labels matter for the paired errors (Holm's p below 0.05) and the gap moves
    in the claimed direction. ``differences`` are those of
    :func:`analysis.fairness.gap_differences.gap_differences` against 'aggressive', ``backbone`` is
    the published one whose gaps are quoted.
    """
    printed = published[(published.metric == "gap") & (published.backbone == backbone)]
    printed = printed.set_index("protocol")["value"]
    out = []
    for protocol, verb in (("gradient_loss", "widens"), ("structured", "narrows")):
        start, end = printed["aggressive"], printed[protocol]
        step = end - start
        text = (
            f"In the paper {look(protocol).label} {verb} the gap of aggressive on {backbone} "
            f"({number(start)} to {number(end)} µm, no interval). "
        )
        rows = differences[(differences.attribute == "mean") & (differences.protocol == protocol)]
        rows = rows.dropna(subset="estimate")
        if rows.empty:
            out.append(text + "Not possible to say here: no such pair, or groups too small.")
            continue
        arisen = (rows.p_holm < ALPHA) & (np.sign(rows.estimate) == np.sign(step))
        excluded = ((rows.high if step > 0 else -rows.low) < 0).all()
        where = f" in {arisen.sum()} of {len(rows)} backbones" if arisen.any() else ""
        parts = "; ".join(
            f"{look(row['backbone']).label} {signed(row)} µm, {_p(row['p_holm'])}"
            for row in rows.to_dict("records")
        )
        eyes = "In phantom eyes" if phantom else "Here"
        text += f"{eyes} that {arises(arisen.any(), excluded)}{where}: {parts}."
        if not arisen.any() and ((rows.low <= step) & (rows.high >= step)).any():
            text += f" A change of {number(step, signed=True)} µm is not excluded."
        out.append(text)
    return out


def planted_differences(labels: pd.DataFrame) -> list[str]:
    """Say whether the labels show the differences in thickness that were planted.

    ``labels`` is that of :func:`analysis.fairness.group_effects.label_effects`.
    """
    rows = labels[(labels.eyes == "all") & (labels.attribute != ALONG[0])].to_dict("records")
    return [f"Differences in labelled thickness, all eyes: {'; '.join(map(_planted, rows))}."]


def _planted(row: dict) -> str:
    name = f"age {row['group']}" if row["attribute"] == "age" else row["group"]
    if not np.isfinite(row["estimate"]):
        return f"{name} too few eyes"
    text = "found" if row["low"] > 0 or row["high"] < 0 else "not told from 0"
    if np.isfinite(row["planted"]):
        text = f"planted {number(row['planted'], 1, signed=True)}, {text}"
        text += "" if row["low"] <= row["planted"] <= row["high"] else ", not in full"
    return f"{name} {text} at {signed(row)} µm"


def reproduction(effects: pd.DataFrame) -> list[str]:
    """Say whether models reproduce, shrink or exaggerate differences between groups.

    ``effects`` is that of :func:`analysis.fairness.group_effects.group_effects`.
    """
    truth, predicted, bias, error = (
        _trained(effects, name, ALONG[0]) for name in ("thickness", "predicted", "bias", "error")
    )
    if truth.empty:
        return ["How models treat planted differences cannot be said: none planted, or few eyes."]
    below, above, n = (bias.high < 0).sum(), (bias.low > 0).sum(), len(bias)
    verdict = "exaggerate" if above > n / 2 else "shrink" if below > n / 2 else None
    clear = (bias.p_holm < ALPHA).sum()
    if verdict and clear <= n / 2:  # intervals of single models alone
        verdict = f"seem to {verdict}"
    moved = ((error.low > 0) | (error.high < 0)).sum()
    along = f"in {moved} of {len(error)} models"
    return [
        f"Of each planted µm the labels of the test eyes show {with_interval(truth.iloc[0])} µm "
        f"and the models predict {_range(predicted.estimate)} µm: most "
        f"{verdict or 'are not told from reproducing'} the differences between groups. The "
        f"interval of the bias lies below 0 in {below} and above 0 in {above} of {n} models; "
        f"{clear or 'none'} after Holm's correction over them.",
        f"Along the same axis the error differs {along}."
        if moved
        else f"Along the same axis the error differs between groups {along}: an error that is "
        "not told apart may still hide a bias.",
    ]


def intersections(table: pd.DataFrame) -> str:
    """Say what crossing two attributes shows, and how many groups are too small for it.

    ``table`` is that of :func:`analysis.fairness.intersections_table`.
    """
    groups = table[(table.backbone != NO_BACKBONE) & (table.metric == "mae")]
    groups = groups.drop_duplicates(["attribute", "group"]).estimate
    text = f"{groups.isna().sum()} of {len(groups)} intersections are too small to compare. "
    tests = alarms(table).dropna(subset="p")
    if tests.empty:
        return text + "No two are left in any pair of attributes."
    top = tests.loc[tests.p.idxmin()]
    n = (tests.p_holm < ALPHA).sum()
    verb = "is" if n == 1 else "are"
    return text + (
        f"{n or 'None'} of {len(tests)} gaps over intersections {verb} shown to be larger than "
        f"chance (Holm over the pairs of a model; 80 % of such test sets would show "
        f"one from {_range(tests.detectable)} µm on); the clearest is {top.attribute}, "
        f"{_name(top)}: {number(top.gap)} µm, null {number(top.null_gap)} µm, {_p(top.p_holm)}."
    )


def _name(row) -> str:
    return f"{look(row.backbone).label} with {look(row.protocol).label}"


def _p(value: float) -> str:
    return "p below 0.001" if value < 0.001 else f"p {number(value, 3)}"


def _range(values: pd.Series, digits: int = 2) -> str:
    low, high = number(values.min(), digits), number(values.max(), digits)
    return low if low == high else f"{low} to {high}"


def _trained(table: pd.DataFrame, metric: str, attribute: str | None = None) -> pd.DataFrame:
    return trained(rows_of(table, metric, attribute=attribute))


def _overall(mae: pd.DataFrame) -> pd.Series:
    """Return the MAE over the groups of the attribute that covers most eyes, by cell."""
    rows = mae[mae.attribute == mae.groupby("attribute").n.sum().idxmax()]
    cell = ["backbone", "protocol"]
    return (rows.n * rows.estimate).groupby(cell).sum() / rows.n.groupby(cell).sum()
