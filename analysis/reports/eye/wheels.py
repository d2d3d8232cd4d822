"""Wheels of mean thickness in their true places, and the key to their colours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle, Wedge

from analysis.presentation import style
from analysis.reports.eye import words
from analysis.reports.eye.page import Eye
from rnfl.core import geometry
from rnfl.datasets import normative as bands

INNER = 0.42  # of the wheel's radius


def draw(axes: Axes, kind: str, eye: Eye, reference: pd.DataFrame | None, title: str) -> None:
    """Draw the means of 'quadrant' or 'clock_hour' regions as seen on the photograph."""
    regions = bands.REGIONS[kind]
    for (name, mask), value in zip(
        regions.items(), geometry.sector_means(eye.profile, regions)[0], strict=True
    ):
        place = words.PLACES[bands.position(value, bands.limits(reference, kind, name))]
        first, span = _arc(mask)
        ends = sorted(_bearing(angle, eye.laterality) for angle in (first, first + span))
        axes.add_patch(
            Wedge((0, 0), 1, *ends, width=1 - INNER, fc=place.fill, ec=style.INK, lw=0.7)
        )
        x, y = _point(first + span / 2, 0.73 if kind == "clock_hour" else 0.71, eye.laterality)
        size = 13 if kind == "quadrant" else 8.5
        up = size / 130 if place.mark else 0.0
        said = {"ha": "center", "va": "center", "color": place.ink}
        axes.text(x, y + up, words.thickness(value), fontsize=size, fontweight="bold", **said)
        axes.text(x, y - 1.2 * up, place.mark, fontsize=5.5, **said)
    for name, angle in zip("TSNI", (0, 90, 180, 270), strict=True):
        x, y = _point(angle, 1.13, eye.laterality)
        axes.text(x, y, name, ha="center", va="center", fontsize=9.5, color=style.INK)
    axes.text(0, 0, eye.laterality, ha="center", va="center", fontsize=11, color=style.GREY)
    axes.set(xlim=(-1.25, 1.25), ylim=(-1.25, 1.25), aspect="equal")
    axes.set_axis_off()
    axes.set_title(title, fontsize=9, pad=4, loc="center")


def _arc(mask: np.ndarray) -> tuple[float, int]:
    """Return where a region begins and how many degrees it spans; it may cross 0°."""
    begins = np.flatnonzero(mask & ~np.roll(mask, 1))
    return float(begins[0]), int(mask.sum())


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


def draw_key(axes: Axes, reference: pd.DataFrame | None, card: Mapping[str, Any]) -> None:
    """Explain the colours and name the reference eyes."""
    axes.set(xlim=(0, 57), ylim=(56, 0))
    axes.set_axis_off()
    y = 3.0
    for line in words.wrap(words.reference_name(reference, card), 34):
        axes.text(0, y, line, fontsize=8, fontweight="bold", va="center")
        y += 4
    y += 1.5
    for name in bands.POSITIONS[::-1] if _has_limits(reference) else ():
        place = words.PLACES[name]
        axes.add_patch(Rectangle((0, y - 2.3), 9, 4.6, fc=place.fill, ec=style.INK, lw=0.6))
        axes.text(4.5, y, place.mark, ha="center", va="center", fontsize=6.5, color=place.ink)
        axes.text(12, y, _meaning(name, reference), fontsize=8, va="center")
        y += 6
    y += 0.5
    for line in words.wrap(_explained(reference), 44):
        axes.text(0, y, line, fontsize=6.5, va="center", color="#4a4a4a")
        y += 3.1


def _has_limits(reference: pd.DataFrame | None) -> bool:
    return reference is not None and bool(reference["p5"].notna().any())


def _explained(reference: pd.DataFrame | None) -> str:
    if reference is None:
        return ""
    dashed = f"{words.DASHED} " if (reference["kind"] == "angle").any() else ""
    return dashed + (words.PREDICTED if _has_limits(reference) else words.TOO_FEW)


def _meaning(name: str, reference: pd.DataFrame) -> str:
    if name == "within":
        return "5 to 95 %"
    if reference["p1"].notna().any():
        return "1 to 5 %" if name == "below 5 %" else name
    return "below 1 %: too few eyes to say" if name == "below 1 %" else name
