"""What a page says in words, and how each place among the reference eyes looks."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.presentation import style
from rnfl.datasets import normative

RESEARCH_USE = "Research use only. Not a medical device."
SIDES = {"OD": "Right eye (OD)", "OS": "Left eye (OS)"}
QUADRANTS = {"S": "superior", "N": "nasal", "I": "inferior", "T": "temporal"}
TOO_FEW = "These eyes are too few to say which values are low or high."
WHEELS = {"quadrant": "Quadrants (µm)", "clock_hour": "Clock hours (µm)"}
PREDICTED = (
    "The reference was measured, this eye is predicted, and predictions vary less from eye to "
    "eye: a thin eye can be read as within."
)


@dataclass(frozen=True)
class Place:
    """How values of one place among the reference eyes are drawn; ``mark`` reads in grey too."""

    fill: str
    tint: str
    ink: str
    mark: str


PLACES: dict[str | None, Place] = {
    "above 95 %": Place("#ffffff", "#ffffff", style.INK, "▲"),
    "within": Place("#bfe3d0", "#dff1e7", style.INK, ""),
    "below 5 %": Place("#f0b429", "#f9dfa3", style.INK, "▼"),
    "below 1 %": Place("#a3123a", "#eab6c3", "white", "▼▼"),
    None: Place("#eeeeee", "#eeeeee", style.INK, ""),
}


def thickness(value: float) -> str:
    """Return a thickness as whole µm, a dash for NaN.

    Examples
    --------
    >>> thickness(91.6), thickness(float("nan"))
    ('92', '–')
    """
    return f"{value:.0f}" if value == value else "–"


def judged(place: str | None) -> str:
    """Say where a value lies among the reference eyes.

    Examples
    --------
    >>> judged("below 1 %"), judged("within")
    ('below 1 % of the reference', 'within the reference')
    """
    if place is None:
        return "no reference to judge by"
    return f"{place} the reference" if place == "within" else f"{place} of the reference"


def warning(card: Mapping[str, Any]) -> tuple[str, str]:
    """Return a loud heading, empty where none is called for, and what stands beside it."""
    if card["phantom"]:
        beside = "Trained on computer-generated eyes: its numbers mean nothing for a patient."
        return "PHANTOM MODEL", beside
    if card["phantom"] is None:
        return "", "It is not recorded what the model was trained on."
    return "", "No diagnosis may be based on this page."


def curve_title(card: Mapping[str, Any]) -> str:
    """Return the heading of the curve, which says where its shape was never measured."""
    title = "Thickness along the circle of 3.46 mm"
    if card.get("trained_on") == "quadrants":
        title += "; trained on quadrant means, not its shape within them"
    return title


def wheel_title(kind: str, card: Mapping[str, Any]) -> str:
    """Return the heading of a wheel, which says when training eyes had no such measurement.

    Examples
    --------
    >>> wheel_title("clock_hour", {"trained_on": "quadrants"})
    'Clock hours (µm): never measured'
    """
    unmeasured = kind == "clock_hour" and card.get("trained_on") == "quadrants"
    return WHEELS[kind] + (": never measured" if unmeasured else "")


def reference_name(reference: pd.DataFrame | None, card: Mapping[str, Any]) -> str:
    """Name the eyes of a reference band: how many, healthy or all, phantom or not, and whose.

    Examples
    --------
    >>> reference_name(None, {"phantom": True})
    'No reference band: the training set is not at hand.'
    """
    if reference is None:
        return "No reference band: the training set is not at hand."
    first = reference.iloc[0]
    healthy = "healthy " if first["population"] == "healthy" else ""
    kind = "phantom eyes" if card["phantom"] else "eyes"
    only = "" if (reference["kind"] == "angle").any() else "; quadrants and mean only"
    return f"Reference: {first['n']:,} {healthy}{kind} of the training set{only}"


def _has_limits(reference: pd.DataFrame | None) -> bool:
    return reference is not None and bool(reference["p5"].notna().any())


def meanings(reference: pd.DataFrame | None) -> dict[str, str]:
    """Say what the colour of each place means, from thick to thin; nothing where none is judged."""
    if not _has_limits(reference):
        return {}
    said = {name: name for name in normative.POSITIONS[::-1]} | {"within": "5 to 95 %"}
    if reference["p1"].notna().any():
        return said | {"below 5 %": "1 to 5 %"}
    return said | {"below 1 %": "below 1 %: too few eyes to say"}


def explained(reference: pd.DataFrame | None) -> str:
    """Say what the reference's line and colours can tell of a predicted eye."""
    if reference is None:
        return ""
    dashed = "Dashed in the curve: median. " if (reference["kind"] == "angle").any() else ""
    return dashed + (PREDICTED if _has_limits(reference) else TOO_FEW)


def wrap(text: str, width: int) -> list[str]:
    """Return text broken into lines of at most ``width`` letters, long names left whole."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
