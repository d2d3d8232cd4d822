"""The TSNIT curve over the reference band."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures.eyes import closed
from analysis.presentation import style
from analysis.reports.eye.words import PLACES
from rnfl.datasets.normative import PERCENTILES

TICKS = {0: "TEMP", 90: "SUP", 180: "NAS", 270: "INF", 360: "TEMP"}
TOP = 200  # µm, unless the curve needs more


def draw(axes: Axes, profile: np.ndarray, reference: pd.DataFrame | None, title: str) -> None:
    """Draw a predicted profile (360,), µm, over the percentiles of the reference eyes."""
    angles = np.arange(361)
    top = max(TOP, 50 * np.ceil((np.nanmax(profile) + 5) / 50))
    _band(axes, angles, reference, top)
    for angle in (45, 135, 225, 315):
        axes.axvline(angle, color=style.GREY, lw=0.4, ls=(0, (1, 2)), zorder=1)
    axes.plot(angles, closed(np.asarray(profile, float)), color=style.INK, lw=1.6, zorder=4)
    axes.set(xlim=(0, 360), ylim=(0, top), ylabel="RNFL thickness (µm)",
             xticks=list(TICKS), xticklabels=list(TICKS.values()))  # fmt: skip
    axes.yaxis.label.set_size(8)
    axes.tick_params(labelsize=8)
    axes.yaxis.set_major_locator(style.ticks(5))
    axes.set_title(title, fontsize=9)


def _band(axes: Axes, angles: np.ndarray, reference: pd.DataFrame | None, top: float) -> None:
    rows = None if reference is None else reference[reference["kind"] == "angle"]
    if rows is None or rows.empty:
        axes.text(180, 0.96 * top, "no reference along the circle", ha="center", va="top",
                  color=style.GREY, fontsize=8)  # fmt: skip
        return
    table = rows.set_index(rows["name"].astype(int))[[f"p{p}" for p in PERCENTILES]]
    limits = {name: closed(values.to_numpy()) for name, values in
              table.reindex(range(360)).items()}  # fmt: skip
    lowest = np.where(np.isnan(limits["p1"]), 0.0, limits["p1"])
    fill = {"zorder": 0, "lw": 0, "interpolate": False}
    axes.fill_between(angles, 0, lowest, color=PLACES["below 1 %"].tint, **fill)
    axes.fill_between(angles, lowest, limits["p5"], color=PLACES["below 5 %"].tint, **fill)
    axes.fill_between(angles, limits["p5"], limits["p95"], color=PLACES["within"].tint, **fill)
    for name, width in (("p1", 0.5), ("p5", 0.5), ("p95", 0.5)):
        axes.plot(angles, limits[name], color=style.GREY, lw=width, zorder=2)
    axes.plot(angles, limits["p50"], color=style.GREY, lw=0.9, ls=(0, (4, 2)), zorder=3)
