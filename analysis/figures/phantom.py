"""09_phantom: what the phantom looks like, what its figures are, what backbones know of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.eyes import show_eye
from analysis.figures.panels import row_axis
from analysis.presentation import style

CAPTION = (
    "The phantom. (a) One simulated eye by both families of cameras (A, B) of pretraining (gap 0) "
    "and of the default (gap 1), and as its pictures get worse (severity, family A), right-eye "
    "orientation, with the 3.46 mm scan circle (T temporal, S superior, N nasal, I inferior); "
    "last, a photograph of a real eye of GRAPE (Huang et al., Scientific Data 2023, doi "
    "10.1038/s41597-023-02424-4). (b) Thickness, correlations and peaks: deviation of the phantom "
    "from real eyes, in standard errors of both. Grey: two; open markers: outside. The phantom "
    "was calibrated to these cohorts. (c-f) What linear readouts of frozen backbones predict on "
    "test eyes, by the distance of the cameras from those of pretraining: correlation between "
    "eyes, mean of the angles. Readouts are learnt from other eyes' pictures at the gap that they "
    "are tested at (c, e), or all at gap 0 (d, f)."
)


def draw(
    samples: Mapping[str, np.ndarray], calibration: pd.DataFrame, known: pd.DataFrame
) -> Figure:
    """Draw pictures above the calibration and what backbones know.

    ``samples`` holds ``slo`` (k, H, W), ``cfp`` (k, H, W, 3), uint8, ``title`` (k,) and
    ``photograph`` (H, W, 3); ``calibration`` quantity, source, reference, phantom, z, within;
    ``known`` camera, learnt, gap, backbone, r_between, two ``learnt`` for each camera.
    """
    k = len(samples["slo"]) + 1
    images, dots = 2 * style.PAGE / k + 0.3, max(0.13 * len(calibration) + 0.75, 3.0)
    figure = style.new_figure(style.PAGE, images + dots)
    outer = figure.add_gridspec(2, 1, height_ratios=[images, dots])
    grid = outer[0].subgridspec(2, k)
    for j, name in enumerate(("slo", "cfp")):
        for i, (image, title) in enumerate(zip(samples[name], samples["title"], strict=True)):
            axes = figure.add_subplot(grid[j, i])
            show_eye(axes, image, letters=i == 0)
            if i == 0:
                axes.set_ylabel(name.upper(), fontweight="bold")
            if j == 0:
                axes.set_title(("a  " if i == 0 else "") + str(title), fontsize=6)
    axes = figure.add_subplot(grid[1, k - 1])
    show_eye(axes, samples["photograph"], letters=False)
    axes.set_title("real (GRAPE)", fontsize=6)
    lower = outer[1].subgridspec(1, 2, width_ratios=[2, 3])
    axes = figure.add_subplot(lower[0])
    _deviations(axes, calibration.reset_index(drop=True))
    style.panel_letter(axes, "b", "Beside real eyes", "(phantom − real) / standard error")
    kinds = known[["camera", "learnt"]].drop_duplicates().to_numpy()
    cells = lower[1].subgridspec(len(kinds) // 2, 2, wspace=0.05)
    panels: list[Axes] = []
    for k, (camera, learnt) in enumerate(kinds):
        axes = figure.add_subplot(cells[k // 2, k % 2], sharey=panels[0] if panels else None)
        _known(axes, known[(known["camera"] == camera) & (known["learnt"] == learnt)])
        title = f"{camera}, {learnt}"
        style.panel_letter(axes, "cdef"[k], title, "gap of the test", "r between eyes")
        axes.label_outer()
        panels.append(axes)
    panels[0].legend(fontsize=5.5, loc="lower left")
    return figure


def _deviations(axes: Axes, rows: pd.DataFrame) -> None:
    for y, row in rows.iterrows():
        axes.plot(row["z"], y, "o", ms=3.5, color=style.ACCENT,
                  mfc=style.ACCENT if row["within"] else "white")  # fmt: skip
        digits = 2 if row["quantity"].startswith("r ") else 1
        text = f"{row['reference']:.{digits}f} → {row['phantom']:.{digits}f}"
        axes.annotate(text.replace("-", "−"), (1.02, y), xycoords=("axes fraction", "data"),
                      fontsize=5.5, va="center", color=style.INK)  # fmt: skip
    axes.annotate("real → phantom", (1.02, 1.005), xycoords="axes fraction", fontsize=5.5,
                  color=style.GREY)  # fmt: skip
    axes.axvspan(-2, 2, color="#efefef", lw=0, zorder=0)
    axes.axvline(0, color=style.INK, lw=0.6)
    axes.xaxis.set_major_locator(style.ticks(5))
    row_axis(axes, [f"{row.quantity} ({row.source})" for row in rows.itertuples()])
    axes.tick_params(axis="y", labelsize=6)


def _known(axes: Axes, rows: pd.DataFrame) -> None:
    names = style.order(rows["backbone"])
    for name in names:
        look, line = style.look(name, names), rows[rows["backbone"] == name].sort_values("gap")
        axes.plot(line["gap"], line["r_between"], color=look.colour, marker=look.marker, ms=3.5,
                  lw=1.1, label=look.label)  # fmt: skip
    axes.set_xticks(sorted(rows["gap"].unique()))
    axes.margins(x=0.08)
