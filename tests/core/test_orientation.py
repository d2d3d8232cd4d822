"""Orders of profiles: planted ones are found, cohorts in the right order raise no alarm."""

import numpy as np
import pytest

from rnfl.core import orientation
from rnfl.core.geometry import (
    QUADRANTS,
    flip_profile,
    mirror_profile,
    quadrant_means,
    rotate_profile,
)
from rnfl.datasets.phantom.eyes import population


def eyes(n, seed=0, noise=2.0):
    """Return profiles with humps of their own place and height, in the right order."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n):
        heights, places = rng.normal(60, 12, 2), rng.normal((74, 286), 7)
        humps = (h * orientation._hump(p) for h, p in zip(heights, places, strict=True))
        out.append(66 + sum(humps) + rng.normal(0, noise))
    return np.array(out)


ORDERS = {
    "mirrored": (mirror_profile, "N, S, T, I"),
    "superior first": (lambda x: rotate_profile(x, 270), "S, N, I, T"),
    "inferior first": (lambda x: rotate_profile(x, 90), "I, T, S, N"),
    "nasal first, by inferior": (lambda x: rotate_profile(x, 180), "N, I, T, S"),
    "a sixth": (lambda x: rotate_profile(x, 60), "turned by "),
}


@pytest.mark.parametrize("n", [4, 12, 60])
@pytest.mark.parametrize("order", ORDERS)
def test_another_order_is_named(order, n):
    change, named = ORDERS[order]
    (said,) = orientation.doubt_order(change(eyes(n)), "profiles")
    assert said.startswith("WARNING: profiles look mirrored or turned") and named in said


@pytest.mark.parametrize("n", [1, 4, 12, 60])
def test_the_right_order_raises_no_alarm(n):
    told = [orientation.doubt_order(eyes(n, seed), "profiles") for seed in range(20)]
    assert sum(map(bool, told)) == 0
    # What a mean cannot tell is not said: upside down.
    assert not orientation.doubt_order(flip_profile(eyes(n)), "profiles")


@pytest.fixture(scope="module")
def phantom():
    return population(400, 0)


@pytest.mark.parametrize("severity", ["healthy", "mild", "moderate", "severe"])
def test_phantom_cohorts_raise_no_alarm(severity, phantom):
    labels = np.stack([eye.label for eye in phantom if eye.severity == severity])
    rng = np.random.default_rng(1)
    false = 0
    for n in (4, 10, 30):
        for _ in range(20):
            some = labels[rng.choice(len(labels), n, replace=False)]
            false += bool(orientation.doubt_order(some, "profiles"))
            false += bool(orientation.doubt_quadrants(quadrant_means(some).to_numpy(), "q"))
    assert false <= 1  # of 120


@pytest.mark.parametrize("n", [100, 400])
def test_a_mirrored_phantom_cohort_is_told_the_surer_the_more_eyes_it_has(n, phantom):
    labels = np.stack([eye.label for eye in phantom[:n]])
    (said,) = orientation.doubt_order(mirror_profile(labels), "profiles")
    assert "N, S, T, I" in said


@pytest.mark.parametrize("columns", [[1, 0, 2, 3], [3, 1, 2, 0], [1, 2, 3, 0], [0, 2, 1, 3]])
def test_exchanged_quadrants_are_noticed(columns):
    quadrants = quadrant_means(eyes(12)).to_numpy()
    assert not orientation.doubt_quadrants(quadrants, "S, N, I and T")
    (said,) = orientation.doubt_quadrants(quadrants[:, columns], "S, N, I and T")
    assert "exchanged or turned" in said and list(QUADRANTS) == ["S", "N", "I", "T"]


def test_predictions_are_compared_with_the_truth():
    truth = eyes(40)
    predicted = truth + np.random.default_rng(2).normal(0, 4, truth.shape)
    assert not orientation.doubt_pairs(predicted, truth, "m")
    for change in (mirror_profile, lambda x: rotate_profile(x, 90), flip_profile):
        (said,) = orientation.doubt_pairs(predicted, change(truth), "m")
        assert "against the ground truth" in said
    one = np.tile(truth.mean(axis=0), (40, 1))  # a template tells no eye from another
    assert not orientation.doubt_pairs(one, truth, "m")
