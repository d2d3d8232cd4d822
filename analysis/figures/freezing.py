"""03_freezing: error against the frozen share, its fits, its scale and its slopes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.panels import (
    DASHED,
    HALO,
    bars,
    interval,
    reference,
    row_axis,
    share_scale,
    side_by_side,
    symbol,
)
from analysis.presentation import style

CAPTION = (
    "Freezing a share of the backbone's blocks, L1 loss alone. (a) Mean absolute error (MAE) of "
    "each run on the test eyes; solid: line (ordinary least squares) with its 95 % band; dashed: "
    "saturating curve, its band between thin lines. Bands are over runs; colours and symbols name "
    "the backbone throughout. (b) The same on the scale "
    "from the label-noise floor (mean |label − truth|) to the template (the training set's mean "
    "profile for every eye); bars: 95 % intervals, patients resampled, and seeds where there are "
    "several. (c) Change in percent of the unfrozen MAE; open symbols are the paper's published "
    "numbers (FairFedMed, RETFound; no intervals), real eyes, and only this percentage compares. "
    "(d) Slope in µm per 10 % frozen within the paper's span, with 95 % intervals that cover "
    "different things: other runs; other seeds (random slopes); other patients; both. "
    "Without its interval, or left out: not possible with so few runs or seeds."
)
VIEWS = {"line": "runs", "seeds": "seeds", "patients": "patients", "patients and seeds": "both"}
EDITION_LABELS = {"august": "August"}
EDITIONS = {"submission": ("v", "-"), "august": ("^", DASHED)}
FITS = {"line": (style.INK, "-"), "saturating": (style.GREY, DASHED)}


def draw(
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    table: pd.DataFrame,
    regressions: pd.DataFrame,
    published: pd.DataFrame,
    comparisons: pd.DataFrame,
) -> Figure:
    """Draw the runs with their fits above scale, published numbers and slopes.

    ``runs``, ``curves`` and ``regressions`` are from ``run_points``, ``curves`` and ``regressions``
    of :mod:`analysis.freezing.slopes`; ``table`` and ``comparisons`` from
    :func:`analysis.accuracy.ablation.statistics`; ``published`` from
    :func:`analysis.published.ablations.freezing_points`.
    """
    backbones = style.order(runs["backbone"])
    figure = style.new_figure(style.PAGE, 4.1)
    upper, lower = figure.add_gridspec(2, 1, height_ratios=[1, 1.12])
    panels = side_by_side(figure, upper, len(backbones))
    for i, (axes, name) in enumerate(zip(panels, backbones, strict=True)):
        _fits(axes, name, runs, curves)
        share_scale(panels, i)
        style.panel_letter(axes, "a" if i == 0 else "", style.look(name).label)
        axes._left_title.set_color(style.look(name).colour)
    _range_and_key(panels[0], runs, curves)
    scale, change, slopes = side_by_side(figure, lower, 3, width_ratios=[1, 1.15, 0.95])
    mae = table[(table["metric"] == "mae") & (table["attribute"] == "all")]
    _scale(scale, mae, backbones)
    _change(change, mae, comparisons, published, backbones)
    _slopes(slopes, regressions, backbones)
    style.panel_letter(scale, "b", "On the scale that matters", ylabel="MAE (µm)")
    style.panel_letter(change, "c", "Beside the published numbers", ylabel="change of MAE (%)")
    style.panel_letter(slopes, "d", "One slope, four intervals", "µm per 10 % frozen")
    return figure


def _fits(axes: Axes, name: str, runs: pd.DataFrame, curves: pd.DataFrame) -> None:
    mine = runs[runs["backbone"] == name]
    for model, (colour, line) in FITS.items():
        fit = curves[(curves["backbone"] == name) & (curves["model"] == model)]
        x = fit["percent_frozen"]
        axes.plot(x, fit["estimate"], color=colour, lw=1.1, ls=line, zorder=2)
        if model == "line":
            axes.fill_between(x, fit["low"], fit["high"], color=style.PALE, alpha=0.55, lw=0)
        else:
            for limit in ("low", "high"):
                axes.plot(x, fit[limit], color=colour, lw=0.5, ls=line)
    symbol(axes, mine["percent_frozen"], mine["mae"], style.look(name), zorder=4)
    _frozen_axis(axes, runs)


def _frozen_axis(axes: Axes, runs: pd.DataFrame) -> None:
    axes.set_xlabel("blocks frozen (%)")
    axes.set_xlim(-5, runs["percent_frozen"].max() + 5)
    axes.xaxis.set_major_locator(style.ticks(5))


def _range_and_key(axes: Axes, runs: pd.DataFrame, curves: pd.DataFrame) -> None:
    """Show all runs and fits (bands may leave the panel, where few runs make them wide), and name
    the two fits in a corner."""
    values = np.concatenate([runs["mae"], curves["estimate"].dropna()])
    margin = 0.18 * np.ptp(values) or 0.5
    axes.set(ylim=(values.min() - margin, values.max() + margin), ylabel="MAE (µm)")
    axes.yaxis.set_major_locator(style.ticks(5))
    for model, (colour, line) in FITS.items():
        axes.plot([], [], color=colour, lw=1.1, ls=line, label=model)
    axes.legend(loc="best", handlelength=2.2, borderaxespad=0.1)


def _beside_each_other(shares, i: int, backbones: list[str]):
    """Return the abscissas of a backbone, moved so that no two lie over each other."""
    return shares + 1.6 * (i - (len(backbones) - 1) / 2)


def _scale(axes: Axes, mae: pd.DataFrame, backbones: list[str]) -> None:
    for i, name in enumerate(backbones):
        mine = mae[mae["backbone"] == name].sort_values("percent_frozen")
        x = _beside_each_other(mine["percent_frozen"], i, backbones)
        bars(axes, x, mine, style.look(name))
    for name in ("template", "oracle floor"):
        value = next(iter(mae.loc[mae["protocol"] == name, "estimate"]), None)
        reference(axes, value, style.look(name).label, 0.99, ha="right", fontsize=6)
    _frozen_axis(axes, mae)
    axes.set_ylim(0, 1.12 * mae["estimate"].max())


def _change(axes: Axes, mae: pd.DataFrame, comparisons, published, backbones: list[str]) -> None:
    axes.axhline(0, color=style.PALE, lw=0.8, zorder=0)
    start = mae[mae["percent_frozen"] == 0].set_index("backbone")["estimate"]
    pairs = comparisons.query("metric == 'mae' and against == 'aggressive'")
    columns = ["percent_frozen", "estimate", "low", "high"]
    for i, name in enumerate(one for one in backbones if one in start):
        rows = pairs.loc[pairs["backbone"] == name, columns].sort_values("percent_frozen")
        rows[columns[1:]] *= 100 / start[name]
        rows = pd.concat([pd.DataFrame(0.0, [0], columns), rows])
        x = _beside_each_other(rows["percent_frozen"], i, backbones)
        bars(axes, x, rows, style.look(name))
    ends = []
    for edition, rows in published.groupby("edition", sort=False):
        marker, line = EDITIONS.get(edition, ("s", ":"))
        axes.plot(rows["percent_frozen"], rows["change_percent"], color=style.INK, lw=0.8, ls=line,
                  marker=marker, ms=4, mfc="white", mec=style.INK, mew=0.7)  # fmt: skip
        ends.append((edition, *rows.iloc[-1][["percent_frozen", "change_percent"]]))
    _frozen_axis(axes, mae)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, -2), high + 0.06 * (high - low))
    placed = style.spread([end[2] for end in ends], gap=0.16 * (high - low))
    for (edition, x, _), place in zip(ends, placed, strict=True):
        text = f"published,\n{EDITION_LABELS.get(edition, edition)} edition"
        axes.annotate(text, (x + 4, place), va="center", fontsize=6.2, linespacing=0.95,
                      path_effects=HALO)  # fmt: skip
    axes.text(0.98, 0.03, "phantom backbones", ha="right", fontsize=6.2, style="italic",
              transform=axes.transAxes)  # fmt: skip


def _slopes(axes: Axes, regressions: pd.DataFrame, backbones: list[str]) -> None:
    rows, y, names = regressions[regressions["metric"] == "slope_per_10"], 0.0, []
    axes.axvline(0, color=style.GREY, lw=0.8, zorder=0)
    for backbone in backbones:
        mine = rows[rows["backbone"] == backbone]
        mine = mine[mine["span"] == mine["span"].iloc[0]].set_index("model")
        look = style.look(backbone)
        for view, label in VIEWS.items():
            interval(axes, mine.loc[view], y, look, ms=3.8)
            names.append((y, label, look.colour))
            y += 1
        y += 0.7
    places, labels, colours = zip(*names, strict=True)
    row_axis(axes, labels)
    axes.set_yticks(places, labels)
    axes.set_ylim(y - 0.9, -0.8)
    for text, colour in zip(axes.get_yticklabels(), colours, strict=True):
        text.set_color(colour)
    axes.xaxis.set_major_locator(style.ticks(4))
