"""06_cross_modality: quadrant error of each method in each domain (Table 2)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.panels import beside, interval, unnamed_rows
from analysis.presentation import style

CAPTION = (
    "Quadrant error across modalities. Rows of panels are test domains, columns are quadrants "
    "(superior, nasal, inferior, temporal) and the mean of the four. Points: mean absolute error "
    "(MAE) of the quadrant's mean thickness; lines: 95 % intervals, patients resampled. Last "
    "column: bias of each eye's mean of the four, predicted minus label; where it is far from 0 it "
    "makes much of the error. Shaded: the interval of the method that predicts the same for "
    "every eye. Domains named phantom are simulated eyes; GRAPE is real patients."
)
NAMES = {"S": "superior", "N": "nasal", "I": "inferior", "T": "temporal", "mean": "mean of four"}
FLAT = ("template", "constant")  # methods that predict the same for every eye


def draw(quadrants: pd.DataFrame) -> Figure:
    """Draw one row of panels per domain, a column per quadrant and of bias, a line per method.

    ``quadrants`` is long: domain, method, metric, group, estimate, low, high, n.
    """
    mae = quadrants[quadrants["metric"] == "mae"]
    domains = list(dict.fromkeys(mae["domain"]))
    methods = {name: _methods(mae[mae["domain"] == name]) for name in domains}
    heights = [0.16 * len(methods[name]) + 0.42 for name in domains]
    figure = style.new_figure(style.PAGE, sum(heights) + 0.35)
    grid = figure.subplots(
        len(domains), len(NAMES) + 1, squeeze=False, sharex="col", height_ratios=heights
    )
    top = mae[["estimate", "high"]].max().max()  # NaN where no quadrant was measured in any eye
    for axes in grid[0, :-1]:
        axes.set_xlim(0, 1.06 * top if np.isfinite(top) else 1)
        axes.xaxis.set_major_locator(style.ticks(4))
    bias = quadrants[(quadrants["metric"] == "bias") & (quadrants["group"] == "global")]
    reach = bias[["low", "high", "estimate"]].abs().max().max()
    grid[0, -1].set_xlim(*(np.array([-1.06, 1.06]) * (reach if reach > 0 else 1)))
    grid[0, -1].xaxis.set_major_locator(style.ticks(4))
    for panels, domain in zip(grid, domains, strict=True):
        rows = mae[mae["domain"] == domain].set_index("method")
        for axes, group in zip(panels, NAMES, strict=False):
            _panel(axes, rows[rows["group"] == group], methods[domain], numbers=group == "mean")
        _panel(panels[-1], bias[bias["domain"] == domain].set_index("method"), methods[domain])
        panels[-1].axvline(0, color=style.GREY, lw=0.8, zorder=0)
        labels = [style.look(name, methods[domain]).label for name in methods[domain]]
        panels[0].set_yticks(range(len(labels)), labels)
        panels[0].set_title(f"{domain}, {int(rows['n'].max())} eyes", fontweight="bold",
                            pad=14 if domain == domains[0] else 5)  # fmt: skip
    for axes, name in zip(grid[0], (*NAMES.values(), "bias"), strict=True):
        beside(axes, name, 0, 1, xycoords="axes fraction", xytext=(0, 4), va="baseline",
               fontsize=7, color=style.GREY)  # fmt: skip
    for axes in grid[-1]:
        axes.set_xlabel("bias (µm)" if axes is grid[-1, -1] else "MAE (µm)")
    return figure


def _methods(rows: pd.DataFrame) -> list[str]:
    """Return the domain's methods: same prediction for every eye first, the best possible last."""
    names = style.order(rows["method"])
    return sorted(names, key=lambda name: (name not in FLAT) + (name == "oracle floor"))


def _panel(axes: Axes, rows: pd.DataFrame, methods: list[str], numbers: bool = False) -> None:
    for y, name in enumerate(methods):
        if name not in rows.index:
            continue
        value = rows.loc[name]
        if name in FLAT and np.isfinite(value["low"]):
            axes.axvspan(value["low"], value["high"], color="#ededed", lw=0, zorder=0)
        interval(axes, value, y, style.look(name, methods), lw=1.2, ms=4.5)
        if numbers and np.isfinite(value["estimate"]):
            end = np.nanmax([value["high"], value["estimate"]])
            beside(axes, f"{value['estimate']:.1f}", end, y)
    unnamed_rows(axes, len(methods))
    axes.grid(axis="x")
