"""Tables 1 and 2 and the paired comparisons, formatted wide."""

from __future__ import annotations

import pandas as pd

from analysis.presentation.style import look
from analysis.presentation.text import BRACKETS, captioned, p_value, percent, with_interval
from analysis.tables.cells import Cell, cells

METRIC_LABELS = {"mae": "MAE (µm)", "sigma_between": "σ between (µm)"}


def table1_wide(table: pd.DataFrame) -> pd.DataFrame:
    """Return Table 1, long from :func:`analysis.accuracy.performance.table1`, in the paper's
    columns (and those it lacks), one row per cell."""
    wide = [
        {
            **names,
            "MAE (µm)": cell.error,
            "R per eye": cell.number("pearson_per_eye", 3),
            "R pooled": cell.number("pearson_pooled", 3),
            "R between eyes": cell.level("pearson_between_eyes", 3),
            "Gap (µm)": cell.level("gap", 2, "mean", "max-min"),
            "Null gap (µm)": cell.number("null_gap", 2, "mean", "max-min"),
            "σ between (µm)": cell.level("sigma_between", 1),
            "σ ratio": cell.number("sigma_ratio"),
            "σ flat (µm)": cell.number("sigma_flat", 1),
            "Covered (%)": percent(cell.row("covered")),
            **cell.size,
        }
        for _, names, cell in cells(table)
    ]
    return captioned(
        wide,
        "Prediction of the RNFL profile by backbone and protocol on the test eyes. R: correlation "
        "over angles per eye, over all eyes and angles pooled, and between eyes at each angle. "
        "Gap: largest minus smallest group MAE, averaged over age, sex and race; null gap: that "
        "expected from group labels permuted across patients. σ between: SD across eyes at each "
        "angle, with its ratio to that of the labels; σ flat: SD of all predictions together, as "
        "published. Covered: share of the way from the template (the training set's mean profile) "
        f"to the label-noise floor (mean |label − truth|). {BRACKETS}; ± SD over seeds.",
    )


def table2_wide(quadrants: pd.DataFrame) -> pd.DataFrame:
    """Return Table 2, long from :func:`analysis.accuracy.quadrants.quadrant_table`, one row per
    domain and method."""
    known = quadrants.groupby(["domain", "method"], sort=False)
    wide = [
        {
            "Domain": domain,
            "Method": look(method).label,
            **{f"{name} (µm)": cell.level("mae", 1, "quadrant", name) for name in "SNIT"},
            "Mean (µm)": cell.level("mae", 2, "quadrant", "mean"),
            "Global (µm)": cell.level("mae", 1, "quadrant", "global"),
            "Bias (µm)": cell.level("bias", 1, "quadrant", "global"),
            "R global": cell.level("r", 2, "quadrant", "global"),
            "Eyes": str(int(cell.row("mae", "quadrant", "global").get("n", 0))),
        }
        for (domain, method), cell in ((key, Cell(rows)) for key, rows in known)
    ]
    return captioned(
        wide,
        "Error of quadrant means by domain and method. Mean: average of the four quadrants' MAE. "
        "Global: error and correlation of each eye's mean of the four quadrants. Square brackets: "
        "95 % intervals, patients resampled. The constant has no correlation.",
    )


def comparisons_wide(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Return paired comparisons, one row per comparison."""
    wide = {
        **compared(comparisons),
        "Metric": [METRIC_LABELS.get(name, name) for name in comparisons.metric],
        "Difference": [with_interval(row) for row in comparisons.to_dict("records")],
        "p (Holm)": [p_value(p) for p in comparisons.p_holm],
    }
    return captioned(
        wide,
        f"Paired differences on the same eyes, row minus reference. {BRACKETS}. p: predictions of "
        "whole patients exchanged at random, Holm-corrected over the comparisons of one metric.",
    )


def compared(rows: pd.DataFrame) -> dict[str, list[str]]:
    """Return the columns that say what each paired difference compares, by their labels."""
    heads = ("Backbone", "Protocol", "Against")
    return {head: [look(name).label for name in rows[head.lower()]] for head in heads}
