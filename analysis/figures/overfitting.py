"""01_visualize_predictions: template overfitting, and why the published spread cannot see it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecFromSubplotSpec
from matplotlib.patheffects import withStroke

from analysis import style
from analysis.figures.eyes import closed, tsnit_axis

CAPTION = (
    "Template overfitting. (a) Predicted profiles of the same eyes under each protocol, beside "
    "their OCT labels; thin lines are eyes, the thick line is their mean; the template predicts "
    "the training set's mean profile for every eye. (b) The published spread, the SD of all "
    "predictions together, which is large for the template too. (c) The SD across eyes at each "
    "angle; 0 means that every eye gets the same profile. (d) Slope of true on predicted "
    "deviations from the mean profile: 1 is calibrated, above 1 the predicted differences between "
    "eyes are too small. Bars and points: estimates with 95 % intervals, patients resampled."
)


def draw(curves: pd.DataFrame, collapse: pd.DataFrame) -> Figure:
    """Draw the overlaid curves of one backbone above its measures of collapse.

    Parameters
    ----------
    curves : DataFrame
        backbone, protocol, panel, prediction, target, template; the first backbone is drawn.
    collapse : DataFrame
        Long: backbone, protocol, metric, estimate, low, high; protocols ``target`` and
        ``template`` among them.
    """
    backbone = curves["backbone"].iloc[0]
    curves = curves[curves["backbone"] == backbone]
    protocols = style.order(curves["protocol"])
    first = curves[curves["protocol"] == protocols[0]]
    panels = {"target": first["target"], "template": first["template"].iloc[:1]}
    panels |= {name: curves[curves["protocol"] == name]["prediction"] for name in protocols}
    columns = 3
    rows = -(-len(panels) // columns)
    figure = style.new_figure(style.PAGE, 0.3 + 1.25 * rows + 0.4 + 0.19 * len(panels) + 0.5)
    outer = figure.add_gridspec(2, 1, height_ratios=[1.25 * rows, 0.19 * len(panels) + 0.5])
    _curves(figure, outer[0], panels, rows, columns, backbone)
    _measures(figure, outer[1], collapse, list(panels), backbone)
    return figure


def _curves(figure: Figure, place, panels: dict, rows: int, columns: int, backbone: str) -> None:
    grid = GridSpecFromSubplotSpec(rows, columns, place)
    drawn = {name: np.stack(list(profiles)) for name, profiles in panels.items()}
    top = np.nanmax([np.nanmax(values) for values in drawn.values()]) * 1.04
    for i, (name, profiles) in enumerate(drawn.items()):
        axes = figure.add_subplot(grid[i])
        last_row = i + columns >= len(drawn)
        tsnit_axis(axes, labels=last_row)
        look = style.look(name, panels)
        for profile in profiles:
            axes.plot(np.arange(361), closed(profile), color=look.colour, lw=0.5, alpha=0.45)
        mean = np.nanmean(profiles, axis=0)
        axes.plot(np.arange(361), closed(mean), color="white", lw=3)
        axes.plot(np.arange(361), closed(mean), color=look.colour, lw=1.6)
        axes.set(ylim=(0, top))
        axes.yaxis.set_major_locator(style.ticks(4))
        if i % columns:
            axes.set_yticklabels([])
        else:
            axes.set_ylabel("thickness (µm)")
        title = look.label + (", every eye" if name == "template" else "")
        axes.set_title(title, color=look.colour, fontweight="bold")
        if i == 0:
            n = len(profiles)
            style.panel_letter(axes, "a", f"{look.label}s, {n} eyes")
        elif name not in ("target", "template"):
            axes.set_title(style.look(backbone).label, loc="right", fontsize=6, color=style.GREY)


def _measures(
    figure: Figure, place, collapse: pd.DataFrame, names: list[str], backbone: str
) -> None:
    grid = GridSpecFromSubplotSpec(1, 3, place, width_ratios=[1, 1, 0.8])
    axes = [figure.add_subplot(cell) for cell in grid]
    rows = collapse[collapse["backbone"].isin([backbone, "—"])].set_index(["protocol", "metric"])
    for one, metric in zip(axes[:2], ("sigma_flat", "sigma_between"), strict=True):
        _bars(one, rows, metric, names)
    reach = max(one.get_xlim()[1] for one in axes[:2])
    for one in axes[:2]:
        one.set_xlim(0, reach)
    style.panel_letter(axes[0], "b", "SD of all predictions, as published")
    style.panel_letter(axes[1], "c", "SD between eyes")
    axes[0].set_xlabel("σ flat (µm)")
    axes[1].set_xlabel("σ between (µm)")
    _slopes(axes[2], rows, names)
    style.panel_letter(axes[2], "d", "Calibration of differences")
    axes[0].set_yticks(range(len(names)), [style.look(name, names).label for name in names])
    for one in axes[1:]:
        one.set_yticks(range(len(names)), [""] * len(names))
    for one in axes:
        one.set_ylim(len(names) - 0.4, -0.6)
        one.tick_params(axis="y", length=0)


def _bars(axes: Axes, rows: pd.DataFrame, metric: str, names: list[str]) -> None:
    for y, name in enumerate(names):
        if (name, metric) not in rows.index:
            continue
        value, look = rows.loc[(name, metric)], style.look(name, names)
        axes.barh(y, value["estimate"], height=0.66, facecolor="white", edgecolor=look.colour,
                  hatch=look.hatch, lw=0.8)  # fmt: skip
        if not look.hatch:
            axes.barh(y, value["estimate"], height=0.66, color=look.colour, lw=0)
        end = value["estimate"]
        if np.isfinite(value["low"]):
            axes.plot([value["low"], value["high"]], [y, y], color=style.INK, lw=0.9,
                      path_effects=[withStroke(linewidth=2, foreground="white")])  # fmt: skip
            end = max(end, value["high"])
        axes.annotate(f"{value['estimate']:.1f}", (end, y), xytext=(3, 0), fontsize=6,
                      textcoords="offset points", va="center")  # fmt: skip
    axes.margins(x=0.12)


def _slopes(axes: Axes, rows: pd.DataFrame, names: list[str]) -> None:
    axes.axvline(1, color=style.GREY, lw=0.6, ls=(0, (4, 2)))
    for y, name in enumerate(names):
        key, look = (name, "calibration_slope"), style.look(name, names)
        value = rows.loc[key] if key in rows.index else None
        if value is None or not np.isfinite(value["estimate"]):
            axes.annotate("undefined", (1, y), xytext=(4, 0), textcoords="offset points",
                          fontsize=6, color=style.GREY, va="center", style="italic")  # fmt: skip
            continue
        axes.plot([value["low"], value["high"]], [y, y], color=look.colour, lw=1.2)
        axes.plot(value["estimate"], y, look.marker, color=look.colour, ms=4.5)
    axes.set_xlabel("slope, true on predicted")
    axes.margins(x=0.15)
    axes.xaxis.set_major_locator(style.ticks(4))
