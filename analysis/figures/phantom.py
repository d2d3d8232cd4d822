"""09_phantom: what the phantom looks like, and how its figures compare with those of real eyes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.eyes import show_eye
from analysis.figures.panels import row_axis, side_by_side
from analysis.presentation import style

CAPTION = (
    "The phantom. (a) The same simulated eyes as scanning laser ophthalmoscopy (SLO) and colour "
    "fundus photographs (CFP), right-eye orientation, with the 3.46 mm scan circle (T temporal, S "
    "superior, N nasal, I inferior): the first eye of each severity. (b) Means and SDs of RNFL "
    "thickness and (c) correlations between quadrants and between fellow eyes: deviation of the "
    "phantom from the real eyes that it was calibrated to. Grey bars: tolerance; open markers: "
    "outside it. Numbers: real eyes → phantom."
)


def draw(samples: Mapping[str, np.ndarray], calibration: pd.DataFrame) -> Figure:
    """Draw pairs of images above the calibration.

    ``samples`` holds ``slo`` (k, H, W), ``cfp`` (k, H, W, 3), uint8, and ``severity`` (k,), text;
    ``calibration`` quantity, source, reference, phantom, tolerance, kind ('relative' or
    'absolute'), within.
    """
    k = min(len(samples["slo"]), 5)
    kinds = [kind for kind in ("relative", "absolute") if (calibration["kind"] == kind).any()]
    longest = max((calibration["kind"] == kind).sum() for kind in kinds)
    images, dots = 2 * min(style.PAGE / k, 1.85), 0.155 * longest + 0.75
    figure = style.new_figure(style.PAGE, images + dots)
    outer = figure.add_gridspec(2, 1, height_ratios=[images, dots])
    grid = outer[0].subgridspec(2, k)
    for i in range(k):
        for j, name in enumerate(("slo", "cfp")):
            axes = figure.add_subplot(grid[j, i])
            show_eye(axes, samples[name][i], letters=i == 0)
            if i == 0:
                axes.set_ylabel(name.upper(), fontweight="bold")
            if j == 1 and "severity" in samples:
                axes.set_xlabel(str(samples["severity"][i]))
            if i == j == 0:
                style.panel_letter(axes, "a", "Simulated eyes")
    panels = side_by_side(figure, outer[1], len(kinds))
    for letter, axes, kind in zip("bc", panels, kinds, strict=False):
        _deviations(axes, calibration[calibration["kind"] == kind].reset_index(drop=True))
        relative = kind == "relative"
        title = "Means and SDs (µm)" if relative else "Correlations"
        xlabel = f"phantom − real{', % of real' * relative}\ngrey: tolerance; open: outside it"
        style.panel_letter(axes, letter, title, xlabel)
    return figure


def _deviations(axes: Axes, rows: pd.DataFrame) -> None:
    relative = rows["kind"].iloc[0] == "relative"
    deviation, tolerance = rows["phantom"] - rows["reference"], rows["tolerance"]
    if relative:  # in percent
        deviation, tolerance = deviation / rows["reference"] * 100, tolerance * 100
    for y, row in rows.iterrows():
        axes.barh(y, 2 * tolerance[y], left=-tolerance[y], height=0.9, color="#efefef", lw=0)
        axes.plot(deviation[y], y, "o", ms=4, color=style.ACCENT,
                  mfc=style.ACCENT if row["within"] else "white")  # fmt: skip
        digits = 1 if relative else 2
        text = f"{row['reference']:.{digits}f} → {row['phantom']:.{digits}f}"
        axes.annotate(text.replace("-", "−"), (1.02, y), xycoords=("axes fraction", "data"),
                      fontsize=6, va="center", color=style.INK)  # fmt: skip
    axes.annotate("real → phantom", (1.02, 1.01), xycoords="axes fraction", fontsize=6,
                  color=style.GREY)  # fmt: skip
    axes.axvline(0, color=style.INK, lw=0.6)
    axes.xaxis.set_major_locator(style.ticks(4))
    reach = max(tolerance.max(), deviation.abs().max()) * 1.12
    axes.set_xlim(-reach, reach)
    row_axis(axes, [f"{row.quantity} ({row.source})" for row in rows.itertuples()])
