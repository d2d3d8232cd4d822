"""What stands on the page of an eye: photographs, numbers, the TSNIT curve, wheels and their key,
and the A4 sheet that holds them, addressed in millimetres from its top left corner.

Places of the photographs are pixels as taken, so that temporal is on the right of a left eye; the
wheels follow the photograph, the curve always runs temporal, superior, nasal, inferior, temporal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle, Wedge
from matplotlib.patheffects import withStroke
from PIL import Image

from analysis.presentation import style
from analysis.reports.eye import words
from rnfl.core import geometry
from rnfl.datasets import normative
from rnfl.imaging import disc as locator

WIDTH, HEIGHT = 210.0, 297.0  # mm, A4 portrait
WHOLE_PX = 700  # the whole photograph is shown small
ON_PHOTO = {  # white, and readable on bright retina too
    "color": "white",
    "path_effects": [withStroke(linewidth=2.2, foreground="black", alpha=0.55)],
}
TICKS = {0: "TEMP", 90: "SUP", 180: "NAS", 270: "INF", 360: "TEMP"}
TOP = 200  # µm of the curve's axis, unless it needs more
INNER = 0.42  # of a wheel's radius
SMALL_PRINT = "#4a4a4a"
Band = pd.DataFrame | None  # of rnfl.datasets.normative, None without reference eyes
CENTRED = {"ha": "center", "va": "center"}
DOUBT_LINES = 7  # of the box of doubts; the table of a reading has them whole


def closed(values: np.ndarray) -> np.ndarray:
    """Return values (360,) with the first repeated; that of the figures would load them all."""
    return np.append(values, values[0])


@dataclass(frozen=True)
class Eye:
    """What a page shows."""

    photo: np.ndarray  # (H, W, 3) uint8 as taken, not mirrored: whole, or a crop round the disc
    laterality: str  # OD or OS
    disc: locator.Disc  # where the circle is centred, px of ``photo``
    width_mm: float  # of retina on ``photo``
    profile: np.ndarray  # (360,), predicted thickness, µm, right-eye orientation
    doubts: Sequence[str] = ()  # why the photograph is unsure, see rnfl.imaging.inspection
    #: Ends (360,) of the band that holds the whole curve, where the model has one.
    ends: tuple[np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True)
class Sheet:
    """An empty A4 page; positions and sizes are millimetres, y downwards."""

    figure: Figure = field(default_factory=lambda: Figure(figsize=(WIDTH / 25.4, HEIGHT / 25.4)))

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Return new axes in the rectangle."""
        box = (left / WIDTH, 1 - (top + height) / HEIGHT, width / WIDTH, height / HEIGHT)
        return self.figure.add_axes(box)

    def text(self, x: float, y: float, text: str, **options) -> None:
        """Write text with its baseline at y."""
        options = {"va": "baseline", "color": style.INK} | options
        self.figure.text(x / WIDTH, 1 - y / HEIGHT, text, **options)

    def box(self, left: float, top: float, width: float, height: float, fill: str) -> None:
        """Fill a rectangle."""
        corner = left / WIDTH, 1 - (top + height) / HEIGHT
        self.figure.add_artist(Rectangle(corner, width / WIDTH, height / HEIGHT, color=fill, lw=0))

    def rule(self, y: float, left: float = 15, right: float = 195, width: float = 0.6) -> None:
        """Draw a horizontal line."""
        ends = [left / WIDTH, right / WIDTH], [1 - y / HEIGHT] * 2
        self.figure.add_artist(Line2D(*ends, color=style.INK, lw=width))


# photographs


def disc(axes: Axes, eye: Eye) -> None:
    """Show the 4.943 mm round the disc, with the 3.46 mm circle and T S N I in their places."""
    width = eye.photo.shape[1]
    mm = width / eye.width_mm  # px
    half = geometry.FIELD_MM / eye.width_mm * width / 2
    radius = geometry.scan_radius_px(width, eye.width_mm)
    axes.imshow(eye.photo, interpolation="lanczos", zorder=0)
    x, y = map(closed, geometry.circle(eye.disc.x, eye.disc.y, radius, eye.laterality))
    axes.plot(x, y, lw=1.1, ls=(0, (4, 2.5)), scalex=False, scaley=False, **ON_PHOTO)
    x, y = geometry.circle(eye.disc.x, eye.disc.y, 1.2 * radius, eye.laterality, n=4)
    for name, at_x, at_y in zip("TSNI", x, y, strict=True):
        axes.text(at_x, at_y, name, fontsize=11, fontweight="bold", **CENTRED, **ON_PHOTO)
    x, y = eye.disc.x, eye.disc.y
    axes.set(xlim=(x - half, x + half), ylim=(y + half, y - half), facecolor="black")
    _bare(axes)
    right, bottom = x + 0.93 * half, y + 0.93 * half
    axes.plot([right - mm, right], [bottom] * 2, lw=1.6, solid_capstyle="butt", **ON_PHOTO)
    place = right - mm / 2, bottom - 0.03 * half
    axes.text(*place, "1 mm", ha="center", va="bottom", fontsize=7, **ON_PHOTO)


def whole(axes: Axes, eye: Eye) -> None:
    """Show the whole photograph with the located disc and the square that the model was shown."""
    height, width = eye.photo.shape[:2]
    scale = WHOLE_PX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = Image.fromarray(eye.photo).resize(size, Image.Resampling.BOX)
    axes.imshow(small, extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="lanczos")
    side = geometry.FIELD_MM / eye.width_mm * width
    corner = eye.disc.x - side / 2, eye.disc.y - side / 2
    shown = Rectangle(corner, side, side, fill=False, ec="white", lw=0.9, clip_on=True)
    shown.set_path_effects(ON_PHOTO["path_effects"])
    axes.add_patch(shown)
    axes.plot(eye.disc.x, eye.disc.y, "+", ms=7, mew=1.3, **ON_PHOTO)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), anchor="N")
    _bare(axes)


def _bare(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(True)
    axes.spines[:].set(color=style.GREY, linewidth=0.5)


# numbers


def _measured(eye: Eye, reference: Band, kind: str) -> Iterator[tuple[str, float, dict | None]]:
    """Yield name, mean thickness (µm) and reference percentiles of the regions of a kind."""
    regions = normative.REGIONS[kind]
    for name, value in zip(regions, geometry.sector_means(eye.profile, regions)[0], strict=True):
        yield name, value, normative.limits(reference, kind, name)


def mean(sheet: Sheet, left: float, top: float, eye: Eye, reference: Band) -> None:
    """Show the mean thickness large, with where it lies among the reference eyes."""
    ((_, value, limits),) = _measured(eye, reference, "mean")
    place = normative.position(value, limits)
    sheet.text(left, top + 3, "Mean thickness", size=9, weight="bold")
    sheet.text(left, top + 14.5, words.thickness(value), size=28, weight="bold")
    sheet.text(left + (21 if value >= 99.5 else 15), top + 14.5, "µm", size=12)
    look = words.PLACES[place]
    sheet.box(left, top + 18, 49, 5.2, look.fill)
    text = f"{look.mark} {words.judged(place)}".strip()
    sheet.text(left + 24.5, top + 20.6, text, size=8, color=look.ink, **CENTRED)


def table(sheet: Sheet, left: float, top: float, eye: Eye, reference: Band) -> None:
    """Tabulate the mean and the quadrants beside the reference's median and limits."""
    columns = {left: "left", left + 21: "right", left + 33: "right", left + 49: "right"}
    rows = [("", "µm", "median", "5 to 95 %")]
    measured = {name: found for kind in ("mean", "quadrant")
                for name, *found in _measured(eye, reference, kind)}  # fmt: skip
    for name, label in {"mean": "mean", **words.QUADRANTS}.items():
        value, limits = measured[name]
        limits = limits or dict.fromkeys(("p5", "p50", "p95"), np.nan)
        low, median, high = (words.thickness(limits[p]) for p in ("p5", "p50", "p95"))
        span = f"{low}–{high}" if np.isfinite(limits["p5"]) else "–"
        rows.append((label, words.thickness(value), median, span))
    for i, row in enumerate(rows):
        y = top + 8.5 + 6.8 * i
        for (x, align), text in zip(columns.items(), row, strict=True):
            sheet.text(x, y, text, size=8, ha=align, color=style.GREY if i == 0 else style.INK)
        sheet.rule(y + 2.2, left, left + 49, 0.3 if i else 0.6)


def certainty(sheet: Sheet, left: float, top: float, eye: Eye) -> None:
    """Say how sure the place of the disc is, and loudly why a person should look, if so."""
    confidence = eye.disc.confidence
    stated = any(doubt.startswith("stated disc") for doubt in eye.doubts)
    located = f"located, confidence {min(confidence, 0.99):.2f}"
    said = "centre given, not located" if confidence >= 1 or stated else located
    sheet.text(left, top, "Optic disc", size=9, weight="bold")
    sheet.text(left, top + 5, said, size=8)
    across = f"{eye.width_mm:.1f} mm of retina across"
    sheet.text(left, top + 9.5, across, size=8, color=style.GREY)
    doubts = eye.doubts or ([locator.doubt(confidence)] if eye.disc.unsure else [])
    if doubts:
        look = words.PLACES["below 5 %"]
        lines = [line for doubt in doubts for line in words.wrap(f"- {doubt}", 44)]
        lines = lines if len(lines) <= DOUBT_LINES else [*lines[: DOUBT_LINES - 1], "..."]
        sheet.box(left, top + 11.5, 46, 6.5 + 2.7 * len(lines), look.fill)
        loud = "! Unsure: check before use"
        sheet.text(left + 1.5, top + 15.5, loud, size=7, color=look.ink, weight="bold")
        for i, line in enumerate(lines):
            sheet.text(left + 1.5, top + 19 + 2.7 * i, line, size=5.8, color=look.ink)


# the curve


def curve(axes: Axes, eye: Eye, reference: Band, title: str) -> None:
    """Draw a predicted profile, µm, and its band over the percentiles of the reference eyes."""
    angles, profile = np.arange(361), eye.profile
    highest = profile if eye.ends is None else eye.ends[1]
    top = max(TOP, 50 * np.ceil((np.nanmax(highest) + 5) / 50))
    _band(axes, angles, reference, top)
    for angle in (45, 135, 225, 315):
        axes.axvline(angle, color=style.GREY, lw=0.4, ls=(0, (1, 2)), zorder=1)
    for end in eye.ends or ():
        axes.plot(angles, closed(end), color=style.INK, lw=0.8, ls=(0, (2, 1.5)), zorder=4)
    axes.plot(angles, closed(np.asarray(profile, float)), color=style.INK, lw=1.6, zorder=4)
    axes.set(xlim=(0, 360), ylim=(0, top), ylabel="RNFL thickness (µm)",
             xticks=list(TICKS), xticklabels=list(TICKS.values()))  # fmt: skip
    axes.yaxis.label.set_size(8)
    axes.tick_params(labelsize=8)
    axes.yaxis.set_major_locator(style.ticks(5))
    axes.set_title(title, fontsize=9)


def _band(axes: Axes, angles: np.ndarray, reference: Band, top: float) -> None:
    rows = None if reference is None else reference[reference["kind"] == "angle"]
    if rows is None or rows.empty:
        axes.text(180, 0.96 * top, "no reference along the circle", ha="center", va="top",
                  color=style.GREY, fontsize=8)  # fmt: skip
        return
    by_angle = rows.set_index(rows["name"].astype(int)).reindex(range(360))
    limits = {f"p{p}": closed(by_angle[f"p{p}"].to_numpy()) for p in normative.PERCENTILES}
    lowest = np.where(np.isnan(limits["p1"]), 0.0, limits["p1"])
    edges = [np.zeros(361), lowest, limits["p5"], limits["p95"]]
    places = normative.POSITIONS[: len(edges) - 1]
    for (low, high), place in zip(pairwise(edges), places, strict=True):
        axes.fill_between(angles, low, high, color=words.PLACES[place].tint, zorder=0, lw=0)
    for name in ("p1", "p5", "p95"):
        axes.plot(angles, limits[name], color=style.GREY, lw=0.5, zorder=2)
    axes.plot(angles, limits["p50"], color=style.GREY, lw=0.9, ls=(0, (4, 2)), zorder=3)


# wheels


def wheel(axes: Axes, kind: str, eye: Eye, reference: Band, title: str) -> None:
    """Draw the means of 'quadrant' or 'clock_hour' regions as seen on the photograph."""
    size, middle = (13, 0.71) if kind == "quadrant" else (8.5, 0.73)
    for name, value, limits in _measured(eye, reference, kind):
        mask, place = normative.REGIONS[kind][name], words.PLACES[normative.position(value, limits)]
        first = float(np.flatnonzero(mask & ~np.roll(mask, 1))[0])  # a region may cross 0°
        span = int(mask.sum())
        ends = sorted(_bearing(angle, eye.laterality) for angle in (first, first + span))
        axes.add_patch(
            Wedge((0, 0), 1, *ends, width=1 - INNER, fc=place.fill, ec=style.INK, lw=0.7)
        )
        x, y = _point(first + span / 2, middle, eye.laterality)
        up = size / 130 if place.mark else 0.0
        said = {**CENTRED, "color": place.ink}
        axes.text(x, y + up, words.thickness(value), fontsize=size, fontweight="bold", **said)
        axes.text(x, y - 1.2 * up, place.mark, fontsize=5.5, **said)
    for name, angle in zip("TSNI", (0, 90, 180, 270), strict=True):
        x, y = _point(angle, 1.13, eye.laterality)
        axes.text(x, y, name, fontsize=9.5, color=style.INK, **CENTRED)
    axes.text(0, 0, eye.laterality, fontsize=11, color=style.GREY, **CENTRED)
    axes.set(xlim=(-1.25, 1.25), ylim=(-1.25, 1.25), aspect="equal")
    axes.set_axis_off()
    axes.set_title(title, fontsize=9, pad=4, loc="center")


def _point(angle: float, radius: float, laterality: str) -> tuple[float, float]:
    """Return the place (x, y), y upwards, of a profile's angle on the page."""
    bearing = np.deg2rad(_bearing(angle, laterality))
    return radius * np.cos(bearing), radius * np.sin(bearing)


def _bearing(angle: float, laterality: str) -> float:
    """Return degrees counter-clockwise from the right of the page of a profile's angle.

    Examples
    --------
    >>> _bearing(0, "OD"), _bearing(0, "OS")  # temporal: left of a right eye, right of a left eye
    (180, 0)
    """
    return 180 - angle if laterality == "OD" else angle


def key(axes: Axes, reference: Band, card: Mapping[str, Any]) -> None:
    """Explain the colours and name the reference eyes."""
    axes.set(xlim=(0, 57), ylim=(56, 0))
    axes.set_axis_off()
    y = 3.0
    for line in words.wrap(words.reference_name(reference, card), 34):
        axes.text(0, y, line, fontsize=8, fontweight="bold", va="center")
        y += 4
    y += 1.5
    for name, meaning in words.meanings(reference).items():
        place = words.PLACES[name]
        axes.add_patch(Rectangle((0, y - 2.3), 9, 4.6, fc=place.fill, ec=style.INK, lw=0.6))
        axes.text(4.5, y, place.mark, fontsize=6.5, color=place.ink, **CENTRED)
        axes.text(12, y, meaning, fontsize=8, va="center")
        y += 6
    y += 0.5
    for line in words.wrap(words.explained(reference), 44):
        axes.text(0, y, line, fontsize=6.5, va="center", color=SMALL_PRINT)
        y += 3.1
