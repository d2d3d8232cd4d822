"""Cutting, resampling and turning: the square that a network sees of an eye, whatever took it.

Larger squares are area-averaged to the common size. How smaller ones are enlarged differs between
the sources, and stays as it is: it decides the pixels of datasets that runs were trained on.
"""

from __future__ import annotations

from functools import lru_cache

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


def at_size(images: np.ndarray, size: int) -> np.ndarray:
    """Return crops uint8 (N, S, S[, 3]) at a model's input size (px), in whole grey levels.

    Area mean by whole factors, else bilinear, both antialiased: what PyTorch's ``avg_pool2d`` and
    ``interpolate(antialias=True)`` give on a CPU, to the byte, and without PyTorch. Training and
    every model in use resize here, so that they see the same pixels.
    """
    made = np.empty((len(images), size, size, *images.shape[3:]), np.uint8)
    for one, image in zip(made, images, strict=True):
        one[:] = _at_size(image, size)
    return made


def _at_size(image: np.ndarray, size: int) -> np.ndarray:
    side = len(image)
    if side == size:
        return image
    if side % size == 0:
        factor = side // size
        boxes = image.reshape(size, factor, size, factor, *image.shape[2:])
        level = boxes.sum(axis=(1, 3), dtype=np.float32) / np.float32(factor**2)
    else:
        level = _along(_along(image.astype(np.float32), 1, size), 0, size)
    return np.rint(level).clip(0, 255).astype(np.uint8)


def _along(image: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Return an image, float32, resampled along one axis: each pixel a weighted sum of a few."""
    image = np.moveaxis(image, axis, 0)
    total = np.zeros((size, *image.shape[1:]), np.float32)
    for index, weight in zip(*_taps(len(image), size), strict=True):
        # Product and sum are rounded once, as by a fused multiply-add: a level of a half, which
        # is frequent, falls to the same side as in PyTorch.
        product = image[index].astype(float) * weight.reshape(-1, *[1] * (image.ndim - 1))
        total = (total + product).astype(np.float32)
    return np.moveaxis(total, 0, axis)


@lru_cache(maxsize=16)
def _taps(side: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return, of each of k taps, the pixel (k, size) that it looks at and its weight, float32.

    A triangle as wide as the larger of both pixels, in single precision where PyTorch uses it
    (``aten/src/ATen/native/cpu/UpSampleKernel.cpp``).
    """
    f32 = np.float32
    scale = f32(side) / f32(size)
    reach = max(scale, f32(1))
    centre = (float(scale) * (np.arange(size) + 0.5)).astype(f32)
    first = np.maximum((centre - reach + 0.5).astype(int), 0)
    last = np.minimum((centre + reach + 0.5).astype(int), side)
    tap = np.arange((last - first).max())[:, None]
    away = (tap.astype(f32) + (first - centre).astype(f32)).astype(float) + 0.5
    away = np.abs((away * float(f32(1) / reach)).astype(f32))
    weight = np.maximum(f32(1) - away, f32(0)) * (first + tap < last)
    total = np.add.accumulate(weight)[-1]  # one after the other, unlike a sum
    return np.minimum(first + tap, side - 1), weight / total


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
