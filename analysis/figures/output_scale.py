"""15_output_scale: does collapse arise from the scale of the output and too few steps?"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.figures.panels import DASHED, bars, reference
from analysis.presentation import style

CAPTION = (
    "Scale of the output and length of training, one backbone: standardised (in SDs of the "
    "training labels) or raw (µm). (a) Mean absolute error (MAE); dotted: the template (the "
    "training set's mean profile for every eye). (b) Spread between eyes as a share of the "
    "labels'; 0 is one profile for everybody. (c) Distance to the nearest of 16 templates, in "
    "units of the model's own spread and as a share of the labels'; below a third (line) "
    "predictions repeat a few shapes. Bars: 95 % intervals, patients resampled, and seeds where "
    "there are several."
)
METRICS = {"mae": ("Error", "MAE (µm)"), "sigma_ratio": ("Diversity", "σ ratio"),
           "distance_share_16": ("Distance to templates", "share of the labels'")}  # fmt: skip
LOOKS = {
    ("aggressive", "standardised"): style.Look("aggressive, standardised", "#0b3c6f", "o"),
    ("aggressive", "raw"): style.Look("aggressive, raw µm", "#56b4e9", "v", line=DASHED),
    ("structured", "standardised"): style.Look("structured, standardised", "#b35900", "s"),
    ("structured", "raw"): style.Look("structured, raw µm", "#e69f00", "^", line=DASHED),
}


def draw(table: pd.DataFrame) -> Figure:
    """Draw three panels over the epochs; ``table`` is long, with strategy, scale and epochs."""
    table = table[table["attribute"] == "all"]
    figure = style.new_figure(style.PAGE, 2.7)
    lengths = sorted(table["epochs"].dropna().unique())
    for i, (metric, (title, measure)) in enumerate(METRICS.items()):
        axes = figure.add_subplot(1, 3, i + 1)
        rows = table[table["metric"] == metric]
        for j, (key, look) in enumerate(LOOKS.items()):
            mine = rows[(rows["strategy"] == key[0]) & (rows["scale"] == key[1])]
            mine = mine.sort_values("epochs")
            bars(axes, mine["epochs"] * 1.05 ** (j - 1.5), mine, look, bar=1.0, label=look.label)
        if metric == "mae":
            levels = rows[rows["protocol"] == "template"]["estimate"]
            reference(axes, next(iter(levels), None), "template", 0.01, fontsize=6.2)
            axes.legend(loc="best", fontsize=5.8, handlelength=2.6)
        elif metric != "sigma_ratio":
            axes.axhline(1 / 3, color=style.GREY, lw=0.7, zorder=0)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(lengths))
        axes.set_xticklabels([f"{n:g}" for n in lengths])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_ylim(0, None)
        style.panel_letter(axes, "abc"[i], title, "epochs", measure)
    return figure
