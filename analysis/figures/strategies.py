"""13_strategies: what each strategy of adaptation gains, and what it takes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from analysis.figures.panels import (
    interval,
    members,
    name_layout,
    reference,
    row_layout,
)
from analysis.presentation import style

CAPTION = (
    "Strategies of adaptation, one backbone. Left of each pair: mean absolute error (MAE) with "
    "95 % intervals, patients resampled, and seeds where there are several; dotted: the template "
    "(the training set's mean profile for every eye); solid: the label-noise floor (mean |label − "
    "truth|). Right: MAE against the memory of a training step at its peak, on a logarithmic axis "
    "(on a CPU estimated); the area of a symbol is proportional to the seconds per epoch. A "
    "readout has no training step and is not shown there."
)


def draw(table: pd.DataFrame, costs: pd.DataFrame) -> Figure:
    """Draw errors and costs; both tables have ``gap``, see :mod:`analysis.accuracy.strategies`."""
    gaps = sorted(table["gap"].unique())
    mae = table[(table["metric"] == "mae") & (table["attribute"] == "all")]
    layout = row_layout(mae[mae["gap"] == gaps[0]])
    figure = style.new_figure(style.PAGE, 0.9 + 0.17 * len(layout) * len(gaps))
    grid = figure.add_gridspec(len(gaps), 2, width_ratios=(1.1, 1))
    letters = iter("abcdefgh")
    for i, gap in enumerate(gaps):
        left, right = (figure.add_subplot(grid[i, j]) for j in (0, 1))
        rows = mae[mae["gap"] == gap].set_index(["backbone", "protocol"])
        _errors(left, rows, layout)
        _pareto(right, rows, costs[costs["gap"] == gap])
        style.panel_letter(left, next(letters), f"Error at gap {gap:g}", "MAE (µm)")
        title = "Error and memory (area: seconds per epoch)"
        style.panel_letter(right, next(letters), title, "peak memory (GB)", "MAE (µm)")
    return figure


def _errors(axes: Axes, rows: pd.DataFrame, layout) -> None:
    name_layout(axes, layout)
    for y, group, member in members(axes, layout):
        if (group, member) in rows.index:
            interval(axes, rows.loc[(group, member)], y, style.look(member), ms=4)
    for name in ("template", "oracle floor"):
        value = rows["estimate"].get(("—", name))
        if value is not None:
            line = style.look(name).line
            axes.axvline(
                value, color=style.GREY, lw=0.8, ls=line if name == "template" else "-", zorder=0
            )


def _pareto(axes: Axes, rows: pd.DataFrame, costs: pd.DataFrame) -> None:
    known = costs.dropna(subset=["peak_bytes", "seconds_per_epoch"])
    at = known.set_index(["backbone", "protocol"])
    longest = known["seconds_per_epoch"].max()
    for key, cost in at.iterrows():
        look, y = style.look(key[1]), rows.loc[key]
        x = cost["peak_bytes"] / 1e9
        axes.plot([x, x], [y["low"], y["high"]], color=look.colour, lw=0.8, zorder=1)
        area = 160 * cost["seconds_per_epoch"] / longest
        marker = {"marker": look.marker, "color": look.colour, "alpha": 0.55}
        axes.scatter(x, y["estimate"], area, lw=0.5, zorder=2, **marker)
    axes.set_xscale("log")
    if len(known):
        gigabytes = known["peak_bytes"] / 1e9
        axes.set_xlim(gigabytes.min() / 1.25, gigabytes.max() * 1.5)
        ticks = np.unique(np.round(np.geomspace(gigabytes.min(), gigabytes.max(), 4), 2))
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    reference(axes, rows["estimate"].get(("—", "template")), "template", 0.01, fontsize=6)
    if axes.lines or len(known):
        axes.margins(y=0.12)
