"""12_learning_on_grape: what each way of learning makes of a few dozen eyes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.accuracy.learning import GROUPS, YARDSTICK, group_of, rows_of
from analysis.figures.panels import (
    HALO,
    Layout,
    beside,
    interval,
    mark_headings,
    row_axis,
    rule_above,
    symbol,
    unnamed_rows,
)
from analysis.presentation import style

CAPTION = (
    "Ways to learn from few eyes, cross-validated by patient on the same folds. a: mean absolute "
    "error (MAE) of the four quadrants' mean thickness, averaged over quadrants; shaded: the "
    "interval of the constant, which predicts the same for every eye. b: difference of that error "
    f"to {YARDSTICK} on the same eyes; filled symbols: Holm-corrected p below 0.05, hollow: not. "
    "c: correlation of predicted and measured mean thickness; the constant has none. Lines: "
    "95 % intervals, patients resampled, and draws of the folds where there are several. Readouts: "
    "a linear map from the tokens of a backbone that stays as it is. Phantom start: the network "
    "has first learnt the thickness of phantom eyes."
)
ROW, CLEAR = 0.17, 0.05  # inches; Holm p of filled symbols
ALONE = {"fine-tuned": "pretrained backbone"}  # names that their heading leaves nothing of


def draw(quadrants: pd.DataFrame, paired: pd.DataFrame) -> Figure:
    """Draw error, paired difference and correlation, one row per way of learning.

    Parameters
    ----------
    quadrants : DataFrame
        Long: domain, method, metric, group, estimate, low, high, n; one domain.
    paired : DataFrame
        method, estimate, low, high, p_holm, against PCA + ridge.
    """
    rows = _layout(quadrants["method"])
    figure = style.new_figure(style.PAGE, ROW * len(rows) + 0.72)
    panels = figure.subplots(1, 3, width_ratios=[1.1, 1, 0.85])
    mae = rows_of(quadrants, "mae", "mean")
    _forest(panels[0], mae, rows, ".1f")
    _forest(panels[1], paired.set_index("method"), rows)
    _forest(panels[2], rows_of(quadrants, "r", "global"), rows, ".2f")
    _name_rows(panels[0], rows)
    _mark_reference(panels[1], rows)
    flat = mae.loc["constant"]
    panels[0].axvspan(flat["low"], flat["high"], color="#ededed", lw=0, zorder=0)
    for axes in panels[1:]:
        if axes.get_xlim()[0] <= 0:
            axes.axvline(0.0, color=style.GREY, lw=0.8, ls=(0, (4, 2)), zorder=0)
    n, domain = int(mae["n"].max()), quadrants["domain"].iloc[0]
    style.panel_letter(panels[0], "a", f"Error on {n} {domain} eyes")
    style.panel_letter(panels[1], "b", f"Against {YARDSTICK}")
    style.panel_letter(panels[2], "c", "Agreement between eyes")
    panels[0].set_xlabel("mean quadrant MAE (µm)")
    panels[1].set_xlabel("difference in MAE (µm)")
    panels[2].set_xlabel("r of the mean thickness")
    return figure


def _layout(methods: pd.Series) -> Layout:
    """Return the rows from top to bottom: a group's heading (way None), its ways."""
    ways, rows = style.order(methods), []
    for group in GROUPS:
        members = [way for way in ways if group_of(way) == group]
        rows += [(group, None), *((group, way) for way in members)] if members else []
    return rows


def _name_rows(axes: Axes, rows: Layout) -> None:
    names = [group if way is None else _short(group, way) for group, way in rows]
    row_axis(axes, names)
    mark_headings(axes, [way is None for _, way in rows])


def _short(group: str, way: str) -> str:
    """Return a way's label without what its heading says."""
    if group == "yardsticks":
        return style.look(way).label
    return style.look(way).label.partition(", ")[2] or ALONE.get(way, way)


def _forest(axes: Axes, cells: pd.DataFrame, rows: Layout, shown: str = "") -> None:
    """Draw each way's interval and symbol, with its number after it where a format is given."""
    ways = [way for _, way in rows if way]
    for y, (_, way) in enumerate(rows):
        if way is None and y:
            rule_above(axes, y)
        if way not in cells.index or not np.isfinite(cells.loc[way, "estimate"]):
            continue
        cell, look = cells.loc[way], style.look(way, ways)
        filled = not cell.get("p_holm", 0) >= CLEAR
        face = {} if filled else {"mec": look.colour, "mew": 0.9, "mfc": "white"}
        size = 4.8 if look.marker in "osXh" else 5.2
        interval(axes, cell, y, look, lw=1.2, ms=size, zorder=3, **face)
        if shown:
            end = np.nanmax([cell["high"], cell["estimate"]])
            beside(axes, f"{cell['estimate']:{shown}}".replace("-", "−"), end, y)
    known = cells.loc[cells.index.isin(ways), ["estimate", "low", "high"]].to_numpy(float)
    low, high = np.nanmin(known), np.nanmax(known)
    reach = high - low or 1.0
    axes.set_xlim(low - 0.06 * reach, high + (0.2 if shown else 0.06) * reach)
    axes.xaxis.set_major_locator(style.ticks(5))
    unnamed_rows(axes, len(rows))
    axes.grid(axis="x")


def _mark_reference(axes: Axes, rows: Layout) -> None:
    """Put the reference's own symbol on the zero line, and name the line's sides in row 0."""
    look = style.look(YARDSTICK)
    for y in (y for y, (_, way) in enumerate(rows) if way == YARDSTICK):
        symbol(axes, 0, y, look, ms=5.2, zorder=3)
    for side, name, place in ((-1, "better", "right"), (1, "worse", "left")):
        axes.annotate(
            name, (0, 0), xytext=(4 * side, 0), textcoords="offset points", ha=place, va="center",
            fontsize=6, color=style.GREY, style="italic", annotation_clip=False, path_effects=HALO,
        )  # fmt: skip
