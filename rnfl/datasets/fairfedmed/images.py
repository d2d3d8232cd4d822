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
from PIL import Image

from rnfl.core.geometry import FIELD_MM, centre
from rnfl.datasets.reading import Excluded
from rnfl.imaging import crops

NAMES = ("slo_fundus", "fundus_slo", "slo", "fundus", "slo_image")
SHORT_SIDE_MM = FIELD_MM * 512 / 300  # 8.436
MIN_SIDE = 32  # px
MAX_ASPECT = 2.0

NO_IMAGE = "no SLO image in the npz"
WRONG_SHAPE = "SLO image of wrong shape"
WRONG_TYPE = "SLO image of wrong type"
NOT_FINITE = "SLO image with NaN or infinite values"
CONSTANT = "SLO image without contrast"
NO_CENTRE = "no disc centre"
OUTSIDE = "disc centre outside the SLO image"

UPRIGHT, TRANSPOSED, SQUARE = "upright", "transposed", "square"


def grey(array: np.ndarray) -> np.ndarray:
    """Return an SLO image as uint8 (H, W).

    Parameters
    ----------
    array : ndarray (H, W), or with one or three channels on the first or the last axis
        Whole numbers from 0 to 255. Three channels are weighted as luminance.

    Raises
    ------
    Excluded
        For another shape or type, values that are not finite, or an image of one value.
    """
    found = f"{array.dtype} {array.shape}"
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise Excluded(NOT_FINITE, f"{int((~np.isfinite(array)).sum())} values")
    if array.dtype.kind not in "iu":
        raise Excluded(WRONG_TYPE, f"{found}: expected uint8")
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3):
        array = np.moveaxis(array, 0, -1)
    planes = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3))
    sides = sorted(array.shape[:2])
    if not planes or sides[0] < MIN_SIDE or sides[1] > MAX_ASPECT * sides[0]:
        raise Excluded(WRONG_SHAPE, f"{found}: expected one image such as (512, 664)")
    if array.min() < 0 or array.max() > 255:
        raise Excluded(WRONG_TYPE, f"{found}, {array.min()} to {array.max()}: expected 0 to 255")
    if array.min() == array.max():
        raise Excluded(CONSTANT, f"{array.min()} everywhere")
    array = array.astype(np.uint8)
    if array.ndim == 2 or array.shape[2] == 1:
        return array.reshape(array.shape[:2])
    return np.asarray(Image.fromarray(array).convert("L"))


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
    """Return the disc centre in px: as given, or the image's own where no table has centres.

    Parameters
    ----------
    image : ndarray (H, W), upright
    x, y : float
        As given; NaN where missing.
    known : bool
        Whether the tables have disc centres, so that a missing one leaves the eye out.

    Raises
    ------
    Excluded
        When it is missing, or outside the image.
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
    """Return the square of 4.943 mm centred on the disc, uint8 (224, 224); black past the border.

    Parameters
    ----------
    image : ndarray uint8 (H, W), upright
    x, y : float
        Disc centre, px.
    short_side_mm : float
        Retina over the short side of the image.
    """
    side = round(FIELD_MM / short_side_mm * min(image.shape))
    return crops.cut(image, x, y, side, crops.BILINEAR)
