"""RNFL thickness maps (``rnflt``): the disc in them, their quality, and the profile they hold.

A map is a square array of thickness in µm, 6 mm wide unless its owner knows better, on which −2
marks the cup, −1 the rim and 0 a pixel without measurement. Stray −1 pixels lie along the edges of
artefacts, so the disc is the largest connected component of the negative pixels, and a profile is
NaN wherever one of the pixels it needs is not a measurement. Harvard-GF maps have 200×200 px,
Harvard-GDP and EyeLearn maps 225×225; any square is read.

Source: quality gate from public code for these maps (20 % invalid pixels, 2 % above 300 µm); that
the disc does not count as invalid, and the least size of a disc, are **ours**.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from rnfl.core.exclusion import Excluded
from rnfl.core.geometry import circle, scan_radius_px

MAP_MM = 6.0  # width of a map; inferred from disc areas
CUP, RIM, MISSING = -2, -1, 0
MIN_SIDE = 32  # px; a smaller square is no map
MIN_DISC = 0.01  # of the map: 0.36 mm² of 36 mm²
MAX_INVALID = 0.20  # of the pixels outside the disc
THICK_UM = 300.0
MAX_THICK = 0.02  # of the measured pixels

#: What a prepared dataset records of this method.
SETTINGS = {
    "min_disc": MIN_DISC,
    "max_invalid": MAX_INVALID,
    "thick_um": THICK_UM,
    "max_thick": MAX_THICK,
}
BAD_MAP = "unusable rnflt map"


@dataclass(frozen=True)
class Disc:
    """The disc of a map."""

    x: float  # px of the map (pixel centres at whole numbers), of the centroid, as y
    y: float
    area: int  # pixels of cup and rim together


def check_map(thickness: np.ndarray) -> np.ndarray:
    """Return a map as float32 (S, S), or say what is wrong with it.

    Parameters
    ----------
    thickness : ndarray (S, S), µm
        −2 cup, −1 rim, 0 missing; any real type.

    Raises
    ------
    ValueError
        For another shape or type, values that are not finite, or negative values other than −1
        and −2, which betray a map that was resampled.

    Examples
    --------
    >>> check_map(np.zeros((200, 225)))
    Traceback (most recent call last):
        ...
    ValueError: thickness map of shape (200, 225): expected a square of at least 32 px
    """
    thickness = np.asarray(thickness)
    shape = thickness.shape
    if thickness.ndim != 2 or shape[0] != shape[1] or shape[0] < MIN_SIDE:
        raise ValueError(
            f"thickness map of shape {shape}: expected a square of at least {MIN_SIDE} px"
        )
    if thickness.dtype.kind not in "fiu":
        raise ValueError(f"thickness map of type {thickness.dtype}: expected real numbers in µm")
    if broken := np.count_nonzero(~np.isfinite(thickness)):
        raise ValueError(
            f"thickness map holds {broken} values that are NaN or infinite: a missing pixel is 0"
        )
    marks = thickness[thickness < 0]
    foreign = np.unique(marks[(marks != CUP) & (marks != RIM)])
    if foreign.size:
        raise ValueError(
            f"thickness map holds {', '.join(f'{value:g}' for value in foreign[:3])} µm: expected "
            f"{RIM} (rim) and {CUP} (cup) below zero; give the map as published, not resampled"
        )
    return thickness.astype(np.float32)


def _disc_pixels(thickness: np.ndarray) -> np.ndarray:
    """Return the mask (S, S) of the largest connected component of cup and rim, or raise."""
    labels, _ = ndimage.label(thickness < 0)
    areas, least = np.bincount(labels.ravel())[1:], MIN_DISC * thickness.size
    largest = areas.max(initial=0)
    if largest < least:
        said = f"the largest patch of cup and rim has {largest} px, expected {least:.0f}"
        raise Excluded("no disc", said)
    return labels == 1 + areas.argmax()


def find_disc(thickness: np.ndarray) -> Disc:
    """Return the disc of a map: the largest connected component of its cup and rim pixels.

    Parameters
    ----------
    thickness : ndarray (S, S), µm

    Raises
    ------
    Excluded
        When no patch of cup and rim is as large as a small disc.
    ValueError
        See :func:`check_map`.
    """
    y, x = np.nonzero(_disc_pixels(check_map(thickness)))
    return Disc(float(x.mean()), float(y.mean()), len(x))


def invalid_share(thickness: np.ndarray) -> float:
    """Return the share, 0 to 1, of the pixels outside the disc that hold no measurement.

    It refuses what :func:`find_disc` refuses.
    """
    thickness = check_map(thickness)
    outside = ~_disc_pixels(thickness)
    return float(np.mean(thickness[outside] <= MISSING)) if outside.any() else 1.0


def check_quality(thickness: np.ndarray) -> None:
    """Leave out a map that is not good enough to be used.

    Parameters
    ----------
    thickness : ndarray (S, S), µm

    Raises
    ------
    Excluded
        No disc; more than 20 % of the pixels outside it without measurement; or more than 2 % of
        the measured ones above 300 µm.
    ValueError
        See :func:`check_map`.
    """
    thickness = check_map(thickness)
    invalid = invalid_share(thickness)
    if invalid > MAX_INVALID:
        said = f"{invalid:.1%} outside the disc, at most {MAX_INVALID:.0%}"
        raise Excluded("invalid pixels", said)
    thick = float(np.mean(thickness[thickness > MISSING] > THICK_UM))
    if thick > MAX_THICK:
        said = f"{thick:.1%} of it above {THICK_UM:g} µm, at most {MAX_THICK:.0%}"
        raise Excluded("too thick", said)


def upright(array: np.ndarray, orientation: str = "upright") -> np.ndarray:
    """Return a map (S, S), µm, as a photograph shows the eye, if it is one and good enough.

    Parameters
    ----------
    array : ndarray
        ``rnflt`` as it was found.
    orientation : {'upright', 'transposed'}

    Raises
    ------
    Excluded
        Where :func:`check_map` or :func:`check_quality` finds fault.
    """
    try:
        thickness = check_map(array)
    except ValueError as error:
        raise Excluded(BAD_MAP, str(error)) from error
    thickness = thickness.T if orientation == "transposed" else thickness
    check_quality(thickness)
    return thickness


def profile(thickness: np.ndarray, laterality: str, field_mm: float = MAP_MM) -> np.ndarray:
    """Return the RNFL profile on the 3.46 mm circle round the disc of a map.

    Parameters
    ----------
    thickness : ndarray (S, S), µm
        −2 cup, −1 rim, 0 missing.
    laterality : {'OD', 'OS'}
        How the map lies: 'OS' for a left eye as it was taken; 'OD' for a right eye, and for a left
        eye whose map was already mirrored.
    field_mm : float
        Width of the map.

    Returns
    -------
    ndarray (360,), float32, µm
        In right-eye orientation; NaN where a pixel of the bilinear sample is missing, cup, rim or
        outside the map.

    Raises
    ------
    Excluded, ValueError
        See :func:`find_disc`; also for an unknown laterality.
    """
    thickness = check_map(thickness)
    disc = find_disc(thickness)
    radius = scan_radius_px(thickness.shape[1], field_mm)
    return sample(thickness, *circle(disc.x, disc.y, radius, laterality))


def sample(thickness: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the thickness at points, bilinear, NaN where a needed pixel is not a measurement.

    Parameters
    ----------
    thickness : ndarray (S, S), µm
    x, y : ndarray, each (n,), px

    Returns
    -------
    ndarray (n,), float32, µm
    """
    height, width = thickness.shape
    x, y = np.round(x, 6), np.round(y, 6)  # a point on a pixel centre needs no neighbour
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    total = np.zeros(len(x))
    for column, weight_x in ((left, 1 - (x - left)), (left + 1, x - left)):
        for row, weight_y in ((top, 1 - (y - top)), (top + 1, y - top)):
            weight = weight_x * weight_y
            inside = (0 <= column) & (column < width) & (0 <= row) & (row < height)
            value = thickness[row.clip(0, height - 1), column.clip(0, width - 1)].astype(float)
            value[~inside | (value <= MISSING)] = np.nan
            total += np.where(weight > 0, weight * value, 0.0)
    return total.astype(np.float32)
