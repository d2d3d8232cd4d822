"""Masks of disc and cup: conventions of files, and measures beside counts by hand."""

import numpy as np
import pytest

from rnfl.core import masks


def discs(x, radius, cup):
    v, u = np.mgrid[:112, :112]
    away = np.hypot(u - x, v - 56)
    return (away < radius).astype(np.uint8) + (away < cup)


TRUE = np.stack([discs(56, 20, 10), discs(56, 20, 0), np.full((112, 112), 255, np.uint8)])


def test_measures_are_counted_by_eye_and_missing_without_a_truth():
    pred = np.stack([discs(60, 22, 8)] * 3)
    inside, truly = (pred[0] > 0, TRUE[0] > 0), (pred[0] == 2, TRUE[0] == 2)
    by_hand = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in (inside, truly)]
    disc, cup = masks.dice_disc(pred, TRUE), masks.dice_cup(pred, TRUE)
    assert (disc[0], cup[0]) == pytest.approx(by_hand)
    assert np.isfinite(disc[1]) and np.isnan([disc[2], *cup[1:]]).all()
    np.testing.assert_allclose(masks.cup_to_disc(pred)[0], 15 / 43)
    np.testing.assert_allclose(masks.cup_to_disc(TRUE), [19 / 39, 0, np.nan])
    error = masks.cup_to_disc_error(pred, TRUE)
    assert error[0] == pytest.approx(19 / 39 - 15 / 43) and np.isnan(error[1:]).all()
    nothing = np.zeros_like(pred)
    assert masks.cup_to_disc_error(nothing, TRUE)[0] == pytest.approx(19 / 39)
    assert masks.dice_error(TRUE, TRUE) == 0 and masks.dice_error(nothing, TRUE) == 1
    assert np.isnan(masks.dice_error(nothing[2:], TRUE[2:]))
    with pytest.raises(ValueError, match=r"masks \(3, 112, 112\), true ones \(2, 112, 112\)"):
        masks.dice_disc(pred, TRUE[:2])


def test_each_convention_gives_the_same_mask_and_others_are_refused():
    ours = TRUE[0]
    for said, values in masks.CONVENTIONS.items():
        read, convention = masks.from_levels(np.array(values, np.uint8)[ours])
        assert (read == ours).all() and convention == said
    for values in ((0, 127, 255), (0, 0, 255), (2, 2, 2), (0, 0, 0)):
        with pytest.raises(ValueError, match=r"values .*: expected 0 = background, 1 = rim"):
            masks.from_levels(np.array(values, np.uint8)[ours])


@pytest.mark.parametrize("values", [(0, 1, 2), (255, 128, 0), (0, 128, 255)])
def test_the_border_tells_a_convention_from_its_inverse(values):
    drawn = np.zeros((20, 20), np.uint8)
    drawn[5:15, 5:15], drawn[8:12, 8:12] = 1, 2
    found, _ = masks.from_levels(np.uint8(values)[drawn])
    assert (found == drawn).all()


def test_a_mask_without_background_at_its_border_is_refused():
    drawn = np.full((9, 9), 128, np.uint8)
    drawn[4, 4] = 0
    with pytest.raises(ValueError, match="mostly background at the border"):
        masks.from_levels(drawn)
