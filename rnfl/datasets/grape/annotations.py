"""What GRAPE's makers say of where a disc is: its outline, and the region of interest round it.

LabelMe files hold the outlines that a person drew. What they look like was read about, not seen:
``{"imageWidth", "imageHeight", "shapes": [{"label": "OD" | "OC", "shape_type": "polygon", "points":
[[x, y], ...]}]}``. ``OD`` is the optic disc and ``OC`` the cup, not a right eye.

The regions are near-exact cuttings round the disc, so their middle is a second opinion on where the
disc is. It is compared with ours and never used in its place: photographs of other sources have no
such regions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.signal import fftconvolve

from rnfl.imaging.pixels import shrink
from rnfl.storage.readers import read_json

DISC, CUP = "OD", "OC"
WIDTH = 192  # px, at which photograph and region are compared
ALIKE = 0.9  # least correlation of a region that was cut from this photograph (ours)


@dataclass(frozen=True)
class Annotation:
    """Outlines of one photograph: the disc's centroid, and the cup's height over the disc's."""

    x: float  # px, pixel centres at whole numbers
    y: float
    cup_disc_ratio: float  # NaN without a cup


def read_annotation(path: Path, width: int, height: int) -> Annotation:
    """Return the outlines of a photograph of ``width`` by ``height`` px.

    Raises
    ------
    ValueError
        Saying what makes the file unusable; that it was drawn on a picture of another size, such
        as the region of interest, is one such thing.
    """
    try:
        content = read_json(path)
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
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{label} has no points") from error
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
        raise ValueError(f"{label} has points of shape {points.shape}")
    if not ((points >= 0) & (points <= (width, height))).all():
        raise ValueError(f"{label} leaves the photograph")
    if abs(_area(points)) < 1:
        raise ValueError(f"{label} has no area")
    return points


def _cross(points: np.ndarray) -> np.ndarray:
    """Return the cross product of each corner of a polygon with the next one (n,), px²."""
    x, y = points.T
    return x * np.roll(y, -1) - np.roll(x, -1) * y


def _area(points: np.ndarray) -> float:
    """Return the signed area of a polygon, px²."""
    return float(_cross(points).sum() / 2)


def _centroid(points: np.ndarray) -> tuple[float, float]:
    """Return the centroid of a polygon, not of its corners, which may be dense on one side."""
    cross, scale = _cross(points), 6 * _area(points)
    x, y = (float(((at + np.roll(at, -1)) * cross).sum() / scale) for at in points.T)
    return x, y


def find_region(photo: np.ndarray, region: np.ndarray) -> tuple[float, float] | None:
    """Return the middle of a region in px of the photograph, None where it was not cut from it.

    Parameters
    ----------
    photo : ndarray (H, W, 3), uint8
    region : ndarray (h, w, 3), uint8
        Of the same scale.
    """
    scale = photo.shape[1] / WIDTH
    grey = (np.asarray(Image.fromarray(picture).convert("L")) for picture in (photo, region))
    whole, part = (shrink(picture, scale) for picture in grey)
    height, width = part.shape
    if min(height, width) < 3 or (np.array(part.shape) > whole.shape).any():
        return None
    part = part - part.mean()
    ones = np.ones(part.shape)
    total = fftconvolve(whole, ones, mode="valid")
    spread = fftconvolve(whole**2, ones, mode="valid") - total**2 / part.size
    alike = fftconvolve(whole, part[::-1, ::-1], mode="valid")
    alike /= np.sqrt(np.maximum(spread, 1e-6 * part.size) * max((part**2).sum(), 1e-6))
    top, left = np.unravel_index(np.argmax(alike), alike.shape)
    if alike[top, left] < ALIKE:
        return None
    return float((left + width / 2) * scale - 0.5), float((top + height / 2) * scale - 0.5)
