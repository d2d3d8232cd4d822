"""SLO images as arrays of an npz: the names they go by, and one grey image from any of them."""

from __future__ import annotations

import numpy as np
from PIL import Image

from rnfl.core.exclusion import Excluded

NAMES = ("slo_fundus", "fundus_slo", "slo", "fundus", "slo_image")
MIN_SIDE = 32  # px
MAX_ASPECT = 2.0

WRONG_SHAPE = "SLO image of wrong shape"
WRONG_TYPE = "SLO image of wrong type"
NOT_FINITE = "SLO image with NaN or infinite values"
CONSTANT = "SLO image without contrast"


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
