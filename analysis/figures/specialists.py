"""17_specialist_or_generalist: which start, by adaptation and share of labels."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from analysis.figures.lessons import over_labels
from analysis.figures.panels import DASHED, symbol
from analysis.presentation import style

CAPTION = (
    "Starts by objective and pictures of their pretraining. (a) to (c) Mean absolute error (MAE) "
    "over the share of patients with labels, at equal steps, by way of adaptation; dotted: the "
    "template (the training set's mean profile for every eye). (d) MAE with all labels against the "
    "numbers that a run stores, which are those that it changed, on a logarithmic axis; "
    "filled: full fine-tuning, hollow: probe, half as large: readout. Bars: 95 % intervals, "
    "patients resampled, and seeds where there are several."
)
COLOURS = {"eyes": "#0b3c6f", "leaves": "#56b4e9", "photographs": "#d95f02", "none": "#8c8c8c"}
MARKS = {"MAE": "o", "classes": "s", "depth": "^", "DINOv2": "D", "DINOv3": "P", "none": "v"}
TITLES = {"readout": "Readout", "probe": "Probe", "aggressive": "Full fine-tuning"}


def draw(table: pd.DataFrame, cells: pd.DataFrame) -> Figure:
    """Draw errors by adaptation, and against the numbers that a run stores."""
    known = table.dropna(subset="fraction")
    looks = {
        one.start: style.Look(
            f"{one.objective}, {one.pictures}" if one.objective != "none" else "random",
            COLOURS[one.pictures], MARKS[one.objective],
            line=DASHED if one.pictures == "none" else "-",
        )
        for one in known.drop_duplicates("start").itertuples()
    }  # fmt: skip
    figure = style.new_figure(style.PAGE, 2.6)
    grid, first = figure.add_gridspec(1, 4), None
    ends = table[table["fraction"].isna()]
    for i, (adaptation, title) in enumerate(TITLES.items()):
        first = axes = figure.add_subplot(grid[i], sharey=first)
        over_labels(
            axes, pd.concat([ends, known[known["adaptation"] == adaptation]]), "start", looks
        )
        style.panel_letter(axes, "abc"[i], title, "labels (%)", "" if i else "MAE (µm)")
        axes.tick_params(labelleft=not i)
    handles = first.figure.axes[0].get_legend_handles_labels()
    first.figure.axes[2].legend(*handles, loc="best", fontsize=5.5, handlelength=2.2)
    axes = figure.add_subplot(grid[3], sharey=first)
    mae = known[(known["metric"] == "mae") & (known["attribute"] == "all")]
    whole = mae[mae["fraction"] == 1.0].set_index(["start", "adaptation"])
    spent = (
        cells[cells["fraction"] == 1.0].groupby(["start", "adaptation"])["bytes_stored"].median()
        / 4e6
    )
    for key, row in whole.iterrows():
        look, x = looks[key[0]], float(spent[key])
        axes.vlines(x, row["low"], row["high"], color=look.colour, lw=0.8)
        hollow = {"mfc": "white", "mec": look.colour} if key[1] == "probe" else {}
        symbol(axes, x, row["estimate"], look, 2.8 if key[1] == "readout" else 4.5, **hollow)
    axes.set_xscale("log")
    if len(whole):
        ends = spent.min(), spent.max()
        axes.set_xlim(ends[0] / 1.5, ends[1] * 1.5)
        ticks = np.unique([float(f"{one:.1g}") for one in np.geomspace(*ends, 3)])
        axes.set_xticks(ticks, [f"{one:g}" for one in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(labelleft=False)
    style.panel_letter(axes, "d", "All labels", "millions of numbers stored")
    return figure
