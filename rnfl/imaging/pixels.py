"""Cutting, resampling and turning: the square that a network sees of an eye, whatever took it.

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
RIM = (0.88, 0.98)  # of half the side: whose mean colour fills what no turn leaves known
EDGE = (0.94, 1.0)  # of half the side: where the picture gives way to that colour


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
    return _to_size(_square(image, x, y, side), enlarging)


def cut_labels(labels: np.ndarray, x: float, y: float, side: int, size: int) -> np.ndarray:
    """Return the square that :func:`cut` takes, of labels (H, W), uint8, at another size (px).

    Of each pixel it has the nearest label, and 0 beyond the border.
    """
    square = _square(labels, x, y, side).resize((size, size), Image.Resampling.NEAREST)
    return np.asarray(square)


def _square(image: np.ndarray, x: float, y: float, side: int) -> Image.Image:
    left, top = round(x + 0.5 - side / 2), round(y + 0.5 - side / 2)
    return Image.fromarray(image).crop((left, top, left + side, top + side))


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


def turn(crop: np.ndarray, degrees: float) -> np.ndarray:
    """Return a right-eye crop turned clockwise, so that what lay at θ lies at θ + ``degrees``.

    A turned square lacks its corners. They are not invented: beyond the largest circle in the crop
    everything is the mean colour of the crop's own rim, at every angle and at 0° too, so that two
    turns differ in nothing but the turn. The scan circle lies at 0.70 of half the side, well
    inside. What a model reads of the corners alone is lost at every angle.

    Parameters
    ----------
    crop : ndarray (S, S) or (S, S, 3), uint8
        Centred on the disc.
    degrees : float

    Returns
    -------
    ndarray of the same shape, uint8
    """
    middle = (len(crop) - 1) / 2
    y, x = np.ogrid[: len(crop), : len(crop)]
    out = np.hypot(x - middle, y - middle) / (len(crop) / 2)
    rim = crop[(out > RIM[0]) & (out < RIM[1])].mean(axis=0)
    inside = np.clip((EDGE[1] - out) / (EDGE[1] - EDGE[0]), 0, 1)
    inside = inside.reshape(inside.shape + (1,) * (crop.ndim - 2))
    turned = Image.fromarray(crop).rotate(-degrees, Image.Resampling.BILINEAR)
    return np.round(inside * np.asarray(turned) + (1 - inside) * rim).astype(np.uint8)
