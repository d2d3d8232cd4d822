"""18_image_quality: quality, or its match between training and test?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.panels import DASHED, bars
from analysis.presentation import style

CAPTION = (
    "Quality of the pictures trained on and tested on, the same eyes in both. Top: mean absolute "
    "error (MAE) over the share of patients whose pictures are of high quality in training, "
    "tested on pictures of high and of low quality. Bottom: error of each mix trained on and "
    "tested on, less that of training on the tested mix (µm): the diagonal is 0. Bars: 95 % "
    "intervals, patients resampled, and seeds where there are several."
)
LOOKS = {
    "high": style.Look("tested on high", "#0b3c6f", "o"),
    "low": style.Look("tested on low", "#d95f02", "^", line=DASHED),
}


def draw(table: pd.DataFrame, heat: pd.DataFrame) -> Figure:
    """Draw errors above what a mismatch adds, a column for each start and fraction."""
    mae = table[(table["metric"] == "mae") & (table["attribute"] == "all")]
    columns = list(mae[["start", "fraction"]].drop_duplicates().itertuples(index=False))
    chosen = columns if len(columns) <= 4 else [c for c in columns if c.fraction in (0.1, 1.0)]
    figure = style.new_figure(style.PAGE, 3.8)
    grid, first = figure.add_gridspec(2, len(chosen), height_ratios=(1, 1.1)), None
    largest = max(np.abs(heat["above_matched"]).max(), 1e-9)
    for i, (start, fraction) in enumerate(chosen):
        first = axes = figure.add_subplot(grid[0, i], sharey=first)
        for tested, look in LOOKS.items():
            rows = mae[(mae["start"] == start) & (mae["fraction"] == fraction)]
            rows = rows[rows["tested"] == tested].sort_values("mix")
            bars(axes, 100 * rows["mix"], rows, look, label=look.label)
        title = f"{start}, {100 * fraction:g} %"
        style.panel_letter(axes, "abcd"[i], title, "high, %", "" if i else "MAE (µm)")
        axes.tick_params(labelleft=not i)
        if not i:
            axes.legend(loc="best", fontsize=6)
        own = heat[(heat["start"] == start) & (heat["fraction"] == fraction)]
        square = own.pivot_table("above_matched", "mix", "test_mix").sort_index(ascending=False)
        axes = figure.add_subplot(grid[1, i])
        shown = {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}
        axes.imshow(square.to_numpy(), **shown)
        for (y, x), value in np.ndenumerate(square.to_numpy()):
            dark = abs(value) > 0.6 * largest
            axes.text(x, y, f"{value:.1f}", ha="center", va="center", fontsize=6,
                      color="white" if dark else "black")  # fmt: skip
        names = [f"{100 * one:g}" for one in square.columns]
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(names)), names[::-1])
        axes.tick_params(length=0)
        ylabel = "" if i else "trained on high, %"
        style.panel_letter(axes, "efgh"[i], "", "tested on high, %", ylabel)
    return figure
