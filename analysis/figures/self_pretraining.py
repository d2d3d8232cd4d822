"""16_self_pretraining: does pretraining on the training pictures themselves help?"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.lessons import over_labels
from analysis.figures.panels import DASHED
from analysis.presentation import style

CAPTION = (
    "Masked autoencoding of the training pictures before fine-tuning, by start: random weights, "
    "pretrained on other pictures (generic), pretrained on eyes (domain). (a) to (c) Mean absolute "
    "error (MAE) over the share of patients with labels, at equal steps; dotted: the template (the "
    "training set's mean profile for every eye). (d) What the networks learnt of hidden patches "
    "in pictures held out. Bars: 95 % intervals, patients resampled, and seeds where there are "
    "several."
)
LOOKS = {
    "none": style.Look("as it is", "#0b3c6f", "o"),
    "own pictures": style.Look("own pictures first", "#d95f02", "^", line=DASHED),
}
STARTS = {
    "random": style.Look("random", "#8c8c8c", "v", line=DASHED),
    "generic": style.Look("generic", "#56b4e9", "s"),
    "domain": style.Look("domain", "#0b3c6f", "o"),
}


def draw(table: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Draw errors by start, and the curves of masked autoencoding."""
    figure = style.new_figure(style.PAGE, 2.4)
    starts = [one for one in STARTS if one in set(table["start"])]
    grid, first = figure.add_gridspec(1, len(starts) + 1), None
    ends = table[~table["start"].isin(STARTS)]
    for i, start in enumerate(starts):
        first = axes = figure.add_subplot(grid[i], sharey=first)
        rows = pd.concat([ends, table[table["start"] == start]])
        over_labels(axes, rows, "pretraining", LOOKS)
        measure = {} if i else {"ylabel": "MAE (µm)"}
        title = f"Start: {STARTS[start].label}"
        style.panel_letter(axes, "abcd"[i], title, "labels (%)", measure.get("ylabel", ""))
        axes.tick_params(labelleft=not i)
        if not i:
            axes.legend(loc="best", fontsize=6, handlelength=2.6)
    axes = figure.add_subplot(grid[len(starts)])
    for start in starts:
        own, look = curves[curves["start"] == start], STARTS[start]
        axes.plot(own["step"], own["r2"], color=look.colour, ls=look.line, lw=1, label=look.label)
    axes.axhline(0, color=style.GREY, lw=0.6, zorder=0)
    axes.legend(loc="best", fontsize=6, handlelength=2.6)
    style.panel_letter(axes, "abcd"[len(starts)], "Hidden patches", "step", "R²")
    return figure
