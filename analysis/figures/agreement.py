"""11_agreement: what a clinician would read off the predictions, and how far to trust it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Patch, Wedge

from analysis.figures.panels import bars, interval, name_ends, side_by_side
from analysis.presentation import style
from rnfl.core import geometry

CAPTION = (
    "Agreement with OCT. (a) Differences of the mean thickness of each eye, predicted minus label, "
    "over the label (Bland-Altman, with the reference as abscissa), of one trained model and of "
    "the template, which predicts the training set's mean for every eye. Solid: bias; dashed: "
    "limits of agreement, bias ± 1.96 SD over eyes; shaded: their 95 % intervals; numbers are "
    "means over seeds, points are one seed. (b) Error and (c) bias at single angles by the "
    "thickness of the label there. (d) Sensitivity for thinning, that is for a label "
    "below the 5th percentile of healthy training eyes (not adjusted for age), by a threshold set "
    "on training or validation eyes for the specificity on the axis, or by that percentile "
    "itself ('as read') where no such eyes were predicted, for the mean over the circle and the "
    "six Garway-Heath sectors; in brackets the number of thinned eyes. The template flags no "
    "eye. (e) The same for one model on the right eye as seen in a photograph, circle in the "
    "centre; –: below 10 thinned eyes. Lines: 95 % intervals, patients resampled, and seeds where "
    "there are several."
)
SHOWN = ("template", "oracle floor")


def draw(
    points: pd.DataFrame, table: pd.DataFrame, thickness: pd.DataFrame, thinning: pd.DataFrame
) -> Figure:
    """Draw Bland-Altman plots, error against thickness and the detection of thinning.

    ``points`` is from :func:`analysis.agreement.points_table`, for one trained model and the
    template; ``table``, ``thickness`` and ``thinning`` are long, from :mod:`analysis.agreement` and
    its ``thinning``. Rows of the backbone among the points, of template and of label-noise floor
    are drawn.
    """
    trained = points[points["backbone"] != "—"].iloc[0]
    backbone, protocol = trained["backbone"], trained["protocol"]
    table, thickness, thinning = (
        rows[rows["backbone"].isin([backbone, "—"])] for rows in (table, thickness, thinning)
    )
    protocols = [name for name in style.order(thinning["protocol"]) if name not in SHOWN]
    figure = style.new_figure(style.PAGE, 6.1)
    outer = figure.add_gridspec(3, 1, height_ratios=[1.65, 1.45, 2.3])
    _bland_altman(figure, outer[0], points, table, style.look(backbone).label)
    _against_thickness(figure, outer[1], thickness, protocol)
    forest, wheel = side_by_side(figure, outer[2], 2, width_ratios=[1.75, 1])
    _forest(forest, thinning, protocols)
    _wheel(wheel, thinning[thinning["protocol"] == protocol])
    style.panel_letter(wheel, "e", f"{style.look(backbone).label}, {style.look(protocol).label}")
    return figure


def _bland_altman(figure: Figure, place, points, table, name: str) -> None:
    cells = list(points.groupby(["backbone", "protocol"], sort=False))
    cells.sort(key=lambda cell: cell[0][0] == "—")
    panels = side_by_side(figure, place, len(cells))
    rows = table[table["group"] == "global"].set_index(["protocol", "metric"])
    ends = rows[rows.index.get_level_values("metric").isin(["limit_low", "limit_high"])]
    ends = ends.loc[[key[1] for key, _ in cells if key[1] in ends.index], ["low", "high"]]
    difference = points["predicted"] - points["label"]
    reach = 1.08 * np.nanmax(np.abs(np.append(ends.to_numpy(float), difference)))
    for i, ((backbone, protocol), eyes) in enumerate(cells):
        axes, look = panels[i], style.look(protocol)
        difference = eyes["predicted"] - eyes["label"]
        axes.axhline(0, color=style.PALE, lw=0.8, zorder=0)
        axes.plot(eyes["label"], difference, look.marker, color=look.colour, ms=2.2, mew=0,
                  alpha=0.45, rasterized=True)  # fmt: skip
        title = f"{name}, {look.label}" if backbone != "—" else f"{look.label}, every eye"
        style.panel_letter(axes, "a" if i == 0 else "", title)
        axes.set(ylim=(-reach, reach), xlabel="mean thickness of the label (µm)")
        axes.yaxis.set_major_locator(style.ticks(5))
        axes.tick_params(labelleft=i == 0)
        _levels(axes, rows.loc[protocol])
    panels[0].set_ylabel("predicted − label (µm)")


def _levels(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw bias and limits with the bands of their intervals, their values and the slope."""
    rows, ends = rows[np.isfinite(rows["estimate"])], []
    for name in ("limit_low", "bias", "limit_high"):
        if name not in rows.index:
            continue
        value = rows.loc[name]
        if np.isfinite(value["low"]):
            axes.axhspan(value["low"], value["high"], color=style.ACCENT, alpha=0.18, lw=0)
        line = "-" if name == "bias" else (0, (4, 2))
        axes.axhline(value["estimate"], color=style.INK, lw=0.9, ls=line)
        text = f"{value['estimate']:+.1f}".replace("-", "−")
        ends.append((text, value["estimate"], style.INK))
    name_ends(axes, ends, gap=0.09, fontweight="normal")
    if "slope_on_label" in rows.index:
        text = f"slope {rows.loc['slope_on_label', 'estimate']:.2f} µm per µm".replace("-", "−")
        axes.annotate(text, (0.02, 0.04), xycoords="axes fraction", fontsize=6.5, color=style.GREY)


def _against_thickness(figure: Figure, place, thickness: pd.DataFrame, protocol: str) -> None:
    panels = side_by_side(figure, place, 2)
    for axes, metric in zip(panels, ("mae", "bias"), strict=True):
        ends = []
        for name in ("template", protocol, "oracle floor"):
            rows = thickness[thickness["protocol"] == name].set_index(["metric", "group"])
            if rows.empty:
                continue
            look = style.look(name)
            x, rows = rows.loc["thickness", "estimate"], rows.loc[metric]
            bars(axes, x, rows, look, bar=1, ms=_size(look))
            ends += [(look.label, end, look.colour) for end in rows["estimate"].dropna()[-1:]]
        axes.margins(y=0.08)
        name_ends(axes, ends)
        axes.yaxis.set_major_locator(style.ticks(5))
    panels[0].set_ylim(bottom=0)
    panels[1].axhline(0, color=style.PALE, lw=0.8, zorder=0)
    below = "thickness of the label at one angle (µm)"
    style.panel_letter(panels[0], "b", "Error by thickness", below, "MAE (µm)")
    style.panel_letter(panels[1], "c", "Bias by thickness", below, "predicted − label (µm)")


def _forest(axes: Axes, thinning: pd.DataFrame, protocols: list[str]) -> None:
    series = [*protocols, *(name for name in SHOWN if name in set(thinning["protocol"]))]
    metric = _shown(thinning)
    rows = thinning[thinning["metric"] == metric].set_index(["protocol", "group"])
    groups = list(dict.fromkeys(thinning["group"]))
    offsets = np.linspace(-0.36, 0.36, len(series)) if len(series) > 1 else [0.0]
    for y in range(0, len(groups), 2):
        axes.axhspan(y - 0.5, y + 0.5, color="#f4f4f4", lw=0, zorder=0)
    labels = []
    for y, group in enumerate(groups):
        n = int(rows.loc[(series[0], group), "n"])
        labels.append(f"{'circle' if group == 'global' else group} ({n})")
        for name, offset in zip(series, offsets, strict=True):
            look = style.look(name, series)
            interval(axes, rows.loc[(name, group)], y + offset, look, lw=1, ms=_size(look),
                     label=look.label if y == 0 else None, clip_on=False)  # fmt: skip
        if not rows.xs(group, level="group")["estimate"].notna().any():
            axes.annotate("too few eyes", (0.02, y), fontsize=6, style="italic",
                          va="center", color=style.GREY)  # fmt: skip
    axes.set_yticks(range(len(groups)), labels)
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(0, 1), ylim=(len(groups) - 0.5, -0.5))
    asked = 100 * thinning.loc[thinning["metric"] == "specificity", "estimate"].iloc[0]
    as_read = metric.endswith("as_read")
    how = "as read" if as_read else f"at a threshold for {asked:.0f} % specificity"
    style.panel_letter(axes, "d", "Finding thinned sectors", f"sensitivity {how}")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=6, handletextpad=0.1,
                columnspacing=1.0)  # fmt: skip


def _wheel(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw the sectors as a ring round the disc of a right eye, coloured by sensitivity."""
    values = rows[rows["metric"] == _shown(rows)].set_index("group")["estimate"]
    for name, mask in geometry.SECTORS.items():
        # On screen 0° (temporal) is at the left and angles run clockwise: 180° - θ.
        inside = np.flatnonzero(mask)
        gap = np.flatnonzero(np.diff(inside) > 1)
        start = int(inside[gap[0] + 1] if len(gap) else inside[0])
        width = int(mask.sum())
        ring = Wedge((0, 0), 1, 180 - start - width, 180 - start, width=0.5, lw=1.2, ec="white")
        middle = np.deg2rad(start + width / 2)
        place = -0.75 * np.cos(middle), 0.75 * np.sin(middle)
        _sector(axes, ring, *place, name, values.get(name, np.nan))
    _sector(axes, Circle((0, 0), 0.42, lw=0), 0, 0, "circle", values.get("global", np.nan))
    axes.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), aspect="equal")
    axes.set_axis_off()


def _shown(thinning: pd.DataFrame) -> str:
    """Return which sensitivity there is: that of a threshold, or of the limit as read."""
    known = thinning.loc[thinning["metric"] == "sensitivity", "estimate"].notna().any()
    return "sensitivity" if known else "sensitivity_as_read"


def _sector(axes: Axes, patch: Patch, x: float, y: float, name: str, value: float) -> None:
    """Colour a sector's patch by its value, and write name and value on it."""
    known = np.isfinite(value)
    patch.set_facecolor(
        sns.light_palette(style.ACCENT, as_cmap=True)(value) if known else "#eeeeee"
    )
    axes.add_patch(patch)
    text = f"{name}\n{f'{100 * value:.0f} %' if known else '–'}"
    axes.text(x, y, text, ha="center", va="center", fontsize=6.5, linespacing=1.15,
              color="white" if value > 0.55 else style.INK)  # fmt: skip


def _size(look: style.Look) -> float:
    return 6.0 if look.marker == "*" else 3.8
