"""02_protocols: error and diversity of each backbone and protocol, and their training."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.panels import (
    HALO,
    ROW,
    Layout,
    interval,
    members,
    name_ends,
    name_layout,
    row_layout,
    share_scale,
    side_by_side,
    unnamed_rows,
)
from analysis.presentation import style

CAPTION = (
    "Backbones and protocols on the test eyes. (a) Mean absolute error (MAE); the dotted line is "
    "the template (the training set's mean profile for every eye), the solid line the "
    "label-noise floor (mean |label − truth|). (b) SD across eyes at each angle; the solid line "
    "is that of the labels. (c) Correlation across eyes at each angle. Points: means over seeds; "
    "lines: 95 % intervals, patients resampled, and seeds where there are several. (d) Validation "
    "error in training; thin lines are seeds, thick lines their mean, markers its minimum."
)
MEASURES = (  # metric, title, axis
    ("mae", "Error", "MAE (µm)"),
    ("sigma_between", "Diversity between eyes", "σ between (µm)"),
    ("pearson_between_eyes", "Agreement between eyes", "correlation between eyes"),
)


def draw(table: pd.DataFrame, history: pd.DataFrame) -> Figure:
    """Draw the forests of Table 1 above the validation curves.

    ``table`` is long, from :func:`analysis.accuracy.performance.table1`; ``history`` holds
    backbone, protocol, seed, epoch, val_mae (µm).
    """
    overall = table[table["attribute"] == "all"].set_index(["backbone", "protocol", "metric"])
    layout = row_layout(table)
    backbones = style.order(name for name, _ in layout if name != "—")
    forest, curves = ROW * len(layout) + 0.55, 1.75
    figure = style.new_figure(style.PAGE, forest + curves)
    outer = figure.add_gridspec(2, 1, height_ratios=[forest, curves])
    panels = side_by_side(figure, outer[0], len(MEASURES))
    for axes, letter, (metric, *names) in zip(panels, "abc", MEASURES, strict=True):
        _forest(axes, overall, metric, layout)
        style.panel_letter(axes, letter, *names)
    name_layout(panels[0], layout)
    _references(panels, overall)
    _training(figure, outer[1], history, backbones)
    return figure


def _forest(axes: Axes, overall: pd.DataFrame, metric: str, layout: Layout) -> None:
    protocols = [name for _, name in layout if name]
    for y, *cell in members(axes, layout):
        if (*cell, metric) in overall.index:
            look = style.look(cell[1], protocols)
            interval(axes, overall.loc[(*cell, metric)], y, look)
    unnamed_rows(axes, len(layout))
    axes.xaxis.set_major_locator(style.ticks(5))


def _references(panels: list[Axes], overall: pd.DataFrame) -> None:
    """Draw template, label-noise floor and the labels' spread, named at the top of each line."""
    marks = [
        (0, "template", "mae", "template"),
        (0, "oracle floor", "mae", "label-noise floor"),
        (1, "template", "sigma_between_target", "labels"),
        (1, "template", "sigma_between", "template"),
        (2, "oracle floor", "pearson_between_eyes", "label-noise floor"),
    ]
    values = overall["estimate"]
    for panel, protocol, metric, name in marks:
        axes, value = panels[panel], values.get(("—", protocol, metric), np.nan)
        if not np.isfinite(value):
            continue
        line = style.look("template").line if name == "template" else "-"
        axes.axvline(value, color=style.GREY, lw=0.8, ls=line, zorder=0)
        low, high = axes.get_xlim()
        right = value < (low + high) / 2
        axes.annotate(
            name, (value, 0.985), xycoords=("data", "axes fraction"), fontsize=6, color=style.GREY,
            xytext=(2 if right else -2, 0), textcoords="offset points", va="top",
            ha="left" if right else "right", path_effects=HALO,
        )  # fmt: skip


def _training(figure: Figure, place, history: pd.DataFrame, backbones: list[str]) -> None:
    panels = side_by_side(figure, place, max(len(backbones), 1))
    known = history.dropna(subset=["val_mae"])
    protocols = style.order(known["protocol"])
    for i, (axes, backbone) in enumerate(zip(panels, backbones, strict=False)):
        mine = known[known["backbone"] == backbone]
        ends = [_curve(axes, mine[mine["protocol"] == name], name, protocols) for name in protocols]
        share_scale(panels, i)
        style.panel_letter(axes, "d" if i == 0 else "", style.look(backbone).label)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(style.ticks(4, integer=True))
        axes.set_xlim(0, max(known["epoch"].max(), 1) * 1.03)  # whenever early stopping ended it
        if i == len(backbones) - 1:
            panels[0].set_ylim(*_settled(known))
            name_ends(axes, [end for end in ends if np.isfinite(end[1])], gap=0.085, x=1.02)
    panels[0].set_ylabel("validation MAE (µm)")


def _settled(history: pd.DataFrame) -> tuple[float, float]:
    """Return limits that show the curves after their first fall."""
    values = history[history["epoch"] >= int(history["epoch"].max() * 0.1)]["val_mae"]
    margin = 0.08 * (values.max() - values.min()) or 1.0
    return values.min() - margin, values.max() + margin


def _curve(axes: Axes, rows: pd.DataFrame, name: str, protocols: list[str]) -> tuple:
    """Draw one protocol's seeds and their mean; return its label, where it ends, and its colour."""
    look = style.look(name, protocols)
    if rows.empty:
        return look.label, float("nan"), look.colour
    wide = rows.pivot_table("val_mae", "epoch", "seed")
    axes.plot(wide.index, wide, color=look.colour, lw=0.5, alpha=0.4)
    mean = wide.dropna().mean(axis=1)
    axes.plot(mean.index, mean, color=look.colour, lw=1.3, ls=look.line)
    axes.plot(mean.idxmin(), mean.min(), look.marker, color=look.colour, ms=4.5, mec="white",
              mew=0.5, zorder=4)  # fmt: skip
    return look.label, float(mean.iloc[-1]), look.colour
