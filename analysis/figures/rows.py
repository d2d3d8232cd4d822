"""Rows of a forest plot: backbones as headings, their protocols below them."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from analysis.presentation import style

ROW = 0.142  # inches


def row_layout(table: pd.DataFrame) -> list[tuple[str, str | None]]:
    """Return the rows from top to bottom: a backbone's heading (protocol None), its protocols."""
    cells = table[["backbone", "protocol"]].drop_duplicates()
    rows: list[tuple[str, str | None]] = []
    for backbone in style.order(cells["backbone"][cells["backbone"] != "—"]):
        protocols = style.order(cells["protocol"][cells["backbone"] == backbone])
        rows += [(backbone, None), *((backbone, name) for name in protocols)]
    return rows


def name_rows(axes: Axes, layout: list[tuple[str, str | None]]) -> None:
    """Name the rows of a layout along the y axis, headings in bold."""
    axes.set_yticks(range(len(layout)), [style.look(p or b).label for b, p in layout])
    axes.tick_params(axis="y", length=0)
    for label, (_, protocol) in zip(axes.get_yticklabels(), layout, strict=True):
        if protocol is None:
            label.set_fontweight("bold")
            label.set_fontsize(7)
