"""Thickness maps: the disc among stray pixels, quality, and profiles of drawn maps of both eyes."""

import numpy as np
import pytest
from rnflt_tree import DISC_MM, draw_map, true_profile

from rnfl.core.exclusion import Excluded
from rnfl.core.geometry import CLOCK_HOURS, quadrant_means, sector_means
from rnfl.imaging import thickness_map

TRUTH = true_profile(3)


@pytest.mark.parametrize("size", [200, 225, 64])
@pytest.mark.parametrize("laterality", ["OD", "OS"])
def test_profile_of_a_drawn_map(laterality, size):
    found = thickness_map.profile(draw_map(TRUTH, laterality, size, (0.2, -0.15)), laterality)
    assert found.shape == (360,) and found.dtype == np.float32
    np.testing.assert_allclose(found, TRUTH, atol=1.0 if size > 64 else 3.0)


def test_a_left_eye_read_as_a_right_one_swaps_temporal_and_nasal():
    right = thickness_map.profile(draw_map(TRUTH, "OS"), "OD")
    assert abs(right[0] - TRUTH[180]) < 1 and abs(right[180] - TRUTH[0]) < 1
    assert abs(TRUTH[0] - TRUTH[180]) > 10  # so that the line above can fail


def test_a_mirrored_left_eye_is_read_as_a_right_one():
    mirrored = draw_map(TRUTH, "OS", shift=(0.2, 0.1))[:, ::-1]
    np.testing.assert_allclose(thickness_map.profile(mirrored, "OD"), TRUTH, atol=1.0)


def test_the_disc_is_the_largest_patch_not_every_negative_pixel():
    clean = draw_map(TRUTH, shift=(0.25, -0.1))
    stray = draw_map(TRUTH, shift=(0.25, -0.1), stray=1000)
    assert (stray < 0).sum() == (clean < 0).sum() + 1000
    disc = thickness_map.find_disc(stray)
    assert disc == thickness_map.find_disc(clean)
    px = 200 / 6
    np.testing.assert_allclose([disc.x, disc.y], [99.5 + 0.25 * px, 99.5 - 0.1 * px], atol=0.3)
    assert disc.area == pytest.approx(np.pi * (DISC_MM * px) ** 2, rel=0.02)
    y, x = np.nonzero(stray < 0)
    assert np.hypot(x.mean() - disc.x, y.mean() - disc.y) > 10  # the trap is real


@pytest.mark.parametrize("laterality", ["OD", "OS"])
def test_a_missing_arc_is_nan_at_its_angles_and_nowhere_else(laterality):
    found = thickness_map.profile(draw_map(TRUTH, laterality, missing=(100, 140)), laterality)
    assert np.isnan(found[100:141]).all()
    assert np.isfinite(np.delete(found, np.arange(98, 143))).all()
    np.testing.assert_allclose(found[:95], TRUTH[:95], atol=1)


def test_a_circle_beyond_the_border_is_nan_there():
    found = thickness_map.profile(draw_map(TRUTH, shift=(-1.6, 0.0)), "OD")  # 1.4 mm to the border
    away = np.minimum(np.arange(360), 360 - np.arange(360))  # degrees from temporal
    edge = np.rad2deg(np.arccos(1.4 / 1.73))
    assert np.isnan(found[away < edge - 1]).all() and np.isfinite(found[away > edge + 1]).all()


@pytest.mark.parametrize("mark", [0, -1, -2])
def test_one_missing_pixel_spoils_only_the_samples_that_need_it(mark):
    drawn = draw_map(TRUTH, size=201)  # odd: the disc centre is a pixel
    whole = thickness_map.profile(drawn, "OD")
    y, x = 100, round(100 - 201 * 1.73 / 6)
    drawn[y, x] = mark
    found = thickness_map.profile(drawn, "OD")
    gone = np.flatnonzero(np.isnan(found))
    assert gone.tolist() == [0]  # a degree further lies a whole pixel away
    np.testing.assert_array_equal(np.delete(found, gone), np.delete(whole, gone))


def test_samples_are_bilinear_and_exact_on_pixel_centres():
    ramp = 10.0 + np.add.outer(3.0 * np.arange(40), np.arange(40)).astype(np.float32)
    x, y = np.array([2.0, 2.25, 39.0, 39.1, -0.1]), np.array([3.0, 3.5, 39.0, 5.0, 5.0])
    found = thickness_map.sample(ramp, x, y)
    np.testing.assert_allclose(found[:3], [21.0, 22.75, 166.0], rtol=1e-6)
    assert np.isnan(found[3:]).all()
    ramp[3, 3] = 0
    assert thickness_map.sample(ramp, np.array([2.0]), np.array([3.0]))[0] == 21.0


def test_field_width_sets_the_circle():
    drawn = draw_map(TRUTH)
    y, x = np.mgrid[:200, :200]
    drawn = np.where(drawn > 0, np.hypot(x - 99.5, y - 99.5), drawn)  # thickness = radius, px
    for width in (6.0, 6.4):
        found = thickness_map.profile(drawn, "OD", field_mm=width)
        np.testing.assert_allclose(found, 200 * 1.73 / width, atol=0.05)


def test_quadrants_and_clock_hours_of_a_map():
    found = thickness_map.profile(draw_map(TRUTH, "OS", missing=(60, 130)), "OS")
    quadrants = quadrant_means(found).iloc[0]
    assert np.isnan(quadrants["S"])  # more than half of it was not measured
    assert quadrants["I"] == pytest.approx(TRUTH[225:315].mean(), abs=0.5)
    hours = dict(zip(CLOCK_HOURS, sector_means(found, CLOCK_HOURS)[0], strict=True))
    assert np.isnan(hours["12"]) and hours["6"] == pytest.approx(TRUTH[255:285].mean(), abs=0.5)


def test_invalid_share_leaves_the_disc_out():
    assert thickness_map.invalid_share(draw_map(TRUTH)) == 0
    drawn = draw_map(TRUTH, missing=(0, 89.999))  # a quarter of the plane
    assert thickness_map.invalid_share(drawn) == pytest.approx(0.25, abs=0.01)
    stray = draw_map(TRUTH, stray=1000)
    assert thickness_map.invalid_share(stray) == pytest.approx(1000 / (stray >= 0).sum(), rel=0.05)


def test_quality_gate():
    good = draw_map(TRUTH, stray=500)
    np.testing.assert_array_equal(thickness_map.upright(good.T, "transposed"), good)
    thickness_map.check_quality(draw_map(TRUTH, missing=(0, 66)))  # 19.5 %
    with pytest.raises(Excluded, match=r"invalid pixels: 20\.5%"):
        thickness_map.check_quality(draw_map(TRUTH, missing=(0, 70)))
    thick = draw_map(TRUTH)
    valid = np.argwhere(thick > 0)
    few, many = int(0.019 * len(valid)), int(0.021 * len(valid))
    thick[tuple(valid[:few].T)] = 301
    thickness_map.check_quality(thick)
    thick[tuple(valid[:many].T)] = 301
    with pytest.raises(Excluded, match=r"too thick: 2\.1%"):
        thickness_map.upright(thick)


@pytest.mark.parametrize("discless", [np.full((200, 200), 80.0), np.zeros((200, 200))])
def test_no_disc_is_said(discless):
    discless[::7, ::7] = -1  # stray pixels are no disc
    for function in (thickness_map.find_disc, thickness_map.upright):
        with pytest.raises(Excluded, match="no disc: the largest patch of cup and rim has 1 px"):
            function(discless)
    with pytest.raises(Excluded, match="no disc"):
        thickness_map.profile(discless, "OD")


def test_integer_maps_read_as_float_ones():
    whole = np.rint(draw_map(TRUTH))
    for dtype in (np.int16, np.int64, np.float64):
        found = thickness_map.profile(whole.astype(dtype), "OD")
        np.testing.assert_array_equal(found, thickness_map.profile(whole, "OD"))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((200, 225)), r"shape \(200, 225\): expected a square of at least 32 px"),
        (np.zeros(40000), r"shape \(40000,\)"),
        (np.zeros((200, 200, 1)), r"shape \(200, 200, 1\)"),
        (np.zeros((8, 8)), r"at least 32 px"),
        (np.zeros((200, 200), complex), "type complex128: expected real numbers in µm"),
        (np.zeros((200, 200), bool), "type bool"),
        (np.full((200, 200), "80"), "type <U2"),
        (np.full((200, 200), np.nan), "40000 values that are NaN or infinite"),
        (np.full((200, 200), -0.5), r"holds -0.5 µm: expected -1 \(rim\) and -2 \(cup\)"),
    ],
)
def test_what_is_no_map_is_refused(bad, message):
    for function in (
        thickness_map.check_map,
        thickness_map.find_disc,
        thickness_map.check_quality,
        thickness_map.invalid_share,
        lambda m: thickness_map.profile(m, "OD"),
    ):
        with pytest.raises(ValueError, match=message):
            function(bad)
    with pytest.raises(Excluded, match=f"unusable rnflt map: .*{message}"):
        thickness_map.upright(bad)


def test_laterality_must_be_given():
    with pytest.raises(ValueError, match="laterality 'left': expected one of OD, OS"):
        thickness_map.profile(draw_map(TRUTH), "left")
