"""04_loss_complexity: error and diversity against the weight of each term, and structured apart."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.panels import interval, name_ends, row_axis, share_scale
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
TITLES = (
    "Error, Pearson term",
    "Error, gradient term",
    "Structured, taken apart",
    "Spread, Pearson term",
    "Spread, gradient term",
    "Beside the published numbers",
)
HYPERPARAMETERS = {"lambda_pearson": "Pearson", "lambda_gradient": "gradient"}
EFFECTS = {
    "freezing": "half frozen",
    "pearson": "Pearson 10",
    "both": "both",
    "interaction": "interaction",
}
LINES = {
    "lambda_pearson": "structured",
    "lambda_gradient": "gradient_loss",
}  # whose looks they take


def draw(
    table: pd.DataFrame, parts: pd.DataFrame, published: pd.DataFrame, comparisons: pd.DataFrame
) -> Figure:
    """Draw both hyperparameters, structured taken apart, and the published changes.

    Parameters
    ----------
    table, comparisons : DataFrame
        From :func:`analysis.accuracy.ablation.statistics`.
    parts : DataFrame
        From :func:`analysis.accuracy.ablation.factorial`.
    published : DataFrame
        From :func:`analysis.published.ablations.loss_points`.
    """
    table = table[table["attribute"] == "all"]
    figure = style.new_figure(style.PAGE, 3.7)
    grid = figure.add_gridspec(2, 3, width_ratios=[1, 1, 1.12])
    panels = np.array([[figure.add_subplot(grid[i, j]) for j in range(3)] for i in range(2)])
    for j, varied in enumerate(HYPERPARAMETERS):
        chosen = along(table, varied)
        _error(panels[0, j], chosen, varied)
        _spread(panels[1, j], table, chosen, varied)
        panels[1, j].set_xlabel(f"weight of the {HYPERPARAMETERS[varied]} term")
        for row in panels:
            share_scale(row, j)
    _reach(panels, table)
    panels[0, 0].set_ylabel("MAE (µm)")
    panels[1, 0].set_ylabel("SD of predictions (µm)")
    _parts(panels[0, 2], parts)
    _changes(panels[1, 2], along(table, "lambda_pearson"), comparisons, published)
    for axes, letter, title in zip(panels.flat, "abcdef", TITLES, strict=True):
        style.panel_letter(axes, letter, title)
    return figure


def along(table: pd.DataFrame, varied: str) -> pd.DataFrame:
    """Return the cells in which only this hyperparameter is varied, sorted by it; 0 included."""
    others = [name for name in HYPERPARAMETERS if name != varied]
    chosen = table[table[varied].notna() & (table[others] == 0).all(axis=1)]
    return chosen.sort_values(varied)


def _points(axes: Axes, rows: pd.DataFrame, varied: str, hollow: bool = False) -> None:
    look, x = style.look(LINES[varied]), np.arange(len(rows))
    fill = "white" if hollow else look.colour
    axes.vlines(x, rows["low"], rows["high"], color=look.colour, lw=1.1)
    axes.plot(x, rows["estimate"], color=look.colour, lw=0.9, ls=":" if hollow else look.line,
              marker=look.marker, mfc=fill, mec=look.colour if hollow else "white",
              mew=0.8 if hollow else 0.4)  # fmt: skip
    axes.set_xticks(x, [f"{weight:g}" for weight in rows[varied]])
    axes.set_xlim(-0.4, max(len(rows) - 0.6, 0.4))


def _error(axes: Axes, chosen: pd.DataFrame, varied: str) -> None:
    _points(axes, chosen[chosen["metric"] == "mae"], varied)
    axes.tick_params(labelbottom=False)
    axes.yaxis.set_major_locator(style.ticks(5))


def _spread(axes: Axes, table: pd.DataFrame, chosen: pd.DataFrame, varied: str) -> None:
    _points(axes, chosen[chosen["metric"] == "sigma_flat"], varied, hollow=True)
    _points(axes, chosen[chosen["metric"] == "sigma_between"], varied)
    labels = table[table["metric"] == "sigma_between_target"]["estimate"]
    axes.axhline(labels.iloc[0], color=style.GREY, lw=0.8, zorder=0)
    axes.set_ylim(0, None)
    if varied == "lambda_pearson":
        last = {m: chosen.loc[chosen["metric"] == m, "estimate"].iloc[-1]
                for m in ("sigma_flat", "sigma_between")}  # fmt: skip
        place = (len(chosen[chosen["metric"] == "mae"]) - 1) / 2
        for metric, name in (
            ("sigma_between", "σ between"),
            ("sigma_flat", "σ flat, as published"),
        ):
            axes.annotate(name, (place, last[metric]), ha="center", xytext=(0, 6), fontsize=6.2,
                          textcoords="offset points")  # fmt: skip
    else:
        axes.annotate("labels, σ between", (0.99, labels.iloc[0]), ha="right", fontsize=6.2,
                      xycoords=("axes fraction", "data"), xytext=(0, -2), va="top",
                      textcoords="offset points", color=style.GREY)  # fmt: skip


def _reach(panels: np.ndarray, table: pd.DataFrame) -> None:
    """Give rows one range, and say where template and oracle floor lie when they are outside it."""
    top = table.loc[table["metric"] == "sigma_flat", "high"].max()
    panels[1, 0].set_ylim(0, 1.22 * top if np.isfinite(top) else None)
    mae = table[table["metric"] == "mae"].set_index("protocol")["estimate"]
    low, high = panels[0, 0].dataLim.y0, panels[0, 0].dataLim.y1
    low, high = min(low, panels[0, 1].dataLim.y0), max(high, panels[0, 1].dataLim.y1)
    margin = 0.18 * (high - low) or 0.5
    panels[0, 0].set_ylim(low - margin, high + margin)
    stacked = {"top": 0, "bottom": 0}
    for name in ("template", "oracle floor"):
        if name not in mae.index or not np.isfinite(mae[name]):
            continue
        if low - margin < mae[name] < high + margin:
            for axes in panels[0, :2]:
                axes.axhline(mae[name], color=style.GREY, lw=0.8, ls=":", zorder=0)
        side = "bottom" if mae[name] < (low + high) / 2 else "top"
        offset = 0.03 + 0.1 * stacked[side]
        stacked[side] += 1
        arrow = (
            "…" if low - margin < mae[name] < high + margin else "↓" if side == "bottom" else "↑"
        )
        panels[0, 1].text(0.98, offset if side == "bottom" else 1 - offset,
                          f"{arrow} {name} {mae[name]:.1f}", ha="right", va=side, fontsize=6.2,
                          color=style.GREY, transform=panels[0, 1].transAxes)  # fmt: skip


def _parts(axes: Axes, parts: pd.DataFrame) -> None:
    axes.axvline(0, color=style.GREY, lw=0.8, zorder=0)
    for y, row in enumerate(parts.to_dict("records")):
        marks = (style.ACCENT, "D") if row["protocol"] == "interaction" else (style.INK, "o")
        interval(axes, row, y, style.Look("", *marks))
    row_axis(axes, [EFFECTS[name] for name in parts["protocol"]])
    axes.set_ylim(len(parts) - 0.5, -0.5)
    axes.xaxis.set_major_locator(style.ticks(5))
    axes.set_xlabel("change of MAE (µm)")


def _changes(
    axes: Axes, chosen: pd.DataFrame, comparisons: pd.DataFrame, published: pd.DataFrame
) -> None:
    look = style.look("structured")
    wide = chosen.pivot_table("estimate", "lambda_pearson", "metric")
    mine = {name: 100 * (wide[name] / wide[name].iloc[0] - 1) for name in ("mae", "sigma_flat")}
    weights = sorted({*wide.index, *published["lambda_pearson"]})
    place = {weight: i for i, weight in enumerate(weights)}
    axes.axhline(0, color=style.PALE, lw=0.8, zorder=0)
    ends = []
    for name, column, marker in (("mae", "mae_change", "o"), ("sigma_flat", "sigma_change", "s")):
        label = "MAE" if name == "mae" else "σ flat"
        there = published.set_index("lambda_pearson")[column]
        for values, text, style_of in (
            (there, f"{label}, published", {"color": style.INK, "mfc": "white"}),
            (mine[name], f"{label}, phantom", {"color": look.colour}),
        ):
            x = [place[weight] for weight in values.index]
            axes.plot(x, values, marker=marker, lw=0.9, ms=3.8, mew=0.7, **style_of)
            ends.append((text, values.iloc[-1], style_of["color"]))
        pairs = along(comparisons[comparisons["against"] == "aggressive"], "lambda_pearson")
        pairs = pairs[pairs["metric"] == name]
        limits = (100 * pairs[end] / wide[name].iloc[0] for end in ("low", "high"))
        x = [place[weight] for weight in pairs["lambda_pearson"]]
        axes.vlines(x, *limits, color=look.colour, lw=0.9)
    axes.set_xticks(range(len(weights)), [f"{weight:g}" for weight in weights])
    axes.set_xlim(-0.3, len(weights) - 0.7)
    name_ends(axes, ends, x=1.02, fontsize=6.2, fontweight="normal")
    axes.set_xlabel("weight of the Pearson term")
    axes.set_ylabel("change from weight 0 (%)")
