"""Disc localisation: on drawn photographs with a known disc, and on the real ones of GRAPE."""

import numpy as np
import pandas as pd
import pytest
from grape_tree import draw_fundus
from PIL import Image

from rnfl import disc
from rnfl.paths import project_root

REAL = project_root().parent / "shared" / "data" / "grape"


def error(found: tuple[float, float], laterality: str, x: float, y: float, size: int) -> float:
    """Distance in disc radii from the disc that `draw_fundus` drew."""
    x = x * size - 0.5
    true = (x if laterality == "OD" else size - 1 - x, y * size - 0.5)
    return np.hypot(found[0] - true[0], found[1] - true[1]) / (disc.DISC_RADIUS * size)


@pytest.mark.parametrize("laterality", ["OD", "OS"])
@pytest.mark.parametrize(("x", "y"), [(0.74, 0.48), (0.60, 0.44), (0.85, 0.52)])
def test_finds_the_drawn_disc_where_glare_fools_the_brightest_spot(laterality, x, y):
    photo = draw_fundus(laterality, x, y, glare=True)
    found = disc.locate(photo, laterality)
    assert error((found.x, found.y), laterality, x, y, len(photo)) < 0.2
    assert not found.unsure
    assert error(disc.brightest_spot(photo), laterality, x, y, len(photo)) > 3


@pytest.mark.parametrize("size", [300, 1000])
def test_position_follows_the_size_of_the_photograph(size):
    found = disc.locate(draw_fundus("OD", size=size), "OD")
    assert error((found.x, found.y), "OD", 0.74, 0.48, size) < 0.2


def test_picture_need_not_be_square():
    photo = draw_fundus("OS")
    wide = np.pad(photo, ((0, 0), (60, 60), (0, 0)))
    whole, padded = disc.locate(photo, "OS"), disc.locate(wide, "OS")
    assert np.hypot(padded.x - 60 - whole.x, padded.y - whole.y) < 0.2 * 0.07 * len(photo)


def test_left_eye_is_the_mirror_image_of_a_right_eye():
    photo = draw_fundus("OD", 0.80, 0.50)
    right, left = disc.locate(photo, "OD"), disc.locate(photo[:, ::-1].copy(), "OS")
    assert abs(left.x - (photo.shape[1] - 1 - right.x)) < 2  # the two priors are not exact mirrors
    assert abs(left.y - right.y) < 2


def test_photograph_without_a_disc_is_unsure():
    rng = np.random.default_rng(0)
    photo = np.full((300, 300, 3), 90.0) + rng.normal(0, 5, (300, 300, 1))
    assert disc.locate(photo.astype(np.uint8), "OD").unsure


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"'right'.*OD, OS"):
        disc.locate(draw_fundus("OD"), "right")
    with pytest.raises(ValueError, match=r"float64.*uint8"):
        disc.locate(draw_fundus("OD").astype(float), "OD")
    with pytest.raises(disc.NoFieldError, match="covers 0% of the picture"):
        disc.locate(np.zeros((300, 300, 3), np.uint8), "OD")


@pytest.mark.skipif(not REAL.is_dir(), reason=f"real GRAPE photographs absent: {REAL}")
def test_real_photographs():
    """Reference: where the published region-of-interest images lie; radius = a quarter of them."""
    reference = pd.read_csv(REAL / "roi_location_in_cfp.csv")
    errors, spots = [], []
    for eye in reference.itertuples():
        with Image.open(REAL / "CFPs" / eye.file) as file:
            file.draft("RGB", (512, 512))  # decoded at half or quarter size: seconds, not minutes
            photo = np.asarray(file.convert("RGB"))
        scale = eye.cfp_w / photo.shape[1]
        found = disc.locate(photo, eye.file.split("_")[1])
        for x, y, into in ((found.x, found.y, errors), (*disc.brightest_spot(photo), spots)):
            centre = (x + 0.5) * scale, (y + 0.5) * scale
            into.append(np.hypot(centre[0] - eye.centre_x, centre[1] - eye.centre_y))
    radius = reference["roi_w"].to_numpy() / 4
    errors, spots = np.array(errors) / radius, np.array(spots) / radius
    assert np.median(errors) <= 0.25
    assert errors.max() <= 1
    assert spots.max() > 2  # the shortcut loses the disc altogether in some eyes
    assert errors.mean() <= 0.7 * spots.mean()
    for method, found in (("disc localisation", errors), ("brightest blurred spot", spots)):
        median, most, worst, lost = documented(method)
        assert np.quantile(found, [0.5, 0.9]) == pytest.approx([median, most], abs=0.03)
        assert found.max() == pytest.approx(worst, rel=0.1)
        assert (found > 1).sum() == lost


def documented(method: str) -> tuple[float, float, float, int]:
    """Return a row of the table in data/README.md: median, 90 %, worst, number beyond 1 radius."""
    text = (project_root() / "data" / "README.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith(f"| {method} |"))
    _, _, median, most, worst, lost, _ = (cell.strip() for cell in row.split("|"))
    return float(median), float(most), float(worst), int(lost.split()[0])
