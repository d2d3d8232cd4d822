"""Fairness: gaps beside their nulls, groups, intersections and planted differences, wide."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.presentation.style import look
from analysis.presentation.text import MISSING, lookup, number, with_interval
from analysis.resampling.conditions import BASELINES, NO_BACKBONE

FAIRNESS_CAPTION = (
    "Gaps in MAE between groups of patients, by backbone and protocol. Gap: largest minus smallest "
    "group MAE, groups of at least 10 eyes; mean: average over age, sex and race. Null: the gap "
    "expected when patients exchange their labels (with patients who have as many eyes). p: share "
    "of such gaps at least as large, Holm-corrected over the three attributes; that of the mean "
    "stands alone. An alarm is a corrected p below 0.05. Square brackets: simultaneous 95 % "
    "intervals, patients resampled, and seeds where there are several."
)
EQUITY_CAPTION = (
    "Equity-scaled MAE: the MAE plus how far each group's MAE lies from it, summed over groups "
    "(ours, after equity-scaled scores), in µm. Null: the same when patients exchange their "
    "labels. Square brackets: simultaneous 95 % intervals, patients resampled, and seeds where "
    "there are several."
)
GROUPS_CAPTION = (
    "Error and bias by group, {cell}. Bias: mean thickness predicted minus labelled. A dash stands "
    "for a group of fewer than {sizes}. Square brackets: 95 % "
    "intervals, patients resampled, and seeds where there are several."
)
GAP_DIFFERENCES_CAPTION = (
    "Difference of gaps between protocols on the same eyes, row minus reference, averaged over "
    "age, sex and race. p: labels exchanged between patients, on the paired differences in error; "
    "Holm-corrected over the rows. Square brackets: simultaneous 95 % bounds, conservative."
)
EFFECTS_CAPTION = (
    "Differences between groups in mean thickness (µm), adjusted for sex, race, age and severity: "
    "as planted in eyes without disease, in the labels of all eyes, of healthy eyes and of the "
    "test eyes, as predicted in the test eyes, the difference of these two (bias), and that "
    "of the MAE; {cell}. Square brackets: 95 % intervals, patients resampled, and "
    "seeds where there are several."
)
NAMES = {"<40": "< 40", "40-60": "40–60", ">=60": "≥ 60"}


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else number(value, 3)


def _cell(backbone: str, protocol: str) -> dict[str, str]:
    name = backbone if backbone == NO_BACKBONE else look(backbone).label
    return {"Backbone": name, "Protocol": look(protocol).label}


def fairness_wide(table: pd.DataFrame) -> pd.DataFrame:
    """Return the gaps of each cell beside their nulls, formatted, one row per cell.

    Parameters
    ----------
    table : DataFrame
        Long, from :func:`analysis.fairness.fairness_table`.
    """
    attributes = [a for a in table.loc[table.metric == "gap", "attribute"].unique() if a != "mean"]
    wide = []
    for key, rows in table.groupby(["backbone", "protocol"], sort=False):
        made, corrected = _cell(*key), []
        for name in (*attributes, "mean"):
            gap, null, p, holm = (
                lookup(rows, metric, name, "max-min")
                for metric in ("gap", "null_gap", "gap_p", "gap_p_holm")
            )
            heading = name.capitalize()
            made[f"{heading}: gap (µm)"] = with_interval(gap)
            made[f"{heading}: null"] = number(null["estimate"])
            made[f"{heading}: p"] = _p((p if name == "mean" else holm)["estimate"])
            corrected.append(holm["estimate"])
        made["Alarm"] = "yes" if np.nanmin([*corrected, 1.0]) < 0.05 else "no"
        if key[1] in BASELINES.values() or not np.isfinite(corrected).any():
            made["Alarm"] = MISSING
        wide.append(made)
    return pd.DataFrame(wide)


def equity_wide(table: pd.DataFrame) -> pd.DataFrame:
    """Return the equity-scaled MAE of each cell beside its null, formatted, one row per cell."""
    attributes = table.loc[table.metric == "equity_mae", "attribute"].unique()
    wide = []
    for key, rows in table.groupby(["backbone", "protocol"], sort=False):
        made = _cell(*key)
        for name in attributes:
            made[f"{name.capitalize()} (µm)"] = with_interval(
                lookup(rows, "equity_mae", name, "max-min")
            )
            null = lookup(rows, "null_equity_mae", name, "max-min")
            made[f"{name.capitalize()}: null"] = number(null["estimate"])
        wide.append(made)
    return pd.DataFrame(wide)


def groups_wide(table: pd.DataFrame, backbone: str, protocol: str) -> pd.DataFrame:
    """Return every group of one cell, small and absent ones included, formatted.

    Parameters
    ----------
    table : DataFrame
        Of :func:`analysis.fairness.fairness_table` or ``intersections_table``.
    """
    rows = table[(table.backbone == backbone) & (table.protocol == protocol)]
    wide = []
    for row in rows[rows.metric == "mae"].itertuples():
        place = row.attribute, row.group
        patients = lookup(rows, "patients", *place)["estimate"]
        wide.append({
            "Attribute": row.attribute,
            "Group": ", ".join(NAMES.get(part, part) for part in row.group.split(", ")),
            "Eyes": str(int(row.n)),
            "Patients": number(patients, 0),
            "MAE (µm)": with_interval(row._asdict()),
            "Bias (µm)": with_interval(lookup(rows, "bias", *place)),
        })  # fmt: skip
    return pd.DataFrame(wide)


def gap_differences_wide(differences: pd.DataFrame, attribute: str = "mean") -> pd.DataFrame:
    """Return differences of gaps between protocols, formatted, one row per comparison."""
    rows = differences[differences.attribute == attribute]
    return pd.DataFrame({
        "Backbone": [look(name).label for name in rows.backbone],
        "Protocol": [look(name).label for name in rows.protocol],
        "Against": [look(name).label for name in rows.against],
        "Difference of gaps (µm)": [with_interval(row) for row in rows.to_dict("records")],
        "p (Holm)": [_p(p) for p in rows.p_holm.astype(float)],
    })  # fmt: skip


def effects_wide(
    labels: pd.DataFrame, effects: pd.DataFrame, backbone: str, protocol: str
) -> pd.DataFrame:
    """Return planted, labelled and predicted differences between groups, one row each.

    Parameters
    ----------
    labels : DataFrame
        Of :func:`analysis.fairness.group_effects.label_effects`.
    effects : DataFrame
        Of :func:`analysis.fairness.group_effects.group_effects`; one cell is shown.
    """
    mine = effects[(effects.backbone == backbone) & (effects.protocol == protocol)]
    everybody, healthy = (labels[labels.eyes == name] for name in ("all", "healthy"))
    wide = []
    for row in everybody.itertuples():
        place = row.attribute, row.group
        made = {"Difference": f"age, {row.group}" if row.attribute == "age" else row.group}
        made["Planted"] = number(row.planted, 1)
        made["Labels, all eyes"] = with_interval(row._asdict())
        made["Labels, healthy eyes"] = with_interval(lookup(healthy, "thickness", *place))
        for heading, metric in (("Labels, test eyes", "thickness"), ("Predicted", "predicted"),
                                ("Bias", "bias"), ("MAE", "error")):  # fmt: skip
            made[heading] = with_interval(lookup(mine, metric, *place))
        wide.append(made)
    return pd.DataFrame(wide)
