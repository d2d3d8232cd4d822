"""LabelMe files of GRAPE: the outlines of disc and cup that a person drew on a photograph.

What they look like was read about, not seen: ``{"imageWidth", "imageHeight", "shapes": [{"label":
"OD" | "OC", "shape_type": "polygon", "points": [[x, y], ...]}]}``. ``OD`` is the optic disc and
``OC`` the cup, not a right eye.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

DISC, CUP = "OD", "OC"


@dataclass(frozen=True)
class Annotation:
    """Outlines of one photograph.

    Attributes
    ----------
    x, y : float
        Centroid of the disc, px (pixel centres at whole numbers).
    cup_disc_ratio : float
        Height of the cup over height of the disc; NaN without a cup.
    """

    x: float
    y: float
    cup_disc_ratio: float


def read_annotation(path: Path, width: int, height: int) -> Annotation:
    """Return the outlines of a photograph of ``width`` by ``height`` px.

    Raises
    ------
    ValueError
        Saying what makes the file unusable; that it was drawn on a picture of another size, such
        as the region of interest, is one such thing.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        size = content["imageWidth"], content["imageHeight"]
        shapes = [(str(shape["label"]).strip().upper(), shape) for shape in content["shapes"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no LabelMe file ({type(error).__name__}: {error})") from error
    if size != (width, height):
        raise ValueError(
            f"drawn on a picture of {size[0]}x{size[1]} px, the photograph has {width}x{height}"
        )
    disc = _outline(shapes, DISC, width, height)
    if disc is None:
        raise ValueError(f"no outline labelled {DISC}")
    cup = _outline(shapes, CUP, width, height)
    ratio = np.nan if cup is None else float(np.ptp(cup[:, 1]) / np.ptp(disc[:, 1]))
    if ratio > 1:
        raise ValueError(f"the cup is {ratio:.2f} times as high as the disc")
    x, y = _centroid(disc)
    if not (disc.min(axis=0) <= (x, y)).all() or not ((x, y) <= disc.max(axis=0)).all():
        raise ValueError(f"{DISC} crosses itself")
    return Annotation(x - 0.5, y - 0.5, ratio)  # LabelMe counts from the corner of the first pixel


def _outline(
    shapes: list[tuple[str, Any]], label: str, width: int, height: int
) -> np.ndarray | None:
    """Return the one polygon (n, 2) of a label, None where there is none."""
    found = [shape for name, shape in shapes if name == label]
    if not found:
        return None
    if len(found) > 1:
        raise ValueError(f"{len(found)} outlines labelled {label}")
    if found[0].get("shape_type", "polygon") != "polygon":
        raise ValueError(f"{label} is a {found[0]['shape_type']}, not a polygon")
    try:
        points = np.array(found[0]["points"], dtype=float)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{label} has no points") from error
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
        raise ValueError(f"{label} has points of shape {points.shape}")
    if not ((points >= 0) & (points <= (width, height))).all():
        raise ValueError(f"{label} leaves the photograph")
    if abs(_area(points)) < 1:
        raise ValueError(f"{label} has no area")
    return points


def _area(points: np.ndarray) -> float:
    """Return the signed area of a polygon, px²."""
    x, y = points.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def _centroid(points: np.ndarray) -> tuple[float, float]:
    """Return the centroid of a polygon, not of its corners, which may be dense on one side."""
    x, y = points.T
    cross = x * np.roll(y, -1) - np.roll(x, -1) * y
    scale = 6 * _area(points)
    return (
        float(((x + np.roll(x, -1)) * cross).sum() / scale),
        float(((y + np.roll(y, -1)) * cross).sum() / scale),
    )
