"""The paper's errors on GRAPE beside ours: real photographs on both sides, so levels compare."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis import published
from analysis.presentation.style import look
from analysis.presentation.text import MISSING, lookup, number, with_interval
from analysis.tables.beside import EDITIONS

_LABELS = {"l1_only": "L1 only"}
BESIDE_GRAPE_CAPTION = (
    "Mean absolute error on GRAPE (real photographs on both sides, µm), published and obtained. "
    "The levels share a scale but not the eyes nor the evaluation: {eyes}, and the published "
    "models were trained on real eyes. constant and PCA + ridge were fitted to other GRAPE "
    "patients; the transferred models were trained on phantom eyes. Mean: average of the four "
    "quadrants, the published global figure. σ: SD of all predictions together, not kept for the "
    "obtained ones. Square brackets: 95 % intervals, patients resampled. —: not "
    "published, or not obtained."
)


def beside_grape(quadrants: pd.DataFrame, domain: str = "GRAPE") -> pd.DataFrame:
    """Return the errors on GRAPE, one column per method and source, in µm.

    Parameters
    ----------
    quadrants : DataFrame
        Long, from :func:`analysis.accuracy.quadrants.quadrant_table`; only ``domain`` is used.
    """
    theirs = published.load("grape")
    groups = {"Mean (µm)": "global", **{f"{name} (µm)": name for name in "SNIT"}}
    wide = pd.DataFrame({"GRAPE": [*groups, "σ (µm)", "Eyes"]})
    for edition in EDITIONS:
        rows = theirs[theirs["edition"] == edition]
        eyes = rows.loc[rows["metric"] == "n_eyes", "value"]
        for method in dict.fromkeys(rows.loc[rows["protocol"] != "", "protocol"]):
            cells = rows[rows["protocol"] == method].drop_duplicates("metric").set_index("metric")
            found = [cells["value"].get(f"mae_{group}", np.nan) for group in groups.values()]
            found.append(cells["value"].get("sigma", np.nan))
            head = (
                f"Published, {EDITIONS[edition]} (GRAPE): {_LABELS.get(method, look(method).label)}"
            )
            wide[head] = [*map(number, found), number(eyes.iloc[0], 0) if len(eyes) else MISSING]
    mine = quadrants[quadrants["domain"] == domain]
    for method in dict.fromkeys(mine["method"]) or ["not evaluated"]:
        rows = mine[mine["method"] == method]
        cells = [lookup(rows, "mae", "quadrant", name) for name in ("mean", *"SNIT")]
        n = cells[0].get("n", 0)
        count = number(n, 0) if n else MISSING
        wide[f"Obtained (GRAPE): {look(method).label}"] = [
            *map(with_interval, cells), MISSING, count
        ]  # fmt: skip
    return wide


def beside_grape_caption(quadrants: pd.DataFrame, domain: str = "GRAPE") -> str:
    """Return the caption of :func:`beside_grape` with the numbers of eyes on both sides."""
    theirs = published.load("grape").query("metric == 'n_eyes'")["value"].iloc[0]
    mine = quadrants[(quadrants["domain"] == domain) & (quadrants["group"] == "mean")]["n"]
    n = int(mine.max()) if len(mine) else 0
    text = f"{theirs:.0f} eyes published, " + (f"{n} obtained" if n else "none obtained")
    return BESIDE_GRAPE_CAPTION.format(eyes=text)
