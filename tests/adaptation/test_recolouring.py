"""Recolouring: what is borrowed arrives, what is not stays."""

import numpy as np
import pytest

from rnfl.adaptation import recolouring


@pytest.fixture
def pictures(rng):
    picture = rng.integers(60, 140, (32, 32, 1)).repeat(3, axis=2).astype(np.uint8)
    like = np.clip(rng.normal((180, 90, 40), (20, 10, 5), (32, 32, 3)), 0, 255).astype(np.uint8)
    return picture, like


def test_a_matched_histogram_is_that_of_the_other_and_keeps_the_order(pictures):
    picture, like = pictures
    made = recolouring.histogram(picture, like)
    for channel in range(3):
        quantiles = np.arange(5, 100, 5)
        found, wanted = (np.percentile(one[..., channel], quantiles) for one in (made, like))
        assert np.abs(found - wanted).max() <= 2
    order = np.argsort(picture[..., 0].ravel(), kind="stable")
    assert (np.diff(made[..., 0].ravel()[order].astype(int)) >= 0).all()


def test_matched_statistics_are_those_of_the_other(pictures):
    picture, like = pictures
    made = recolouring.statistics(picture, like)
    np.testing.assert_allclose(made.mean(axis=(0, 1)), like.mean(axis=(0, 1)), atol=0.6)
    np.testing.assert_allclose(made.std(axis=(0, 1)), like.std(axis=(0, 1)), atol=0.6)
    flat = np.full_like(picture, 7)
    assert np.isfinite(recolouring.statistics(flat, like)).all()


def test_fourier_borrows_the_lowest_frequencies_and_keeps_the_others(pictures):
    picture, like = pictures
    made = recolouring.fourier(picture, like, borrowed=0.05)
    np.testing.assert_allclose(made.mean(axis=(0, 1)), like.mean(axis=(0, 1)), atol=1)
    was, now = (np.fft.fft2(one[..., 1].astype(float)) for one in (picture, made))
    high = np.abs(np.fft.fftfreq(32)) > 0.05
    fine = np.ix_(high, high)
    difference = np.abs(was[fine] - now[fine]).mean() / np.abs(was[fine]).mean()
    assert difference < 0.05  # whole grey levels
    assert (recolouring.fourier(picture, picture) == picture).all()


@pytest.mark.parametrize("recolour", recolouring.RECOLOURINGS.values())
def test_pictures_may_be_grey(pictures, recolour):
    picture, like = (one[..., :1] for one in pictures)
    made = recolour(picture, like)
    assert made.shape == picture.shape and made.dtype == np.uint8
