"""Where a published region of interest lies in its photograph, by normalised correlation.

The regions of GRAPE are near-exact cuttings round the disc, so their middle is a second opinion
on where the disc is. It is compared with ours and never used in its place: photographs of other
sources have no such regions.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.signal import fftconvolve

from rnfl.imaging.pixels import shrink

WIDTH = 192  # px, at which they are compared
ALIKE = 0.9  # least correlation of a region that was cut from this photograph (ours)


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
