"""14_parameter_efficient: error over the share of the backbone that learns."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.figures.panels import beside, reference, symbol
from analysis.presentation import style

CAPTION = (
    "How few parameters may learn, one backbone. Mean absolute error (MAE) over the share of the "
    "backbone's parameters that learn, on a logarithmic axis; projection and head learn in every "
    "case. Band: full fine-tuning; dotted: the template (the training set's mean profile for every "
    "eye). Bars: 95 % intervals, patients resampled, and seeds where there are several; filled: "
    "differs from full fine-tuning, Holm-corrected p below 0.05."
)
TICKS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)  # %
KINDS = {"lora": style.Look("LoRA, by rank", "#0b3c6f", "o"),
         "dora": style.Look("DoRA, by rank", "#1b9e77", "D"),
         "": style.Look("other parts", "#c2477f", "s")}  # fmt: skip


def draw(table: pd.DataFrame, comparisons: pd.DataFrame, costs: pd.DataFrame) -> Figure:
    """Draw one panel; tables are those of :mod:`analysis.accuracy.strategies`."""
    mae = table[(table["metric"] == "mae") & (table["attribute"] == "all")]
    rows = mae.merge(costs, on=["backbone", "protocol"], how="left").set_index("protocol")
    against = comparisons.query("against == 'aggressive' and metric == 'mae'")
    p = against.set_index("protocol")["p_holm"]
    figure = style.new_figure(0.72 * style.PAGE, 3.0)
    axes = figure.add_subplot()
    full = rows.loc["aggressive"]
    band = {"color": style.PALE, "alpha": 0.5, "lw": 0, "zorder": 0}
    axes.axhspan(full["low"], full["high"], label="full fine-tuning", **band)
    axes.axhline(full["estimate"], color=style.GREY, lw=0.8, zorder=0)
    reference(axes, rows["estimate"].get("template"), "template", 0.01, fontsize=6)
    few = rows[rows["share_backbone"].between(0, 1, inclusive="right")].drop(index="aggressive")
    named = set()
    for protocol, row in few.sort_values("share_backbone").iterrows():
        kind = protocol[:4] if protocol[:4] in KINDS else ""
        look, x = KINDS[kind], 100 * row["share_backbone"]
        axes.plot([x, x], [row["low"], row["high"]], color=look.colour, lw=1)
        fill = look.colour if p.get(protocol, 1) < 0.05 else "white"
        label = {} if kind in named else {"label": look.label}
        symbol(
            axes, x, row["estimate"], look, 5, mfc=fill, mec=look.colour, mew=0.9, ls="", **label
        )
        named.add(kind)
        text = (
            "r8"
            if protocol in ("lora", "dora")
            else protocol.replace("lora_", "").replace("dora_", "")
        )
        beside(axes, text.replace("_", " "), x, row["estimate"], xytext=(4, 4))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(TICKS))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.2, y=0.15)
    axes.legend(loc="upper right", bbox_to_anchor=(1, 0.84))
    style.panel_letter(
        axes, "", "Error over what learns", "share of the backbone that learns (%)", "MAE (µm)"
    )
    return figure
