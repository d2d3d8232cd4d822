"""Collapse, agreement, error by thickness and the detection of thinning, formatted wide."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from analysis.presentation.style import look
from analysis.presentation.text import lookup, number, with_interval
from analysis.resampling.conditions import NO_BACKBONE
from analysis.resampling.regions import GLOBAL

COLLAPSE_CAPTION = (
    "Measures of template collapse on the test eyes. σ flat: SD of all predictions together, as "
    "published. σ between: SD across eyes at each angle. Response: slope of predicted on true "
    "deviations from the mean profile, 0 for a template. Calibration: slope of true on predicted "
    "deviations. Distance: mean RMS distance to the nearest of four templates that suit the model "
    "best, with its ratio to the labels'. Few templates: one trained model's predictions replaced "
    "by the nearest of four profiles. Square brackets: 95 % intervals, patients "
    "resampled (templates held fixed), and seeds where there are several."
)
AGREEMENT_CAPTION = (
    "Agreement of predicted with measured mean thickness, predicted minus label, in µm. Limits: "
    "bias ± 1.96 SD over eyes. Slopes of the difference: on the label, and on the mean of both "
    "(0: no proportional bias; −1 and −2: a template). Quadrants: bias and limits. Square "
    "brackets: 95 % intervals, patients resampled, and seeds where there are several."
)
THICKNESS_CAPTION = (
    "Bias (predicted minus label, µm) at single angles by the thickness of the label there. Square "
    "brackets: 95 % intervals, patients resampled, and seeds where there are several."
)
SENSITIVITY_CAPTION = (
    "Detection of thinning by predicted means: sensitivity at {percent:.0f} % specificity. "
    "Thinned: label below the 5th percentile of healthy training eyes, not adjusted for age; the "
    "last row gives the number of thinned eyes, and a dash stands for fewer than 10. Square "
    "brackets: 95 % intervals, patients resampled and the threshold chosen again in "
    "each resample, and seeds where there are several."
)


def _cells(table: pd.DataFrame) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    """Yield the naming columns and the rows of each cell, in order."""
    for (backbone, protocol), rows in table.groupby(["backbone", "protocol"], sort=False):
        name = backbone if backbone == NO_BACKBONE else look(backbone).label
        yield {"Backbone": name, "Protocol": look(protocol).label}, rows


def collapse_wide(stats: pd.DataFrame) -> pd.DataFrame:
    """Return the measures of collapse, formatted, one row per cell.

    Parameters
    ----------
    stats : DataFrame
        Long, from :func:`analysis.collapse.collapse_table`.
    """
    wide = []
    for names, rows in _cells(stats):
        columns = {
            "σ flat (µm)": number(lookup(rows, "sigma_flat")["estimate"], 1),
            "σ between (µm)": with_interval(lookup(rows, "sigma_between"), 1),
            "σ ratio": number(lookup(rows, "sigma_ratio")["estimate"]),
            "Template share": number(lookup(rows, "template_share")["estimate"]),
            "Response": with_interval(lookup(rows, "response_slope")),
            "Calibration": with_interval(lookup(rows, "calibration_slope")),
            "Distance (µm)": with_interval(lookup(rows, "template_distance"), 1),
            "Distance ratio": with_interval(lookup(rows, "template_distance_ratio")),
        }
        wide.append({**names, **columns, "Eyes": str(int(rows["n"].max()))})
    return pd.DataFrame(wide)


def agreement_wide(table: pd.DataFrame) -> pd.DataFrame:
    """Return the Bland-Altman statistics, formatted, one row per cell.

    Parameters
    ----------
    table : DataFrame
        Long, from :func:`analysis.agreement.agreement_table`.
    """
    wide = []
    for names, rows in _cells(table):
        whole = rows[rows["group"] == GLOBAL]
        columns = {
            "Bias": with_interval(lookup(whole, "bias", "region", GLOBAL), 1),
            "Lower limit": with_interval(lookup(whole, "limit_low", "region", GLOBAL), 1),
            "Upper limit": with_interval(lookup(whole, "limit_high", "region", GLOBAL), 1),
            "Slope on label": with_interval(lookup(whole, "slope_on_label", "region", GLOBAL)),
            "Slope on mean": with_interval(lookup(whole, "slope_on_mean", "region", GLOBAL)),
        }
        for region in [name for name in dict.fromkeys(rows["group"]) if name != GLOBAL]:
            bias, low, high = (
                number(lookup(rows, metric, "region", region)["estimate"], 1)
                for metric in ("bias", "limit_low", "limit_high")
            )
            columns[region] = f"{bias} ({low} to {high})"
        wide.append({**names, **columns, "Eyes": str(int(whole["n"].max()))})
    return pd.DataFrame(wide)


def thickness_wide(table: pd.DataFrame, metric: str = "bias") -> pd.DataFrame:
    """Return one metric by bin of thickness, formatted, one row per cell.

    Parameters
    ----------
    table : DataFrame
        Long, from :func:`analysis.agreement.thickness.thickness_table`.
    metric : {'bias', 'mae'}
    """
    wide = []
    for names, rows in _cells(table[table["metric"] == metric]):
        bins = rows.set_index("group")
        values = {f"{group} µm": with_interval(row, 1) for group, row in bins.iterrows()}
        wide.append({**names, **values})
    return pd.DataFrame(wide)


def sensitivity_wide(table: pd.DataFrame, metric: str = "sensitivity") -> pd.DataFrame:
    """Return one measure of detection by sector, formatted, one row per cell.

    Parameters
    ----------
    table : DataFrame
        Long, from :func:`analysis.agreement.thinning.thinning_table`.
    metric : {'sensitivity', 'auc', 'sensitivity_as_read', 'specificity_as_read'}
    """
    chosen, wide = table[table["metric"] == metric], []
    for names, rows in _cells(chosen):
        sectors = rows.set_index("group")
        values = {
            "circle" if group == GLOBAL else group: with_interval(row)
            for group, row in sectors.iterrows()
        }
        wide.append({**names, **values})
    sizes = chosen.drop_duplicates("group").set_index("group")["n"]
    counts = {"circle" if group == GLOBAL else group: str(int(n)) for group, n in sizes.items()}
    return pd.DataFrame([*wide, {"Backbone": NO_BACKBONE, "Protocol": "eyes", **counts}])
