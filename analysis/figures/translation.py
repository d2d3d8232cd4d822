"""22_translation: redrawn pictures, what is read of them, and what became of planted defects."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.accuracy.translation import is_dear
from analysis.figures.panels import name_rows
from analysis.presentation import style
from analysis.tables.translation import label

CAPTION = (
    "Redrawing as a good SLO picture. a: one healthy eye with a planted wedge defect, by task and "
    "way. b: mean absolute error (MAE) of a fixed reader of true SLO pictures; dotted: on the true "
    "pictures. c: share of planted defects that lost half of their contrast (filled) and number of "
    "defects invented per eye (hollow). Networks learnt from healthy eyes alone. Bars: 95 % "
    "intervals, patients resampled."
)
COLOURS = {False: "#0b3c6f", True: "#c2477f"}  # by diffusion or not
TRUE = ("small", "truth")


def draw(table: pd.DataFrame, pictures: Mapping[str, np.ndarray]) -> Figure:
    """Draw a strip of pictures and two panels per task.

    The table is of :func:`analysis.accuracy.translation.statistics`, ``pictures`` of
    :func:`rnfl.study.translation.measured`.
    """
    tasks = list(dict.fromkeys(table["task"]))
    counts = [table[table["task"] == task]["way"].nunique() for task in tasks]
    heights = [part for n in counts for part in (0.95, 0.35 + 0.15 * n)]
    figure = style.new_figure(style.PAGE, sum(heights))
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    for k, task in enumerate(tasks):
        strip = grid[2 * k].subgridspec(1, len(pictures[task]), wspace=0.0)
        for i, (image, way) in enumerate(
            zip(pictures[task], pictures[f"{task}, ways"], strict=True)
        ):
            axes = figure.add_subplot(strip[i])
            axes.imshow(image)
            axes.set_axis_off()
            axes.set_title(_short(str(way)), fontsize=5.5, loc="center", pad=2)
            if not (i or k):
                axes.set_title(r"$\bf{a}$", loc="left", pad=2)
        left, right = (
            figure.add_subplot(cell) for cell in grid[2 * k + 1].subgridspec(1, 2, wspace=0.05)
        )
        rows = table[table["task"] == task]
        _errors(left, rows, "" if k else "b", task)
        _defects(right, rows, "" if k else "c")
    return figure


def _short(way: str) -> str:
    return label(way).replace(" picture loss", "").replace(", ", ",\n")


def _errors(axes: Axes, rows: pd.DataFrame, letter: str, task: str) -> None:
    mae = rows[rows["metric"] == "mae"].set_index("way")
    for y, (way, row) in enumerate(mae.iterrows()):
        colour = style.INK if way in TRUE else COLOURS[is_dear(way)]
        axes.plot([row["low"], row["high"]], [y, y], color=colour, lw=1)
        axes.plot(row["estimate"], y, "o", color=colour, ms=4)
    axes.axvline(mae.loc["truth", "estimate"], color=style.GREY, lw=0.8, ls=":", zorder=0)
    name_rows(axes, [label(way) for way in mae.index], [False] * len(mae))
    style.panel_letter(axes, letter, task.capitalize(), "MAE (µm)", "")


def _defects(axes: Axes, rows: pd.DataFrame, letter: str) -> None:
    ways = list(rows[rows["metric"] == "mae"]["way"])
    for name, shift, face in (("erased", -0.12, True), ("invented", 0.12, False)):
        of = rows[rows["metric"] == name].set_index("way")
        for y, way in enumerate(ways):
            row, colour = of.loc[way], style.INK if way in TRUE else COLOURS[is_dear(way)]
            axes.plot([row["low"], row["high"]], [y + shift] * 2, color=colour, lw=1)
            fill = colour if face else "white"
            axes.plot(row["estimate"], y + shift, "s", mfc=fill, mec=colour, ms=3.5)
    name_rows(axes, [""] * len(ways), [False] * len(ways))
    style.panel_letter(axes, letter, "", "share erased, number invented", "")
