"""07_fairness: errors by group, gaps beside what chance makes of them, planted differences."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.figures.panels import (
    ROW,
    Layout,
    interval,
    members,
    name_layout,
    row_axis,
    row_layout,
    rule_above,
    side_by_side,
    symbol,
    unnamed_rows,
)
from analysis.presentation import style

CAPTION = (
    "Fairness between groups of patients, on the test eyes. (a) Mean absolute error (MAE) by "
    "group, last backbone; n: eyes. (b) Differences between groups in thickness, adjusted for one "
    "another and for disease: as planted in eyes without disease, in the labels, and as the same "
    "backbone predicts them in the test eyes. A prediction nearer to 0 than the labels draws "
    "groups towards the average eye. (c) Gap between the worst and the best group (symbols; a "
    "ring marks an alarm, Holm-corrected p of differences over their standard errors below 0.05) "
    "beside the gaps that chance makes when patients exchange their labels (bar: central 95 %, "
    "tick: mean; none where nothing can be exchanged). Points: means over seeds; "
    "lines: 95 % intervals, patients resampled, and seeds where there are several."
)
ATTRIBUTES = ("age", "sex", "race")
NAMES = {"<40": "< 40", "40-60": "40–60", ">=60": "≥ 60", "mean": "mean of the three"}


def draw(table: pd.DataFrame, effects: pd.DataFrame, labels: pd.DataFrame) -> Figure:
    """Draw group errors and planted differences above the gaps of every cell.

    ``table`` is long, from :func:`analysis.fairness.fairness_table`; ``effects`` and ``labels`` are
    from ``group_effects`` and ``label_effects`` of :mod:`analysis.fairness.group_effects`.
    """
    layout = row_layout(table)
    backbone = next((name for name, _ in layout[::-1] if name != "—"), "—")
    forest, above = ROW * len(layout) + 0.6, 2.6
    figure = style.new_figure(style.PAGE, forest + above)
    outer = figure.add_gridspec(2, 1, height_ratios=[above, forest])
    left, right = side_by_side(figure, outer[0], 2, width_ratios=[1.75, 1])
    mine = table[table["backbone"] == backbone]
    protocols = style.order(mine["protocol"])
    _groups(left, mine, protocols)
    style.panel_letter(left, "a", f"Error by group, {style.look(backbone).label}")
    _differences(right, effects[effects["backbone"] == backbone], labels, protocols)
    style.panel_letter(right, "b", "Difference in thickness (µm)")
    panels = side_by_side(figure, outer[1], 4)
    for axes, attribute in zip(panels, (*ATTRIBUTES, "mean"), strict=True):
        _gaps(axes, table[table["attribute"] == attribute], layout)
        axes.set(title=NAMES.get(attribute, f"by {attribute}"), xlabel="gap (µm)")
    name_layout(panels[0], layout)
    style.panel_letter(panels[0], "c", "Gap by age")
    return figure


def _groups(axes: Axes, mine: pd.DataFrame, protocols: list[str]) -> None:
    mae = mine[(mine["metric"] == "mae") & mine["attribute"].isin(ATTRIBUTES)]
    places, labels, x = {}, [], 0.0
    for attribute in ATTRIBUTES:
        start, rows = x, mae[mae["attribute"] == attribute].drop_duplicates("group")
        for group, n in zip(rows["group"], rows["n"], strict=True):
            places[attribute, group] = x
            labels.append((x, f"{NAMES.get(group, group)}\nn {n:.0f}"))
            x += 1
        axes.annotate(attribute, ((start + x - 1) / 2, 1), xycoords=("data", "axes fraction"),
                      ha="center", va="top", fontsize=6.5, color=style.GREY,
                      annotation_clip=False)  # fmt: skip
        x += 0.5
    step = 0.62 / max(len(protocols) - 1, 1)
    for i, name in enumerate(protocols):
        look, rows = style.look(name, protocols), mae[mae["protocol"] == name]
        for row in rows[np.isfinite(rows["estimate"])].itertuples():
            at = places[row.attribute, row.group] + step * (i - (len(protocols) - 1) / 2)
            axes.plot([at, at], [row.low, row.high], color=look.colour, lw=1)
            symbol(axes, at, row.estimate, look)
        axes.plot([], [], look.marker, color=look.colour, ms=4, label=look.label)
    axes.set_xticks(*zip(*labels, strict=True) if labels else ([], []))
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.6, max(x - 0.9, 0.6))
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.14 * (high - low))  # room for the attributes' names
    axes.yaxis.set_major_locator(style.ticks(5))
    axes.set_ylabel("MAE (µm)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncol=4, handletextpad=0.1,
                columnspacing=1.2, borderaxespad=0)  # fmt: skip


def _differences(axes: Axes, effects, labels: pd.DataFrame, protocols: list[str]) -> None:
    """Draw each difference: planted (line), in the labels, in what each protocol predicts."""
    known = effects.set_index(["metric", "group", "protocol"]).sort_index()
    shown = labels[(labels["eyes"] == "all") & (labels["attribute"] != "planted")]
    step = 0.8 / (len(protocols) + 1)
    for y, row in enumerate(shown.itertuples()):
        axes.plot([row.planted] * 2, [y - 0.47, y + 0.47], color=style.ACCENT, lw=1.4, zorder=0)
        interval(axes, row._asdict(), y - 0.4, style.look("target"), 0.9, ms=5.2)
        for i, name in enumerate(protocols):
            look = style.look(name, protocols)
            if ("predicted", row.group, name) in known.index:
                one, place = known.loc[("predicted", row.group, name)], y - 0.4 + step * (i + 2)
                interval(axes, one, place, look, 0.9, ms=3.6)
                if i == 0:
                    one = known.loc[("thickness", row.group, name)]
                    interval(axes, one, y - 0.4 + step, style.look("target"), 0.9, ms=5.2,
                             mfc="white", mec=style.INK, mew=0.7)  # fmt: skip
        if y:
            rule_above(axes, y)
    axes.axvline(0, color=style.GREY, lw=0.6, zorder=0)
    names = ["age, per\n10 years" if g == "per decade" else g for g in shown["group"]]
    row_axis(axes, names, bottom=0.5)
    axes.xaxis.set_major_locator(style.ticks(5))
    axes.plot([], [], "-", color=style.ACCENT, lw=1.4, label="planted")
    axes.plot([], [], "P", color=style.INK, ms=4, label="labels, all eyes")
    axes.plot([], [], "P", color=style.INK, mfc="white", ms=4, mew=0.6, label="labels, test eyes")
    axes.legend(loc="upper right", bbox_to_anchor=(1.02, -0.17), ncol=3, handletextpad=0.2,
                columnspacing=0.9, handlelength=0.9, borderaxespad=0, fontsize=6)  # fmt: skip


def _gaps(axes: Axes, rows: pd.DataFrame, layout: Layout) -> None:
    whole = rows[rows["group"] == "max-min"].set_index(["backbone", "protocol", "metric"])
    protocols, most = [name for _, name in layout if name], 0.0
    for y, backbone, protocol in members(axes, layout):
        null, gap = (whole.loc[(backbone, protocol, name)] for name in ("null_gap", "gap"))
        if not np.isfinite(gap["estimate"]):
            continue
        if np.isfinite(null["estimate"]):
            width = null["high"] - null["low"]
            axes.add_patch(Rectangle((null["low"], y - 0.3), width, 0.6, fc=style.PALE, ec="none"))
            axes.plot([null["estimate"]] * 2, [y - 0.3, y + 0.3], color=style.GREY, lw=0.9)
        place = gap["estimate"], y
        symbol(axes, *place, style.look(protocol, protocols), ms=4.2, zorder=4)
        key = backbone, protocol, "gap_p_holm"
        if key in whole.index and whole.loc[key, "estimate"] < 0.05:
            axes.plot(*place, "o", ms=8, mfc="none", mec=style.INK, mew=0.9, zorder=5)
        most = np.nanmax([most, gap["estimate"], null["high"]])
    if not most:
        axes.annotate("groups too small", (0.05, 0.5), xycoords="axes fraction", va="center",
                      fontsize=6, color=style.GREY)  # fmt: skip
    unnamed_rows(axes, len(layout))
    axes.set_xlim(0, most * 1.06 or 1.0)
    axes.xaxis.set_major_locator(style.ticks(4))
