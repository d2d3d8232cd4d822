"""10_pretraining: how the packaged backbones learned."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.panels import beside
from analysis.presentation import style

CAPTION = (
    "Pretraining of the packaged backbones, one column each in bands of three. Top: training loss, "
    "light, and its running median, dark. Below it: the validation metric of that task."
)
PER_BAND = 3  # columns side by side
WINDOW = 15  # recorded losses in the running median


def draw(losses: pd.DataFrame) -> Figure:
    """Draw the training loss above the validation metric, a column per backbone.

    ``losses``: backbone, step, loss, val_metric (NaN where not evaluated), optionally val_name.
    """
    backbones = style.order(losses["backbone"])
    across = min(len(backbones), PER_BAND)
    bands = -(-len(backbones) // PER_BAND)
    figure = style.new_figure(style.PAGE * across / PER_BAND, 2.7 * bands)
    grid = figure.subplots(2 * bands, across, squeeze=False)
    columns = [pair for band in np.split(grid, bands) for pair in band.T]
    for column in columns[len(backbones) :]:
        for axes in column:
            axes.set_axis_off()
    for (upper, lower), name in zip(columns, backbones, strict=False):
        upper.sharex(lower)
        upper.tick_params(labelbottom=False)
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
    for axes in grid[::2, 0]:
        axes.set_ylabel("training loss")
    figure.align_ylabels()
    return figure
