"""What an evaluation says in words: notes on its eyes, and the summary that a terminal prints.

A note is one sentence about the eyes, their attributes or the models' names; metrics, collapse and
fairness follow in the summary, each with its interval or its null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.agreement import MIN_EYES
from analysis.fairness import ATTRIBUTES
from analysis.presentation.sidecar import said_first
from analysis.presentation.text import lookup, number, with_interval
from analysis.reports.evaluation.sections import Section, Study
from rnfl.core import metrics, schema
from rnfl.storage.tables import listed

FEW_PATIENTS = 30  # below which percentile intervals are noticeably too narrow (simulated)


def notes(study: Study) -> list[str]:
    """Return the notes on a study, one sentence each: its names, eyes and attributes."""
    changed = study.runs[study.runs["protocol"] != study.runs["run_id"]]
    out = [f"{row.run_id} is shown as {row.protocol}." for row in changed.itertuples()]
    rows = study.labels
    none = rows.loc[np.isnan(schema.matrix(rows, "target")).all(axis=1), "eye_id"]
    if len(none):
        out.append(f"{len(none)} eyes have no ground truth and count only in n: {listed(none)}.")
    if len(rows) < MIN_EYES:
        out.append(f"Below {MIN_EYES} eyes agreement is not evaluated.")
    patients = study.samples["patient_id"].nunique()
    if patients == 1:
        out.append("With one patient there is nothing to resample: intervals say nothing.")
    elif patients < FEW_PATIENTS:
        out.append(f"With {patients} patients, intervals are somewhat too narrow.")
    have = study.attributes
    absent = [name for name in ATTRIBUTES if name not in have]
    if have and absent:
        out.append(f"No {' and no '.join(absent)}: the mean gap is over {' and '.join(have)} only.")
    unknown = study.samples[have].isna().sum()
    if unknown.any():
        found = ", ".join(f"{name} of {n}" for name, n in unknown.items() if n)
        out.append(f"Eyes without a value belong to no group: {found}.")
    return out


def text(study: Study, sections: Mapping[str, Section], notes: Sequence[str], output: Path) -> str:
    """Return what ``rnfl evaluate`` prints.

    Every metric of each model comes with its 95 % interval, beside the template's; then the verdict
    on collapse and the fairness gap with its null.
    """
    table = sections["02_protocols"].tables["table1"]
    template = table[table["protocol"] == "template"]
    lines = [said_first(study.phantom).strip()]
    for run in study.runs.itertuples():
        lines += [*_metrics(run, _rows(table, run), template, study), ""]
    lines += ["Collapse", *_indented(sections["01_visualize_predictions"].conclusions), ""]
    if fair := sections.get("07_fairness"):
        lines += ["Fairness: gap between the worst and the best group, beside that of chance"]
        lines += [*_gaps(study, fair.tables["fairness"]), *_indented(fair.conclusions), ""]
    if notes:
        lines += ["Notes", *_indented(notes), ""]
    return "\n".join([*lines, f"Results {output}", f"Report  {output / 'report.html'}"]).strip()


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _rows(table: pd.DataFrame, run) -> pd.DataFrame:
    return table[(table["protocol"] == run.protocol) & (table["backbone"] == run.backbone)]


def _gaps(study: Study, table: pd.DataFrame) -> list[str]:
    """Return a line per model and attribute: gap with interval, null gap, p, detectable gap."""
    lines = []
    for run in study.runs.itertuples():
        rows = _rows(table, run)
        for name in (*study.attributes, "mean"):
            shown = ("gap", "null_gap", "gap_p", "gap_detectable")
            gap, null, p, least = (lookup(rows, m, name, "max-min") for m in shown)
            alarm = f", alarm likely from {number(least['estimate'])} µm" * (name != "mean")
            lines.append(
                f"  {run.protocol:<15} {name:<5} {with_interval(gap)} µm, null "
                f"{number(null['estimate'])} µm, p {number(p['estimate'], 3)}{alarm}"
            )
    return lines


def _metrics(run, rows: pd.DataFrame, template: pd.DataFrame, study: Study) -> list[str]:
    eyes, patients = len(study.samples), study.samples["patient_id"].nunique()
    shown = "" if run.protocol == run.run_id else f" (shown as {run.protocol})"
    head = f"  {'metric':<24}{'estimate':>10}  {'95 % interval':<20}{'template':>10}"
    lines = [f"{run.run_id}, {eyes} eyes of {patients} patients{shown}", head]
    for metric in metrics.METRICS:
        value = lookup(rows, metric)
        interval = with_interval(value, 3).removeprefix(number(value["estimate"], 3)).strip()
        beside = number(lookup(template, metric)["estimate"], 3)
        estimate = number(value["estimate"], 3)
        lines.append(f"  {metric:<24}{estimate:>10}  {interval:<20}{beside:>10}")
    return lines
