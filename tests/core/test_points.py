"""Profiles of another number of points: refused with what was seen, or resampled."""

import numpy as np
import pytest

from rnfl.core.geometry import ANGLES, CLOCK_HOURS, resample, sector_means
from rnfl.core.points import find_points


def curve(degrees):
    t = np.deg2rad(degrees)
    return 80 + 25 * np.cos(2 * t - 0.3) + 6 * np.sin(t)


@pytest.mark.parametrize("m", [90, 180, 256, 512, 720, 768, 1024])
def test_curves_come_back(m):
    values = curve(360 * np.arange(m) / m)[None]
    np.testing.assert_allclose(resample(values)[0], curve(ANGLES), atol=0.1)
    assert resample(values).mean() == pytest.approx(values.mean(), abs=1e-6)
    shifted = curve(0.5 + 360 * np.arange(m) / m)[None]
    np.testing.assert_allclose(resample(shifted, 0.5)[0], curve(ANGLES), atol=0.1)


def test_360_points_keep_their_bits_and_gaps_stay_gaps():
    values = np.random.default_rng(0).uniform(40, 150, (3, 360))
    np.testing.assert_array_equal(resample(values), values)
    values = np.tile(curve(np.arange(720) / 2), (1, 1))
    values[0, 100:140] = np.nan
    missing = np.flatnonzero(np.isnan(resample(values)[0]))
    assert missing.min() in (50, 51) and missing.max() in (68, 69)


@pytest.mark.parametrize(
    ("names", "seen"),
    [
        (range(256), "256 points, 0 to 255"),
        (range(1, 361), "360 points, 1 to 360"),
        (range(768), "768 points, 0 to 767"),
        (range(361), "361 points, 0 to 360"),
        (range(1, 13), "12 points, 1 to 12"),
        (np.arange(0, 360, 0.5), "720 points, 0.0 to 359.5"),
    ],
)
def test_other_points_are_refused_with_their_number_or_resampled(names, seen):
    names = [str(name) for name in names]
    with pytest.raises(ValueError, match=rf"t\.csv: .*seen {seen}.*--resample"):
        find_points(names, "t.csv")
    points = find_points(names, "t.csv", do_resample=True)
    assert points.said and points.profiles(np.ones((2, len(points.names)))).shape == (2, 360)


def test_lost_columns_are_no_other_number_of_points():
    for names in (range(359), [i for i in range(720) if i != 5]):
        with pytest.raises(ValueError, match="expected profile columns 0 to 359"):
            find_points(map(str, names), "t.csv", do_resample=True)
    assert not find_points(["age", "0", "1"], "t.csv", do_resample=True).names


def test_clock_hours_lie_where_a_right_eye_has_them():
    hours = sector_means(curve(ANGLES)[None], CLOCK_HOURS)[0]
    points = find_points([str(hour) for hour in range(1, 13)], "t.csv", do_resample=True)
    profile = points.profiles(hours[[int(name) - 1 for name in points.names]][None])[0]
    assert np.abs(profile - curve(ANGLES)).max() < 8
    assert profile[0] == pytest.approx(hours[8]) and profile[90] == pytest.approx(hours[11])
