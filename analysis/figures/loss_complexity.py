"""04_loss_complexity: error and diversity against the weight of each term, and structured apart."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.panels import bars, beside, interval, name_ends, row_axis, share_scale
from analysis.presentation import style

CAPTION = (
    "Weights of the Pearson and of the gradient term beside L1, one backbone. (a, b) Mean absolute "
    "error (MAE); weights are evenly spaced, 0 is aggressive, the cell both share. (d, e) SD of "
    "the predictions: across eyes at each angle (σ between, filled), and of all of them together, "
    "as published (σ flat, open); the solid line is σ between of the labels. Bars: 95 % intervals, "
    "patients resampled, and seeds where there are several. (c) What structured costs against "
    "aggressive, taken apart into half the blocks frozen and a Pearson weight of 10; interaction: "
    "both minus the sum of the two alone. (f) Change from weight 0 of the Pearson term in percent; "
    "open symbols are the paper's published numbers (FairFedMed), real eyes, without intervals."
)
TITLES = (  # with what the axes show
    ("Error, Pearson term", "", "MAE (µm)"),
    ("Error, gradient term", "", ""),
    ("Structured, taken apart", "change of MAE (µm)", ""),
    ("Spread, Pearson term", "weight of the Pearson term", "SD of predictions (µm)"),
    ("Spread, gradient term", "weight of the gradient term", ""),
    ("Beside the published numbers", "weight of the Pearson term", "change from weight 0 (%)"),
)
EFFECTS = {"freezing": "half frozen", "pearson": "Pearson 10", "both": "both",
           "interaction": "interaction"}  # fmt: skip
LINES = {"lambda_pearson": "structured", "lambda_gradient": "gradient_loss"}  # looks they take


def draw(
    table: pd.DataFrame, parts: pd.DataFrame, published: pd.DataFrame, comparisons: pd.DataFrame
) -> Figure:
    """Draw both hyperparameters, structured taken apart, and the published changes.

    ``table`` and ``comparisons`` are from :func:`analysis.accuracy.ablation.statistics`, ``parts``
    from ``factorial`` there, ``published`` from :func:`analysis.published.ablations.loss_points`.
    """
    table = table[table["attribute"] == "all"]
    figure = style.new_figure(style.PAGE, 3.7)
    grid = figure.add_gridspec(2, 3, width_ratios=[1, 1, 1.12])
    panels = np.array([[figure.add_subplot(grid[i, j]) for j in range(3)] for i in range(2)])
    for j, varied in enumerate(LINES):
        chosen = along(table, varied)
        _points(panels[0, j], chosen[chosen["metric"] == "mae"], varied)
        panels[0, j].tick_params(labelbottom=False)
        panels[0, j].yaxis.set_major_locator(style.ticks(5))
        _spread(panels[1, j], table, chosen, varied)
        for row in panels:
            share_scale(row, j)
    _reach(panels, table)
    _parts(panels[0, 2], parts)
    _changes(panels[1, 2], along(table, "lambda_pearson"), comparisons, published)
    for axes, letter, names in zip(panels.flat, "abcdef", TITLES, strict=True):
        style.panel_letter(axes, letter, *names)
    return figure


def along(table: pd.DataFrame, varied: str) -> pd.DataFrame:
    """Return the cells in which only this hyperparameter is varied, sorted by it; 0 included."""
    others = [name for name in LINES if name != varied]
    chosen = table[table[varied].notna() & (table[others] == 0).all(axis=1)]
    return chosen.sort_values(varied)


def _points(axes: Axes, rows: pd.DataFrame, varied: str, hollow: bool = False) -> None:
    look, x = style.look(LINES[varied]), np.arange(len(rows))
    open_ = {"ls": ":", "mfc": "white", "mec": look.colour, "mew": 0.8} if hollow else {}
    bars(axes, x, rows, look, bar=1.1, ms=4, **open_)
    axes.set_xticks(x, [f"{weight:g}" for weight in rows[varied]])
    axes.set_xlim(-0.4, max(len(rows) - 0.6, 0.4))


def _spread(axes: Axes, table: pd.DataFrame, chosen: pd.DataFrame, varied: str) -> None:
    _points(axes, chosen[chosen["metric"] == "sigma_flat"], varied, hollow=True)
    _points(axes, chosen[chosen["metric"] == "sigma_between"], varied)
    labels = table[table["metric"] == "sigma_between_target"]["estimate"]
    axes.axhline(labels.iloc[0], color=style.GREY, lw=0.8, zorder=0)
    axes.set_ylim(0, None)
    if varied == "lambda_pearson":
        names = {"sigma_between": "σ between", "sigma_flat": "σ flat, as published"}
        for metric, name in names.items():
            values = chosen.loc[chosen["metric"] == metric, "estimate"]
            beside(axes, name, (len(values) - 1) / 2, values.iloc[-1], xytext=(0, 6), ha="center",
                   va="baseline", fontsize=6.2)  # fmt: skip
    else:
        beside(axes, "labels, σ between", 0.99, labels.iloc[0], xytext=(0, -2), ha="right",
               va="top", xycoords=("axes fraction", "data"), fontsize=6.2,
               color=style.GREY)  # fmt: skip


def _reach(panels: np.ndarray, table: pd.DataFrame) -> None:
    """Give rows one range; say where template and label-noise floor lie when outside it."""
    top = table.loc[table["metric"] == "sigma_flat", "high"].max()
    panels[1, 0].set_ylim(0, 1.22 * top if np.isfinite(top) else None)
    mae = table[table["metric"] == "mae"].set_index("protocol")["estimate"]
    ends = [end for axes in panels[0, :2] for end in axes.dataLim.intervaly]
    low, high = min(ends), max(ends)
    margin = 0.18 * (high - low) or 0.5
    panels[0, 0].set_ylim(low - margin, high + margin)
    stacked = {"top": 0, "bottom": 0}
    for name in ("template", "oracle floor"):
        value = mae.get(name, np.nan)
        if not np.isfinite(value):
            continue
        inside = low - margin < value < high + margin
        for axes in panels[0, :2] if inside else ():
            axes.axhline(value, color=style.GREY, lw=0.8, ls=":", zorder=0)
        side = "bottom" if value < (low + high) / 2 else "top"
        offset = 0.03 + 0.1 * stacked[side]
        stacked[side] += 1
        arrow = "…" if inside else {"bottom": "↓", "top": "↑"}[side]
        text = f"{arrow} {style.look(name).label} {value:.1f}"
        panels[0, 1].text(0.98, offset if side == "bottom" else 1 - offset, text,
                          ha="right", va=side, fontsize=6.2, color=style.GREY,
                          transform=panels[0, 1].transAxes)  # fmt: skip


def _parts(axes: Axes, parts: pd.DataFrame) -> None:
    axes.axvline(0, color=style.GREY, lw=0.8, zorder=0)
    for y, row in enumerate(parts.to_dict("records")):
        marks = (style.ACCENT, "D") if row["protocol"] == "interaction" else (style.INK, "o")
        interval(axes, row, y, style.Look("", *marks))
    row_axis(axes, [EFFECTS[name] for name in parts["protocol"]], bottom=0.5, top=-0.5)
    axes.xaxis.set_major_locator(style.ticks(5))


def _changes(axes: Axes, chosen: pd.DataFrame, comparisons, published: pd.DataFrame) -> None:
    look = style.look("structured")
    wide = chosen.pivot_table("estimate", "lambda_pearson", "metric")
    weights = sorted({*wide.index, *published["lambda_pearson"]})
    place = {weight: i for i, weight in enumerate(weights)}
    axes.axhline(0, color=style.PALE, lw=0.8, zorder=0)
    ends = []
    measures = (("mae", "MAE", "mae_change", "o"), ("sigma_flat", "σ flat", "sigma_change", "s"))
    for name, label, column, marker in measures:
        there = published.set_index("lambda_pearson")[column]
        mine = 100 * (wide[name] / wide[name].iloc[0] - 1)
        for values, whose, colour, face in (
            (there, "published", style.INK, "white"),
            (mine, "phantom", look.colour, look.colour),
        ):
            x = [place[weight] for weight in values.index]
            axes.plot(x, values, marker=marker, lw=0.9, ms=3.8, mew=0.7, color=colour, mfc=face)
            ends.append((f"{label}, {whose}", values.iloc[-1], colour))
        pairs = along(comparisons[comparisons["against"] == "aggressive"], "lambda_pearson")
        pairs = pairs[pairs["metric"] == name]
        limits = (100 * pairs[end] / wide[name].iloc[0] for end in ("low", "high"))
        x = [place[weight] for weight in pairs["lambda_pearson"]]
        axes.vlines(x, *limits, color=look.colour, lw=0.9)
    axes.set_xticks(range(len(weights)), [f"{weight:g}" for weight in weights])
    axes.set_xlim(-0.3, len(weights) - 0.7)
    name_ends(axes, ends, x=1.02, fontsize=6.2, fontweight="normal")
