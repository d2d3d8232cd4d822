"""The printed summary of an evaluation: metrics with intervals, collapse, fairness, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from analysis.presentation.text import lookup, number, with_interval
from analysis.reports.evaluation.sections import Section, Study
from rnfl.core import metrics


def text(study: Study, sections: Mapping[str, Section], notes: Sequence[str], output: Path) -> str:
    """Return what ``rnfl evaluate`` prints.

    Every metric of each model comes with its 95 % interval, beside the template's; then the verdict
    on collapse and the fairness gap with its null.
    """
    table = sections["02_protocols"].tables["table1"]
    template = table[table["protocol"] == "template"]
    lines = ["Phantom data: simulated eyes." if study.phantom else ""]
    for run in study.runs.itertuples():
        rows = table[(table["protocol"] == run.protocol) & (table["backbone"] == run.backbone)]
        lines += [*_metrics(run, rows, template, study), ""]
    lines += ["Collapse", *_indented(sections["01_visualize_predictions"].conclusions), ""]
    if fair := sections.get("07_fairness"):
        lines += ["Fairness: gap between the worst and the best group, beside that of chance"]
        lines += [*_gaps(study, fair.tables["fairness"]), *_indented(fair.conclusions), ""]
    if notes:
        lines += ["Notes", *_indented(notes), ""]
    return "\n".join([*lines, f"Results {output}", f"Report  {output / 'report.html'}"]).strip()


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _gaps(study: Study, table: pd.DataFrame) -> list[str]:
    """Return a line per model and attribute: gap with interval, null gap and p."""
    lines = []
    for run in study.runs.itertuples():
        rows = table[(table["protocol"] == run.protocol) & (table["backbone"] == run.backbone)]
        for name in (*study.attributes, "mean"):
            gap, null, p = (
                lookup(rows, metric, name, "max-min") for metric in ("gap", "null_gap", "gap_p")
            )
            lines.append(
                f"  {run.protocol:<15} {name:<5} {with_interval(gap)} µm, null "
                f"{number(null['estimate'])} µm, p {number(p['estimate'], 3)}"
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
