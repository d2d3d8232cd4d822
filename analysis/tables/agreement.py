"""Collapse, agreement, error by thickness and the detection of thinning, formatted wide."""

from __future__ import annotations

import pandas as pd

from analysis.agreement import GLOBAL
from analysis.collapse import verdicts
from analysis.collapse.templates import MANY
from analysis.presentation.text import BRACKETS, MISSING, captioned, with_interval
from analysis.resampling.conditions import NO_BACKBONE
from analysis.tables.cells import cells


def collapse_wide(stats: pd.DataFrame) -> pd.DataFrame:
    """Return the measures of collapse of :func:`analysis.collapse.collapse_table`, by cell."""
    judged = verdicts(stats)
    wide = [
        {
            **names,
            "σ flat (µm)": cell.number("sigma_flat", 1),
            "σ between (µm)": cell.level("sigma_between", 1),
            "σ ratio": cell.number("sigma_ratio"),
            "Template share": cell.number("template_share"),
            "Response": cell.level("response_slope"),
            "Calibration": cell.level("calibration_slope"),
            "Distance (µm)": cell.level("template_distance", 1),
            "Distance ratio": cell.level("template_distance_ratio"),
            f"Share of {MANY}": cell.level(f"distance_share_{MANY}"),
            "Rotation": cell.level("rotation_response"),
            "Verdict": judged.get(key, MISSING),
            "Eyes": str(int(cell.rows["n"].max())),
        }
        for key, names, cell in cells(stats)
    ]
    return captioned(
        wide,
        "Measures of template collapse on the test eyes. σ flat: SD of all predictions together, "
        "as published. σ between: SD across eyes at each angle. Response: slope of predicted on "
        "true deviations from the mean profile, 0 for a template. Calibration: slope of true on "
        "predicted deviations. Distance: mean RMS distance to the nearest of four templates that "
        "suit the model best, with its ratio to the labels'; share of 16: that ratio with 16 "
        "templates over the σ ratio. Rotation: slope of the predicted shift on a turn of the "
        "image, 1 where the prediction turns with it, 0 where a shape is repeated. Verdict, by "
        "intervals: one template, σ ratio below 0.5; few templates, share of 4 or of 16 below a "
        "third; diverse, none of these; undecided, the intervals allow both. Protocol few "
        "templates: one trained model's predictions replaced by the nearest of four profiles. "
        "Square brackets: 95 % intervals, patients resampled (templates held fixed), and seeds "
        "where there are several.",
    )


def agreement_wide(table: pd.DataFrame) -> pd.DataFrame:
    """Return the Bland-Altman statistics of :func:`analysis.agreement.agreement_table`, by cell."""
    wide, limits = [], {"Bias": "bias", "Lower limit": "limit_low", "Upper limit": "limit_high"}
    slopes = {"Slope on label": "slope_on_label", "Slope on mean": "slope_on_mean"}
    for _, made, cell in cells(table):
        for head, name in (limits | slopes).items():
            made[head] = cell.level(name, 1 if head in limits else 2, "region", GLOBAL)
        for region in cell.rows.loc[cell.rows["group"] != GLOBAL, "group"].drop_duplicates():
            bias, low, high = (cell.number(one, 1, "region", region) for one in limits.values())
            made[region] = f"{bias} ({low} to {high})"
        made["Eyes"] = str(int(cell.rows.loc[cell.rows["group"] == GLOBAL, "n"].max()))
        wide.append(made)
    return captioned(
        wide,
        "Agreement of predicted with measured mean thickness, predicted minus label, in µm. "
        "Limits: bias ± 1.96 SD over eyes. Slopes of the difference: on the label, and on the mean "
        "of both (0: no proportional bias; −1 and −2: a template). Quadrants: bias and limits. "
        f"{BRACKETS}.",
    )


def thickness_wide(table: pd.DataFrame) -> pd.DataFrame:
    """Return the bias by bin of thickness, from
    :func:`analysis.agreement.thickness_table`, by cell."""
    wide = [
        names | {f"{row['group']} µm": with_interval(row, 1) for _, row in cell.rows.iterrows()}
        for _, names, cell in cells(table[table["metric"] == "bias"])
    ]
    return captioned(
        wide,
        "Bias (predicted minus label, µm) at single angles by the thickness of the label there. "
        f"{BRACKETS}.",
    )


def sensitivity_wide(table: pd.DataFrame) -> pd.DataFrame:
    """Return the sensitivity by sector, from :func:`analysis.agreement.thinning.thinning_table`,
    one row per cell and a last one with the number of thinned eyes."""
    asked = table.loc[table["metric"] == "specificity", "estimate"].iloc[0]
    chosen = table[table["metric"] == "sensitivity"].replace({"group": {GLOBAL: "circle"}})
    wide = [
        names | {row["group"]: with_interval(row) for _, row in cell.rows.iterrows()}
        for _, names, cell in cells(chosen)
    ]
    sizes = chosen.drop_duplicates("group").set_index("group")["n"]
    counts = {group: str(int(n)) for group, n in sizes.items()}
    return captioned(
        [*wide, {"Backbone": NO_BACKBONE, "Protocol": "eyes", **counts}],
        f"Detection of thinning by predicted means: sensitivity at the threshold that has "
        f"{100 * asked:.0f} % specificity on validation eyes of the training set. Thinned: label "
        "below the 5th percentile of healthy training eyes, not adjusted for age; the last row "
        "gives the number of thinned eyes, and a dash stands for fewer than 10. Square brackets: "
        "95 % intervals, patients resampled with the threshold held fixed, and seeds where there "
        "are several.",
    )
