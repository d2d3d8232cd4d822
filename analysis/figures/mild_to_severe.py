"""21_mild_to_severe: which augmentation keeps the curve right as pictures get worse?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.accuracy.robustness import MEAN, severity
from analysis.figures.panels import DASHED, bars, reference, symbol
from analysis.presentation import style

CAPTION = (
    "Training with graded views, one backbone pretrained on SLO images. (a) A test eye by severity "
    "and by the other camera, and four graded views of it as one batch shows them. (b) Mean "
    "absolute error (MAE) as all that spoils a picture gets worse. (c) The same where one thing is "
    "worse, or the camera another one; JPEG and decentring are in no augmentation. Specialist: "
    "trained on pictures of severity 0.8. Dotted: the template (the training set's mean profile "
    "for every eye); solid: the label-noise floor. Bars: 95 % intervals, patients resampled, and "
    "seeds where there are several."
)
LOOKS = {
    "none": style.Look("no augmentation", "#8c8c8c", "v", line=DASHED),
    "intensity": style.Look("intensity", "#0b3c6f", "o"),
    "mild": style.Look("mild", "#56b4e9", "<", line=DASHED),
    "severe": style.Look("severe", "#d95f02", "^", line=DASHED),
    "mild_to_severe": style.Look("mild to severe", "#1b9e77", "D"),
    "mild_to_severe_mix": style.Look("mild to severe, mixed", "#5e3c99", "s", line=DASHED),
    "specialist": style.Look("specialist", "#c2477f", "*", line=(0, (1, 1.2))),
}


def draw(table: pd.DataFrame, eyes: Mapping[str, np.ndarray]) -> Figure:
    """Draw pictures above two panels of errors; ``table`` is long, with ``condition``."""
    mae = table[table["metric"] == "mae"]
    levels = mae.drop_duplicates("protocol").set_index("protocol")["estimate"]
    figure = style.new_figure(style.PAGE, 3.9)
    grid = figure.add_gridspec(2, 1, height_ratios=(1, 3))
    n = len(eyes["images"])
    for i, cell in enumerate(grid[0].subgridspec(1, n, wspace=0.0)):
        axes = figure.add_subplot(cell)
        axes.imshow(eyes["images"][i])
        axes.set_axis_off()
        title = str(eyes["title"][i]).replace(" ", "\n", 1)
        axes.set_title(title, fontsize=6, loc="center", pad=2)
        if not i:
            axes.set_title(r"$\bf{a}$", loc="left", pad=2)
    others = [one for one in mae["condition"].unique() if severity(one) is None and one != MEAN]
    below = grid[1].subgridspec(1, 2, width_ratios=(1, max(1.0, len(others) / 4)))
    left = figure.add_subplot(below[0])
    right = figure.add_subplot(below[1], sharey=left)
    _curves(left, mae)
    _kinds(right, mae, others)
    for name, text in (("template", "template"), ("oracle floor", "label-noise floor")):
        reference(left, levels.get(name), text, 0.01, fontsize=6)
        if name in levels:
            dotted = style.look("template").line if name == "template" else "-"
            right.axhline(levels[name], color=style.GREY, lw=0.8, ls=dotted, zorder=0)
    left.legend(loc="lower right", bbox_to_anchor=(1, 0.1), fontsize=6, handlelength=2.8)
    style.panel_letter(left, "b", "All at once", "severity", "MAE (µm)")
    style.panel_letter(right, "c", "One thing alone")
    return figure


def _curves(axes: Axes, mae: pd.DataFrame) -> None:
    at = mae.assign(severity=mae["condition"].map(severity).astype(float)).dropna(subset="severity")
    for i, (arm, look) in enumerate(LOOKS.items()):
        rows = at[at["protocol"] == arm].sort_values("severity")
        if len(rows):
            x = rows["severity"] + 0.012 * (i - 3)
            bars(axes, x, rows, look, label=look.label, ms=_size(look))
    axes.set_xticks(sorted(at["severity"].unique()))


def _size(look: style.Look) -> float:
    return 7 if look.marker == "*" else 3.8  # a star fills little of its square


def _kinds(axes: Axes, mae: pd.DataFrame, conditions: list[str]) -> None:
    at = mae.set_index(["condition", "protocol"])
    for x, condition in enumerate(conditions):
        for i, (arm, look) in enumerate(LOOKS.items()):
            if (condition, arm) in at.index:
                row, place = at.loc[(condition, arm)], x + 0.11 * (i - 3)
                axes.vlines(place, row["low"], row["high"], color=look.colour, lw=0.9)
                symbol(axes, place, row["estimate"], look, _size(look))
    names = [one.replace("0.8", "\n0.8").replace("other ", "other\n") for one in conditions]
    axes.set_xticks(range(len(conditions)), names)
    axes.set_xlim(-0.6, len(conditions) - 0.4)
    axes.tick_params(labelleft=False)
