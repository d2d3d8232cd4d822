"""05_learning_rate: error and diversity over encoder rates, with and without layer-wise decay."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from analysis.figures.panels import DASHED, bars, reference, symbol
from analysis.presentation import style

CAPTION = (
    "Learning rate of the encoder, with and without layer-wise decay, one backbone. (a) Mean "
    "absolute error (MAE); dotted: the template (the training set's mean profile for every eye); "
    "solid: the label-noise floor (mean |label − truth|). (b) SD across eyes at each angle; the "
    "solid line is that of the labels. (c) Layer-wise decay against none at the same rate, on the "
    "same eyes; below 0 decay is better; filled: Holm-corrected p below 0.05. Bars: 95 % "
    "intervals, patients resampled, and seeds where there are several. Rates are the protocol's; "
    "training multiplies them by the profile's common factor."
)
LOOKS = [  # in turn, from no decay on
    style.Look("", "#0b3c6f", "o"), style.Look("", "#e69f00", "^", line=DASHED),
    style.Look("", "#1b9e77", "D", line=(0, (1.2, 1))),
]  # fmt: skip


def draw(table: pd.DataFrame, effects: pd.DataFrame) -> Figure:
    """Draw error, spread and the effect of decay over the encoder's rate.

    ``table`` is long, from :func:`analysis.accuracy.ablation.statistics`, with ``lr_encoder``,
    ``lr_effective`` and ``layer_decay``; ``effects`` from ``decay_effect`` there may be empty.
    """
    table = table[table["attribute"] == "all"]
    figure = style.new_figure(style.PAGE, 2.5)
    panels = [figure.add_subplot(1, 3, i + 1) for i in range(3)]
    _curves(panels[0], table, "mae")
    _curves(panels[1], table, "sigma_between")
    mae = table[table["metric"] == "mae"].set_index("protocol")["estimate"]
    labels = table.loc[table["metric"] == "sigma_between_target", "estimate"]
    for name in ("template", "oracle floor"):
        reference(panels[0], mae.get(name), style.look(name).label, 0.01, fontsize=6.2)
    reference(panels[1], next(iter(labels), None), "labels", 0.01, fontsize=6.2)
    for axes in panels[:2]:
        axes.set_ylim(0, 1.12 * max(axes.dataLim.y1, *(line.get_ydata()[0] for line in axes.lines)))
    _effects(panels[2], effects)
    panels[0].legend(loc="center right", bbox_to_anchor=(1, 0.42), handlelength=2.6)
    rates = table[["lr_encoder", "lr_effective"]].dropna().drop_duplicates()
    factor = float((rates["lr_effective"] / rates["lr_encoder"]).iloc[0])
    scaled = "" if factor == 1 else f" (effective: × {factor:g})"
    titles = ("Error", "Diversity between eyes", "Decay (hollow: not shown)")
    measures = ("MAE (µm)", "σ between (µm)", "decay minus none, MAE (µm)")
    for axes, letter, title, measure in zip(panels, "abc", titles, measures, strict=True):
        axes.set_xscale("log")
        axes.set_xlim(rates["lr_encoder"].min() / 2, rates["lr_encoder"].max() * 2)
        axes.xaxis.set_minor_locator(NullLocator())
        style.panel_letter(axes, letter, title, f"encoder learning rate{scaled}", measure)
    return figure


def _curves(axes: Axes, table: pd.DataFrame, metric: str) -> None:
    rows = table[(table["metric"] == metric) & table["lr_encoder"].notna()]
    decays = sorted(rows["layer_decay"].unique(), reverse=True)
    for i, decay in enumerate(decays):
        mine = rows[rows["layer_decay"] == decay].sort_values("lr_encoder")
        x = mine["lr_encoder"] * 1.09 ** (i - (len(decays) - 1) / 2)
        name = "no decay" if decay == 1 else f"decay {decay:g}"
        bars(axes, x, mine, LOOKS[i % len(LOOKS)], bar=1.1, lw=1.0, ms=4, label=name)


def _effects(axes: Axes, effects: pd.DataFrame) -> None:
    axes.axhline(0, color=style.GREY, lw=0.8, zorder=0)
    if effects.empty:
        axes.text(0.5, 0.5, "not tried", transform=axes.transAxes, ha="center", color=style.GREY)
        axes.set_yticks([])
        return
    decays = sorted(effects["layer_decay"].unique(), reverse=True)
    for i, decay in enumerate(decays):
        look = LOOKS[(i + 1) % len(LOOKS)]
        mine = effects[effects["layer_decay"] == decay].sort_values("lr_encoder")
        axes.vlines(mine["lr_encoder"], mine["low"], mine["high"], color=look.colour, lw=1.1)
        clear = mine["p_holm"] < 0.05
        for rows, fill in ((mine[clear], look.colour), (mine[~clear], "white")):
            symbol(axes, rows["lr_encoder"], rows["estimate"], look, 4.2,
                   mfc=fill, mec=look.colour, mew=0.8)  # fmt: skip
    axes.yaxis.set_major_locator(style.ticks(5))
