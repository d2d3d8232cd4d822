"""FairFedMed's SLO images: which way up they lie, and the crop round the disc.

An SLO of this dataset is 512 px high and 664 px wide. Some files hold it transposed, (664, 512),
which would swap superior and inferior with temporal and nasal. A transposed image is told by its
shape; of a square one the shape says nothing, and a turn by 90° looks like a transposition.

The original code cuts a square of half-width max(0.25·min(H, W), 150 px) round the disc, which is
300 px of the 512, and clips it at the border. Here those 300 px are taken to be the 4.943 mm of
every prepared crop **(ours)**: 16.5 µm per px and 8.44 mm of retina over the short side. An image
of another size is taken to show the same field. Beyond the border the crop is black.
"""

from __future__ import annotations

import numpy as np

from rnfl.core.exclusion import Excluded
from rnfl.core.geometry import FIELD_MM, centre
from rnfl.imaging import pixels

SHORT_SIDE_MM = FIELD_MM * 512 / 300  # 8.436

NO_IMAGE = "no SLO image in the npz"
NO_CENTRE = "no disc centre"
OUTSIDE = "disc centre outside the SLO image"

UPRIGHT, TRANSPOSED, SQUARE = "upright", "transposed", "square"


def orientation_of(image: np.ndarray) -> str:
    """Return 'upright' for a wide image, 'transposed' for a high one, else 'square'.

    Examples
    --------
    >>> orientation_of(np.zeros((512, 664))), orientation_of(np.zeros((664, 512)))
    ('upright', 'transposed')
    """
    height, width = image.shape[:2]
    return SQUARE if height == width else UPRIGHT if width > height else TRANSPOSED


def turn_upright(image: np.ndarray, orientation: str) -> np.ndarray:
    """Return the image as a photograph shows it; ``orientation`` is 'auto' or an override."""
    found = orientation_of(image) if orientation == "auto" else orientation
    return np.ascontiguousarray(image.T) if found == TRANSPOSED else image


def place(image: np.ndarray, x: float, y: float, known: bool) -> tuple[float, float]:
    """Return the disc centre in px of an upright image (H, W): as given, NaN where missing.

    Where none is ``known`` to the tables it is the image's own; else one that is missing, or
    outside the image, raises :class:`Excluded`.
    """
    height, width = image.shape
    if not known:
        return centre(height, width)
    if not (np.isfinite(x) and np.isfinite(y)):
        raise Excluded(NO_CENTRE, f"Center_X {x:g}, Center_Y {y:g}")
    if not (0 <= x <= width - 1 and 0 <= y <= height - 1):
        turned = 0 <= x < height and 0 <= y < width
        hint = "; it lies inside the transposed image" if turned else ""
        raise Excluded(OUTSIDE, f"x {x:g}, y {y:g} in {width} x {height} px{hint}")
    return x, y


def crop(image: np.ndarray, x: float, y: float, short_side_mm: float = SHORT_SIDE_MM) -> np.ndarray:
    """Return the square of 4.943 mm round the disc centre (px) of an upright image (H, W).

    ``short_side_mm`` is the retina over its short side.
    """
    side = round(FIELD_MM / short_side_mm * min(image.shape))
    return pixels.cut(image, x, y, side, pixels.BILINEAR)
