"""01_visualize_predictions: template overfitting, and why the published spread cannot see it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.eyes import TICKS, closed, tsnit_axis
from analysis.figures.panels import (
    DASHED,
    DASHED_GREY,
    HALO,
    beside,
    name_ends,
    row_axis,
    side_by_side,
    symbol,
)
from analysis.presentation import style
from rnfl.core.metrics import template_profile

CAPTION = (
    "Template overfitting. (a) Profiles of the same eyes: each line of an image is one eye, from "
    "the thinnest label at the top to the thickest at the bottom, bright is thick. OCT labels, the "
    "predictions of trained models, and two collapses: 'few templates' replaces each prediction of "
    "the model beside the labels by the nearest of four profiles (planted), 'template' predicts "
    "the training set's mean profile for every eye. (b) Some of these profiles as curves; the "
    "thick line is the mean over eyes. (c) SD of all predictions together, as published: large for "
    "both collapses. (d) SD across eyes at each angle: 0 for one template, not for a few. "
    "(e) Mean distance to the nearest of four templates, those that suit the model best: 0 for "
    "both collapses. (f) Slope of predicted on true deviations from the mean profile: 0 is no "
    "response to the eye, 1 is full response; the noise of the labels lowers it a little. "
    "Dashed: labels. (g) Shift of the prediction when the image is turned about the disc, mean "
    "over eyes; dashed: as far as the image (1), solid grey: not at all (0); numbers: slope, the "
    "rotation response. Bars and points: estimates with 95 % intervals, patients resampled, and "
    "seeds where there are several."
)
N_CURVES = 30
COLLAPSED = ("few templates", "template")
MEASURES = (
    ("sigma_flat", "σ flat (µm)", "As published"),
    ("sigma_between", "σ between (µm)", "Between eyes"),
    ("template_distance", "distance (µm)", "To a template"),
    ("response_slope", "slope", "Response"),
)
ROW = 0.185  # inches


def draw(curves: pd.DataFrame, collapse: pd.DataFrame) -> Figure:
    """Draw rasters and curves of one backbone above its measures of collapse.

    ``curves`` is from :func:`analysis.collapse.curves_table`, ``collapse`` from ``collapse_table``
    there, long, protocols ``target`` and ``template`` among its rows.
    """
    backbone = curves["backbone"].iloc[0]
    cells = curves.groupby("protocol", sort=False)["profile"]
    profiles = {name: np.stack(list(values)) for name, values in cells}
    trained = [name for name in style.order(profiles) if name not in ("target", *COLLAPSED)]
    panels = ["target", *trained, *(name for name in COLLAPSED if name in profiles)]
    rows = collapse[collapse["backbone"].isin([backbone, "—"])]
    known = list(dict.fromkeys(rows["protocol"]))
    ends = ("target", "oracle floor", *COLLAPSED)
    others = [name for name in style.order(known) if name not in ends]
    names = [name for name in (*ends[:2], *others, *COLLAPSED) if name in known]
    lower = ROW * len(names) + 0.55
    figure = style.new_figure(style.PAGE, 2.85 + lower)
    outer = figure.add_gridspec(2, 1, height_ratios=[2.85, lower])
    _profiles(figure, outer[0], {name: profiles[name] for name in panels}, backbone)
    overall = rows[rows["attribute"] == "all"].set_index(["protocol", "metric"])
    turned = rows[rows["metric"] == "shift"]
    panels = side_by_side(figure, outer[1], len(MEASURES) + (len(turned) > 0))
    _measures(panels[: len(MEASURES)], overall, names)
    if len(turned):
        shown = [name for name in others if name in set(turned.protocol)]
        _turned(panels[-1], turned, overall, shown)
    return figure


def _profiles(figure: Figure, place, panels: dict[str, np.ndarray], backbone: str) -> None:
    grid = place.subgridspec(2, len(panels), height_ratios=[1.35, 1])
    everything = np.concatenate([values.ravel() for values in panels.values()])
    low, high = np.nanquantile(everything, [0.005, 0.995])
    top = np.nanmax(everything) * 1.04
    n_eyes = len(panels["target"])
    rasters = []
    for i, (name, values) in enumerate(panels.items()):
        look = style.look(name, list(panels))
        raster, curve = figure.add_subplot(grid[0, i]), figure.add_subplot(grid[1, i])
        rasters.append(raster)
        image = raster.imshow(values, cmap=sns.color_palette("mako", as_cmap=True), vmin=low,
                              vmax=high, aspect="auto", interpolation="nearest",
                              extent=(0, 360, n_eyes, 0))  # fmt: skip
        raster.spines[:].set_visible(False)
        raster.set(xticks=list(TICKS), xticklabels=[], yticks=[])
        raster.set_title(look.label, fontweight="bold", color=look.colour)
        _overlay(curve, values, look.colour, top, first=i == 0)
        if name not in ("target", *COLLAPSED):
            curve.set_title(style.look(backbone).label, fontsize=6, color=style.GREY)
    ylabel = f"{n_eyes} eyes, thin to thick"
    style.panel_letter(rasters[0], "a", style.look("target").label, ylabel=ylabel)
    bar = figure.colorbar(image, ax=rasters, aspect=28, pad=0.012, fraction=0.03,
                          ticks=style.ticks(5), label="thickness (µm)")  # fmt: skip
    bar.outline.set_visible(False)


def _overlay(axes: Axes, values: np.ndarray, colour: str, top: float, first: bool) -> None:
    tsnit_axis(axes)
    axes.set_xticklabels([*"TSNI", ""])
    angles, mean = np.arange(361), closed(template_profile(values))
    for i in np.linspace(0, len(values) - 1, min(N_CURVES, len(values))).astype(int):
        axes.plot(angles, closed(values[i]), color=colour, lw=0.45, alpha=0.45)
    axes.plot(angles, mean, color="white", lw=2.6)
    axes.plot(angles, mean, color=colour, lw=1.4)
    axes.set_ylim(0, top)
    axes.yaxis.set_major_locator(style.ticks(4))
    if first:
        style.panel_letter(axes, "b", "as curves", ylabel="thickness (µm)")
    else:
        axes.set_yticklabels([])


def _turned(axes: Axes, shifts: pd.DataFrame, overall: pd.DataFrame, names: list[str]) -> None:
    """Draw the predicted shift against the turn, and name each line with its slope."""
    ends = []
    for name in names:
        rows = shifts[shifts["protocol"] == name]
        look, turn = style.look(name, names), rows["group"].astype(float)
        axes.fill_between(turn, rows["low"], rows["high"], color=look.colour, alpha=0.2, lw=0)
        axes.plot(turn, rows["estimate"], color=look.colour, lw=1.0, ls=look.line)
        symbol(axes, turn, rows["estimate"], look, ms=3.5)
        slope = overall.loc[(name, "rotation_response"), "estimate"]
        ends.append((f"{look.label} {slope:.2f}", rows["estimate"].iloc[-1], look.colour))
    reach = shifts["group"].astype(float).abs().max()
    axes.plot([-reach, reach], [-reach, reach], color=style.GREY, lw=0.8, ls=DASHED, zorder=0)
    axes.axhline(0, color=style.GREY, lw=0.8, zorder=0)
    axes.xaxis.set_major_locator(style.ticks(4))
    name_ends(axes, ends, gap=0.09, fontsize=6, fontweight="normal")
    style.panel_letter(axes, "g", "Turned images", "turn of the image (°)", "predicted shift (°)")


def _measures(panels: list[Axes], rows: pd.DataFrame, names: list[str]) -> None:
    for i, (axes, (metric, label, title)) in enumerate(zip(panels, MEASURES, strict=True)):
        _bars(axes, rows, metric, names)
        style.panel_letter(axes, "cdef"[i], title, label)
        row_axis(axes, [style.look(name, names).label for name in names])
        axes.spines["left"].set_visible(True)  # bars start there
        axes.tick_params(axis="y", labelleft=i == 0)
        axes.xaxis.set_major_locator(style.ticks(4))


def _bars(axes: Axes, rows: pd.DataFrame, metric: str, names: list[str]) -> None:
    """Draw one bar per name with its interval and its value; a line at that of the labels."""
    digits = 2 if metric == "response_slope" else 1
    for y, name in enumerate(names):
        if (name, metric) not in rows.index:
            continue
        value, look = rows.loc[(name, metric)], style.look(name, names)
        end, low, high = value["estimate"], value["low"], value["high"]
        if not np.isfinite(end):
            beside(axes, "not defined", 0, y, style="italic", color=style.GREY)
            continue
        axes.barh(y, end, height=0.66, edgecolor=look.colour, lw=0.8, hatch=look.hatch,
                  facecolor="white" if look.hatch else look.colour)  # fmt: skip
        zero = round(end, digits) == 0
        text = f"{abs(end) if zero else end:.{digits}f}"
        if np.isfinite(low) and high > low:
            axes.plot([low, high], [y, y], color=style.INK, lw=0.9, path_effects=HALO)
            end = max(end, high)
        beside(axes, text, max(end, 0), y, fontweight="bold" if zero else "normal",
               bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})  # fmt: skip
        if name == "target":
            axes.axvline(value["estimate"], **DASHED_GREY | {"lw": 0.6})
    axes.margins(x=0.16)
