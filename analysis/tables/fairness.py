"""Fairness: gaps beside their nulls, groups, intersections and planted differences, wide."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.presentation.text import (
    MISSING,
    RESAMPLED,
    captioned,
    number,
    p_value,
    with_interval,
)
from analysis.resampling.conditions import BASELINES
from analysis.tables.cells import Cell, cells
from analysis.tables.study import compared

NAMES = {"<40": "< 40", "40-60": "40–60", ">=60": "≥ 60"}
_ALL = "max-min"  # the group of a statistic over all groups of an attribute


def fairness_wide(table: pd.DataFrame) -> pd.DataFrame:
    """Return the gaps of each cell beside their nulls, from
    :func:`analysis.fairness.fairness_table`."""
    attributes = [a for a in table.loc[table.metric == "gap", "attribute"].unique() if a != "mean"]
    wide = []
    for key, made, cell in cells(table):
        corrected = []
        for name in (*attributes, "mean"):
            p = cell.row("gap_p" if name == "mean" else "gap_p_holm", name, _ALL)["estimate"]
            made[f"{name.capitalize()}: gap (µm)"] = cell.level("gap", 2, name, _ALL)
            made[f"{name.capitalize()}: null"] = cell.number("null_gap", 2, name, _ALL)
            made[f"{name.capitalize()}: p"] = p_value(p)
            corrected.append(cell.row("gap_p_holm", name, _ALL)["estimate"])
        made["Alarm"] = "yes" if np.nanmin([*corrected, 1.0]) < 0.05 else "no"
        if key[1] in BASELINES.values() or not np.isfinite(corrected).any():
            made["Alarm"] = MISSING
        wide.append(made)
    return captioned(
        wide,
        "Gaps in MAE between groups of patients, by backbone and protocol. Gap: largest minus "
        "smallest group MAE, groups of at least 10 eyes; mean: average over age, sex and race. "
        "Null: the gap expected when patients exchange their labels (with patients who have as "
        "many eyes). p: share of such exchanges in which the largest difference over its standard "
        "error is at least as large, Holm-corrected over the attributes; that of the mean stands "
        "alone; a dash where nothing can be exchanged. Alarm: a corrected p below 0.05. Square "
        f"brackets: simultaneous {RESAMPLED}.",
    )


def equity_wide(table: pd.DataFrame) -> pd.DataFrame:
    """Return the equity-scaled MAE of each cell beside its null."""
    attributes = table.loc[table.metric == "equity_mae", "attribute"].unique()
    wide = []
    for _, made, cell in cells(table):
        for name in attributes:
            made[f"{name.capitalize()} (µm)"] = cell.level("equity_mae", 2, name, _ALL)
            made[f"{name.capitalize()}: null"] = cell.number("null_equity_mae", 2, name, _ALL)
        wide.append(made)
    return captioned(
        wide,
        "Equity-scaled MAE: the MAE plus how far each group's MAE lies from it, summed over groups "
        "(ours, after equity-scaled scores), in µm. Null: the same when patients exchange their "
        f"labels. Square brackets: simultaneous {RESAMPLED}.",
    )


def groups_wide(
    table: pd.DataFrame, backbone: str, protocol: str, min_patients: int = 0
) -> pd.DataFrame:
    """Return every group of one cell, small and absent ones included.

    Parameters
    ----------
    table : DataFrame
        Of :func:`analysis.fairness.fairness_table` or ``intersections_table``.
    backbone, protocol : str
    min_patients : int
        Of an intersection, for the caption; 0 for single attributes.
    """
    cell = Cell(table[(table.backbone == backbone) & (table.protocol == protocol)])
    wide = [
        {
            "Attribute": row["attribute"],
            "Group": ", ".join(NAMES.get(part, part) for part in row["group"].split(", ")),
            "Eyes": str(int(row["n"])),
            "Patients": cell.number("patients", 0, row["attribute"], row["group"]),
            "MAE (µm)": with_interval(row),
            "Bias (µm)": cell.level("bias", 2, row["attribute"], row["group"]),
        }
        for row in cell.rows[cell.rows.metric == "mae"].to_dict("records")
    ]
    sizes = f"10 eyes or {min_patients} patients" if min_patients else "10 eyes"
    return captioned(
        wide,
        f"{'Two attributes at once. ' if min_patients else ''}Error and bias by group, {backbone} "
        f"with {protocol}. Bias: mean thickness predicted minus labelled. A dash stands for a "
        f"group of fewer than {sizes}. Square brackets: {RESAMPLED}.",
    )


def gap_differences_wide(differences: pd.DataFrame) -> pd.DataFrame:
    """Return differences of mean gaps between protocols, one row per comparison."""
    rows = differences[differences.attribute == "mean"]
    wide = {
        **compared(rows),
        "Difference of gaps (µm)": [with_interval(row) for row in rows.to_dict("records")],
        "p (Holm)": [p_value(p) for p in rows.p_holm.astype(float)],
    }
    return captioned(
        wide,
        "Difference of gaps between protocols on the same eyes, row minus reference, averaged over "
        "age, sex and race. p: labels exchanged between patients, on the paired differences in "
        "error; Holm-corrected over the rows. Square brackets: simultaneous 95 % bounds, "
        "conservative.",
    )


def effects_wide(
    labels: pd.DataFrame, effects: pd.DataFrame, backbone: str, protocol: str
) -> pd.DataFrame:
    """Return planted, labelled and predicted differences between groups, one row each.

    ``labels`` and ``effects`` are from :mod:`analysis.fairness.group_effects`; one cell is shown.
    """
    cell = Cell(effects[(effects.backbone == backbone) & (effects.protocol == protocol)])
    healthy = Cell(labels[labels.eyes == "healthy"])
    wide = []
    for row in labels[labels.eyes == "all"].to_dict("records"):
        place = row["attribute"], row["group"]
        wide.append(
            {
                "Difference": f"age, {row['group']}" if row["attribute"] == "age" else row["group"],
                "Planted": number(row["planted"], 1),
                "Labels, all eyes": with_interval(row),
                "Labels, healthy eyes": healthy.level("thickness", 2, *place),
                "Labels, test eyes": cell.level("thickness", 2, *place),
                "Predicted": cell.level("predicted", 2, *place),
                "Bias": cell.level("bias", 2, *place),
                "MAE": cell.level("error", 2, *place),
            }
        )
    return captioned(
        wide,
        "Differences between groups in mean thickness (µm), adjusted for sex, race, age and "
        "severity: as planted in eyes without disease, in the labels of all eyes, of healthy eyes "
        "and of the test eyes, as predicted in the test eyes, the difference of these two (bias), "
        f"and that of the MAE; {backbone} with {protocol}. Square brackets: {RESAMPLED}.",
    )
