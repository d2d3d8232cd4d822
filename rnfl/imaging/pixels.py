"""Cutting and resampling: the square that a network sees of an eye, whatever took the picture.

Larger squares are area-averaged to the common size. How smaller ones are enlarged differs between
the sources, and stays as it is: it decides the pixels of datasets that runs were trained on.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

SIZE = 224  # px, side of a prepared crop
REPEATED, BILINEAR, BICUBIC = (  # ways to enlarge; the first repeats pixels
    Image.Resampling.BOX,
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
)


def cut(image: np.ndarray, x: float, y: float, side: int, enlarging: int) -> np.ndarray:
    """Return the square of whole pixels nearest to a centre, at the common size.

    Parameters
    ----------
    image : ndarray uint8 (H, W) or (H, W, 3)
    x, y : float
        Centre, px.
    side : int
        Of the square, px.
    enlarging : {REPEATED, BILINEAR, BICUBIC}

    Returns
    -------
    ndarray uint8 (224, 224[, 3])
        Always a full square: black beyond the border, never clipped, so that the scan circle stays
        a circle.
    """
    left, top = round(x + 0.5 - side / 2), round(y + 0.5 - side / 2)
    square = Image.fromarray(image).crop((left, top, left + side, top + side))
    return _to_size(square, enlarging)


def cut_exactly(image: np.ndarray, x: float, y: float, side: float) -> np.ndarray:
    """Return a square whose edges may fall within pixels, as :func:`cut` does otherwise.

    An image of few pixels needs it: at the 200 px of a thickness map, rounding the centre would
    move the scan circle by up to 1 % of its radius. It is bilinear (antialiased) at every size.
    """
    pad = int(np.ceil(side))
    x, y = x + 0.5 + pad, y + 0.5 + pad  # from pixel centres to pixel edges
    box = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
    return _to_size(Image.fromarray(np.pad(image, pad)), BILINEAR, box)


def fit(square: np.ndarray, enlarging: int) -> np.ndarray:
    """Return a picture that is a crop already, (S, S[, 3]), at the common size."""
    return _to_size(Image.fromarray(square), enlarging)


def shrink(picture: np.ndarray, factor: float) -> np.ndarray:
    """Return a picture (H, W[, 3]) area-averaged by a factor, as float."""
    size = [max(1, round(n / factor)) for n in (picture.shape[1], picture.shape[0])]
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX), dtype=float)


def _to_size(picture: Image.Image, enlarging: int, box: tuple | None = None) -> np.ndarray:
    how = Image.Resampling.BOX if box is None and picture.width >= SIZE else enlarging
    return np.asarray(picture.resize((SIZE, SIZE), how, box=box))
