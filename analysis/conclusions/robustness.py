"""Conclusions on mild-to-severe training: worse pictures, clean ones, what is held out."""

from __future__ import annotations

import pandas as pd

from analysis.accuracy.robustness import CLEAN, MEAN, USUAL, severity
from analysis.conclusions.claims import FLOOR, TEMPLATE, level, listed, rows_of, tally

JPEG, OTHER, TAUGHT = "jpeg", "other camera", "severity0.8"


def robustness(table: pd.DataFrame, comparisons: pd.DataFrame) -> list[str]:
    """Say what each way to augment does to the error, in which kind of picture.

    Tables are those of :func:`analysis.accuracy.robustness.statistics`.
    """
    mae = rows_of(table, "mae").reset_index().set_index(["condition", "protocol"])["estimate"]
    rows = comparisons[(comparisons["against"] == USUAL) & (comparisons["metric"] == "mae")]
    rows = rows.assign(name=rows["protocol"].str.replace("_", " ")).set_index("name")
    template, floor = mae[CLEAN, TEMPLATE[1]], mae[CLEAN, FLOOR[1]]
    ends = f"template {template:.2f}, label-noise floor {floor:.2f} µm"
    grid = ", ".join(f"{s:g}" for s in sorted(_severities(table)))
    said = [f"Mean over severities {grid}: {_levels(table, MEAN)} ({ends})."]
    arms = rows[rows.index != "specialist"]  # its pictures were another training set
    for condition, what in _kinds(table):
        own = arms[arms["condition"] == condition]
        if len(own):
            said.append(f"{what}, against {USUAL}: {listed(own)}.")
    every = arms[arms["condition"] != MEAN]
    said.append(f"Of all kinds of picture, against {USUAL} {tally(every)}.")
    said.append(f"Severity 0.8: {_levels(table, TAUGHT)}; the specialist is trained there.")
    return said


def _kinds(table: pd.DataFrame) -> list[tuple[str, str]]:
    present = table["condition"].unique()
    kinds = [(MEAN, "Over severities"), (CLEAN, "What it takes on clean pictures")]
    kinds += [(one, f"Held out ({one})") for one in present if one.startswith(JPEG)]
    kinds += [(OTHER, "Unseen camera")]
    return [(one, what) for one, what in kinds if one in present]


def _severities(table: pd.DataFrame) -> list[float]:
    known = map(severity, table["condition"].unique())
    return [one for one in known if one is not None]


def _levels(table: pd.DataFrame, condition: str) -> str:
    rows = table[(table["condition"] == condition) & (table["metric"] == "mae")]
    rows = rows[~rows["protocol"].isin([TEMPLATE[1], FLOOR[1]])]
    return "; ".join(
        f"{row['protocol'].replace('_', ' ')} {level(row)}" for _, row in rows.iterrows()
    )
