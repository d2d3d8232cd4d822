"""19_labels_and_time: labels and time that a start saves, and what thinking longer buys."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.figures.lessons import over_labels
from analysis.figures.panels import DASHED, bars
from analysis.presentation import style

CAPTION = (
    "(a) Mean absolute error (MAE) over the share of patients with labels, at equal steps, from a "
    "pretrained and from a random start; dotted: the template (the training set's mean profile for "
    "every eye). (b) Validation error of a run with all labels over its steps. (c) MAE of the "
    "pretrained start with all labels over the passes of the encoder per eye, by way of reading "
    "several times; best of knows the label. (d) Spread between eyes as a share of the labels'. "
    "Bars: 95 % intervals, patients resampled, and seeds where there are several."
)
STARTS = {
    "domain": style.Look("pretrained", "#0b3c6f", "o"),
    "random": style.Look("random", "#8c8c8c", "v", line=DASHED),
}
WAYS = {
    "views": style.Look("views", "#0b3c6f", "o"),
    "rotations": style.Look("rotations", "#1b9e77", "D"),
    "ensemble": style.Look("ensemble", "#5e3c99", "s"),
    "best of": style.Look("best of (ceiling)", "#d95f02", "^", line=DASHED),
    "one of": style.Look("one of (control)", "#8c8c8c", "v", line=DASHED),
}


def draw(table: pd.DataFrame, histories: pd.DataFrame, thinking: pd.DataFrame) -> Figure:
    """Draw labels and time above thinking longer."""
    figure = style.new_figure(style.PAGE, 4.4)
    grid = figure.add_gridspec(2, 2)
    axes = figure.add_subplot(grid[0, 0])
    steps = table[table["equal"] != "passes"]
    over_labels(axes, steps, "start", STARTS)
    axes.legend(loc="best", fontsize=6)
    style.panel_letter(axes, "a", "Labels", "labels (%)", "MAE (µm)")
    axes = figure.add_subplot(grid[0, 1])
    whole = histories[histories["fraction"] == 1.0]
    for start, look in STARTS.items():
        for _, run in whole[whole["start"] == start].groupby("run_id"):
            axes.plot(run["step"], run["val_mae"], color=look.colour, ls=look.line, lw=0.9)
    style.panel_letter(axes, "b", "Time", "steps", "validation MAE (µm)")
    mine = thinking[(thinking["start"] == "domain") & (thinking["fraction"] == 1.0)]
    for i, (metric, title, label) in enumerate(
        (("mae", "Thinking longer", "MAE (µm)"), ("sigma_ratio", "Its price", "σ ratio"))
    ):
        axes = figure.add_subplot(grid[1, i])
        at = mine[(mine["metric"] == metric) & (mine["attribute"] == "all")]
        for j, (way, look) in enumerate(WAYS.items()):
            rows = at[at["way"] == way].sort_values("passes")
            if len(rows):
                bars(axes, rows["passes"] * 1.05 ** (j - 2), rows, look, label=look.label)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(FixedLocator(sorted(mine["passes"].unique())))
        axes.set_xticklabels([f"{n:g}" for n in sorted(mine["passes"].unique())])
        axes.xaxis.set_minor_locator(NullLocator())
        if not i:
            axes.legend(loc="best", fontsize=6)
        style.panel_letter(axes, "cd"[i], title, "passes of the encoder", label)
    return figure
