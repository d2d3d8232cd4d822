"""Tables 1 and 2 and the paired comparisons, formatted wide."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.presentation.style import look
from analysis.presentation.text import lookup, number, with_interval
from analysis.resampling.conditions import NO_BACKBONE

TABLE1_CAPTION = (
    "Prediction of the RNFL profile by backbone and protocol on the test eyes. R: correlation over "
    "angles per eye, over all eyes and angles pooled, and between eyes at each angle. Gap: largest "
    "minus smallest group MAE, averaged over age, sex and race; null gap: that expected from group "
    "labels permuted across patients. σ between: SD across eyes at each angle, with its "
    "ratio to that of the labels; σ flat: SD of all predictions together, as published. Covered: "
    "share of the way from the template (the training set's mean profile) to the oracle floor "
    "(the noise of the labels). Square brackets: 95 % intervals, patients resampled, "
    "and seeds where there are several; ± SD over seeds."
)
TABLE2_CAPTION = (
    "Error of quadrant means by domain and method. Mean: average of the four quadrants' MAE. "
    "Global: error and correlation of each eye's mean of the four quadrants. Square brackets: "
    "95 % intervals, patients resampled. The constant has no correlation."
)
COMPARISONS_CAPTION = (
    "Paired differences on the same eyes, row minus reference. Square brackets: 95 % "
    "intervals, patients resampled, and seeds where there are several. p: predictions of whole "
    "patients exchanged at random, Holm-corrected over the comparisons of one metric."
)


METRIC_LABELS = {"mae": "MAE (µm)", "sigma_between": "σ between (µm)"}


def table1_wide(table: pd.DataFrame) -> pd.DataFrame:
    """Return Table 1 in the paper's columns (and those it lacks), formatted, one row per cell.

    Parameters
    ----------
    table : DataFrame
        Long, from :func:`analysis.accuracy.performance.table1`.
    """
    wide = []
    for (backbone, protocol), rows in table.groupby(["backbone", "protocol"], sort=False):
        mae, gap = lookup(rows, "mae"), lookup(rows, "gap", "mean", "max-min")
        null = lookup(rows, "null_gap", "mean", "max-min")
        covered = {
            key: value * 100 if key in ("estimate", "low", "high") else value
            for key, value in lookup(rows, "covered").items()
        }
        spread = f" ± {number(mae['seed_sd'])}" if np.isfinite(mae["seed_sd"]) else ""
        wide.append({
            "Backbone": backbone if backbone == NO_BACKBONE else look(backbone).label,
            "Protocol": look(protocol).label,
            "MAE (µm)": with_interval(mae) + spread,
            "R per eye": number(lookup(rows, "pearson_per_eye")["estimate"], 3),
            "R pooled": number(lookup(rows, "pearson_pooled")["estimate"], 3),
            "R between eyes": with_interval(lookup(rows, "pearson_between_eyes"), 3),
            "Gap (µm)": with_interval(gap),
            "Null gap (µm)": number(null["estimate"]),
            "σ between (µm)": with_interval(lookup(rows, "sigma_between"), 1),
            "σ ratio": number(lookup(rows, "sigma_ratio")["estimate"]),
            "σ flat (µm)": number(lookup(rows, "sigma_flat")["estimate"], 1),
            "Covered (%)": with_interval(covered, 0),
            "Eyes": str(int(mae["n"])),
            "Seeds": str(int(mae["n_seeds"])),
        })  # fmt: skip
    return pd.DataFrame(wide)


def table2_wide(quadrants: pd.DataFrame) -> pd.DataFrame:
    """Return Table 2, formatted, one row per domain and method.

    Parameters
    ----------
    quadrants : DataFrame
        Long, from :func:`analysis.accuracy.quadrants.quadrant_table`, one or more domains.
    """
    wide = []
    for (domain, method), rows in quadrants.groupby(["domain", "method"], sort=False):

        def cell(metric: str, group: str, rows: pd.DataFrame = rows) -> dict:
            return lookup(rows, metric, "quadrant", group)

        wide.append({
            "Domain": domain,
            "Method": look(method).label,
            **{f"{name} (µm)": with_interval(cell("mae", name), 1) for name in "SNIT"},
            "Mean (µm)": with_interval(cell("mae", "mean")),
            "Global (µm)": with_interval(cell("mae", "global"), 1),
            "Bias (µm)": with_interval(cell("bias", "global"), 1),
            "R global": with_interval(cell("r", "global")),
            "Eyes": str(int(cell("mae", "global").get("n", 0))),
        })  # fmt: skip
    return pd.DataFrame(wide)


def comparisons_wide(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Return paired comparisons, formatted, one row per comparison."""
    return pd.DataFrame({
        "Backbone": [look(name).label for name in comparisons.backbone],
        "Protocol": [look(name).label for name in comparisons.protocol],
        "Against": [look(name).label for name in comparisons.against],
        "Metric": [METRIC_LABELS.get(name, name) for name in comparisons.metric],
        "Difference": [with_interval(row) for row in comparisons.to_dict("records")],
        "p (Holm)": ["<0.001" if p < 0.001 else number(p, 3) for p in comparisons.p_holm],
    })  # fmt: skip
