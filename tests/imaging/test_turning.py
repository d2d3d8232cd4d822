"""Crops turn as profiles do, and nothing outside their circle tells which way."""

import numpy as np
import pytest

from rnfl.core import geometry
from rnfl.imaging.pixels import turn


def spoke(theta, size=224):
    """A bright blob on the scan circle at an angle of a right eye."""
    x, y = geometry.circle((size - 1) / 2, (size - 1) / 2, 0.35 * size)
    rows, columns = np.ogrid[:size, :size]
    far = (columns - x[theta]) ** 2 + (rows - y[theta]) ** 2
    return (30 + 200 * np.exp(-far / 50)).astype(np.uint8)


def brightest(crop):
    x, y = geometry.circle((len(crop) - 1) / 2, (len(crop) - 1) / 2, 0.35 * len(crop))
    return int(np.argmax(crop[np.round(y).astype(int), np.round(x).astype(int)]))


@pytest.mark.parametrize("degrees", [-20, -10, 0, 10, 20])
def test_what_lay_at_an_angle_lies_further_by_the_turn(degrees):
    for theta in (60, 150, 300):
        assert abs(brightest(turn(spoke(theta), degrees)) - theta - degrees) <= 2
    colour = np.stack([spoke(60)] * 3, axis=-1)
    assert (turn(colour, degrees)[..., 0] == turn(spoke(60), degrees)).all()


def test_corners_are_the_rim_and_the_same_at_every_turn():
    crop = np.random.default_rng(0).integers(0, 255, (224, 224), dtype=np.uint8)
    y, x = np.ogrid[:224, :224]
    out = np.hypot(x - 111.5, y - 111.5) > 112
    turned = [turn(crop, degrees) for degrees in (0, 10, -20)]
    assert all(len(np.unique(one[out])) == 1 for one in turned)
    assert len({int(one[0, 0]) for one in turned}) == 1
    inside = np.hypot(x - 111.5, y - 111.5) < 0.93 * 112
    assert (turned[0][inside] == crop[inside]).all()
