"""10_pretraining: how the phantom backbones learned."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.panels import beside
from analysis.presentation import style

CAPTION = (
    "Pretraining of the phantom backbones, one column each. Top: training loss, light, and its "
    "running median, dark. Bottom: the validation metric of that task."
)
WINDOW = 15  # recorded losses in the running median


def draw(losses: pd.DataFrame) -> Figure:
    """Draw the training loss above the validation metric, a column per backbone.

    ``losses``: backbone, step, loss, val_metric (NaN where not evaluated), optionally val_name.
    """
    backbones = style.order(losses["backbone"])
    figure = style.new_figure(style.PAGE * min(len(backbones), 3) / 3, 2.7)
    grid = figure.subplots(2, len(backbones), squeeze=False, sharex="col")
    for (upper, lower), name in zip(grid.T, backbones, strict=True):
        rows = losses[losses["backbone"] == name].sort_values("step")
        look = style.look(name, backbones)
        thousands = rows["step"] / 1000
        upper.plot(thousands, rows["loss"], color=look.colour, lw=0.6, alpha=0.4)
        smooth = rows["loss"].rolling(WINDOW, center=True, min_periods=1).median()
        upper.plot(thousands, smooth, color=look.colour, lw=1.3)
        upper.set_title(look.label, color=look.colour, fontweight="bold")
        seen = rows.dropna(subset=["val_metric"])
        lower.plot(seen["step"] / 1000, seen["val_metric"], color=look.colour, lw=1.1,
                       marker=look.marker, ms=3.5)  # fmt: skip
        label = str(rows["val_name"].iloc[0]) if "val_name" in rows else "validation metric"
        lower.set(xlabel="step (thousands)", ylabel=label)
        if len(seen):
            step, value = seen["step"].iloc[-1] / 1000, seen["val_metric"].iloc[-1]
            beside(lower, f"{value:.3g}", step, value, xytext=(4, 0), fontsize=6.5,
                   color=look.colour)  # fmt: skip
        for axes in (upper, lower):
            axes.yaxis.set_major_locator(style.ticks(4))
            axes.xaxis.set_major_locator(style.ticks(4))
            axes.margins(x=0.08)
    grid[0, 0].set_ylabel("training loss")
    figure.align_ylabels()
    return figure
