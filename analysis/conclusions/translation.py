"""Conclusions on redrawn pictures: what they read, what they erase, and whether diffusion pays."""

from __future__ import annotations

import pandas as pd

from analysis.accuracy.translation import is_dear
from analysis.conclusions.claims import ALPHA, level
from analysis.tables.translation import label

CHEAP = ("original", "own", "histogram", "mean")


def translation(table: pd.DataFrame, comparisons: pd.DataFrame) -> list[str]:
    """Say by task what redrawing does to errors and defects, and apply the kill rule.

    Tables are those of :func:`analysis.accuracy.translation.statistics`.
    """
    said = []
    for task, rows in table.groupby("task", sort=False):
        at = rows.set_index(["way", "metric"]).sort_index()
        ways = list(dict.fromkeys(rows["way"]))
        shown = [way for way in CHEAP if way in ways] + [way for way in ways if is_dear(way)]
        errors = "; ".join(f"{label(way)} {level(at.loc[(way, 'mae')])}" for way in shown)
        best = level(at.loc[("truth", "mae")])
        said.append(f"{task.capitalize()}: errors {errors}; true pictures {best}.")
        redrawn = [way for way in shown if way == "mean" or is_dear(way)]
        fates = "; ".join(
            f"{label(way)} {100 * at.loc[(way, 'erased'), 'estimate']:.0f} % erased, "
            f"{at.loc[(way, 'invented'), 'estimate']:.1f} invented per eye"
            for way in redrawn
        )
        said.append(f"{task.capitalize()}, of planted defects: {fates}.")
        said.append(f"{task.capitalize()}: {_verdict(comparisons[comparisons['task'] == task])}")
    return said


def _verdict(pairs: pd.DataFrame) -> str:
    dear = pairs[pairs["way"].map(is_dear)]
    better = dear[(dear["p_holm"] < ALPHA) & (dear["estimate"] < 0)]
    beaten = better.groupby("way")["against"].nunique()
    winners = [label(way) for way in beaten.index[beaten == dear["against"].nunique()]]
    if winners:
        return (
            f"{', '.join(winners)} errs less than the network that redraws at once and than a "
            "reader of its own: the kill rule spares it."
        )
    n = dear["way"].nunique()
    return (
        f"none of {n} ways by diffusion is shown to err less than both the network that redraws at "
        "once and a reader of its own: by the kill rule nothing dearer is tried."
    )
