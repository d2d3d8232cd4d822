"""12_learning_on_grape: what each method makes of a few dozen eyes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.accuracy.learning import BASELINE, GROUPS, group_of, rows_of
from analysis.figures.panels import (
    DASHED_GREY,
    HALO,
    Layout,
    beside,
    interval,
    members,
    name_rows,
    row_axis,
    side_by_side,
    symbol,
    unnamed_rows,
)
from analysis.presentation import style

CAPTION = (
    "Methods that learn from few eyes, cross-validated by patient on the same folds. a: mean "
    "absolute error (MAE) of the four quadrants' mean thickness, averaged over quadrants; "
    "shaded: the interval of the constant, which predicts the same for every eye. b: difference "
    f"of that error to {BASELINE} on the same eyes; filled symbols: Holm-corrected p below 0.05, "
    "hollow: not. c: correlation of predicted and measured mean thickness; the constant has "
    "none. Lines: 95 % intervals, patients resampled, and draws of the folds where there are "
    "several. Readouts: a linear map from the tokens of a backbone that stays as it is. Phantom "
    "start: the network has first learnt the thickness of phantom eyes. Chosen within folds: "
    "each fold by the solved method that erred least in a cross-validation within the other "
    "folds. d, e: as a and b, cross-validated (grey) and on other GRAPE subjects that no method "
    f"had learnt from (coloured), measured elsewhere, where {BASELINE} had no mirrored copies "
    "and the fine-tuned network was the classifier; zero-shot models learnt from phantom 1 "
    "alone, which is calibrated to the means of GRAPE's quadrants."
)
ROW, CLEAR = 0.17, 0.05  # inches; Holm p of filled symbols
PAIR = 0.27  # inches of a row with two symbols
ALONE = {"fine-tuned": "pretrained backbone"}  # names that their heading leaves nothing of


def draw(quadrants: pd.DataFrame, paired: pd.DataFrame, external: pd.DataFrame) -> Figure:
    """Draw error, paired difference and correlation, one row per method; then other subjects.

    ``quadrants`` is long: domain (one), method, metric, group, estimate, low, high, n; ``paired``
    holds method, estimate, low, high, p_holm, against PCA + ridge; ``external`` is that of
    :func:`analysis.accuracy.external.load_external`, without rows where d and e are not drawn.
    """
    rows, paired = _layout(quadrants["method"]), paired.set_index("method")
    external = external.fillna({"against": ""})
    others = list(dict.fromkeys(zip(external["trained_on"], external["method"], strict=True)))
    others = [(a, b) for a, b in others if a == "GRAPE" or "model" in b]
    heights = [ROW * len(rows) + 0.72, PAIR * len(others) + 0.72]
    figure = style.new_figure(style.PAGE, sum(heights) if others else heights[0])
    grid = figure.add_gridspec(2, 1, height_ratios=heights) if others else figure.add_gridspec(1, 1)
    panels = side_by_side(figure, grid[0], 3, width_ratios=[1.1, 1, 0.85])
    mae = rows_of(quadrants, "mae", "mean")
    _forest(panels[0], mae, rows, ".1f")
    _forest(panels[1], paired, rows)
    _forest(panels[2], rows_of(quadrants, "r", "global"), rows, ".2f")
    names = [group if method is None else _short(method) for group, method in rows]
    name_rows(panels[0], names, [method is None for _, method in rows], fontsize=7)
    _mark_reference(panels[1], rows)
    flat = mae.loc["constant"]
    panels[0].axvspan(flat["low"], flat["high"], color="#ededed", lw=0, zorder=0)
    for axes in panels[1:]:
        if axes.get_xlim()[0] <= 0:
            axes.axvline(0.0, **DASHED_GREY)
    n, domain = int(mae["n"].max()), quadrants["domain"].iloc[0]
    titles = (f"Error on {n} {domain} eyes", f"Against {BASELINE}", "Agreement between eyes")
    labels = ("mean quadrant MAE (µm); grey: constant", "difference in MAE (µm); hollow: not shown",
              "r of the mean thickness")  # fmt: skip
    for axes, letter, title, label in zip(panels, "abc", titles, labels, strict=True):
        style.panel_letter(axes, letter, title, label)
    if others:
        below = side_by_side(figure, grid[1], 2, width_ratios=[1.1, 1])
        _other_subjects(below, external, others, mae, paired)
    return figure


def _other_subjects(panels: list[Axes], external: pd.DataFrame, others, mae, paired) -> None:
    """Draw errors and differences on other subjects, and the cross-validated ones above them."""
    key = ["trained_on", "method"]
    means = external[(external["metric"] == "mae") & (external["group"] == "mean")]
    levels = means[means["against"] == ""].set_index(key)
    apart = means[means["against"] == BASELINE].set_index(key)
    grey, names = style.Look("", style.GREY, "o"), []
    for y, (source, method) in enumerate(others):
        look, home = style.look(method), source == "GRAPE"
        names.append(look.label if home else f"{look.label}, zero-shot")
        for axes, here, there in ((panels[0], mae, levels), (panels[1], paired, apart)):
            if home and method in here.index:
                interval(axes, here.loc[method], y - 0.17, grey, ms=3.2)
            if (source, method) in there.index and (home or axes is panels[0]):
                interval(axes, there.loc[(source, method)], y + 0.17, look, lw=1.2, ms=4.8)
    row_axis(panels[0], names)
    unnamed_rows(panels[1], len(names))
    panels[1].axvline(0.0, **DASHED_GREY)
    for axes in panels:
        axes.grid(axis="x")
        axes.xaxis.set_major_locator(style.ticks(6))
    n = int(external["n"].max())
    title = f"Error on {n} eyes of other subjects (grey: a)"
    style.panel_letter(panels[0], "d", title, "mean quadrant MAE (µm)")
    style.panel_letter(panels[1], "e", f"Against {BASELINE} (grey: b)", "difference in MAE (µm)")


def _layout(methods: pd.Series) -> Layout:
    """Return the rows from top to bottom: a group's heading (method None), its methods."""
    rows: Layout = []
    for group in GROUPS:
        members = [name for name in style.order(methods) if group_of(name) == group]
        rows += [(group, None), *((group, name) for name in members)] if members else []
    return rows


def _short(method: str) -> str:
    """Return a method's label without what its heading says."""
    label = style.look(method).label
    return label.partition(", ")[2] or ALONE.get(method, label)


def _forest(axes: Axes, cells: pd.DataFrame, rows: Layout, shown: str = "") -> None:
    """Draw each method's interval and symbol, with its number after it where a format is given."""
    methods = [method for _, method in rows if method]
    for y, _, method in members(axes, rows):
        if method not in cells.index or not np.isfinite(cells.loc[method, "estimate"]):
            continue
        cell, look = cells.loc[method], style.look(method, methods)
        hollow = cell.get("p_holm", 0) >= CLEAR
        face = {"mec": look.colour, "mew": 0.9, "mfc": "white"} if hollow else {}
        size = 4.8 if look.marker in "osXh" else 5.2
        interval(axes, cell, y, look, lw=1.2, ms=size, zorder=3, **face)
        if shown:
            end = np.nanmax([cell["high"], cell["estimate"]])
            beside(axes, f"{cell['estimate']:{shown}}".replace("-", "−"), end, y)
    known = cells.loc[cells.index.isin(methods), ["estimate", "low", "high"]].to_numpy(float)
    low, high = np.nanmin(known), np.nanmax(known)
    reach = high - low or 1.0
    axes.set_xlim(low - 0.06 * reach, high + (0.2 if shown else 0.06) * reach)
    axes.xaxis.set_major_locator(style.ticks(5))
    unnamed_rows(axes, len(rows))
    axes.grid(axis="x")


def _mark_reference(axes: Axes, rows: Layout) -> None:
    """Put the reference's own symbol on the zero line, and name the line's sides in row 0."""
    for y in (y for y, (_, method) in enumerate(rows) if method == BASELINE):
        symbol(axes, 0, y, style.look(BASELINE), ms=5.2, zorder=3)
    for side, name, place in ((-4, "better", "right"), (4, "worse", "left")):
        beside(axes, name, 0, 0, xytext=(side, 0), ha=place, color=style.GREY, style="italic",
               annotation_clip=False, path_effects=HALO)  # fmt: skip
