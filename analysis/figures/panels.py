"""What panels of several figures share: rows of a forest plot, intervals, labels and references."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.patheffects import withStroke

from analysis.presentation import style

ROW = 0.142  # inches
RULE = "#e6e6e6"  # between groups of rows
HALO = [withStroke(linewidth=2, foreground="white")]  # keeps text readable on lines
DASHED = (0, (4, 1.5))
DASHED_GREY = {"color": style.GREY, "lw": 0.8, "ls": (0, (4, 2)), "zorder": 0}

Layout = list[tuple[str, str | None]]  # group and member from top to bottom; None: its heading


def side_by_side(figure: Figure, place: SubplotSpec, n: int, **options) -> list[Axes]:
    """Return ``n`` new axes beside each other in a cell of a grid."""
    return [figure.add_subplot(cell) for cell in place.subgridspec(1, n, **options)]


def share_scale(panels: Sequence[Axes], i: int) -> None:
    """Let a panel beside the first one have the first one's y axis."""
    if i:
        panels[i].sharey(panels[0])
        panels[i].tick_params(labelleft=False)


def row_layout(table: pd.DataFrame) -> Layout:
    """Return the rows from top to bottom: a backbone's heading (protocol None), its protocols."""
    cells = table[["backbone", "protocol"]].drop_duplicates()
    rows: Layout = []
    for backbone in style.order(cells["backbone"][cells["backbone"] != "—"]):
        protocols = style.order(cells["protocol"][cells["backbone"] == backbone])
        rows += [(backbone, None), *((backbone, name) for name in protocols)]
    return rows


def row_axis(axes: Axes, names: Sequence[str], bottom: float = 0.4, top: float = -0.6) -> None:
    """Make y an axis of named rows, the first at the top; it needs no spine."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - bottom, top)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def unnamed_rows(axes: Axes, n: int) -> None:
    """Make y an axis of rows that a panel to the left of this one names."""
    row_axis(axes, [""] * n)
    axes.set_yticks([])


def name_rows(axes: Axes, names: Sequence[str], headings: Sequence[bool], **options) -> None:
    """Name rows, headings among them in bold (and of another font size, if options say so)."""
    row_axis(axes, names)
    for label, heading in zip(axes.get_yticklabels(), headings, strict=True):
        if heading:
            label.set(fontweight="bold", **options)


def name_layout(axes: Axes, layout: Layout) -> None:
    """Name the rows of a layout by their looks."""
    names = [style.look(member or group).label for group, member in layout]
    name_rows(axes, names, [member is None for _, member in layout], fontsize=7)


def rule_above(axes: Axes, y: float) -> None:
    """Draw a thin line above a row."""
    axes.axhline(y - 0.5, color=RULE, lw=0.6, zorder=0)


def members(axes: Axes, layout: Layout) -> Iterator[tuple[int, str, str]]:
    """Yield height, group and member of each row that is no heading; rule off the groups."""
    for y, (group, member) in enumerate(layout):
        if member is not None:
            yield y, group, member
        elif y:
            rule_above(axes, y)


def symbol(axes: Axes, x, y, look: style.Look, ms: float = 4, **options) -> None:
    """Draw what a look stands for at one or several places, with a white edge."""
    options = {"mec": "white", "mew": 0.4} | options
    axes.plot(x, y, look.marker, color=look.colour, ms=ms, **options)


def bars(axes: Axes, x, rows: pd.DataFrame, look: style.Look, bar: float = 0.9, **options) -> None:
    """Draw the ``low`` to ``high`` of rows upright, of width ``bar``, and join their estimates."""
    axes.vlines(x, rows["low"], rows["high"], color=look.colour, lw=bar)
    options = {"ls": look.line, "lw": 0.9, "ms": 3.8, "mec": "white", "mew": 0.4} | options
    axes.plot(x, rows["estimate"], marker=look.marker, color=look.colour, **options)


def interval(axes: Axes, row, y: float, look: style.Look, lw: float = 1.1, **options) -> None:
    """Draw a row's ``low`` to ``high`` and the symbol of its ``estimate`` at a height."""
    axes.plot([row["low"], row["high"]], [y, y], color=look.colour, lw=lw)
    symbol(axes, row["estimate"], y, look, **options)


def beside(axes: Axes, text: str, x: float, y: float, **options) -> None:
    """Write to the right of what was drawn at a place, or where else options say, in points."""
    options = {"xytext": (3, 0), "fontsize": 6, "va": "center"} | options
    axes.annotate(text, (x, y), textcoords="offset points", **options)


def name_ends(
    axes: Axes, ends: Sequence[tuple[str, float, str]], gap: float = 0.1, x: float = 1.01, **options
) -> None:
    """Name curves (text, y of its end, colour) right of the panel, a share of its height apart."""
    low, high = axes.get_ylim()
    places = style.spread([y for _, y, _ in ends], gap=(high - low) * gap)
    options = {"fontsize": 6.5, "fontweight": "bold"} | options
    for (text, _, colour), place in zip(ends, places, strict=True):
        axes.annotate(text, (x, place), xycoords=("axes fraction", "data"), va="center",
                      color=colour, **options)  # fmt: skip


def reference(axes: Axes, value: float | None, name: str, x: float, **options) -> None:
    """Draw a line across the panel at a known value, dotted for the template, and name it."""
    if value is None or not np.isfinite(value):
        return
    line = style.look("template").line if name == "template" else "-"
    axes.axhline(value, color=style.GREY, lw=0.8, ls=line, zorder=0)
    beside(axes, name, x, value, xycoords=("axes fraction", "data"), xytext=(0, 2), va="baseline",
           color=style.GREY, **options)  # fmt: skip
