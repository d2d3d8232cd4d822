"""Geometry on images drawn by hand: where a spot is painted decides where it must be found."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from rnfl.core import geometry
from rnfl.core.geometry import ANGLES, CLOCK_HOURS, QUADRANTS, SECTORS

SIZE = 101  # px; the centre is the pixel (50, 50)
RADIUS = 35  # px; 0.35 of the side is 35.35


def draw(*spots, height=SIZE, width=SIZE):
    """Draw round spots of radius 3 px, given as (column, row), on black."""
    rows, columns = np.mgrid[:height, :width]
    image = np.zeros((height, width), dtype=np.uint8)
    for column, row in spots:
        image[(columns - column) ** 2 + (rows - row) ** 2 <= 9] = 255
    return image


def sample(image, x, y):
    return map_coordinates(image.astype(float), [y, x], order=1)


def brightest(profile):
    """Return the angle of the middle of the bright arc, degrees."""
    phase = np.angle((profile * np.exp(1j * np.deg2rad(ANGLES))).sum(), deg=True)
    return round(phase) % 360


# Screen positions of each side of the disc, as an ophthalmologist draws them.
SPOTS = {
    "OD": {"temporal": (15, 50), "superior": (50, 15), "nasal": (85, 50), "inferior": (50, 85)},
    "OS": {"temporal": (85, 50), "superior": (50, 15), "nasal": (15, 50), "inferior": (50, 85)},
}
INDEX = {"temporal": 0, "superior": 90, "nasal": 180, "inferior": 270}


@pytest.mark.parametrize("laterality", ["OD", "OS"])
@pytest.mark.parametrize("side", INDEX)
def test_spot_is_found_at_its_angle_in_right_eye_orientation(laterality, side):
    image = geometry.to_right_eye(draw(SPOTS[laterality][side]), laterality)
    profile = sample(image, *geometry.centred_circle(SIZE, SIZE))
    assert brightest(profile) == INDEX[side]
    assert profile[INDEX[side]] == 255


@pytest.mark.parametrize("laterality", ["OD", "OS"])
@pytest.mark.parametrize("side", INDEX)
def test_spot_is_found_at_its_angle_on_the_image_as_taken(laterality, side):
    image = draw(SPOTS[laterality][side])
    assert brightest(sample(image, *geometry.circle(50, 50, RADIUS, laterality))) == INDEX[side]


def test_a_left_eye_that_is_not_mirrored_is_read_wrongly():
    image = draw(SPOTS["OS"]["temporal"])
    assert brightest(sample(image, *geometry.centred_circle(SIZE, SIZE))) == 180


@pytest.mark.parametrize(("height", "width"), [(101, 101), (100, 100), (100, 141)])
def test_circle_lies_round_the_true_centre(height, width):
    x, y = geometry.centred_circle(height, width)
    assert x.min() + x.max() == pytest.approx(width - 1)
    assert y.min() + y.max() == pytest.approx(height - 1)
    assert np.ptp(x) == pytest.approx(2 * 0.35 * min(height, width))
    # A symmetric image stays symmetric: what is sampled does not move when the image is flipped.
    rows, columns = np.mgrid[:height, :width]
    bowl = np.hypot(columns - (width - 1) / 2, rows - (height - 1) / 2)
    radii = map_coordinates(bowl, [y, x], order=1)
    assert np.ptp(radii) < 0.05


def test_off_centre_disc_moves_the_circle():
    x, y = geometry.circle(30, 60, 10)
    assert (x[0], y[0]) == (20, 60)
    assert (x[90], y[90]) == (pytest.approx(30), 50)


def test_circle_is_half_open():
    points = np.stack(geometry.circle(0, 0, 1))
    steps = np.hypot(*np.diff(points, axis=1, append=points[:, :1]))
    assert points.shape == (2, 360)
    np.testing.assert_allclose(steps, 2 * np.sin(np.pi / 360))  # also from 359° back to 0°


def test_colour_is_mirrored_along_the_width_only():
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    mirrored = geometry.to_right_eye(image, "OS")
    assert mirrored[1, 0].tolist() == image[1, 2].tolist()
    assert mirrored.flags.c_contiguous
    assert geometry.to_right_eye(image, "OD") is image


def test_profile_mirror_agrees_with_image_mirror(rng):
    image = draw((60, 17), (83, 60), (30, 80))
    circle = geometry.centred_circle(SIZE, SIZE)
    mirrored = sample(image[:, ::-1], *circle)
    np.testing.assert_allclose(geometry.mirror_profile(sample(image, *circle)), mirrored, atol=1e-6)
    profiles = rng.normal(size=(4, 360))
    np.testing.assert_array_equal(
        geometry.mirror_profile(geometry.mirror_profile(profiles)), profiles
    )


def test_profile_rotation_agrees_with_a_clockwise_image_rotation():
    image = draw((60, 17), (83, 60))
    circle = geometry.centred_circle(SIZE, SIZE)
    clockwise = np.rot90(image, k=-1)
    rotated = geometry.rotate_profile(sample(image, *circle), 90)
    np.testing.assert_allclose(rotated, sample(clockwise, *circle), atol=1e-6)


@pytest.mark.parametrize("sectors", [QUADRANTS, SECTORS, CLOCK_HOURS])
def test_sectors_share_the_circle_without_gap_or_overlap(sectors):
    assert (np.sum(list(sectors.values()), axis=0) == 1).all()


def test_sector_edges():
    edges = {0: "T", 44: "T", 45: "S", 134: "S", 135: "N", 225: "I", 315: "T", 359: "T"}
    for angle, name in edges.items():
        assert QUADRANTS[name][angle]
    widths = {name: int(mask.sum()) for name, mask in SECTORS.items()}
    assert widths == {"T": 90, "TS": 40, "NS": 40, "N": 110, "NI": 40, "TI": 40}
    for hour, angle in {"9": 0, "12": 90, "3": 180, "6": 270, "10": 30}.items():
        assert CLOCK_HOURS[hour][angle]


def test_sector_means_leave_out_what_is_missing():
    profiles = np.tile(np.where(QUADRANTS["S"], 120.0, 60.0), (3, 1))
    profiles[1, 45:90] = np.nan  # half of S
    profiles[2, 45:91] = np.nan  # one more
    means = geometry.quadrant_means(profiles)
    assert list(means) == ["S", "N", "I", "T"]
    assert means["S"].tolist()[:2] == [120, 120]
    assert np.isnan(means["S"][2])
    assert means["T"].tolist() == [60, 60, 60]


def test_sector_means_against_a_loop(rng):
    profiles = rng.normal(80, 20, (5, 360))
    profiles[rng.random(profiles.shape) < 0.2] = np.nan
    expected = [[np.nanmean(p[mask]) for mask in SECTORS.values()] for p in profiles]
    np.testing.assert_allclose(geometry.sector_means(profiles, SECTORS), expected)


def test_scan_circle_of_a_prepared_crop():
    assert geometry.scan_radius_px(224, 6.0) == pytest.approx(64.587, abs=1e-3)
    assert geometry.scan_radius_px(224) == pytest.approx(0.35 * 224)
    assert geometry.FIELD_MM == pytest.approx(4.943, abs=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: geometry.circle(0, 0, 1, "left"), "laterality 'left': expected one of OD, OS"),
        (lambda: geometry.to_right_eye(np.zeros((2, 2)), None), "laterality None"),
        (lambda: geometry.to_right_eye(np.zeros(4), "OD"), r"shape \(4,\)"),
        (lambda: geometry.mirror_profile(np.zeros(361)), "360 angles"),
        (lambda: geometry.rotate_profile(np.zeros(360), 0.5), "0.5 degrees"),
        (lambda: geometry.scan_radius_px(224, 0), "must be positive"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
