"""Angles, scan circle, sectors and laterality: the only place that knows TSNIT.

Index ``i`` of a profile is the angle θ = i degrees, 0 <= θ < 360, in right-eye orientation:
0° temporal, 90° superior, 180° nasal, 270° inferior. Pixel coordinates are those of pixel centres,
x to the right and y downwards, so an image of ``n`` columns spans 0 to ``n - 1``. In a right eye
the macula (temporal) lies image-left of the disc; a left eye is its mirror image.

Source: paper, Methods (angle convention, quadrants); Garway-Heath et al. 2000 (six sectors).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from rnfl.core.nanstats import divide

N_ANGLES = 360
ANGLES = np.arange(N_ANGLES)
ANGLES.flags.writeable = False

SCAN_RADIUS_MM = 1.73  # the clinical circle has a diameter of 3.46 mm
RADIUS_RATIO = 0.35  # radius of the circle over the side of a prepared crop
FIELD_MM = SCAN_RADIUS_MM / RADIUS_RATIO  # side of a prepared crop: 4.943 mm

LATERALITIES = ("OD", "OS")


def _arc(start: int, stop: int) -> np.ndarray:
    """Return the mask (360,) of the half-open arc [start, stop) in degrees; it may cross 0°."""
    mask = (ANGLES - start) % N_ANGLES < (stop - start) % N_ANGLES
    mask.flags.writeable = False
    return mask


QUADRANTS: dict[str, np.ndarray] = {
    "S": _arc(45, 135),
    "N": _arc(135, 225),
    "I": _arc(225, 315),
    "T": _arc(315, 45),
}

SECTORS: dict[str, np.ndarray] = {
    "T": _arc(315, 45),
    "TS": _arc(45, 85),
    "NS": _arc(85, 125),
    "N": _arc(125, 235),
    "NI": _arc(235, 275),
    "TI": _arc(275, 315),
}

# Hours are those seen on a right eye: 9 o'clock temporal (0°), 12 superior, 3 nasal, 6 inferior.
CLOCK_HOURS: dict[str, np.ndarray] = {
    str(hour): _arc((hour - 9) * 30 - 15, (hour - 9) * 30 + 15) for hour in range(1, 13)
}


def check_laterality(laterality: str) -> str:
    """Return ``laterality``; a ValueError says when it is neither OD nor OS."""
    if laterality not in LATERALITIES:
        raise ValueError(f"laterality {laterality!r}: expected one of {', '.join(LATERALITIES)}")
    return laterality


def scan_radius_px(width_px: float, field_mm: float = FIELD_MM) -> float:
    """Return the radius in px of the 3.46 mm circle on an image ``field_mm`` wide.

    Examples
    --------
    >>> round(scan_radius_px(224, field_mm=6.0), 1), round(scan_radius_px(224), 1)
    (64.6, 78.4)
    """
    if not (width_px > 0 and field_mm > 0):
        raise ValueError(f"width {width_px} px over {field_mm} mm: both must be positive")
    return width_px * SCAN_RADIUS_MM / field_mm


def centre(height: int, width: int) -> tuple[float, float]:
    """Return the true centre ``(cx, cy)`` in px of an image, between pixels when a side is even.

    Examples
    --------
    >>> centre(224, 5)
    (2.0, 111.5)
    """
    return (width - 1) / 2, (height - 1) / 2


def circle(
    cx: float, cy: float, r: float, laterality: str = "OD", n: int = N_ANGLES
) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of a circle round the disc, in order of angle.

    Parameters
    ----------
    cx, cy : float
        Disc centre, px.
    r : float
        Radius, px.
    laterality : {'OD', 'OS'}
        Orientation of the image: a right eye (also any image passed through
        :func:`to_right_eye`) or a left eye as it was taken.
    n : int
        Number of points; point ``i`` lies at 360·i/n degrees, and 360° is not sampled.

    Returns
    -------
    x, y : ndarray, each (n,), px

    Raises
    ------
    ValueError
        For an unknown laterality.

    Examples
    --------
    >>> x, y = circle(10, 10, 5, "OD", n=4)  # temporal, superior, nasal, inferior
    >>> x.round().astype(int).tolist(), y.round().astype(int).tolist()
    ([5, 10, 15, 10], [10, 5, 10, 15])
    """
    theta = 2 * np.pi * np.arange(n) / n
    temporal = -1.0 if check_laterality(laterality) == "OD" else 1.0
    return cx + temporal * r * np.cos(theta), cy - r * np.sin(theta)


def centred_circle(
    height: int, width: int, radius_ratio: float = RADIUS_RATIO, n: int = N_ANGLES
) -> tuple[np.ndarray, np.ndarray]:
    """Return the circle of radius ``radius_ratio * min(height, width)`` round an image's centre.

    This is the scan circle of a prepared crop, which is disc-centred and right-eye oriented.

    Returns
    -------
    x, y : ndarray, each (n,), px
    """
    return circle(*centre(height, width), radius_ratio * min(height, width), "OD", n)


def to_right_eye(image: np.ndarray, laterality: str) -> np.ndarray:
    """Return an image (H, W) or (H, W, C) in right-eye orientation: a left eye is mirrored.

    A point at column ``x`` of a left eye moves to column ``W - 1 - x``.

    Examples
    --------
    >>> to_right_eye(np.array([[1, 2, 3]]), "OS").tolist()
    [[3, 2, 1]]
    """
    if image.ndim not in (2, 3):
        raise ValueError(f"image of shape {image.shape}: expected (H, W) or (H, W, C)")
    if check_laterality(laterality) == "OD":
        return image
    return np.ascontiguousarray(image[:, ::-1])


def _check_profile(profile: np.ndarray) -> np.ndarray:
    profile = np.asarray(profile)
    if profile.ndim == 0 or profile.shape[-1] != N_ANGLES:
        raise ValueError(f"profile of shape {profile.shape}: the last axis must hold 360 angles")
    return profile


def mirror_profile(profile: np.ndarray) -> np.ndarray:
    """Return profiles (..., 360) of the mirrored image: θ becomes 180° - θ.

    Examples
    --------
    >>> mirror_profile(ANGLES)[[0, 90, 180, 270]].tolist()  # temporal and nasal change places
    [180, 90, 0, 270]
    """
    return _check_profile(profile)[..., (180 - ANGLES) % N_ANGLES]


def flip_profile(profile: np.ndarray) -> np.ndarray:
    """Return profiles (..., 360) of the image turned upside down: θ becomes -θ.

    Examples
    --------
    >>> flip_profile(ANGLES)[[0, 90, 180, 270]].tolist()  # superior and inferior change places
    [0, 270, 180, 90]
    """
    return _check_profile(profile)[..., -ANGLES % N_ANGLES]


def flip_quadrants(quadrants: np.ndarray) -> np.ndarray:
    """Return quadrant means (..., 4) of eyes turned upside down: superior is inferior.

    Examples
    --------
    >>> flip_quadrants(np.array([1, 2, 3, 4]))
    array([3, 2, 1, 4])
    """
    return quadrants[..., [2, 1, 0, 3]]


def rotate_profile(profile: np.ndarray, degrees: int) -> np.ndarray:
    """Return profiles (..., 360) with what lay at θ moved to θ + ``degrees``, a whole number.

    On a right eye this is the image turned clockwise as seen on screen.

    Examples
    --------
    >>> int(rotate_profile(ANGLES, 90)[90])
    0
    """
    if degrees != int(degrees):
        raise ValueError(f"rotation by {degrees} degrees: expected a whole number of degrees")
    return np.roll(_check_profile(profile), int(degrees), axis=-1)


def resample(values: np.ndarray, first_angle: float = 0.0) -> np.ndarray:
    """Return curves of m points at equal steps round the circle as profiles of 360 angles.

    Fewer points than angles are joined by straight lines; of more points, each angle gets the mean
    over its degree, every point standing for its own arc.

    Parameters
    ----------
    values : ndarray (N, m), µm, NaN where missing
        Point ``k`` lies at ``first_angle + 360·k/m`` degrees: 360° is not sampled again.
    first_angle : float
        Angle of the first point, degrees; 0 is temporal.

    Returns
    -------
    ndarray (N, 360), µm
        NaN where more than half of what an angle needs is missing.

    Examples
    --------
    >>> resample(np.array([[10.0, 20.0, 30.0, 40.0]]))[0, [0, 45, 90, 315]].tolist()
    [10.0, 15.0, 20.0, 25.0]
    >>> resample(np.arange(720.0)[None])[0, [1, 100]].tolist()
    [2.0, 200.0]
    """
    values = np.atleast_2d(np.asarray(values, dtype=float))
    step = N_ANGLES / values.shape[1]
    points = first_angle + step * np.arange(values.shape[1])
    apart = np.abs((ANGLES - points[:, None] + 180) % N_ANGLES - 180)
    if step >= 1:
        weight = np.clip(1 - apart / step, 0, None)
    else:  # how much of the point's arc lies in the angle's degree
        weight = np.clip((1 + step) / 2 - apart, 0, step)
    weight = np.where(weight > 1e-12, weight, 0.0)
    weight /= weight.sum(axis=0)
    return _weighted_means(values, weight, least=0.5 - 1e-9)


def sector_means(profiles: np.ndarray, sectors: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the mean thickness of each sector, over the angles that were measured.

    Parameters
    ----------
    profiles : ndarray (N, 360), µm, NaN where missing
    sectors : mapping of name to boolean mask (360,)
        :data:`QUADRANTS`, :data:`SECTORS` or :data:`CLOCK_HOURS`.

    Returns
    -------
    ndarray (N, k), µm
        In the order of ``sectors``; NaN where more than half of a sector is missing.
    """
    profiles = np.atleast_2d(_check_profile(profiles)).astype(float)
    membership = np.stack(list(sectors.values()), axis=1).astype(float)
    return _weighted_means(profiles, membership, least=membership.sum(axis=0) / 2)


def _weighted_means(
    values: np.ndarray, weight: np.ndarray, least: float | np.ndarray
) -> np.ndarray:
    """Return means of what is measured, (N, m) by (m, k), NaN where it weighs less than least."""
    measured = np.isfinite(values)
    held = measured.astype(float) @ weight
    total = np.where(measured, values, 0.0) @ weight
    return divide(total, np.where(held >= least, held, 0))


def quadrant_means(profiles: np.ndarray) -> pd.DataFrame:
    """Return the quadrant means of profiles (N, 360) as columns S, N, I, T, µm.

    Examples
    --------
    >>> quadrant_means(np.where(QUADRANTS["S"], 120.0, 80.0)).iloc[0].to_dict()
    {'S': 120.0, 'N': 80.0, 'I': 80.0, 'T': 80.0}
    """
    return pd.DataFrame(sector_means(profiles, QUADRANTS), columns=list(QUADRANTS))
