"""Crops: the centre stays in the middle, nothing is clipped, and small pictures are enlarged."""

import numpy as np
import pytest
from PIL import Image

from rnfl.core.exclusion import Excluded
from rnfl.imaging import crops, pixels

CUTS = {
    "whole pixels": lambda image, x, y, side: pixels.cut(image, x, y, side, pixels.BILINEAR),
    "parts of pixels": pixels.cut_exactly,
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("side", [100, 224, 300])
def test_the_centre_comes_to_the_middle_and_beyond_the_border_it_is_black(cut, side):
    v, u = np.mgrid[:400, :400]
    x, y = 289.5, 310.5
    spot = 255 * np.exp(-0.5 * ((u - x) ** 2 + (v - y) ** 2) / 6**2)
    seen = cut(spot.astype(np.uint8), x, y, side).astype(float)
    assert seen.shape == (pixels.SIZE,) * 2
    middle = [np.average(axis, weights=seen) for axis in np.mgrid[: pixels.SIZE, : pixels.SIZE]]
    np.testing.assert_allclose(middle, (pixels.SIZE - 1) / 2, atol=0.1)
    bright = cut(np.full((400, 400), 200, np.uint8), 399.5, 199.5, side)
    assert (bright[:, :110] == 200).all() and (bright[:, 114:] == 0).all()


def test_only_the_exact_cut_heeds_parts_of_a_pixel():
    ramp = (2 * np.mgrid[:100, :100][1]).astype(np.uint8)
    for cut, step in zip(CUTS.values(), (0.0, 0.4 * 2), strict=True):
        near, far = (cut(ramp, x, 49.5, 50).astype(float) for x in (49.5, 49.9))
        assert np.mean(far - near) == pytest.approx(step, abs=0.1)


@pytest.mark.parametrize("enlarging", [pixels.REPEATED, pixels.BICUBIC])
def test_a_smaller_square_is_enlarged_as_asked_and_a_larger_one_averaged(enlarging):
    edge = np.repeat([[50, 150]], 56, axis=1).repeat(112, axis=0).astype(np.uint8)
    repeated = edge.repeat(2, axis=0).repeat(2, axis=1)
    assert (pixels.fit(edge, enlarging) == repeated).all() == (enlarging == pixels.REPEATED)
    noise = np.random.default_rng(0).integers(0, 256, (448, 448), dtype=np.uint8)
    mean = noise.reshape(224, 2, 224, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(pixels.fit(noise, enlarging), mean, atol=1)  # rounded twice


def test_what_no_crop_can_be_made_of_is_said(tmp_path):
    blank = np.zeros((300, 300, 3), np.uint8)
    for picture, centre, said in (
        (blank[:100], None, "too small or too narrow: 300x100 px"),
        (blank, (300, 20), "centre outside the photograph: 300, 20 on 300x300 px"),
        (blank, None, "no field of view"),
    ):
        with pytest.raises(Excluded, match=said):
            crops.prepare(picture, "OD", centre)
    for picture, said in ((blank[:200], "not square: 300x200"), (blank[:50, :50], "50x50 px")):
        with pytest.raises(Excluded, match=said):
            crops.prepare_crop(picture, "OD")
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(Excluded, match=r"deep\.png cannot be read as an image: .*8 bits"):
        crops.read(tmp_path / "deep.png")
