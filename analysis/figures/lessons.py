"""What the figures of the notebooks 16 to 19 share: errors over the share of labels."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.figures.panels import bars, reference
from analysis.presentation import style


def over_labels(
    axes: Axes, table: pd.DataFrame, column: str, looks: Mapping[str, style.Look]
) -> None:
    """Draw the error over the share of labels, on a logarithmic axis, a curve for each look.

    ``table`` is long, of one metric; curves are told apart by ``column``.
    """
    mae = table[(table["metric"] == "mae") & (table["attribute"] == "all")]
    known = mae.dropna(subset="fraction")
    shares = sorted(100 * known["fraction"].unique())
    for i, (name, look) in enumerate(looks.items()):
        rows = known[known[column] == name].sort_values("fraction")
        if len(rows):
            x = 100 * rows["fraction"] * 1.04 ** (i - len(looks) / 2)
            bars(axes, x, rows, look, label=look.label)
    levels = mae[mae["protocol"] == "template"]["estimate"]
    reference(axes, next(iter(levels), None), "template", 0.01, fontsize=6)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(shares))
    axes.set_xticklabels([f"{share:g}" for share in shares])
    axes.xaxis.set_minor_locator(NullLocator())
