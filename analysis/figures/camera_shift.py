"""20_camera_shift: pictures translated, the error of every way as it is and matched, by shots."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec

from analysis.figures.panels import bars, name_rows, reference
from analysis.presentation import style
from analysis.tables.camera_shift import ORDER

CAPTION = (
    "From one camera to another. a: two eyes under the SLO, translated by each way from unlabelled "
    "shots of other eyes, and truly photographed. b: mean absolute error (MAE) of readers that "
    "learnt from SLO pictures, on colour photographs, by way of adapting, in the order of what the "
    "ways cost: hollow as they are, filled with their level matched on the shots. Dotted: the "
    "template. c: errors with matching by number of shots. Bars: 95 % intervals, patients "
    "resampled, and draws of shots where there are several."
)
BOUNDS = ("oracle", "labels")
WIDTHS = (1.5, 1)
LINES = {"none": style.Look("level matched alone", "#8c8c8c", "o"),
         "fourier": style.Look("Fourier", "#0b3c6f", "s", "", "--"),
         "stage1": style.Look("MFM-DA, stage 1", "#c2477f", "^", "", ":")}  # fmt: skip


def draw(table: pd.DataFrame, eyes: Mapping[str, np.ndarray]) -> Figure:
    """Draw pictures above two panels of errors.

    The table is of :func:`analysis.accuracy.camera_shift.statistics`; ``eyes`` are ``images``
    (n, k, S, S, 3), an eye in each row, and ``title`` (k,).
    """
    mae = table[(table["metric"] == "mae") & (table["attribute"] == "all")]
    shots = 10 if (mae["shots"] == 10).any() else mae["shots"].iloc[0]
    rows = mae[mae["shots"] == shots].set_index("protocol")
    plain = {way.removesuffix("+prior") for way in rows.index} & set(ORDER)
    order = [way for way in ORDER if way in plain]
    figure = style.new_figure(style.PAGE, 2.7 + 0.2 * len(order))
    top, below = figure.add_gridspec(2, 1, height_ratios=(1.8, 0.9 + 0.2 * len(order)))
    _pictures(figure, top, eyes)
    several = mae[mae["protocol"].str.endswith("+prior")]
    lines = {
        way: several[several["protocol"] == f"{way}+prior"].sort_values("shots") for way in LINES
    }
    lines = {way: line for way, line in lines.items() if len(line) > 1}
    widths = WIDTHS[: 1 + bool(lines)]
    cells = below.subgridspec(1, len(widths), width_ratios=widths)
    left, *right = (figure.add_subplot(cell) for cell in cells)
    for y, way in enumerate(order):
        bound = way in BOUNDS
        for name, fill in ((way, bound), (f"{way}+prior", True)):
            if name not in rows.index:
                continue
            row, colour = rows.loc[name], style.INK if bound else "#0b3c6f"
            left.plot([row["low"], row["high"]], [y, y], color=colour, lw=1, alpha=0.8)
            face = colour if fill else "white"
            left.plot(row["estimate"], y, "*" if bound else "o", mfc=face, mec=colour, ms=5)
    name_rows(left, [style.look(way).label for way in order], [False] * len(order))
    template = rows["estimate"].get("template")
    if template is not None:
        left.axvline(template, color=style.GREY, lw=0.8, ls=":", zorder=0)
        left.annotate("template", (template, -0.5), fontsize=6, xytext=(2, 0),
                      textcoords="offset points")  # fmt: skip
    style.panel_letter(left, "b", f"{shots} shots", "MAE (µm)", "")
    for axes in right:
        _by_shots(axes, lines, template)
    return figure


def _pictures(figure: Figure, place: SubplotSpec, eyes: Mapping[str, np.ndarray]) -> None:
    n, k = eyes["images"].shape[:2]
    grid = place.subgridspec(n, k, wspace=0.0, hspace=0.0)
    for row in range(n):
        for column, title in enumerate(eyes["title"]):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(eyes["images"][row, column])
            axes.set_axis_off()
            if not row:
                name = textwrap.fill(style.look(str(title)).label, 12)
                axes.set_title(name, fontsize=6, loc="center", pad=2)
            if not row and not column:
                axes.set_title(r"$\bf{a}$", loc="left", pad=2)


def _by_shots(axes: Axes, lines: dict[str, pd.DataFrame], template: float | None) -> None:
    for way, line in lines.items():
        look = LINES[way]
        bars(axes, line["shots"], line, look, label=look.label)
    axes.set_xscale("log")
    ticks = sorted(set().union(*(line["shots"] for line in lines.values())))
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    reference(axes, template, "template", 0.01, fontsize=6)
    axes.legend()
    style.panel_letter(axes, "c", "Level matched", "unlabelled shots", "MAE (µm)")
