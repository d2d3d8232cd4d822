"""Crops turned about the disc, to ask whether a model's prediction turns with its image (ours)."""

from __future__ import annotations

import numpy as np
from PIL import Image

RIM = (0.88, 0.98)  # of half the side: whose mean colour fills what no turn leaves known
EDGE = (0.94, 1.0)  # of half the side: where the picture gives way to that colour


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
